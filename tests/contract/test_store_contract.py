"""What every store promises: the one in memory, SQLite, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from orchestrator.clocks import SystemClock
from orchestrator.control.ports import Journal, Records, Store
from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.records import (
    EventKind,
    IntentKind,
    IntentState,
    OperationKind,
    OperationState,
    Pause,
    ServiceState,
)
from orchestrator.domain.replica import ENDED, NEXT_STATES, ReplicaState
from orchestrator.domain.service import ModelSpec
from orchestrator.domain.time import Window, floor_day
from orchestrator.errors import Conflict, LeaseHeld, UnknownService
from orchestrator.ledger.hourly import hourly
from orchestrator.store.codec import spec_digest
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
from tests.postgres import postgres_server  # noqa: F401  # a fixture
from tests.store_samples import (
    NOW,
    READINGS,
    SERVICE,
    a_decision,
    a_launch,
    a_reading,
    a_reap,
    a_request,
    a_sample,
    a_spec,
    a_suspect,
    an_intent,
    an_operation,
    later,
)

S = ReplicaState

PATHS: dict[ReplicaState, tuple[ReplicaState, ...]] = {
    S.PENDING: (),
    S.PROVISIONING: (S.PROVISIONING,),
    S.STARTING: (S.PROVISIONING, S.STARTING),
    S.READY: (S.PROVISIONING, S.STARTING, S.READY),
    S.DRAINING: (S.DRAINING,),
    S.TERMINATED: (S.DRAINING, S.TERMINATED),
    S.FAILED: (S.FAILED,),
    S.LOST: (S.PROVISIONING, S.LOST),
}
"""One way to each state."""


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore | SqlStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").new_database()
    with SqlStore.open(url) as opened:
        yield opened


@pytest.fixture
def journal(store: Store) -> Journal:
    """The turn of a controller that found one service, deployed and settled."""
    store.submit_deploy(a_spec(), an_operation())
    mine = store.claim("first", NOW)
    mine.set_operation("op-1", OperationState.DONE, later(1))
    return mine


def walk(journal: Journal, name: str, to: ReplicaState) -> None:
    """Start a replica and bring it to a state."""
    journal.start_replica(*a_launch(name))
    for state in PATHS[to]:
        journal.move_replica(name, state, later(1))


# ── this installation ────────────────────────────────────────────────────────────────────────────────


def test_the_stores_are_stores(store: MemoryStore | SqlStore) -> None:
    """The type checker agrees that each store fulfils the port, whole."""
    port: Store = store
    records: Records = port.claim("someone", NOW)
    assert records.services() == []


def test_an_installation_keeps_its_id(store: Store) -> None:
    """The id is made once and holds for the store and for each journal."""
    uid = store.deployment_uid()

    assert uid
    assert store.deployment_uid() == uid
    assert store.claim("someone", NOW).deployment_uid() == uid


def test_an_empty_store_knows_nothing(store: Store) -> None:
    """Reading before anything was written finds nothing and fails nowhere."""
    assert not store.services()
    assert store.service(SERVICE) is None
    assert not store.replicas()
    assert not store.operations(open_only=False)
    assert store.operation("op-1") is None
    assert not store.decisions(SERVICE)
    assert store.decision("d-1") is None
    assert not store.placements(SERVICE)
    assert not store.intents()
    assert not store.events()
    assert not store.energy(SERVICE)


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_deploy_is_remembered_whole(store: Store) -> None:
    """Spec, digest, stamps and request come back as they went in."""
    spec = a_spec(labels=(("team", "ƒ"),), startup_deadline=timedelta(microseconds=1))
    operation = an_operation(payload_json='{"digest": "abc"}')

    assert store.submit_deploy(spec, operation) == 1

    record = store.service(SERVICE)
    assert record is not None
    assert record.spec == spec
    assert (record.spec_digest, record.revision) == (spec_digest(spec), 1)
    assert (record.state, record.paused) == (ServiceState.ACTIVE, False)
    assert (record.created_at, record.updated_at) == (NOW, NOW)
    assert list(store.services()) == [record]
    assert store.operation("op-1") == operation
    assert list(store.operations()) == [operation]


def test_engine_arguments_keep_their_types(store: Store) -> None:
    """``1``, ``1.0``, ``true`` and ``"1"`` are four different arguments, and stay so."""
    args = (("a", 1), ("b", 1.0), ("c", True), ("d", "1"), ("e", None), ("f", 0.1 + 0.2))
    store.submit_deploy(a_spec(model=ModelSpec("m", args=args)), an_operation())

    record = store.service(SERVICE)

    assert record is not None
    assert [(k, type(v), v) for k, v in record.spec.model.args] == [(k, type(v), v) for k, v in args]


def test_services_are_listed_by_name(store: Store) -> None:
    """By code point, whatever language the database speaks."""
    for number, name in enumerate(["b", "a", "B", "a-b", "aa", "é"]):
        store.submit_deploy(a_spec(name), an_operation(f"op-{number}", name))

    assert [s.name for s in store.services()] == ["B", "a", "a-b", "aa", "b", "é"]


def test_a_second_deploy_makes_a_new_revision_of_the_same_service(store: Store, journal: Journal) -> None:
    """What was there stays: birth, pause. What went down comes up again."""
    store.set_paused(SERVICE, paused=True, now=later(2))
    journal.set_service_state(SERVICE, ServiceState.DOWN, later(3))
    spec = a_spec(functional_unit_tokens=1)

    assert store.submit_deploy(spec, an_operation("op-2", created_at=later(4), updated_at=later(4))) == 2

    record = store.service(SERVICE)
    assert record is not None
    assert (record.spec, record.revision) == (spec, 2)
    assert (record.state, record.paused) == (ServiceState.ACTIVE, True)
    assert (record.created_at, record.updated_at) == (NOW, later(4))


def test_one_open_request_per_service(store: Store) -> None:
    """While one is open a second is a conflict that names it and leaves no trace."""
    store.submit_deploy(a_spec(), an_operation())
    before = store.service(SERVICE)

    with pytest.raises(Conflict, match="op-1"):
        store.submit_deploy(a_spec(functional_unit_tokens=1), an_operation("op-2"))
    with pytest.raises(Conflict, match="op-1"):
        store.submit(an_operation("op-3", kind=OperationKind.MIGRATE))

    assert store.service(SERVICE) == before
    assert [o.id for o in store.operations(open_only=False)] == ["op-1"]


def test_a_running_request_is_still_open(store: Store) -> None:
    """Taking a request up does not let the next one in; ending it does."""
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("controller", NOW)
    journal.set_operation("op-1", OperationState.RUNNING, later(1))
    move = an_operation("op-2", kind=OperationKind.MIGRATE)

    with pytest.raises(Conflict, match="running"):
        store.submit(move)
    journal.set_operation("op-1", OperationState.FAILED, later(2), error_code="no_capacity", error="sold out")
    store.submit(move)

    assert list(store.operations()) == [move]
    failed = store.operation("op-1")
    assert failed is not None
    assert (failed.state, failed.error_code, failed.error) == (OperationState.FAILED, "no_capacity", "sold out")
    assert (failed.created_at, failed.updated_at) == (NOW, later(2))


def test_taking_down_does_not_wait_for_a_deploy(store: Store) -> None:
    """A take-down closes what else is open as superseded, in the same transaction; a second one is a conflict."""
    store.submit_deploy(a_spec(), an_operation())
    store.submit(an_operation("op-2", kind=OperationKind.DOWN))

    first, second = store.operations(open_only=False)
    assert (first.state, first.error_code) == (OperationState.FAILED, "superseded")
    assert (second.id, second.state) == ("op-2", OperationState.QUEUED)
    with pytest.raises(Conflict, match="op-2"):
        store.submit(an_operation("op-3", kind=OperationKind.DOWN))


def test_services_do_not_block_one_another(store: Store) -> None:
    """Only the same service conflicts."""
    store.submit_deploy(a_spec("a"), an_operation("op-1", "a"))
    store.submit_deploy(a_spec("b"), an_operation("op-2", "b"))

    assert [o.id for o in store.operations()] == ["op-1", "op-2"]
    assert [o.id for o in store.operations("b")] == ["op-2"]


def test_submitting_the_same_request_again_changes_nothing(store: Store, journal: Journal) -> None:
    """A command line that lost the answer may ask again: before and after the request was carried out."""
    migrate = an_operation("op-2", kind=OperationKind.MIGRATE)
    store.submit(migrate)
    store.submit(migrate)
    journal.set_operation("op-2", OperationState.DONE, later(2))
    store.submit(migrate)

    assert store.submit_deploy(a_spec(functional_unit_tokens=1), an_operation()) == 1
    assert not store.operations()
    record = store.service(SERVICE)
    assert record is not None
    assert record.revision == 1


def test_an_id_means_one_request(store: Store, journal: Journal) -> None:
    """The id of another kind of request, or of another service, cannot be used again; the attempt leaves nothing."""
    store.submit(an_operation("op-2", kind=OperationKind.MIGRATE))
    journal.set_operation("op-2", OperationState.DONE, later(2))

    with pytest.raises(ValueError, match="op-2"):
        store.submit_deploy(a_spec(functional_unit_tokens=1), an_operation("op-2"))
    with pytest.raises(ValueError, match="op-1"):
        store.submit_deploy(a_spec("other"), an_operation("op-1", "other"))
    store.submit_deploy(a_spec("third"), an_operation("op-3", "third"))
    with pytest.raises(ValueError, match="op-1"):
        store.submit(an_operation("op-1", "third"))

    assert [(s.name, s.revision) for s in store.services()] == [(SERVICE, 1), ("third", 1)]


def test_requests_for_unknown_services_are_refused(store: Store) -> None:
    """Nothing can be asked of a service that was never deployed."""
    with pytest.raises(UnknownService, match="chat"):
        store.submit(an_operation(kind=OperationKind.DOWN))
    with pytest.raises(UnknownService, match="chat"):
        store.set_paused(SERVICE, paused=True, now=NOW)

    assert not store.operations(open_only=False)


def test_a_deploy_is_about_its_own_service(store: Store) -> None:
    """A spec and an operation that name two services are a mistake."""
    with pytest.raises(ValueError, match="other"):
        store.submit_deploy(a_spec("other"), an_operation())

    assert not store.services()


def test_a_server_has_a_clock_of_its_own(store: Store) -> None:
    """A file and a memory have none but ours; a server's is UTC, and here it is this machine's, too."""
    theirs = store.database_time()

    assert theirs is None or abs(theirs - SystemClock().wall()) < timedelta(minutes=1)


def test_who_paused_what_and_why_is_on_record(store: Store, journal: Journal) -> None:
    """The first word counts while it holds; every word that changed something is kept, in order."""
    assert store.set_paused(SERVICE, paused=True, now=later(5), actor="ada", reason="incident 42")
    assert not store.set_paused(SERVICE, paused=True, now=later(6), actor="grace", reason="me too")

    assert journal.pauses() == [Pause(SERVICE, True, "ada", "incident 42", later(5))]

    assert store.set_paused(SERVICE, paused=False, now=later(7), actor="grace")
    assert not store.set_paused(SERVICE, paused=False, now=later(8), actor="ada")
    assert store.pauses() == []
    assert [(p.paused, p.actor) for p in store.pauses(in_force=False)] == [(True, "ada"), (False, "grace")]


def test_everything_can_be_paused_at_once(store: Store, journal: Journal) -> None:
    """Every service then reads as paused, also a later one; its own word is not touched by either."""
    store.set_paused(SERVICE, paused=True, now=later(5), actor="ada")
    assert store.set_paused(None, paused=True, now=later(6), actor="grace", reason="all")
    assert not store.set_paused(None, paused=True, now=later(7))
    store.submit_deploy(a_spec("later"), an_operation("op-later", "later"))

    assert [(s.name, s.paused) for s in journal.services()] == [(SERVICE, True), ("later", True)]
    assert [p.service for p in store.pauses()] == ["", SERVICE]

    assert store.set_paused(None, paused=False, now=later(8))
    assert [(s.name, s.paused) for s in store.services()] == [(SERVICE, True), ("later", False)]
    assert [p.service for p in store.pauses()] == [SERVICE]


def test_pausing_is_remembered(store: Store, journal: Journal) -> None:
    """On, off, and when."""
    store.set_paused(SERVICE, paused=True, now=later(5))
    record = journal.service(SERVICE)
    assert record is not None
    assert (record.paused, record.updated_at) == (True, later(5))

    store.set_paused(SERVICE, paused=False, now=later(6))
    record = journal.service(SERVICE)
    assert record is not None
    assert not record.paused


def test_racing_requests_have_one_winner(store: Store) -> None:
    """Of several threads that ask at once for one service, one gets through and the others are told why not."""
    barrier = Barrier(4)

    def ask(number: int) -> str:
        barrier.wait()
        try:
            store.submit_deploy(a_spec(functional_unit_tokens=number + 1), an_operation(f"op-{number}"))
        except Conflict:
            return "conflict"
        return "won"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(ask, range(4)))

    assert outcomes == ["conflict", "conflict", "conflict", "won"]
    record = store.service(SERVICE)
    assert record is not None
    assert record.revision == 1
    assert len(store.operations(open_only=False)) == 1


# ── replicas ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_launch_is_committed_with_its_intent_and_placement(store: Store, journal: Journal) -> None:
    """All three are there, whole, before anything is bought."""
    replica, intent, placement = a_launch(replaces="chat-0", weight_since=NOW)

    journal.start_replica(replica, intent, placement)

    assert list(store.replicas()) == [replica]
    assert list(store.intents()) == [intent]
    assert list(store.placements(SERVICE)) == [placement]


def test_a_launch_is_committed_once(store: Store, journal: Journal) -> None:
    """The same name again changes nothing, however far the replica has come."""
    journal.start_replica(*a_launch())
    moved = journal.move_replica("chat-1", S.PROVISIONING, later(1))

    again = a_launch(region="elsewhere")
    journal.start_replica(*again)

    assert list(store.replicas()) == [moved]
    assert len(store.intents()) == len(store.placements(SERVICE)) == 1


def test_a_launch_that_cannot_be_committed_leaves_nothing(store: Store, journal: Journal) -> None:
    """Wrong beginnings, mixed-up names, a foreign intent id, an unknown service: refused as a whole."""
    journal.start_replica(*a_launch())
    replica, intent, placement = a_launch("chat-2")

    with pytest.raises(ValueError, match="pending"):
        journal.start_replica(replace(replica, state=S.READY), intent, placement)
    with pytest.raises(ValueError, match="planned"):
        journal.start_replica(replica, replace(intent, state=IntentState.ISSUED), placement)
    with pytest.raises(ValueError, match="different things"):
        journal.start_replica(replica, intent, replace(placement, replica="chat-1"))
    with pytest.raises(ValueError, match="different services"):
        journal.start_replica(replica, intent, replace(placement, service="other"))
    with pytest.raises(ValueError, match="percent"):
        journal.start_replica(replace(replica, weight_percent=101), intent, placement)
    taken = replace(replica, intent_id="launch-chat-1")
    with pytest.raises(ValueError, match="another replica"):
        journal.start_replica(taken, replace(intent, id="launch-chat-1"), placement)
    with pytest.raises(UnknownService):
        journal.start_replica(*a_launch("chat-3", service="other"))

    assert [r.name for r in store.replicas(ended=True)] == ["chat-1"]
    assert len(store.intents()) == len(store.placements(SERVICE)) == 1


def test_only_the_drawn_arrows_can_be_gone(store: Store, journal: Journal) -> None:
    """Each pair of states is allowed or refused as ``NEXT_STATES`` says, and a refusal changes nothing."""
    for number, (old, new) in enumerate((a, b) for a in S for b in S):
        name = f"r{number}"
        walk(journal, name, old)
        if new in NEXT_STATES[old]:
            assert journal.move_replica(name, new, later(2)).state is new
        else:
            with pytest.raises(ValueError, match=f"{old} to {new}"):
                journal.move_replica(name, new, later(2))
            unmoved = next(r for r in store.replicas(ended=True) if r.name == name)
            assert unmoved.state is old
            assert unmoved.state_since < later(2)


def test_moving_stamps_what_the_state_means(store: Store, journal: Journal) -> None:
    """Since when, ready at, ended at, why; and the placement ends with the replica."""
    journal.start_replica(*a_launch())
    journal.move_replica("chat-1", S.PROVISIONING, later(1), "asked for")
    journal.move_replica("chat-1", S.STARTING, later(2))
    ready = journal.move_replica("chat-1", S.READY, later(3))
    assert (ready.state_since, ready.ready_at, ready.ended_at) == (later(3), later(3), None)
    assert ready.reason == "asked for"
    assert store.placements(SERVICE)[0].ended_at is None

    journal.move_replica("chat-1", S.DRAINING, later(4), "moved to se")
    ended = journal.move_replica("chat-1", S.TERMINATED, later(5))

    assert list(store.replicas()) == [ended]
    assert (ended.state_since, ended.ready_at, ended.ended_at) == (later(5), later(3), later(5))
    assert ended.reason == "moved to se"
    placement = store.placements(SERVICE)[0]
    assert (placement.ended_at, placement.end_reason) == (later(5), "terminated")


@pytest.mark.parametrize("state", sorted(ENDED))
def test_every_end_ends_the_placement(store: Store, journal: Journal, state: ReplicaState) -> None:
    """Terminated, failed or lost: from then on nothing stands there."""
    journal.start_replica(*a_launch())
    for step in PATHS[state][:-1]:
        journal.move_replica("chat-1", step, later(1))

    journal.move_replica("chat-1", state, later(2), "the provider said so")

    placement = store.placements(SERVICE)[0]
    assert (placement.ended_at, placement.end_reason) == (later(2), "the provider said so")


def test_updates_change_what_is_given(store: Store, journal: Journal) -> None:
    """Endpoint, weight and clean-up each by itself; the weight's stamp moves only with the weight."""
    journal.start_replica(*a_launch())

    assert journal.update_replica("chat-1", now=later(1)) == store.replicas()[0]
    first = journal.update_replica("chat-1", endpoint="http://127.0.0.1:1", now=later(1))
    assert (first.endpoint, first.weight_percent, first.weight_since) == ("http://127.0.0.1:1", 0, None)
    second = journal.update_replica("chat-1", weight_percent=10, now=later(2))
    assert second == replace(first, weight_percent=10, weight_since=later(2))
    assert journal.update_replica("chat-1", weight_percent=10, now=later(3)) == second
    third = journal.update_replica("chat-1", weight_percent=0, cleaned_up=False, now=later(4))
    assert third == replace(second, weight_percent=0, weight_since=later(4))
    assert list(store.replicas()) == [third]


