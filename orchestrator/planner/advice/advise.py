"""Stay, move now, or change the constraint: one answer for a service, with what it rests on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.decision import MoveComparison
from orchestrator.domain.plan import ActionKind
from orchestrator.domain.service import Policy
from orchestrator.domain.time import Instant
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.advice.backtest import Hindsight
from orchestrator.planner.advice.flip import Flip, flips
from orchestrator.planner.advice.relax import Relaxed
from orchestrator.planner.advice.shadow import ShadowPrice, priced
from orchestrator.planner.judged import judge
from orchestrator.planner.plan import plan
from orchestrator.planner.rush import RUSH_RULE
from orchestrator.planner.schedule import SCHEDULE_RULE
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.spending import Afforded

WORTH_CHANGING = 0.1
"""A limit that costs less than a tenth of the emissions is not worth a person's time; it is listed all the same."""

GRAMS_PER_TONNE = 1e6

PASSING = frozenset(
    {"rollout.paused", SCHEDULE_RULE, RUSH_RULE, "migration.min_dwell", "migration.rest", "migration.timing"}
)
"""What holds a move back for a while only: a limit that is changed meanwhile has its effect when that is over."""


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


def advise(snapshot: Snapshot, policy: Policy, now: Instant, afforded: Afforded | None = None) -> Advice:
    """Answer for a service. Raises ``NoFeasiblePlacement`` where it can stand nowhere.

    ``afforded``: its plan without what its budget does not allow; ``None`` of a service without a budget.
    """
    afforded = afforded or Afforded(plan(snapshot, policy, now, keep_up=True), ())
    comparisons = afforded.plan.decision.comparisons
    best = breakeven(comparisons[0], snapshot.clock_rate) if comparisons else None
    prices = priced(snapshot, policy, now)
    answer, because = _answer(afforded, comparisons[0] if comparisons else None, prices, now)
    changed = flips(comparisons, judge(snapshot, policy, now))
    return Advice(snapshot.spec.name, now, answer, because, best, tuple(price for price, _ in prices), changed)


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


def _answer(
    afforded: Afforded,
    best: MoveComparison | None,
    prices: Sequence[tuple[ShadowPrice, Relaxed | None]],
    now: Instant,
) -> tuple[Answer, str]:
    found = afforded.plan
    if best is not None and best.approved and not afforded.refused:
        return Answer.MOVE_NOW, found.decision.summary
    kinds = {action.kind for action in found.actions}
    if ActionKind.LAUNCH in kinds:
        return Answer.DEPLOY, found.decision.summary
    if ActionKind.MOVE in kinds:
        return Answer.MOVE_NOW, found.decision.summary
    if afforded.refused:
        return Answer.STAY, found.decision.summary
    for price, change in prices:
        if price.saved_fraction < WORTH_CHANGING:
            break
        waits = "" if change is None else _waits_for(change, now)
        if waits is None:
            continue
        whose = "all replicas" if price.is_of_all else "a replica"
        saved = f"{price.saved_fraction:.0%} of the carbon of {whose} ({price.grams_per_hour_saved:.3g} g/h)"
        return Answer.CHANGE_THE_CONSTRAINT, f"{found.decision.summary}; to {price.change} would save {saved}{waits}"
    return Answer.STAY, found.decision.summary


def _waits_for(change: Relaxed, now: Instant) -> str | None:
    """Return what would hold back for a while what a change is made for, in words; ``None`` if it changes nothing."""
    try:
        then = plan(change.snapshot, change.policy, now, keep_up=True)
    except NoFeasiblePlacement:
        return None
    if any(action.kind in {ActionKind.LAUNCH, ActionKind.MOVE} for action in then.actions):
        return ""
    failed = [v for c in then.decision.comparisons[:1] for v in c.verdicts if not v.passed]
    if not failed or any(v.rule not in PASSING for v in failed):
        return None
    return f", once this is over: {'; '.join(f'{v.rule}: {v.text}' for v in failed)}"
