"""What one completion stream has said so far, over all upstreams that said it.

Pure. It answers two questions: is the stream complete (a stream that merely stops, or says ``[DONE]`` without a
``finish_reason`` for each choice, is not, and vLLM on SIGTERM ends streams with ``[DONE]`` after a ``finish_reason`` of
"abort" or none), and what must a second upstream be told to continue it.
"""

from __future__ import annotations

import json
from enum import Enum, auto

from orchestrator.gateway.sse import SseEvent

DONE = b"[DONE]"
ABORTED = "abort"
"""vLLM's finish reason for a request that it dropped; never an end that a client should take for an answer."""

_SERVER_ERROR = 500


class Step(Enum):
    """What the next event means."""

    FORWARD = auto()
    END = auto()
    ABORTED = auto()
    ERRED = auto()
    REFUSED = auto()


class Transcript:
    """Grows with each event. ``text`` holds the emitted text of a single-choice stream."""

    def __init__(self, expected_choices: int = 1) -> None:
        self._expected = expected_choices
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._parts: list[str] = []
        self._carried = 0
        self._reported: int | None = None
        self.identity: dict[str, object] = {}
        self.chunks_with_text = 0
        self.is_plain_text = True

    @property
    def is_complete(self) -> bool:
        """Whether every choice has said why it ended."""
        return len(self._finished) >= self._expected and self._seen <= self._finished

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self._parts)

    @property
    def exact_tokens(self) -> int | None:
        """Tokens emitted, when the upstream reports usage in each chunk; ``None`` when it has not said."""
        return None if self._reported is None else self._carried + self._reported

    def continue_elsewhere(self, used: int) -> None:
        """Note that another upstream goes on after ``used`` tokens; what it reports counts from there."""
        self._carried, self._reported = used, None

    def read(self, event: SseEvent) -> Step:
        """Take in one event and say what to do with it.

        ``FORWARD``: pass it on. ``END``: pass it on, the stream is over and whole. ``ABORTED``: keep it, the upstream
        dropped the stream and pretends that this is an end. ``ERRED``: keep it for now, the upstream says that it
        broke. ``REFUSED``: the upstream blames the request itself; pass it on, nothing follows.
        """
        if event.data is None:
            return Step.FORWARD
        if event.data.strip() == DONE:
            return Step.END if self.is_complete else Step.ABORTED
        try:
            chunk = json.loads(event.data)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            self.is_plain_text = False
            return Step.FORWARD
        if chunk.get("error"):
            return Step.REFUSED if _blames_request(chunk["error"]) else Step.ERRED
        return self._read_chunk(chunk)

    def _read_chunk(self, chunk: dict[str, object]) -> Step:
        choices = chunk.get("choices")
        known = [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
        if any(c.get("finish_reason") == ABORTED for c in known):
            return Step.ABORTED
        if not self.identity:
            self.identity = {key: chunk[key] for key in ("id", "created", "model") if key in chunk}
        for choice in known:
            self._read_choice(choice)
        usage = chunk.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            self._reported = usage["completion_tokens"]
        return Step.FORWARD

    def _read_choice(self, choice: dict[str, object]) -> None:
        index = choice.get("index")
        number = index if isinstance(index, int) else 0
        self._seen.add(number)
        if choice.get("finish_reason") is not None:
            self._finished.add(number)
        delta = choice.get("delta")
        said = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        if isinstance(said, str) and said:
            self._parts.append(said)
            self.chunks_with_text += 1
        extras = [v for k, v in delta.items() if k not in {"role", "content"}] if isinstance(delta, dict) else []
        if any(extras) or choice.get("logprobs"):
            self.is_plain_text = False


def is_aborted(answer: bytes) -> bool:
    """Whether a whole answer is one that the engine dropped half-way: vLLM sends those with status 200."""
    if b'"abort"' not in answer:
        return False
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    choices = document.get("choices") if isinstance(document, dict) else None
    known = [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
    return any(c.get("finish_reason") == ABORTED for c in known)


def _blames_request(error: object) -> bool:
    code = error.get("code") if isinstance(error, dict) else None
    return isinstance(code, int) and code < _SERVER_ERROR