@pytest.mark.parametrize("percent", [-1, 101])
def test_weights_are_percentages(store: Store, journal: Journal, percent: int) -> None:
    """Nothing weighs less than nothing or more than a full replica."""
    journal.start_replica(*a_launch())

    with pytest.raises(ValueError, match="percent"):
        journal.update_replica("chat-1", weight_percent=percent, now=NOW)

    assert store.replicas()[0].weight_percent == 0


def test_ended_replicas_are_listed_until_they_are_cleaned_up(store: Store, journal: Journal) -> None:
    """What may still cost money stays in sight; history is kept apart."""
    walk(journal, "alive", S.READY)
    walk(journal, "failed", S.FAILED)
    walk(journal, "gone", S.TERMINATED)
    journal.update_replica("gone", cleaned_up=True, now=later(9))

    assert [r.name for r in store.replicas()] == ["alive", "failed"]
    assert [r.name for r in store.replicas(SERVICE, ended=True)] == ["alive", "failed", "gone"]
    assert not store.replicas("other", ended=True)


def test_recently_ended_replicas_can_be_asked_for_alone(store: Store, journal: Journal) -> None:
    """From that moment on, bounds included; what lives or is not yet cleaned up is there whatever its age."""
    walk(journal, "alive", S.READY)
    walk(journal, "failed", S.FAILED)
    walk(journal, "gone", S.TERMINATED)
    journal.update_replica("gone", cleaned_up=True, now=later(9))
    ended_at = store.replicas(SERVICE, ended=True)[-1].ended_at
    assert ended_at is not None

    def since(moment: datetime) -> list[str]:
        return [r.name for r in store.replicas(SERVICE, ended=True, ended_since=moment)]

    assert since(ended_at) == since(ended_at - timedelta(days=9)) == ["alive", "failed", "gone"]
    assert since(ended_at + timedelta(microseconds=1)) == ["alive", "failed"]
    assert since(ended_at.astimezone(timezone(timedelta(hours=9)))) == ["alive", "failed", "gone"]
    assert [r.name for r in store.replicas(SERVICE, ended_since=ended_at)] == ["alive", "failed"]


