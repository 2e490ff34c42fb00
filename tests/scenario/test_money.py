"""A budget holds: nothing is launched that does not fit, nothing that serves is ended for it, and people hear why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control.advice import service_advice
from orchestrator.control.reporting import service_report
from orchestrator.control.spending import budget_use
from orchestrator.control.usecases import bill_of, service_status
from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.records import EventKind, OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import BudgetSpent
from orchestrator.planner.advice.advise import Answer
from orchestrator.planner.spending import worst_case
from tests.builders import NOON, offer
from tests.scenario.crash import Fuse
from tests.scenario.world import RULES, World, chat, only

HOURS = 3600.0
PRICED = {"se": (30.0, 1.0), "fr": (60.0, 1.0), "de": (300.0, 1.0)}
"""Every replica costs a dollar an hour; the world begins at noon, so a day has twelve hours left."""


def daily(usd: float, replicas: int = 1, **changes: object) -> object:
    """Make a service with a budget."""
    return chat(replicas, budget=MoneyBudget(usd_per_day=usd), **changes)


async def test_what_fits_is_launched_and_held() -> None:
    """Until the day ends each replica holds what it may cost, and the status says how much that is."""
    world = World(places=PRICED)
    await world.up(daily(30.0, 2))  # type: ignore[arg-type]
    (status,) = await service_status(world.runtime, "chat")

    assert len(world.ready()) == 2
    (use,) = status.money
    assert use.name == "usd_per_day"
    assert use.held_usd == pytest.approx(24.0, abs=0.1)


async def test_a_deploy_that_does_not_fit_is_refused_before_anything_is_bought() -> None:
    """The plan says which limit, how much it needs and how much is left; nothing is written and nothing runs."""
    world = World(places=PRICED)
    world.start()
    with pytest.raises(BudgetSpent, match=r"usd_per_day: it may cost 12\.00 USD until .* and 12\.00 USD of 20\.00 USD"):
        await world.deploy(daily(20.0, 2))  # type: ignore[arg-type]

    assert world.store.services() == []
    assert world.cloud.existing() == frozenset()


async def test_a_deploy_that_just_fits_is_begun_again_whenever_its_beginning_is_interrupted() -> None:
    """What was begun by the process that died holds its money already: it is not counted twice."""
    ends = set[OperationState]()
    for point in range(1, 200):
        fuse = Fuse()
        world = World(places=PRICED, wrap=fuse.wrap)
        world.start()
        operation = await world.deploy(daily(30.0, 2))  # type: ignore[arg-type]
        fuse.arm(point)
        await world.run(3, check=False)
        has_died = fuse.has_killed
        fuse.disarm()
        if world.controller is None:
            world.start()
        await world.run(60, check=False)
        ends.add(world.operation(operation).state)
        if not has_died:
            break

    assert point > 20
    assert ends == {OperationState.DONE}


async def test_a_lost_replica_that_cannot_be_afforded_is_not_replaced_and_said_so() -> None:
    """The second day costs 48 dollars, and 30 are allowed: the other one serves on, and the status says why."""
    world = World(places=PRICED)
    await world.up(daily(30.0, 2))  # type: ignore[arg-type]
    await world.run(12.5 * HOURS, every=300.0)
    lost, kept = world.ready()
    world.preempt(lost.name)
    await world.run(600, every=10.0, check=False)
    (status,) = await service_status(world.runtime, "chat")

    assert [r.name for r in world.ready()] == [kept.name]
    assert "budget.usd_per_day" in status.look
    assert [e.text for e in world.events(EventKind.WARNING) if "budget_spent" in e.text]
    assert world.cloud.existing() == {kept.name}

    await world.up(daily(60.0, 2))  # type: ignore[arg-type]
    assert len(world.ready()) == 2, "whoever raises the limit gets it back"


async def test_what_could_not_be_afforded_is_launched_as_soon_as_it_fits() -> None:
    """With the day less is left to be paid for: half an hour spent, twelve and a half hours left, thirteen dollars."""
    world = World(places=PRICED)
    await world.up(daily(13.0))  # type: ignore[arg-type]
    await world.run(12.5 * HOURS, every=300.0)
    world.preempt(world.the_replica().name)
    await world.run(10.9 * HOURS, every=120.0, check=False)
    before = world.ready()
    await world.run(0.3 * HOURS, every=10.0, check=False)

    assert before == []
    assert len(world.ready()) == 1


async def test_a_launch_that_came_to_nothing_holds_no_fetch() -> None:
    """Sold out for half an hour: what was refused has fetched nothing, and does not keep out what could be had then."""
    world = World(places={})
    world.cloud.providers = frozenset({"aws"})
    world.runtime.provisioners["aws"] = world.cloud
    for name, grams in (("eu-north-1", 40.0), ("eu-west-1", 90.0)):
        world.offers.put(offer(f"aws/{name}", usd=1.0))
        world.carbon.hold(name.upper(), grams)
    model = ModelSpec("org/model-70B", served_name="chat", weights_from="gcp/us-central1")
    spec = chat(model=model, budget=MoneyBudget(usd_per_day=150.0))
    await world.up(spec)
    (before,) = budget_use(spec, world.runtime)
    world.room.update({"aws/eu-north-1": 0, "aws/eu-west-1": 0})
    world.preempt(world.the_replica().name)
    await world.run(1800, every=10.0, check=False)
    failed = [r for r in world.all_replicas() if r.state is ReplicaState.FAILED]
    world.room.clear()
    await world.settle(limit=HOURS, every=10.0)
    (after,) = budget_use(spec, world.runtime)
    report = await service_report(world.runtime, "chat", None)

    assert len(failed) > 3
    assert before.held_usd is not None
    assert after.held_usd is not None
    assert after.held_usd - before.held_usd < before.held_usd, "one more fetch, and the rest of the day once"
    assert report.egress is not None
    assert report.egress.launches == 2


async def test_what_serves_is_never_ended_for_money() -> None:
    """The period changes, and what runs costs more than the whole limit: it serves on, and nothing is added."""
    world = World(places=PRICED)
    await world.up(daily(13.0))  # type: ignore[arg-type]
    name = world.the_replica().name
    await world.run(20 * HOURS, every=300.0)
    (status,) = await service_status(world.runtime, "chat")

    assert [r.name for r in world.ready()] == [name]
    held = status.money[0].held_usd
    assert held is not None
    assert held > 13.0


async def test_a_move_needs_money_for_both() -> None:
    """While it moves both replicas are paid for, and in the worst case until the day ends: else it does not move."""
    world = World(places=PRICED)
    await world.up(daily(20.0, placement=only("se", "fr")))  # type: ignore[arg-type]
    with pytest.raises(BudgetSpent, match=r"usd_per_day"):
        await world.migrate("fr")
    assert world.regions() == ["se"]

    await world.up(daily(40.0, placement=only("se", "fr")))  # type: ignore[arg-type]
    operation = await world.migrate("fr")
    await world.settle()
    assert world.operation(operation).state is OperationState.DONE
    assert world.regions() == ["fr"]


async def test_the_worst_case_bill_is_what_a_dead_deployment_costs() -> None:
    """Everything of ours dies: what is really paid until the last machine has ended is no more than was printed."""
    world = World(places=PRICED)
    spec = chat(2)
    await world.up(spec)
    await world.run(2 * HOURS, every=300.0)
    bill = bill_of(spec, world.runtime)
    world.kill()
    paid = 0.0
    while world.cloud.existing():
        paid += len(world.cloud.existing()) * 1.0 / 60.0
        await world.run(60.0, every=60.0)

    assert bill.usd is not None
    assert bill.until is not None
    assert paid <= bill.usd
    assert paid >= 0.95 * bill.usd, "and the bound is not idle"
    assert world.now <= bill.until


def test_an_empty_bill_is_nothing() -> None:
    """Without replicas nothing is owed."""
    bill = worst_case(chat(), (), {}, NOON, 1.0)

    assert (bill.usd, bill.lines, bill.until) == (0.0, (), NOON)


async def test_no_move_is_advised_that_the_budget_refuses() -> None:
    """It stands in the dirtier place and would move at once; the controller holds, and the advice says so, too."""
    world = World(places=PRICED)
    await world.up(daily(20.0, placement=only("se", "fr")))  # type: ignore[arg-type]
    world.grid("SE", lambda _hour: 900.0)
    await world.run(2.1 * HOURS, every=120.0)
    advice = await service_advice("chat", world.runtime)
    assert advice.best is not None
    assert advice.best.comparison.approved, advice.because
    assert advice.answer is Answer.STAY
    assert advice.because.startswith("hold: r0 is not started in sky/fr: budget.usd_per_day")

    await world.up(daily(100.0, placement=only("se", "fr"), migration=replace(RULES, enabled=False)))  # type: ignore[arg-type]
    enough = await service_advice("chat", world.runtime)
    assert "usd_per_day" not in enough.because
