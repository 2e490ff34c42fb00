"""Talk to replicas: one aiohttp session, patience in seconds, and failures named by what they mean for routing.

URLs come from the routing table and nowhere else; redirects, proxies and cookies are off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from orchestrator.domain.routing import Upstream
from orchestrator.gateway.transcript import is_aborted

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

IDLE_CONNECTION_SECONDS: Final = 3.0
"""Below the five seconds after which uvicorn, and so vLLM, closes an idle connection: reusing one that is just being
closed would look like a lost request."""

TIMED_OUT: Final = "timeout"

TOO_LONG: Final = "too_long"
"""Why a whole answer failed that was not there in time. Its replica may be as well as any other."""

_EVENT_STREAM = "text/event-stream"
_SHUTTING_DOWN = b"cannot schedule new futures after shutdown"
_RETRY_STATUSES = frozenset({502, 503})
_KEY_STATUSES = frozenset({401, 403})
_REDIRECTS = range(300, 400)
_OK = 200
_INTERNAL_ERROR = 500


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds to wait for what. Generating a whole answer counts as its first byte."""

    connect_seconds: float = 3.0
    first_byte_seconds: float = 600.0
    idle_seconds: float = 120.0
    tokenize_seconds: float = 5.0
    linger_seconds: float = 0.25
    probe_seconds: float = 2.0


