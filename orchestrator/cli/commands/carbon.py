"""``greenctl carbon``."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import Regions
from orchestrator.cli.render import carbon as page
from orchestrator.cli.session import Session
from orchestrator.control.usecases import carbon_outlook
from orchestrator.domain.carbon import Accounting, Basis, Factors
from orchestrator.errors import SignalUnavailable, UnknownRegion, UsageError

DEFAULT_HOURS = 24
DEFAULT_WINDOW = 4
MAX_HOURS = 168

app = new_app()


@app.command(cls=Command)
def carbon(
    ctx: typer.Context,
    *,
    zone: Annotated[
        list[str] | None,
        typer.Option(
            "--zone", metavar="ZONE", help="Grid zone (SE, US-MIDA-PJM); may be repeated.", show_default=False
        ),
    ] = None,
    region: Regions = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Every zone of the catalogue, not only where replicas can run.")
    ] = False,
    hours: Annotated[int, typer.Option("--hours", min=1, max=MAX_HOURS, help="How far to look ahead.")] = DEFAULT_HOURS,
    window: Annotated[
        int, typer.Option("--window", min=1, max=MAX_HOURS, help="Length of the cleanest window, in hours.")
    ] = DEFAULT_WINDOW,
    accounting: Annotated[Accounting, typer.Option("--accounting", help="Grid mix or marginal plant.")] = (
        Accounting.AVERAGE
    ),
    factors: Annotated[Factors, typer.Option("--factors", help="Life cycle or stack only.")] = Factors.LIFECYCLE,
    recorded: Annotated[
        Path | None,
        typer.Option("--recorded", metavar="DIR", help="Read the grid from recorded files there.", show_default=False),
    ] = None,
) -> None:
    """Show grid carbon intensity now and in the coming hours.

    Examples:
      greenctl carbon                                    the zones in which replicas can run
      greenctl carbon --all                              every zone of the region catalogue
      greenctl carbon --region 'local/*'                 regions by pattern
      greenctl carbon --zone SE --zone DE --hours 48 --window 6

    Each number is shown with its source, its age and the mark of its kind; a zone without a number says why.
    """
    session = Session.of(ctx)
    session.use_recording(recorded)
    if window > hours:
        raise UsageError(f"--window {window} is longer than --hours {hours}")
    patterns = region or (["*"] if everywhere or zone else [f"{name}/*" for name in session.runtime.provisioners])
    regions_by_zone = _regions_by_zone(session, patterns)
    # A zone that was named stands alone; its regions are shown, others are not asked for.
    zones = sorted({*(zone or []), *(regions_by_zone if region or not zone else ())})
    basis = Basis(accounting, factors)
    runtime = session.runtime
    outlooks = session.run(
        carbon_outlook(
            runtime, zones=zones, regions_by_zone=regions_by_zone, hours=hours, window_hours=window, basis=basis
        )
    )
    session.emit(zones=outlooks, at=runtime.clock.now(), clock_rate=runtime.clock.rate, basis=basis)
    session.show(
        page.render(
            outlooks,
            at=runtime.clock.now(),
            rate=runtime.clock.rate,
            hours=hours,
            window_hours=window,
            basis=basis,
            width=session.out.width,
        )
    )
    if all(o.mean_grams_per_kwh is None and o.age_seconds is None for o in outlooks):
        raise SignalUnavailable("none of these zones has a number")


def _regions_by_zone(session: Session, patterns: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the matching regions of each zone. Raises ``UnknownRegion`` for a pattern that matches none."""
    catalogue = session.outside.regions(session.settings)
    for pattern in patterns:
        if not catalogue.match([pattern]):
            raise UnknownRegion(f"no region matches {pattern!r}", hint="greenctl carbon --all lists the regions.")
    found: defaultdict[str, list[str]] = defaultdict(list)
    for region in catalogue.match(patterns):
        if region.zone is not None:
            found[region.zone].append(region.id)
    return {zone: tuple(sorted(ids)) for zone, ids in found.items()}
