"""Bring one accepted request to an end: choose, try, retry, stream, resume.

What a client can rely on:

- An answer that is not streamed is sent only when it is complete, so a replica that dies half-way is retried elsewhere
  and nobody notices. One that takes too long is not: it would take as long elsewhere.
- A request that comes while its service is scaled to zero waits for the first replica, as long as its service lets it.
- A stream that has not begun is retried the same way. One that has begun is resumed on another replica if its service
  allows it and the request permits it; else it ends with an error event and without ``[DONE]``. It never just stops.
- Each replica is asked for the model by the name under which that replica serves it, whatever the client called it. No
  stream is resumed by a replica that serves it under another name: that may be another model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from orchestrator.domain.routing import ServiceRoutes, Upstream
from orchestrator.gateway.asgi import Reply
from orchestrator.gateway.node import GatewayNode
from orchestrator.gateway.replies import Refusal, no_upstream, upstream_lost, upstreams_failed
from orchestrator.gateway.requests import CompletionRequest, encoded
from orchestrator.gateway.resume import continuation, disclosure, ended_by_length, is_resumable, splice, tokens_left
from orchestrator.gateway.sse import EventTooLongError, SseEvent, SseSplitter, data_event
from orchestrator.gateway.tally import Counted, Outcome
from orchestrator.gateway.transcript import DONE, Step, Transcript
from orchestrator.gateway.upstreams import TIMED_OUT, TOO_LONG, Answer, LiveStream, UpstreamFailure

logger = logging.getLogger(__name__)

_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501


@dataclass(frozen=True, slots=True)
class Call:
    """An accepted request on its way, as the client wrote it.

    ``headers`` go to the replica; ``began`` is the clock at acceptance. ``adapter``: which of the model's is asked for.
    ``origin``: whence it comes, as somebody says who may be anybody: it is compared with names, and goes nowhere.
    """

    service: str
    request: CompletionRequest
    headers: Mapping[str, str]
    request_id: str
    began: float
    origin: str = ""
    adapter: str = ""


async def forward(node: GatewayNode, call: Call, reply: Reply) -> None:
    """Bring the request to its one outcome.

    Raises :class:`~orchestrator.gateway.replies.Refusal` when nothing could be sent; whatever it raises, the request
    has been counted.
    """
    hunt = _Hunt(node, call)
    node.metrics.began(call.service)
    counted = node.tally.request(call.service)
    try:
        with counted:
            await node.waiting.until_served(call.service)
            relay = _relay_stream if call.request.stream else _relay_answer
            counted.settle(await relay(node, call, reply, hunt))
    finally:
        region = hunt.upstream.region if hunt.upstream is not None else None
        node.metrics.ended(call.service, region, counted.outcome or Outcome.FAILED, node.clock() - call.began)


class _Hunt:
    """The search of one request for an upstream: who was tried, what went wrong, how much patience is left."""

    def __init__(self, node: GatewayNode, call: Call) -> None:
        self._node = node
        self._call = call
        self._tried: list[str] = []
        self._failure: UpstreamFailure | None = None
        self.upstream: Upstream | None = None
        self.routes: ServiceRoutes | None = None
        self.model = ""
        """The name under which the upstream that is tried now serves the service's model."""

    def next(self, model: str | None = None) -> Upstream | None:
        """Return the next upstream to try by the table of this moment; ``None`` when the search is over.

        ``model``: the name under which it has to serve, where that is no longer open.
        """
        call, routes = self._call, self._node.routes(self._call.service)
        if routes is None or len(self._tried) > routes.retries:
            return None
        upstream = self._node.pick(routes, self._tried, call.origin, adapter=call.adapter, model=model)
        if upstream is not None:
            self._tried.append(upstream.replica)
            self.upstream, self.routes, self.model = upstream, routes, routes.name_at(upstream)
        return upstream

    @property
    def name(self) -> str:
        """What the upstream that is tried now calls what the client asks for."""
        return self._call.adapter or self.model

    def request(self) -> CompletionRequest:
        """Return the request as that upstream understands it."""
        return self._call.request.for_model(self.name)

    def failed(self, upstream: Upstream, failure: UpstreamFailure) -> None:
        """Note why the attempt came to nothing."""
        self._failure = failure
        logger.debug("request %s: %s at %s", self._call.request_id, failure.reason, upstream.replica)
        if self.routes is not None:
            self._node.failed(self.routes, upstream, failure)

    def answered(self, upstream: Upstream, answer: Answer) -> None:
        """Note a whole answer. One that says that the engine broke counts against it, though it is passed on (0058)."""
        if answer.status < _SERVER_ERROR or answer.status == _NOT_IMPLEMENTED:  # the latter is about the request
            self._node.worked(upstream)
        elif self.routes is not None:
            self._node.failed(self.routes, upstream, UpstreamFailure(f"status_{answer.status}", is_gone=False))

    def refusal(self) -> Refusal:
        """Say why the request ends without an answer."""
        if self._failure is None:
            return no_upstream(self._call.service)
        timed_out = self._failure.reason in {TIMED_OUT, TOO_LONG}
        return upstreams_failed(self._call.service, len(self._tried), timed_out=timed_out)


