"""The routes, and the pace of generation."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from orchestrator.provisioners.local.builtin_engine.answers import (
    DONE,
    ENGINE_HEADER,
    ENGINE_NAME,
    FINGERPRINT,
    Answer,
    error,
    sse,
)
from orchestrator.provisioners.local.builtin_engine.counters import Counters
from orchestrator.provisioners.local.builtin_engine.faults import FaultFile, Faults
from orchestrator.provisioners.local.builtin_engine.requests import BadRequest, Generation, parse_generation
from orchestrator.provisioners.local.builtin_engine.text import Continuation, tokens_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Tokens = AsyncGenerator[tuple[str, str | None], None]

FOREVER_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the engine behaves when nothing goes wrong. ``tokens_per_second`` is the pace of one answer; 0 = no pause."""

    model: str
    api_key: str
    version: str
    max_model_len: int
    max_num_seqs: int
    tokens_per_second: float
    first_token_seconds: float


class BuiltinEngine:
    """One engine: its counters, its queue, and whether it is on its way out."""

    def __init__(self, settings: Settings, faults: FaultFile) -> None:
        self._settings = settings
        self._faults = faults
        self._places = asyncio.Semaphore(settings.max_num_seqs)
        self.counters = Counters(settings.model, started_at=time.time())
        self._idle = asyncio.Event()
        self._idle.set()
        self.closing = asyncio.Event()
        self.aborting = asyncio.Event()

    def application(self) -> web.Application:
        """Return the routes. As in vLLM, the key guards what lies below ``/v1`` and nothing else."""
        app = web.Application(middlewares=[_name_tag, self._require_key])
        app.router.add_get("/health", self._health)
        app.router.add_get("/ping", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        return app

    async def close(self, patience_seconds: float) -> None:
        """End as vLLM does on SIGTERM: what runs may finish within the patience, the rest is cut."""
        self.closing.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), patience_seconds)
        self.aborting.set()

    # ── routes ──

    async def _health(self, _: web.Request) -> web.StreamResponse:
        fault = self._faults.now().health
        if fault == "hang":
            await asyncio.sleep(FOREVER_SECONDS)
        return web.Response(status=503 if fault == "refuse" else 200)

    async def _version(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"version": self._settings.version, "system_fingerprint": FINGERPRINT})

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text=self.counters.exposition(), content_type="text/plain")

    async def _models(self, _: web.Request) -> web.StreamResponse:
        settings = self._settings
        model = {
            "id": settings.model,
            "object": "model",
            "created": int(self.counters.started_at),
            "owned_by": f"greenctl-{ENGINE_NAME}",
            "root": settings.model,
            "parent": None,
            "max_model_len": settings.max_model_len,
        }
        return web.json_response({"object": "list", "data": [model], "system_fingerprint": FINGERPRINT})

    async def _tokenize(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        prompt = body.get("prompt") if isinstance(body, dict) else None
        if not isinstance(prompt, str):
            raise BadRequest("prompt: one text is needed", param="prompt")
        tokens = tokens_of(prompt)
        numbers = [int.from_bytes(token.encode()[:4], "big") for token in tokens]
        return web.json_response(
            {
                "count": len(tokens),
                "max_model_len": self._settings.max_model_len,
                "tokens": numbers,
                "token_strs": tokens,
                "system_fingerprint": FINGERPRINT,
            }
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=True)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, chat=False)

    # ── generation ──

    async def _generate(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        faults = self._faults.now()
        if self.closing.is_set():  # vLLM 0.32's very words
            words = "cannot schedule new futures after shutdown"
            raise BadRequest(words, status=500, kind="InternalServerError")
        if faults.status is not None:
            raise BadRequest("fault on demand", status=faults.status, kind="InternalServerError")
        settings = self._settings
        body = await _json(request)
        asked = parse_generation(body, chat=chat, model=settings.model, max_model_len=settings.max_model_len)
        answer = Answer(asked, uuid.uuid4().hex[:16], int(time.time()))
        tokens = self._tokens(request, asked, faults)
        return await (self._stream(request, asked, answer, tokens) if asked.stream else self._whole(answer, tokens))

    async def _stream(
        self, request: web.Request, asked: Generation, answer: Answer, tokens: Tokens
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        response.headers[ENGINE_HEADER] = ENGINE_NAME
        await response.prepare(request)
        count = 0
        try:
            opening = answer.opening()
            if opening is not None:
                await response.write(sse(opening))
            finished = False
            async for text, finish_reason in tokens:
                count += bool(text)
                finished = finish_reason is not None
                await response.write(sse(answer.chunk(text, finish_reason)))
            if finished and asked.include_usage:
                await response.write(sse(answer.usage_chunk(count)))
            await response.write(DONE)
        except ConnectionResetError:
            pass  # the client left; closing the iterator below frees its place
        finally:
            await tokens.aclose()
        return response

    async def _whole(self, answer: Answer, tokens: Tokens) -> web.StreamResponse:
        texts: list[str] = []
        reason: str | None = None
        async for text, finish_reason in tokens:
            texts.append(text)
            reason = finish_reason
        if reason is None:
            raise BadRequest("the answer was cut", status=500, kind="InternalServerError")
        return web.json_response(answer.whole("".join(texts), reason, sum(map(bool, texts))))

    async def _tokens(self, request: web.Request, asked: Generation, faults: Faults) -> Tokens:
        """Yield tokens at the set pace; the last one carries the finish reason, a cut answer has none."""
        counters, settings = self.counters, self._settings
        self._idle.clear()
        counters.waiting += 1
        try:
            await self._places.acquire()
        finally:
            counters.waiting -= 1
            self._note_idle()
        self._idle.clear()
        counters.running += 1
        outcome = "abort"
        try:
            counters.prompt_tokens += asked.prompt_tokens
            continuation = Continuation(asked.prompt)
            pause = settings.first_token_seconds
            for number in range(1, asked.max_tokens + 1):
                if await self._interrupted(pause * faults.slow_factor) or _client_left(request):
                    return
                pause = 1 / settings.tokens_per_second if settings.tokens_per_second else 0.0
                token = continuation.next(may_end=not asked.ignore_eos and number > asked.min_tokens)
                if token is None:
                    outcome = "stop"
                    yield "", "stop"
                    return
                counters.generation_tokens += 1
                outcome = "length" if number == asked.max_tokens else outcome
                yield token, "length" if number == asked.max_tokens else None
                if await _misbehave(request, faults, number):
                    return
        finally:
            counters.running -= 1
            counters.finished[outcome] += 1
            self._places.release()
            self._note_idle()

    def _note_idle(self) -> None:
        if not self.counters.running + self.counters.waiting:
            self._idle.set()

    async def _interrupted(self, seconds: float) -> bool:
        """Pause; ``True`` when the engine aborts meanwhile."""
        if self.aborting.is_set():
            return True
        if seconds <= 0:
            await asyncio.sleep(0)
            return False
        try:
            await asyncio.wait_for(self.aborting.wait(), seconds)
        except TimeoutError:
            return False
        return True

    @web.middleware
    async def _require_key(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._settings.api_key and request.path.startswith("/v1"):
            given = request.headers.get("authorization", "")
            wanted = f"Bearer {self._settings.api_key}"
            if not hmac.compare_digest(given.encode(errors="replace"), wanted.encode()):
                return web.json_response({"error": "Unauthorized", "system_fingerprint": FINGERPRINT}, status=401)
        return await handler(request)


@web.middleware
async def _name_tag(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Put our name on every answer, errors included."""
    try:
        response = await handler(request)
    except BadRequest as exc:
        response = _error(exc)
    except web.HTTPException as exc:
        response = _error(BadRequest(exc.reason, status=exc.status, kind="NotFoundError"))
    except ValueError as exc:  # a fault file that cannot be read
        response = _error(BadRequest(str(exc), status=500, kind="InternalServerError"))
    if not response.prepared:
        response.headers[ENGINE_HEADER] = ENGINE_NAME
    return response


async def _misbehave(request: web.Request, faults: Faults, tokens: int) -> bool:
    """Do what was asked for after that many tokens; ``True`` ends the answer here."""
    if tokens == faults.die_after_tokens:
        os.kill(os.getpid(), signal.SIGKILL)
    if tokens == faults.hang_after_tokens:
        await asyncio.sleep(FOREVER_SECONDS)
    if tokens == faults.drop_after_tokens and request.transport is not None:
        request.transport.abort()
        return True
    return tokens == faults.cut_after_tokens


def _client_left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _error(problem: BadRequest) -> web.Response:
    return web.json_response(error(str(problem), problem.kind, problem.status, problem.param), status=problem.status)


async def _json(request: web.Request) -> object:
    try:
        return json.loads(await request.text())
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise BadRequest("the body is not JSON") from exc
