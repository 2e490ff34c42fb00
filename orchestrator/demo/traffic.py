"""A steady stream of real chat requests, each judged as a client would: complete, failed or truncated."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Self

import aiohttp

WORDS = ("carbon", "grid", "wind", "solar", "region", "replica", "token", "model", "water", "night", "cost", "cloud")
REQUEST_SECONDS = 300.0


@dataclass(slots=True)
class Tally:
    """What became of the requests. ``truncated``: a stream that ended without a ``finish_reason``."""

    ok: int = 0
    failed: int = 0
    truncated: int = 0
    chunks: int = 0
    resumed: int = 0
    by_region: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Keep the first few problems in words."""
        if len(self.problems) < 20:  # noqa: PLR2004  # enough to understand, not enough to flood
            self.problems.append(text)


class Stream:
    """Several clients that ask one question after the other until told to stop."""

    def __init__(self, url: str, key: str, model: str, *, clients: int, max_tokens: int, pause_seconds: float) -> None:
        self.tally = Tally()
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self._model = model
        self._clients = clients
        self._max_tokens = max_tokens
        self._pause = pause_seconds
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._random = random.Random(7)  # noqa: S311  # which words are asked for is no secret

    async def __aenter__(self) -> Self:
        """Start asking."""
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(REQUEST_SECONDS))
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let every request that is under way end, then stop."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        await self._session.close()

    async def _client(self, number: int) -> None:
        while not self._stop.is_set():
            await self.ask(streamed=number % 4 != 3)  # noqa: PLR2004  # every fourth client wants whole answers
            try:
                await asyncio.wait_for(self._stop.wait(), self._pause)
            except TimeoutError:
                continue

    async def ask(self, *, streamed: bool) -> None:
        """Ask one question and judge the answer."""
        question = " ".join(self._random.choices(WORDS, k=8))
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": self._max_tokens,
            "temperature": 0.7,
            "stream": streamed,
        }
        try:
            async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as response:
                if response.status != 200:  # noqa: PLR2004
                    self.tally.failed += 1
                    self.tally.problem(f"{response.status}: {(await response.text())[:200]}")
                    return
                region = response.headers.get("x-greenctl-region", "?")
                complete = await (self._read_stream(response) if streamed else self._read_whole(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.tally.failed += 1
            self.tally.problem(f"{type(error).__name__}: {error}")
            return
        if complete:
            self.tally.ok += 1
            self.tally.by_region[region] = self.tally.by_region.get(region, 0) + 1
        else:
            self.tally.truncated += 1
            self.tally.problem(f"an answer from {region} ended without finish_reason")

    async def _read_whole(self, response: aiohttp.ClientResponse) -> bool:
        answer = await response.json()
        choices = answer.get("choices") or [{}]
        return all(choice.get("finish_reason") for choice in choices)

    async def _read_stream(self, response: aiohttp.ClientResponse) -> bool:
        finished = done = False
        async for raw in response.content:
            line = raw.decode(errors="replace").strip()
            if line.startswith(":"):
                self.tally.resumed += "resumed" in line
            elif line == "data: [DONE]":
                done = True
            elif line.startswith("data:"):
                event = json.loads(line[5:])
                if "error" in event:
                    self.tally.problem(f"error event: {event['error'].get('message', '')[:200]}")
                    return False
                self.tally.chunks += 1
                finished = finished or any(c.get("finish_reason") for c in event.get("choices", []))
        return finished and done


async def what_serves(endpoint: str) -> tuple[str, str]:
    """Ask an engine itself for its name and version: vLLM's ``/version``; the builtin engine marks every answer."""
    async with aiohttp.ClientSession() as session, session.get(f"{endpoint}/version") as response:
        version = str((await response.json())["version"])
        return response.headers.get("x-greenctl-engine", "vllm"), version
