"""What every plan keeps to, in any world."""

from dataclasses import replace
from fnmatch import fnmatchcase
from random import Random

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.codec import plan_from_json, to_json
from orchestrator.domain.carbon import CarbonIntensity
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market
from orchestrator.domain.replica import LIVE, ReplicaState
from orchestrator.domain.service import MigrationRules, Objective, PlacementRules, Policy, ServiceSpec
from orchestrator.errors import GreenctlError, NoFeasiblePlacement
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, NOON, PROVIDERS, applied, candidate, price, replica, service_spec, snapshot
from tests.strategies import offer_lists, often, policies, settled_worlds, specs, worlds

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
"""A whole world is a large example; its print-out is what one wants when it fails."""


def decided(world: Snapshot, policy: Policy, *, keep_up: bool = False) -> Plan | str:
    """Plan, or return why there is no plan."""
    try:
        return plan(world, policy, NOON, keep_up=keep_up)
    except NoFeasiblePlacement as error:
        return f"{error.message} {error.hint()}"


def bought(made: Plan | str, world: Snapshot) -> list[Candidate]:
    """Return the candidates that a plan buys."""
    offers = {c.offer.id: c for c in world.candidates}
    return [] if isinstance(made, str) else [offers[a.offer_id] for a in made.actions if a.offer_id]


def permitted(one: Candidate, spec: ServiceSpec, policy: Policy) -> bool:
    """Judge an offer by the hard rules, written down a second time from the documentation."""
    region, rules = one.offer.region, spec.placement
    wanted = Market.SPOT if spec.resources.use_spot else Market.ON_DEMAND
    return all(
        (
            region.provider in PROVIDERS,
            not rules.residency or region.residency & set(rules.residency),
            not rules.allow or any(fnmatchcase(region.id, pattern) for pattern in rules.allow),
            not any(fnmatchcase(region.id, pattern) for pattern in rules.deny),
            one.offer.market is wanted,
            one.offer.price is not None,
            region.zone is not None,
            region.pue is not None,
            one.offer.shape.power is not None,
            one.offer.price is None
            or policy.price_cap_usd_per_hour is None
            or one.offer.price.usd_per_hour <= policy.price_cap_usd_per_hour,
            one.avoid_until is None or one.avoid_until <= NOON,
        )
    )


any_worlds = worlds() | settled_worlds()


