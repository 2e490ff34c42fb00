"""Stay against move, checkable with pencil and paper: each term with its formula, factors and hourly numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli.render import egress, numbers
from orchestrator.cli.render.numbers import exact, six, usd
from orchestrator.cli.render.offers import INDENT
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.cli.render.worth import worth
from orchestrator.domain.decision import MoveComparison, Term, Verdict

HOURS_PER_LINE: Final = 8
SECONDS_PER_HOUR: Final = 3600
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def overview(comparisons: Sequence[MoveComparison], names: Mapping[str, str], *, width: int) -> RenderableType:
    """Return one row per comparison. ``names``: short names of replicas."""
    grid = Grid(
        columns(
            Column("REPLICA", keep=1),
            Column("FROM", keep=3),
            "TO",
            Column("HOURS", right=True, keep=2),
            Column("SAVES g", right=True, keep=4),
            Column("COSTS g", right=True, keep=4),
            Column("NET g", right=True),
            Column("REPAID IN", right=True, keep=5),
            Column("", wrap=True),
        )
    )
    for c in comparisons:
        failed = next((v for v in c.verdicts if not v.passed), None)
        grid.add(
            names.get(c.replica, c.replica),
            c.from_offer,
            c.to_offer,
            numbers.number(c.horizon_hours),
            numbers.number(c.saved_grams),
            numbers.number(c.cost_grams),
            numbers.number(c.net_grams),
            numbers.NOTHING if c.payback_hours is None else numbers.duration(c.payback_hours * SECONDS_PER_HOUR),
            Text("✓ every rule", style="green") if failed is None else Text(f"✗ {failed.rule}", style="dim"),
        )
    return grid.laid_out(width, INDENT)


def in_full(comparison: MoveComparison, rate: float, names: Mapping[str, str], *, width: int) -> list[RenderableType]:
    """Return one comparison with everything that it was computed from. ``rate``: the grid clock's."""
    answer = ("every rule passed", "green") if comparison.approved else ("not approved", "red")
    parts: list[RenderableType] = [
        line((f"Move {names.get(comparison.replica, comparison.replica)}? ", "bold"), answer),
        line(f"  {comparison.from_offer} → {comparison.to_offer}"),
        indented(
            INDENT,
            f"Weighed over the next {exact(comparison.horizon_hours)} h of grid time"
            + ("." if rate == 1.0 else f", in which replicas run {exact(comparison.horizon_hours / rate)} h."),
        ),
    ]
    parts += _hourly(comparison, width)
    parts.append(Text(""))
    for term in comparison.terms:
        parts += _term(term, width=width)
    parts += _sums(comparison)
    parts += worth(comparison)
    parts += [Text(""), Text("  Rules", style="bold")]
    parts += [verdict_line(v, indent=4) for v in comparison.verdicts]
    return parts


