"""Machines that nobody seems to own: found, told of, and ended only by somebody's word and under every brake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.control.inventory import read_source, sources
from orchestrator.control.orphan_survey import orphan_survey
from orchestrator.control.ports import EngineLoad, Instance
from orchestrator.control.reap_requests import outcome_of, submit_acceptance, submit_reap
from orchestrator.control.runtime import Tuning
from orchestrator.domain.orphans import ReapRequest, ReapVerdict, Restored, SuspectKind
from orchestrator.domain.records import EventKind, IntentState, OperationState
from orchestrator.domain.replica import ENDED, ReplicaState
from orchestrator.domain.service import Policy
from orchestrator.errors import ProviderError
from tests.builders import HOUR
from tests.scenario.crash import Fuse
from tests.scenario.world import PLACES, RULES, Died, Traffic, World, chat, only

MINUTES = 60.0
PATIENCE = 17 * MINUTES
"""Longer than grace and idle time together with the sweeps at both ends."""

BRISK = Tuning(sweep_every=timedelta(seconds=5), orphan_grace=timedelta(seconds=10), orphan_idle=timedelta(seconds=15))

DOWN = ProviderError("the provider's API is down")


class Lister:
    """Stands before a provider: hides some instances from its listings, or shows some more."""

    def __init__(self) -> None:
        self.hidden: set[str] = set()
        self.extra: list[Instance] = []
        self.stripped: set[str] = set()
        self.silence: Exception | None = None
        """What looks at single instances fail with."""

    def wrap(self, port: str, real: Any) -> Any:
        """Stand between the controller and its provider."""
        return _Listed(real, self) if port == "provisioner" else real


class _Listed:
    def __init__(self, real: Any, lister: Lister) -> None:
        self._real, self._lister = real, lister

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def inventory(self, deployment_uid: str) -> Sequence[Instance]:
        found = [i for i in await self._real.inventory(deployment_uid) if i.name not in self._lister.hidden]
        bare = [replace(i, deployment_uid="") if i.name in self._lister.stripped else i for i in found]
        return [*bare, *self._lister.extra]

    async def describe(self, name: str) -> Instance:
        if self._lister.silence is not None:
            raise self._lister.silence
        found: Instance = await self._real.describe(name)
        return found


class Deadly:
    """Kills the controller when it calls one method."""

    def __init__(self, method: str) -> None:
        self.method = method

    def wrap(self, _port: str, real: Any) -> Any:
        """Stand between the controller and every port."""
        return _Deadly(real, self)


class _Deadly:
    def __init__(self, real: Any, deadly: Deadly) -> None:
        self._real, self._deadly = real, deadly

    def __getattr__(self, name: str) -> Any:
        if name == self._deadly.method:
            raise Died(name)
        return getattr(self._real, name)


def ask(world: World, *names: str, confirmed: Sequence[str] = ()) -> ReapRequest:
    """Give the word."""
    return submit_reap(world.runtime, actor="ada", names=names, confirmed=confirmed)


def answer(world: World, request: ReapRequest) -> dict[str, ReapVerdict]:
    """What the brakes said."""
    closed = world.store.reap_request(request.id)
    assert closed is not None
    assert closed.state is OperationState.DONE, closed
    return {v.name: v for v in outcome_of(closed)}


def brake(verdict: ReapVerdict) -> str:
    """The first brake that holds a name."""
    return next(v.rule for v in verdict.verdicts if not v.passed)


def strangers(world: World) -> set[str]:
    """Who is suspected of being nobody's."""
    return {s.name for s in world.store.suspects() if s.kind is SuspectKind.STRANGER}


def ended(world: World) -> list[str]:
    """What providers were asked to end."""
    return [c.subject for c in world.cloud.calls if c.method == "terminate"]


def warnings(world: World, words: str) -> list[str]:
    """What people were told."""
    return [e.text for e in world.events(EventKind.WARNING) if words in e.text]


CHEAP = Policy(name="cheap", max_extra_cost_fraction=None, horizon=timedelta(hours=2))


def small(replicas: int = 1) -> Any:
    """Make a spec whose looks are quick: these stories are not about plans."""
    return chat(replicas, policy=CHEAP, migration=replace(RULES, enabled=False), placement=only("se", "fr"))


async def with_strays(count: int, wait: float = PATIENCE, **marks: Any) -> tuple[World, list[str]]:
    """Have a service that runs, and that many machines that nobody has known for long enough."""
    world = World()
    await world.up(small())
    names = [await world.plant(n, **marks) for n in range(count)]
    await world.run(wait, every=20.0)
    return world, names


# ── strangers and somebody's word ────────────────────────────────────────────────────────────────────