def test_a_living_replica_is_listed_even_if_marked_clean(store: Store, journal: Journal) -> None:
    """The mark counts only for what has ended, and taking it back brings a replica into sight at its old place."""
    walk(journal, "a", S.READY)
    walk(journal, "b", S.FAILED)
    walk(journal, "c", S.FAILED)
    journal.update_replica("a", cleaned_up=True, now=later(9))
    journal.update_replica("b", cleaned_up=True, now=later(9))
    assert [r.name for r in store.replicas()] == ["a", "c"]

    journal.update_replica("b", cleaned_up=False, now=later(9))

    assert [r.name for r in store.replicas()] == ["a", "b", "c"]


def test_replicas_are_listed_by_service_slot_and_age(store: Store, journal: Journal) -> None:
    """Age is the order of arrival: a clock that was stepped back does not reorder history."""
    store.submit_deploy(a_spec("Beta"), an_operation("op-b", "Beta"))
    for name, slot, seconds in [("x", 1, 0), ("y", 0, 10), ("z", 0, -10)]:
        journal.start_replica(*a_launch(name, slot=slot, created_at=later(seconds)))
    journal.start_replica(*a_launch("w", service="Beta", slot=5))

    assert [r.name for r in store.replicas()] == ["w", "y", "z", "x"]