class TestHardRules:
    @given(any_worlds)
    def test_nothing_is_ever_bought_against_a_rule(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Residency, allow, deny, market, price cap, back-off, and everything known: in every plan, in any world."""
        world, policy = world_and_policy
        made = decided(world, policy)
        event("no plan" if isinstance(made, str) else made.decision.kind.value)
        assert all(permitted(c, world.spec, policy) for c in bought(made, world))

    @given(worlds())
    def test_no_region_is_filled_beyond_its_limit(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Counting those that stay, and those that they only replace yet, never more than max_per_region is bought."""
        world, policy = world_and_policy
        limit = world.spec.placement.max_per_region
        made = decided(world, policy)
        if isinstance(made, str) or limit is None:
            return
        standing = {r.name: r for r in world.living()}
        kept = [standing[name] for name in made.keep]
        left = [standing[r.replaces] for r in kept if r.replaces in standing]
        event("while somebody is being replaced" if left else "at rest")
        slots = {(r.slot, r.region) for r in (*kept, *left)}
        there = [region for _, region in slots] + [a.region for a in made.actions if a.region]
        assert all(there.count(a.region) <= limit for a in made.actions if a.region)

    @given(any_worlds)
    def test_extra_cost_is_bounded_by_the_cheapest_allowed(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Whatever is bought costs at most that fraction more than the cheapest that could have been bought."""
        world, policy = world_and_policy
        made = decided(world, policy)
        if isinstance(made, str) or policy.max_extra_cost_fraction is None:
            return
        allowed = [a.usd_per_hour for a in made.decision.assessments if a.allowed and a.usd_per_hour is not None]
        for action in made.actions:
            if action.usd_per_hour is not None:
                assert action.usd_per_hour <= min(allowed) * (1 + policy.max_extra_cost_fraction) + 1e-9

    @given(worlds())
    def test_what_is_not_known_is_not_bought_and_says_so(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Each unknown has its own reason on the offer's line, and no number is made of it."""
        world, policy = world_and_policy
        made = decided(world, policy)
        if isinstance(made, str):
            return
        for one, line in zip(
            sorted(world.candidates, key=lambda c: c.offer.id), made.decision.assessments, strict=True
        ):
            failed = {v.rule for v in line.verdicts if not v.passed}
            assert (one.offer.price is None) == ("offer.price" in failed) == (line.usd_per_hour is None)
            assert (one.offer.region.zone is None) == ("region.zone" in failed)
            assert (one.offer.region.pue is None) == ("region.pue" in failed)
            assert (one.offer.shape.power is None) == ("shape.power" in failed)
            assert (line.grams_per_kwh is None) == ("carbon.max_age" in failed)
            if one.offer.shape.power is None or one.offer.region.pue is None:
                assert line.kwh_per_hour is line.grams_per_hour is line.expected_grams_per_hour is None
            if line.grams_per_kwh is None:
                assert line.grams_per_hour is line.expected_grams_per_hour is None

    @given(settled_worlds())
    def test_a_voluntary_move_touches_no_stale_zone(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Neither end of it, whatever when_stale says; and each soft rule passed."""
        world, policy = world_and_policy
        made = decided(world, policy)
        if isinstance(made, str) or not made.decision.comparisons or not made.actions:
            return
        event("voluntary move")
        (action,) = made.actions
        offers = {c.offer.id: c for c in world.candidates}
        mover = next(r for r in world.replicas if r.name == action.replica)
        for end in (offers[mover.offer_id], offers[action.offer_id]):
            assert isinstance(end.now, CarbonIntensity)
            assert end.now.age(NOON) <= world.spec.carbon.max_age
        assert all(v.passed for v in made.decision.comparisons[0].verdicts)
        assert world.spec.migration.enabled
        assert not world.paused


class TestKeepingUp:
    """What a service that has been deployed gets beyond a first deploy."""

    @given(worlds())
    def test_nothing_is_bought_against_a_rule_in_the_dark_either(
        self, world_and_policy: tuple[Snapshot, Policy]
    ) -> None:
        """Only the freshness of signals is given up, and only for what was lost."""
        world, policy = world_and_policy
        made = decided(world, policy, keep_up=True)
        assert all(permitted(c, world.spec, policy) for c in bought(made, world))
        if isinstance(made, str):
            return
        lost = {r.slot for r in world.replicas if r.state in {ReplicaState.LOST, ReplicaState.FAILED}}
        allowed = {a.offer_id for a in made.decision.assessments if a.allowed}
        blind = [a for a in made.actions if a.offer_id and a.offer_id not in allowed]
        event(f"{len(blind)} blind")
        assert all(a.slot in lost for a in blind)

    @given(any_worlds)
    def test_where_a_first_deploy_would_succeed_it_changes_nothing(
        self, world_and_policy: tuple[Snapshot, Policy]
    ) -> None:
        """With everything in order, keeping up is planning; only what a person would be shown is left out."""
        world, policy = world_and_policy
        usual, kept = decided(world, policy), decided(world, policy, keep_up=True)
        if isinstance(usual, str):
            event("more than a first deploy" if not isinstance(kept, str) else "no more than a first deploy")
        else:
            assert not isinstance(kept, str)
            survival = usual.survival and replace(usual.survival, usd_per_hour=None, grams_per_hour=None)
            assert kept == replace(usual, frontier=(), spares=(), survival=survival)


def places(world: Snapshot) -> set[int]:
    """The slots that are to be filled: of the empty low ones as many are left out as others stand above, by market.

    These worlds have neither stand-ins nor a base on demand.
    """
    newest, serving = world.occupants(), {r.slot for r in world.replicas if r.state is ReplicaState.READY}
    low = set(range(world.wanted))
    above = [s for s, r in newest.items() if s not in low and r.market is world.spec.market]
    empty = sorted(low - newest.keys())
    taking = sorted(above, key=lambda s: (s not in serving, s))[: len(empty)]
    return low.difference(empty[: len(taking)]).union(taking)


class TestEverySlot:
    @given(any_worlds)
    def test_a_plan_fills_exactly_the_wanted_slots(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """What is kept, launched and moved adds up to what is wanted, one per slot; whoever stands above counts."""
        world, policy = world_and_policy
        assume(world.spec.survives is None)  # that takes spares
        made = decided(world, policy)
        if isinstance(made, str):
            return
        slot_of = {r.name: r.slot for r in world.replicas}
        kept = [slot_of[name] for name in made.keep]
        filled = kept + [a.slot for a in made.actions if a.kind is not ActionKind.RETIRE]
        assert len(set(filled)) == len(filled) == world.wanted
        assert set(filled) == places(world)
        assert made.totals.replicas == world.wanted

    @given(worlds())
    def test_what_is_too_much_leaves_and_nothing_else(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Beyond the wanted slots, and a second one in a slot that is no part of a move.

        What starts dies before what serves: something that serves is retired only when all that stay serve.
        """
        world, policy = world_and_policy
        assume(world.spec.survives is None)  # there it counts where they stand
        made = decided(world, policy)
        if isinstance(made, str):
            return
        living = {r.name: r for r in world.replicas if r.state in LIVE}
        newest = world.occupants()
        needed = {name for r in newest.values() if r.slot in places(world) for name in (r.name, r.replaces)}
        too_much = living.keys() - needed
        retired = {a.replica for a in made.actions if a.kind is ActionKind.RETIRE}
        ready = {name for name, r in living.items() if r.state is ReplicaState.READY}
        slots_that_serve = {living[name].slot for name in ready - too_much}
        all_serve = slots_that_serve == places(world)
        event(f"{len(too_much)} too much, {len(retired)} retired")
        assert retired == (too_much if all_serve else too_much - ready)

    @given(worlds())
    def test_no_plan_means_a_reason_and_a_way_out(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """What is missing, what excluded it, and the smallest change, in words."""
        world, policy = world_and_policy
        made = decided(world, policy)
        if isinstance(made, str):
            assert "can be placed" in made or "slo.survives" in made
            assert made.endswith(".")

    @given(settled_worlds(), often("r0", None, rarely=("r2",)), often(None, "aws/se", rarely=("nowhere",)))
    def test_a_move_that_a_person_asks_for_keeps_to_the_hard_rules(
        self, world_and_policy: tuple[Snapshot, Policy], name: str | None, region: str | None
    ) -> None:
        """It is one move of one ready replica to a permitted offer elsewhere, or a refusal of the one error tree."""
        world, policy = world_and_policy
        try:
            made = plan_migration(world, policy, NOON, replica=name, to_region=region, actor="ada", reason="because")
        except GreenctlError as error:
            event(error.code)
            return
        event("moved")
        (action,) = made.actions
        assert action.kind is ActionKind.MOVE
        assert made.decision.kind is DecisionKind.MOVE
        assert action.region != action.from_region
        assert region in {None, action.region}
        assert all(permitted(c, world.spec, policy) for c in bought(made, world))


class TestSameQuestionSameAnswer:
    @given(any_worlds, st.randoms(use_true_random=False))
    def test_the_order_of_the_input_changes_nothing(
        self, world_and_policy: tuple[Snapshot, Policy], random: Random
    ) -> None:
        """Offers, replicas and moves in any order: the same plan, to the last word of its explanation."""
        world, policy = world_and_policy
        offers, replicas = list(world.candidates), list(world.replicas)
        random.shuffle(offers)
        random.shuffle(replicas)
        shuffled = replace(
            world, candidates=tuple(offers), replicas=tuple(replicas), moves=tuple(reversed(world.moves))
        )
        assert decided(shuffled, policy) == decided(world, policy)

    @given(any_worlds)
    def test_json_and_back_is_the_same_plan(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """What was confirmed is what is applied: equal in every field."""
        made = decided(*world_and_policy)
        if not isinstance(made, str):
            assert plan_from_json(to_json(made)) == made

    @given(any_worlds, st.floats(0.5, 2.0))
    def test_the_digest_names_the_purchase_alone(
        self, world_and_policy: tuple[Snapshot, Policy], factor: float
    ) -> None:
        """Whatever the grids do: the same actions at the same prices have the same digest, others another."""
        world, policy = world_and_policy
        before = decided(world, policy)
        after = decided(replace(world, candidates=tuple(scaled(c, factor) for c in world.candidates)), policy)
        if isinstance(before, str) or isinstance(after, str):
            return
        same = [replace(a, reason="") for a in before.actions] == [replace(a, reason="") for a in after.actions]
        assert (before.digest == after.digest) == same


def scaled(one: Candidate, factor: float) -> Candidate:
    """Multiply all that is known of an offer's grid."""
    now = one.now
    if isinstance(now, CarbonIntensity):
        now = replace(now, grams_per_kwh=min(2000.0, now.grams_per_kwh * factor))
    points = tuple(replace(p, grams_per_kwh=min(2000.0, p.grams_per_kwh * factor)) for p in one.forecast.points)
    return replace(one, now=now, forecast=replace(one.forecast, points=points))


def expected_grams(made: Plan) -> float:
    """Return the grams per hour that a plan expects over its horizon."""
    return sum((a.expected_grams_per_hour or 0.0) * a.chosen for a in made.decision.assessments)


def with_price(one: Candidate, usd: float) -> Candidate:
    """Put another price on an offer."""
    return replace(one, offer=replace(one.offer, price=price(usd)))


PLACING = specs().map(lambda spec: replace(spec, placement=replace(spec.placement, max_per_region=None), survives=None))
"""Where one more region is a place, and no more: it makes room beside a full one, and takes fewer spares."""


class TestMonotony:
    """Better offers never make the result worse, and stricter limits never pick something beyond the looser ones."""

    @given(offer_lists(), PLACING, policies, st.data())
    def test_an_offer_that_is_worse_in_everything_changes_nothing(
        self, offers: tuple[Candidate, ...], spec: ServiceSpec, policy: Policy, data: st.DataObject
    ) -> None:
        """Dirtier and dearer than one that is there: the same purchase, whatever its name."""
        assume(offers)
        good = data.draw(st.sampled_from(offers))
        assume(good.offer.price is not None)
        usd = good.offer.price.usd_per_hour if good.offer.price else 0.0
        name = data.draw(st.sampled_from(["aws/aa", "gcp/zz"]))
        worse = with_price(scaled(good, data.draw(st.floats(1.0, 1.5))), usd * data.draw(st.floats(1.0, 2.0)))
        worse = replace(worse, offer=replace(worse.offer, region=replace(worse.offer.region, id=name)))
        for replicas in ((), *[(replica(c, 0),) for c in offers[:1] if c.offer.region.zone]):
            before = decided(snapshot(offers, replicas, spec), policy)
            after = decided(snapshot((*offers, worse), replicas, spec), policy)
            if isinstance(before, str):
                continue
            assert not isinstance(after, str)
            if before.digest != after.digest:
                # Only where the rules let the newcomer in and keep the better one out: another region, another rule.
                assert not permitted(good, spec, policy) or twins(before, after, name)

    @given(offer_lists(known=True, min_size=1), policies, st.integers(1, 4), st.data())
    def test_a_tighter_price_cap_never_picks_something_dearer(
        self, offers: tuple[Candidate, ...], policy: Policy, count: int, data: st.DataObject
    ) -> None:
        """It may refuse work, but the bill never grows."""
        loose_cap = data.draw(st.floats(0.01, 20.0))
        tight_cap = data.draw(st.floats(0.0, 1.0)) * loose_cap
        room = data.draw(st.none() | st.integers(1, 2))
        world = snapshot(offers, spec=service_spec(count, placement=PlacementRules(max_per_region=room)))
        loose, tight = (decided(world, replace(policy, price_cap_usd_per_hour=cap)) for cap in (loose_cap, tight_cap))
        if isinstance(tight, str):
            return
        assert not isinstance(loose, str)
        assert (tight.totals.usd_per_hour or 0) <= (loose.totals.usd_per_hour or 0) + 1e-9

    @given(offer_lists(known=True, min_size=1), st.integers(1, 4), st.data())
    def test_less_carbon_somewhere_never_leads_to_a_dirtier_choice(
        self, offers: tuple[Candidate, ...], count: int, data: st.DataObject
    ) -> None:
        """When any grid becomes cleaner, the greenest placement does not become dirtier."""
        room = data.draw(st.none() | st.integers(1, 2))
        fraction = data.draw(st.none() | st.just(0.15))
        policy = Policy(max_extra_cost_fraction=fraction)
        spec = service_spec(count, placement=PlacementRules(max_per_region=room))
        which = data.draw(st.sampled_from(offers))
        cleaner = scaled(which, data.draw(st.floats(0.0, 1.0)))
        before = decided(snapshot(offers, spec=spec), policy)
        after = decided(snapshot([cleaner if c is which else c for c in offers], spec=spec), policy)
        if isinstance(before, str):
            assert isinstance(after, str)
            return
        assert not isinstance(after, str)
        assert expected_grams(after) <= expected_grams(before) + 1e-9

    @given(
        offer_lists(known=True, min_size=1),
        st.integers(1, 4),
        st.sampled_from([Objective.GREENEST, Objective.CHEAPEST]),
    )
    def test_the_choice_lies_between_the_ends_of_the_frontier(
        self, offers: tuple[Candidate, ...], count: int, objective: Objective
    ) -> None:
        """Never cheaper than the cheapest, never greener than the greenest, and as good as its own objective's end."""
        made = decided(snapshot(offers, spec=service_spec(count)), replace(GREEN, objective=objective))
        assert not isinstance(made, str)
        cheapest, greenest = made.frontier
        chosen = tuple(a.offer_id for a in made.actions)
        assert (made.totals.usd_per_hour or 0) >= (cheapest.totals.usd_per_hour or 0) - 1e-9
        assert chosen == (cheapest if objective is Objective.CHEAPEST else greenest).placement

    @given(offer_lists(known=True, min_size=1), st.integers(1, 3), policies)
    def test_more_replicas_are_more_of_the_same(
        self, offers: tuple[Candidate, ...], count: int, policy: Policy
    ) -> None:
        """Without a limit per region, each further replica goes where the first one went."""
        policy = replace(policy, price_cap_usd_per_hour=None)
        made = decided(snapshot(offers, spec=service_spec(count)), policy)
        assert not isinstance(made, str)
        assert len({a.offer_id for a in made.actions}) == 1


def twins(before: Plan, after: Plan, name: str) -> bool:
    """Whether two plans differ only in the name of an offer that is exactly as good and as cheap as the other."""
    pairs = list(zip(before.actions, after.actions, strict=True))
    lines = {a.offer_id: a for a in after.decision.assessments}
    changed = [(x, y) for x, y in pairs if x.offer_id != y.offer_id]
    return all(
        y.region == name
        and lines[x.offer_id].usd_per_hour == lines[y.offer_id].usd_per_hour
        and lines[x.offer_id].expected_grams_per_hour == lines[y.offer_id].expected_grams_per_hour
        for x, y in changed
    )


class TestFixedPoint:
    @given(worlds())
    def test_a_plan_applied_leaves_nothing_to_do(self, world_and_policy: tuple[Snapshot, Policy]) -> None:
        """Carried out and asked again, at the same moment: one round per replica at most, and then only "stay"."""
        world, policy = world_and_policy
        world = replace(world, spec=replace(world.spec, migration=replace(world.spec.migration, enabled=False)))
        rounds = 0
        while True:
            made = decided(world, policy)
            if isinstance(made, str) or not made.actions:
                break
            world = applied(made, world, NOON)
            rounds += 1
            assert rounds <= 2 + len(world.replicas)
        event(f"{rounds} rounds")
        assert decided(world, policy) == made

    @given(offer_lists(known=True, min_size=1), st.integers(1, 4), policies)
    def test_in_an_unchanging_world_the_first_placement_stays(
        self, offers: tuple[Candidate, ...], count: int, policy: Policy
    ) -> None:
        """What was just placed is not moved in the next breath, even where nothing but the numbers could hold it."""
        still = tuple(candidate_at_rest(c) for c in offers)
        anything_goes = MigrationRules(
            min_dwell=0 * NOON.resolution, min_improvement_fraction=0.0, max_moves_per_day=99
        )
        world = snapshot(still, spec=service_spec(count, migration=anything_goes))
        first = decided(world, policy)
        assume(not isinstance(first, str))
        assert not isinstance(first, str)
        again = decided(applied(first, world, NOON), policy)
        assert not isinstance(again, str)
        assert again.actions == ()


def candidate_at_rest(one: Candidate) -> Candidate:
    """Return the offer on a grid that never changes."""
    assert isinstance(one.now, CarbonIntensity)
    offer = one.offer
    flat = candidate(offer.region.id, one.now.grams_per_kwh, zone=offer.region.zone)
    return replace(flat, offer=offer)


def test_the_second_opinion_is_not_blind() -> None:
    """The rules written down above do refuse something: each of them, once."""
    assert permitted(candidate("aws/se", 30.0), service_spec(), GREEN)
    for rules in (
        PlacementRules(residency=("US",)),
        PlacementRules(allow=("gcp/*",)),
        PlacementRules(deny=("aws/*",)),
    ):
        assert not permitted(candidate("aws/se", 30.0), service_spec(placement=rules), GREEN)
    with pytest.raises(NoFeasiblePlacement):
        plan(snapshot([candidate("azure/nl", 30.0)]), GREEN, NOON)