async def test_a_stranger_is_ended_by_somebodys_word() -> None:
    """Grace and idle time are over, somebody asks: its intent is committed, then it is ended, nothing else is."""
    world, (stray,) = await with_strays(1)
    assert strangers(world) == {stray}
    request = ask(world, stray)
    await world.step()

    assert answer(world, request)[stray].allowed
    assert [(r.name, r.state) for r in world.store.reaps()] == [(stray, IntentState.ISSUED)]
    await world.run(70)
    assert [r.state for r in world.store.reaps()] == [IntentState.CONFIRMED]
    assert ended(world) == [stray]
    assert strangers(world) == set()
    world.check_at_rest()


async def test_what_is_weighed_is_written_down_before_anything_is_decided() -> None:
    """The event with every brake on every name stands before the first intent, and survives a kill in between."""
    fuse = Fuse()
    world = World(wrap=fuse.wrap)
    await world.up(chat())
    stray = await world.plant()
    await world.run(PATIENCE, every=20.0)
    ask(world, stray)
    fuse.arm()
    await world.step()
    fuse.disarm()
    assert stray in ended(world)
    events = [json.loads(e.detail_json) for e in world.events(EventKind.REAP)]

    assert [{d["name"]: d["allowed"] for d in e["diff"]} for e in events if "diff" in e] == [{stray: True}]
    rules = [v["rule"] for v in events[0]["diff"][0]["verdicts"]]
    assert rules == ["backup", "listing", "mark", "grace", "serving", "share"]


async def test_nobody_is_ended_without_a_word() -> None:
    """A day of being suspected ends nothing."""
    world, strays = await with_strays(3, wait=24 * 60 * MINUTES / 20)

    assert set(strays) <= world.cloud.existing()
    assert ended(world) == []


@pytest.mark.parametrize(("waited", "rule"), [(0.0, "grace"), (9 * MINUTES, "grace"), (12 * MINUTES, "serving")])
async def test_a_word_that_comes_too_early_is_refused(waited: float, rule: str) -> None:
    """Ten minutes suspected, and fifteen known to serve nobody; the answer says which is missing."""
    world = World()
    await world.up(chat())
    stray = await world.plant()
    await world.run(waited + 1, every=20.0 if waited else 1.0)
    request = ask(world, stray)
    await world.run(2)

    assert brake(answer(world, request)[stray]) == rule
    await world.run(PATIENCE, every=20.0)
    assert ended(world) == []
    assert world.store.reaps() == []


@pytest.mark.parametrize(("waited", "rule"), [(3 * MINUTES, "grace"), (12 * MINUTES, "serving")])
async def test_a_clock_that_is_set_forward_ends_nothing_sooner(waited: float, rule: str) -> None:
    """An hour that nobody waited is no hour of being suspected or idle; what is on record is said by the new clock."""
    world, (stray,) = await with_strays(1, wait=waited)
    world.clock.present += HOUR
    request = ask(world, stray)
    await world.run(61)

    assert brake(answer(world, request)[stray]) == rule
    (suspect,) = world.store.suspects()
    assert waited <= suspect.age(world.now, 1.0).total_seconds() <= waited + 61  # since the first sweep
    await world.run(PATIENCE - waited, every=20.0)
    ask(world, stray)
    await world.run(70)
    assert ended(world) == [stray]


async def test_a_clock_that_is_set_back_holds_no_word_up() -> None:
    """Suspected and idle for long enough, whatever the records' times would be by the new clock."""
    world, (stray,) = await with_strays(1, wait=9 * MINUTES)
    world.clock.present -= HOUR
    await world.run(PATIENCE - 9 * MINUTES, every=20.0)
    ask(world, stray)
    await world.run(70)

    assert ended(world) == [stray]


async def test_what_nobody_looked_at_has_not_waited() -> None:
    """The controller was away for an hour, or its clock is an hour ahead: nobody can tell, so the rest is waited."""
    world, (stray,) = await with_strays(1, wait=3 * MINUTES)
    world.kill()
    await world.run(60 * MINUTES, every=60.0)
    world.start()
    request = ask(world, stray)
    await world.run(2)
    assert brake(answer(world, request)[stray]) == "grace"

    await world.run(PATIENCE - 3 * MINUTES, every=20.0)
    ask(world, stray)
    await world.run(70)
    assert ended(world) == [stray]


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_word_is_not_older_for_a_clock_that_was_set(hours: int) -> None:
    """It waits for a listing while the clock is set: it is somebody's word for an hour, and not for the clock's."""
    world, (stray,) = await with_strays(1)
    for _ in range(70):
        world.cloud.fail_next("inventory", DOWN)
    request = ask(world, stray)
    await world.run(30 * MINUTES, every=20.0)
    world.clock.present += hours * HOUR
    await world.run(20 * MINUTES, every=20.0)
    waiting = world.store.reap_request(request.id)
    assert waiting is not None
    assert waiting.state is OperationState.RUNNING

    await world.run(11 * MINUTES, every=20.0)
    closed = world.store.reap_request(request.id)
    assert closed is not None
    assert closed.state is OperationState.FAILED