def test_unknown_replicas_cannot_be_written_about(journal: Journal) -> None:
    """What was never committed cannot change: a mistake of the caller."""
    with pytest.raises(ValueError, match="nobody"):
        journal.move_replica("nobody", S.READY, NOW)
    with pytest.raises(ValueError, match="nobody"):
        journal.update_replica("nobody", now=NOW)
    with pytest.raises(ValueError, match="nobody"):
        journal.add_intent(an_intent(a_launch("nobody")[0]))
    with pytest.raises(ValueError, match="nobody"):
        journal.record_energy([a_sample("nobody")])


# ── intents, requests and services as the controller sees them ───────────────────────────────────────


def test_intents_advance_and_close(store: Store, journal: Journal) -> None:
    """Open ones are those whose call may still be under way; an empty detail keeps the last words."""
    replica, intent, placement = a_launch()
    journal.start_replica(replica, intent, placement)
    end = an_intent(replica, id="end", kind=IntentKind.TERMINATE, usd_per_hour=None)
    journal.add_intent(end)
    journal.add_intent(replace(end, offer_id="another"))
    assert list(store.intents()) == [intent, end]

    journal.set_intent("launch-chat-1", IntentState.ISSUED, later(1), "call 1")
    journal.set_intent("end", IntentState.CONFIRMED, later(2))

    issued = replace(intent, state=IntentState.ISSUED, updated_at=later(1), detail="call 1")
    assert list(store.intents(open_only=True)) == [issued]
    journal.set_intent("launch-chat-1", IntentState.CONFIRMED, later(3))
    assert store.intents(SERVICE)[0] == replace(issued, state=IntentState.CONFIRMED, updated_at=later(3))
    assert not store.intents(open_only=True)
    assert not store.intents("other")


