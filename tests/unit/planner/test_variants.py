"""Variants of a model: each offer once more for each of them, within the floor, at a price, and never on a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.codec import to_json
from orchestrator.domain.decision import Assessment
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Candidate, sold_as, variant_in
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import (
    ModelSpec,
    Objective,
    Policy,
    QualityRules,
    ServiceSpec,
    Variant,
    WeighedTerm,
)
from orchestrator.domain.variants import with_variants, workload_of, workloads_of
from orchestrator.errors import NoFeasiblePlacement, UsageError
from orchestrator.planner.capacity import avoidance_of, avoided
from orchestrator.planner.judged import judge
from orchestrator.planner.moves import NET_SCORE
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.sizing.share import capacity_on, work_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.assess import FLOOR_RULE, MEMORY_RULE, QUALITY_PRICE_RULE
from tests.builders import GREEN, NOON, candidate, failed_rules, recomputed, replica, service_spec, snapshot

QWEN = ModelSpec("Qwen/Qwen3-8B", served_name="chat")
POWER = PowerModel(40.0, 110.0, 4.0, "test", 0.1, "test")
L4 = Shape("1xL4", "L4", 1, 8.0, 32.0, POWER)
FP8 = Variant("fp8", replace(QWEN, id="Qwen/Qwen3-8B-FP8"), 0.985, "our own prompts, in pairs")
INT4 = Variant("int4", replace(QWEN, id="Qwen/Qwen3-8B-AWQ"), 0.95, "our own prompts, in pairs")
SCORED = Policy(
    name="scored",
    objective=Objective.LOWEST_SCORE,
    max_extra_cost_fraction=None,
    weigh=(WeighedTerm("grams_per_hour", 0.01, "g/h"),),
)
LOAD = LoadSeen(600.0, 1.0, 12.0, 1, 12, 0, None, 200.0, 150.0)


def offering(*variants: Variant, count: int = 1, floor: float = 0.0, price: float = 0.0) -> ServiceSpec:
    """A service with these variants."""
    ordered = tuple(sorted(variants, key=lambda v: v.name))
    return replace(service_spec(count), model=QWEN, variants=ordered, quality=QualityRules(floor, price))


def sold(spec: ServiceSpec, *candidates: Candidate) -> list[Candidate]:
    """The candidates for the main model and each variant, as the shell gathers them."""
    return [replace(c, offer=o) for c in candidates for o in with_variants([c.offer], spec)]


def world(spec: ServiceSpec, *candidates: Candidate, load: LoadSeen | None = LOAD, on: Sequence[str] = ()) -> Snapshot:
    """The offers of such a service; ``on``: the ids of offers that replicas stand on, by slot."""
    found = sold(spec, *(candidates or (candidate("aws/se", 300.0, on=L4),)))
    offers = {c.offer.id: c for c in found}
    stand = [
        replica(offers[i], slot, workload_digest=workload_of(spec, variant_in(i)) or "") for slot, i in enumerate(on)
    ]
    return snapshot(found, stand, spec, load=load)


def bought(made: Plan) -> list[str]:
    """Which variants are launched."""
    return [variant_in(a.offer_id) for a in made.actions if a.kind is ActionKind.LAUNCH]


def judged(snapshot: Snapshot, policy: Policy = GREEN) -> dict[str, Assessment]:
    """The judged offers by variant; they are all at one place."""
    return {variant_in(a.offer_id): a for a in judge(snapshot, policy, NOON).assessments}


class TestChoosing:
    """A variant is chosen for what it saves, by what is known of it."""

    def test_a_variant_whose_smaller_weights_are_read_faster_serves_where_it_may(self) -> None:
        """By the same law of bytes and compute: fewer requests under way at once, so less power."""
        found = judged(world(offering(FP8)))
        assert found["fp8"].work is not None
        assert found[""].work is not None
        assert found["fp8"].work.mean_batch < found[""].work.mean_batch
        assert bought(plan(world(offering(FP8)), GREEN, NOON)) == ["fp8"]

    def test_a_precision_that_nobody_has_measured_is_not_taken_for_greener(self) -> None:
        """Equal in everything that is known, the better answers win."""
        found = judged(world(offering(INT4), load=None))
        assert found["int4"].kwh_per_hour == found[""].kwh_per_hour
        assert bought(plan(world(offering(INT4), load=None), GREEN, NOON)) == [""]
        busy = judged(world(offering(INT4)))
        assert busy["int4"].work is not None
        assert busy["int4"].work.carries is None

    def test_its_owners_own_measurements_go_before_the_law(self) -> None:
        """Throughput makes it a faster replica, power another curve; both say where they come from."""
        measured = replace(INT4, throughput=2.0, power=0.8)
        spec = offering(measured)
        (main,), (own,) = (capacity_on(spec, [L4], variants=[name]).models for name in ("", "int4"))
        assert own.tau0 == pytest.approx(main.tau0 / 2)
        assert own.prefill_tokens_per_second == pytest.approx(main.prefill_tokens_per_second * 2)
        assert measured.source in own.origin
        found = judged(world(spec))
        assert found["int4"].kwh_per_hour is not None
        assert found[""].kwh_per_hour is not None
        assert found["int4"].kwh_per_hour < found[""].kwh_per_hour
        assert bought(plan(world(spec), GREEN, NOON)) == ["int4"]

    def test_the_places_of_a_variant_are_those_of_its_own_arguments(self) -> None:
        """``max_num_seqs`` of the variant, and of several replicas together the fewest."""
        few = replace(FP8, model=replace(FP8.model, args=(("max_num_seqs", 8),)))
        spec = offering(few)
        assert capacity_on(spec, [L4], variants=["fp8"]).places == 8
        assert capacity_on(spec, [L4], variants=[""]).places == 256
        assert capacity_on(spec, [L4, L4], variants=["", "fp8"]).places == 8

    def test_one_that_does_not_fit_into_the_accelerators_is_not_placed_there(self) -> None:
        """The memory that its owner says it needs, beside the data sheet; the main model has no such line."""
        found = judged(world(offering(replace(FP8, memory_gib=40.0))))
        assert failed_rules(found["fp8"].verdicts) == {MEMORY_RULE}
        assert found[""].allowed
        assert judged(world(offering(replace(FP8, memory_gib=12.0))))["fp8"].allowed

    def test_what_is_dear_for_a_variant_alone_is_measured_by_offers_that_it_fits(self) -> None:
        """An offer that is excluded for its memory sets no limit of extra cost."""
        frugal = replace(GREEN, max_extra_cost_fraction=0.0)
        big = Shape("1xH100", "H100", 1, 8.0, 32.0, POWER)
        places = (candidate("aws/se", 300.0, on=L4, usd=0.5, trailing=1.0), candidate("aws/fr", 30.0, on=big, usd=2.0))
        spec = offering(replace(FP8, memory_gib=40.0))
        found = {a.offer_id: a for a in judge(world(spec, *places), frugal, NOON).assessments}
        assert "policy.max_extra_cost" in failed_rules(found["aws/fr:1xH100:on_demand#fp8"].verdicts)
        alone = world(spec, *places)
        alone = replace(alone, candidates=tuple(c for c in alone.candidates if c.offer.variant))
        assert bought(plan(alone, frugal, NOON)) == ["fp8"]


class TestTheFloor:
    """No replica of a variant below it serves, so no mean is below it."""

    def test_a_variant_below_the_floor_is_shown_and_not_chosen(self) -> None:
        """Whatever it would save, with its figure, the limit, and where the figure comes from."""
        found = judged(world(offering(FP8, floor=0.99)))
        (verdict,) = [v for v in found["fp8"].verdicts if not v.passed]
        assert (verdict.rule, verdict.value, verdict.limit) == (FLOOR_RULE, 0.985, 0.99)
        assert FP8.source in verdict.text
        assert bought(plan(world(offering(FP8, floor=0.99)), GREEN, NOON)) == [""]
        assert bought(plan(world(offering(FP8, floor=0.985)), GREEN, NOON)) == ["fp8"]

    def test_a_replica_that_a_raised_floor_excludes_is_replaced_before_it_leaves(self) -> None:
        """A quality promise holds for what runs already; the replacement comes first, as with every move."""
        standing = world(offering(FP8, floor=0.99), on=["aws/se:1xL4:on_demand#fp8"])
        (move,) = plan(standing, GREEN, NOON).actions
        assert (move.kind, move.offer_id) == (ActionKind.MOVE, "aws/se:1xL4:on_demand")
        assert "below model.quality.floor" in move.reason

    def test_where_only_the_floor_is_in_the_way_the_refusal_names_it(self) -> None:
        """The smallest change is the quality that would do."""
        spec = offering(FP8, floor=0.99)
        alone = world(spec)
        alone = replace(alone, candidates=tuple(c for c in alone.candidates if c.offer.variant))
        with pytest.raises(NoFeasiblePlacement) as caught:
            plan(alone, GREEN, NOON)
        assert "lower model.quality.floor to 0.985" in caught.value.hint()

    @given(
        floor=st.floats(0.0, 1.0), qualities=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=3), n=st.integers(1, 3)
    )
    def test_the_mean_over_all_replicas_is_never_below_it(self, floor: float, qualities: list[float], n: int) -> None:
        """Whatever variants there are, and however many replicas: however traffic is shared among them."""
        variants = [replace(FP8, name=f"v{i}", quality=q, throughput=2.0 + i) for i, q in enumerate(qualities)]
        spec = offering(*variants, count=n, floor=floor)
        of = {v.name: v.quality for v in variants} | {"": 1.0}
        assert all(of[name] >= floor for name in bought(plan(world(spec), GREEN, NOON)))


class TestThePrice:
    """Quality has a price in policies that weigh terms."""

    def test_a_price_decides_between_a_variant_and_the_main_model(self) -> None:
        """What is lost per hour counts points, tokens and the price of a point; more than it saves is too much."""
        loss = judged(world(offering(FP8, price=1e-9)), SCORED)["fp8"].quality
        assert loss is not None
        assert loss.usd_per_hour == pytest.approx(1.5 * 1e-9 * 150.0 * 3600.0 / 1000.0)
        assert bought(plan(world(offering(FP8, price=1e-9)), SCORED, NOON)) == ["fp8"]
        assert bought(plan(world(offering(FP8, price=1.0)), SCORED, NOON)) == [""]

    def test_without_knowing_how_much_is_written_a_loss_that_has_a_price_is_not_taken(self) -> None:
        """Unknown is not nothing; the main model loses nothing, however much it writes."""
        found = judged(world(offering(FP8, price=1e-9), load=None), SCORED)
        assert failed_rules(found["fp8"].verdicts) == {QUALITY_PRICE_RULE}
        assert found[""].allowed
        assert found[""].score_usd_per_hour is not None

    def test_the_terms_of_a_change_of_variant_add_up_to_what_the_rule_judges(self) -> None:
        """The score without quality, what quality loses, rent paid twice, and the grams of the move."""
        standing = world(offering(FP8, price=1e-9), on=["aws/se:1xL4:on_demand"])
        (found,) = plan(standing, SCORED, NOON).decision.comparisons
        judged_net = next(v.value for v in found.verdicts if v.rule == NET_SCORE)
        assert {t.name for t in found.score_terms} >= {"score", "quality"}
        assert sum(t.amount for t in found.score_terms) == pytest.approx(judged_net, abs=1e-6)
        for term in found.score_terms:
            assert recomputed(term) == pytest.approx(term.amount, abs=1e-9)
        (quality,) = [t for t in found.score_terms if t.name == "quality"]
        assert quality.amount < 0


class TestStanding:
    """A replica remembers its variant, and a change of it is a move like any other."""

    def test_a_change_of_variant_at_the_same_place_is_weighed_as_a_move(self) -> None:
        """What it saves, less its cold start and overlap; approved or not by the rules of every move."""
        standing = world(offering(FP8), on=["aws/se:1xL4:on_demand"])
        (found,) = plan(standing, GREEN, NOON).decision.comparisons
        assert (found.from_offer, found.to_offer) == ("aws/se:1xL4:on_demand", "aws/se:1xL4:on_demand#fp8")
        assert found.cost_grams > 0
        assert sum(t.amount for t in found.terms) == pytest.approx(found.net_grams, abs=1e-6)

    def test_a_replica_of_a_variant_is_no_old_workload(self) -> None:
        """Its digest is its variant's; one whose weights have changed since is rolled over to the new ones."""
        spec = offering(FP8)
        standing = world(spec, on=["aws/se:1xL4:on_demand#fp8"])
        assert plan(standing, GREEN, NOON).actions == ()
        newer = replace(spec, variants=(replace(FP8, model=replace(FP8.model, id="Qwen/Qwen3-8B-FP8-v2")),))
        (move,) = plan(replace(standing, spec=newer), GREEN, NOON).actions
        assert "new workload" in move.reason

    def test_a_replica_whose_variant_left_the_file_is_replaced(self) -> None:
        """The reason says so: the place is still sold."""
        standing = world(offering(FP8), on=["aws/se:1xL4:on_demand#fp8"])
        without = replace(
            standing, spec=offering(), candidates=tuple(c for c in standing.candidates if not c.offer.variant)
        )
        (move,) = plan(without, GREEN, NOON).actions
        assert move.reason == "fp8 is no variant of the file any more"
        assert move.offer_id == "aws/se:1xL4:on_demand"

    def test_a_place_that_was_sold_out_is_so_for_every_variant(self) -> None:
        """Machines are sold, not variants; a start that failed for its own reason speaks of its workload alone."""
        spec = offering(FP8)
        (main, fp8) = sold(spec, candidate("aws/se", 300.0, on=L4))
        gone = replica(fp8, state=replica(fp8).state.FAILED, ready_at=None, reason="no_capacity: sold out")
        gone = replace(gone, workload_digest=workload_of(spec, "fp8") or "", state_since=NOON)
        known = avoided([gone], NOON, 1.0, workload_of(spec, ""))
        assert avoidance_of(main.offer.id, known) is not None
        died = replace(gone, reason="engine_died: out of memory")
        assert avoidance_of(main.offer.id, avoided([died], NOON, 1.0, workload_of(spec, ""))) is None
        assert avoidance_of(fp8.offer.id, avoided([died], NOON, 1.0, workload_of(spec, "fp8"))) is not None

    def test_names_and_digests_tell_variants_apart(self) -> None:
        """One digest for each model that may run; an id says what is bought, and what runs there."""
        assert len(workloads_of(offering(FP8, INT4))) == 3
        assert workload_of(offering(FP8), "other") is None
        assert sold_as("aws/se:1xL4:spot#fp8") == "aws/se:1xL4:spot"
        assert (variant_in("aws/se:1xL4:spot#fp8"), variant_in("aws/se:1xL4:spot")) == ("fp8", "")