async def test_one_word_is_good_once() -> None:
    """What was held back needs a new word, also when nothing holds it any more."""
    world, (stray,) = await with_strays(1, wait=MINUTES)
    ask(world, stray)
    await world.run(PATIENCE, every=20.0)
    assert stray in world.cloud.existing()

    ask(world, stray)
    await world.run(70)
    assert stray not in world.cloud.existing()


async def test_a_name_that_nobody_suspects_is_not_ended() -> None:
    """Our own replicas, and things that do not exist, cannot be reaped by naming them."""
    world, (stray,) = await with_strays(1)
    mine = world.the_replica().name
    request = ask(world, mine, "nobody", confirmed=[mine, "nobody"])
    await world.run(70)

    assert {brake(v) for v in answer(world, request).values()} == {"stranger"}
    assert ended(world) == []
    assert {mine, stray} <= world.cloud.existing()


async def test_an_intent_that_is_known_under_another_name_is_a_stranger_too() -> None:
    """A duplicate of a launch: the record knows one of the two, the other waits for a word."""
    world = World()
    await world.up(chat())
    first = world.cloud.launches[0]
    twin = await world.plant(intent_id=first.intent_id, epoch=first.epoch)
    await world.run(PATIENCE, every=20.0)

    assert strangers(world) == {twin}
    assert not world.store.restored().holds
    ask(world, twin)
    await world.run(70)
    assert ended(world) == [twin]


async def test_each_distinct_provisioner_is_listed_once() -> None:
    """Several providers behind one provisioner are one listing; a stranger there is one suspect."""
    world = World(tuning=BRISK)
    world.runtime = replace(world.runtime, provisioners=dict.fromkeys(("aws", "gcp", "sky"), world.cloud))
    await world.up(small())
    stray = await world.plant()
    world.cloud.calls.clear()
    await world.run(BRISK.sweep_every.total_seconds())

    assert sum(c.method == "inventory" for c in world.cloud.calls) == 1
    assert [(s.name, s.source) for s in world.store.suspects()] == [(stray, "aws+gcp+sky")]


# ── who serves is never ended ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["running", "tokens", "gateway", "mute", "seldom"])
async def test_a_serving_orphan_is_never_ended(how: str) -> None:
    """At work now, a counter that moved in the last quarter of an hour, a request at the gateway, or nobody knows."""
    world = World()
    await world.up(chat())
    stray = await world.plant()
    endpoint = world.cloud._machines[stray].endpoint
    for minute in range(25):
        if how == "mute":
            world.sick.add(stray)
        if how == "tokens" or (how == "seldom" and minute % 12 == 5):
            world.tokens.setdefault(stray, [0, 0])[1] += 1
        if how == "gateway":
            world.gateway.set_counts(stray, in_flight=1)
        if how == "running":
            world.sync_engines()
            world.probe.serve(endpoint, EngineLoad(1, 0, 5, 5))
            world.clock.advance(timedelta(seconds=60))
            assert world.controller is not None
            await world.controller.tick()
        else:
            await world.step(60.0)
    request = ask(world, stray, confirmed=[stray])
    if how == "running":
        world.probe.serve(endpoint, EngineLoad(1, 0, 5, 5))
        assert world.controller is not None
        await world.controller.tick()
    else:
        await world.step(1.0)

    assert brake(answer(world, request)[stray]) == "serving"
    assert ended(world) == []


async def test_an_orphan_that_begins_to_serve_is_spared_at_the_last_moment() -> None:
    """Between the decision and a second try a request came in: the intent is given up and says why."""
    world, (stray,) = await with_strays(1)
    world.cloud.lie_at_next_terminate()
    ask(world, stray)
    await world.step()
    assert ended(world) == [stray]
    world.gateway.set_counts(stray, in_flight=1)
    await world.run(130)

    (reap,) = world.store.reaps()
    assert (reap.state, reap.detail) == (IntentState.FAILED, "it serves now")
    assert ended(world) == [stray]
    assert stray in world.cloud.existing()


# ── whose it is ──────────────────────────────────────────────────────────────────────────────────────


