"""Drive the controller by a timer. The timer only says "look"; what a look does, does not depend on it.

The timer goes by the machine's wall clock. Set back by an hour, that says "look" again an hour later, so it is wound up
anew as soon as it has said nothing for some ticks of a clock that nobody sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from orchestrator.control.controller import Controller, Trouble
from orchestrator.control.held_turn import HeldTurn
from orchestrator.domain.turns import RENEW_EVERY
from orchestrator.errors import GreenctlError, LeaseHeld

LONGEST_PAUSE_SECONDS = 30.0
MOST_DOUBLINGS = 30
"""A day without a database is some thousand failed looks, and two to that power is no number of seconds any more."""

SILENT_TICKS, SILENT_SECONDS = 3.0, 1.0
"""A timer that has said nothing for so many ticks and so many seconds stands still."""

log = structlog.get_logger(__name__)


async def run(
    controller: Controller,
    tick_seconds: float,
    stop: asyncio.Event,
    keep_gateway: Callable[[], Awaitable[None]],
    timer: AsyncIOScheduler | None = None,
    turn: HeldTurn | None = None,
) -> None:
    """Look every ``tick_seconds`` until ``stop`` is set; the look under way is finished first.

    An error that a look raises ends it, never the loop: the next one starts afresh, later each time up to half a
    minute. What only one service meets is logged, and the others' looks stay as near to each other as ever. Losing the
    turn (``LeaseHeld``) ends the loop and is raised, by a look or by the ``turn``. That is renewed beside the looks:
    one of them may take longer than others wait for a word of us.
    """
    asked = asyncio.Event()
    keeper = None if turn is None else _TurnKeeper(turn, asked)
    timer = timer or AsyncIOScheduler(timezone="UTC")
    jobs = [
        (timer.add_job(what, "interval", seconds=seconds, coalesce=True, misfire_grace_time=None), seconds)
        for what, seconds in (
            (asked.set, tick_seconds),
            (keep_gateway, max(2.0, tick_seconds)),
            *([] if keeper is None else [(keeper.renew, RENEW_EVERY.total_seconds())]),
        )
    ]
    timer.start()
    asked.set()
    failures = 0
    try:
        while not stop.is_set():
            if not await _either(asked, stop, seconds=SILENT_SECONDS + SILENT_TICKS * tick_seconds):
                log.warning("timer_stood_still", message="the machine's clock was set back; the timer is wound up anew")
                for job, seconds in jobs:
                    job.reschedule("interval", seconds=seconds)
            if stop.is_set():
                return
            asked.clear()
            if keeper is not None:
                keeper.require()
            failures = await _look(controller, failures)
            if failures:
                await _pause(stop, min(LONGEST_PAUSE_SECONDS, tick_seconds * 2 ** min(failures, MOST_DOUBLINGS)))
    finally:
        timer.shutdown(wait=False)


class _TurnKeeper:
    """Renews the turn by the timer, and remembers that it was lost until somebody can be told."""

    def __init__(self, turn: HeldTurn, asked: asyncio.Event) -> None:
        self._turn = turn
        self._asked = asked
        self._lost: LeaseHeld | None = None

    async def renew(self) -> None:
        """Be heard of. A database that cannot be reached is asked again; looks tell of it."""
        try:
            self._turn.renew()
        except LeaseHeld as error:
            self._lost = error
            self._asked.set()
        except GreenctlError as error:
            log.info("turn_not_renewed", code=error.code, message=error.message)

    def require(self) -> None:
        """Raise ``LeaseHeld`` once the turn is known to be somebody else's."""
        if self._lost is not None:
            raise self._lost


async def _look(controller: Controller, failures: int) -> int:
    """Look once and log what went wrong; return how many looks in a row have come to nothing."""
    raised: Exception | None = None
    try:
        await controller.tick()
    except LeaseHeld:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, there is a next look
        raised = error
    troubles = list(controller.troubles)
    if raised is not None and all(t.error is not raised for t in troubles):
        troubles.append(Trouble("", raised))
    for trouble in troubles:
        _log(trouble)
    return 0 if raised is None else failures + 1


def _log(trouble: Trouble) -> None:
    error, whose = trouble.error, {"service": trouble.service} if trouble.service else {}
    if isinstance(error, GreenctlError):
        log.warning("look_failed", code=error.code, message=error.message, hint=error.hint(), **whose)
    else:
        log.error("look_failed", code="internal_error", exc_info=error, **whose)


async def _either(*events: asyncio.Event, seconds: float) -> bool:
    """Wait for one of them for so long; return whether it came."""
    waits = [asyncio.ensure_future(e.wait()) for e in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return bool(done)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
