"""Services and replicas at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import money, numbers
from orchestrator.cli.render.labels import label, labels, shortened
from orchestrator.cli.render.numbers import NOTHING, UNKNOWN, Marks, number, usd
from orchestrator.cli.render.offers import INDENT, MARKET_WORDS
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.control.views import ReplicaView, ServiceStatus
from orchestrator.domain.carbon import CarbonIntensity, Gap
from orchestrator.domain.offer import variant_in
from orchestrator.domain.records import Event, OperationState, ServiceState
from orchestrator.domain.replica import PAID, ReplicaState
from orchestrator.domain.survival import Survival
from orchestrator.domain.time import Instant

STATE_STYLES: Final = {
    "healthy": "green",
    "degraded": "red",
    "changing": "yellow",
    "paused": "cyan",
    "going down": "yellow",
    "down": "dim",
}
REPLICA_STYLES: Final = {
    ReplicaState.READY: "green",
    ReplicaState.FAILED: "red",
    ReplicaState.LOST: "red",
    ReplicaState.TERMINATED: "dim",
}


def state_word(status: ServiceStatus) -> str:
    """Name the state in one word: what the owner would want to know first."""
    if status.service.state is ServiceState.DOWN:
        return "down"
    if status.service.state is ServiceState.GOING_DOWN:
        return "going down"
    if status.operation is not None and status.operation.state in {OperationState.QUEUED, OperationState.RUNNING}:
        return "changing"
    if status.ready < (status.wanted if status.sizing is None else min(status.wanted, status.sizing.least)):
        return "degraded"
    if status.ready < status.wanted:
        return "changing"
    return "paused" if status.service.paused else "healthy"


def services(statuses: Sequence[ServiceStatus], *, width: int, rate: float, down: Sequence[str] = ()) -> RenderableType:
    """Return one row per service, with what the controller is doing about each. ``down``: those not listed."""
    if not statuses and down:
        return line(f"No service is up. Down, with their history kept: {', '.join(down)}.")
    if not statuses:
        return line("No service is recorded. Start with: ", ("greenctl init chat", "bold"))
    grid = Grid(
        columns(
            "SERVICE",
            "STATE",
            Column("READY", right=True),
            Column("IN FLIGHT", right=True, keep=3),
            Column("gCO2e/h", right=True),
            Column("$/h", right=True),
            Column("LAST EVENT", wrap=True, keep=4),
        )
    )
    for s in statuses:
        word = state_word(s)
        grid.add(
            s.service.name,
            Text(word, style=STATE_STYLES[word]),
            f"{s.ready}/{s.wanted}",
            _in_flight(s),
            _nothing_when_down(s, number(s.grams_per_hour)),
            _nothing_when_down(s, usd(s.usd_per_hour).removeprefix("$")),
            _short(s, _event_words(s.last_event, s.at, rate)),
        )
    parts: list[RenderableType] = [grid.laid_out(width)]
    for s in statuses:
        parts.append(line((f"{s.service.name}: ", "bold"), _short(s, s.look) or NOTHING))
        parts += _what_holds(s)
        if s.origins is not None and s.origins.differs:
            parts += [indented(INDENT, f"Traffic from {row.words}") for row in s.origins.rows]
        parts += [indented(INDENT, f"Budget: {money.budget_words(use)}") for use in s.money]
        if s.bill is not None and s.bill.lines:
            parts.append(indented(INDENT, (f"Worst case: {money.worst_case_words(s.bill)}", "dim")))
        parts += [indented(INDENT, (reason, "dim")) for reason in _unknowns(s)]
    if url := next((s.gateway_url for s in statuses if s.gateway_url), ""):
        answers = any(s.gateway is not None for s in statuses)
        parts.append(line(("Endpoint   ", "dim"), url, "" if answers else "   (the gateway does not answer)"))
    return Group(*parts)


def _what_holds(status: ServiceStatus) -> Iterator[RenderableType]:
    """Say how many replicas are wanted, whether enough would be left of them, and where traffic goes to."""
    if status.sizing is not None:
        yield indented(INDENT, f"Wanted: {_size_words(status)}")
    if status.survival is not None:
        yield _survival(status.survival)
    if status.split is not None:
        yield indented(INDENT, f"Traffic: {status.split.words}")


def replicas(status: ServiceStatus, *, width: int, rate: float) -> RenderableType:
    """Return one row per replica of a service."""
    if not status.replicas:
        return line(f"{status.service.name} has no replica.")
    marks = Marks()
    grid = Grid(
        columns(
            "REPLICA",
            "INFRA",
            Column("ZONE", keep=5),
            Column("MARKET", keep=3),
            "STATE",
            Column("SINCE", right=True, keep=6),
            Column("g/kWh", right=True),
            Column("AGE", right=True, keep=4),
            Column("PUE", right=True, keep=0),
            Column("POWER", right=True, keep=7),
            Column("BATCH", right=True, keep=1),
            Column("IN FLIGHT", right=True, keep=2),
            Column("gCO2e/h", right=True),
            Column("$/h", right=True, keep=7),
            Column("WEIGHT", right=True, keep=3),
            Column("WHY", wrap=True, keep=2),
        )
    )
    for view in status.replicas:
        _add_replica(grid, view, status.at, marks, rate)
    parts: list[RenderableType] = [grid.laid_out(width, INDENT)]
    if legend := marks.legend():
        parts.append(Text(f"  {legend}", style="dim"))
    ends = {label(v.replica): v.lease_ends_at for v in status.replicas if v.replica.state in PAID}
    parts += [indented(INDENT, (words, "dim")) for words in money.leases(ends, status.at, rate)]
    return Group(*parts)


def _add_replica(grid: Grid, view: ReplicaView, now: Instant, marks: Marks, rate: float) -> None:
    r = view.replica
    paid = r.state in PAID
    reading = view.grid
    known = reading if isinstance(reading, CarbonIntensity) else None
    grid.add(
        label(r),
        f"{r.region} {variant}" if (variant := variant_in(r.offer_id)) else r.region,
        r.zone or UNKNOWN,
        MARKET_WORDS[r.market],
        Text(r.state.value, style=REPLICA_STYLES.get(r.state, "yellow")),
        numbers.age((now - r.state_since).total_seconds() / rate),
        marks.write(number(None if known is None else known.grams_per_kwh), None if known is None else known.kind),
        NOTHING if known is None else numbers.age(known.age(now)),
        UNKNOWN if view.pue is None else f"{view.pue:.2f}",
        numbers.watts(view.watts) if paid else NOTHING,
        number(view.mean_batch, 2) if paid else NOTHING,
        (UNKNOWN if view.in_flight is None else str(view.in_flight)) if paid else NOTHING,
        number(view.grams_per_hour) if paid else NOTHING,
        usd(r.usd_per_hour).removeprefix("$") if paid else NOTHING,
        f"{r.weight_percent} %",
        r.reason,
    )


def _short(status: ServiceStatus, text: str) -> str:
    return shortened(text, labels(v.replica for v in status.replicas))


def _size_words(status: ServiceStatus) -> str:
    """Say how many replicas load wants, of how many it may want, and why."""
    size = status.sizing
    return "" if size is None else f"{size.words} (of {size.least} to {size.most})"


def _survival(found: Survival) -> RenderableType:
    """Say whether enough would be left without any one region right now, and without which one they would not."""
    count = f"{found.left} of {found.replicas} would serve, {found.needed} needed"
    if found.is_kept:
        return indented(INDENT, f"Survives the loss of any one region: {count}")
    where = f"without {' or '.join(found.too_few_without)} " if found.too_few_without else ""
    return indented(INDENT, (f"Does not survive the loss of any one region now: {where}{count}", "yellow"))


def _unknowns(status: ServiceStatus) -> list[str]:
    """Say why a sum is unknown, once per reason."""
    if status.service.state is ServiceState.DOWN:
        return []
    reasons: dict[str, None] = {}
    for view in status.replicas:
        if view.replica.state not in PAID:
            continue
        if isinstance(view.grid, Gap):
            reasons[f"gCO2e/h is unknown: {view.grid.zone}: {view.grid.reason} ({view.grid.source})"] = None
        elif view.grid is None:
            reasons[f"gCO2e/h is unknown: nobody has established the grid zone of {view.replica.region}"] = None
        elif view.mean_batch is None:
            reasons[f"gCO2e/h is unknown: the load of {label(view.replica)} has not been measured yet"] = None
        elif view.watts is None:
            reasons[f"gCO2e/h is unknown: the power of {view.replica.shape} is not known"] = None
        if view.replica.usd_per_hour is None:
            reasons[f"$/h is unknown: no price is recorded for {view.replica.offer_id}"] = None
    if status.grams_per_hour is not None:
        return [r for r in reasons if not r.startswith("gCO2e")]
    return list(reasons)


def _in_flight(status: ServiceStatus) -> str:
    known = [v.in_flight for v in status.replicas if v.in_flight is not None]
    if status.service.state is ServiceState.DOWN:
        return NOTHING
    return str(sum(known)) if known or status.gateway is not None else UNKNOWN


def _nothing_when_down(status: ServiceStatus, text: str) -> str:
    return NOTHING if status.service.state is ServiceState.DOWN else text


def _event_words(event: Event | None, now: Instant, rate: float) -> str:
    if event is None:
        return NOTHING
    return f"{numbers.age((now - event.at).total_seconds() / rate)} ago: {event.text}"