async def test_another_deployments_machine_is_never_touched() -> None:
    """Shared accounts: whatever a listing shows by mistake, another deployment's mark or name is not ours."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat())
    other = "0123456700000000"
    twin = await world.plant(deployment_uid=other)
    named = await world.plant(1, name="gc-99999999-chat-foreign000")
    foreign = await world.cloud.describe(twin)
    lister.extra = [foreign]
    await world.run(PATIENCE, every=20.0)
    request = ask(world, twin, named, confirmed=[twin, named])
    await world.run(70)

    assert {name: brake(v) for name, v in answer(world, request).items()} == {twin: "mark", named: "mark"}
    assert ended(world) == []


async def test_a_mark_that_cannot_be_read_needs_the_name() -> None:
    """Its name alone says that it is ours: only somebody who names it may end it."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat())
    stray = await world.plant()
    lister.stripped.add(stray)
    await world.run(PATIENCE, every=20.0)
    request = ask(world, stray)
    await world.run(2)
    assert brake(answer(world, request)[stray]) == "mark"

    ask(world, stray, confirmed=[stray])
    await world.run(70)
    assert ended(world) == [stray]


# ── the hourly share ─────────────────────────────────────────────────────────────────────────────────


async def test_a_tenth_of_the_fleet_per_hour() -> None:
    """Thirty orphans: three now, none by asking again, and some more an hour later."""
    world, strays = await with_strays(30)
    for _ in range(4):
        ask(world, *strays)
        await world.run(65, every=5.0)
    assert len(set(ended(world))) == 3

    await world.run(60 * MINUTES, every=30.0)
    ask(world, *strays)
    await world.run(65, every=5.0)
    assert len(set(ended(world))) == 5  # of 28 that were left
    assert world.the_replica().name in world.cloud.existing()


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_set_gives_no_new_share(hours: int) -> None:
    """Nor does it keep the old one spent for longer than an hour."""
    world, strays = await with_strays(30)
    ask(world, *strays)
    await world.run(65, every=5.0)
    assert len(set(ended(world))) == 3
    world.clock.present += hours * HOUR
    ask(world, *strays)
    await world.run(65, every=5.0)
    assert len(set(ended(world))) == 3

    await world.run(60 * MINUTES, every=30.0)
    ask(world, *strays)
    await world.run(65, every=5.0)
    assert len(set(ended(world))) == 5


async def test_naming_each_lifts_the_share_and_spends_it() -> None:
    """Five named ones go at once; nobody else goes within the hour."""
    world, strays = await with_strays(30)
    named = strays[10:15]
    request = ask(world, *strays, confirmed=named)
    await world.run(65, every=5.0)

    assert set(ended(world)) == set(named)
    assert {brake(v) for n, v in answer(world, request).items() if n not in named} == {"share"}


# ── listings that cannot be trusted ──────────────────────────────────────────────────────────────────


async def test_a_failed_listing_proves_nothing() -> None:
    """No suspicion grows or goes, nothing is reopened, nothing is ended; it is told of once."""
    world, (stray,) = await with_strays(1, wait=5 * MINUTES)
    before = world.store.suspects()
    for _ in range(100):
        world.cloud.fail_next("inventory", DOWN)
    request = ask(world, stray)
    await world.run(30 * MINUTES, every=20.0)

    assert world.store.suspects() == before
    assert len(warnings(world, "its listing cannot be used")) == 1
    open_one = world.store.reap_request(request.id)
    assert open_one is not None
    assert open_one.state is OperationState.RUNNING
    assert ended(world) == []


async def test_a_word_that_could_not_be_weighed_for_an_hour_is_void() -> None:
    """The provider comes back later: nothing happens by then that nobody remembers."""
    world, (stray,) = await with_strays(1)
    for _ in range(70):
        world.cloud.fail_next("inventory", DOWN)
    request = ask(world, stray)
    await world.run(3 * 60 * MINUTES, every=30.0)

    closed = world.store.reap_request(request.id)
    assert closed is not None
    assert closed.state is OperationState.FAILED
    assert stray in world.cloud.existing()


