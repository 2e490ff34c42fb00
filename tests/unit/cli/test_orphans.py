"""``greenctl doctor --orphans``: what people see, what they can ask for, and what the exit status says."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clocks import VirtualClock
from orchestrator.control.ports import LaunchRequest
from orchestrator.control.reap_requests import submit_acceptance
from orchestrator.control.runtime import Runtime
from orchestrator.domain.orphans import ReapRequest
from orchestrator.domain.service import ModelSpec, ResourceRequest
from orchestrator.domain.time import format_instant
from orchestrator.errors import ProviderError
from orchestrator.telemetry.engine_probe import EngineLoad
from tests.unit.cli.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One service that runs, and its controller."""
    made = World(tmp_path)
    made.deploy()
    return made


def plant(world: World, number: int = 0, **marks: Any) -> str:
    """Let a machine with our mark exist that no record knows."""
    offer = asyncio.run(world.offers.offers(ResourceRequest(), world.clock.now()))[0]
    uid = world.store.deployment_uid()
    name = f"gc-{uid[:8]}-chat-stray{number}"
    given = {"name": name, "deployment_uid": uid, "service": "chat", "intent_id": f"stray{number}"} | marks
    asyncio.run(world.provisioner.launch(LaunchRequest(offer=offer, model=ModelSpec("org/model"), **given)))
    world.probe.serve(world.provisioner.endpoint_of(name), EngineLoad(0, 0, 5, 5))
    return name


def watch(world: World, minutes: int) -> None:
    """Let the controller look once a minute."""

    async def go_on() -> None:
        for _ in range(minutes):
            await world.clock.sleep(60.0)

    asyncio.run(go_on())


def test_a_clean_world_has_none(world: World) -> None:
    """Everything shown is in a record: status 0."""
    result = world.run("doctor", "--orphans")

    assert result.exit_code == 0, result.output
    assert "No orphans: 1 shown, all accounted for." in result.stdout
    assert "complete" in result.stdout


def test_orphans_are_listed_with_what_holds_the_reaper_back(world: World) -> None:
    """Without a controller, too; nothing is changed by looking, and the status is 10."""
    world.run("controller", "stop")
    stray = plant(world)
    before = copy.deepcopy(world.store._state, {id(world.store._state.lock): world.store._state.lock})

    result = world.run("doctor", "--orphans")
    document = world.document("doctor", "--orphans")["orphans"]

    assert result.exit_code == 10
    assert stray in result.stdout
    assert "no: suspected for 0 of 10 min" in result.stdout
    (orphan,) = document["orphans"]
    assert (orphan["name"], orphan["kind"], orphan["reapable"]) == (stray, "stranger", False)
    assert orphan["region"].startswith("local/")
    assert orphan["usd_per_hour"] is None
    assert [v["rule"] for v in orphan["verdicts"]] == ["backup", "listing", "mark", "grace", "serving", "share"]
    (source,) = document["sources"]
    assert (source["name"], source["complete"], source["shown"], source["matched"]) == ("local", True, 2, 1)
    assert world.store._state.events == before.events
    assert world.store.suspects() == []
    assert not [c for c in world.provisioner.calls if c.method == "terminate"]


def test_a_listing_that_fails_is_status_4(world: World) -> None:
    """It is said why, and that nothing is known there; orphans elsewhere do not hide it."""
    world.provisioner.fail_next("inventory", ProviderError("the API is down"))

    result = world.run("doctor", "--orphans")

    assert result.exit_code == 4
    assert "not usable" in result.stdout
    assert "the API is down" in result.stdout
    assert "orphans there would not be seen" in result.stdout


