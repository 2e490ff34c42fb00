"""Many crashes on all cores: a chapter is one story in one world, crashed again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.sim.crash import STORIES, Crash, command_crashes, crashes, some_of, tell


@dataclass(frozen=True, slots=True)
class Chapter:
    """What is to be told. ``every``: only each n-th crash of it; ``points``: of at most so many, ``None`` of all.

    ``until``: of ``time.monotonic``; no chapter begins after it, and of one that has begun one crash is told at least.
    """

    story: int
    seed: int
    every: int
    points: int | None
    pairs: bool
    until: float


@dataclass(slots=True)
class Account:
    """How it went: ``points`` there were, ``hit``: which of them, by name and mode; ``broken``: what went wrong."""

    chapter: Chapter
    points: int
    runs: int = 0
    hit: set[tuple[str, str, str]] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    core_seconds: float = 0.0

    @property
    def name(self) -> str:
        """Which story it was."""
        return STORIES[self.chapter.story].name


def told(chapters: Sequence[Chapter], jobs: int) -> Iterator[Account]:
    """Tell them all, and yield how each went, in their order."""
    if jobs == 1:
        yield from map(tell_all, chapters)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(tell_all, chapters)


def chapters(seeds: range, every: int, points: int | None, *, pairs: bool, seconds: float) -> list[Chapter]:
    """Return every story in every world, one story after the other; each chapter has its share of the seconds."""
    began, number = time.monotonic(), len(STORIES) * len(seeds)
    return [
        Chapter(story, seed, every, points, pairs, began + seconds * (place + 1) / number)
        for place, (story, seed) in enumerate((story, seed) for story in range(len(STORIES)) for seed in seeds)
    ]


def tell_all(chapter: Chapter) -> Account:
    """Tell a story undisturbed, then with each of its crashes."""
    began, story = time.process_time(), STORIES[chapter.story]
    if time.monotonic() > chapter.until:
        return Account(chapter, 0)
    whole = tell(story, chapter.seed)
    account = Account(chapter, len(whole.points))
    if whole.violations:
        account.broken.append(f"{story.name}, seed {chapter.seed}, undisturbed: {whole.violations[0]}")
        return account
    of_commands = () if chapter.pairs else command_crashes(len(whole.commands))  # they are few, and none is left out
    for crash in (*of_commands, *_crashes(chapter, len(whole.points))):
        if account.runs and time.monotonic() > chapter.until:
            break
        found = tell(story, chapter.seed, crash)
        account.runs += 1
        account.hit.add((story.name, found.crashed_at, crash.mode))
        if found.violations:
            where = f"{story.name}, seed {chapter.seed}, {crash} ({found.crashed_at})"
            account.broken.append(f"{where}: {found.violations[0]}")
        elif crash.of_command and found.end != whole.end:
            account.broken.append(f"{story.name}, seed {chapter.seed}, {crash}: another end: {found.end}")
    account.core_seconds = time.process_time() - began
    return account


def _crashes(chapter: Chapter, points: int) -> Iterator[Crash]:
    """Yield those that are asked for. Of the pairs of a point that is one of a few, each seed has another one."""
    all_of_them = list(crashes(points, pairs=chapter.pairs))
    if chapter.points is None:
        yield from (c for n, c in enumerate(all_of_them) if (n + chapter.seed) % chapter.every == 0)
        return
    if chapter.pairs:
        yield from (all_of_them[n - 1] for n in some_of(len(all_of_them), chapter.points, chapter.seed))
        return
    chosen = set(some_of(points, chapter.points, chapter.seed))
    yield from (c for c in all_of_them if c.point in chosen)
