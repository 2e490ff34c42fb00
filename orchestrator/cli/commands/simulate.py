"""``greenctl simulate``."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from statistics import fmean
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator import wiring
from orchestrator.cli.frame import FileCommand, new_app
from orchestrator.cli.parameters import SpecFile, parse_length
from orchestrator.cli.places import not_written, require_writable
from orchestrator.cli.reading import read_spec
from orchestrator.cli.render import simulate as page
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.control.ports import OfferSource
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.service import Policy, ServiceSpec
from orchestrator.domain.time import Instant, Window, as_utc
from orchestrator.errors import SignalUnavailable, UsageError
from orchestrator.prices.catalogue import CatalogueOffers, CompositeOffers
from orchestrator.prices.shapes import ShapeCatalogue
from orchestrator.regions.catalogue import RegionCatalogue
from orchestrator.signals.recorded import RecordedCarbon
from orchestrator.sim import html
from orchestrator.sim.prices import PriceChanges, read_prices
from orchestrator.sim.request import NEEDS_SPOT, ORACLE, REFERENCES, SPOTHEDGE, Request, has_spot, prepared
from orchestrator.sim.rules import RULES
from orchestrator.sim.runs import Row
from orchestrator.sim.simulate import Note
from orchestrator.sim.simulate import simulate as run
from orchestrator.sim.stock import read_traces
from orchestrator.sim.workload import Workload, constant, diurnal, recorded, working_hours
from orchestrator.spec.policy_file import shipped_policies, shipped_policy

OURS: Final = "ours"
EVERYTHING: Final = "all"
DEFAULT_RATE: Final = 0.5
RARELY: Final = 500_000
"""Allocations between two runs of the collector; it took a fifth of the time at its default of 700."""
DEFAULT_COLD_START: Final = timedelta(minutes=2)
LONGEST_CELL: Final = 40


class Traffic(StrEnum):
    """How replicas share the traffic."""

    EVEN = "even"
    SPEC = "spec"


app = new_app()


@app.command(cls=FileCommand)
def simulate(
    ctx: typer.Context,
    spec: SpecFile,
    *,
    begin: Annotated[
        str, typer.Option("--from", metavar="DATE", help="First hour, UTC: 2023-01-01 or 2023-01-01T06:00Z.")
    ],
    end: Annotated[str, typer.Option("--to", metavar="DATE", help="The hour after the last.")],
    policies: Annotated[
        str,
        typer.Option(
            "--policies", metavar="A,B,C", help="Rivals and policies; 'all', or 'ours' for the service's own."
        ),
    ] = EVERYTHING,
    oracle: Annotated[bool, typer.Option("--oracle", help="Add the optimum in hindsight.", show_default=False)] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="Recorded world: carbon/, spot/, catalog/ below it.", show_default=False
        ),
    ] = None,
    workload: Annotated[
        str,
        typer.Option(
            "--workload",
            metavar="KIND",
            help="diurnal, constant, working-hours, or a request trace: FILE or FILE:NAME.",
        ),
    ] = "diurnal",
    traffic: Annotated[
        Traffic,
        typer.Option("--traffic", help="Among replicas: evenly in all policies, or ours by the service's file."),
    ] = Traffic.EVEN,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="N", help="Mean requests per second.  [default: 0.5, or the trace's own]"),
    ] = None,
    cold_start: Annotated[
        timedelta,
        typer.Option("--cold-start", metavar="LENGTH", parser=parse_length, help="From asking to serving."),
    ] = "2m",  # type: ignore[assignment]  # Typer parses defaults, too
    seed: Annotated[int, typer.Option("--seed", help="For draws of availability traces.", min=0)] = 0,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="One file with plots.", show_default=False)
    ] = None,
) -> None:
    """Let a service live through a recorded year under several policies.

    Examples:
      greenctl simulate service.yaml --from 2023-01-01 --to 2024-01-01 --data DIR --oracle
      greenctl simulate service.yaml --from 2023-06-01 --to 2023-07-01 --policies ours,green-first,greedy
      greenctl simulate service.yaml --from 2023-01-01 --to 2024-01-01 --json twin.json --html twin.html

    Ours are the real controller and planner on a clock that jumps; rivals are simple rules. One ledger counts both.
    Rivals: home, cheapest-static, cheapest-spot, B3 (weekly to the cleanest 28-day mean), B3* (hindsight), greedy,
    hysteresis, follow-sun, casper, karpenter, regret, spothedge. Home and B3 are always there, and home-asleep where
    the service may sleep. With batch work those that name a place begin each round at once. Policies: the shipped
    ones by name, and ours. Ctrl-C shows what is done by then.
    """
    session = Session.of(ctx)
    if html_file is not None:
        require_writable("--html", html_file)
    loaded = read_spec(session, spec).spec
    period = Window(*_ordered(_instant("--from", begin), _instant("--to", end)))
    catalogue = wiring.regions(session.settings)
    offers = tuple(session.run(_offers(session, catalogue, data).offers(loaded.resources, period.start)))
    rules, ours, skipped = _chosen(policies, loaded, offers)
    carbon = _carbon(session, data)
    request = prepared(
        Request(
            spec=loaded,
            offers=offers,
            period=period,
            policies=ours,
            rules=rules,
            with_oracle=oracle or ORACLE in _words(policies),
            load=_load(workload, rate, period),
            traces=() if data is None else read_traces(data),
            seed=seed,
            cold_start=cold_start,
            carbon=carbon,
            longitudes=_means(catalogue, lambda region: region.longitude),
            latitudes=_means(catalogue, lambda region: region.latitude),
            prices=PriceChanges() if data is None else read_prices(data, offers),
            evenly=traffic is Traffic.EVEN,
        )
    )
    for note in skipped:
        session.say(line(("note: ", "yellow"), note))
    rows: list[Row] = []
    notes: list[str] = []
    stopped = False
    try:
        with _rarely_collected(), _shown(session, request) as tell, _doubts_told(carbon):
            session.run(_collect(request, rows, tell, notes.append))
    except KeyboardInterrupt:
        stopped = True
    document = page.document(request, rows, notes, stopped=stopped)
    session.emit(**document)
    session.show(page.render(request, rows, notes, stopped=stopped, width=session.out.width))
    if html_file is not None:
        _write(html_file, html.page(document))
    if stopped:
        raise KeyboardInterrupt


@contextmanager
def _doubts_told(carbon: RecordedCarbon) -> Iterator[None]:
    """Say of a recording that cannot be used which of its cells were not believed: those are what seems missing."""
    try:
        yield
    except SignalUnavailable as error:
        doubts = carbon.quarantined()
        if not doubts:
            raise
        first, more = doubts[0], f", and {len(doubts) - 1:,} more" if len(doubts) > 1 else ""
        cell = f"{first.file}:{first.line}: column {first.zone}: {first.text[:LONGEST_CELL]!r} is {first.reason}{more}"
        message = f"{error.message}. Not believed: {cell}"
        raise SignalUnavailable(message, hint=error.hint()) from error


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Let the collector of cycles run seldom: a simulation makes millions of values and hardly a cycle among them."""
    before = gc.get_threshold()
    gc.set_threshold(RARELY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def _collect(request: Request, rows: list[Row], tell: "Tell", note: Note) -> None:
    async for row in run(request, tell, note):
        rows.append(row)  # noqa: PERF401  # what is done by an interrupt has to be there


# ── what was asked ───────────────────────────────────────────────────────────────────────────────────


def _words(policies: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in policies.split(",") if word.strip()))


