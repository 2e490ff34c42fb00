"""Advice on one page: the answer, what it rests on, what each limit costs, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import egress, numbers
from orchestrator.cli.render.comparison import SECONDS_PER_HOUR
from orchestrator.cli.render.labels import shortened
from orchestrator.cli.render.numbers import number, usd
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.planner.advice.advise import Advice, Answer, Breakeven
from orchestrator.planner.advice.flip import Flip
from orchestrator.planner.advice.shadow import ShadowPrice

INDENT: Final = 2
WORDS: Final = {
    Answer.STAY: ("stay", "green"),
    Answer.MOVE_NOW: ("move now", "yellow"),
    Answer.CHANGE_THE_CONSTRAINT: ("stay, or change a limit", "yellow"),
    Answer.DEPLOY: ("replicas are missing", "yellow"),
}


def render(advice: Advice, names: Mapping[str, str], *, width: int) -> RenderableType:
    """Return the page. ``names``: short names of replicas."""
    word, colour = WORDS[advice.answer]
    parts: list[RenderableType] = [
        line((f"{advice.service}: ", "bold"), (word, colour)),
        indented(INDENT, shortened(advice.because, names)),
        Text(""),
    ]
    parts += [] if advice.best is None else _best(advice.best, names)
    parts += _limits(advice.shadow_prices, width)
    parts += flip_lines(advice.flips, names, width=width)
    return Group(*parts)


def _best(best: Breakeven, names: Mapping[str, str]) -> list[RenderableType]:
    c = best.comparison
    failed = next((v for v in c.verdicts if not v.passed), None)
    verdict = "every rule passed" if failed is None else f"not approved by {failed.rule}: {failed.text}"
    saves = f"saves {number(c.saved_grams)} g" if c.saved_grams >= 0 else f"emits {number(-c.saved_grams)} g more"
    repaid = _after(best.carbon_hours)
    carbon = f"Carbon: {saves} over {number(c.horizon_hours)} h, costs {number(c.cost_grams)} g, repaid {repaid}."
    parts: list[RenderableType] = [
        line(("The best move", "bold")),
        indented(INDENT, f"{names.get(c.replica, c.replica)}: {c.from_offer} → {c.to_offer}; {verdict}"),
        indented(INDENT, carbon),
        indented(INDENT, _money(best, c.usd_per_hour_change)),
    ]
    if told := egress.sentence(c.egress):
        parts.append(indented(INDENT, told))
    if (sure := c.likelihood) is not None:
        ways = f"{sure.pays} of {sure.scenarios} ways in which the forecasts of both grids were wrong lately"
        parts.append(indented(INDENT, f"It saves carbon in {ways} ({sure.share:.0%})."))
    if best.hindsight is not None:
        right, days = best.hindsight.right, best.hindsight.days
        told = f"on {right} of the last {days} days that are known" if days else "unknown: no whole day is on record"
        parts.append(indented(INDENT, f"In hindsight, begun at this hour, it would have been right {told}."))
    return [*parts, Text("")]


def _money(best: Breakeven, change: float | None) -> str:
    once = usd(best.comparison.move_usd)
    what = "the double run" if best.comparison.egress is None else "the double run and the egress"
    if change is None:
        return f"Money: {once} for {what}; the change per hour is unknown."
    words = "the same price after it"
    if change:
        words = f"{usd(abs(change))}/h {'more' if change > 0 else 'less'} after it"
    repaid = f", repaid {_after(best.money_hours)}" if change < 0 else ""
    worth = best.usd_per_tonne
    tonne = "" if worth is None else f" It is right in money, too, where a tonne of CO2e is worth {usd(worth)}."
    return f"Money: {once} for {what}, {words}{repaid}.{tonne}"


def _after(hours: float | None) -> str:
    return "never within what is known" if hours is None else f"after {numbers.duration(hours * SECONDS_PER_HOUR)}"


def _limits(prices: Sequence[ShadowPrice], width: int) -> list[RenderableType]:
    if not prices:
        return [line("No limit of its file is known to keep it from a greener offer."), Text("")]
    of_one, of_all = [p for p in prices if not p.is_of_all], [p for p in prices if p.is_of_all]
    parts: list[RenderableType] = []
    if of_one:
        parts += [line(("What each limit costs", "bold"), ", per replica, beside the best offer that is allowed")]
        parts += [_table(of_one, width), Text("")]
    if of_all:
        title = ", of all replicas, chosen anew with the change and without it"
        parts += [line(("What each limit of all together costs", "bold"), title)]
        parts += [_table(of_all, width), Text("")]
    return parts


def _table(prices: Sequence[ShadowPrice], width: int) -> RenderableType:
    grid = Grid(
        columns(
            "LIMIT",
            Column("TO", wrap=True),
            Column("BY", keep=3),
            Column("OFFER", keep=2),
            Column("SAVES g/h", right=True),
            Column("", right=True),
            Column("$/h", right=True),
        )
    )
    for price in prices:
        change = price.usd_per_hour_change
        money = numbers.UNKNOWN if change is None else f"{'+' if change >= 0 else '-'}{usd(abs(change))}"
        share = f"{price.saved_fraction:.0%}"
        grid.add(price.rule, price.change, price.by, price.offer_id, number(price.grams_per_hour_saved), share, money)
    return grid.laid_out(width, INDENT)


def flip_lines(flips: Sequence[Flip], names: Mapping[str, str], *, width: int) -> list[RenderableType]:
    """Return what would change the answer, the smallest change of each number."""
    if not flips:
        return [line("No price and no grid of a move that was weighed would change that answer alone.")]
    grid = Grid(columns(Column("IF", wrap=True), Column("CHANGED BY", right=True), Column("UNIT"), "THEN"))
    for flip in flips:
        then = f"{names.get(flip.replica, flip.replica)} would {flip.becomes}"
        grid.add(flip.what, f"{flip.by:+.4g}", flip.unit, then)
    return [line(("What would change it", "bold"), ", one number at a time"), grid.laid_out(width, INDENT)]
