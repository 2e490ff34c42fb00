"""Where no place is near to all clients, those that are chosen are near to everybody together."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.render.origins import origin_lines
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import ClientArea, ModelSpec, PlacementRules, Scaling, ServiceSpec
from orchestrator.domain.variants import workload_of
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.cover import COVER_RULE, Areas, Party, fewest, needed, ways
from orchestrator.planner.judged import judge
from orchestrator.planner.nearby import Leaves
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.store.mappers import decision_from, decision_row
from tests.builders import GREEN, NOON, replica, snapshot
from tests.unit.planner.test_promise import EU, L4, LOAD, PLACES, US, place, promised

ASIA = ClientArea("au", 1.0)
FAR_APART = ("aws/frankfurt", "aws/virginia")
"""Either is near to its own clients, and neither to the other's."""


def wanting(number: int, *clients: ClientArea, ms: float = 60.0, **rules: int) -> ServiceSpec:
    """A service of so many replicas."""
    spec = promised(ms, *clients, most=max(2, number))
    placement = PlacementRules(max_per_region=rules.get("max_per_region"))
    return replace(spec, scaling=Scaling(number, max(2, number)), placement=placement)


def world(spec: ServiceSpec, *names: str) -> Snapshot:
    """What is sold at these places, with nobody there yet."""
    return snapshot([place(n) for n in names or PLACES], (), spec)


def regions(made: Plan) -> list[str]:
    """Where a plan launches."""
    return sorted(a.region for a in made.actions if a.kind is ActionKind.LAUNCH)


def serving(spec: ServiceSpec, *names: str) -> tuple[Replica, ...]:
    """One replica at each of these places."""
    digest = workload_of(spec, "") or ""
    return tuple(
        replica(place(n), slot=slot, name=f"chat-{slot}", workload_digest=digest) for slot, n in enumerate(names)
    )


def test_two_replicas_go_to_two_places_although_one_place_is_the_cleanest() -> None:
    """Virginia is cleaner than Frankfurt, and both would go there if nobody were in Europe."""
    assert regions(plan(world(wanting(2, US), *FAR_APART), GREEN, NOON)) == ["aws/virginia"] * 2
    made = plan(world(wanting(2, EU, US), *FAR_APART), GREEN, NOON)
    assert regions(made) == sorted(FAR_APART)


def test_a_third_replica_goes_where_it_is_cleanest() -> None:
    """Each area needs one place near to it and no more."""
    made = plan(world(wanting(3, EU, US), *FAR_APART), GREEN, NOON)
    assert regions(made) == ["aws/frankfurt", "aws/virginia", "aws/virginia"]


def test_what_is_chosen_is_proven_best_of_all_that_serve_everybody() -> None:
    """The bound is of choices that do, so that nobody is told of a gap that no choice could close."""
    made = plan(world(wanting(2, EU, US), *FAR_APART), GREEN, NOON)
    assert made.decision.certificate is not None
    assert made.decision.certificate.gap == pytest.approx(0.0)


def test_a_number_that_is_too_small_is_refused_with_the_one_that_is_enough() -> None:
    """One replica is near to one area; the refusal names who is left and the smallest change."""
    spec = replace(wanting(1, EU, US), scaling=Scaling(1, 2))
    with pytest.raises(NoFeasiblePlacement) as refused:
        plan(world(spec, *FAR_APART), GREEN, NOON)
    assert COVER_RULE in str(refused.value)
    assert "left without: eu (aws/frankfurt would do, " in str(refused.value)
    assert refused.value.hint() == "Smallest change: raise service.replica_policy.min_replicas to 2."


def test_where_load_may_have_more_the_clients_get_more() -> None:
    """The bounds leave room for the second place, so it is taken, and the plan says for whom."""
    spec = replace(wanting(1, EU, US), scaling=Scaling(1, 3))
    snap = replace(world(spec, *FAR_APART), sizing=WantedReplicas(1, 1, 3, None, "min_replicas"))
    made = plan(snap, GREEN, NOON)
    assert regions(made) == sorted(FAR_APART)
    assert made.decision.sizing is not None
    assert made.decision.sizing.replicas == 2
    assert "clients in 2 areas" in made.decision.sizing.because


def test_an_area_that_nothing_is_near_to_is_refused_with_the_promise_that_would_do() -> None:
    """Nobody on sale is within 60 ms of Australia."""
    with pytest.raises(NoFeasiblePlacement) as refused:
        plan(world(wanting(3, EU, US, ASIA), *FAR_APART), GREEN, NOON)
    assert re.search(r"left without: au \(\S+ is the nearest, \d+ ms\)", str(refused.value))
    assert "raise slo.ttft_p95 to " in refused.value.hint()


@pytest.mark.parametrize("spares", [0, 1])
def test_a_spare_without_room_lets_nothing_through_that_is_refused_without_it(spares: int) -> None:
    """One replica a region, two regions: nobody is near to Australia, and a spare without room changes nothing."""
    spec = wanting(2, EU, US, ASIA, max_per_region=1)
    spec = replace(spec, scaling=Scaling(2, 2, num_overprovision=spares))
    with pytest.raises(NoFeasiblePlacement) as refused:
        plan(world(spec, *FAR_APART), GREEN, NOON)
    assert COVER_RULE in str(refused.value)


