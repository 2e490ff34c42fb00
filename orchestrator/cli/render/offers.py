"""The offers that were weighed: region x shape x market, with intensity, energy, emissions, price and verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.numbers import Marks, number, six, usd
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, safe
from orchestrator.domain.decision import Assessment
from orchestrator.domain.price import Market

INDENT: Final = 2
MARKET_WORDS: Final = {Market.SPOT: "spot", Market.ON_DEMAND: "on-demand"}

MOST_ROWS_NAMED = 3
"""More rows of one price list are counted, not named; --json has them all."""


def offers_table(
    offers: Sequence[Assessment], marks: Marks, *, width: int, limit: int = 0, exactly: bool = False
) -> RenderableType:
    """Return the offers, chosen ones first, then allowed, then excluded ones, each group from the greenest on.

    ``limit``: rows at most, 0 for all. ``exactly``: numbers as they are recomputed by hand, and their factors stay.
    """
    write = six if exactly else number
    assessments = sorted(offers, key=_order)
    shown = assessments if limit <= 0 else assessments[:limit]
    grid = Grid(
        columns(
            Column("#", right=True, keep=4),
            "INFRA",
            Column("ZONE", keep=3),
            Column("SHAPE", keep=5),
            Column("MARKET", keep=6),
            Column("PUE", right=True, keep=0),
            Column("g/kWh", right=True),
            Column("AHEAD", right=True, keep=2),
            Column("kWh/h", right=True, keep=8 if exactly else 1),
            Column("gCO2e/h", right=True),
            Column("$/h", right=True),
            Column("CHOSEN", wrap=True),
        )
    )
    for index, a in enumerate(shown, start=1):
        stale = any(v.rule == "carbon.max_age" and v.value is not None and _over(v.value, v.limit) for v in a.verdicts)
        grid.add(
            str(index),
            a.region,
            a.zone or numbers.UNKNOWN,
            shape_words(a),
            MARKET_WORDS[a.market],
            numbers.UNKNOWN if a.pue is None else f"{a.pue:.2f}",
            marks.write(write(a.grams_per_kwh), a.intensity_kind, stale=stale),
            marks.write(write(a.next_24h_grams_per_kwh), a.next_24h_kind),
            write(a.kwh_per_hour),
            write(a.grams_per_hour),
            numbers.UNKNOWN if a.usd_per_hour is None else usd(a.usd_per_hour).removeprefix("$"),
            _verdict(a),
        )
    words = [_count_words(assessments, len(shown)), *_holes(shown)]
    return Group(grid.laid_out(width, INDENT), *[indented(INDENT, (text, "dim")) for text in words])


def shape_words(a: Assessment) -> str:
    """Name the shape, and what would run on it where a service has variants."""
    return a.shape if a.quality is None else f"{a.shape} {a.quality.variant}"


def _over(value: float, limit: float | None) -> bool:
    return limit is not None and value > limit


def _order(a: Assessment) -> tuple[int, float, float, str]:
    rank = 0 if a.chosen else 1 if a.allowed else 2
    grams = a.expected_grams_per_hour if a.expected_grams_per_hour is not None else float("inf")
    cost = a.usd_per_hour if a.usd_per_hour is not None else float("inf")
    return (rank, grams, cost, a.offer_id)


def _verdict(a: Assessment) -> Text:
    if a.chosen:
        return Text(f"✔ ×{a.chosen}", style="green")
    return Text("" if a.allowed else f"no: {safe(a.excluded_because)}", style="dim")


def _count_words(assessments: Sequence[Assessment], shown: int) -> str:
    total = len(assessments)
    words = f"Shown {shown} of {total} offer{'' if total == 1 else 's'}, by their emissions over the coming hours."
    excluded = [a for a in assessments if not a.allowed]
    if excluded:
        rules = Counter(next(v.rule for v in a.verdicts if not v.passed) for a in excluded)
        words += f" {len(excluded)} excluded: " + ", ".join(f"{count} {rule}" for rule, count in rules.most_common())
        words += "."
    return words + (" All: greenctl plan --offers 0." if shown < total else "")


def _holes(shown: Sequence[Assessment]) -> list[str]:
    """Say of how many of the coming hours too little is known, once for each answer, with the zones."""
    zones: dict[str, set[str]] = {}
    for a in shown:
        for verdict in (v for v in a.verdicts if v.rule == "policy.horizon"):
            zones.setdefault(verdict.text, set()).add(a.zone or a.region)
    return [f"{', '.join(sorted(named))}: {text}." for text, named in sorted(zones.items())]


def price_sources(assessments: Sequence[Assessment]) -> str:
    """Name who the prices come from, each list once where it has many rows; empty without any."""
    rows: dict[str, set[str]] = {}
    for source in {a.price_source for a in assessments if a.price_source}:
        rows.setdefault(source.partition(": ")[0], set()).add(source)
    return "; ".join(sorted(_in_short(name, sources) for name, sources in rows.items()))


def _in_short(list_name: str, sources: set[str]) -> str:
    if len(sources) <= MOST_ROWS_NAMED:
        return "; ".join(sorted(sources))
    return f"{list_name}, {len(sources)} rows"
