"""Fill free slots with the best allowed offers, one after the other: the readable greedy chooser.

For one slot it is exact. For several it is what the optimiser (``jointly.py``) has to beat, and the answer where there
is no time for that one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf

from orchestrator.domain.decision import Assessment
from orchestrator.domain.plan import Totals
from orchestrator.domain.service import Objective, PlacementRules

Rank = tuple[float, float, float, float, float, str]


def rank(assessment: Assessment, objective: Objective) -> Rank:
    """Order offers by the objective, then by the other quantities, then by name, so that equals never swap.

    Of variants that are equal in all of that the better one comes first: quality is given up for something or not at
    all.

    Whoever is launched fetches the weights, which counts with what is minimised (:func:`launch_cost`).

    Where too little is known of the coming hours, grams come after all that are known. Among these the present hour
    decides, which is known of all of them (decision 0090).

    Before all that come those whose replicas carry their share of the load, or of which nobody knows: what has to be
    doubled at once is no bargain.
    """
    too_small = 1.0 if assessment.work is not None and assessment.work.carries is False else 0.0
    lost = 0.0 if assessment.quality is None else assessment.quality.lost_points
    grams = launch_cost(assessment, Objective.GREENEST)
    usd = launch_cost(assessment, Objective.CHEAPEST)
    in_this_hour = _in_this_hour(assessment) if grams is None else 0.0
    known_grams, known_usd = (inf if grams is None else grams), (inf if usd is None else usd)
    if objective is Objective.CHEAPEST:
        return (too_small, known_usd, known_grams, in_this_hour, lost, assessment.offer_id)
    if objective is Objective.LOWEST_SCORE:
        score = launch_cost(assessment, objective)
        return (too_small, inf if score is None else score, known_usd, known_grams, lost, assessment.offer_id)
    return (too_small, known_grams, in_this_hour, known_usd, lost, assessment.offer_id)


def _in_this_hour(assessment: Assessment) -> float:
    """Return the grams of the present hour, with what fetching the weights adds; infinite where they are unknown."""
    fetched = 0.0 if assessment.fetch is None else assessment.fetch.grams_per_hour
    return inf if assessment.grams_per_hour is None else assessment.grams_per_hour + fetched


def cost(assessment: Assessment, objective: Objective) -> float | None:
    """Return what is minimised while it runs: gCO2e or USD per hour; ``None`` where it is unknown."""
    return {
        Objective.GREENEST: assessment.expected_grams_per_hour,
        Objective.CHEAPEST: assessment.usd_per_hour,
        Objective.LOWEST_SCORE: assessment.score_usd_per_hour,
    }[objective]


def launch_cost(assessment: Assessment, objective: Objective) -> float | None:
    """Return :func:`cost` and what fetching the weights adds, spread over the horizon as a move has to repay it."""
    running, fetch = cost(assessment, objective), assessment.fetch
    if running is None or fetch is None:
        return running
    once = {
        Objective.GREENEST: fetch.grams_per_hour,
        Objective.CHEAPEST: fetch.usd_per_hour,
        Objective.LOWEST_SCORE: fetch.score_usd_per_hour,
    }[objective]
    return None if once is None else running + once


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
        kwh_per_hour=sum_of_known([a.kwh_per_hour for a in assessments]),
        grams_per_hour=sum_of_known([a.grams_per_hour for a in assessments]),
        usd_per_hour=sum_of_known([a.usd_per_hour for a in assessments]),
        liters_per_hour=sum_of_known([a.liters_per_hour for a in assessments]),
    )


def sum_of_known(values: Sequence[float | None]) -> float | None:
    """Add up what is known of all; ``None`` where a part is unknown."""
    known = [v for v in values if v is not None]
    return sum(known, 0.0) if len(known) == len(values) else None
