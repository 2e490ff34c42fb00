"""Both ends of the trade-off, to see a plan between them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.certificate import unhurried
from orchestrator.domain.decision import Assessment
from orchestrator.domain.plan import FrontierPoint
from orchestrator.domain.price import Market
from orchestrator.domain.service import Objective
from orchestrator.planner.choose import choose, cost, total
from orchestrator.planner.enough import as_near
from orchestrator.planner.jointly import Room, jointly
from orchestrator.planner.judged import Judged
from orchestrator.policy.assess import EXTRA_COST_RULE, is_small


def frontier(judged: Judged, markets: Sequence[Market], offers: Sequence[str]) -> tuple[FrontierPoint, ...]:
    """Both ends of the trade-off for one replica on each of the markets: cheapest, and greenest whatever it costs.

    The greenest end lifts only the cost rules; every other rule still holds, and neither end serves clients worse than
    ``offers``, the plan's own. Of running: whoever stands there already fetches nothing. A plan whose replicas are too
    small may cost less than the best that carries the load: that is no end then, and not shown.
    """
    rules = judged.snapshot.spec.placement
    running = [a if a.fetch is None else replace(a, fetch=None) for a in judged.assessments]
    uncapped = [_without_cost_rules(a) for a in running]
    ends = []
    for objective, pool in ((Objective.CHEAPEST, running), (Objective.GREENEST, uncapped)):
        wanted = [[[a for a in pool if a.market is market]] for market in markets]
        picked: list[Assessment | None] = []
        for (on_it,) in wanted:
            taken = [a.region for a in picked if a is not None]
            picked.append(next(iter(choose(on_it, 1, taken, rules, objective)), None))
        plain = [a for a in jointly(wanted, picked, Room(rules), objective, unhurried).chosen if a is not None]
        if len(plain) < len(markets):
            continue
        placed = as_near(judged, wanted, plain, Room(rules), objective, offers)
        if placed is not None and not _is_beyond(judged, placed, offers, objective):
            ends.append(FrontierPoint(objective.value, tuple(a.offer_id for a in placed), total(placed)))
    return tuple(ends)


def _is_beyond(judged: Judged, placed: Sequence[Assessment], offers: Sequence[str], objective: Objective) -> bool:
    """Whether a plan of as many, one of which is too small, costs less than this end; not where a part is unknown."""
    own = [a for a in (judged.by_id(i) for i in offers) if a is not None]
    if len(own) != len(placed) or not any(is_small(a) for a in own):
        return False
    ours, theirs = ([k for a in some if (k := cost(a, objective)) is not None] for some in (own, placed))
    return len(ours) == len(theirs) == len(placed) and sum(theirs) > sum(ours)


def _without_cost_rules(assessment: Assessment) -> Assessment:
    cost_rules = {EXTRA_COST_RULE, "policy.price_cap"}
    return replace(assessment, verdicts=tuple(v for v in assessment.verdicts if v.rule not in cost_rules))
