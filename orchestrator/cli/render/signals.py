"""Live sources side by side: what each knows of which zone, how old it is, and what was not believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


def render(
    lines: Sequence[SourceLine], *, owners: Sequence[tuple[str, str]], at: Instant, rate: float, width: int
) -> RenderableType:
    """Return the table in the order given, then problems, doubts, and whose data it is (``owners``, by source)."""
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
    parts += [indented(0, (f"{source}: ", "dim"), (words, "dim")) for source, words in owners]
    return Group(*parts)
