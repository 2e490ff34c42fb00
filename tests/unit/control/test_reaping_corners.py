"""The reaper and the sweep where the world has changed between a word and its deed: what is on record afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.control.apply import Applier
from orchestrator.control.edits import EditWatch
from orchestrator.control.inventory import Listing, sources
from orchestrator.control.reap_requests import submit_acceptance, submit_reap
from orchestrator.control.reaper import Reaper
from orchestrator.control.sweep import Sweeper
from orchestrator.domain.orphans import Sighting, Suspect, SuspectKind, Work
from orchestrator.domain.records import EventKind, IntentState, OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import ProviderError
from orchestrator.planner.orphans import Look
from tests.scenario.world import World, chat, only

STRAY = "gc-01234567-chat-stray"


class Bench:
    """A world with a reaper in its turn, and one stray that is suspected for long enough and serves nobody."""

    def __init__(self) -> None:
        self.world = World()
        self.journal = self.world.store.claim("test", self.world.now)
        self.applier = Applier(self.world.runtime, self.journal)
        self.reaper = Reaper(self.world.runtime, self.journal, self.applier)

    async def plant(self) -> None:
        """Let it exist."""
        await self.world.plant(name=STRAY)

    def sighting(self, *, stopping: bool = False) -> Sighting:
        """What its provider shows."""
        uid = self.journal.deployment_uid()
        return Sighting(STRAY, "sky", deployment_uid=uid, work=Work.IDLE, counters="0", stopping=stopping)

    def suspect(self) -> Suspect:
        """What is known of it."""
        long_ago = self.world.now - timedelta(hours=1)
        return Suspect(
            name=STRAY,
            kind=SuspectKind.STRANGER,
            source="sky",
            service="chat",
            region="sky/se",
            intent_id="",
            epoch=None,
            deployment_uid=self.journal.deployment_uid(),
            first_seen_at=long_ago,
            last_seen_at=self.world.now,
            sightings=9,
            work=Work.IDLE,
            counters="0",
            idle_since=long_ago,
        )

    def listing(self, *shown: Sighting) -> Listing:
        """A complete one."""
        (source,) = sources(self.world.runtime)
        return Listing(source, self.world.now, Look("sky", shown, {}, {}))

    def no_listing(self) -> Listing:
        """One that failed."""
        return replace(self.listing(), seen=None, trouble="the provider's API is down")

    async def act(self, listing: Listing, *suspects: Suspect) -> None:
        """Let the reaper act once."""
        await self.reaper.act([listing], suspects, held=False)

    def states(self) -> Sequence[tuple[IntentState, str]]:
        """How far every end has come."""
        return [(r.state, r.detail) for r in self.world.store.reaps()]

    def told(self) -> Sequence[str]:
        """What the history says about reaping."""
        return [e.text for e in self.world.events(EventKind.REAP)]

    @property
    def asked(self) -> int:
        """How often the provider was asked to end something."""
        return sum(c.method == "terminate" for c in self.world.cloud.calls)


async def asked_for() -> Bench:
    """One whose end was asked for, and to which its provider was deaf."""
    bench = Bench()
    await bench.plant()
    submit_reap(bench.world.runtime, actor="ada", names=[STRAY])
    bench.world.cloud.lie_at_next_terminate()
    await bench.act(bench.listing(bench.sighting()), bench.suspect())
    assert [state for state, _ in bench.states()] == [IntentState.ISSUED]
    assert bench.asked == 1
    return bench


@pytest.mark.parametrize("payload", ["{", "[]", '{"names": 3, "confirmed": [], "accept_epoch": null}', "{}"])
async def test_a_word_that_cannot_be_read_is_closed_and_ends_nothing(payload: str) -> None:
    """Failed, in the history, once; the next look does not find it again."""
    bench = Bench()
    await bench.plant()
    request = submit_reap(bench.world.runtime, actor="ada", names=[STRAY])
    kept = bench.world.store._state.reap_requests
    kept[request.id] = replace(kept[request.id], payload_json=payload)

    bench.reaper.accept()
    await bench.act(bench.listing(bench.sighting()), bench.suspect())

    found = bench.world.store.reap_request(request.id)
    assert found is not None
    assert found.state is OperationState.FAILED
    assert len(bench.told()) == 1
    assert bench.states() == []
    assert STRAY in bench.world.cloud.existing()


async def test_an_acceptance_that_comes_in_the_middle_of_a_sweep_waits_for_the_next() -> None:
    """It is no word about any machine, and nothing is weighed for it."""
    bench = Bench()
    request = submit_acceptance(bench.world.runtime, actor="ada", epoch=3)

    await bench.act(bench.listing())
    waiting = bench.world.store.reap_request(request.id)
    bench.reaper.accept()
    done = bench.world.store.reap_request(request.id)

    assert waiting is not None
    assert done is not None
    assert (waiting.state, done.state) == (OperationState.QUEUED, OperationState.DONE)
    assert bench.world.store.restored().accepted_epoch == 3


async def test_an_acceptance_that_nobody_looked_at_for_an_hour_does_not_count() -> None:
    """No controller ran: what the database lacks by now is not what was shown to who accepted it."""
    bench = Bench()
    bench.journal.set_restored(seen_epoch=3)
    request = submit_acceptance(bench.world.runtime, actor="ada", epoch=3)
    bench.world.clock.advance(timedelta(hours=1))

    bench.reaper.accept()

    found = bench.world.store.reap_request(request.id)
    assert found is not None
    assert found.state is OperationState.FAILED
    assert bench.world.store.restored().holds
    assert bench.told() == ["what ada accepted could not be looked at for too long: it does not count"]
    submit_acceptance(bench.world.runtime, actor="ada", epoch=3)
    bench.reaper.accept()
    assert not bench.world.store.restored().holds


async def test_without_a_listing_an_end_under_way_is_neither_repeated_nor_called_done() -> None:
    """It stays open until a provider can be read again."""
    bench = await asked_for()

    await bench.act(bench.no_listing(), bench.suspect())

    assert [state for state, _ in bench.states()] == [IntentState.ISSUED]
    assert bench.asked == 1


async def test_what_a_record_knows_by_now_is_not_ended_after_all() -> None:
    """It is shown and suspected no longer: the intent is closed as failed, and nobody is asked again."""
    bench = await asked_for()

    await bench.act(bench.listing(bench.sighting()))

    assert bench.states() == [(IntentState.FAILED, "a record knows it by now")]
    assert bench.asked == 1
    assert bench.told()[-1] == f"{STRAY} is not ended after all: a record knows it by now"
    assert STRAY in bench.world.cloud.existing()


async def test_what_is_stopping_is_waited_for() -> None:
    """Its provider has heard; once it is gone the intent is closed."""
    bench = await asked_for()

    await bench.act(bench.listing(bench.sighting(stopping=True)), bench.suspect())
    waiting = bench.states()
    await bench.act(bench.listing())

    assert [state for state, _ in waiting] == [IntentState.ISSUED]
    assert bench.asked == 1
    assert [state for state, _ in bench.states()] == [IntentState.CONFIRMED]


async def test_what_no_longer_answers_once_it_was_asked_is_asked_again() -> None:
    """An engine on its way out is silent; before it was asked, silence protects it."""
    bench = await asked_for()
    silent = replace(bench.suspect(), work=Work.UNKNOWN, idle_since=None)

    await bench.act(bench.listing(replace(bench.sighting(), work=Work.UNKNOWN)), silent)

    assert bench.asked == 2
    assert [state for state, _ in bench.states()] == [IntentState.ISSUED]
    assert bench.world.cloud.existing() == frozenset()


async def test_an_end_that_fails_stays_open_and_each_trouble_is_told_of_once() -> None:
    """The same words at every look are one line; other words are another."""
    bench = await asked_for()
    for words in ("quota", "quota", "no rights"):
        bench.world.cloud.fail_next("terminate", ProviderError(words))
        await bench.act(bench.listing(bench.sighting()), bench.suspect())

    troubles = [t for t in bench.told() if "could not be ended" in t]
    assert len(troubles) == 2
    assert [state for state, _ in bench.states()] == [IntentState.ISSUED]
    assert STRAY in bench.world.cloud.existing()


async def test_an_end_at_a_source_that_is_configured_no_longer_waits_for_whole_listings_and_is_closed() -> None:
    """A listing that failed could show it still; after whole ones without it, nobody goes on for ever."""
    bench = await asked_for()
    kept = bench.world.store._state.reaps
    (reap,) = kept.values()
    kept[reap.id] = replace(reap, source="lambda+runpod")

    await bench.act(bench.no_listing())
    waiting = bench.states()
    await bench.act(bench.listing())

    assert [state for state, _ in waiting] == [IntentState.ISSUED]
    assert bench.states() == [(IntentState.FAILED, "no provider that is configured lists it any more")]
    assert bench.told()[-1].startswith(f"whether {STRAY} is gone cannot be seen")


async def test_suspicions_about_a_provider_that_is_configured_no_longer_are_dropped() -> None:
    """Nobody can look there; those about the others stay."""
    bench = Bench()
    await bench.plant()
    gone = replace(bench.suspect(), name="gc-01234567-old", source="aws")
    bench.journal.set_suspects("aws", [gone])
    edits = EditWatch(bench.journal, bench.applier)

    await Sweeper(bench.world.runtime, bench.journal, bench.applier, edits).sweep(None)

    assert [(s.name, s.source) for s in bench.world.store.suspects()] == [(STRAY, "sky")]


async def test_what_goes_on_outliving_its_record_is_opened_every_time_and_told_of_once() -> None:
    """Each listing that shows it makes its record need attention again."""
    world = World()
    await world.up(chat(placement=only("se")))
    replica = world.the_replica()
    world.kill()
    journal = world.store.claim("test", world.now)
    applier = Applier(world.runtime, journal)
    sweeper = Sweeper(world.runtime, journal, applier, EditWatch(journal, applier))
    journal.move_replica(replica.name, ReplicaState.LOST, world.now)
    for _ in range(2):
        journal.update_replica(replica.name, cleaned_up=True, now=world.now)
        await sweeper.sweep(None)
        assert not world.replica(replica.name).cleaned_up

    told = [e for e in world.events(EventKind.WARNING) if "is still there" in e.text]
    assert len(told) == 1
    assert json.loads(told[0].detail_json) == {}
    assert world.cloud.existing() == {replica.name}
