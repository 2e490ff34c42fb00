"""Who fetches for the price sources, as narrowly as they need it: :class:`orchestrator.signals.http.Fetch` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Answer(Protocol):
    """What a server said."""

    @property
    def where(self) -> str:
        """Host and path, for messages."""
        ...

    @property
    def status(self) -> int:
        """The answer's HTTP status, below 500."""
        ...

    @property
    def is_ok(self) -> bool:
        """Whether it is the answer that was asked for."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What it says about the answer."""
        ...

    def json(self) -> object:
        """Decode it. Raises ``SignalFormatError``."""
        ...

    def words(self) -> str:
        """Return the beginning of the body as one printable line, for a message."""
        ...


class Fetcher(Protocol):
    """Fetches within bounds of time and size, from public addresses, and follows nothing."""

    def check(self, url: str) -> str:
        """Return the address, or raise ``InvalidSettings`` when it may not be used."""
        ...

    async def get(
        self, url: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer. Raises ``SignalUnavailable``."""
        ...
