"""What every store promises: the one in memory, SQLite, and a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier

import pytest

from orchestrator.clocks import SystemClock
from orchestrator.control.ports import Journal, Records, Store
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
from orchestrator.errors import Conflict, UnknownService
from orchestrator.store.codec import spec_digest
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
from tests.postgres import every_store, postgres_server, settled_journal  # noqa: F401  # fixtures
from tests.store_samples import (
    NOW,
    SERVICE,
    a_decision,
    a_launch,
    a_reading,
    a_sample,
    a_spec,
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

    assert journal.set_service_state(SERVICE, ServiceState.DOWN, later(7))

    assert list(store.services()) == [replace(before, state=ServiceState.DOWN, updated_at=later(7))]


def test_a_service_that_was_deployed_anew_meanwhile_does_not_go_down(store: Store, journal: Journal) -> None:
    """Who names the state that he knows changes that one alone, whenever he read it; nothing else happens."""
    journal.set_service_state(SERVICE, ServiceState.GOING_DOWN, later(7))
    store.submit_deploy(a_spec(functional_unit_tokens=2), an_operation("op-2"))
    before = store.service(SERVICE)
    assert before is not None

    assert not journal.set_service_state(SERVICE, ServiceState.DOWN, later(8), only_from=ServiceState.GOING_DOWN)
    assert store.service(SERVICE) == before

    assert journal.set_service_state(SERVICE, ServiceState.GOING_DOWN, later(9), only_from=ServiceState.ACTIVE)
    assert store.service(SERVICE) == replace(before, state=ServiceState.GOING_DOWN, updated_at=later(9))
    with pytest.raises(UnknownService, match="nobody"):
        journal.set_service_state("nobody", ServiceState.DOWN, later(9), only_from=ServiceState.GOING_DOWN)


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


def test_what_a_deploy_asked_for_stays_known(store: Store, journal: Journal) -> None:
    """Whatever was deployed since, and also of one that failed. Other requests asked for no spec."""
    first = store.service(SERVICE)
    assert first is not None
    (operation,) = store.operations(SERVICE, open_only=False)
    second = a_spec(functional_unit_tokens=2)
    store.submit_deploy(second, an_operation("op-2"))
    journal.set_operation("op-2", OperationState.FAILED, later(2))
    journal.restore_revision(SERVICE, 1, later(3))
    store.submit(an_operation("op-3", kind=OperationKind.DOWN))

    assert store.deployed_spec(SERVICE, operation.id) == first.spec
    assert store.deployed_spec(SERVICE, "op-2") == second
    assert store.deployed_spec(SERVICE, "op-3") is None
    assert store.deployed_spec("nobody", "op-2") is None


def test_each_revision_stays_known(store: Store, journal: Journal) -> None:
    """By its number, also of one that was taken back, and whatever is in force; nobody else's, none that never was."""
    first = store.service(SERVICE)
    assert first is not None
    second = a_spec(functional_unit_tokens=2)
    store.submit_deploy(second, an_operation("op-2"))
    assert store.spec_of(SERVICE, 1) == first.spec
    journal.restore_revision(SERVICE, 1, later(3))
    assert store.spec_of(SERVICE, 2) == second
    assert [store.spec_of(SERVICE, number) for number in (-1, 0, 3)] == [None] * 3
    assert store.spec_of("nobody", 1) is None


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