async def test_a_listing_that_suddenly_lacks_most_is_not_believed() -> None:
    """Two of three replicas are missing in it, although they are there: no suspicion moves, nobody is ended."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat(3))
    stray = await world.plant()
    await world.run(PATIENCE, every=20.0)
    lister.hidden = {r.name for r in world.ready()[:2]}
    request = ask(world, stray)
    await world.run(10 * MINUTES, every=20.0)

    assert ended(world) == []
    assert len(world.ready()) == 3
    open_one = world.store.reap_request(request.id)
    assert open_one is not None
    assert open_one.state is OperationState.RUNNING
    assert len(warnings(world, "lacks 2 of 3 replicas")) == 1

    lister.hidden.clear()
    await world.run(70)
    assert ended(world) == [stray]


async def test_what_a_listing_shows_is_there_whatever_else_it_lacks() -> None:
    """Marks of two replicas were taken off by hand for good, and a create that was given up succeeds after that."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat(3))
    lister.hidden = {r.name for r in world.ready()[:2]}
    world.preempt(world.ready()[2].name)
    world.cloud.delay_next_launch(1500.0)
    await world.run(1400, every=5.0)
    given_up = [r.name for r in world.store.replicas(ended=True) if r.state is ReplicaState.FAILED and r.cleaned_up]
    assert len(given_up) == 1
    assert len(world.ready()) == 3
    await world.run(300, every=5.0)

    assert len(warnings(world, "lacks 2 of")) == 1
    assert len(warnings(world, f"{given_up[0]} had ended and is still there")) == 1
    assert given_up[0] not in world.cloud.existing()
    assert len(world.ready()) == 3


async def test_a_stranger_in_a_doubted_listing_is_told_of_and_waits() -> None:
    """Marks of two of three go at once, so no listing is believed; what it shows counts, and is not ended."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat(3))
    lister.hidden = {r.name for r in world.ready()[:2]}
    stray = await world.plant()
    await world.run(PATIENCE, every=20.0)

    assert len(warnings(world, "lacks 2 of 3 replicas that were there a moment ago: it counts for whom")) == 1
    assert strangers(world) == {stray}
    assert len(warnings(world, f"{stray} carries our mark")) == 1
    assert [s.kind for s in world.store.suspects()] == [SuspectKind.STRANGER]
    survey = await orphan_survey(world.runtime, turn_for=None)
    assert [(o.name, o.reapable) for o in survey.orphans] == [(stray, False)]
    assert not survey.complete

    request = ask(world, stray)
    await world.run(5 * MINUTES, every=20.0)
    open_one = world.store.reap_request(request.id)
    assert open_one is not None
    assert open_one.state is OperationState.RUNNING
    assert ended(world) == []

    lister.hidden.clear()
    await world.run(70)
    assert answer(world, request)[stray].allowed, "it had waited for long enough"
    assert ended(world) == [stray]


async def one_after_the_other(lister: Lister, wait: float = PATIENCE) -> tuple[World, str]:
    """Have three replicas, of which two are hidden from listings one after the other, and a stranger."""
    world = World(wrap=lister.wrap)
    await world.up(chat(3))
    for replica in world.ready()[:2]:
        lister.hidden.add(replica.name)
        await world.run(wait, every=20.0)
    stray = await world.plant()
    await world.run(PATIENCE, every=20.0)
    return world, stray


async def test_who_is_known_to_have_lost_its_mark_is_missed_no_more() -> None:
    """One was missing for long enough and told of, and is found by its name: the listing is believed all the same."""
    lister = Lister()
    world, stray = await one_after_the_other(lister)
    request = ask(world, stray)
    await world.run(70)

    assert not warnings(world, "lacks 2 of 3")
    assert len(warnings(world, "has not listed it for a while")) == 2
    assert answer(world, request)[stray].allowed
    assert ended(world) == [stray]
    assert len(world.ready()) == 3


async def test_who_was_missing_for_a_moment_only_is_missed() -> None:
    """The second one is gone from the listing before the first was in doubt for long: it lacks two of three."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat(3))
    first, second = (r.name for r in world.ready()[:2])
    lister.hidden.add(first)
    await world.run(65, every=20.0)
    lister.hidden.add(second)
    await world.run(3 * MINUTES, every=20.0)

    assert len(warnings(world, "lacks 2 of 3")) == 1


@pytest.mark.parametrize("failure", [DOWN, RuntimeError("a plain mistake")], ids=["no answer", "mistake"])
async def test_a_look_by_name_that_fails_proves_no_lost_mark(failure: Exception) -> None:
    """Nobody can say that they are there: then the listing that lacks them is not believed, and nobody is ended."""
    lister = Lister()
    world, stray = await one_after_the_other(lister)
    journal = world.store.claim("test", world.now)
    (source,) = sources(world.runtime)

    lister.silence = failure
    blind = await read_source(source, world.runtime, journal, world.store.suspects(), None)
    lister.silence = None
    looked = await read_source(source, world.runtime, journal, world.store.suspects(), None)

    assert blind.look is None
    assert "lacks 2 of 3" in blind.trouble
    assert stray in {s.name for s in blind.suspects}
    assert looked.look is not None


