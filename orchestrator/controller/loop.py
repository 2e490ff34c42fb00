"""Drive the controller by a timer. The timer only says "look"; what a look does, does not depend on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from orchestrator.control.controller import Controller, Trouble
from orchestrator.errors import GreenctlError, LeaseHeld

LONGEST_PAUSE_SECONDS = 30.0
MOST_DOUBLINGS = 30
"""A day without a database is some thousand failed looks, and two to that power is no number of seconds any more."""

log = structlog.get_logger(__name__)


async def run(
    controller: Controller, tick_seconds: float, stop: asyncio.Event, keep_gateway: Callable[[], Awaitable[None]]
) -> None:
    """Look every ``tick_seconds`` until ``stop`` is set; the look under way is finished first.

    An error that a look raises ends it, never the loop: the next one starts afresh, later each time up to half a
    minute. What only one service meets is logged, and the others' looks stay as near to each other as ever. Losing the
    turn (``LeaseHeld``) ends the loop and is raised.
    """
    asked = asyncio.Event()
    scheduler = AsyncIOScheduler(timezone="UTC")
    scheduler.add_job(asked.set, "interval", seconds=tick_seconds, max_instances=1, coalesce=True)
    scheduler.add_job(keep_gateway, "interval", seconds=max(2.0, tick_seconds), max_instances=1, coalesce=True)
    scheduler.start()
    asked.set()
    failures = 0
    try:
        while not stop.is_set():
            await _either(asked, stop)
            if stop.is_set():
                return
            asked.clear()
            failures = await _look(controller, failures)
            if failures:
                await _pause(stop, min(LONGEST_PAUSE_SECONDS, tick_seconds * 2 ** min(failures, MOST_DOUBLINGS)))
    finally:
        scheduler.shutdown(wait=False)


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


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(e.wait()) for e in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
