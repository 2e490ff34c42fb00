"""Talks to an engine as a client would: does it answer, does it complete, how busy is it.

A probe never raises for what an engine does: not answering, answering nonsense and refusing our key all mean "no", and
counters that cannot be read are ``None``, never zero.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.control.ports import EngineLoad

if TYPE_CHECKING:
    import httpx

HEALTH_SECONDS: Final = 3.0
COMPLETION_SECONDS: Final = 15.0
"""One token of a freshly started engine on a busy CPU takes up to some seconds (first run of every kernel)."""

PROMPT: Final = "Is this replica ready to answer its first question?"
"""Some ten tokens: on Intel's processors with a tile unit (AMX) vLLM 0.32 dies of a first prompt of four or fewer, as
it asks the kernel for that unit too late. ``vllm_start.py`` asks in time; a plain ``vllm serve`` gets over it so."""

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""vLLM's metrics page is about 60 KiB; anything near this limit is not an engine."""

MAX_AT_ONCE: Final = 256
"""Requests under way: a process has often no more than 1024 open files for all that it does."""

_KEPT_CONNECTIONS: Final = 20

RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"
PROMPT_TOKENS: Final = "vllm:prompt_tokens_total"
OUTPUT_TOKENS: Final = "vllm:generation_tokens_total"

KV_USAGE: Final = "vllm:kv_cache_usage_perc"
"""A fraction, 0..1, whatever its name says (vllm/v1/metrics/loggers.py)."""

CACHE_CONFIG: Final = "vllm:cache_config_info"
"""Its labels are vLLM's cache configuration: ``block_size`` in tokens, and ``num_gpu_blocks`` of these."""

_LABEL: Final = {name: re.compile(rf'(?:^|,){name}="(\d{{1,12}})"') for name in ("block_size", "num_gpu_blocks")}
_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>[^\n]*)\})?[ \t]+(?P<value>\S+)(?:[ \t]+-?\d+)?")


class HttpEngineProbe:
    """The real one. Proxies of the environment are not used: engines are reached directly.

    ``completion_seconds`` bounds the whole completion, ``health_seconds`` each of the other requests. Neither counts
    the wait for a turn: engines that are dark must not make others look so.
    """

    def __init__(
        self,
        *,
        health_seconds: float = HEALTH_SECONDS,
        completion_seconds: float = COMPLETION_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._health_seconds = health_seconds
        self._completion_seconds = completion_seconds
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def is_healthy(self, endpoint: str) -> bool:
        """Whether ``/health`` answers 200."""
        answer = await self._ask("GET", f"{endpoint}/health", self._health_seconds)
        return answer is not None and answer[0] == 200  # noqa: PLR2004 - HTTP's own number

    async def completes(self, endpoint: str, model: str, api_key_file: Path | None) -> bool:
        """Whether a completion of one token ends with a finish reason, under that model name and key."""
        body = {"model": model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0}
        url = f"{endpoint}/v1/completions"
        answer = await self._ask("POST", url, self._completion_seconds, api_key_file=api_key_file, body=body)
        return answer is not None and answer[0] == 200 and has_finished_choice(answer[1])  # noqa: PLR2004 - as above

    async def load(self, endpoint: str, api_key_file: Path | None) -> EngineLoad | None:
        """Return the counters from ``/metrics``; ``None`` unless all of them are there."""
        answer = await self._ask("GET", f"{endpoint}/metrics", self._health_seconds, api_key_file=api_key_file)
        if answer is None or answer[0] != 200:  # noqa: PLR2004 - as above
            return None
        return parse_load(answer[1].decode("utf-8", errors="replace"))

    async def aclose(self) -> None:
        """Close the connections; the probe can be used again afterwards."""
        client, self._client = self._client, None
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)  # it belongs to an event loop, as connections do
        if client is not None:
            await client.aclose()

    async def _ask(
        self,
        method: str,
        url: str,
        seconds: float,
        *,
        api_key_file: Path | None = None,
        body: Mapping[str, object] | None = None,
    ) -> tuple[int, bytes] | None:
        """Return status and body, ``None`` when there was no complete answer of a sane size in time."""
        import httpx  # noqa: PLC0415 - 0.2 s that a command without probes does not pay

        try:
            headers = _authorization(api_key_file)
            client = self._open()
            async with (
                self._turns,
                asyncio.timeout(seconds),
                client.stream(method, url, headers=headers, json=body) as answer,
            ):
                received = bytearray()
                async for piece in answer.aiter_bytes():
                    received += piece
                    if len(received) > MAX_BODY_BYTES:
                        return None
                return answer.status_code, bytes(received)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError):
            return None

    def _open(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415

        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport,
                trust_env=False,
                follow_redirects=False,
                timeout=self._completion_seconds,
                # Its own limit is 100, and what waits for it waits within the time of its request.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
            )
        return self._client


