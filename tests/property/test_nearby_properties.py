"""What is near to clients is enough for their part of the load, at the least cost of all choices that are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.domain.service import ClientArea, Policy
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.choose import launch_cost
from orchestrator.planner.jointly import Room, best_first, preference
from orchestrator.planner.judged import Judged, judge
from orchestrator.planner.plan import plan
from orchestrator.planner.rows import rows_of
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, NOON
from tests.near_by_hand import enough_by_hand
from tests.property.test_number_properties import CHEAPEST, MOST, World

ROUNDING = 1e-9


@dataclass(frozen=True)
class Apart:
    """A world whose clients are in several areas, so many of all in each."""

    world: World
    shares: tuple[float, ...]

    @property
    def policy(self) -> Policy:
        return self.world.policy

    def snapshot(self) -> Snapshot:
        """Return it as a decision sees it."""
        snap = self.world.snapshot()
        shares = self.shares[: len(self.world.clients)]
        parts = zip(self.world.clients, shares, strict=True)
        clients = tuple(ClientArea(near, part / sum(shares)) for near, part in parts)
        return replace(snap, spec=replace(snap.spec, clients=clients))


offers = st.tuples(st.integers(0, 2), st.floats(10.0, 600.0), st.floats(0.2, 6.0))
worlds = st.builds(
    Apart,
    st.builds(
        World,
        st.floats(0.2, 25.0),
        st.lists(offers, min_size=4, max_size=4).map(tuple),
        st.integers(1, MOST),
        st.integers(0, 1),
        st.none() | st.integers(1, 3),
        st.sampled_from([GREEN, CHEAPEST]),
        st.lists(st.sampled_from(["eu", "us-east", "au"]), min_size=2, max_size=3, unique=True).map(tuple),
        st.permutations([0, 0, 1, 2]).map(tuple),
    ),
    st.tuples(*[st.floats(0.05, 1.0)] * 3),
)


def _at(apart: Apart, snap: Snapshot, number: int) -> Judged:
    scaling = replace(snap.spec.scaling, min_replicas=number)
    return judge(replace(snap, spec=replace(snap.spec, scaling=scaling)), apart.policy, NOON)


def _cost(apart: Apart, judged: Judged, ids: Sequence[str]) -> float:
    found = [launch_cost(a, apart.policy.objective) for i in ids if (a := judged.by_id(i)) is not None]
    known = [k for k in found if k is not None]
    assert len(known) == len(ids)
    return sum(known)


def brute_force(apart: Apart, snap: Snapshot) -> float | None:
    """Every number and every multiset of offers: the least that one costs which keeps all that is promised."""
    best: float | None = None
    for number in range(1, MOST + 1):
        judged = _at(apart, snap, number)
        able = [a for a in judged.assessments if a.allowed and a.work is not None and a.work.carries]
        for ids in combinations_with_replacement(
            sorted(a.offer_id for a in able), number + snap.spec.scaling.num_overprovision
        ):
            regions = Counter(a.region for i in ids if (a := judged.by_id(i)) is not None)
            if apart.world.limit is not None and max(regions.values()) > apart.world.limit:
                continue
            spent = _cost(apart, judged, ids)
            is_better = (best is None or spent < best) and not judged.promised.left(ids)
            if is_better and enough_by_hand(snap, ids):
                best = spent
    return best


@settings(deadline=None, max_examples=40)
@given(worlds)
def test_what_is_bought_is_enough_and_costs_what_the_best_of_all_ways_costs(apart: Apart) -> None:
    """By brute force; a deploy is refused where nearness is what no number and no choice of offers can mend."""
    snap = apart.snapshot()
    assume(judge(snap, apart.policy, NOON).promised.areas)
    best = brute_force(apart, snap)
    try:
        made = plan(snap, apart.policy, NOON)
    except NoFeasiblePlacement:
        assert best is None
        return
    if best is None:
        return
    ids = sorted(a.offer_id for a in made.actions)
    judged = _at(apart, snap, len(ids) - apart.world.spares)
    assert not judged.promised.left(ids)
    assert enough_by_hand(snap, ids)
    assert _cost(apart, judged, ids) <= best * (1 + ROUNDING)


@settings(deadline=None, max_examples=60)
@given(worlds, st.data())
def test_what_is_enough_is_what_halls_condition_says_and_rows_can_be_made_of(apart: Apart, data: st.DataObject) -> None:
    """A flow, set by set, and the program of the rows agree; who lacks is told by parts that do not fit."""
    snap = apart.snapshot()
    judged = judge(snap, apart.policy, NOON)
    assume(judged.promised.areas and judged.nearby is not None)
    ids = data.draw(st.lists(st.sampled_from(sorted(judged.promised.near)), min_size=1, max_size=4))
    assume(not judged.promised.left(ids))
    lack = judged.lack(ids)
    assert (lack is None) is enough_by_hand(snap, ids)
    if lack is not None:
        assert lack.missing > 0
        assert lack.areas
        assert lack.carried < sum(judged.promised.areas[a] for a in lack.areas) + ROUNDING
    rows = rows_of(judged, ids)
    if rows is not None and len(set(ids)) > 1 and lack is None:
        assert rows.rows, rows.why_none


@settings(deadline=None, max_examples=40)
@given(worlds, st.integers(1, 3))
def test_ways_come_in_the_order_in_which_they_are_preferred_and_none_is_left_out(apart: Apart, slots: int) -> None:
    """Each multiset of offers once, the best first; a way for which a region has no room comes empty."""
    judged = judge(apart.snapshot(), apart.policy, NOON)
    pool = [a for a in judged.assessments if a.allowed]
    assume(pool)
    room = Room(judged.snapshot.spec.placement)
    wanted = [[pool]] * slots
    found = list(best_first(wanted, room, apart.policy.objective, lambda own: {a.offer_id for a in own}))
    ids = [tuple(sorted(a.offer_id for a in chosen)) for _, chosen in found if chosen]
    assert len(set(ids)) == len(ids)
    limit = apart.world.limit or slots
    fits = [
        way
        for way in combinations_with_replacement(sorted(a.offer_id for a in pool), slots)
        if max(Counter(i.split(":", 1)[0] for i in way).values()) <= limit
    ]
    assert sorted(ids) == fits
    orders = [preference(wanted, chosen, room, apart.policy.objective)[1] for _, chosen in found if chosen]
    assert orders == sorted(orders)
    assert orders == [least for least, chosen in found if chosen]