def test_a_place_that_a_rule_keeps_out_is_what_to_let_in() -> None:
    """When a promise twice as long is not the least."""
    spec = wanting(2, EU, US, ms=60)
    barred = replace(spec, placement=PlacementRules(deny=("aws/virginia",)))
    with pytest.raises(NoFeasiblePlacement) as refused:
        plan(world(barred, *FAR_APART), GREEN, NOON)
    assert "Smallest change: " in refused.value.hint()


def test_serving_comes_first_and_the_gap_is_said() -> None:
    """A service that is up gets what there is; that its clients in Australia are far from all of it is in the plan."""
    made = plan(world(wanting(3, EU, US, ASIA), *FAR_APART), GREEN, NOON, keep_up=True)
    assert len(regions(made)) == 3
    assert set(regions(made)) == set(FAR_APART)
    assert "nobody keeps slo.ttft_p95 to clients in au" in made.decision.summary


def test_no_move_by_itself_leaves_an_area_without_anybody() -> None:
    """It would be greener to have both in Virginia; the rule that says no is told by name."""
    spec = wanting(2, EU, US)
    snap = replace(world(spec, *FAR_APART), replicas=serving(spec, *FAR_APART))
    made = plan(snap, GREEN, NOON)
    assert made.actions == ()
    (away,) = [c for c in made.decision.comparisons if c.to_offer.startswith("aws/virginia")]
    failed = next(v for v in away.verdicts if v.rule == COVER_RULE)
    assert not failed.passed
    assert "clients in eu" in failed.text


def test_a_person_may_move_it_and_is_told() -> None:
    """A soft rule: the comparison shows it, and the plan says who is left behind."""
    spec = wanting(2, EU, US)
    snap = replace(world(spec, *FAR_APART), replicas=serving(spec, *FAR_APART))
    made = plan_migration(snap, GREEN, NOON, replica="r0", to_region="aws/virginia", actor="me", reason="asked")
    assert made.decision.kind is DecisionKind.MOVE
    assert "nobody keeps slo.ttft_p95 to clients in eu" in made.decision.summary


def test_the_last_one_near_to_an_area_is_not_retired() -> None:
    """Load takes one fewer; the one that would go is the only one near to Europe."""
    spec = wanting(2, EU, US)
    there = serving(spec, "aws/virginia", "aws/virginia", "aws/frankfurt")
    snap = replace(world(spec, *FAR_APART), replicas=there, sizing=WantedReplicas(2, 1, 3, 1, "load"))
    made = plan(snap, GREEN, NOON)
    assert [a for a in made.actions if a.kind is ActionKind.RETIRE] == []
    assert "r2 stays for clients in eu" in made.decision.summary
    spare = replace(snap, replicas=serving(spec, "aws/virginia", "aws/frankfurt", "aws/frankfurt"))
    assert [a.slot for a in plan(spare, GREEN, NOON).actions if a.kind is ActionKind.RETIRE] == [2]


def test_whoever_starts_near_to_an_area_is_not_taken_back() -> None:
    """Its start takes longer than ``downscale_delay_seconds``: load takes one fewer, and it would be launched again."""
    spec = wanting(2, EU, US)
    *serve, last = serving(spec, "aws/virginia", "aws/virginia", "aws/frankfurt")
    starts = replace(last, state=ReplicaState.STARTING, ready_at=None)
    snap = replace(world(spec, *FAR_APART), replicas=(*serve, starts), sizing=WantedReplicas(2, 1, 3, 1, "load"))
    made = plan(snap, GREEN, NOON)
    assert made.actions == ()
    assert "r2 stays for clients in eu" in made.decision.summary


def test_whoever_serves_an_area_lets_go_whoever_starts_for_it() -> None:
    """Two more than wanted are near to Europe, and one is enough."""
    spec = wanting(2, EU, US)
    *serve, third, fourth = serving(spec, "aws/virginia", "aws/virginia", "aws/frankfurt", "aws/frankfurt")
    starts = replace(third, state=ReplicaState.STARTING, ready_at=None)
    there = (*serve, starts, fourth)
    snap = replace(world(spec, *FAR_APART), replicas=there, sizing=WantedReplicas(2, 1, 4, 1, "load"))
    made = plan(snap, GREEN, NOON)
    assert [(a.kind, a.slot) for a in made.actions] == [(ActionKind.RETIRE, 2)]
    assert "r3 stays for clients in eu" in made.decision.summary


