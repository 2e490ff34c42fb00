"""The strict reading of what the gateway and its controller write to each other, with the place of whatever is wrong.

Whoever reads keeps its last good document where the new one is refused, and is told the place and the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from orchestrator.domain.time import Instant, as_utc, parse_instant

FORMAT: Final = 1
"""Version of the JSON layout. A reader refuses any other."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_Value = TypeVar("_Value")


class InvalidRouting(ValueError):
    """A table or a status that cannot be used; the text says where in the document and why."""


def require_name(what: str, name: str) -> None:
    """Raise :class:`InvalidRouting` unless this can be a name."""
    if not _NAME.fullmatch(name):
        raise InvalidRouting(f"{what}: {name!r} is not a plain name (letters, digits and ._:/@+-, at most 128)")


def require_unique(what: str, names: Iterable[str]) -> None:
    """Raise :class:`InvalidRouting` where a name comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRouting(f"{what}: {name!r} appears twice")
        seen.add(name)


class Fields:
    """One JSON object being read: every key is asked for once, by type, and none may be left over."""

    def __init__(self, place: str, values: Mapping[str, object]) -> None:
        self._place = place
        self._values = dict(values)

    @classmethod
    def parse(cls, text: str | bytes) -> Fields:
        """Read a document; raises :class:`InvalidRouting` unless it is one JSON object."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRouting(f"not JSON: {error}") from error
        if not isinstance(document, dict):
            raise InvalidRouting("the document is not a JSON object")
        return cls("", document)

    def expect_format(self) -> None:
        """Refuse a document of another layout."""
        found = self.whole("format")
        if found != FORMAT:
            raise InvalidRouting(f"format: {found}, but this version reads {FORMAT}")

    def has(self, key: str) -> bool:
        """Whether a key is there and has not been read."""
        return key in self._values

    def text(self, key: str) -> str:
        """Read a text."""
        return self._typed(key, "text", lambda v: v if isinstance(v, str) else None)

    def flag(self, key: str) -> bool:
        """Read a true or false."""
        return self._typed(key, "true or false", lambda v: v if isinstance(v, bool) else None)

    def whole(self, key: str) -> int:
        """Read a whole number."""
        return self._typed(
            key, "a whole number", lambda v: v if isinstance(v, int) and not isinstance(v, bool) else None
        )

    def number(self, key: str) -> float:
        """Read a number."""
        return self._typed(
            key, "a number", lambda v: float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else None
        )

    def instant(self, key: str) -> Instant:
        """Read an instant, as UTC."""
        try:
            return as_utc(parse_instant(self.text(key)))
        except ValueError as error:
            raise self._wrong(key, str(error)) from error

    def optional_text(self, key: str) -> str | None:
        """Read a text that may be null."""
        return self.text(key) if self._present(key) else None

    def optional_number(self, key: str) -> float | None:
        """Read a number that may be null."""
        return self.number(key) if self._present(key) else None

    def wholes(self, key: str) -> tuple[int, ...]:
        """Read a list of whole numbers of at least 0."""
        items = self._typed(key, "a list", lambda v: v if isinstance(v, list) else None)
        if not all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in items):
            raise self._wrong(key, "an entry is not a whole number of at least 0")
        return tuple(items)

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts."""
        items = self._typed(key, "a list", lambda v: v if isinstance(v, list) else None)
        if not all(isinstance(item, str) for item in items):
            raise self._wrong(key, "an entry is not text")
        return tuple(items)

    def objects(self, key: str, *, missing_is_empty: bool = False) -> list[Fields]:
        """Read a list of objects; of one that may be left out, none."""
        if missing_is_empty and key not in self._values:
            return []
        items = self._typed(key, "a list", lambda v: v if isinstance(v, list) else None)
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                raise self._wrong(f"{key}[{index}]", "not an object")
        return [Fields(f"{self._place}{key}[{index}].", item) for index, item in enumerate(items)]

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        if self._values:
            raise self._wrong(next(iter(self._values)), "unknown key")

    def build(self, make: Callable[[], _Value]) -> _Value:
        """Construct the value, and put this object's place in front of what its constructor refuses."""
        try:
            return make()
        except InvalidRouting as error:
            raise InvalidRouting(f"{self._place}{error}") from error

    def _typed(self, key: str, wanted: str, accept: Callable[[object], _Value | None]) -> _Value:
        if key not in self._values:
            raise self._wrong(key, "missing")
        accepted = accept(self._values.pop(key))
        if accepted is None:
            raise self._wrong(key, f"not {wanted}")
        return accepted

    def _present(self, key: str) -> bool:
        """Whether an optional key has a value; an explicit null is consumed here."""
        if key not in self._values:
            raise self._wrong(key, "missing")
        if self._values[key] is None:
            del self._values[key]
            return False
        return True

    def _wrong(self, key: str, why: str) -> InvalidRouting:
        return InvalidRouting(f"{self._place}{key}: {why}")