async def test_who_is_gone_by_its_name_has_lost_more_than_its_mark() -> None:
    """Then the listing is doubted until the records say so, as after any loss of most."""
    lister = Lister()
    world, _ = await one_after_the_other(lister)
    journal = world.store.claim("test", world.now)
    (source,) = sources(world.runtime)
    for name in lister.hidden:
        world.preempt(name)

    listing = await read_source(source, world.runtime, journal, world.store.suspects(), None)

    assert listing.look is None
    assert "lacks 2 of 3" in listing.trouble


@pytest.mark.parametrize("replicas", [1, 3])
async def test_an_empty_listing_ends_nothing_and_replaces_nothing(replicas: int) -> None:
    """Everything seems gone: asking by name says otherwise, so nothing is bought and nothing is lost."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat(replicas))
    bought = len(world.cloud.launches)
    lister.hidden = set(world.cloud.existing())
    await world.run(20 * MINUTES, every=20.0)

    assert len(world.cloud.launches) == bought
    assert ended(world) == []
    assert len(world.ready()) == replicas


async def test_a_record_that_is_not_shown_is_told_of_and_not_acted_upon() -> None:
    """One of three is missing for longer than the grace: people hear of it once, describe decides."""
    lister = Lister()
    world = World(wrap=lister.wrap)
    await world.up(chat(3))
    missing = world.ready()[0].name
    lister.hidden = {missing}
    await world.run(8 * MINUTES, every=20.0)
    assert not warnings(world, missing)
    await world.run(10 * MINUTES, every=20.0)

    assert len(warnings(world, missing)) == 1
    assert missing in {r.name for r in world.ready()}
    lister.hidden.clear()
    await world.run(70)
    assert world.store.suspects() == []


@pytest.mark.parametrize("lag", [0.0, 5.0, 60.0, 120.0])
async def test_a_lagging_list_makes_nobody_a_stranger(lag: float) -> None:
    """Launches, a move and an end behind a list that is late: nothing of ours is ever suspected or ended twice."""
    world = World()
    world.cloud.listing_lag_seconds = lag
    await world.up(chat(2, startup_deadline=timedelta(minutes=10)))
    await world.migrate("fr")
    await world.settle(limit=900)
    await world.run(10 * MINUTES, every=10.0)

    assert strangers(world) == set()
    assert not warnings(world, "carries our mark")
    world.check_at_rest()


async def test_what_had_ended_and_is_shown_again_goes_back_to_its_record() -> None:
    """It was cleaned up and its machine is there all the same: opened again and ended, without anybody's word."""
    world = World()
    await world.up(chat(placement=only("se")))
    world.cloud.lie_at_next_terminate()
    gone = world.the_replica()
    world.down()
    await world.run(3)
    machine = world.cloud._machines.pop(gone.name)
    await world.settle()
    assert world.replica(gone.name).cleaned_up
    machine.gone_at = None
    world.cloud._machines[gone.name] = machine
    await world.run(130)

    assert world.cloud.existing() == frozenset()
    assert strangers(world) == set()
    assert world.replica(gone.name).cleaned_up


# ── deletes ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lies", [1, 3])
async def test_a_delete_that_lies_is_asked_again(lies: int) -> None:
    """The intent stays open until a complete listing no longer shows it; the share is spent once."""
    world, (stray,) = await with_strays(1)
    for _ in range(lies):
        world.cloud.lie_at_next_terminate()
    ask(world, stray)
    await world.run(lies * 60 + 130)

    assert ended(world) == [stray] * (lies + 1)
    assert [r.state for r in world.store.reaps()] == [IntentState.CONFIRMED]
    assert stray not in world.cloud.existing()


async def test_a_delete_that_fails_is_asked_again_and_told_of_once() -> None:
    """The provider refuses for a while."""
    world, (stray,) = await with_strays(1)
    for _ in range(3):
        world.cloud.fail_next("terminate", DOWN)
    ask(world, stray)
    await world.run(260)

    assert stray not in world.cloud.existing()
    assert len([e for e in world.events(EventKind.REAP) if "could not be ended" in e.text]) == 1


# ── a database that was set back ─────────────────────────────────────────────────────────────────────


async def set_back(days: float = 0.0) -> tuple[World, str]:
    """Have a world whose replica has moved since the backup that its database was restored from."""
    world = World()
    await world.up(chat())
    backup = world.backup()
    if days:
        await world.run(days * 86400 / 3600, every=3600.0 if days > 1 else 60.0)
    world.kill()
    world.start()
    await world.migrate("fr")
    await world.settle()
    moved = world.the_replica().name
    world.restore(backup)
    return world, moved


