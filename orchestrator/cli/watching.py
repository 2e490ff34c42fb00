"""Waiting for a request to be done: a picture that is redrawn on a terminal, plain lines anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Final

import typer
from rich.live import Live

from orchestrator.cli.acting import is_acting, last_word
from orchestrator.cli.render import progress
from orchestrator.cli.render.labels import labels
from orchestrator.cli.render.numbers import duration
from orchestrator.cli.render.text import Escaped, line
from orchestrator.cli.session import Session
from orchestrator.control.runtime import Runtime
from orchestrator.control.usecases import follow
from orchestrator.domain.records import Event, Operation
from orchestrator.errors import Conflict, ExitStatus, TimedOut

REDRAW_SECONDS: Final = 0.5

ASK_SECONDS: Final = 5.0
"""How often it is asked whether anybody works on a request. Not there twice in a row is not there: who was told to end
and starts anew is away for less than that."""


def last_event_id(runtime: Runtime, service: str) -> int:
    """Return the id of the newest event of a service, 0 without any: what comes later is news."""
    newest = runtime.store.last_event(service)
    return 0 if newest is None else newest.id


def require_idle(runtime: Runtime, service: str) -> None:
    """Raise ``Conflict`` before anybody is asked anything that could not be carried out now."""
    still_open = next(iter(runtime.store.operations(service)), None)
    if still_open is not None:
        raise Conflict(
            f"{still_open.kind.value} {still_open.id} by {still_open.actor} is still {still_open.state.value}",
            hint=f"Watch it to its end: greenctl rollout status {service} --watch",
        )


def watch(session: Session, operation: Operation, *, after_event: int, timeout: timedelta | None) -> None:
    """Follow a request to its end. Raises the request's own error when it failed.

    The work does not depend on us: ``TimedOut`` and Ctrl-C (exit 130) leave it running, and say how to come back.
    """
    again = f"greenctl rollout status {operation.service} --watch"
    seconds = None if timeout is None else timeout.total_seconds()
    with _leaving_it_running(session, again):
        session.run(_watch(session, operation, after_event, seconds, again))


@contextmanager
def _leaving_it_running(session: Session, again: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        session.complain(line("The work continues. Come back to it with: ", (again, "bold")))
        raise typer.Exit(ExitStatus.INTERRUPTED) from None


async def _watch(session: Session, operation: Operation, after_event: int, seconds: float | None, again: str) -> None:
    try:
        async with asyncio.timeout(seconds), _picture(session, operation.service) as events:
            workers = Workers(session)
            async for event in follow(operation.id, session.runtime, after_event=after_event, waiting=workers.look):
                events.append(event)
                if not session.talk.is_terminal:
                    names = labels(session.runtime.store.replicas(operation.service, ended=True))
                    session.say(progress.event_line(event, names))
    except TimeoutError as error:
        waited = duration(seconds)
        raise TimedOut(f"not done after {waited}; the work goes on", hint=f"Come back to it with: {again}") from error


class Workers:
    """Says so when no controller runs that could do what is waited for: a request may wait, but not in silence."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked_at = session.runtime.clock.monotonic()
        self._missed = 0

    def look(self) -> None:
        """Ask, if it is time to."""
        now = self._session.runtime.clock.monotonic()
        if now - self._asked_at < ASK_SECONDS:
            return
        self._asked_at = now
        is_there = is_acting(self._session)
        self._missed = 0 if is_there else self._missed + 1
        if self._missed == 2:  # noqa: PLR2004  # once for each time that it is away
            folder = self._session.settings.state_dir
            start = ("greenctl controller start", "bold")
            text = f"The request waits: no controller runs on {folder}{last_word(self._session)}. Start one: "
            self._session.complain(line(text, start))


@asynccontextmanager
async def _picture(session: Session, service: str) -> AsyncIterator[list[Event]]:
    """Redraw the picture until the block ends. Rich's own timer is off: the store is read in this thread only."""
    events: list[Event] = []
    if session.quiet or not session.talk.is_terminal:
        yield events
        return
    with Live(console=session.talk, auto_refresh=False, transient=False) as live:

        def draw() -> None:
            runtime = session.runtime
            picture = progress.board(
                runtime.store.replicas(service),
                events,
                now=runtime.clock.now(),
                rate=runtime.clock.rate,
                width=session.talk.width,
            )
            live.update(Escaped(picture), refresh=True)

        redrawing = asyncio.create_task(_redraw(draw))
        try:
            yield events
        finally:
            redrawing.cancel()
            with suppress(asyncio.CancelledError):
                await redrawing
            draw()


async def _redraw(draw: Callable[[], None]) -> None:
    while True:
        draw()
        await asyncio.sleep(REDRAW_SECONDS)
