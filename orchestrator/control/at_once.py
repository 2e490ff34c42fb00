"""Wait for several things of the same kind at once, and for the slow ones among them no longer than is worth it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

V = TypeVar("V")


async def all_of(work: Sequence[Coroutine[Any, Any, V]]) -> list[V]:
    """Return all answers in order; raises the first error. One alone, which is most services' lot, needs no task."""
    if not work:
        return []
    return [await work[0]] if len(work) == 1 else list(await asyncio.gather(*work))


class Questions(Generic[V]):
    """Questions to somebody outside, one of each name at a time. A late answer is there when it is asked again."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[V]] = {}

    async def answers(
        self, asked: Mapping[str, Callable[[], Coroutine[Any, Any, V]]], patience: timedelta | None
    ) -> dict[str, V]:
        """Return the answers that have come, by name; raises the first error.

        Questions that are asked now are waited for as long as that; one that was open before is neither asked nor
        waited for again, so whoever never answers holds up one look of many. ``None``: all are waited for.
        """
        if patience is None:
            return dict(zip(asked, await all_of([ask() for ask in asked.values()]), strict=True))
        new = []
        for name, ask in asked.items():
            if not self._is_open(name):
                question = self._open[name] = asyncio.create_task(ask())
                if not question.done():
                    new.append(question)
        if new:
            await asyncio.wait(new, timeout=patience.total_seconds())
        come = {name: self._open.pop(name) for name in asked if self._open[name].done()}
        for answer in come.values():
            answer.cancelled() or answer.exception()  # seen, also where an earlier one is raised
        return {name: answer.result() for name, answer in come.items()}

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Wait no longer for the answers of others."""
        for name in set(self._open) - set(names):
            self._open.pop(name).cancel()

    def _is_open(self, name: str) -> bool:
        """Whether somebody may still answer: what was asked in an event loop that has ended is over."""
        question = self._open.get(name)
        return question is not None and question.get_loop() is asyncio.get_running_loop() and not question.cancelled()
