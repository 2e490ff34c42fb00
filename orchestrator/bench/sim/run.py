"""Run one seed to its end, and make a run that fails as small as it can be."""

from __future__ import annotations

import asyncio
import gc
import selectors
import tempfile
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.bench.sim.checks import Violation
from orchestrator.bench.sim.faults import Setting, Work
from orchestrator.bench.sim.world import SimWorld

MOST_TRIES = 60
"""Runs that are spent on making a failing one smaller."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. ``hours``: simulated, of all services together."""

    setting: Setting
    violations: tuple[Violation, ...]
    fingerprint: str
    hours: float
    looks: int
    launches: int
    history: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations


def run(setting: Setting, url: str = "") -> Outcome:
    """Live through a run. The same setting gives the same outcome, byte for byte.

    ``url``: of an empty database to live in; without it a SQLite file is made where the setting wants one.
    """
    needs_folder = setting.database == "sqlite" and not url
    with tempfile.TemporaryDirectory() if needs_folder else nullcontext("") as folder:
        world = SimWorld(setting, f"sqlite:///{Path(folder) / 'store.db'}" if folder else url)
        try:
            with _without_pauses(), asyncio.Runner(loop_factory=_loop) as runner:
                runner.run(_lived_at_once(world))
            return Outcome(
                setting=setting,
                violations=tuple(world.checks.violations),
                fingerprint=world.fingerprint(),
                hours=world.clock.elapsed / 3600 * setting.services,
                looks=world.looks,
                launches=len(world.cloud.created),
                history=tuple(world.history),
            )
        finally:
            world.close()


class _NothingComes(selectors.DefaultSelector):
    """Looks at no socket: there is none in a simulated world, and asking the system takes as long as a small look."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return nothing, unless somebody really waits."""
        return [] if timeout == 0 else super().select(timeout)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(_NothingComes())


async def _lived_at_once(world: SimWorld) -> None:
    asyncio.get_running_loop().set_task_factory(_begun_at_once)
    await world.live()


def _begun_at_once(loop: asyncio.AbstractEventLoop, work: Any, **_: Any) -> asyncio.Future[Any]:
    """Begin a task right where it is made, as Python 3.12 can do by itself; most need no turn of the loop then.

    Nothing here answers by way of a socket, so a look waits for nothing unless somebody sleeps in it.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        answer = loop.create_future()
        answer.set_result(done.value)
        return answer
    except BaseException as error:  # noqa: BLE001  # a process that is killed is one of them
        answer = loop.create_future()
        answer.set_exception(error)
        return answer
    return asyncio.Task(_rest_of(work, waits_for), loop=loop)


async def _rest_of(work: Any, waits_for: object) -> object:
    return await _steps(work, waits_for)


@types.coroutine
def _steps(work: Any, waits_for: object) -> Generator[Any, Any, object]:
    """Go on with a coroutine that waits already: for that first."""
    while True:
        failed, sent = None, None
        try:
            sent = yield waits_for
        except BaseException as error:  # noqa: BLE001  # it is the coroutine's to deal with
            failed = error
        try:
            waits_for = work.send(sent) if failed is None else work.throw(failed)
        except StopIteration as done:
            return done.value


@contextmanager
def _without_pauses() -> Iterator[None]:
    """Leave cycles of garbage alone for the time of one run: it makes few, and looking for them takes a fifth of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def minimised(
    setting: Setting, broken: str, *, tries: int = MOST_TRIES, run_it: Callable[[Setting], Outcome] = run
) -> Setting:
    """Return the run without the faults that the violation does not need: halves first, then one by one.

    ``broken``: the invariant that must still be broken. At most ``tries`` runs.
    """

    def still_fails(candidate: Setting) -> bool:
        return any(v.invariant == broken for v in run_it(candidate).violations)

    left, size = tries, max(1, len(setting.faults) // 2)
    while left > 0:
        start = 0
        while start < len(setting.faults) and left > 0:
            dropped = frozenset(f.number for f in setting.faults[start : start + size])
            smaller = setting.without(dropped)
            left -= 1
            if still_fails(smaller):
                setting = smaller
            else:
                start += size
        if size == 1:
            break
        size = max(1, size // 2)
    return setting


def story(outcome: Outcome, lines: int = 40) -> Sequence[str]:
    """Return what to print of a run that failed."""
    setting = outcome.setting
    return [
        *(f"  {v}" for v in outcome.violations),
        f"  {_words(setting)}",
        *(f"  {f}" for f in setting.faults),
        "  the last of its history:",
        *(f"    {line}" for line in outcome.history[-lines:]),
    ]


def _words(setting: Setting) -> str:
    market = "spot" if setting.spot else "on demand"
    or_else = " or more" * setting.scaled + " or none" * setting.sleeps + _work_in_words(setting.work)
    number = f"{setting.services} services of {setting.replicas} replicas{or_else}, {market}"
    number += ", of three variants" * setting.varied + ", by their models' ids" * setting.unnamed
    if setting.hedge is not None:
        number += f", {setting.hedge}"
    if setting.limits is not None:
        number += f", {setting.limits}"
    number += ", a clock that is set" * setting.steps + ", late answers" * setting.late
    number += ", two hosts" * setting.hosts + ", that survive the loss of a region" * setting.survives
    number += (
        ", commands that are interrupted" * setting.commands
        + ", a provider that hangs" * setting.hangs
        + ", a disk that is full" * setting.full
        + ", a database that hangs" * setting.silent
        + ", signals that lie" * setting.lies
    )
    if setting.clients:
        number += f", clients in {' and '.join(setting.clients)}"
        number += f", first token within {setting.ttft_seconds:g} s" if setting.ttft_seconds else ""
    looks = f"looks every {setting.look_seconds:.0f} s, listings late by up to {setting.lag_seconds:.0f} s"
    return f"{number}; {looks}; {setting.database}"


def _work_in_words(work: Work | None) -> str:
    if work is None:
        return ""
    how = "in pieces" if work.preemptible else "in one piece"
    when = f"after {work.due_hours:.1f} h{', every day' * work.daily}"
    return f" for {work.hours:.1f} h of work {how}, due {when}"