@pytest.mark.parametrize(
    ("stand", "because"),
    [
        (FAR_APART, "no request for 40 min"),
        (FAR_APART[1:], "no request for 40 min"),
        (FAR_APART, "batch: 4.0 engine hours done"),
    ],
)
def test_where_nobody_is_wanted_nobody_stays_for_the_clients(stand: tuple[str, ...], because: str) -> None:
    """A service that sleeps, and batch work that waits or is done, promise nothing to any area: they end whole."""
    spec = replace(wanting(1, EU, US), scaling=Scaling(0, 2))
    snap = replace(world(spec, *FAR_APART), replicas=serving(spec, *stand), sizing=WantedReplicas(0, 0, 2, 0, because))
    made = plan(snap, GREEN, NOON, keep_up=True)
    assert [(a.kind, a.slot) for a in made.actions] == [(ActionKind.RETIRE, slot) for slot in range(len(stand))]
    assert "stays for clients" not in made.decision.summary


def test_one_that_is_lost_is_replaced_for_whom_it_served() -> None:
    """Although the place of the other one is cleaner."""
    spec = wanting(2, EU, US)
    snap = replace(world(spec, *FAR_APART), replicas=serving(spec, *FAR_APART)[1:])
    assert regions(plan(snap, GREEN, NOON, keep_up=True)) == ["aws/frankfurt"]


AREAS = ("a", "b", "c", "d")
sets = st.frozensets(st.sampled_from(AREAS), min_size=1)


@given(st.lists(sets, min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 2))
def test_every_cover_is_found_and_what_is_found_covers(offers: list[Areas], one: int, other: int) -> None:
    """Against trying every choice of offers: there is a way exactly where there is a choice, and a choice for each."""
    parties = [Party(tuple(range(one)), frozenset(offers))]
    if other:
        parties.append(Party(tuple(range(one, one + other)), frozenset(offers[:1])))
    whole = frozenset().union(*offers)
    pools = [offers] * one + [offers[:1]] * other
    can = any(frozenset().union(*choice) == whole for choice in product(*pools))
    found = list(ways(whole, parties))
    assert bool(found) is can
    for near_to in found:
        least = [min((own for own in pools[slot] if part <= own), key=len) for slot, part in near_to.items()]
        assert frozenset().union(*least) == whole
    alone = next(n for n in range(1, 9) if any(frozenset().union(*c) == whole for c in product(offers, repeat=n)))
    assert fewest(offers) == alone
    assert needed(whole, offers) <= whole


def test_the_judged_offers_know_whom_a_move_would_leave() -> None:
    """And where anybody may be sent anywhere there is no such question."""
    spec = wanting(2, EU, US)
    there = serving(spec, *FAR_APART)
    judged = judge(replace(world(spec, *FAR_APART), replicas=there), GREEN, NOON)
    offer = f"aws/virginia:1xL4:{Market.ON_DEMAND.value}"
    assert judged.leaves(there[0], offer) == Leaves(frozenset({"eu"}))
    assert not judged.leaves(there[1], offer)
    loose = wanting(2, EU, US, ms=300)
    assert judge(replace(world(loose, *FAR_APART), replicas=there), GREEN, NOON).leaves(there[0], offer) is None


def test_a_plan_tells_whose_traffic_goes_where() -> None:
    """Before anything runs, by the rows that will be asked for then; and it is kept with the decision."""
    qwen = replace(wanting(2, EU, US), model=ModelSpec("Qwen/Qwen3-8B"))
    engine = capacity_on(qwen, [L4]).ttft_seconds(LOAD, 2)
    assert engine is not None
    # An engine at its fullest and a short way: near enough to one's own clients, and not to those over the ocean.
    spec = replace(qwen, ttft_p95=timedelta(seconds=engine + 0.01))
    snap = replace(world(spec, *FAR_APART), load=LOAD)
    made = plan(snap, GREEN, NOON)
    found = made.decision.origins
    assert found is not None
    assert {row.origin: dict(row.parts) for row in found.rows} == {
        "eu": {i: pytest.approx(float(i.startswith("aws/frankfurt")), abs=1e-6) for i in offers_of(made)},
        "us-east": {i: pytest.approx(float(i.startswith("aws/virginia")), abs=1e-6) for i in offers_of(made)},
    }
    assert [words.split(" (")[0] for words in origin_lines(found)] == [
        "Traffic from eu to aws/frankfurt 100 %",
        "Traffic from us-east to aws/virginia 100 %",
    ]
    assert decision_from(decision_row(made.decision)) == made.decision


def test_a_plan_without_load_says_why_there_are_no_rows_yet() -> None:
    """And one whose clients are all in one area, or which changes nothing by itself, says nothing."""
    made = plan(world(wanting(2, EU, US), *FAR_APART), GREEN, NOON)
    assert origin_lines(made.decision.origins) == [
        "Clients of every area are served by one split for now: no load has been seen yet."
    ]
    assert plan(world(wanting(2, EU), *FAR_APART), GREEN, NOON).decision.origins is None
    spec = wanting(2, EU, US)
    at_rest = replace(world(spec, *FAR_APART), replicas=serving(spec, *FAR_APART))
    assert plan(at_rest, GREEN, NOON, keep_up=True).decision.origins is None


def offers_of(made: Plan) -> list[str]:
    """What a plan buys."""
    return sorted(a.offer_id for a in made.actions)