def test_clouds_without_a_listing_of_our_own_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SkyPilot's word is all that we have there; Slurm's queues we read ourselves."""
    settings = world.settings()
    sky = settings.skypilot.model_copy(update={"clouds": ("aws", "gcp", "slurm")})
    monkeypatch.setattr(world, "settings", lambda: settings.model_copy(update={"skypilot": sky}))

    result = world.run("doctor", "--orphans")

    assert "aws, gcp: only SkyPilot's own word" in result.stdout
    assert world.document("doctor", "--orphans")["by_word_only"] == ["aws", "gcp"]


def test_an_orphan_is_reaped_after_a_yes(world: World) -> None:
    """The names are shown before the question; afterwards it is gone and the next look is clean."""
    stray = plant(world)
    watch(world, 17)

    result = world.run("doctor", "--orphans", "--reap", answers=["y"])

    assert result.exit_code == 0, result.output
    assert f"This ends 1: {stray}" in result.stderr
    assert "is being ended" in result.stdout
    watch(world, 2)
    assert stray not in world.provisioner.existing()
    assert world.run("doctor", "--orphans").exit_code == 0


def test_no_is_no(world: World) -> None:
    """Nothing is written; without a terminal nobody can say yes either."""
    stray = plant(world)
    watch(world, 17)

    assert world.run("doctor", "--orphans", "--reap", answers=["n"]).exit_code == 8
    assert world.run("doctor", "--orphans", "--reap").exit_code == 2
    assert world.store.reap_requests(open_only=False) == []
    watch(world, 2)
    assert stray in world.provisioner.existing()


def test_what_is_held_back_is_said(world: World) -> None:
    """Naming one that is too young does not help: status 10 and the reason."""
    stray = plant(world)
    watch(world, 3)

    result = world.run("doctor", "--orphans", "--reap", "--confirm", stray, "--yes")

    assert result.exit_code == 10
    assert "held back" in result.stdout
    assert stray in world.provisioner.existing()


def test_nothing_is_asked_where_nothing_may_be_reaped(world: World) -> None:
    """No question, no request."""
    plant(world)

    result = world.run("doctor", "--orphans", "--reap")

    assert result.exit_code == 10
    assert "Nothing may be reaped now." in result.stdout
    assert world.store.reap_requests(open_only=False) == []


def test_where_there_are_none_there_is_nothing_to_reap(world: World) -> None:
    """Status 0: a script may ask every night."""
    assert world.run("doctor", "--orphans", "--reap", "--yes").exit_code == 0


def test_the_reap_document_has_the_answer(world: World) -> None:
    """One document: the survey, the request, and every brake on every name."""
    stray = plant(world)
    watch(world, 17)

    document = world.document("doctor", "--orphans", "--reap", "--yes")

    (verdict,) = document["reap"]["verdicts"]
    assert verdict["name"] == stray
    assert all(v["passed"] for v in verdict["verdicts"])
    assert document["reap"]["request"]["actor"] == "ada"


def test_a_restored_database_is_told_and_accepted(world: World) -> None:
    """Status 3 where somebody wants to reap; after the word 'restored' it goes on; status says so meanwhile."""
    plant(world, epoch=9)
    watch(world, 17)

    refused = world.run("doctor", "--orphans", "--reap", "--yes")
    assert refused.exit_code == 3
    assert "looks restored from a backup" in refused.stdout
    assert "--accept-restored" in world.run("status").stdout
    assert world.run("doctor", "--orphans", "--accept-restored", answers=["yes"]).exit_code == 8

    accepted = world.run("doctor", "--orphans", "--accept-restored", answers=["restored"])
    assert accepted.exit_code == 10, accepted.output
    assert world.store.restored().accepted_epoch == 9
    assert "--accept-restored" not in world.run("status").stdout
    again = world.run("doctor", "--orphans", "--accept-restored", "--yes")
    assert "Nothing says that this database was set back." in again.stdout


def test_an_acceptance_that_came_too_late_is_not_called_accepted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller was away for too long: status 4, what to do, and the brake stays on."""
    plant(world, epoch=9)
    watch(world, 2)

    def long_ago(runtime: Runtime, *, actor: str, epoch: int) -> ReapRequest:
        early = VirtualClock(runtime.clock.now() - timedelta(hours=2))
        request = submit_acceptance(replace(runtime, clock=early), actor=actor, epoch=epoch)
        world.start_controller()
        return request

    monkeypatch.setattr("orchestrator.cli.orphans.submit_acceptance", long_ago)
    result = world.run("doctor", "--orphans", "--accept-restored", "--yes")

    assert result.exit_code == 4
    assert "Accepted" not in result.output
    assert "does not count" in result.output
    assert world.store.restored().holds