def has_finished_choice(body: bytes) -> bool:
    """Whether a completion answer holds a choice that ended for a stated reason."""
    try:
        choices = json.loads(body)["choices"]
        return bool(choices) and all(isinstance(choice["finish_reason"], str) for choice in choices)
    except (ValueError, LookupError, TypeError):
        return False


def parse_load(page: str) -> EngineLoad | None:
    """Read the four metrics from a Prometheus page, summed over a server's engines; ``None`` when one is missing.

    How full the KV cache is (of the fullest engine) and how many tokens it holds come with them where they are told.
    """
    sums: dict[str, float] = {}
    fills: list[float] = []
    rooms: list[int | None] = []
    for line in page.splitlines():
        if line.startswith("vllm:") and (found := _SAMPLE.fullmatch(line.strip())):
            name = found["name"]
            if name in {RUNNING, WAITING, PROMPT_TOKENS, OUTPUT_TOKENS}:
                sums[name] = sums.get(name, 0.0) + _number(found["value"])
            elif name == KV_USAGE:
                fills.append(_number(found["value"]))
            elif name == CACHE_CONFIG:
                rooms.append(_tokens_in(found["labels"] or ""))
    values = [sums.get(name, math.nan) for name in (RUNNING, WAITING, PROMPT_TOKENS, OUTPUT_TOKENS)]
    if not all(math.isfinite(value) and value >= 0 for value in values):
        return None
    running, waiting, prompt_tokens, output_tokens = (round(value) for value in values)
    return EngineLoad(running, waiting, prompt_tokens, output_tokens, _fullest(fills), _room(rooms))


def _fullest(fills: list[float]) -> float | None:
    return max(fills) if fills and all(0 <= fill <= 1 for fill in fills) else None


def _room(rooms: list[int | None]) -> int | None:
    known = [room for room in rooms if room is not None]
    return sum(known) if known and len(known) == len(rooms) else None


def _tokens_in(labels: str) -> int | None:
    """Return how many tokens the KV cache of these labels holds; ``None`` while vLLM has not measured that."""
    found = [pattern.search(labels) for pattern in _LABEL.values()]
    size, blocks = (0 if match is None else int(match[1]) for match in found)
    return size * blocks or None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _authorization(api_key_file: Path | None) -> dict[str, str]:
    """Read the key now: it may have been replaced since the last time. Raises ``OSError`` when it is gone."""
    if api_key_file is None:
        return {}
    return {"authorization": f"Bearer {api_key_file.read_text(encoding='ascii').strip()}"}


@dataclass
class FakeProbe:
    """Engines as a test describes them, by endpoint. An endpoint that was never mentioned does not answer.

    ``serve`` brings one up. ``healthy``, ``completing`` and ``loads`` may be changed at any time; ``calls`` is what was
    asked, in order. ``models``: the one name under which an engine completes, of those where that matters.
    """

    healthy: set[str] = field(default_factory=set)
    completing: set[str] = field(default_factory=set)
    loads: dict[str, EngineLoad] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)

    def serve(self, endpoint: str, load: EngineLoad | None = None) -> None:
        """Let an engine answer everything there."""
        self.healthy.add(endpoint)
        self.completing.add(endpoint)
        self.loads[endpoint] = load or EngineLoad(running=0, waiting=0, prompt_tokens=0, output_tokens=0)

    def silence(self, endpoint: str) -> None:
        """Let nothing answer there any more."""
        self.healthy.discard(endpoint)
        self.completing.discard(endpoint)
        self.loads.pop(endpoint, None)

    async def is_healthy(self, endpoint: str) -> bool:
        """Whether it was said to be healthy."""
        self.calls.append(("is_healthy", endpoint))
        return endpoint in self.healthy

    async def completes(self, endpoint: str, model: str, api_key_file: Path | None) -> bool:  # noqa: ARG002
        """Whether it was said to complete, and under that name."""
        self.calls.append(("completes", endpoint))
        return endpoint in self.completing and self.models.get(endpoint, model) == model

    async def load(self, endpoint: str, api_key_file: Path | None) -> EngineLoad | None:  # noqa: ARG002
        """Return the load it was given."""
        self.calls.append(("load", endpoint))
        return self.loads.get(endpoint)
