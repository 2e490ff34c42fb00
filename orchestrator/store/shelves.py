"""Values by name in order of arrival, some of them still open: what the memory of one process is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

V = TypeVar("V")


class Shelf(Generic[V]):
    """A dictionary that also knows which of its values are open, so that a long history does not slow down a look."""

    def __init__(self, is_open: Callable[[V], bool]) -> None:
        self._is_open = is_open
        self._values: dict[str, V] = {}
        self._arrival: dict[str, int] = {}
        self._open: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> V | None:
        """Return the value, if there is one."""
        return self._values.get(name)

    def put(self, name: str, value: V) -> V:
        """Keep the value in the place of an earlier one of that name, or after all others; return it."""
        self._arrival.setdefault(name, len(self._arrival))
        self._values[name] = value
        if self._is_open(value):
            self._open.add(name)
        else:
            self._open.discard(name)
        return value

    def drop(self, name: str) -> V:
        """Forget the value and return it; the others keep their order. Raises ``KeyError`` when there is none."""
        self._open.discard(name)
        return self._values.pop(name)

    def all(self) -> list[V]:
        """Return everything, in order of arrival."""
        return list(self._values.values())

    def open(self) -> list[V]:
        """Return what is open, in order of arrival."""
        return [self._values[name] for name in sorted(self._open, key=self._arrival.__getitem__)]