async def _relay_answer(node: GatewayNode, call: Call, reply: Reply, hunt: _Hunt) -> Outcome:
    while (upstream := hunt.next()) is not None:
        request = hunt.request()
        with node.tally.attempt(upstream.replica) as attempt:
            try:
                answer = await node.client.answer(upstream, request.path, request.raw, call.headers)
            except UpstreamFailure as failure:
                hunt.failed(upstream, failure)
                if failure.reason == TOO_LONG:  # it would be as long elsewhere, and the client has waited enough
                    break
                continue
            attempt.settle(_outcome(answer))
        hunt.answered(upstream, answer)
        await _send_answer(reply, answer, upstream)
        return _outcome(answer)
    raise hunt.refusal()


async def _relay_stream(node: GatewayNode, call: Call, reply: Reply, hunt: _Hunt) -> Outcome:
    with ExitStack() as undecided:
        return await _StreamRelay(node, call, reply, hunt, undecided).run()


class _StreamRelay:
    """One stream to the client, made from as many upstream streams as it takes.

    ``undecided`` holds the attempts, so that whatever happens each of them is counted.
    """

    def __init__(self, node: GatewayNode, call: Call, reply: Reply, hunt: _Hunt, undecided: ExitStack) -> None:
        self._node = node
        self._call = call
        self._reply = reply
        self._hunt = hunt
        self._undecided = undecided
        self._transcript = Transcript(call.request.choices)
        self._lost: Counted | None = None
        self._last_words: bytes | None = None
        self._used_tokens = 0
        self._is_second_voice = False
        self._was_resumed = False
        self._model: str | None = None

    async def run(self) -> Outcome:
        """Stream until the answer is complete or nothing more can be done."""
        while (upstream := self._hunt.next(self._model)) is not None:
            attempt = self._undecided.enter_context(self._node.tally.attempt(upstream.replica))
            self._is_second_voice = self._reply.is_started
            try:
                return await self._attempt(upstream, attempt)
            except UpstreamFailure as failure:
                self._hunt.failed(upstream, failure)
                self._note_loss(attempt)
            if self._reply.is_started and not self._may_resume():
                break
        return await self._give_up()

    async def _attempt(self, upstream: Upstream, attempt: Counted) -> Outcome:
        raw = await self._request_for(upstream)
        if raw is None:
            attempt.settle(Outcome.OK)
            self._note_resumed(upstream)
            await self._reply.finish(ended_by_length(self._call.request.path, self._transcript.identity))
            return Outcome.OK
        path, headers = self._call.request.path, self._call.headers
        async with self._node.client.stream(upstream, path, raw, headers) as answer:
            if isinstance(answer, Answer):
                return await self._pass_on(answer, upstream, attempt)
            return await self._relay(answer, upstream, attempt)

    async def _request_for(self, upstream: Upstream) -> bytes | None:
        """Return the body to send: the client's own at first, then the continuation; ``None`` if nothing is left."""
        request = self._hunt.request()
        if not self._is_second_voice:
            return request.raw
        text = self._transcript.text
        self._used_tokens = await self._count(upstream, text)
        self._transcript.continue_elsewhere(self._used_tokens)
        if tokens_left(request.path, request.body, self._used_tokens) == 0:
            return None
        return encoded(continuation(request.path, request.body, text, self._used_tokens))

    async def _count(self, upstream: Upstream, text: str) -> int:
        """Count the emitted tokens: as reported, else as the new replica counts them, else at least one per chunk."""
        if (exact := self._transcript.exact_tokens) is not None or not text:
            return exact or 0
        counted = await self._node.client.count_tokens(upstream, self._hunt.name, text)
        return self._transcript.chunks_with_text if counted is None else counted

    async def _pass_on(self, answer: Answer, upstream: Upstream, attempt: Counted) -> Outcome:
        attempt.settle(_outcome(answer))
        self._hunt.answered(upstream, answer)
        if self._reply.is_started:  # the continuation was refused; asking another replica would not change that
            logger.info("request %s: %s refused to continue it", self._call.request_id, upstream.replica)
            return await self._give_up()
        await _send_answer(self._reply, answer, upstream)
        return _outcome(answer)

    async def _relay(self, stream: LiveStream, upstream: Upstream, attempt: Counted) -> Outcome:
        """Pass a stream on. That the upstream works is known at its end: a broken one may begin as well as any."""
        heard = self._transcript.chunks_with_text
        try:
            outcome = await self._relay_to_its_end(stream, upstream, attempt)
        except asyncio.CancelledError:
            if self._transcript.chunks_with_text > heard:  # where all clients leave early, nothing else is ever heard
                self._node.worked(upstream)
            raise
        self._node.worked(upstream)
        return outcome

    async def _relay_to_its_end(self, stream: LiveStream, upstream: Upstream, attempt: Counted) -> Outcome:
        splitter = SseSplitter()
        try:
            while chunk := await stream.read():
                attempt.note_first_token()
                if outcome := await self._pass_events(splitter.feed(chunk), upstream):
                    attempt.settle(outcome)
                    stream.end()
                    return outcome
            outcome = await self._pass_events(splitter.finish(), upstream)
        except EventTooLongError as error:
            raise UpstreamFailure("garbled", is_gone=False) from error
        except UpstreamFailure:
            if not self._transcript.is_complete:
                raise
            outcome = None  # everything was said; only the ending got lost
        if outcome is None:
            if not self._transcript.is_complete:
                raise UpstreamFailure("ended_early", is_gone=True)
            await self._emit([data_event(DONE)], upstream)
            await self._reply.finish()
            outcome = Outcome.OK
        attempt.settle(outcome)
        return outcome

    async def _pass_events(self, events: list[SseEvent], upstream: Upstream) -> Outcome | None:
        """Send events on; return the outcome if they ended the stream. Raises :class:`UpstreamFailure` on a loss."""
        out: list[bytes] = []
        for event in events:
            step = self._transcript.read(event)
            if step is Step.ABORTED or step is Step.ERRED:
                await self._emit(out, upstream)
                self._last_words = event.raw if step is Step.ERRED else None
                raise UpstreamFailure(step.name.lower(), is_gone=step is Step.ABORTED)
            if self._is_second_voice:
                out.append(splice(event, self._transcript.identity, self._used_tokens))
            else:
                out.append(event.raw)
            if step is not Step.FORWARD:
                await self._emit(out, upstream)
                await self._reply.finish()
                return Outcome.OK if step is Step.END else Outcome.TRUNCATED
        await self._emit(out, upstream)
        return None

    async def _emit(self, parts: list[bytes], upstream: Upstream) -> None:
        data = b"".join(parts)
        if not data:
            return
        if not self._reply.is_started:
            self._model = self._hunt.model
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
            await self._reply.start(200, [*headers, *_disclosures(upstream)])
            elapsed = self._node.clock() - self._call.began
            self._node.metrics.first_chunk(self._call.service, upstream.region, elapsed)
        elif self._lost is not None:
            self._note_resumed(upstream)
            data = disclosure(upstream.region) + data
        await self._reply.send(data)

    def _note_loss(self, attempt: Counted) -> None:
        """An attempt that had spoken is lost until another one continues it; any other has simply failed."""
        had_spoken = self._reply.is_started and self._lost is None
        if had_spoken:
            self._lost = attempt
        else:
            attempt.settle(Outcome.FAILED)

    def _note_resumed(self, upstream: Upstream) -> None:
        if self._lost is not None:
            self._lost.settle(Outcome.RESUMED)
            self._lost = None
        if not self._was_resumed:
            self._was_resumed = True
            self._node.tally.note_resumed()
        self._node.metrics.resumed(self._call.service, upstream.region)

    def _may_resume(self) -> bool:
        request = self._call.request
        is_allowed = self._hunt.routes is not None and self._hunt.routes.resume_streams
        return is_allowed and self._transcript.is_plain_text and is_resumable(request.path, request.body)

    async def _give_up(self) -> Outcome:
        if not self._reply.is_started:
            raise self._hunt.refusal()
        if self._lost is not None:
            self._lost.settle(Outcome.TRUNCATED)
        await self._reply.finish(self._last_words or data_event(upstream_lost().body()))
        return Outcome.TRUNCATED


def _outcome(answer: Answer) -> Outcome:
    return Outcome.FAILED if answer.status >= _SERVER_ERROR else Outcome.OK


async def _send_answer(reply: Reply, answer: Answer, upstream: Upstream) -> None:
    headers = [(b"content-type", answer.content_type.encode("latin-1")), *_disclosures(upstream)]
    if answer.retry_after is not None:
        headers.append((b"retry-after", answer.retry_after.encode("latin-1")))
    await reply.whole(answer.status, headers, answer.body)


def _disclosures(upstream: Upstream) -> list[tuple[bytes, bytes]]:
    """Say where the answer came from, and how clean the grid is there if that is known."""
    headers = [
        (b"x-greenctl-region", upstream.region.encode()),
        (b"x-greenctl-replica", upstream.replica.encode()),
    ]
    if upstream.variant is not None:
        headers.append((b"x-greenctl-variant", upstream.variant.encode()))
    if upstream.grams_per_kwh is not None and upstream.intensity_kind is not None:
        headers.append((b"x-greenctl-grams-per-kwh", f"{upstream.grams_per_kwh:g}".encode()))
        headers.append((b"x-greenctl-intensity-kind", upstream.intensity_kind.encode()))
    return headers