def test_an_intent_that_is_tried_again_keeps_its_place(store: Store, journal: Journal) -> None:
    """Order is that of the decisions, not of the last attempts."""
    for name in ("a", "b"):
        journal.start_replica(*a_launch(name))
    journal.set_intent("launch-a", IntentState.FAILED, later(1))

    journal.set_intent("launch-a", IntentState.ISSUED, later(2))

    assert [i.id for i in store.intents(open_only=True)] == ["launch-a", "launch-b"]


def test_a_finished_request_stays_finished(store: Store, journal: Journal) -> None:
    """The same end again is nothing; another one is a mistake, because somebody may have been told."""
    before = store.operation("op-1")

    journal.set_operation("op-1", OperationState.DONE, later(9), error="late words")

    assert store.operation("op-1") == before
    for state in (OperationState.QUEUED, OperationState.RUNNING, OperationState.FAILED):
        with pytest.raises(ValueError, match="for good"):
            journal.set_operation("op-1", state, later(9))
    assert store.operation("op-1") == before


def test_a_service_goes_down(store: Store, journal: Journal) -> None:
    """State and stamp change, the rest stays; a service that is down is still listed."""
    before = store.service(SERVICE)
    assert before is not None

    journal.set_service_state(SERVICE, ServiceState.DOWN, later(7))

    assert list(store.services()) == [replace(before, state=ServiceState.DOWN, updated_at=later(7))]


def test_an_older_revision_can_be_current_again(store: Store, journal: Journal) -> None:
    """After a deploy that failed. The numbers go on from the newest, so that none means two specs."""
    first = store.service(SERVICE)
    assert first is not None
    store.submit_deploy(a_spec(functional_unit_tokens=2), an_operation("op-2"))
    journal.set_operation("op-2", OperationState.FAILED, later(2))

    journal.restore_revision(SERVICE, 1, later(3))

    assert store.service(SERVICE) == replace(first, updated_at=later(3))
    assert store.submit_deploy(a_spec(functional_unit_tokens=3), an_operation("op-3")) == 3
    assert (
        store.submit_deploy(a_spec(functional_unit_tokens=2), an_operation("op-2")) == 2
    )  # asked again, long ago done


@pytest.mark.parametrize("revision", [-1, 0, 2])
def test_only_a_revision_that_was_can_be_restored(store: Store, journal: Journal, revision: int) -> None:
    """Anything else is a mistake of the caller and changes nothing."""
    before = store.service(SERVICE)

    with pytest.raises(ValueError, match="revision"):
        journal.restore_revision(SERVICE, revision, later(3))
    with pytest.raises(UnknownService, match="nobody"):
        journal.restore_revision("nobody", 1, later(3))

    assert store.service(SERVICE) == before


def test_unknown_names_are_refused(journal: Journal) -> None:
    """Each of them by its name."""
    with pytest.raises(UnknownService, match="nobody"):
        journal.set_service_state("nobody", ServiceState.DOWN, NOW)
    with pytest.raises(UnknownService, match="nobody"):
        journal.record_decision(a_decision(service="nobody"), ())
    with pytest.raises(ValueError, match="nobody"):
        journal.set_intent("nobody", IntentState.FAILED, NOW)
    with pytest.raises(ValueError, match="nobody"):
        journal.set_operation("nobody", OperationState.DONE, NOW)


# ── decisions, energy, events, counters ──────────────────────────────────────────────────────────────


def test_a_decision_comes_back_bit_for_bit(store: MemoryStore | SqlStore, journal: Journal) -> None:
    """Every number, unknown, verdict, term and reading of it, infinities and tiny numbers included."""
    decision = a_decision()

    journal.record_decision(decision, READINGS)

    found = store.decision("d-1")
    assert found == decision
    assert repr(found) == repr(decision)  # tells -0.0 from 0.0, and 1 from 1.0 or True
    assert tuple(store.signals_used("d-1")) == READINGS
    assert not store.signals_used("d-2")


def test_a_decision_is_kept_once(store: MemoryStore | SqlStore, journal: Journal) -> None:
    """The id decides: whoever repeats it changes neither the decision nor its signals."""
    journal.record_decision(a_decision(), READINGS)

    journal.record_decision(a_decision(summary="another"), ())

    assert list(store.decisions(SERVICE)) == [a_decision()]
    assert tuple(store.signals_used("d-1")) == READINGS


def test_decisions_are_listed_newest_first(store: Store, journal: Journal) -> None:
    """In the order in which they were made, whatever the replayed clock said; as many as asked for."""
    store.submit_deploy(a_spec("other"), an_operation("op-b", "other"))
    for number, seconds in enumerate([0, 20, 10]):
        journal.record_decision(a_decision(f"d-{number}", at=later(seconds), assessments=(), comparisons=()), ())
    journal.record_decision(a_decision("d-other", service="other"), ())

    assert [d.id for d in store.decisions(SERVICE)] == ["d-2", "d-1", "d-0"]
    assert [d.id for d in store.decisions(SERVICE, limit=2)] == ["d-2", "d-1"]
    assert not store.decisions(SERVICE, limit=0)


