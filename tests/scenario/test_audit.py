"""Who did what, and why: each action of a service's life is traced back to the person or policy behind it."""

from __future__ import annotations

import pytest

from orchestrator.control.audit import Action, audit_trail
from orchestrator.control.usecases import pause, resume
from orchestrator.domain.records import IntentKind
from orchestrator.errors import UnknownService
from tests.scenario.test_migration import BY_HAND, moving_world
from tests.scenario.world import World, chat


def of(actions: tuple[Action, ...], action: str) -> list[Action]:
    """The actions of one kind."""
    return [a for a in actions if a.action == action]


async def test_every_action_of_a_life_has_an_actor_and_a_cause() -> None:
    """Deployed, moved and taken down by a person; a loss in between made good by the policy."""
    world = World()
    await world.up(chat(2, migration=BY_HAND))
    moved = await world.migrate(next(r for r in ("fr", "de", "pl") if f"sky/{r}" not in world.regions()))
    await world.settle()
    world.murder(world.ready()[0].name)
    await world.run(5)
    await world.settle()
    pause("chat", world.runtime, actor="grace", reason="audit")
    resume("chat", world.runtime, actor="grace", reason="done")
    down = world.down()
    await world.until(lambda: not world.replicas())

    actions = audit_trail(world.runtime, "chat")

    launches = {a.cause.partition(" ")[0]: a for a in of(actions, "launch")}
    assert {a.actor for a in of(actions, "launch")} == {"ada", "policy"}
    assert launches["deploy"].actor == launches["migrate"].actor == "ada"
    assert launches["migrate"].cause == f"migrate {moved.id}"
    assert launches["decision"].actor == "policy"
    assert {a.actor for a in of(actions, "end") if a.cause.startswith("replaced by")} == {"ada"}
    assert {a.actor for a in of(actions, "end") if a.cause == f"down {down.id}"} == {"ada"}
    assert [(a.actor, a.action, a.cause) for a in actions if a.actor == "grace"] == [
        ("grace", "pause", "audit"),
        ("grace", "resume", "done"),
    ]
    assert all(a.actor and a.cause for a in actions if a.action in {"launch", "end"})
    assert list(actions) == sorted(actions, key=lambda a: a.at)


async def test_no_launch_or_end_is_left_out() -> None:
    """As many of each as there are intents, whoever is behind them."""
    world, _ = await moving_world()
    await world.settle()
    await world.run(900, every=5.0)
    await world.settle()
    intents = world.store.intents("chat")

    actions = audit_trail(world.runtime)

    assert sorted(a.ref for a in of(actions, "launch")) == sorted(i.id for i in intents if i.kind is IntentKind.LAUNCH)
    assert sorted(a.ref for a in of(actions, "end")) == sorted(i.id for i in intents if i.kind is IntentKind.TERMINATE)
    assert "policy" in {a.actor for a in of(actions, "end")}


async def test_words_about_everything_are_in_everybodys_trail() -> None:
    """A pause of everything is about each service; a name that is not there is refused."""
    world = World()
    await world.up(chat())
    pause(None, world.runtime, actor="grace", reason="incident")

    assert of(audit_trail(world.runtime, "chat"), "pause") == of(audit_trail(world.runtime), "pause") != []
    with pytest.raises(UnknownService, match="known: chat"):
        audit_trail(world.runtime, "caht")