def _hourly(comparison: MoveComparison, width: int) -> list[RenderableType]:
    """List the intensities hour by hour, with the gain of each hour where the terms say what it is made of."""
    here, there = comparison.intensity_from, comparison.intensity_to
    if not here and not there:
        return [line("  No hour is known at both ends.")]
    gains = _gains(comparison)
    rows = [("hour", [f"+{h}" for h in range(max(len(here), len(there)))])]
    rows += [("from g/kWh", [six(v) for v in here]), ("to g/kWh", [six(v) for v in there])]
    if gains is not None:
        rows.append(("gain gCO2e", [six(v) for v in gains]))
    parts: list[RenderableType] = []
    widest = max(len(text) for _, values in rows for text in values)
    names = max(len(name) for name, _ in rows)
    count = max(1, min(HOURS_PER_LINE, (width - 2 * INDENT - names) // (widest + 2)))
    for first in range(0, len(rows[0][1]), count):
        parts.append(Text(""))
        for name, values in rows:
            cells = "".join(f"  {text:>{widest}}" for text in values[first : first + count])
            parts.append(indented(2 * INDENT, (f"{name:<{names}}", "dim"), cells))
    if gains is not None:
        parts.append(line(("    gain = (kWh/h here × from − kWh/h there × to) × engine hours per grid hour", "dim")))
    return parts


def _gains(comparison: MoveComparison) -> list[float] | None:
    stay = _factors(comparison, "stay")
    move = _factors(comparison, "move")
    try:
        here, there, engine = stay["kwh_per_hour"], move["kwh_per_hour"], stay["engine_hours_per_grid_hour"]
    except KeyError:
        return None
    pairs = zip(comparison.intensity_from, comparison.intensity_to, strict=False)
    return [(here * a - there * b) * engine for a, b in pairs]


def _factors(comparison: MoveComparison, term: str) -> dict[str, float]:
    return {f.name: f.value for t in comparison.terms if t.name == term for f in t.factors}


def _term(term: Term, *, width: int) -> list[RenderableType]:
    """Print the amount, the formula with names, the same with numbers, and where each number comes from."""
    grid = Grid(columns("", Column("", right=True), "", Column("", wrap=True)))
    for factor in term.factors:
        grid.add(factor.name, exact(factor.value), factor.unit, factor.origin)
    return [
        line("  ", (f"{term.name:<11}", "bold"), f"{_signed(term.amount):>16} {term.unit}"),
        line(f"    = {term.formula}"),
        line(f"    = {_with_numbers(term)}"),
        grid.laid_out(width, 3 * INDENT),
    ]


def _with_numbers(term: Term) -> str:
    values = {f.name: exact(f.value) for f in term.factors}
    return _NAME.sub(lambda found: values.get(found[0], found[0]), term.formula)


def _saving(comparison: MoveComparison, unit: str) -> str:
    saved, net = comparison.saved_grams, comparison.net_grams
    first = f"Saves {exact(saved)}" if saved >= 0 else f"Emits {exact(-saved)} more"
    last = f"saves {exact(net)}" if net >= 0 else f"costs {exact(-net)}"
    return (
        f"{first} {unit} by running there, takes {exact(comparison.cost_grams)} {unit} to make, {last} {unit} in all."
    )


def _signed(value: float) -> str:
    return f"{value:+.8g}"


def _sums(comparison: MoveComparison) -> list[RenderableType]:
    unit = comparison.terms[0].unit if comparison.terms else "gCO2e"
    total = " ".join(_signed(t.amount) for t in comparison.terms)
    parts: list[RenderableType] = [
        line("  ", (f"{'net':<11}", "bold"), f"{_signed(comparison.net_grams):>16} {unit}"),
        line(f"    = {total}"),
        Text(""),
        indented(INDENT, _saving(comparison, unit)),
    ]
    if comparison.payback_hours is None:
        parts.append(indented(INDENT, "It does not repay its own carbon within the hours that are known."))
    else:
        length = numbers.duration(comparison.payback_hours * SECONDS_PER_HOUR)
        repaid = f"It repays its own carbon after {exact(comparison.payback_hours)} h of grid time ({length}): "
        parts.append(indented(INDENT, repaid, "then the gains add up to the cost."))
    if (sure := comparison.likelihood) is not None:
        days = f"{sure.pays} of {sure.scenarios} ways in which the forecasts of both grids were wrong lately"
        parts.append(indented(INDENT, f"It saves carbon in {days} ({sure.share:.0%})."))
    if told := egress.sentence(comparison.egress):
        parts.append(indented(INDENT, told))
    money = f"In money: {usd(comparison.move_usd)} for the double run"
    money += " and the egress" if comparison.egress is not None else ""
    change = comparison.usd_per_hour_change
    if change is None:
        money += "; the change per hour is unknown."
    elif change == 0:
        money += ", and the same price per hour after it."
    else:
        money += f", then {usd(abs(change))}/h {'more' if change > 0 else 'less'}."
    parts.append(indented(INDENT, money))
    return parts


def verdict_line(verdict: Verdict, *, indent: int) -> RenderableType:
    """Return a rule with its outcome; the sign says it without colour."""
    sign = ("✓", "green") if verdict.passed else ("✗", "red")
    return indented(indent, sign, f" {verdict.rule:<28} {verdict.text}")
