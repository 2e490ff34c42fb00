"""The brake: nothing voluntary while it is on, whatever else happens, and everything again when it is off."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control.usecases import pause, resume, service_status
from orchestrator.domain.carbon import Reading
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import EventKind, OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import Paused
from tests.scenario.test_migration import moving_world, replacement, until_move_begins
from tests.scenario.world import RULES, World, chat


async def test_what_is_lost_is_replaced_while_everything_is_paused() -> None:
    """Also after the controller was killed and another one goes on: the word is in the store."""
    world = World()
    await world.up(chat(2))
    assert pause(None, world.runtime, actor="ada", reason="incident 42")
    world.kill()
    world.start()
    world.murder(world.ready()[0].name)

    await world.run(5)
    await world.until(lambda: len(world.ready()) == 2)

    (status,) = await service_status(world.runtime, "chat")
    assert [(p.service, p.actor, p.reason) for p in status.pauses] == [("", "ada", "incident 42")]


async def test_a_move_under_way_stays_where_it_stands_and_goes_on_later() -> None:
    """Both sides serve on with the shares that they have, for hours."""
    world, old = await moving_world()
    new = await until_move_begins(world, old)
    await world.until(lambda: world.replica(new).weight_percent > 0)
    pause("chat", world.runtime, actor="ada", reason="")
    share = world.replica(new).weight_percent

    await world.run(900, every=5.0)

    assert world.replica(new).weight_percent == share
    assert {r.name for r in world.ready()} == {old, new}
    (status,) = await service_status(world.runtime, "chat")
    assert "does not move on" in status.look
    assert "both sides are paid for until then" in status.look

    resume("chat", world.runtime, actor="ada", reason="")
    await world.settle()
    assert [r.name for r in world.ready()] == [new]


async def test_a_move_that_has_only_been_decided_buys_nothing() -> None:
    """Its replacement is recorded, and nobody is asked for it until the pause is over."""
    world, old = await moving_world()
    await world.until(lambda: replacement(world, old) is not None)
    new = replacement(world, old)
    assert new is not None
    if new.state is not ReplicaState.PENDING:
        pytest.skip("it was asked for in the same look")
    pause(None, world.runtime, actor="ada", reason="")
    await world.run(300, every=5.0)

    assert new.name not in world.cloud.existing()
    resume(None, world.runtime, actor="ada", reason="")
    await world.settle()
    assert [r.name for r in world.ready()] == [new.name]


async def test_of_a_move_that_a_pause_holds_back_nobody_is_told_that_it_began() -> None:
    """The decision is on record, and the replacement as pending; the migration begins when it is asked for."""
    world, old = await moving_world()
    await world.until(lambda: replacement(world, old) is not None)
    new = replacement(world, old)
    assert new is not None
    assert new.state is ReplicaState.PENDING
    pause("chat", world.runtime, actor="ada", reason="")
    await world.run(60)

    assert world.replica(new.name).state is ReplicaState.PENDING
    assert world.events(EventKind.MIGRATION_STARTED) == []
    (status,) = await service_status(world.runtime, "chat")
    assert "nothing is bought for it yet" in status.look

    resume("chat", world.runtime, actor="ada", reason="")
    await world.settle()
    (begun,) = world.events(EventKind.MIGRATION_STARTED)
    (move,) = [d for d in world.store.decisions("chat") if d.kind is DecisionKind.MOVE]
    detail = json.loads(begun.detail_json)
    assert begun.replica == old
    assert begun.text == f"r{new.slot}: sky/se to sky/fr ({new.reason})"
    assert (detail["decision"], detail["actor"]) == (move.id, "policy")


async def test_a_pause_that_comes_while_a_move_is_being_thought_of_withholds_it() -> None:
    """Signals take a while to read: the record says that it is held back and by what, and no replacement is planned."""
    world, old = await moving_world()
    read = world.carbon.latest

    async def read_while_somebody_pauses(*args: Any, **kwargs: Any) -> Reading:
        if not world.store.pauses():
            pause("chat", world.runtime, actor="ada", reason="")
        return await read(*args, **kwargs)

    world.carbon.latest = read_while_somebody_pauses  # type: ignore[method-assign]
    await world.run(900, every=5.0)

    assert world.store.pauses()
    assert replacement(world, old) is None
    assert world.events(EventKind.MIGRATION_STARTED) == []
    assert [d for d in world.store.decisions("chat") if d.kind is DecisionKind.MOVE] == []


async def test_nobody_deploys_or_migrates_what_is_paused_but_it_can_be_taken_down() -> None:
    """The refusal names who holds it and why; the end of the service is not held."""
    world = World()
    await world.up(chat(migration=RULES))
    pause("chat", world.runtime, actor="grace", reason="audit")

    with pytest.raises(Paused, match=r"grace \(audit\)"):
        await world.deploy(chat(2))
    with pytest.raises(Paused, match="grace"):
        await world.migrate("fr")

    world.down()
    await world.until(lambda: not world.replicas())


async def test_a_deploy_that_was_handed_over_just_before_waits_for_the_end_of_the_pause() -> None:
    """Nothing of it begins, losses are made good meanwhile, and then it is done as asked."""
    world = World()
    await world.up(chat(2))
    model = ModelSpec("org/another", served_name="chat")
    operation = await world.deploy(replace(chat(2), model=model))
    pause("chat", world.runtime, actor="ada", reason="")
    serving = {r.name for r in world.ready()}

    await world.run(120)
    assert {r.name for r in world.ready()} == serving
    assert world.operation(operation).state is OperationState.QUEUED

    world.murder(min(serving))
    await world.run(5)
    await world.until(lambda: len(world.ready()) == 2)

    resume("chat", world.runtime, actor="ada", reason="")
    await world.settle()
    assert world.operation(operation).state is OperationState.DONE


async def test_what_is_too_much_is_kept_until_the_pause_is_over() -> None:
    """A rollout to fewer replicas that was under way ends nothing that serves."""
    world = World()
    await world.up(chat(3))
    operation = await world.deploy(chat(1))
    pause(None, world.runtime, actor="ada", reason="")

    await world.run(120)
    assert len(world.ready()) == 3

    resume(None, world.runtime, actor="ada", reason="")
    await world.settle()
    assert len(world.ready()) == 1
    assert world.operation(operation).state is OperationState.DONE
