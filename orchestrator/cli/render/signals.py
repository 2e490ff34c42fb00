"""Live sources side by side: what each knows of which zone, how old it is, and what was not believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.headline import grid_time, headline
from orchestrator.cli.render.numbers import NOTHING, Marks, number
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.domain.carbon import Basis, CarbonIntensity
from orchestrator.domain.time import Instant
from orchestrator.signals.agreement import apart
from orchestrator.signals.live import Health

DOUBTS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class SourceLine:
    """What one source knows of one zone; as a document, the same names."""

    source: str
    zone: str
    basis: Basis
    newest: CarbonIntensity | None
    age_seconds: float | None
    ask_again_at: Instant | None
    problem: str
    doubts: tuple[str, ...]


def contradictions(lines: Sequence[SourceLine]) -> tuple[str, ...]:
    """Say which sources contradict one another about a zone, in the order given."""
    return tuple(
        f"{one.zone}: {reason}"
        for one, other in combinations(lines, 2)
        if one.newest is not None and other.newest is not None and (reason := apart(one.newest, other.newest))
    )


def render(
    lines: Sequence[SourceLine],
    *,
    health: Sequence[Health],
    owners: Sequence[tuple[str, str]],
    at: Instant,
    rate: float,
    width: int,
) -> RenderableType:
    """Return the table in the order given, then problems, doubts and contradictions, and how each source stands.

    ``owners``: whose data it is, by source.
    """
    marks = Marks()
    grid = Grid(
        columns(
            "SOURCE",
            "ZONE",
            Column("COUNTS", keep=4),
            Column("NOW", right=True),
            Column("AGE", right=True, keep=7),
            Column("ABOUT UTC", keep=3),
            Column("DOUBTED", right=True, keep=5),
        )
    )
    for one in lines:
        known = one.newest
        grid.add(
            one.source,
            one.zone,
            f"{one.basis.accounting.value} {one.basis.factors.value}",
            NOTHING if known is None else marks.write(number(known.grams_per_kwh), known.kind),
            NOTHING if known is None else numbers.age(one.age_seconds),
            NOTHING if known is None else f"{known.interval.start:%d %b %H:%M}–{known.interval.end:%H:%M}",
            str(len(one.doubts)) if one.doubts else NOTHING,
        )
    parts: list[RenderableType] = [headline("Live carbon sources", grid_time(at, rate))]
    parts.append(grid.laid_out(width) if lines else Text("Nothing was asked yet: name zones with --zone."))
    if legend := marks.legend():
        parts.append(Text(f"gCO2e/kWh; {legend}", style="dim"))
    for one in lines:
        if one.problem:
            parts.append(line((f"{one.source} {one.zone}: ", "bold"), one.problem))
        parts += [line((f"{one.source} {one.zone} not believed: ", "bold"), d) for d in one.doubts[:DOUBTS_SHOWN]]
    parts += [line(("Neither counts: ", "bold"), words) for words in contradictions(lines)]
    parts += [_standing(one) for one in health]
    parts += [indented(0, (f"{source}: ", "dim"), (words, "dim")) for source, words in owners]
    return Group(*parts)


def _standing(one: Health) -> RenderableType:
    """Say whether a source is asked, and what of its budget is spent."""
    spent = f"{one.requests} requests today" + ("" if one.limit is None else f" of {one.limit}")
    if one.rests_until is None:
        return line((f"{one.source}: ", "bold"), f"asked when it is time to; {spent}")
    times = "" if one.failures <= 1 else f" after {one.failures} failures in a row"
    words = f"not asked until {one.rests_until:%H:%M:%S} UTC{times} ({one.problem}); {spent}"
    return line((f"{one.source}: ", "bold"), words)
