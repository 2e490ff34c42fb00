"""Number and shapes in one decision, where something serves already: what stays, what is exchanged, what is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.cli.render.plan import number_reason
from orchestrator.codec import plan_from_json, to_json
from orchestrator.control.past import is_voluntary
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.price import Market
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.scale import COST_OF, LoadSeen, WantedReplicas
from orchestrator.domain.service import (
    CarbonRules,
    MigrationRules,
    ModelSpec,
    Objective,
    Policy,
    ResourceRequest,
    Scaling,
    WhenStale,
)
from orchestrator.domain.time import HOUR
from orchestrator.planner.hedge.spares import hedged
from orchestrator.planner.pause import hold_voluntary
from orchestrator.planner.plan import plan
from orchestrator.planner.schedule import BLACKOUT, Closure, Timetable
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.spending import within_budget
from orchestrator.prices.shapes import ShapeCatalogue
from tests.builders import GREEN, NOON, candidate, replica, service_spec, shape, snapshot, stale

CATALOGUE = ShapeCatalogue.packaged()
L4, A100 = (CATALOGUE.accelerated(name, 1, None, None) for name in ("L4", "A100-80GB"))
CHEAPEST = Policy(name="cheap", objective=Objective.CHEAPEST, max_extra_cost_fraction=None)
QWEN = ModelSpec("Qwen/Qwen3-8B")
SMALL = candidate("aws/small", 500.0, on=L4, usd=1.0, zone="Z1")
LARGE = candidate("aws/large", 20.0, on=A100, usd=1.5, zone="Z2")
BUSY = LoadSeen(600.0, 9.0, 60.0, 1, 60, 0, None, 200.0, 150.0)


def busy(*, number: int = 4, migration: MigrationRules | None = None, load: LoadSeen | None = BUSY) -> Snapshot:
    """One small replica serves, and load wants four of its kind; one large one would carry it all for less."""
    spec = replace(service_spec(migration=migration or MigrationRules()), model=QWEN, scaling=Scaling(number, 8))
    world = snapshot([SMALL, LARGE], [replica(SMALL)], spec=spec, load=load)
    stands = replace(world.replicas[0], workload_digest=world.workload_digest)
    return replace(world, replicas=(stands,), sizing=WantedReplicas(number, 1, 8, number, "load"))


def launches(made: Plan) -> int:
    """Count what is bought beside what stands."""
    return sum(a.kind is ActionKind.LAUNCH for a in made.actions)


def test_a_replica_that_is_too_small_makes_room_for_one_that_carries_the_load() -> None:
    """Instead of three more small ones, the one in its place: one action, which says why, and keeps it serving."""
    made = plan(busy(), GREEN, NOON)
    (action,) = made.actions
    assert (action.kind, action.slot, action.replica, action.shape) == (ActionKind.MOVE, 0, "gc-test-chat-0", A100.name)
    assert action.reason == f"{L4.name} is too small for its share; the load takes 1 of {A100.name}"
    assert (made.decision.kind, made.decision.exchanged) == (DecisionKind.MOVE, "gc-test-chat-0")
    assert made.decision.sizing is not None
    assert made.decision.sizing.replicas == 1


def test_who_makes_room_is_a_move_of_the_day() -> None:
    """As any other that the policy makes because it pays, unless it is held back or not bought after all."""
    made = plan(busy(), GREEN, NOON)
    assert is_voluntary(made.decision)
    assert not is_voluntary(hold_voluntary(made).plan.decision)
    tight = replace(busy().spec, budget=MoneyBudget(usd_per_day=0.01))
    assert not is_voluntary(within_budget(made, tight, (), {}, NOON, 1.0).plan.decision)
    assert plan_from_json(to_json(made)) == made


def test_who_has_just_come_stays_and_gets_company_that_carries_the_load() -> None:
    """A larger one that pays waits for the dwell, as any move does that pays; the load does not wait."""
    before = busy()
    young = replace(before.replicas[0], created_at=NOON - HOUR, state_since=NOON - HOUR, ready_at=NOON - HOUR)
    made = plan(replace(before, replicas=(young,)), GREEN, NOON)
    assert launches(made) == len(made.actions) > 0
    assert made.decision.exchanged == ""


def test_who_has_just_come_makes_room_where_company_does_not_carry_the_load() -> None:
    """Of two small ones both are too small, and two are the most that there may be: load leaves no choice."""
    before = busy(number=2)
    young = replace(before.replicas[0], created_at=NOON - HOUR, state_since=NOON - HOUR, ready_at=NOON - HOUR)
    size = WantedReplicas(2, 1, 2, 4, "load")
    spec = replace(before.spec, scaling=Scaling(2, 2))
    made = plan(replace(before, replicas=(young,), spec=spec, sizing=size), GREEN, NOON)
    assert made.decision.exchanged == young.name
    closed = Timetable(has_windows=False, closure=Closure(BLACKOUT, NOON + HOUR))
    made = plan(replace(before, replicas=(young,), spec=spec, sizing=size, timetable=closed), GREEN, NOON)
    assert launches(made) == len(made.actions) > 0


def test_while_the_larger_one_starts_nothing_else_is_bought() -> None:
    """Load goes on naming the number of the small one that still serves alone; the large one is on its way."""
    before = busy()
    coming = replica(
        LARGE, state=ReplicaState.PROVISIONING, name="gc-new", up_for=timedelta(0), replaces="gc-test-chat-0"
    )
    coming = replace(coming, workload_digest=before.workload_digest)
    made = plan(replace(before, replicas=(*before.replicas, coming)), GREEN, NOON)
    assert made.actions == ()
    assert made.decision.sizing is not None
    assert made.decision.sizing.replicas == 1


def test_nobody_is_let_go_for_one_that_is_still_to_come() -> None:
    """Two small ones serve and load wants four: what is bought comes beside them, whatever one large one would save."""
    before = busy()
    second = replace(before.replicas[0], name="gc-test-chat-1", slot=1)
    made = plan(replace(before, replicas=(*before.replicas, second)), GREEN, NOON)
    assert made.actions
    assert launches(made) == len(made.actions)


def test_who_may_not_move_stays_and_gets_company() -> None:
    """Where moves are off, paused, used up, shut out, or the last one failed, small ones are added for the load."""
    off = busy(migration=MigrationRules(enabled=False))
    failed = replica(LARGE, 3, ReplicaState.FAILED, name="gc-failed", up_for=HOUR, replaces="gc-test-chat-0")
    failed = replace(failed, reason="start_failed: never ready")
    before = busy()
    closed = Timetable(has_windows=False, closure=Closure(BLACKOUT, NOON + HOUR))
    worlds = [
        off,
        replace(before, timetable=closed),
        replace(before, paused=True),
        replace(before, moves=(NOON - HOUR,) * 6),
        replace(before, replicas=(*before.replicas, failed)),
    ]
    for world in worlds:
        made = plan(world, GREEN, NOON)
        assert launches(made) == len(made.actions) > 0


@pytest.mark.parametrize("rule", list(WhenStale))
def test_nobody_makes_room_for_one_in_a_zone_gone_dark(rule: WhenStale) -> None:
    """What may be launched there beside those that serve may not take their place."""
    before = busy()
    dark = replace(LARGE, now=stale("Z2", 20.0), trailing_mean_grams_per_kwh=20.0)
    spec = replace(before.spec, carbon=CarbonRules(when_stale=rule))
    made = plan(replace(before, spec=spec, candidates=(SMALL, dark)), GREEN, NOON)
    assert launches(made) == len(made.actions) > 0


def test_an_exchange_that_does_not_pay_is_not_made() -> None:
    """A large one that is dearer than all small ones together is no reason to move anybody."""
    dear = candidate("aws/large", 20.0, on=A100, usd=50.0, zone="Z2")
    before = busy()
    made = plan(replace(before, candidates=(SMALL, dear)), CHEAPEST, NOON)
    assert {a.shape for a in made.actions} == {L4.name}
    assert launches(made) == len(made.actions)


def test_an_exchange_has_to_save_as_much_as_any_move() -> None:
    """Four small ones cost 4 dollars: a large one for a little less moves nobody, for half of that it does."""
    before = busy()
    for usd, is_worth_it in ((3.9, False), (2.0, True)):
        large = candidate("aws/large", 20.0, on=A100, usd=usd, zone="Z2")
        made = plan(replace(before, candidates=(SMALL, large)), CHEAPEST, NOON)
        assert bool(made.decision.exchanged) is is_worth_it


def test_what_load_knows_beyond_the_mean_of_minutes_is_bought_for() -> None:
    """Where load wants more of what serves than the mean says, as much is to be carried: of small ones, so many."""
    before = replace(busy(number=7), candidates=(SMALL,))
    made = plan(before, GREEN, NOON)
    assert launches(made) == 6


@pytest.mark.parametrize(
    "load",
    [
        None,
        replace(BUSY, prompt_tokens=None),
        replace(BUSY, output_tokens=None),
        replace(BUSY, requests_per_second=0.0),
    ],
)
def test_the_number_of_load_holds_where_the_load_is_not_known_well_enough(load: LoadSeen | None) -> None:
    """Without rate and lengths nothing says what another shape would carry: no number is looked for."""
    before = busy(load=load)
    made = plan(before, GREEN, NOON)
    assert launches(made) == 3
    assert made.decision.sizing == before.sizing


def test_the_number_of_load_holds_where_a_shape_is_not_known() -> None:
    """An offer of which nobody knows what it carries would seem to be enough at any number."""
    odd = candidate("aws/odd", 1.0, on=replace(shape("1xNobody"), accelerator="Nobody"), usd=0.1, zone="Z3")
    before = busy()
    before = replace(before, candidates=(*before.candidates, odd))
    assert plan(before, GREEN, NOON).decision.sizing == before.sizing


def test_what_an_owner_says_that_one_carries_is_not_questioned() -> None:
    """With ``target_qps_per_replica`` the number is requests over the target, whatever shapes cost."""
    before = busy()
    scaling = replace(before.spec.scaling, target_qps_per_replica=3.0)
    made = plan(replace(before, spec=replace(before.spec, scaling=scaling)), GREEN, NOON)
    assert made.decision.sizing == before.sizing


def test_a_plan_says_what_its_number_costs_and_what_the_best_other_one_would() -> None:
    """The chosen number comes first among the figures, the others by cost; planned again, they do not pile up."""
    before = replace(busy(), replicas=())
    size = plan(before, GREEN, NOON).decision.sizing
    assert size is not None
    again = plan(replace(before, sizing=replace(size, replicas=4)), GREEN, NOON).decision.sizing
    assert again is not None
    costs = [f for f in size.figures if f.name.startswith(COST_OF)]
    assert costs[0].name == f"{COST_OF}{size.replicas}"
    assert costs == sorted(costs, key=lambda f: f.value)
    assert [f for f in again.figures if f.name.startswith(COST_OF)] == costs
    said = number_reason(size)
    assert said.startswith(f"{size.replicas} cost ")
    assert costs[0].origin in said
    assert number_reason(before.sizing) == ""


def test_spares_of_a_promised_availability_are_worked_out_anew_for_each_number() -> None:
    """What was hedged at one number and is hedged at another has the spares of the other, not those of both."""
    sold = [candidate(f"aws/s{k}", 100.0, on=L4, usd=0.5, market=Market.SPOT) for k in range(4)]
    spec = replace(
        service_spec(spot=True),
        model=QWEN,
        scaling=Scaling(1, 8),
        availability_fraction=0.99,
        resources=ResourceRequest(use_spot=True),
    )

    def at(world: Snapshot, number: int) -> Snapshot:
        scaling = replace(world.spec.scaling, min_replicas=number)
        return hedged(replace(world, spec=replace(world.spec, scaling=scaling)), NOON)

    world = snapshot(sold, spec=spec)
    assert at(at(world, 3), 1).spec == at(world, 1).spec
    assert at(at(world, 1), 3).spec == at(world, 3).spec


# ── the bound on dollars ─────────────────────────────────────────────────────────────────────────────

GREEN_FIRST = Policy(max_extra_cost_fraction=0.15)
EIGHT = replace(BUSY, requests_per_second=8.0, mean_in_flight=55.0, serving=0, running=None, waiting=None)


def to_buy(number: int, *, least: int = 1, most: int = 8, small: float = 1.0, large: float = 2.0) -> Snapshot:
    """Nobody serves, eight requests a second come: three small ones on a dirty grid, or a large one on a clean one."""
    sold = [
        candidate("aws/small", 500.0, on=L4, usd=small, zone="Z1"),
        candidate("aws/large", 50.0, on=A100, usd=large, zone="Z2"),
    ]
    size = WantedReplicas(number, least, most, None, "load") if most > least else None
    spec = replace(service_spec(), model=QWEN, scaling=Scaling(number, most))
    return replace(snapshot(sold, spec=spec, load=EIGHT), sizing=size)


def test_a_large_one_that_costs_less_than_the_small_ones_it_takes_is_not_too_dear() -> None:
    """Two dollars are twice the price of one small one, and a third less than that of the three that the load takes."""
    for world in (to_buy(3), to_buy(1, most=1)):
        made = plan(world, GREEN_FIRST, NOON)
        assert [a.shape for a in made.actions] == [A100.name]
        assert made.totals == plan(world, CHEAPEST, NOON).totals
        told = next(
            v for a in made.decision.assessments for v in a.verdicts if a.shape == A100.name and "+15%" in v.text
        )
        assert told.text == "$2.0000/h <= cheapest that carries its share +15% ($2.3000/h)"


def test_of_as_many_each_is_measured_by_what_is_cheapest_of_those_that_carry() -> None:
    """Where three are pinned, a small one carries its share: three large ones would cost twice as much."""
    made = plan(to_buy(3, least=3, most=3), GREEN_FIRST, NOON)
    assert [a.shape for a in made.actions] == [L4.name] * 3
    (large,) = [a for a in made.decision.assessments if a.shape == A100.name]
    assert large.excluded_because == "$2.0000/h > cheapest +15% ($1.1500/h)"


@pytest.mark.parametrize(("large", "shape_name"), [(3.44, A100.name), (3.46, L4.name)])
def test_the_whole_of_a_number_is_held_to_the_cheapest_number(large: float, shape_name: str) -> None:
    """One large one may cost 15 % more than three small ones and no more, and the plan says why it is not taken."""
    made = plan(to_buy(3, large=large), GREEN_FIRST, NOON)
    assert {a.shape for a in made.actions} == {shape_name}
    assert made.decision.sizing is not None
    (of_one,) = [f.origin for f in made.decision.sizing.figures if f.name == f"{COST_OF}1"]
    told = "" if shape_name == A100.name else "; $3.4600/h > cheapest number +15% ($3.4500/h)"
    assert of_one == f"1 × {LARGE.offer.id}{told}"


def test_a_number_that_is_too_dear_on_its_greenest_offers_is_filled_with_others() -> None:
    """The greenest large one is beyond the bound, another one is not, and greener than the three small ones."""
    world = to_buy(3, large=3.46)
    other = candidate("aws/other", 60.0, on=A100, usd=3.4, zone="Z3")
    made = plan(replace(world, candidates=(*world.candidates, other)), GREEN_FIRST, NOON)
    (action,) = made.actions
    assert action.offer_id == other.offer.id
    (dear,) = [a for a in made.decision.assessments if a.region == "aws/large"]
    assert dear.excluded_because == "$3.4600/h > $3.4500/h, with which 1 replica cost $3.4500/h"


def test_what_stands_is_kept_company_though_an_exchange_would_cost_less() -> None:
    """A large one in the place of the small one would do for half of it; where nobody may move, small ones come."""
    made = plan(busy(migration=MigrationRules(enabled=False)), GREEN_FIRST, NOON)
    assert launches(made) == len(made.actions) > 0