def test_decisions_of_a_kind_and_a_time_can_be_asked_for(store: Store, journal: Journal) -> None:
    """Newest first, as many as asked for of those that fit."""
    kinds = [DecisionKind.MOVE, DecisionKind.STAY, DecisionKind.MOVE, DecisionKind.MOVE]
    for number, kind in enumerate(kinds):
        made = a_decision(f"d-{number}", at=later(10 * number), kind=kind, assessments=(), comparisons=())
        journal.record_decision(made, ())

    def found(**asked: Any) -> list[str]:
        return [d.id for d in store.decisions(SERVICE, **asked)]

    assert found(kind=DecisionKind.MOVE) == ["d-3", "d-2", "d-0"]
    assert found(kind=DecisionKind.MOVE, limit=1) == ["d-3"]
    assert found(since=later(20)) == ["d-3", "d-2"]
    assert found(kind=DecisionKind.MOVE, since=later(1)) == ["d-3", "d-2"]
    assert found(kind=DecisionKind.PLACE) == []


def test_unknown_energy_stays_unknown(store: Store, journal: Journal) -> None:
    """No intensity is not zero grams, and zero dollars are not unknown."""
    journal.start_replica(*a_launch())
    unknown = a_sample(zone=None)
    known = a_sample(start=later(60), grams_per_kwh=0.0, grams=0.0, usd=None)

    journal.record_energy([unknown, known])

    assert list(store.energy(SERVICE)) == [unknown, known]
    assert [repr(s) for s in store.energy(SERVICE)] == [repr(unknown), repr(known)]


def test_a_stretch_of_energy_is_counted_once(store: Store, journal: Journal) -> None:
    """A sample written twice, after a crash or within one batch, is the first one."""
    journal.start_replica(*a_launch())
    journal.record_energy([a_sample()])

    journal.record_energy([a_sample(watts=1.0), a_sample(start=later(60)), a_sample(start=later(60), watts=2.0)])
    journal.record_energy([])

    assert list(store.energy(SERVICE)) == [a_sample(), a_sample(start=later(60))]


def test_energy_is_found_by_the_start_of_its_window(store: Store, journal: Journal) -> None:
    """Half-open, oldest first, then by name, of one service."""
    for name in ("b", "a", "B"):
        journal.start_replica(*a_launch(name))
    samples = [a_sample(name, later(60 * minute)) for minute in (2, 0, 1) for name in ("b", "a", "B")]
    journal.record_energy(samples)

    inside = store.energy(SERVICE, Window(later(60), later(120)))

    assert [(s.replica, s.window.start) for s in inside] == [(name, later(60)) for name in ("B", "a", "b")]
    assert [s.window.start for s in store.energy(SERVICE)] == sorted(s.window.start for s in samples)
    assert not store.energy("other")


def test_energy_of_one_bad_sample_is_refused_as_a_whole(store: Store, journal: Journal) -> None:
    """All or none: a batch is one transaction."""
    journal.start_replica(*a_launch())

    with pytest.raises(ValueError, match="nobody"):
        journal.record_energy([a_sample(), a_sample("nobody")])

    assert not store.energy(SERVICE)


def test_old_energy_becomes_rows_of_an_hour(store: Store, journal: Journal) -> None:
    """Oldest first, whole clock hours alone; what touches is one row, a gap stays one, and nothing else changes."""
    for name in ("chat-1", "chat-2"):
        journal.start_replica(*a_launch(name))
    minutes = (0, 1, 3, 58, 59, 60, 119, 120)  # from noon and a fraction of a second on: 12:00, ..., 14:00
    samples = [a_sample(name, later(60 * m)) for m in minutes for name in ("chat-1", "chat-2")]
    journal.record_energy(samples)
    before = store.energy(SERVICE)

    steps = [journal.compact_energy(later(7200), 1) for _ in range(5)]
    after = [s for s in store.energy(SERVICE) if s.replica == "chat-1"]

    assert steps == [5, 5, 2, 2, 0]
    assert [(s.window.start, s.window.end) for s in after] == [
        (later(60 * a), later(60 * b)) for a, b in ((0, 2), (3, 4), (58, 60), (60, 61), (119, 120), (120, 121))
    ]
    assert hourly(store.energy(SERVICE)) == hourly(before)


def test_energy_that_stands_in_an_hour_is_not_counted_again(store: Store, journal: Journal) -> None:
    """A write that is repeated after the samples were merged changes nothing; what nobody wrote yet is taken."""
    journal.start_replica(*a_launch())
    samples = [a_sample(start=later(60 * m)) for m in range(3)]
    journal.record_energy(samples)
    assert journal.compact_energy(later(7200)) == len(samples)
    merged = list(store.energy(SERVICE))

    journal.record_energy(samples[1:])
    assert list(store.energy(SERVICE)) == merged
    assert store.check_journal().is_whole

    journal.record_energy([samples[2], a_sample(start=later(180))])
    assert list(store.energy(SERVICE)) == [*merged, a_sample(start=later(180))]


def at_rest(number: int, **changes: Any) -> Decision:
    """One of a row of decisions of the policy, an hour after the other."""
    values = {"at": later(3600 * number), "kind": DecisionKind.STAY, "actor": "policy", "summary": f"stay {number}"}
    return a_decision(f"h-{number}", **(values | changes))


def test_old_decisions_that_changed_nothing_become_days(store: Store, journal: Journal) -> None:
    """The oldest day first, whole days alone; what is left says how many there were, which, and what the last said."""
    kinds = {30: DecisionKind.HOLD, 31: DecisionKind.HOLD}
    for n in range(60 + DECISIONS_LEFT):
        journal.record_decision(at_rest(n, kind=kinds.get(n, DecisionKind.STAY)), READINGS)

    steps = [journal.compact_decisions(later(3600 * 48)) for _ in range(3)]

    days = store.resting_days(SERVICE)
    assert NOW.hour == 12
    assert steps == [12, 24, 0]
    assert [(d.kind, len(d.ids), d.summary) for d in days] == [
        (DecisionKind.STAY, 12, "stay 11"),
        (DecisionKind.STAY, 22, "stay 35"),
        (DecisionKind.HOLD, 2, "stay 31"),
    ]
    assert [d.day for d in days] == [floor_day(NOW), *[floor_day(NOW) + timedelta(days=1)] * 2]
    assert (days[0].first_at, days[0].last_at, days[0].ids[:2]) == (NOW, later(11 * 3600), ("h-0", "h-1"))
    assert store.decision("h-0") is None
    assert not store.signals_used("h-0")
    assert len(store.decisions(SERVICE, limit=1000)) == 60 + DECISIONS_LEFT - 36
    assert not store.resting_days("other")
    assert store.check_journal().is_whole


