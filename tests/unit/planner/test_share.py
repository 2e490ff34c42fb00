"""Each offer is judged at the batch that its share of the load makes there: a fast replica idles, a small one fills."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica
from orchestrator.domain.scale import LoadSeen, Work
from orchestrator.domain.service import MigrationRules, ModelSpec, Objective, Policy, Scaling, ServiceSpec
from orchestrator.planner.judged import judge
from orchestrator.planner.moves import LOAD_RULE, compare
from orchestrator.planner.plan import plan
from orchestrator.planner.sizing.energy import joules_per_token
from orchestrator.planner.sizing.share import capacity_on, work_on, works
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, NOON, candidate, recomputed, replica, service_spec, snapshot

QWEN = ModelSpec("Qwen/Qwen3-8B")
SMALL = Shape("1xL4", "L4", 1, 8.0, 32.0, PowerModel(40.0, 110.0, 4.0, "test", 0.1, "test"))
LARGE = Shape("1xH100", "H100", 1, 26.0, 200.0, PowerModel(150.0, 800.0, 40.0, "test", 0.1, "test"))
CHEAPEST = Policy(name="cheap", objective=Objective.CHEAPEST, max_extra_cost_fraction=None)
PLENTY = 10.0
"""Requests per second that one H100 carries and an L4 does not."""


def load(rate: float, prompt: float = 200.0, output: float = 150.0) -> LoadSeen:
    """A load whose requests last two seconds where they were counted."""
    return LoadSeen(600.0, rate, 2.0 * rate, 1, int(2 * rate), 0, None, prompt, output)


def world(rate: float | None, count: int = 1, spec: ServiceSpec | None = None) -> Snapshot:
    """One grid, a small and a large shape on it; no load is known without a rate."""
    asked = replace(spec or service_spec(count), model=QWEN)
    offers = [candidate("aws/se", 30.0, on=LARGE, usd=2.0), candidate("gcp/se", 30.0, on=SMALL, usd=0.6)]
    return snapshot(offers, spec=asked, load=None if rate is None else load(rate))


def chosen(rate: float | None, policy: Policy = GREEN, count: int = 1) -> list[str]:
    """Return the shapes that are bought."""
    return [a.shape for a in plan(world(rate, count), policy, NOON).actions]


class TestTheBatch:
    """Of a share of the load on a shape."""

    def test_the_same_requests_are_fewer_under_way_where_they_are_answered_faster(self) -> None:
        """Little's law by each shape's own model, at what so many replicas share."""
        snap = world(2.0, 2)
        own = works(snap)
        found = {c.offer.shape: own[c.offer.id] for c in snap.candidates}
        assert found[LARGE].mean_batch < found[SMALL].mean_batch / 3
        assert found[LARGE].replicas == found[SMALL].replicas == 2
        (model,) = capacity_on(replace(service_spec(), model=QWEN), [LARGE]).models
        assert found[LARGE].mean_batch == pytest.approx(model.batch_at(1.0, 200.0, 150.0, 256))
        assert model.origin in found[LARGE].origin

    def test_reading_prompts_takes_full_power(self) -> None:
        """As the batch-energy curve has it: energy per output token times tokens is what a replica draws."""
        world_of_prompts = replace(world(1.0), load=load(1.0, prompt=4000.0))
        work = work_on(world_of_prompts, LARGE)
        (model,) = capacity_on(world_of_prompts.spec, [LARGE]).models
        assert LARGE.power is not None
        curve = joules_per_token(model, LARGE.power, work.mean_batch, 4000.0, 150.0)
        assert work.watts(LARGE.power) == pytest.approx(curve * 150.0)
        assert work.watts(LARGE.power) > LARGE.power.watts(work.mean_batch)

    def test_an_unknown_load_is_the_default_and_says_so(self) -> None:
        """It is neither zero nor a guess that looks like a count."""
        default = snapshot([]).mean_batch
        assert set(works(world(None)).values()) == {Work(default.value, default.origin, 1)}

    def test_lengths_that_nobody_counted_leave_requests_under_way(self) -> None:
        """They are taken to last as long anywhere; whether a shape carries them is not known, which is not no."""
        dim = replace(world(None, 2), load=replace(load(3.0), prompt_tokens=None))
        found = work_on(dim, SMALL)
        assert (found.mean_batch, found.needed, found.carries) == (3.0, None, None)
        assert "taken to last" in found.origin

    def test_no_load_is_idle_power(self) -> None:
        """A load that was counted and is none is a number."""
        quiet = judge(world(0.0), GREEN, NOON)
        powers = {a.shape: a.kwh_per_hour for a in quiet.assessments}
        assert powers == {"1xH100": pytest.approx(0.150 * 1.1), "1xL4": pytest.approx(0.040 * 1.1)}

    def test_spares_take_a_share_and_carry_nothing(self) -> None:
        """They serve, so batches are smaller; what has to be carried is carried without them."""
        rate = 1.4 * _most_of_one(LARGE)
        bare, spared = world(rate, 2), world(rate, 2)
        spared = replace(
            spared, spec=replace(spared.spec, scaling=replace(spared.spec.scaling, min_replicas=1, num_overprovision=1))
        )
        assert work_on(bare, LARGE).mean_batch == work_on(spared, LARGE).mean_batch
        assert (work_on(bare, LARGE).carries, work_on(spared, LARGE).carries) == (True, False)

    def test_a_target_of_the_owner_is_his_word_on_what_a_replica_carries(self) -> None:
        """Then no model says that a shape is too small."""
        rules = Scaling(1, 4, 100.0)
        assert work_on(world(PLENTY, spec=replace(service_spec(), scaling=rules)), SMALL).carries is None


class TestThePlan:
    """Which offer it takes."""

    def test_a_large_replica_that_would_idle_pays_for_it(self) -> None:
        """A little load is greener on a small one; the batch of the small one says nothing of the large one."""
        assert chosen(0.2) == ["1xL4"]

    @pytest.mark.parametrize("policy", [GREEN, CHEAPEST], ids=["greenest", "cheapest"])
    def test_what_a_small_one_does_not_carry_goes_to_a_large_one(self, policy: Policy) -> None:
        """However little the small one draws and costs: one of it is not enough."""
        assert chosen(PLENTY, policy) == ["1xH100"]
        assert chosen(None, policy) == ["1xL4"], "what is not known speaks against nobody"

    def test_where_nothing_carries_it_something_serves(self) -> None:
        """Too much load is no reason to have no replica at all."""
        assert len(chosen(100 * PLENTY)) == 1

    def test_more_replicas_make_a_small_one_enough(self) -> None:
        """The share counts, not the load."""
        needed = work_on(world(PLENTY), SMALL).needed
        assert needed is not None
        assert set(chosen(PLENTY, CHEAPEST, needed)) == {"1xL4"}
        assert set(chosen(PLENTY, CHEAPEST, needed - 1)) == {"1xH100"}

    def test_no_move_by_itself_goes_where_the_load_does_not_fit(self) -> None:
        """The rule says how many it would take; a replica that already stands there is not driven out."""
        before = world(PLENTY, spec=service_spec(migration=MigrationRules(min_dwell=timedelta(0))))
        large, small = before.candidates
        before = replace(before, replicas=(_standing(before, large),))
        assert plan(before, CHEAPEST, NOON).actions == ()
        judged = judge(before, CHEAPEST, NOON)
        here, there = judged.side(large.offer.id), judged.side(small.offer.id)
        assert here is not None
        assert there is not None
        found = compare(replica(large), here, there, before, CHEAPEST, NOON)
        assert LOAD_RULE in {v.rule for v in found.verdicts if not v.passed}
        back = compare(replica(small), there, here, before, CHEAPEST, NOON)
        assert all(v.passed for v in back.verdicts if v.rule == LOAD_RULE)
        assert plan(replace(before, replicas=(_standing(before, small),)), CHEAPEST, NOON).actions == ()

    def test_the_terms_of_a_move_add_up_at_each_ends_own_batch(self) -> None:
        """Each term is the product of its factors, and their sum the net, to a millionth."""
        before = world(0.2)
        large, small = before.candidates
        before = replace(before, replicas=(_standing(before, large),))
        judged = judge(before, GREEN, NOON)
        here, there = judged.side(large.offer.id), judged.side(small.offer.id)
        assert here is not None
        assert there is not None
        found = compare(replica(large), here, there, before, GREEN, NOON)
        assert found.net_grams == pytest.approx(sum(recomputed(t) for t in found.terms), abs=1e-6)
        for term, shape in zip(found.terms[:2], (LARGE, SMALL), strict=True):
            (energy,) = [f for f in term.factors if f.name == "kwh_per_hour"]
            work = work_on(before, shape)
            assert shape.power is not None
            assert energy.value == pytest.approx(work.watts(shape.power) / 1000 * 1.1)
            assert f"batch {work.mean_batch:.3g}" in energy.origin


def test_the_price_of_a_spare_is_that_of_the_load_that_is_known() -> None:
    """By each shape's own batch: with it the first of two would draw more."""
    spec = service_spec(2, spot=False)
    sold: Candidate = candidate("aws/se", 30.0, on=LARGE, usd=2.0)
    before = snapshot([sold], spec=replace(spec, model=QWEN), load=load(PLENTY))
    (one,) = plan(before, GREEN, NOON).spares
    alone, shared = (work_on(before, LARGE, n) for n in (1, 2))
    assert LARGE.power is not None
    assert one.watts == pytest.approx(2 * shared.watts(LARGE.power) - alone.watts(LARGE.power))
    assert sold.offer.market is Market.ON_DEMAND


def _standing(before: Snapshot, sold: Candidate) -> Replica:
    return replica(sold, workload_digest=before.workload_digest)


def _most_of_one(shape: Shape) -> float:
    """Return the requests per second that one replica of a shape completes at most."""
    (model,) = capacity_on(replace(service_spec(), model=QWEN), [shape]).models
    return 0.5 * model.requests_per_second(200.0, 150.0, 256)