class TestEveryWorld:
    """What holds whatever is offered."""

    @given(
        quality=st.floats(0.5, 0.999),
        throughput=st.floats(0.2, 1.0),
        power=st.floats(1.0, 3.0),
        grams=st.floats(1.0, 900.0),
    )
    def test_a_dominated_variant_is_never_chosen(
        self, quality: float, throughput: float, power: float, grams: float
    ) -> None:
        """Worse answers, no faster, no less power: nothing speaks for it, by any objective."""
        worse = replace(INT4, quality=quality, throughput=throughput, power=power)
        offers = world(offering(worse), candidate("aws/se", grams, on=L4))
        for policy in (GREEN, SCORED, replace(GREEN, objective=Objective.CHEAPEST)):
            assert bought(plan(offers, policy, NOON)) == [""]

    @given(seed=st.integers(0, 1000))
    def test_the_order_of_offers_and_variants_says_nothing(self, seed: int) -> None:
        """The same plan to the letter."""
        places = (candidate("aws/se", 300.0, on=L4), candidate("aws/fr", 60.0, on=L4), candidate("gcp/fr", 60.0, on=L4))
        offers = world(offering(FP8, INT4, count=2), *places)
        mixed = list(offers.candidates)
        Random(seed).shuffle(mixed)  # an order, not a secret
        assert to_json(plan(replace(offers, candidates=tuple(mixed)), GREEN, NOON)) == to_json(
            plan(offers, GREEN, NOON)
        )

    def test_a_service_without_variants_plans_and_reads_as_it_always_did(self) -> None:
        """No field, no verdict and no word of variants is in its plan."""
        text = to_json(plan(world(offering()), GREEN, NOON))
        assert "quality" not in text
        assert "variant" not in text
        assert "#" not in text


def test_work_without_a_load_is_the_same_for_all_variants() -> None:
    """Nobody has counted anything: the batch is the one that is expected of any replica."""
    quiet = world(offering(FP8), load=None)
    assert work_on(quiet, L4, variant="fp8") == work_on(quiet, L4)


def test_a_move_by_hand_to_where_it_stands_says_what_decides_on_the_variant() -> None:
    """Asked for in the hope of another variant, it is refused with what to change; without variants nothing is said."""
    spec = offering(FP8)
    here = candidate("aws/se", 300.0, on=L4)
    snap = world(spec, here, on=[here.offer.id])
    running = snap.replicas[0]
    with pytest.raises(UsageError) as refused:
        plan_migration(snap, GREEN, NOON, replica=None, to_region=running.region, actor="me", reason="asked")
    assert "model.variants and model.quality: change the file" in refused.value.hint()
    plain = replace(snap, spec=replace(spec, variants=()))
    with pytest.raises(UsageError) as refused:
        plan_migration(plain, GREEN, NOON, replica=None, to_region=running.region, actor="me", reason="asked")
    assert "variant" not in refused.value.hint()
