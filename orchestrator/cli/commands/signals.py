"""``greenctl signals``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.render import signals as page
from orchestrator.cli.render.signals import SourceLine
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors
from orchestrator.domain.time import Instant, Window
from orchestrator.errors import SignalUnavailable, UsageError
from orchestrator.signals.live import LiveCarbon
from orchestrator.signals.record import write_recording

DEFAULT_DAYS: Final = 1
MAX_DAYS: Final = 28

app = new_app(
    """Look at the live carbon sources, and record what they say.

    Examples:
      GREENCTL_SIGNALS__LIVE='["national-grid"]' greenctl signals status --zone GB --factors direct

    The sources are those of signals.live; greenctl carbon shows what services go by, whoever said it.
    """
)

Zones = Annotated[
    list[str] | None,
    typer.Option("--zone", metavar="ZONE", help="Ask about this grid zone; may be repeated.", show_default=False),
]
CountedAs = Annotated[Accounting, typer.Option("--accounting", help="Grid mix or marginal plant.")]
WithFactors = Annotated[Factors, typer.Option("--factors", help="Life cycle or stack only.")]


@app.command(cls=Command)
def status(
    ctx: typer.Context,
    *,
    zone: Zones = None,
    accounting: CountedAs = Accounting.AVERAGE,
    factors: WithFactors = Factors.LIFECYCLE,
) -> None:
    """Show each source's zones and health: value, age, doubts, requests.

    Examples:
      greenctl signals status
      greenctl signals status --zone DE --zone FR
      greenctl signals status --zone GB --factors direct --json

    Without --zone nobody is asked: it shows what is remembered, by this and other processes. A source that was asked a
    moment ago is not asked again; one that cannot be asked says why, and until when it is left alone. Where two sources
    contradict one another about a zone, neither counts.
    """
    session = Session.of(ctx)
    sources = _sources(session)
    now = session.runtime.clock.now()
    basis = Basis(accounting, factors)
    lines = [found for source in sources for found in _lines(session, source, zone or [], basis, now)]
    health = [source.health(now) for source in sources]
    session.emit(
        sources=lines,
        health=health,
        contradictions=page.contradictions(lines),
        owners={s.name: s.credit for s in sources},
        at=now,
    )
    owners = [(s.name, s.credit) for s in sources]
    rate = session.runtime.clock.rate
    session.show(page.render(lines, health=health, owners=owners, at=now, rate=rate, width=session.out.width))
    for source in sources:
        if source.problem:
            session.complain(line(("What is remembered cannot be used: ", "bold"), source.problem))
    if zone and not any(one.newest for one in lines):
        raise SignalUnavailable("no source has a number of these zones")


@app.command(cls=Command)
def record(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the recording; made if it is not there.")],
    *,
    zone: Zones = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="Which of signals.live; needed if there are several.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=MAX_DAYS, help="How far back.")] = DEFAULT_DAYS,
    accounting: CountedAs = Accounting.AVERAGE,
    factors: WithFactors = Factors.LIFECYCLE,
) -> None:
    """Write the past hours of a source into a recording that can be replayed.

    Examples:
      greenctl signals record my-grid --zone DE --zone FR --days 10
      greenctl signals record my-grid --zone GB --factors direct --source national-grid

    Run it daily, and the recording grows: hours that were corrected are replaced, others stay. What is written can be
    read with greenctl carbon --recorded DIR and signals.recorded. Mind the terms of the source: DIR/README.md names it.
    """
    session = Session.of(ctx)
    chosen = _chosen(session, source)
    if accounting is not Accounting.AVERAGE:
        raise UsageError("recordings hold average intensity only", hint="Leave --accounting away.")
    if not zone:
        raise UsageError("name the zones to record", hint="Add --zone ZONE; greenctl carbon --all lists zones.")
    now = session.runtime.clock.now()
    window = Window(now - timedelta(days=days), now)
    points: dict[str, tuple[CarbonIntensity, ...]] = {}
    for name in dict.fromkeys(zone):
        points[name] = session.run(chosen.history(name, Basis(accounting, factors), window, now)).points
    empty = sorted(name for name, found in points.items() if not found)
    if len(empty) == len(points):
        raise SignalUnavailable(f"{chosen.name} tells no past hour of {', '.join(empty)}")
    files = write_recording(folder, chosen.credit, factors, {n: p for n, p in points.items() if p})
    hours = {name: len(found) for name, found in points.items()}
    session.emit(folder=str(folder), source=chosen.name, hours=hours, files=[f.name for f in files])
    session.show(line(f"{sum(hours.values())} hours of {len(points) - len(empty)} zones in {folder}"))
    for name in empty:
        session.complain(line((f"{name}: ", "bold"), f"{chosen.name} tells no past hour of it"))


def _sources(session: Session) -> list[LiveCarbon]:
    from orchestrator.wiring import live_sources  # noqa: PLC0415 - --help needs no adapters

    sources = live_sources(session.settings)
    if not sources:
        raise UsageError("no live source is set", hint="""Set GREENCTL_SIGNALS__LIVE='["national-grid"]' or others.""")
    return sources


def _chosen(session: Session, name: str | None) -> LiveCarbon:
    sources = {source.name: source for source in _sources(session)}
    if name is None and len(sources) == 1:
        return next(iter(sources.values()))
    if name not in sources:
        asked = "several live sources are set" if name is None else f"{name!r} is not one of signals.live"
        raise UsageError(asked, hint=f"Name one: --source {' or '.join(sources)}.")
    return sources[name]


def _lines(session: Session, source: LiveCarbon, zones: list[str], basis: Basis, now: Instant) -> list[SourceLine]:
    async def ask() -> None:
        for name in zones:
            try:
                await source.latest(name, basis, now)
            except SignalUnavailable:
                # The state says it.
                continue

    session.run(ask())
    wanted = set(zones)
    return [
        SourceLine(
            source.name,
            state.zone,
            state.basis,
            state.newest,
            None if state.newest is None else state.newest.age(now).total_seconds(),
            state.ask_again_at,
            state.problem,
            state.doubts,
        )
        for state in source.states(now)
        if not wanted or (state.zone in wanted and state.basis == basis)
    ]
