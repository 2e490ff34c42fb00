"""What a plan costs over the coming hours, and what none costs less than. Pure.

Two questions, two proofs. Where slots are filled, what stays is given, and the launches are proven best by the prices
of seats (``jointly.py``); one replica that has to move is such a launch. Where what runs could move, each replica's
best move bounds what any moves can save: the rules of moving (dwell, improvement, moves in a day) are no part of that,
so the gap is what they cost at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isnan

from orchestrator.domain.certificate import Budget, Certificate, Rung, gap, rung_of
from orchestrator.domain.decision import Assessment, MoveComparison
from orchestrator.domain.service import Objective
from orchestrator.domain.time import HOUR
from orchestrator.planner.choose import cost, launch_cost
from orchestrator.planner.judged import Judged
from orchestrator.planner.launches import Filling
from orchestrator.planner.moves import Side, hourly_intensities
from orchestrator.planner.voluntary import Weighed, net_of


def of_launches(judged: Judged, filling: Filling) -> Certificate | None:
    """Prove the offers that were chosen for empty slots; ``None`` without any, or where a cost is unknown.

    The cost is the running of them over the policy's horizon, and fetching the weights once.
    """
    if not filling.chosen or filling.objective is None or filling.least is None:
        return None
    count = len(filling.chosen)
    scale = _engine_hours(judged)
    made = _certified(
        judged,
        "the replica launched" if count == 1 else f"the {count} replicas launched",
        filling.objective * scale,
        filling.least * scale,
        None if filling.greedy is None else filling.greedy * scale,
    )
    return made if filling.in_time else replace(made, rung=Rung.GREEDY)


def of_target(
    judged: Judged, target: Assessment, among: Iterable[Assessment], others: Sequence[str], within: str = ""
) -> Certificate | None:
    """Bound what the place costs of one replica that has to move, or that somebody wants to move; ``None`` if unknown.

    The cost is that of a launch. No plan costs less than the best of ``among`` on its market that is allowed and has
    room beside ``others`` (regions); what is nearer to clients, or apart from other spot replicas, may cost more.
    ``within``: the region that somebody named.
    """
    objective, limit = judged.policy.objective, judged.snapshot.spec.placement.max_per_region
    known, taken = launch_cost(target, objective), Counter(others)
    if known is None:
        return None
    open_to = (
        a for a in among if a.allowed and a.market is target.market and (limit is None or taken[a.region] < limit)
    )
    least = min((c for a in open_to if (c := launch_cost(a, objective)) is not None), default=known)
    of = f"where the replica goes within {within}" if within else "where the replica goes"
    hours = _engine_hours(judged)
    return _certified(judged, of, known * hours, min(known, least) * hours, known * hours)


def of_moves(judged: Judged, weighed: Weighed, made: MoveComparison | None) -> Certificate | None:
    """Bound what moving could still save, after the move that is made, if any; ``None`` where too little is known.

    All replicas that could move, each by its best move, whatever the rules of moving say and whoever is in the way.
    Grams are summed over the hours that are known where the replicas stand, up to the horizon; ``None`` where those are
    not as many for each of them.
    When the time was up, what runs is frozen: grams and dollars are at least nothing, which is all that is known then.
    """
    objective = judged.policy.objective
    running = [_running(judged, here) for _, here in weighed.settled]
    known = [r for r in running if r is not None]
    if not known or len(known) < len(running) or len({hours for hours, _ in known}) > 1:
        return None
    hours = known[0][0]
    saved = 0.0 if made is None else net_of(made, objective) or 0.0
    stay = sum(each for _, each in known)
    count = len(known)
    of = "where the replica stands" if count == 1 else f"where {count} replicas stand"
    if not weighed.in_time:
        frozen = replace(_certified(judged, of, stay, 0.0), hours=float(hours), rung=Rung.FROZEN)
        return None if objective is Objective.LOWEST_SCORE else frozen
    bound = min(stay - saved, stay - sum(weighed.saves.values()))
    proven = replace(_certified(judged, of, stay - saved, bound), hours=float(hours))
    if proven.gap == 0:
        return proven
    why = "the rules of moving hold back the rest" if weighed.is_whole else "there was no time to weigh every move"
    return replace(proven, of=f"{of}; {why}")


def timed(certificate: Certificate | None, before: float, budget: Budget) -> Certificate | None:
    """Return it with the seconds that a budget has lost since ``before`` were left; as it is where nobody counts."""
    seconds = before - budget()
    return certificate if certificate is None or isnan(seconds) else replace(certificate, seconds=seconds)


def _certified(judged: Judged, of: str, objective: float, bound: float, greedy: float | None = None) -> Certificate:
    found = gap(objective, bound)
    unit = {
        Objective.GREENEST: "gCO2e",
        Objective.CHEAPEST: "USD",
        Objective.LOWEST_SCORE: "USD by the policy's weights",
    }[judged.policy.objective]
    return Certificate(of, unit, judged.policy.horizon / HOUR, objective, bound, found, rung_of(found), greedy)


def _engine_hours(judged: Judged) -> float:
    """Hours of running within the horizon, which is counted in grid time."""
    return judged.policy.horizon / HOUR / judged.snapshot.clock_rate


def _running(judged: Judged, here: Side) -> tuple[int, float] | None:
    """Return what a replica costs where it stands, by the figures that moves are weighed by, and over how many hours.

    Those are the horizon's, or of grams as many as are known of it without a hole. ``None`` where it is not known.
    """
    assessment, objective = here.assessment, judged.policy.objective
    hours = max(1, int(judged.policy.horizon / HOUR))
    if objective is not Objective.GREENEST:
        rate = cost(assessment, objective)
        return None if rate is None else (hours, rate * hours / judged.snapshot.clock_rate)
    values = hourly_intensities(here.candidate, judged.now, hours, assessment.grams_per_kwh)
    kwh = assessment.kwh_per_hour
    return None if kwh is None or not values else (len(values), sum(values) * kwh / judged.snapshot.clock_rate)