def test_status_mentions_suspects_in_one_line(world: World) -> None:
    """Only when there are any; also as JSON."""
    assert "mark" not in world.run("status").stdout
    stray = plant(world)
    watch(world, 1)

    lines = [line for line in world.run("status").stdout.splitlines() if "our mark" in line]

    assert lines == ["1 instance carries our mark and no record knows it: greenctl doctor --orphans"]
    assert [s["name"] for s in world.document("status")["suspects"]] == [stray]


@pytest.mark.parametrize(
    "words",
    [
        ("--reap",),
        ("--confirm", "gc-1"),
        ("--accept-restored",),
        ("--orphans", "--confirm", "gc-1"),
        ("--orphans", "--reap", "--accept-restored"),
        ("--orphans", "--reap", "--confirm", "gc-nobody", "--yes"),
    ],
    ids=" ".join,
)
def test_words_that_contradict_each_other_are_refused(world: World, words: tuple[str, ...]) -> None:
    """Status 2, and nothing is asked of anybody."""
    assert world.run("doctor", *words).exit_code == 2
    assert world.store.reap_requests(open_only=False) == []


def test_who_does_not_answer_in_time_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 6; the request stays for the controller."""
    plant(world)
    watch(world, 17)

    async def nobody() -> None:
        """Look at nothing."""

    monkeypatch.setattr(world.clock, "while_asleep", nobody)
    result = world.run("doctor", "--orphans", "--reap", "--yes", "--timeout", "5s")

    assert result.exit_code == 6
    assert len(world.store.reap_requests()) == 1
    assert world.clock.elapsed >= timedelta(seconds=5).total_seconds()


def test_two_databases_of_one_deployment_are_noticed(world: World) -> None:
    """What our mark is on, and no intent here is about, did not exist when our turn was an hour old: by name."""
    began = next(e for e in world.store.events()).wall_at
    world.clock.advance(timedelta(hours=2))
    watch(world, 2)
    stray = plant(world)
    watch(world, 3)
    world.controller_since = format_instant(began)

    twin = next(c for c in world.document("doctor")["checks"] if c["name"] == "twin")
    listed = world.run("doctor", "--orphans")

    assert twin["outcome"] == "failed"
    assert stray in twin["found"]
    assert world.store.deployment_uid() in twin["found"]
    assert "controller stop" in twin["hint"]
    assert "Another database acts as this deployment" in listed.stdout
    assert "--accept-restored" not in listed.stdout
    world.controller_since = format_instant(world.clock.wall())
    assert "twin" not in {c["name"] for c in world.document("doctor")["checks"]}


def test_down_says_what_carries_the_name_still(world: World) -> None:
    """Nobody ends a stranger without a word, so "down" must not sound as if nothing ran; again when it is down."""
    world.deploy()
    stray = plant(world)
    watch(world, 2)

    first = world.run("down", "chat", "--yes")
    again = world.run("down", "chat", "--yes")

    assert (first.exit_code, again.exit_code) == (0, 0)
    for result in (first, again):
        told = " ".join(result.stderr.split())
        assert f"{stray} carries its name and is in no record" in told
        assert "greenctl doctor --orphans" in told
    assert "nothing of it is left" not in world.run("history", "chat").stdout


def test_the_brake_says_what_it_holds_and_which_word_ends_it(world: World) -> None:
    """Status and doctor alike; also where no instance shows it, as after a restore."""
    world.deploy()
    world.store.claim("a restore", world.clock.now()).set_restored(seen_epoch=9)

    status, doctor = (" ".join(world.run(word).stdout.split()) for word in ("status", "doctor"))

    for page in (status, doctor):
        assert "The brake is on" in page
        assert "nothing is launched, moved, routed anew or reaped" in page
        assert "greenctl doctor --orphans --accept-restored" in page
    assert "An instance of turn" not in status
