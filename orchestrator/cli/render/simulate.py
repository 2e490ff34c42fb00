"""Policies side by side: what they emitted and paid, and how far they are from home, B3 and the oracle."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType

from orchestrator.cli.render.numbers import NOTHING, number, scaled
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.domain.time import format_instant
from orchestrator.sim.html import SIGNS, share
from orchestrator.sim.request import ORACLE, Request
from orchestrator.sim.runs import Row

_GRAMS = ((1e6, "t"), (1e3, "kg"), (1.0, "g"))
_MOST_NOTES = 6
LIKE_HOME = 0.001
"""Replicas that were up for a smaller part of the time than home's, by more than this, are no equal service."""
_READY = "READY: time with all wanted replicas up. SERVED: requests that found any."
_DONE = "READY: rounds done by their due time. SERVED: work done by then."


def document(request: Request, rows: Sequence[Row], notes: Sequence[str], *, stopped: bool) -> dict[str, object]:
    """Return everything that was found; nothing in it depends on how long it took. ``notes``: what was assumed."""
    return {
        "service": request.spec.name,
        "period": {
            "from": request.period.start,
            "to": request.period.end,
            "seconds": request.period.length.total_seconds(),
        },
        "seed": request.seed,
        "workload": {
            "name": request.load.name,
            "mean_concurrent_requests": None if request.load.full is not None else request.load.mean_concurrency,
            "request_seconds": request.load.request_seconds,
        },
        "cold_start_seconds": request.cold_start.total_seconds(),
        "traffic": "even" if request.evenly else request.spec.gateway.routing,
        "replicas": request.spec.scaling.min_replicas,
        "max_replicas": request.spec.scaling.max_replicas,
        "replicas_in_words": replicas_in_words(request),
        "legend": [legend(request), *_less(request, rows), *_waits(rows)],
        "complete": not stopped,
        "notes": list(notes),
        "rows": [_row(row, rows) for row in rows],
    }


def saving_percent(row: Row, beside: Row | None) -> float | None:
    """Return how much less a row emitted than another, per replica-hour wanted; ``None`` where one is unknown."""
    if row.refusal or beside is None or beside.grams <= 0 or row.unknown_kwh > 0 or beside.unknown_kwh > 0:
        return None
    return 100.0 * (1.0 - row.grams / beside.grams)


def above_percent(row: Row, best: Row | None) -> float | None:
    """Return how much more than the optimum a row emitted, ``None`` where either is unknown."""
    if row.refusal or best is None or best.grams <= 0 or row.unknown_kwh > 0:
        return None
    return 100.0 * (row.grams / best.grams - 1.0)


def _row(row: Row, rows: Sequence[Row]) -> dict[str, object]:
    best = _named(rows, ORACLE)
    return {
        "policy": row.policy,
        "kind": row.kind,
        "about": row.about,
        "refusal": row.refusal,
        "grams": row.grams if row.unknown_kwh == 0 and not row.refusal else None,
        "known_grams": row.grams,
        "usd": row.usd,
        "kwh": row.kwh,
        "unknown_kwh": row.unknown_kwh,
        "replica_hours": row.replica_hours,
        "moves": row.moves,
        "losses": row.losses,
        "available_fraction": row.available_fraction,
        "served_fraction": row.served_fraction,
        "crowded_fraction": row.crowded_fraction,
        "held_fraction": row.held_fraction,
        "longest_hold_seconds": row.longest_hold_seconds,
        "saving_percent_vs_home": saving_percent(row, _named(rows, "home")),
        "saving_percent_vs_b3": saving_percent(row, _named(rows, "B3")),
        "above_oracle_percent": above_percent(row, best),
        "grams_by_day": dict(row.by_day),
        "grams_by_month": dict(row.by_month),
        "replica_hours_by_region": dict(row.by_region),
        "places": [{"second": second, "regions": list(regions)} for second, regions in row.places],
        "looks": row.looks,
    }