class UpstreamFailure(Exception):
    """The upstream did not do its part, and another one may.

    ``reason`` is a short word for counters and logs. ``is_gone``: the process or the machine seems to be away, so that
    asking again at once is pointless.
    """

    def __init__(self, reason: str, *, is_gone: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_gone = is_gone


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response."""

    status: int
    content_type: str
    body: bytes
    retry_after: str | None = None


class LiveStream:
    """A response whose events are still coming."""

    def __init__(self, response: aiohttp.ClientResponse, patience: Patience) -> None:
        self._response = response
        self._patience = patience
        self._wait = patience.first_byte_seconds
        self.is_over = False

    async def read(self) -> bytes:
        """Return what has arrived, waiting for at least one byte; empty at the end. Raises :class:`UpstreamFailure`."""
        with _failures_named():
            async with asyncio.timeout(self._wait):
                chunk = await self._response.content.readany()
        self._wait = self._patience.idle_seconds
        return chunk

    def end(self) -> None:
        """Note that the last event was read, so that what remains is the end of the response."""
        self.is_over = True


class UpstreamClient:
    """One per process and event loop; used as an async context manager."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._keys = _KeyFiles()
        self._session: aiohttp.ClientSession | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=IDLE_CONNECTION_SECONDS, socket_factory=_socket_that_notices_death
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._patience.connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._ending:
            task.cancel()
        if self._session is not None:
            await self._session.close()

    async def answer(self, upstream: Upstream, path: str, raw: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request and read the whole response; raises :class:`UpstreamFailure`, ``TOO_LONG`` if it is late."""
        try:
            response = await self._post(upstream, path, raw, headers)
            try:
                return await self._read_whole(response)
            finally:
                response.close()
        except UpstreamFailure as failure:
            if failure.reason != TIMED_OUT:
                raise
            raise UpstreamFailure(TOO_LONG, is_gone=False) from failure

    @asynccontextmanager
    async def stream(
        self, upstream: Upstream, path: str, raw: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[Answer | LiveStream]:
        """Send a request and give its events as they come, or the whole response if it is no event stream.

        Leaving the context closes the connection unless the response is over: that is what stops the generation.
        Raises :class:`UpstreamFailure`.
        """
        response = await self._post(upstream, path, raw, headers)
        live: LiveStream | None = None
        try:
            if response.status == _OK and response.content_type == _EVENT_STREAM:
                live = LiveStream(response, self._patience)
                yield live
            else:
                yield await self._read_whole(response)
        finally:
            if live is not None and live.is_over:
                self._let_end(response)
            else:
                response.close()

    async def count_tokens(self, upstream: Upstream, model: str, text: str) -> int | None:
        """Ask the upstream how many tokens the text has; ``None`` when it cannot say.

        Raises :class:`UpstreamFailure` when it is gone.
        """
        raw = json.dumps({"model": model, "prompt": text, "add_special_tokens": False}).encode()
        try:
            async with asyncio.timeout(self._patience.tokenize_seconds):
                answer = await self.answer(upstream, "/tokenize", raw, {"content-type": "application/json"})
        except TimeoutError:
            return None
        try:
            count = json.loads(answer.body)["count"]
        except (ValueError, KeyError, TypeError):
            return None
        return count if isinstance(count, int) and count >= 0 else None

    async def is_well(self, upstream: Upstream, model: str) -> bool:
        """Whether the upstream is healthy, takes our key and serves the model. Never raises, and is never long.

        The key is not shown before that: by now the address may be somebody else's.
        """
        with suppress(UpstreamFailure, TimeoutError, ValueError, KeyError, TypeError):
            async with asyncio.timeout(self._patience.probe_seconds):
                if (await self._get(replace(upstream, api_key_file=None), "/health")).status != _OK:
                    return False
                listed = await self._get(upstream, "/v1/models")
                return listed.status == _OK and any(m["id"] == model for m in json.loads(listed.body)["data"])
        return False

    def _let_end(self, response: aiohttp.ClientResponse) -> None:
        """Give the response a moment to end, because the connection of one that has ended can be used again."""

        async def drain() -> None:
            try:
                with suppress(TimeoutError, aiohttp.ClientError):
                    async with asyncio.timeout(self._patience.linger_seconds):
                        while await response.content.readany():
                            pass
            finally:
                response.close()

        task = asyncio.create_task(drain())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _post(
        self, upstream: Upstream, path: str, raw: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        return await self._send("POST", upstream, path, raw, headers)

    async def _get(self, upstream: Upstream, path: str) -> Answer:
        response = await self._send("GET", upstream, path, None, {})
        try:
            return await self._read_whole(response)
        finally:
            response.close()

    async def _send(
        self, method: str, upstream: Upstream, path: str, raw: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is not open")
        key = self._keys.read(upstream.api_key_file)
        sent = {**headers, "authorization": f"Bearer {key}"} if key else dict(headers)
        with _failures_named():
            async with asyncio.timeout(self._patience.first_byte_seconds):
                return await self._session.request(
                    method, upstream.url.rstrip("/") + path, data=raw, headers=sent, allow_redirects=False
                )

    async def _read_whole(self, response: aiohttp.ClientResponse) -> Answer:
        body = bytearray()
        with _failures_named():
            async with asyncio.timeout(self._patience.first_byte_seconds):
                while chunk := await response.content.readany():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise UpstreamFailure("answer_too_large", is_gone=False)
        _require_usable(response.status, body)
        return Answer(
            response.status,
            response.headers.get("content-type", "application/json"),
            bytes(body),
            response.headers.get("retry-after"),
        )


def _require_usable(status: int, body: bytes | bytearray) -> None:
    """Tell what blames the upstream from what a client should see."""
    if status == _OK and is_aborted(bytes(body)):
        raise UpstreamFailure("aborted", is_gone=True)
    if status in _RETRY_STATUSES:
        raise UpstreamFailure(f"status_{status}", is_gone=False)
    if status == _INTERNAL_ERROR and _SHUTTING_DOWN in body:
        raise UpstreamFailure("shutting_down", is_gone=True)
    if status in _KEY_STATUSES:  # our key, not the client's: theirs was checked before
        raise UpstreamFailure("key_refused", is_gone=False)
    if status in _REDIRECTS:
        raise UpstreamFailure("redirect", is_gone=False)


class _failures_named:  # noqa: N801  # reads as a clause in `with`
    """Translate what the network did into :class:`UpstreamFailure`. A class, not a generator: it is in the hot path."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
            raise UpstreamFailure("connect", is_gone=True) from error
        if isinstance(error, TimeoutError):
            raise UpstreamFailure(TIMED_OUT, is_gone=True) from error
        if isinstance(error, (aiohttp.ClientError, ConnectionError)):
            raise UpstreamFailure("disconnect", is_gone=True) from error


class _KeyFiles:
    """Keys of replicas, read again whenever their file changes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str]] = {}

    def read(self, path: str | None) -> str | None:
        """Return the key; raises :class:`UpstreamFailure` when there should be one and it cannot be read."""
        if path is None:
            return None
        try:
            changed = Path(path).stat().st_mtime_ns
            known = self._known.get(path)
            if known is None or known[0] != changed:
                known = changed, Path(path).read_text(encoding="utf-8").strip()
                self._known[path] = known
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("cannot read the key file of a replica: %s", error)
            raise UpstreamFailure("key_unreadable", is_gone=False) from error
        return known[1]


def _socket_that_notices_death(address: tuple[Any, ...]) -> socket.socket:
    """Make a socket that reports a vanished machine within half a minute.

    A preempted instance does not say goodbye. Without probes, a stream from it would be silent until the idle limit.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
