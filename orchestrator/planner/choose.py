"""Fill free slots with the best allowed offers: the readable greedy chooser.

Its face is final, its inside is not: an exact optimiser takes its place behind the same function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf

from orchestrator.domain.decision import Assessment
from orchestrator.domain.plan import FrontierPoint, Totals
from orchestrator.domain.price import Market
from orchestrator.domain.service import Objective, PlacementRules

Rank = tuple[float, float, float, str]


def rank(assessment: Assessment, objective: Objective) -> Rank:
    """Order offers by the objective, then by the other quantities, then by name, so that equals never swap."""
    grams = assessment.expected_grams_per_hour
    usd = assessment.usd_per_hour
    known_grams, known_usd = (inf if grams is None else grams), (inf if usd is None else usd)
    if objective is Objective.CHEAPEST:
        return (known_usd, known_grams, 0.0, assessment.offer_id)
    if objective is Objective.LOWEST_SCORE:
        score = assessment.score_usd_per_hour
        return (inf if score is None else score, known_usd, known_grams, assessment.offer_id)
    return (known_grams, known_usd, 0.0, assessment.offer_id)


def choose(
    assessments: Iterable[Assessment], count: int, occupied: Sequence[str], rules: PlacementRules, objective: Objective
) -> tuple[Assessment, ...]:
    """Pick up to ``count`` offers (one may be picked often), best first, within ``max_per_region``.

    ``occupied`` lists the regions of the replicas that stay. Fewer than ``count`` come back when the rules leave no
    room.
    """
    ranked = sorted((a for a in assessments if a.allowed), key=lambda a: rank(a, objective))
    used = Counter(occupied)
    limit = rules.max_per_region if rules.max_per_region is not None else inf
    chosen: list[Assessment] = []
    for _ in range(count):
        best = next((a for a in ranked if used[a.region] < limit), None)
        if best is None:
            break
        used[best.region] += 1
        chosen.append(best)
    return tuple(chosen)


def total(assessments: Sequence[Assessment]) -> Totals:
    """Sum hourly rates; one unknown part makes its sum unknown."""
    return Totals(
        replicas=len(assessments),
        kwh_per_hour=_sum([a.kwh_per_hour for a in assessments]),
        grams_per_hour=_sum([a.grams_per_hour for a in assessments]),
        usd_per_hour=_sum([a.usd_per_hour for a in assessments]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known, 0.0) if len(known) == len(values) else None


def frontier(
    assessments: Sequence[Assessment], markets: Sequence[Market], rules: PlacementRules
) -> tuple[FrontierPoint, ...]:
    """Both ends of the trade-off for one replica on each of the markets: cheapest, and greenest whatever it costs.

    The greenest end lifts only the cost rules; every other rule still holds.
    """
    uncapped = [_without_cost_rules(a) for a in assessments]
    ends = []
    for objective, pool in ((Objective.CHEAPEST, assessments), (Objective.GREENEST, uncapped)):
        picked: list[Assessment] = []
        for market in markets:
            on_it = [a for a in pool if a.market is market]
            picked += choose(on_it, 1, [a.region for a in picked], rules, objective)
        if len(picked) == len(markets):
            ends.append(FrontierPoint(objective.value, tuple(a.offer_id for a in picked), total(picked)))
    return tuple(ends)


def _without_cost_rules(assessment: Assessment) -> Assessment:
    cost_rules = {"policy.max_extra_cost", "policy.price_cap"}
    return replace(assessment, verdicts=tuple(v for v in assessment.verdicts if v.rule not in cost_rules))
