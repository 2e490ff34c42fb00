"""Spot windows: availability, cost and grams of ours, the rivals and the optimum, by group of traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.progress import Progress

from orchestrator.bench.spot import settings
from orchestrator.bench.spot.measure import ON_DEMAND, OPTIMAL, OURS, POLICIES, SPOT_HEDGE, Outcome, Row
from orchestrator.cli.render import numbers
from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line

_INDENT: Final = 2

_STAND_INS: Final = (
    f"On-demand replicas of {OURS}, which chooses where they stand, count in the cleanest zone's grid, those of others "
    f"at the mean of the zones: a part of VS {SPOT_HEDGE.upper()} is that."
)

Begin = Callable[[str, int], Callable[[], None]]


@contextmanager
def progress(console: Console, *, quiet: bool) -> Iterator[Begin]:
    """Show a bar per group while it lasts; yields a function that begins one and returns what to call per window."""
    with Progress(console=console, transient=True, disable=quiet) as bars:

        def begin(name: str, total: int) -> Callable[[], None]:
            task = bars.add_task(name, total=total)
            return lambda: bars.advance(task)

        yield begin


def document(outcome: Outcome) -> dict[str, object]:
    """Return what ``--json`` says: a row per group and policy, the groups, and the plain mean of the costs."""
    rows = []
    for row in outcome.rows:
        score = row.score
        rows.append(
            {
                "trace_group": row.trace_group,
                "policy": row.policy,
                "availability": score.availability,
                "availability_percent": 100 * score.availability,
                "relative_cost": score.relative_cost,
                "grams_per_replica_hour": score.grams_per_replica_hour,
                "on_demand_grams_per_kwh": row.on_demand_grams_per_kwh,
                "grams_relative_to_on_demand": _relative(outcome, row, ON_DEMAND),
                "grams_relative_to_spothedge": _relative(outcome, row, SPOT_HEDGE),
                "mean_spot_replicas": score.mean_spot_replicas,
                "mean_on_demand_replicas": score.mean_on_demand_replicas,
                "share_with_none_ready": score.none_ready,
                "windows": row.windows,
            }
        )
    return {
        "offsets": outcome.offsets,
        "seed": outcome.seed,
        "carbon_years": list(outcome.carbon_years),
        "groups": [
            {
                "trace_group": g.name,
                "kind": g.kind or None,
                "samples_replayed_as": [{"recorded_seconds": r, "replayed_seconds": p} for r, p in g.replayed_as],
                "instances_counted": g.counts,
                "shortest_trace_ticks": g.ticks,
                "zones": [{"zone": z.name, "region": z.region, "grams_per_kwh": z.grams_per_kwh} for z in g.zones],
            }
            for g in outcome.groups
        ],
        "mean_relative_cost": {p: outcome.mean_relative_cost(p) for p in POLICIES},
        "rows": rows,
    }


def render(outcome: Outcome, *, width: int) -> RenderableType:
    """Return the tables for people: one per group, then the means."""
    parts: list[RenderableType] = [
        headline("Spot windows", f"{outcome.offsets} windows of a day per group", f"seed {outcome.seed}")
    ]
    for group in outcome.groups:
        reading = "instances counted" if group.counts else "0/1: none or as many as wanted"
        lengths = [f"samples of {recorded:g} s as {replayed:g} s" for recorded, replayed in group.replayed_as]
        details = (f"{len(group.zones)} zones", *([f"{group.kind} traces"] if group.kind else []), reading, *lengths)
        parts += [line(""), headline(group.name, *details)]
        parts.append(_table(outcome, group.name, width))
    means = " · ".join(f"{p} {outcome.mean_relative_cost(p):.3f}" for p in POLICIES)
    parts += [line(""), line(("Mean cost over the groups: ", "bold"), means)]
    notes = (
        f"{OPTIMAL}: perfect information, on the first {min(outcome.offsets, settings.OPTIMUM_WINDOWS)} windows.",
        "GRAMS: gCO2e per wanted replica-hour at 1 kW, life-cycle, starting and spare replicas included.",
        _STAND_INS,
        "NONE READY: share of the ticks without any ready replica, which availability does not tell apart.",
    )
    parts += [indented(0, (note, "dim")) for note in notes]
    return Group(*parts)


def _table(outcome: Outcome, group: str, width: int) -> RenderableType:
    grid = Grid(
        columns(
            "POLICY",
            Column("AVAILABLE %", right=True),
            Column("COST", right=True),
            Column("GRAMS", right=True, keep=8),
            Column(f"VS {SPOT_HEDGE.upper()}", right=True, keep=7),
            Column("SPOT", right=True, keep=5),
            Column("ON DEMAND", right=True, keep=4),
            Column("NONE READY %", right=True, keep=6),
        )
    )
    for row in outcome.rows:
        if row.trace_group != group:
            continue
        score = row.score
        ratio = _relative(outcome, row, SPOT_HEDGE)
        grid.add(
            line((row.policy, "bold" if row.policy == OURS else "")),
            f"{100 * score.availability:.2f}",
            f"{score.relative_cost:.3f}",
            numbers.number(score.grams_per_replica_hour),
            numbers.UNKNOWN if ratio is None else numbers.percent(ratio - 1, signed=True),
            f"{score.mean_spot_replicas:.2f}",
            f"{score.mean_on_demand_replicas:.2f}",
            f"{100 * score.none_ready:.2f}",
        )
    return grid.laid_out(width, indent=_INDENT)


def _relative(outcome: Outcome, row: Row, rival: str) -> float | None:
    """Return the grams of a row over those of a rival in the same group; ``None`` where either is unknown."""
    grams = row.score.grams_per_replica_hour
    other = next(r for r in outcome.rows if (r.trace_group, r.policy) == (row.trace_group, rival))
    base = other.score.grams_per_replica_hour
    return None if grams is None or not base else grams / base