def test_the_newest_decisions_are_left_and_their_day_is_added_to_later(store: Store, journal: Journal) -> None:
    """However old they are: a controller that starts reads them. A day of which a part was left grows later."""
    for n in range(DECISIONS_LEFT + 5):
        journal.record_decision(at_rest(n, at=later(n)), READINGS)
    much_later = later(86_400 * 30)

    assert [journal.compact_decisions(much_later) for _ in range(2)] == [5, 0]
    for n in range(100, 103):
        journal.record_decision(at_rest(n), READINGS)
    assert [journal.compact_decisions(much_later) for _ in range(2)] == [3, 0]

    (day,) = store.resting_days(SERVICE)
    assert day.ids == tuple(f"h-{n}" for n in range(8))
    assert (day.first_at, day.last_at, day.summary) == (NOW, later(7), "stay 7")
    assert len(store.decisions(SERVICE, limit=1000)) == DECISIONS_LEFT
    assert store.check_journal().is_whole


def test_decisions_that_acted_are_kept(store: Store, journal: Journal) -> None:
    """And those that a person made, and those that a launch follows from: they say why."""
    replica, intent, placement = a_launch()
    journal.start_replica(replica, intent, replace(placement, decision_id="h-2"))
    journal.record_decision(at_rest(0, kind=DecisionKind.MOVE), READINGS)
    journal.record_decision(at_rest(1, actor="ada"), READINGS)
    for n in range(2, 5 + DECISIONS_LEFT):
        journal.record_decision(at_rest(n, at=later(n)), READINGS)

    while journal.compact_decisions(later(86_400 * 30)):
        pass

    kept = {d.id for d in store.decisions(SERVICE, limit=1000)}
    assert {"h-0", "h-1", "h-2"} < kept
    assert not {"h-3", "h-4"} & kept
    assert list(store.signals_used("h-2")) == list(READINGS)


def test_events_are_read_on_from_where_one_was(store: Store, journal: Journal) -> None:
    """Ids grow with time; a reader that keeps the last one misses nothing and sees nothing twice."""
    for number in range(5):
        journal.record_event(
            EventKind.WARNING,
            f"event {number}",
            service=SERVICE if number % 2 == 0 else "",
            at=later(-number),
            wall_at=later(number),
            replica="chat-1",
            detail_json='{"n": 1}',
        )

    everything = store.events()

    assert [e.text for e in everything] == [f"event {n}" for n in range(5)]
    assert [e.id for e in everything] == sorted({e.id for e in everything})
    assert list(store.events(after_id=everything[1].id, limit=2)) == list(everything[2:4])
    assert [e.text for e in store.events(SERVICE)] == ["event 0", "event 2", "event 4"]
    assert not store.events(after_id=everything[-1].id)
    assert not store.events(limit=0)
    assert (store.last_event(SERVICE), store.last_event("nobody")) == (everything[4], None)
    last = everything[4]
    assert (last.kind, last.at, last.wall_at) == (EventKind.WARNING, later(-4), later(4))
    assert (last.service, last.replica, last.detail_json) == (SERVICE, "chat-1", '{"n": 1}')


def test_routing_versions_only_grow(store: Store, journal: Journal) -> None:
    """Over turns as well: a gateway never takes an old table for a new one."""
    versions = [journal.next_routing_version() for _ in range(3)]
    versions.append(store.claim("second", later(1)).next_routing_version())

    assert versions == sorted(set(versions))
    assert versions[0] > 0


# ── whose turn it is ─────────────────────────────────────────────────────────────────────────────────

WRITES: dict[str, Callable[[Journal], object]] = {
    "start_replica": lambda j: j.start_replica(*a_launch("chat-2")),
    "move_replica": lambda j: j.move_replica("chat-1", S.PROVISIONING, later(5)),
    "update_replica": lambda j: j.update_replica("chat-1", weight_percent=50, now=later(5)),
    "renew_lease": lambda j: j.renew_lease("chat-1", later(5)),
    "add_intent": lambda j: j.add_intent(an_intent(a_launch()[0], id="end", kind=IntentKind.TERMINATE)),
    "set_intent": lambda j: j.set_intent("launch-chat-1", IntentState.ISSUED, later(5)),
    "set_operation": lambda j: j.set_operation("op-2", OperationState.RUNNING, later(5)),
    "set_service_state": lambda j: j.set_service_state(SERVICE, ServiceState.GOING_DOWN, later(5)),
    "restore_revision": lambda j: j.restore_revision(SERVICE, 1, later(5)),
    "record_decision": lambda j: j.record_decision(a_decision(), READINGS),
    "record_energy": lambda j: j.record_energy([a_sample(start=later(300))]),
    "compact_decisions": lambda j: j.compact_decisions(later(86_400 * 9)),
    "compact_energy": lambda j: j.compact_energy(later(86_400)),
    "record_event": lambda j: j.record_event(EventKind.WARNING, "w", service="", at=NOW, wall_at=NOW),
    "next_routing_version": lambda j: j.next_routing_version(),
    "set_suspects": lambda j: j.set_suspects("aws", [a_suspect()]),
    "set_restored": lambda j: j.set_restored(seen_epoch=9),
    "close_reap_request": lambda j: j.close_reap_request("reap-2", OperationState.DONE, later(5), outcome_json="[]"),
    "set_reap_request": lambda j: j.set_reap_request("reap-2", OperationState.RUNNING, later(5)),
    "set_reap": lambda j: j.set_reap("reap-1-gc-1", IntentState.ISSUED, later(5)),
    "notice_edits": lambda j: j.notice_edits("abc"),
}