def _chosen(
    policies: str, spec: ServiceSpec, offers: Sequence[Offer]
) -> tuple[tuple[str, ...], Mapping[str, Policy], list[str]]:
    """Return the rivals, our policies by name, and what was left out. Raises ``UsageError`` for an unknown name."""
    words = _words(policies)
    shipped = shipped_policies()
    known = (*RULES, SPOTHEDGE, *shipped, OURS, ORACLE, EVERYTHING)
    for word in words:
        if word not in known:
            near = get_close_matches(word, known, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UsageError(f"--policies: there is no policy {word!r}", hint=f"{hint}Known are {', '.join(known)}.")
    if not words:
        raise UsageError("--policies names none", hint=f"Known are {', '.join(known)}.")
    skipped = []
    if EVERYTHING in words:
        words = [*RULES, SPOTHEDGE, OURS, *(w for w in shipped if w != spec.policy.name)]
        if not has_spot(offers):
            words = [w for w in words if w not in NEEDS_SPOT]
            skipped.append(f"without {', '.join(sorted(NEEDS_SPOT))}: no spot offer has a price")
    elif not has_spot(offers) and (missing := [w for w in words if w in NEEDS_SPOT]):
        hint = "Leave it out, or name a folder with a price list of spot with --data."
        raise UsageError(f"--policies: {missing[0]} needs spot offers with prices, and there are none", hint=hint)
    rules = tuple(w for w in words if w in RULES or w == SPOTHEDGE)
    ours: dict[str, Policy] = {}
    for word in words:
        if word == OURS:
            ours[OURS] = spec.policy
        elif word in shipped:
            ours[word] = shipped_policy(word).policy
    return rules, ours, skipped


def _instant(option: str, text: str) -> Instant:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no date", hint="Write 2023-01-01 or 2023-01-01T06:00Z.") from error
    return as_utc(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _ordered(begin: Instant, end: Instant) -> tuple[Instant, Instant]:
    if end <= begin:
        raise UsageError(f"--to {end:%Y-%m-%d %H:%M} is not after --from {begin:%Y-%m-%d %H:%M}")
    return begin, end


def _load(kind: str, rate: float | None, period: Window) -> Workload:
    if kind == "constant":
        return constant(period, DEFAULT_RATE if rate is None else rate)
    if kind == "diurnal":
        return diurnal(period, DEFAULT_RATE if rate is None else rate)
    if kind == "working-hours":
        return working_hours(period, DEFAULT_RATE if rate is None else rate)
    return recorded(period, Path(kind), rate)


def _carbon(session: Session, data: Path | None) -> RecordedCarbon:
    """Return the recording. Raises ``UsageError`` when none is named."""
    if data is not None:
        folder = data / "carbon" if (data / "carbon").is_dir() else data
        if not folder.is_dir():
            raise UsageError(f"--data {data}: there is no such folder", hint="Name one with carbon/ below it.")
        return RecordedCarbon(folder)
    if session.settings.signals.recorded is None:
        hint = "Give --data DIR with carbon/ci_lifecycle_YYYY.csv.gz below it, or set GREENCTL_SIGNALS__RECORDED."
        raise UsageError("there is no recorded grid to live through", hint=hint)
    return RecordedCarbon(session.settings.signals.recorded)


def _offers(session: Session, catalogue: RegionCatalogue, data: Path | None) -> OfferSource:
    """Return the configured price lists, and the recorded world's own where it has one."""
    own = wiring.offers(session.settings, catalogue)
    places = [] if data is None else [data / "catalog" / f"offers.csv{suffix}" for suffix in ("", ".gz")]
    listed = next((p for p in places if p.is_file()), None)
    if listed is None:
        return own
    return CompositeOffers([own, CatalogueOffers(listed, catalogue.by_id, ShapeCatalogue.packaged())])


def _means(catalogue: RegionCatalogue, degrees: Callable[[Region], float | None]) -> dict[str, float]:
    """Return where the regions of each zone are on average, for those whose own place is not known."""
    found: dict[str, list[float]] = {}
    for region in catalogue.all():
        if region.zone is not None and (value := degrees(region)) is not None:
            found.setdefault(region.zone, []).append(value)
    return {zone: fmean(values) for zone, values in sorted(found.items())}


# ── talk and files ───────────────────────────────────────────────────────────────────────────────────


class Tell:
    """Moves the bar."""

    def __init__(self, bar: Progress, names: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=float(names))
        self._seen: list[str] = []

    def __call__(self, name: str, fraction: float) -> None:
        """Say which policy is at work, and how far it is."""
        if name not in self._seen:
            self._seen.append(name)
        self._bar.update(self._task, description=name, completed=len(self._seen) - 1 + fraction)


@contextmanager
def _shown(session: Session, request: Request) -> Iterator[Tell]:
    """Show a progress bar on standard error while it runs; nothing with ``--quiet``."""
    names = len({*REFERENCES, *request.rules}) + len(request.policies) + request.with_oracle
    columns = (TextColumn("{task.description:<14}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=session.talk, transient=True, disable=session.quiet) as bar:
        yield Tell(bar, names)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise not_written("--html", file, error) from error
