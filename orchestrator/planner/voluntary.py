"""Moves that need not be: every settled replica is compared with every place, and the best approved move is made.

At most one at a time, so that trying them all is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from itertools import groupby
from math import inf

from orchestrator.domain.certificate import Budget, unhurried
from orchestrator.domain.decision import MoveComparison
from orchestrator.domain.plan import Action, ActionKind
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import Objective
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.ceiling import most_saved, running
from orchestrator.planner.fallback import crowds
from orchestrator.planner.judged import Judged, buy
from orchestrator.planner.likely import with_likelihood
from orchestrator.planner.moves import NET_SCORE, Side, compare, weighable
from orchestrator.planner.slots import standing_slots

MOST_COMPARISONS = 24
"""The best moves are enough to explain a decision; replicas times offers of them would be megabytes, every hour."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Comparisons of moves that there is room for, the best first; ``crowded``: those that others are in the way of.

    Moves that can save nothing, and are not among the best, are left out: nobody is told of them. So are those in
    whose way others are, but for the best of each replica.
    ``settled``: the replicas that were weighed, and where each of them stands. Not ``in_time``: the time was up before
    all were compared, so that nothing is known to be best, and nothing moves.
    """

    comparisons: tuple[MoveComparison, ...] = ()
    crowded: tuple[MoveComparison, ...] = ()
    settled: tuple[tuple[Replica, Side], ...] = ()
    in_time: bool = True

    @property
    def best(self) -> MoveComparison | None:
        """The best move that every rule approves of."""
        return next((c for c in self.comparisons if c.approved), None)

    @property
    def shown(self) -> tuple[MoveComparison, ...]:
        """Those that explain the decision."""
        return self.comparisons[:MOST_COMPARISONS]


def weigh_moves(judged: Judged, staying: Mapping[int, Replica], budget: Budget = unhurried) -> Weighed:
    """Compare every settled replica with every other place on its market; nothing while anything moves.

    ``budget``: the seconds left. When they are gone, what stands is frozen: there is time again at the next look.
    """
    snapshot, limit = judged.snapshot, judged.snapshot.spec.placement.max_per_region
    if snapshot.in_motion():
        return Weighed()
    settled = tuple(_settled(judged, staying))
    if not settled:
        return Weighed()
    policy, objective, rate = judged.policy, judged.policy.objective, snapshot.clock_rate
    places = [
        (assessment, running(side, policy, judged.now, rate))
        for assessment in judged.assessments
        if assessment.allowed and (side := judged.side(assessment.offer_id)) is not None
    ]
    open_to: list[_Way] = []
    crowded: list[_Way] = []
    for replica, stands in settled:
        here = running(stands, policy, judged.now, rate)
        others = Counter(r.region for r in staying.values() if r.name != replica.name)
        for assessment, there in places:
            if assessment.market is not replica.market or assessment.offer_id == replica.offer_id:
                continue
            has_room = limit is None or others[assessment.region] < limit
            has_room = has_room and not crowds(snapshot, replica, assessment)
            way = _Way(most_saved(here, there, objective), replica, stands, there.side)
            (open_to if has_room else crowded).append(way)
    shown = _worth_showing(open_to, judged, budget)
    held = _worth_counting(crowded, judged, budget)
    if shown is None or held is None:
        return Weighed(settled=settled, in_time=False)
    shown.sort(key=lambda c: _preference(c, objective))
    shown[:MOST_COMPARISONS] = [_made_sure(c, judged) for c in shown[:MOST_COMPARISONS]]
    return Weighed(tuple(shown), tuple(held), settled)


@dataclass(frozen=True, slots=True)
class _Way:
    """A move that could be weighed, and what it saves at most of what the objective counts."""

    most_saved: float
    replica: Replica
    here: Side
    there: Side

    def compared(self, judged: Judged) -> MoveComparison:
        """Weigh it in full."""
        leaves = judged.leaves(self.replica, self.there.assessment.offer_id)
        return compare(self.replica, self.here, self.there, judged.snapshot, judged.policy, judged.now, leaves)


def _worth_showing(ways: Sequence[_Way], judged: Judged, budget: Budget) -> list[MoveComparison] | None:
    """Weigh those that may be approved of, may be shown, or say what moving could still save; the promising first.

    What saves nothing at most is approved by no rule, and what saves less at most than enough others save is not
    shown: the rest need not be weighed. ``None`` when the time is up before that.
    """
    made: list[MoveComparison] = []
    best: list[float] = []
    for way in sorted(ways, key=lambda w: (-w.most_saved, w.replica.name, w.there.assessment.offer_id)):
        if way.most_saved < 0 and len(best) == MOST_COMPARISONS and way.most_saved < best[0]:
            break
        if budget() <= 0:
            return None
        comparison = way.compared(judged)
        made.append(comparison)
        net = net_of(comparison, judged.policy.objective)
        (heappush if len(best) < MOST_COMPARISONS else heappushpop)(best, -inf if net is None else net)
    return made


def _worth_counting(ways: Sequence[_Way], judged: Judged, budget: Budget) -> list[MoveComparison] | None:
    """Weigh those that others are in the way of, until the best of each replica is known, if it saves anything.

    ``ways``: one replica after the other. ``None``: the time is up.
    """
    made: list[MoveComparison] = []
    for _, own in groupby(ways, key=lambda w: w.replica.name):
        best = 0.0
        for way in sorted(own, key=lambda w: (-w.most_saved, w.there.assessment.offer_id)):
            if way.most_saved <= best:
                break
            if budget() <= 0:
                return None
            comparison = way.compared(judged)
            made.append(comparison)
            best = max(best, net_of(comparison, judged.policy.objective) or 0.0)
    return made


def _made_sure(comparison: MoveComparison, judged: Judged) -> MoveComparison:
    """Say how sure the saving is, of a move that is shown: thousands of sums, too many for moves that nobody sees."""
    here, there = judged.side(comparison.from_offer), judged.side(comparison.to_offer)
    if here is None or there is None:
        return comparison
    return with_likelihood(comparison, here, there, judged.now, judged.snapshot.clock_rate)


def net_of(comparison: MoveComparison, objective: Objective) -> float | None:
    """Return what a move saves of what is minimised, its own cost included: gCO2e or USD; ``None`` if unknown."""
    if objective is Objective.GREENEST:
        return comparison.net_grams
    if objective is Objective.CHEAPEST:
        return comparison.net_usd
    return next((v.value for v in comparison.verdicts if v.rule == NET_SCORE), None)


def move_action(judged: Judged, best: MoveComparison) -> Action:
    """Make the move."""
    mover = next(r for r in judged.snapshot.replicas if r.name == best.replica)
    target = judged.by_id(best.to_offer)
    if target is None:
        message = f"{best.to_offer} vanished while it was being weighed"
        raise NoFeasiblePlacement(message)
    return buy(ActionKind.MOVE, mover.slot, target, f"saves {_saved(best, judged.policy.objective)} net", mover)


def known_sides(judged: Judged, replicas: Sequence[Replica]) -> list[tuple[Replica, Side]]:
    """Return those whose place is still sold, and known well enough to be compared with another one."""
    sides = [(r, judged.side(r.offer_id)) for r in replicas]
    return [(r, side) for r, side in sides if side is not None and weighable(side, judged.now)]


def _settled(judged: Judged, staying: Mapping[int, Replica]) -> Iterator[tuple[Replica, Side]]:
    standing = standing_slots(judged.snapshot.spec)  # above are those that stand in, and leave soon
    ready = [r for r in staying.values() if r.state is ReplicaState.READY and r.slot < standing]
    yield from known_sides(judged, ready)


def _preference(comparison: MoveComparison, objective: Objective) -> tuple[bool, float, float, str, str]:
    """Order moves: approved ones first, then by what is minimised, then by the other quantity, then by name."""
    grams = -comparison.net_grams
    usd = inf if comparison.net_usd is None else -comparison.net_usd
    score = inf if (net := net_of(comparison, Objective.LOWEST_SCORE)) is None else -net
    first, second = {
        Objective.GREENEST: (grams, usd),
        Objective.CHEAPEST: (usd, grams),
        Objective.LOWEST_SCORE: (score, usd),
    }[objective]
    return (not comparison.approved, first, second, comparison.replica, comparison.to_offer)


def _saved(best: MoveComparison, objective: Objective) -> str:
    net = net_of(best, objective)
    if objective is Objective.GREENEST or net is None:
        return f"{best.net_grams:.3f} gCO2e"
    return f"{net:.4f} USD" if objective is Objective.CHEAPEST else f"{net:.4f} USD by the policy's weights"
