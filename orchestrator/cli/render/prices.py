"""Prices side by side: what each offer costs, who says so, how old that is, and what is not believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.headline import grid_time, headline
from orchestrator.cli.render.numbers import NOTHING, UNKNOWN, Marks, usd
from orchestrator.cli.render.offers import MARKET_WORDS
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant
from orchestrator.prices.spot_advisor import InterruptionBand
from orchestrator.prices.survey import PriceLine

DOUBTS_SHOWN: Final = 5


def render(
    lines: Sequence[PriceLine],
    *,
    at: Instant,
    rate: float,
    troubles: Sequence[str],
    limit: int,
    width: int,
    with_interruptions: bool = False,
) -> RenderableType:
    """Return the table in the order given, then doubts, and the lists that cannot be read. ``limit`` 0 is all.

    ``with_interruptions``: somebody was asked how often spot machines were taken back.
    """
    marks = Marks()
    shown = lines if limit <= 0 else lines[:limit]
    grid = Grid(
        columns(
            "INFRA",
            "SHAPE",
            "MARKET",
            Column("$/h", right=True),
            Column("$/h EACH", right=True, keep=5),
            *([Column("TAKEN BACK", right=True, keep=8)] if with_interruptions else []),
            Column("ZONE", keep=2),
            Column("MACHINE", keep=4),
            Column("AGE", right=True, keep=7),
            Column("SOURCE", keep=6, wrap=True),
        )
    )
    for one in shown:
        grid.add(
            one.region,
            one.shape,
            MARKET_WORDS[one.market],
            marks.write(UNKNOWN if one.usd_per_hour is None else usd(one.usd_per_hour).removeprefix("$"), one.kind),
            NOTHING if one.usd_per_accelerator_hour is None else usd(one.usd_per_accelerator_hour).removeprefix("$"),
            *([_taken_back(one)] if with_interruptions else []),
            one.zone or UNKNOWN,
            one.instance_type or NOTHING,
            NOTHING if one.age_seconds is None else numbers.age(one.age_seconds),
            _list_name(one.source) or NOTHING,
        )
    parts: list[RenderableType] = [headline("Prices", grid_time(at, rate))]
    if lines:
        parts.append(grid.laid_out(width))
        count = f"Shown {len(shown)} of {len(lines)}, the cheapest accelerator first."
        parts.append(indented(0, (count + ("" if len(shown) == len(lines) else " All: --limit 0."), "dim")))
    if legend := marks.legend():
        parts.append(Text(f"US dollars per hour; {legend}", style="dim"))
    if with_interruptions:
        parts.append(Text(_what_taken_back_means(lines, at), style="dim"))
    doubted = [one for one in lines if one.doubt]
    parts += [line((f"{one.offer_id} not believed: ", "bold"), one.doubt) for one in doubted[:DOUBTS_SHOWN]]
    if len(doubted) > DOUBTS_SHOWN:
        parts.append(indented(0, (f"{len(doubted) - DOUBTS_SHOWN} more are not believed: --json has them.", "dim")))
    parts += [line(("Cannot be read: ", "bold"), words) for words in troubles]
    return Group(*parts)


def _taken_back(one: PriceLine) -> str:
    if one.market is not Market.SPOT:
        return NOTHING
    return UNKNOWN if one.interruptions is None else one.interruptions.label


def _what_taken_back_means(lines: Sequence[PriceLine], at: Instant) -> str:
    known = [one.interruptions for one in lines if one.interruptions is not None]
    if not known:
        return "Taken back: nobody who was asked knows how often these spot machines are."
    says = "; ".join(sorted({f"{one.source}, {_age_of(one, at)}" for one in known}))
    return f"Taken back: how many of the region's spot machines of that type were, within the month before; {says}."


def _age_of(one: InterruptionBand, at: Instant) -> str:
    if one.as_of is None:
        return "of unknown age"
    return f"{numbers.age(max(0.0, (at - one.as_of).total_seconds()))} old"


def _list_name(source: str) -> str:
    """Keep who says so; the row of the list is in the document."""
    return source.partition(": ")[0]
