"""Money as people read it: the worst-case bill, how much of a budget is held, and when replicas end by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType

from orchestrator.cli.render.numbers import duration, instant, usd
from orchestrator.cli.render.offers import INDENT
from orchestrator.cli.render.text import indented, line
from orchestrator.domain.time import Instant
from orchestrator.planner.spending import Bill, BillLine, BudgetUse


def worst_case(bill: Bill) -> RenderableType:
    """Say what is paid at most if everything of ours dies now, in all and for each replica."""
    if not bill.lines:
        return line(("Worst case: ", "bold"), "nothing runs, nothing is paid.")
    parts: list[RenderableType] = [line(("Worst case: ", "bold"), worst_case_words(bill))]
    if len(bill.lines) > 1 or bill.usd is None or any(one.egress_usd for one in bill.lines):
        parts += [indented(INDENT, (f"{_name(one)} in {one.region}: {_line_words(one)}", "dim")) for one in bill.lines]
    return Group(*parts)


def worst_case_words(bill: Bill) -> str:
    """Say it in one sentence."""
    if bill.usd is not None and bill.until is not None:
        return f"if everything of ours dies now, at most {usd(bill.usd)} until {instant(bill.until)}."
    rest = f"; what is known of it comes to {usd(bill.known_usd)}" if bill.known_usd else ""
    return f"if everything of ours dies now, nobody knows what it costs{rest}."


def budget_words(use: BudgetUse) -> str:
    """Say how much of a limit is spent or held."""
    if use.held_usd is None:
        return f"{use.name} {usd(use.usd)}: unknown, because a part of what runs has no known price"
    more = "; nothing is launched beyond it, what serves goes on" if use.held_usd >= use.usd else ""
    return f"{use.name} {usd(use.usd)}: {usd(use.held_usd)} spent or held until {instant(use.period_ends_at)}{more}"


def leases(ends: Mapping[str, Instant | None], now: Instant, rate: float) -> Sequence[str]:
    """Say when each replica ends by itself; ``ends``: by label. ``rate``: grid seconds per physical second."""
    found = []
    for name, at in ends.items():
        if at is None:
            found.append(f"{name}: no lease, nothing ends it by itself")
        elif at <= now:
            found.append(f"{name}: its lease was over at {instant(at)}, unless it was used since")
        else:
            left = duration((at - now).total_seconds() / rate)
            found.append(f"{name}: ends by itself in {left} unless its lease is renewed or it is used")
    return found


def _name(one: BillLine) -> str:
    return f"r{one.slot}" + ("" if one.replica else " (new)")


def _line_words(one: BillLine) -> str:
    if one.usd_per_hour is None:
        return "its price is unknown"
    if one.egress_usd is None:
        return "what fetching its weights costs is unknown: write model.weights_gb and model.weights_from"
    if one.until is None:
        return f"{usd(one.usd_per_hour)}/h, and nothing ends it by itself"
    egress = f", {usd(one.egress_usd)} of it for fetching its weights" if one.egress_usd else ""
    return f"{usd(one.usd)} until {instant(one.until)}{egress}"