def everything(store: Records) -> list[object]:
    """Read all that can be seen."""
    return [
        *(store.services(), store.replicas(ended=True), store.operations(open_only=False), store.decisions(SERVICE)),
        *(store.placements(SERVICE), store.intents(), store.events(), store.energy(SERVICE)),
        *(store.leases(), store.resting_days(SERVICE)),
        *(store.suspects(), store.restored(), store.reap_requests(open_only=False), store.reaps()),
        store.journal_marks(),
    ]


def test_every_write_of_the_port_is_fenced_below() -> None:
    """A method added to the port must be added to the list of writes that the next test tries."""
    methods = {name for name in vars(Journal) if not name.startswith("_")}

    assert methods - {"epoch"} == set(WRITES)


@pytest.mark.parametrize("method", sorted(WRITES))
def test_a_superseded_controller_changes_nothing(store: Store, journal: Journal, method: str) -> None:
    """After somebody else's claim each write is refused and names the new holder; theirs goes through."""
    journal.start_replica(*a_launch())
    store.submit_deploy(a_spec(functional_unit_tokens=7), an_operation("op-2"))
    store.submit_reap(a_request("reap-1"))
    journal.close_reap_request("reap-1", OperationState.DONE, NOW, outcome_json="[]", reaps=[a_reap()])
    store.submit_reap(a_request("reap-2"))
    journal.record_energy([a_sample(), a_sample(start=later(60))])
    if method == "compact_decisions":  # which leaves the newest alone
        for n in range(DECISIONS_LEFT + 1):
            journal.record_decision(at_rest(n), ())
    newer = store.claim("second", later(4))
    before = everything(store)

    with pytest.raises(LeaseHeld, match="second"):
        WRITES[method](journal)

    assert everything(store) == before
    WRITES[method](newer)
    if method != "next_routing_version":
        assert everything(store) != before


def test_a_superseded_controller_can_still_read(store: Store, journal: Journal) -> None:
    """Looking is harmless."""
    store.claim("second", later(1))

    assert journal.service(SERVICE) == store.service(SERVICE)


def test_each_claim_is_a_turn_of_its_own(store: Store) -> None:
    """Claims that race get different epochs, and only the largest can write."""
    barrier = Barrier(4)

    def claim(number: int) -> Journal:
        barrier.wait()
        return store.claim(f"controller {number}", later(number))

    with ThreadPoolExecutor(4) as pool:
        journals = sorted(pool.map(claim, range(4)), key=lambda j: j.epoch)

    assert [j.epoch for j in journals] == [1, 2, 3, 4]
    for old in journals[:-1]:
        with pytest.raises(LeaseHeld):
            old.next_routing_version()
    assert journals[-1].next_routing_version() == 1


# ── values at the edge ───────────────────────────────────────────────────────────────────────────────


def test_instants_come_back_in_utc_to_the_microsecond(store: Store, journal: Journal) -> None:
    """Whatever zone they were given in, aware, and the same instant."""
    eastern = timezone(timedelta(hours=-5))
    there = datetime(2026, 11, 20, 7, 0, 0, 123457, tzinfo=eastern)
    journal.start_replica(*a_launch(created_at=there))
    journal.record_energy([a_sample(start=there)])
    journal.record_decision(a_decision(at=there), [a_reading(issued_at=there)])

    found = [store.replicas()[0].created_at, store.energy(SERVICE)[0].window.start, store.decisions(SERVICE)[0].at]

    assert found == [there] * 3
    assert {moment.tzinfo for moment in found} == {UTC}


def test_naive_instants_are_refused(store: Store, journal: Journal) -> None:
    """Guessing a zone is a bug."""
    naive = NOW.replace(tzinfo=None)

    with pytest.raises(ValueError, match="time zone"):
        store.set_paused(SERVICE, paused=True, now=naive)
    with pytest.raises(ValueError, match="time zone"):
        journal.start_replica(*a_launch(created_at=naive))
    with pytest.raises(ValueError, match="time zone"):
        journal.record_decision(a_decision(at=naive), ())
    with pytest.raises(ValueError, match="time zone"):
        store.claim("someone", naive)

    assert journal.next_routing_version() == 1  # nobody claimed anything


def test_nan_is_not_a_measurement(store: Store, journal: Journal) -> None:
    """Unknown is ``None``; a calculation that went wrong must not become a row."""
    journal.start_replica(*a_launch())

    with pytest.raises(ValueError, match="watts"):
        journal.record_energy([a_sample(watts=float("nan"))])

    assert not store.energy(SERVICE)


def test_text_that_no_database_keeps_is_made_readable(store: Store, journal: Journal) -> None:
    """A provider's words may hold anything: a NUL or half a surrogate pair must not lose the event."""
    words = "out of \0 memory \ud83d \U0001f331 'quoted\"; DROP TABLE events; --"
    journal.record_event(EventKind.WARNING, words, service="", at=NOW, wall_at=NOW)
    journal.start_replica(*a_launch())
    journal.move_replica("chat-1", S.FAILED, later(1), words)

    kept = "out of \ufffd memory \ufffd \U0001f331 'quoted\"; DROP TABLE events; --"
    assert store.events()[0].text == kept
    assert store.replicas()[0].reason == kept
    assert store.placements(SERVICE)[0].end_reason == kept


def test_ids_are_compared_exactly(store: Store, journal: Journal) -> None:
    """Case, accents and trailing spaces make different names."""
    names = ["r", "R", "r ", "ŕ", "r\u0301"]
    for name in names:
        journal.start_replica(*a_launch(name))

    assert [r.name for r in store.replicas()] == names


def test_what_was_read_is_a_value(store: Store, journal: Journal) -> None:
    """A later write does not change what somebody holds."""
    journal.start_replica(*a_launch())
    held, listed = store.replicas()[0], store.operations(open_only=False)

    journal.move_replica("chat-1", S.PROVISIONING, later(1))
    store.submit(an_operation("op-2", kind=OperationKind.MIGRATE))

    assert held.state is S.PENDING
    assert [o.id for o in listed] == ["op-1"]
