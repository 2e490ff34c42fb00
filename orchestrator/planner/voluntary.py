"""Moves that need not be: every settled replica is compared with every place, and the best approved move is made.

At most one at a time, so that trying them all is exact. A fleet has tens of thousands of moves, and weighing one in
full takes as long as a hundred subtractions. So replicas that stand alike are weighed once, the promising moves come
first, and what can neither be shown nor be the best of its replica is left out: ``ceiling.py`` bounds what it saves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappush, heappushpop, nsmallest
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING

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
from orchestrator.planner.moves import (
    NET_SCORE,
    Side,
    compare,
    may_go,
    net_of_moving,
    paths_from,
    stays_put,
    weighable,
)
from orchestrator.planner.rush import without_rush
from orchestrator.planner.slots import slots_for_good
from orchestrator.planner.surviving import may_move

if TYPE_CHECKING:
    from orchestrator.planner.path import Paths

MOST_COMPARISONS = 24
"""The best moves are enough to explain a decision; replicas times offers of them would be megabytes, every hour."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The comparisons that explain the decision, the best first, of moves that there is room for.

    ``saves``: what the best move of each replica saves at most of what the objective counts, by name, whatever the
    rules of moving say and whoever is in the way; a replica of which nothing is known to pay may be missing.
    ``settled``: the replicas that were weighed, and where each of them stands. ``is_whole``: no figure of ``saves`` is
    higher than it would be with more time. Not ``in_time``: the time was up before it was known which move is the best,
    so that nothing moves.
    """

    comparisons: tuple[MoveComparison, ...] = ()
    saves: Mapping[str, float] = field(default_factory=dict)
    settled: tuple[tuple[Replica, Side], ...] = ()
    is_whole: bool = True
    in_time: bool = True

    @property
    def best(self) -> MoveComparison | None:
        """The best move that every rule approves of."""
        return next((c for c in self.comparisons if c.approved), None)


def weigh_moves(judged: Judged, staying: Mapping[int, Replica], budget: Budget = unhurried) -> Weighed:
    """Compare every settled replica with every other place on its market; nothing while anything moves.

    ``budget``: the seconds left. When they are gone, the best move so far is made if no other can be better, else what
    stands is frozen: there is time again at the next look.
    """
    if judged.snapshot.in_motion():
        return Weighed()
    settled = tuple(_settled(judged, staying))
    if not settled:
        return Weighed()
    open_to, crowded = _ways(judged, staying, _parties(judged, settled))
    outlooks = _Outlooks(judged, open_to)
    made, left = _worth_showing(open_to, judged, outlooks, budget)
    shown = _in_full(made, judged, outlooks)
    best = next((c for c in shown if c.approved), None)
    rest = max((way.most_saved for way in left if way.party.may_move), default=-inf)
    if left and (best is None or (net_of(best, judged.policy.objective) or 0.0) <= rest):
        return Weighed(settled=settled, is_whole=False, in_time=False)
    most: dict[str, float] = defaultdict(float)
    for way, comparison in made:
        most[way.party.name] = max(most[way.party.name], net_of(comparison, judged.policy.objective) or 0.0)
    for way in left:
        most[way.party.name] = max(most[way.party.name], way.most_saved)
    is_whole = _count(crowded, most, judged, budget) and not left
    saves = {r.name: most[way.party.name] for way in (*open_to, *crowded) for r in way.party.replicas}
    if judged.snapshot.rushed:
        regions = {a.offer_id: a.region for a in judged.assessments}
        shown = without_rush(shown, regions, judged.snapshot.rushed)
    return Weighed(tuple(_made_sure(c, judged) for c in shown), saves, settled, is_whole)


@dataclass(frozen=True, slots=True)
class _Party:
    """Replicas that stand on one offer, by name: a move of one of them is worth what it is of any other.

    ``may_move``: the rules that look at no place let them.
    """

    replicas: tuple[Replica, ...]
    here: Side
    may_move: bool

    @property
    def name(self) -> str:
        """That of the first of them."""
        return self.replicas[0].name


@dataclass(frozen=True, slots=True)
class _Way:
    """A move that could be weighed, and what it saves at most of what the objective counts."""

    most_saved: float
    party: _Party
    there: Side

    def compared(self, judged: Judged, replica: Replica, outlooks: _Outlooks) -> MoveComparison:
        """Weigh it in full for one of the party."""
        paths = partial(outlooks.of, self.party)
        leaves = judged.leaves(replica, self.there.assessment.offer_id)
        return compare(replica, self.party.here, self.there, judged.snapshot, judged.policy, judged.now, leaves, paths)


class _Outlooks:
    """The ways on of each party, by way of the places that it may go to now; worked out when first asked for."""

    def __init__(self, judged: Judged, open_to: Sequence[_Way]) -> None:
        self._judged, self._open_to = judged, open_to
        self._found: dict[str, Paths] = {}

    def of(self, party: _Party) -> Paths | None:
        """Return them; ``None`` where the policy minimises what does not change by the hour."""
        judged = self._judged
        if judged.policy.objective is not Objective.GREENEST:
            return None
        if party.name not in self._found:
            first, here = party.replicas[0], party.here
            others = [
                way.there
                for way in self._open_to
                if way.party.name == party.name
                if may_go(
                    here,
                    way.there,
                    judged.snapshot,
                    judged.now,
                    judged.leaves(first, way.there.assessment.offer_id),
                )
            ]
            self._found[party.name] = paths_from(here, others, judged.snapshot, judged.policy, judged.now)
        return self._found[party.name]


def outlook_of(judged: Judged, staying: Mapping[int, Replica], replica: Replica) -> Paths | None:
    """Return all ways on of one that is settled, as :func:`weigh_moves` judges its moves by them."""
    parties = _parties(judged, list(_settled(judged, staying)))
    open_to, _ = _ways(judged, staying, parties)
    party = next((p for p in parties if replica in p.replicas), None)
    return None if party is None else _Outlooks(judged, open_to).of(party)


class _Highest:
    """The highest nets so far, as many as are shown."""

    def __init__(self) -> None:
        self._nets: list[float] = []

    def add(self, net: float, times: int) -> None:
        """Count the net of so many moves."""
        for _ in range(min(times, MOST_COMPARISONS)):
            (heappush if len(self._nets) < MOST_COMPARISONS else heappushpop)(self._nets, net)

    def all_above(self, most: float) -> bool:
        """Whether enough are higher than that."""
        return len(self._nets) == MOST_COMPARISONS and most < self._nets[0]


def _parties(judged: Judged, settled: Sequence[tuple[Replica, Side]]) -> list[_Party]:
    """Put those together that stand alike."""
    found: dict[tuple[str, bool], list[tuple[Replica, Side]]] = {}
    for replica, side in sorted(settled, key=lambda own: own[0].name):
        may_move = not stays_put(replica, judged.snapshot, judged.now)
        found.setdefault((replica.offer_id, may_move), []).append((replica, side))
    return [_Party(tuple(r for r, _ in own), own[0][1], may_move) for (_, may_move), own in found.items()]


def _ways(judged: Judged, staying: Mapping[int, Replica], parties: Sequence[_Party]) -> tuple[list[_Way], list[_Way]]:
    """Return the moves that there is room for, and those that others are in the way of, one party after the other."""
    snapshot, policy, rate = judged.snapshot, judged.policy, judged.snapshot.clock_rate
    limit = snapshot.spec.placement.max_per_region
    places = [
        (assessment, running(side, policy, judged.now, rate))
        for assessment in judged.assessments
        if assessment.allowed and (side := judged.side(assessment.offer_id)) is not None
    ]
    open_to: list[_Way] = []
    crowded: list[_Way] = []
    for party in parties:
        first = party.replicas[0]
        here = running(party.here, policy, judged.now, rate)
        others = Counter(r.region for r in staying.values() if r.name != first.name)
        for assessment, there in places:
            if assessment.market is not first.market or assessment.offer_id == first.offer_id:
                continue
            has_room = limit is None or others[assessment.region] < limit
            has_room = has_room and not crowds(snapshot, first, assessment)
            has_room = has_room and may_move(snapshot, others.elements(), first.region, assessment.region)
            way = _Way(most_saved(here, there, policy.objective), party, there.side)
            (open_to if has_room else crowded).append(way)
    return open_to, crowded


def _worth_showing(
    ways: Sequence[_Way], judged: Judged, outlooks: _Outlooks, budget: Budget
) -> tuple[list[tuple[_Way, MoveComparison]], list[_Way]]:
    """Weigh those that may be shown, or may be the best of their replicas, the promising first.

    Approved moves are shown before all others. What saves nothing at most is approved by no rule. Also returns what
    could not be weighed before the time was up.
    """
    made: list[tuple[_Way, MoveComparison]] = []
    best: dict[str, float] = defaultdict(float)
    highest, approved = _Highest(), _Highest()
    order = sorted(ways, key=lambda w: (-w.most_saved, w.party.name, w.there.assessment.offer_id))
    for number, way in enumerate(order):
        may_be_approved = way.party.may_move and way.most_saved >= 0
        is_hidden = (approved if may_be_approved else highest).all_above(way.most_saved)
        if is_hidden and way.most_saved <= best[way.party.name]:
            continue
        if budget() <= 0:
            return made, order[number:]
        comparison = way.compared(judged, way.party.replicas[0], outlooks)
        made.append((way, comparison))
        net = net_of(comparison, judged.policy.objective)
        net = -inf if net is None else net
        best[way.party.name] = max(best[way.party.name], net)
        highest.add(net, len(way.party.replicas))
        if comparison.approved:
            approved.add(net, len(way.party.replicas))
    return made, []


def _in_full(made: Sequence[tuple[_Way, MoveComparison]], judged: Judged, outlooks: _Outlooks) -> list[MoveComparison]:
    """Return the best moves of all replicas, the best first: what was weighed for one holds for those alike."""
    objective = judged.policy.objective
    rows = (
        ((*_preference(comparison, objective), replica.name, comparison.to_offer), replica, way, comparison)
        for way, comparison in made
        for replica in way.party.replicas[:MOST_COMPARISONS]
    )
    return [
        comparison if replica.name == comparison.replica else way.compared(judged, replica, outlooks)
        for _, replica, way, comparison in nsmallest(MOST_COMPARISONS, rows, key=lambda row: row[0])
    ]


def _count(ways: Sequence[_Way], most: dict[str, float], judged: Judged, budget: Budget) -> bool:
    """Weigh those that others are in the way of, until what each party saves at most is known; say whether it is.

    ``ways``: one party after the other. ``most``: what they save at most where there is room, which is raised.
    """
    is_known = True
    for name, own in groupby(ways, key=lambda w: w.party.name):
        for way in sorted(own, key=lambda w: (-w.most_saved, w.there.assessment.offer_id)):
            if way.most_saved <= most[name]:
                break
            if budget() <= 0:
                is_known, most[name] = False, way.most_saved
                break
            # Nobody is shown these, so rules and words are left out.
            net = net_of_moving(way.party.here, way.there, judged.snapshot, judged.policy, judged.now)
            most[name] = max(most[name], net or 0.0)
    return is_known


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
    standing = slots_for_good(judged.snapshot)  # others stand in, and leave soon
    ready = [r for r in staying.values() if r.state is ReplicaState.READY and r.slot in standing]
    yield from known_sides(judged, ready)


def _preference(comparison: MoveComparison, objective: Objective) -> tuple[bool, float, float]:
    """Order moves: approved ones first, then by what is minimised, then by the other quantity."""
    grams = -comparison.net_grams
    usd = inf if comparison.net_usd is None else -comparison.net_usd
    score = inf if (net := net_of(comparison, Objective.LOWEST_SCORE)) is None else -net
    first, second = {
        Objective.GREENEST: (grams, usd),
        Objective.CHEAPEST: (usd, grams),
        Objective.LOWEST_SCORE: (score, usd),
    }[objective]
    return (not comparison.approved, first, second)


def _saved(best: MoveComparison, objective: Objective) -> str:
    net = net_of(best, objective)
    if objective is Objective.GREENEST or net is None:
        return f"{best.net_grams:.3f} gCO2e"
    return f"{net:.4f} USD" if objective is Objective.CHEAPEST else f"{net:.4f} USD by the policy's weights"
