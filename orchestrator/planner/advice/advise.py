"""Stay, move now, or change the constraint: one answer for a service, with what it rests on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.decision import MoveComparison
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.service import Policy
from orchestrator.domain.time import Instant
from orchestrator.planner.advice.backtest import Hindsight
from orchestrator.planner.advice.flip import Flip, flips
from orchestrator.planner.advice.shadow import ShadowPrice, shadow_prices
from orchestrator.planner.judged import judge
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot

WORTH_CHANGING = 0.1
"""A limit that costs less than a tenth of the emissions is not worth a person's time; it is listed all the same."""

GRAMS_PER_TONNE = 1e6


class Answer(StrEnum):
    """What to do."""

    STAY = "stay"
    MOVE_NOW = "move_now"
    CHANGE_THE_CONSTRAINT = "change_the_constraint"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Breakeven:
    """When a move has paid for itself, in hours of grid time; ``None``: never, or a number is unknown.

    ``usd_per_tonne``: what a tonne of CO2e would have to be worth for the move to be right in money too, where it is
    dearer; ``None`` where it is not, or where it saves no carbon. ``hindsight`` is ``None`` where nobody asked.
    """

    comparison: MoveComparison
    carbon_hours: float | None
    money_hours: float | None
    usd_per_tonne: float | None
    hindsight: Hindsight | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer with its reasons. ``because`` is one sentence; ``best``: the best move that was weighed, if any."""

    service: str
    at: Instant
    answer: Answer
    because: str
    best: Breakeven | None
    shadow_prices: tuple[ShadowPrice, ...]
    flips: tuple[Flip, ...]


def advise(snapshot: Snapshot, policy: Policy, now: Instant) -> Advice:
    """Answer for a service. Raises ``NoFeasiblePlacement`` where it can stand nowhere."""
    found = plan(snapshot, policy, now, keep_up=True)
    comparisons = found.decision.comparisons
    best = breakeven(comparisons[0], snapshot.clock_rate) if comparisons else None
    prices = shadow_prices(snapshot, policy, now)
    answer, because = _answer(found, comparisons[0] if comparisons else None, prices)
    changed = flips(comparisons[0], judge(snapshot, policy, now)) if comparisons else ()
    return Advice(snapshot.spec.name, now, answer, because, best, prices, changed)


def breakeven(comparison: MoveComparison, clock_rate: float) -> Breakeven:
    """Return after how long a move has repaid itself in carbon and in money: what it costs over what it gains."""
    change, once = comparison.usd_per_hour_change, comparison.move_usd
    money = None
    if change is not None and once is not None and change < 0:
        money = once / -change * clock_rate
    per_tonne = None
    hours = comparison.horizon_hours / clock_rate
    if change is not None and once is not None and comparison.net_grams > 0:
        dearer = change * hours + once
        per_tonne = dearer / comparison.net_grams * GRAMS_PER_TONNE if dearer > 0 else None
    return Breakeven(comparison, comparison.payback_hours, money, per_tonne)


def _answer(found: Plan, best: MoveComparison | None, prices: tuple[ShadowPrice, ...]) -> tuple[Answer, str]:
    if best is not None and best.approved:
        return Answer.MOVE_NOW, found.decision.summary
    kinds = {action.kind for action in found.actions}
    if ActionKind.LAUNCH in kinds:
        return Answer.DEPLOY, found.decision.summary
    if ActionKind.MOVE in kinds:
        return Answer.MOVE_NOW, found.decision.summary
    dearest = prices[0] if prices else None
    if dearest is not None and dearest.saved_fraction >= WORTH_CHANGING:
        whose = "all replicas" if dearest.is_of_all else "a replica"
        saved = f"{dearest.saved_fraction:.0%} of the carbon of {whose} ({dearest.grams_per_hour_saved:.3g} g/h)"
        return Answer.CHANGE_THE_CONSTRAINT, f"{found.decision.summary}; to {dearest.change} would save {saved}"
    return Answer.STAY, found.decision.summary
