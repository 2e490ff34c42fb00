"""A journal that somebody changed by hand: what serves is kept up, and nothing else is done until a person says so."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.control.audit import audit_trail
from orchestrator.domain.chain import Finding, JournalMarks, Tampering
from orchestrator.domain.records import EventKind
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import Accelerators, ModelSpec, ResourceRequest, Scaling
from orchestrator.errors import JournalEdited
from orchestrator.prices.shapes import ShapeCatalogue
from tests.builders import offer
from tests.scenario.test_migration import moving_world
from tests.scenario.world import RULES, Traffic, World, chat

PRICE = Finding(7, Tampering.EDITED, "intents", "launch-chat-1")


def restart(world: World, *findings: Finding) -> None:
    """Let somebody edit the journal while no controller runs."""
    world.kill()
    world.store.edit_by_hand(*findings)
    world.start()


def accept(world: World) -> None:
    """Look, and go on."""
    digest = world.store.check_journal().digest
    world.store.accept_edits(digest, actor="ada", reason="looked at it", now=world.now)


def told(world: World) -> list[str]:
    return [e.text for e in world.events(EventKind.WARNING) if "not as it was written" in e.text]


async def test_the_controller_notices_at_its_start_and_says_what_it_is() -> None:
    """One warning that names the first row and what to do; a further restart keeps holding."""
    world = World()
    await world.up(chat(2))

    restart(world, PRICE, Finding(9, Tampering.REMOVED, "events", "4"))
    await world.run(5)

    (text,) = told(world)
    assert "intents launch-chat-1 (edited, link 7), and 1 more" in text
    assert "greenctl journal check" in text
    assert world.store.journal_marks().holds


async def test_nothing_moves_until_somebody_accepts_and_then_it_does() -> None:
    """The move that would have begun waits; the word that ends the wait is in the audit trail."""
    world, old = await moving_world()
    restart(world, PRICE)
    await world.run(1800, every=10.0)
    assert [r.name for r in world.ready()] == [old]

    accept(world)
    await world.until(lambda: [r.name for r in world.ready()] != [old])

    (word,) = [a for a in audit_trail(world.runtime) if a.action == "accept journal"]
    assert (word.actor, word.cause) == ("ada", "looked at it")


async def test_what_is_lost_is_replaced_meanwhile() -> None:
    """Keeping up what serves is not voluntary."""
    world = World()
    await world.up(chat(2))
    restart(world, PRICE)
    world.murder(world.ready()[0].name)

    await world.run(5)
    await world.until(lambda: len(world.ready()) == 2)

    assert world.store.journal_marks().holds


async def test_load_that_rises_meanwhile_is_served() -> None:
    """An exchange for a larger one would serve it for less, and waits; what carries the load beside it does not."""
    small, large = (ShapeCatalogue.packaged().accelerated(name, 1, None, None) for name in ("L4", "A100-80GB"))
    world = World(places={})
    world.offers.put(offer("sky/se", usd=1.0, on=small))
    world.offers.put(offer("sky/fr", usd=1.5, on=large))
    world.carbon.hold("SE", 500.0)
    world.carbon.hold("FR", 20.0)
    world.room["sky/fr"] = 0
    wanted = ResourceRequest(accelerators=(Accelerators("L4", 1), Accelerators("A100-80GB", 1)))
    model = ModelSpec("Qwen/Qwen3-8B", served_name="chat")
    await world.up(chat(model=model, resources=wanted, scaling=Scaling(1, 4)))
    (old,) = (r.name for r in world.ready())
    restart(world, PRICE)
    world.room.clear()

    world.traffic["chat"] = Traffic(20.0, seconds=1.0)
    await world.run(120)
    assert [r.name for r in world.ready()] == [old]
    world.traffic["chat"] = Traffic(120.0, seconds=1.0)
    await world.until(lambda: len(world.ready()) == 2)

    assert old in {r.name for r in world.ready()}
    assert world.store.journal_marks().holds


async def test_a_replica_whose_own_row_was_edited_is_not_ended() -> None:
    """Somebody wrote that it drains: its machine is left alone until a person has looked at that."""
    world = World()
    await world.up(chat(2))
    name = world.ready()[0].name
    world.kill()
    world.store.claim("by hand", world.now).move_replica(name, ReplicaState.DRAINING, world.now, "by hand")
    restart(world, Finding(7, Tampering.EDITED, "replicas", name))

    await world.run(900, every=5.0)
    assert name in world.cloud.existing()

    accept(world)
    await world.until(lambda: name not in world.cloud.existing())


async def test_where_rows_of_replicas_are_gone_the_traffic_stays_as_it_is() -> None:
    """As with a database that was set back: nothing is launched beside what may still serve, nothing is routed away."""
    world = World()
    await world.up(chat(2))
    before = world.cloud.existing()
    table = world.gateway.table
    restart(world, Finding(7, Tampering.REMOVED, "replicas", "chat-gone"))
    world.murder(world.ready()[0].name)

    await world.run(300, every=5.0)

    assert world.cloud.existing() <= before
    assert world.gateway.table == table


@pytest.mark.parametrize("act", ["deploy", "migrate"])
async def test_nobody_deploys_or_migrates_on_such_a_journal(act: str) -> None:
    """The refusal says what to do; taking the service down still works."""
    world = World()
    await world.up(chat(migration=RULES))
    restart(world, PRICE)
    await world.run(5)
    acts: dict[str, Any] = {"deploy": lambda: world.deploy(chat(2)), "migrate": lambda: world.migrate("fr")}

    with pytest.raises(JournalEdited, match="not as it was written"):
        await acts[act]()

    world.down()
    await world.until(lambda: not world.cloud.existing())


async def test_an_edit_while_the_controller_runs_is_seen_by_the_next_sweep() -> None:
    """A write met it and put it on record; the sweep reads that mark and looks."""
    world = World()
    await world.up(chat(2))
    assert told(world) == []

    world.store.edit_by_hand(PRICE)
    world.store._state.marks = JournalMarks(noticed=8)
    await world.run(200, every=5.0)

    assert len(told(world)) == 1