def render(request: Request, rows: Sequence[Row], notes: Sequence[str], *, stopped: bool, width: int) -> RenderableType:
    """Return the table for people. ``notes``: what was assumed."""
    grid = Grid(
        columns(
            "POLICY",
            Column("CO2e", right=True),
            Column("VS HOME", right=True),
            Column("VS B3", right=True),
            Column("ABOVE ORACLE", right=True, keep=6),
            Column("MOVES", right=True),
            Column("LOST", right=True, keep=5),
            Column("READY", right=True),
            Column("SERVED", right=True, keep=4),
            Column("$", right=True),
            Column("WHAT IT DOES", keep=1),
        )
    )
    best = _named(rows, ORACLE)
    for row in rows:
        if row.refusal:
            grid.add(row.policy, "refuses", *[NOTHING] * 8, "see below")
            continue
        above = None if row is best else above_percent(row, best)
        grid.add(
            row.policy,
            scaled(row.grams, _GRAMS, 4) + (" + ?" if row.unknown_kwh > 0 else ""),
            _percent(saving_percent(row, _named(rows, "home")), row.policy == "home"),
            _percent(saving_percent(row, _named(rows, "B3")), row.policy == "B3"),
            NOTHING if above is None else f"{above:+.2f} %",
            str(row.moves),
            str(row.losses) if row.losses else "0",
            share(row.available_fraction),
            share(row.served_fraction),
            number(row.usd, 5),
            row.about,
        )
    span = f"{format_instant(request.period.start)} to {format_instant(request.period.end)}"
    load = request.load.name
    if request.load.full is None:
        load += f", {request.load.mean_concurrency:.2f} requests at once on average"
    parts: list[RenderableType] = [
        line((request.spec.name, "bold"), f"   {span}   {replicas_in_words(request)}   {load}"),
        grid.laid_out(width, 2),
        line(legend(request)),
    ]
    parts += [line((f"{row.policy}: ", "yellow"), row.refusal) for row in rows if row.refusal]
    parts += [line(("note: ", "yellow"), words) for words in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        parts.append(line(f"{len(notes) - _MOST_NOTES} more notes are in the document of --json."))
    parts += [line(words) for words in (*_less(request, rows), *_waits(rows))]
    if stopped:
        parts.append(line(("Interrupted: these are the policies that were done.", "yellow")))
    return Group(*parts)


def legend(request: Request) -> str:
    """Say what the columns mean."""
    return (
        f"{SIGNS}"
        f"{_READY if request.spec.batch is None else _DONE} "
        "One ledger for all; grams are operational, average, location-based."
    )


def _less(request: Request, rows: Sequence[Row]) -> list[str]:
    """Say whose figures are those of less service than home gave: part of what they save, they did not run."""
    home = _named(rows, "home")
    if home is None or request.spec.batch is not None:
        return []
    return [
        f"{row.policy} had all wanted replicas up {share(row.available_fraction)} of the time: part of what it saves "
        "is what did not run."
        for row in rows
        if not row.refusal and row.available_fraction < home.available_fraction - LIKE_HOME
    ]


def _waits(rows: Sequence[Row]) -> list[str]:
    """Say whose requests had to wait, for a place in an engine or for a replica to start."""
    crowded = [
        f"{row.policy}: {100 * row.crowded_fraction:.2f} % of the requests found no free place"
        for row in rows
        if row.crowded_fraction > 0
    ]
    held = [
        f"{row.policy}: {100 * row.held_fraction:.3g} % of the requests waited for a replica to start, "
        f"{row.longest_hold_seconds:.0f} s at most"
        for row in rows
        if row.held_fraction > 0
    ]
    return crowded + held


def replicas_in_words(request: Request) -> str:
    """Return how many replicas there are: ``2 replicas``, or ``1 to 4 replicas by load``."""
    low, high = request.spec.scaling.min_replicas, request.spec.scaling.max_replicas
    if request.spec.batch is not None:
        return f"{high} replica{'' if high == 1 else 's'} while batch work runs"
    if low < high:
        return f"{low} to {high} replicas by load"
    return f"{low} replica{'' if low == 1 else 's'}"


def _percent(value: float | None, is_itself: bool) -> str:  # noqa: FBT001  # a private word
    if is_itself:
        return NOTHING
    return "?" if value is None else f"{value:+.2f} %"


def _named(rows: Sequence[Row], name: str) -> Row | None:
    return next((r for r in rows if r.policy == name), None)
