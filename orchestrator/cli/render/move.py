"""A move that a person asked for, with what the policy thinks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli.render import egress, numbers
from orchestrator.cli.render.comparison import verdict_line
from orchestrator.cli.render.headline import grid_time, headline
from orchestrator.cli.render.labels import labels
from orchestrator.cli.render.numbers import UNKNOWN, exact, grams, number, usd
from orchestrator.cli.render.offers import INDENT, MARKET_WORDS
from orchestrator.cli.render.text import indented, line
from orchestrator.domain.decision import Assessment, MoveComparison
from orchestrator.domain.plan import Action, ActionKind, Plan
from orchestrator.domain.replica import Replica

SECONDS_PER_HOUR: Final = 3600


def render(plan: Plan, replicas: Sequence[Replica], *, width: int) -> list[RenderableType]:
    """Return what moves, what it changes per hour, what the move itself costs, and the rules."""
    del width  # every line may break where it likes
    decision = plan.decision
    names = labels(replicas)
    offers = {r.name: r.offer_id for r in replicas}
    weighed = {a.offer_id: a for a in decision.assessments}
    parts: list[RenderableType] = [
        headline(plan.service, f"policy {decision.policy}", grid_time(decision.at, decision.clock_rate)),
        Text(""),
    ]
    for action in (a for a in plan.actions if a.kind is ActionKind.MOVE):
        here = weighed.get(offers.get(action.replica, ""))
        parts += _change(action, names.get(action.replica, action.replica), here, weighed.get(action.offer_id))
    for comparison in decision.comparisons:
        parts += ["", *_cost(comparison)]
    return parts


def _change(action: Action, name: str, here: Assessment | None, there: Assessment | None) -> list[Text]:
    market = "" if action.market is None else f" {MARKET_WORDS[action.market]}"
    rates = (
        f"{_rate(here)} → {_rate(there)} gCO2e/h   "
        f"{UNKNOWN if here is None else usd(here.usd_per_hour)} → {usd(action.usd_per_hour)} per hour"
    )
    return [
        line(("  ~ ", "yellow"), (name, "bold"), f"   {action.from_region} → {action.region}   {action.shape}{market}"),
        line(f"    {rates}"),
    ]


def _rate(assessment: Assessment | None) -> str:
    return UNKNOWN if assessment is None else number(assessment.grams_per_hour)


def _cost(comparison: MoveComparison) -> list[RenderableType]:
    repaid = (
        "does not repay itself within the hours that are known"
        if comparison.payback_hours is None
        else f"repays itself in {numbers.duration(comparison.payback_hours * SECONDS_PER_HOUR)} of grid time"
    )
    net = comparison.net_grams
    verb = "saves" if net >= 0 else "costs"
    return [
        indented(
            INDENT,
            f"The move itself: about {grams(comparison.cost_grams)} CO2e and {usd(comparison.move_usd)} for the "
            f"double run{' and the egress' if comparison.egress is not None else ''}; it {repaid}.",
        ),
        *([indented(INDENT, told)] if (told := egress.sentence(comparison.egress)) else []),
        indented(
            INDENT,
            f"Over the next {exact(comparison.horizon_hours)} h of grid time it {verb} {grams(abs(net))} CO2e net.",
        ),
        indented(INDENT, "What the policy says of it (shown, not enforced, because you ask):"),
        *[verdict_line(v, indent=4) for v in comparison.verdicts],
    ]


def in_words(plan: Plan) -> str:
    """Say in half a sentence what was moved."""
    return "; ".join(f"r{a.slot} moved from {a.from_region} to {a.region}" for a in plan.actions)
