"""Both ends of the trade-off, to see a plan between them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.certificate import unhurried
from orchestrator.domain.decision import Assessment
from orchestrator.domain.plan import FrontierPoint
from orchestrator.domain.price import Market
from orchestrator.domain.service import Objective
from orchestrator.planner.choose import choose, total
from orchestrator.planner.enough import as_near
from orchestrator.planner.jointly import Room, jointly
from orchestrator.planner.judged import Judged


def frontier(judged: Judged, markets: Sequence[Market], offers: Sequence[str]) -> tuple[FrontierPoint, ...]:
    """Both ends of the trade-off for one replica on each of the markets: cheapest, and greenest whatever it costs.

    The greenest end lifts only the cost rules; every other rule still holds, and neither end serves clients worse than
    ``offers``, the plan's own. Of running: whoever stands there already fetches nothing.
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
        if placed is not None:
            ends.append(FrontierPoint(objective.value, tuple(a.offer_id for a in placed), total(placed)))
    return tuple(ends)


def _without_cost_rules(assessment: Assessment) -> Assessment:
    cost_rules = {"policy.max_extra_cost", "policy.price_cap"}
    return replace(assessment, verdicts=tuple(v for v in assessment.verdicts if v.rule not in cost_rules))
