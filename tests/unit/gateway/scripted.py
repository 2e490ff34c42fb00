"""A scripted engine: an OpenAI-shaped server on a real socket that can die, lie and hang on command.

Its "model" says the words w0 w1 w2 ...: one word is one token and one chunk, and it goes on from whatever words the
prompt ends with. So a stream that was resumed correctly reads exactly like one that was never broken.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

WORDS = 8
"""Length of an answer, where no limit makes it shorter."""

_STEPS_TO_MAKE_A_CONNECTION = 3
"""Of the event loop, from accepting: one to begin, one for the transport to call its protocol, one to spare."""


@dataclass
class Act:
    """How to answer one request; the plain Act behaves well.

    ``cut_after``: break the connection after that many chunks (any number breaks a whole answer half-way; the number
    of words breaks a stream when only its marker is missing).
    ``abort_after``: end as vLLM does on SIGTERM, with ``[DONE]`` and no finish reason; ``abort_reason``: with that one.
    ``error_after``: say an error, ``error_code``. ``status``: answer that status with ``text``. ``gate``: wait for it
    before the chunk numbered ``gate_at``. ``silent``: take the request and never answer. ``choices``: in each chunk.
    """

    status: int = 200
    text: str = ""
    cut_after: int | None = None
    abort_after: int | None = None
    abort_reason: str | None = None
    error_after: int | None = None
    error_code: int = 500
    end_without_done: bool = False
    gate: asyncio.Event | None = None
    gate_at: int = 0
    silent: bool = False
    choices: int = 1


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    raw: bytes
    headers: Mapping[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class ScriptedEngine:
    """``acts`` are used up one per completion; then the engine behaves. ``left`` is set when a client goes away.

    ``serves``: the names of its models, and any other is a 404; empty for an engine that takes any.
    """

    name: str = "a"
    url: str = ""
    acts: deque[Act] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    can_tokenize: bool = True
    serves: frozenset[str] = frozenset()
    _stop: Any = None

    def then(self, *acts: Act) -> None:
        self.acts.extend(acts)

    @property
    def completions(self) -> list[Seen]:
        return [s for s in self.seen if s.path != "/tokenize"]

    async def die(self) -> None:
        """Stop listening and cut every connection, as a killed process does."""
        await self._stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request.path, await request.read(), dict(request.headers))
        self.seen.append(seen)
        if request.path == "/tokenize":
            return self._tokenize(seen.body)
        self.arrived.set()
        act = self.acts.popleft() if self.acts else Act()
        if self.serves and seen.body["model"] not in self.serves:
            act = Act(status=404, text='{"error": {"message": "no such model", "code": 404}}')
        try:
            return await self._complete(request, seen, act)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def _tokenize(self, body: Any) -> web.Response:
        if not self.can_tokenize:
            return web.Response(status=404)
        return web.json_response({"count": len(body["prompt"].split())})

    async def _complete(self, request: web.Request, seen: Seen, act: Act) -> web.StreamResponse:
        if act.silent:
            await asyncio.Event().wait()
        if act.status != 200:
            return web.Response(status=act.status, text=act.text, content_type="application/json")
        body = seen.body
        words = _words(seen.path, body)
        finish = "length" if body.get("max_tokens") == len(words) else "stop"
        if not body.get("stream"):
            return await self._whole(request, act, words, finish)
        return await self._stream(request, seen, act, words, finish)

    async def _whole(self, request: web.Request, act: Act, words: list[str], finish: str) -> web.StreamResponse:
        if act.gate is not None:
            await act.gate.wait()
        if act.abort_reason is not None:
            words, finish = words[:1], act.abort_reason
        answer = {"id": self.name, "choices": [{"index": 0, "text": "".join(words), "finish_reason": finish}]}
        response = web.StreamResponse(headers={"content-type": "application/json"})
        payload = json.dumps(answer).encode()
        response.content_length = len(payload)
        await response.prepare(request)
        await response.write(payload[:10])
        if act.cut_after is not None:
            return _cut(request, response)
        await response.write(payload[10:])
        return response

    async def _stream(
        self, request: web.Request, seen: Seen, act: Act, words: list[str], finish: str
    ) -> web.StreamResponse:
        is_chat = seen.path.endswith("/chat/completions")
        said: dict[str, Any]
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        if is_chat:
            await response.write(self._chunk({"delta": {"role": "assistant", "content": ""}}, seen.body))
        for number, word in enumerate(words):
            if number == act.cut_after:
                return _cut(request, response)
            if number in {act.abort_after, act.error_after}:
                await response.write(self._last_words(act, seen.body, is_chat=is_chat))
                return response
            if act.gate is not None and number == act.gate_at:
                await act.gate.wait()
            reason = finish if number == len(words) - 1 else None
            said = {"delta": {"content": word}} if is_chat else {"text": word}
            for index in range(act.choices):
                await response.write(self._chunk({**said, "finish_reason": reason}, seen.body, index))
        if act.cut_after == len(words):
            return _cut(request, response)
        if (seen.body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 100, "completion_tokens": len(words), "total_tokens": 100 + len(words)}
            await response.write(_event({"id": self.name, "choices": [], "usage": usage}))
        if not act.end_without_done:
            await response.write(b"data: [DONE]\n\n")
        return response

    def _last_words(self, act: Act, body: Any, *, is_chat: bool) -> bytes:
        words = b""
        if act.error_after is not None:
            words = _event({"error": {"message": "engine died", "code": act.error_code}})
        elif act.abort_reason is not None:
            said: dict[str, Any] = {"delta": {"content": ""}} if is_chat else {"text": ""}
            words = self._chunk({**said, "finish_reason": act.abort_reason}, body)
        return words + b"data: [DONE]\n\n"

    def _chunk(self, choice: dict[str, Any], body: Any, index: int = 0) -> bytes:
        shape = {"index": index, "finish_reason": None, **choice}
        return _event({"id": f"id-{self.name}", "created": 1, "model": body["model"], "choices": [shape]})


def _event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _words(path: str, body: Any) -> list[str]:
    if path.endswith("/chat/completions"):
        last = body["messages"][-1]
        said = last["content"] if last["role"] == "assistant" else ""
        assert bool(said) == bool(body.get("continue_final_message"))
    else:
        said = body["prompt"]
    start = sum(word.startswith("w") and word[1:].isdigit() for word in said.split())
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or WORDS
    return [f"w{n} " for n in range(start, min(start + limit, WORDS))]


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return response


async def _kill(runner: web.AppRunner) -> None:
    """End as the kernel ends a process: every connection is reset, none is left open and unanswered.

    Accepting stops some steps of the event loop before the listening socket is closed. For a connection that was
    accepted and not yet made by then, asyncio (3.11) raises inside itself and leaves the socket open until the garbage
    collector comes by (CPython issue 109564): its client would wait, which nobody's death does to a client.
    """
    loop = asyncio.get_running_loop()
    for site in runner.sites:
        server = site._server
        assert isinstance(server, asyncio.Server)
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
    for _ in range(_STEPS_TO_MAKE_A_CONNECTION):
        await asyncio.sleep(0)
    await runner.cleanup()


@asynccontextmanager
async def scripted(name: str = "a") -> AsyncIterator[ScriptedEngine]:
    """Run an engine on a free port of the loopback address."""
    engine = ScriptedEngine(name)
    app = web.Application()
    app.router.add_post("/{path:.*}", engine._handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    engine._stop = lambda: _kill(runner)
    try:
        yield engine
    finally:
        await runner.cleanup()
