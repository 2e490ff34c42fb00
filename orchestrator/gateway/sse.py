"""Server-sent events as bytes arrive: cut the stream into events without waiting for more than the event itself.

Pure: no clock, no I/O. Follows the WHATWG definition (lines end with LF, CRLF or CR; an empty line ends an event;
``data`` lines are joined by LF; what is left without an empty line at the end of the stream is no event). Each event
keeps its exact bytes, so forwarding all of them reproduces the stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Far above any real chunk; a stream without line ends must not fill the memory."""

_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its bytes up to and including the empty line, and its data (``None`` without any ``data`` line)."""

    raw: bytes
    data: bytes | None


class EventTooLongError(ValueError):
    """An event is longer than :data:`MAX_EVENT_BYTES`."""


class SseSplitter:
    """Cuts a byte stream into events. Any chunking of the same bytes gives the same events."""

    def __init__(self) -> None:
        self._rest = b""
        self._searched = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events that they complete.

        Raises :class:`EventTooLongError`.
        """
        buffer = self._rest + chunk
        events: list[SseEvent] = []
        start, search_from = 0, max(0, self._searched - 3)
        while (end := _EVENT_END.search(buffer, search_from)) is not None:
            if end.end() == len(buffer) and buffer.endswith(b"\r"):
                break  # a LF that belongs to this CR may follow
            events.append(_event(buffer[start : end.end()]))
            start = search_from = end.end()
        self._rest = buffer[start:]
        self._searched = len(self._rest)
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLongError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
        return events

    def finish(self) -> list[SseEvent]:
        """Return the event that only the end of the stream completed, if any; incomplete bytes are dropped."""
        rest, self._rest = self._rest, b""
        return [_event(rest)] if _EVENT_END.search(rest) else []


def _event(raw: bytes) -> SseEvent:
    fields = (line.partition(b":") for line in raw.splitlines())
    values = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
    return SseEvent(raw, b"\n".join(values) if values else None)


def data_event(data: bytes) -> bytes:
    """Write one event; ``data`` must not contain a line end."""
    return b"data: " + data + b"\n\n"


def comment(text: str) -> bytes:
    """Write a comment line, which clients ignore; ``text`` must not contain a line end."""
    return b": " + text.encode() + b"\n\n"