async def test_a_restored_database_stops_everything() -> None:
    """The moved replica is in no record: nothing is launched, routed anew or ended, until somebody accepts it."""
    world, moved = await set_back()
    table, bought = world.gateway.table, len(world.cloud.launches)
    world.traffic["chat"] = Traffic(per_second=1.0, seconds=2.0)
    world.start()
    await world.run(30 * MINUTES, every=20.0, check=False)
    ask(world, moved, confirmed=[moved])
    await world.run(70, check=False)

    assert len(world.cloud.launches) == bought
    assert world.gateway.table == table
    assert world.refused == 0
    assert ended(world)[-1:] != [moved]
    assert moved in world.cloud.existing()
    assert len(warnings(world, "looks restored from a backup")) == 1
    assert world.store.restored().holds


async def test_restarts_do_not_make_it_forget() -> None:
    """Every start takes a turn, and so would soon have outnumbered the sign: what was seen once is kept."""
    world, moved = await set_back()
    bought = len(world.cloud.launches)
    for _ in range(5):
        world.start()
        await world.run(5, check=False)
        world.kill()

    world.start()
    await world.run(130, check=False)
    assert len(world.cloud.launches) == bought
    assert moved in world.cloud.existing()
    assert len(warnings(world, "looks restored from a backup")) == 1


async def test_an_accepted_backup_goes_on() -> None:
    """The service is kept up again from what the database knows; the stranger stays until it is reaped by word."""
    world, moved = await set_back()
    world.start()
    await world.run(130, check=False)
    seen = world.store.restored().seen_epoch
    submit_acceptance(world.runtime, actor="ada", epoch=seen - 1)
    await world.run(70, check=False)
    assert world.store.restored().holds

    submit_acceptance(world.runtime, actor="ada", epoch=seen)
    await world.settle()
    assert not world.store.restored().holds
    assert moved in world.cloud.existing()
    assert {r.name for r in world.ready()} == set(world.routed("chat"))

    await world.run(PATIENCE, every=20.0)
    ask(world, moved)
    await world.run(70)
    assert moved not in world.cloud.existing()
    world.check_at_rest()


async def test_an_instance_of_a_turn_that_never_was_stops_everything() -> None:
    """Whatever its intent: the database has not given out that turn."""
    world = World()
    await world.up(chat())
    await world.plant(epoch=7)
    await world.run(70)
    world.preempt(world.the_replica().name)
    await world.run(5 * MINUTES, every=5.0)

    assert world.store.restored().seen_epoch == 7
    assert world.ready() == []
    submit_acceptance(world.runtime, actor="ada", epoch=7)
    await world.settle()
    assert len(world.ready()) == 1


async def test_a_stranger_of_a_long_gone_turn_is_a_sign_as_well() -> None:
    """Its intent was committed before its launch, so rows are missing, however many turns have begun and ended since.

    Once somebody has accepted it, it is suspected like any other, and the service is kept up as always.
    """
    world = World()
    await world.up(chat())
    for _ in range(3):
        world.kill()
        world.start()
    stray = await world.plant(epoch=1)
    await world.run(70)

    assert world.store.restored().holds
    submit_acceptance(world.runtime, actor="ada", epoch=1)
    await world.run(70)
    world.preempt(world.the_replica().name)
    await world.settle()
    assert not world.store.restored().holds
    assert strangers(world) == {stray}


async def test_a_turn_that_ended_before_it_looked_takes_no_sign_away() -> None:
    """Rows are lost in one turn, the next one is killed before its first sweep, and the third one sees it."""
    world = World()
    await world.up(chat())
    stray = await world.plant(epoch=world.store.newest_epoch())
    world.kill()
    world.start()
    world.kill()
    world.start()
    await world.run(70)

    assert world.store.restored() == Restored(seen_epoch=1)
    assert strangers(world) == {stray}


# ── crashes ──────────────────────────────────────────────────────────────────────────────────────────


async def reaping(kills_at: int | None) -> tuple[World, Fuse, str, str]:
    """Ask for one of two orphans, kill the controller at that call, and start another one."""
    fuse = Fuse()
    world = World(wrap=fuse.wrap, tuning=BRISK)
    for zone in PLACES:
        world.grid(zone.upper(), lambda _: 30.0, days=1, history_hours=26)
    await world.up(small())
    asked, other = await world.plant(0), await world.plant(1)
    await world.run(30)
    ask(world, asked)
    fuse.arm(kills_at)
    await world.run(15)
    fuse.disarm()
    if world.controller is None:
        world.start()
    await world.run(30)
    return world, fuse, asked, other


