"""What every plan's proof keeps to: slots that compete for places, moves that rules hold back, in any world."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from random import Random

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.domain.certificate import Certificate, Rung
from orchestrator.domain.decision import Assessment
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market
from orchestrator.domain.service import (
    MigrationRules,
    Objective,
    PlacementRules,
    Policy,
    Scaling,
    SpotLoss,
    SpotPlacer,
)
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Snapshot
from tests.builders import NOON, applied, candidate, replica, service_spec, snapshot
from tests.strategies import REGIONS, grams, known_candidates, often, policies, prices, settled_worlds

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

LAST_DIGITS = 1e-9
PLACES = [region for region in REGIONS if not region.startswith("azure")]


@st.composite
def contested(draw: st.DrawFn, *, spread: bool = True) -> tuple[Snapshot, Policy]:
    """Make a world in which slots of both markets compete for few places; some of them are filled."""
    offers: list[Candidate] = []
    for region in draw(st.lists(st.sampled_from(PLACES), unique=True, min_size=2, max_size=5)):
        for market in draw(often((Market.SPOT, Market.ON_DEMAND), rarely=((Market.SPOT,), (Market.ON_DEMAND,)))):
            one = draw(known_candidates(region, market))
            dear = one.offer.price.usd_per_hour if one.offer.price else 1.0
            usd = dear * (0.3 if market is Market.SPOT else 1.0)
            offers.append(candidate(region, draw(grams), usd=usd, market=market, on=one.offer.shape))
    wanted = draw(st.integers(2, 4))
    scaling = Scaling(
        wanted,
        wanted,
        base_ondemand_fallback_replicas=draw(often(1, 2, rarely=(0, wanted))),
        spot_placer=draw(st.sampled_from([None, SpotPlacer.DYNAMIC_FALLBACK])) if spread else None,
    )
    rules = PlacementRules(max_per_region=draw(often(1, rarely=(None, 2))), on_spot_loss=SpotLoss.OTHER_REGION)
    spec = replace(service_spec(wanted, spot=True, placement=rules), scaling=scaling)
    first = Market.ON_DEMAND if scaling.base_ondemand_fallback_replicas else Market.SPOT
    fitting = [one for one in offers if one.offer.market is first]
    stands = draw(st.lists(st.sampled_from(fitting), max_size=1)) if fitting else []
    policy = replace(
        draw(policies), max_extra_cost_fraction=draw(often(None, rarely=(0.15, 0.5))), price_cap_usd_per_hour=None
    )
    return snapshot(offers, [replica(one, 0) for one in stands], spec), policy


def decided(world: Snapshot, policy: Policy, *, seconds: float = float("inf")) -> Plan | None:
    """Plan with that much time; ``None`` where that is refused."""
    try:
        return plan(world, policy, NOON, budget=lambda: seconds)
    except NoFeasiblePlacement:
        return None


def launches_of(made: Plan | None) -> list[str]:
    """Return what is launched, by slot."""
    there = () if made is None else made.actions
    return [a.offer_id for a in sorted(there, key=lambda a: a.slot) if a.kind is ActionKind.LAUNCH]


def proof_of(made: Plan) -> Certificate:
    """Return the proof of a plan that has to have one."""
    assert made.decision.certificate is not None
    return made.decision.certificate


def rate(one: Assessment, policy: Policy) -> float:
    """Return what is minimised, per hour."""
    value = one.usd_per_hour if policy.objective is Objective.CHEAPEST else one.expected_grams_per_hour
    assert value is not None
    return value


def least(world: Snapshot, policy: Policy, lines: Sequence[Assessment]) -> float | None:
    """Try every way to fill the empty slots within the seats that are left; ``None`` where there is none."""
    scaling, limit = world.spec.scaling, world.spec.placement.max_per_region
    held = {r.slot: r.region for r in world.replicas}
    markets = [
        Market.ON_DEMAND if slot < scaling.base_ondemand_fallback_replicas else Market.SPOT
        for slot in range(scaling.min_replicas)
        if slot not in held
    ]
    pools = [[a for a in lines if a.market is market and a.allowed] for market in markets]
    found = []
    for chosen in product(*pools):
        taken = Counter(a.region for a in chosen)
        there = Counter(held.values())
        if limit is None or all(there[region] + count <= limit for region, count in taken.items()):
            found.append(sum(rate(a, policy) for a in chosen))
    return min(found, default=None)


class TestLaunches:
    @given(contested(spread=False))
    def test_no_way_to_fill_the_slots_costs_less(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Trying them all finds nothing better than what was chosen, nor a way where the plan found none."""
        world, policy = world_and_policy
        made = decided(world, policy)
        if not launches_of(made) and made is not None:
            return
        lines = made.decision.assessments if made is not None else ()
        if made is None:
            some = decided(replace(world, spec=replace(world.spec, scaling=Scaling(0, 0))), policy)
            assert some is not None
            assert least(world, policy, some.decision.assessments) is None
            event("refused")
            return
        best = least(world, policy, lines)
        assert best is not None
        hours = proof_of(made).hours
        assert proof_of(made).objective == pytest.approx(best * hours, rel=LAST_DIGITS)
        assert proof_of(made).rung is Rung.EXACT
        event(
            "one by one is worse" if launches_of(made) != launches_of(decided(world, policy, seconds=0.0)) else "same"
        )

    @given(contested())
    def test_one_by_one_never_beats_it(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """It fills as many slots, for no more, and refuses nothing that one by one would have found."""
        world, policy = world_and_policy
        made, hurried = decided(world, policy), decided(world, policy, seconds=0.0)
        if hurried is None:
            return
        assert made is not None
        assert len(launches_of(made)) >= len(launches_of(hurried))
        if (
            world.spec.scaling.spot_placer is None
            and launches_of(made)
            and len(launches_of(made)) == len(launches_of(hurried))
        ):
            assert proof_of(made).objective <= proof_of(hurried).objective * (1 + LAST_DIGITS)
            assert proof_of(hurried).bound <= proof_of(made).objective * (1 + LAST_DIGITS)

    @given(contested())
    def test_the_seats_of_a_region_are_never_overdrawn(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Each slot is filled from its own market, with offers that every rule allows, within max_per_region."""
        world, policy = world_and_policy
        made = decided(world, policy)
        assume(made is not None)
        assert made is not None
        lines = {a.offer_id: a for a in made.decision.assessments}
        scaling, limit = world.spec.scaling, world.spec.placement.max_per_region
        there = Counter(r.region for r in world.replicas)
        for action in made.actions:
            if action.kind is ActionKind.LAUNCH:
                there[action.region] += 1
                assert lines[action.offer_id].allowed
                assert limit is None or there[action.region] <= limit
                on_demand = action.slot < scaling.base_ondemand_fallback_replicas
                assert action.market is (Market.ON_DEMAND if on_demand else Market.SPOT)

    @given(contested(), st.randoms(use_true_random=False))
    def test_the_order_of_the_input_changes_nothing(
        self, world_and_policy: tuple[Snapshot, Policy], random: Random
    ) -> None:
        """The same plan with the same proof, digit by digit."""
        world, policy = world_and_policy
        offers = list(world.candidates)
        random.shuffle(offers)
        assert decided(replace(world, candidates=tuple(offers)), policy) == decided(world, policy)

    @given(contested(), grams, prices, st.data())
    def test_one_more_offer_never_makes_it_worse(
        self, world_and_policy: tuple[Snapshot, Policy], intensity: float, usd: float, data: st.DataObject
    ) -> None:
        """Where no rule compares offers: what could be placed can be still, for no more; one that loses is not used."""
        world, policy = world_and_policy
        world = replace(world, spec=replace(world.spec, scaling=replace(world.spec.scaling, spot_placer=None)))
        policy = replace(policy, max_extra_cost_fraction=None)
        newcomer = candidate("aws/new", intensity, usd=usd, market=data.draw(st.sampled_from(Market)))
        before = decided(world, policy)
        after = decided(replace(world, candidates=(*world.candidates, newcomer)), policy)
        if before is None or not launches_of(before):
            return
        assert after is not None
        if len(launches_of(after)) == len(launches_of(before)):
            assert proof_of(after).objective <= proof_of(before).objective * (1 + LAST_DIGITS)

    @given(contested())
    def test_a_plan_applied_leaves_nothing_to_launch(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """What was filled together stays filled."""
        world, policy = world_and_policy
        world = replace(world, spec=replace(world.spec, migration=MigrationRules(enabled=False)))
        made = decided(world, policy)
        if made is None or not launches_of(made):
            return
        again = decided(applied(made, world, NOON), policy)
        assert again is not None
        assert launches_of(again) == []


class TestMoves:
    @given(settled_worlds())
    def test_the_terms_of_a_move_are_the_difference_of_two_objectives(
        self, world_and_policy: tuple[Snapshot, Policy]
    ) -> None:
        """What staying costs less what moving costs is the sum of the terms that are shown, to a millionth."""
        world, policy = world_and_policy
        eager = MigrationRules(min_dwell=0 * NOON.resolution, min_improvement_fraction=0.0, max_moves_per_day=99)
        world = replace(world, spec=replace(world.spec, migration=eager), paused=False)
        made = decided(world, replace(policy, objective=Objective.GREENEST))
        still = replace(world, spec=replace(world.spec, migration=MigrationRules(enabled=False)))
        stayed = decided(still, replace(policy, objective=Objective.GREENEST))
        if made is None or stayed is None or not made.actions or not made.decision.comparisons:
            return
        if made.decision.certificate is None or stayed.decision.certificate is None:
            return
        event("moved")
        terms = sum(t.amount for t in made.decision.comparisons[0].terms)
        saved = proof_of(stayed).objective - proof_of(made).objective
        assert saved == pytest.approx(terms, abs=1e-6, rel=1e-9)

    @given(settled_worlds())
    def test_no_move_that_was_weighed_saves_more_than_the_bound_allows(
        self, world_and_policy: tuple[Snapshot, Policy]
    ) -> None:
        """The best move of every replica together reaches the bound, and what is done never passes it."""
        world, policy = world_and_policy
        made = decided(world, policy)
        if made is None or made.decision.certificate is None:
            return
        proof = made.decision.certificate
        assert proof.bound <= proof.objective
        assert proof.gap >= 0.0
        assert (proof.gap == 0.0) == (proof.rung is Rung.EXACT)
        if policy.objective is Objective.GREENEST and not made.actions:
            best: dict[str, float] = {}
            for one in made.decision.comparisons:
                best[one.replica] = max(best.get(one.replica, 0.0), one.net_grams)
            assert proof.objective - sum(best.values()) >= proof.bound - 1e-6
