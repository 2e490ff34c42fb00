"""``greenctl rollout``."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import ServiceName, Timeout
from orchestrator.cli.pausing import Reason, set_paused
from orchestrator.cli.render import operations as page
from orchestrator.cli.render import status as status_page
from orchestrator.cli.render.numbers import duration
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.cli.watching import Workers, last_event_id, watch
from orchestrator.control.usecases import error_of, service_status
from orchestrator.control.views import ServiceStatus
from orchestrator.domain.records import Operation, OperationState
from orchestrator.domain.replica import PAID, ReplicaState
from orchestrator.errors import TimedOut, UnknownService

POLL_SECONDS = 0.5

app = new_app(
    """Follow, pause and resume changes of a service.

    Examples:
      greenctl rollout status chat --watch               until the change under way is done
      greenctl rollout history chat                      what was asked for, by whom, and how it ended
      greenctl rollout pause chat                        nothing voluntary until resumed
    """
)


@app.command(cls=Command)
def status(
    ctx: typer.Context,
    service: ServiceName,
    *,
    follow: Annotated[
        bool, typer.Option("--watch", "-w", help="Wait until the change is done.", show_default=False)
    ] = False,
    timeout: Timeout = None,
) -> None:
    """Say how far the change of a service has come.

    Examples:
      greenctl rollout status chat
      greenctl rollout status chat --watch --timeout 10m

    With --watch, the exit status is 0 when every wanted replica serves, 6 when the time is over, and the failed
    change's own otherwise. Ctrl-C stops watching only.
    """
    session = Session.of(ctx)
    if follow:
        _wait(session, service, timeout)
    (found,) = session.run(service_status(session.runtime, service))
    last = _last_operation(session, service)
    session.emit(rollout={"service": found, "last_operation": last, "settled": _is_settled(found)})
    rate, width = session.runtime.clock.rate, session.out.width
    session.show(page.headline(service, last))
    session.show(status_page.replicas(found, width=width, rate=rate))
    session.show(line("Settled." if _is_settled(found) else f"Not settled: {found.look}"))


@app.command(cls=Command)
def history(ctx: typer.Context, service: ServiceName) -> None:
    """List what was asked for, by whom, and how it ended.

    Examples:
      greenctl rollout history chat
    """
    session = Session.of(ctx)
    _require_known(session, service)
    found = session.runtime.store.operations(service, open_only=False)
    session.emit(operations=found)
    session.show(page.table(service, found, width=session.out.width))


@app.command(cls=Command)
def pause(ctx: typer.Context, service: ServiceName, *, reason: Reason = "") -> None:
    """Hold what is voluntary of a service, as greenctl pause does.

    Examples:
      greenctl rollout pause chat
    """
    _set_paused(Session.of(ctx), service, paused=True, reason=reason)


@app.command(cls=Command)
def resume(ctx: typer.Context, service: ServiceName, *, reason: Reason = "") -> None:
    """Allow it again, as greenctl resume does.

    Examples:
      greenctl rollout resume chat
    """
    _set_paused(Session.of(ctx), service, paused=False, reason=reason)


def _set_paused(session: Session, service: str, *, paused: bool, reason: str) -> None:
    answer = set_paused(session, service, paused=paused, reason=reason)
    session.emit(rollout={"service": service, "paused": answer.paused})


def _require_known(session: Session, service: str) -> None:
    if session.runtime.store.service(service) is None:
        raise UnknownService(f"no service {service!r}")


def _last_operation(session: Session, service: str) -> Operation | None:
    found = session.runtime.store.operations(service, open_only=False)
    return found[-1] if found else None


def _wait(session: Session, service: str, timeout: timedelta | None) -> None:
    """Follow the open request, or wait for a replacement that nobody asked for.

    Raises the error of a change that failed, also of one that had failed before anybody watched.
    """
    _require_known(session, service)
    news = last_event_id(session.runtime, service)
    still_open = session.runtime.store.operations(service)
    if still_open:
        watch(session, still_open[0], after_event=news, timeout=timeout)
        return
    session.run(_until_settled(session, service, None if timeout is None else timeout.total_seconds()))
    last = _last_operation(session, service)
    if last is not None and last.state is OperationState.FAILED:
        raise error_of(last)


async def _until_settled(session: Session, service: str, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            workers = Workers(session)
            (found,) = await service_status(session.runtime, service)
            while not _is_settled(found):  # the controller is another process: nothing tells us
                workers.look()
                await session.runtime.clock.sleep(POLL_SECONDS)
                (found,) = await service_status(session.runtime, service)
    except TimeoutError as error:
        again = f"Come back to it with: greenctl rollout status {service} --watch"
        raise TimedOut(f"not settled after {duration(seconds)}; the work goes on", hint=again) from error


def _is_settled(found: ServiceStatus) -> bool:
    """Whether nothing is asked for and every paid replica serves, in the wanted number; spares may come on top."""
    paid = [v.replica for v in found.replicas if v.replica.state in PAID]
    names = {r.name for r in paid}
    serving = all(r.state is ReplicaState.READY and r.replaces not in names for r in paid)
    enough = len(paid) >= found.wanted if found.wanted else not paid
    return found.operation is None and serving and enough