async def test_a_reap_that_is_interrupted_anywhere_is_finished() -> None:
    """At every call: in the end exactly what was asked for is gone, by one intent, and nothing else."""
    _, fuse, _, _ = await reaping(None)
    points, done = fuse.count, 0
    for point in range(1, points + 1):
        world, fuse, asked, other = await reaping(point)
        done += bool(fuse.where)
        where = f"killed at {point}: {fuse.where}"
        assert asked not in world.cloud.existing(), where
        assert other in world.cloud.existing(), where
        assert {r.name for r in world.store.reaps()} == {asked}, where
        assert len(world.store.reaps()) == 1, where
        assert world.store.reap_requests() == [], where
        assert set(ended(world)) == {asked}, where
        assert all(r.state not in ENDED for r in world.replicas()), where
    assert done > 30


@pytest.mark.parametrize("dies_at", ["set_reap", "terminate"])
async def test_an_intent_of_an_earlier_controller_is_weighed_again(dies_at: str) -> None:
    """It was committed, the controller was away for an hour, and meanwhile the orphan served: it is spared."""
    deadly = Deadly(dies_at)
    world = World(wrap=deadly.wrap)
    await world.up(chat())
    stray = await world.plant()
    await world.run(PATIENCE, every=20.0)
    ask(world, stray)
    await world.step()
    assert world.controller is None
    assert [r.name for r in world.store.reaps(open_only=True)] == [stray]

    deadly.method = ""
    world.tokens.setdefault(stray, [0, 0])[1] += 1
    await world.run(60 * MINUTES, every=60.0)
    world.start()
    await world.run(130)

    assert [r.state for r in world.store.reaps()] == [IntentState.FAILED]
    assert ended(world) == []
    assert stray in world.cloud.existing()


async def test_a_controller_that_lost_its_turn_ends_nothing() -> None:
    """It slept through the decision of another: its next write is refused before any provider is asked."""
    world, (stray,) = await with_strays(1)
    asleep = world.kill()
    world.start()
    await world.run(5)
    ask(world, stray)
    assert asleep is not None
    with pytest.raises(Exception, match="epoch"):
        await asleep.tick()
    assert ended(world) == []
    assert world.replica(world.the_replica().name).state is ReplicaState.READY


# ── providers that are added and left out ────────────────────────────────────────────────────────────


async def half_ended() -> tuple[World, str]:
    """One whose end its provider refused, and no controller."""
    world, (stray,) = await with_strays(1)
    real = world.cloud.terminate

    async def terminate(_name: str, _grace: timedelta) -> None:
        raise DOWN

    world.cloud.terminate = terminate  # type: ignore[method-assign]
    ask(world, stray)
    await world.run(70)
    assert [r.state for r in world.store.reaps()] == [IntentState.ISSUED]
    world.cloud.terminate = real  # type: ignore[method-assign]
    world.kill()
    return world, stray


async def test_an_end_goes_on_when_its_provisioner_serves_one_provider_more() -> None:
    """Its source is called otherwise: it is the same one, and what is known of the suspect goes on there."""
    world, stray = await half_ended()
    world.runtime = replace(world.runtime, provisioners={"aws": world.cloud, "sky": world.cloud})
    world.start()
    await world.run(130)

    assert stray not in world.cloud.existing()
    assert [r.state for r in world.store.reaps()] == [IntentState.CONFIRMED]
    assert list(world.store.suspects()) == []


async def test_an_end_goes_on_when_its_provisioner_serves_one_provider_less() -> None:
    """Who shows it today is whom to ask; once nobody does, its end is not left open for ever."""
    world, (stray,) = await with_strays(1)
    world.kill()
    world.runtime = replace(world.runtime, provisioners={"aws": world.cloud, "sky": world.cloud})
    world.start()
    await world.run(70)
    world.cloud.lie_at_next_terminate()
    ask(world, stray)
    await world.run(2)
    assert [r.source for r in world.store.reaps(open_only=True)] == ["aws+sky"]
    world.kill()
    world.runtime = replace(world.runtime, provisioners={"sky": world.cloud})
    world.start()
    await world.run(130)

    assert stray not in world.cloud.existing()
    assert list(world.store.reaps(open_only=True)) == []
    assert list(world.store.suspects()) == []


async def test_who_asks_again_hears_that_the_end_is_under_way() -> None:
    """The second answer names it and buys no second intent."""
    world, (stray,) = await with_strays(1)
    world.cloud.lie_at_next_terminate()
    ask(world, stray)
    await world.step()
    again = ask(world, stray, confirmed=[stray])
    await world.step()

    verdict = answer(world, again)[stray]
    assert verdict.allowed
    assert [v.text for v in verdict.verdicts] == ["its end is already under way"]
    assert len(world.store.reaps()) == 1
    told = [e.text for e in world.events(EventKind.REAP) if "already under way" in e.text]
    assert told == ["ada asked to reap 1: 0 will be ended, 0 held back, 1 already under way"]
