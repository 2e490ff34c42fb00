"""What every store promises about orphans: the one in memory, SQLite, and a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control.ports import Journal, Store
from orchestrator.domain.orphans import Restored, SuspectKind, Work
from orchestrator.domain.records import IntentState, OperationState
from tests.postgres import every_store, postgres_server  # noqa: F401  # fixtures
from tests.store_samples import (
    NOW,
    a_launch,
    a_reap,
    a_request,
    a_spec,
    a_suspect,
    an_operation,
    later,
)


@pytest.fixture
def journal(store: Store) -> Journal:
    return store.claim("first", NOW)


def test_an_empty_store_suspects_nobody(store: Store) -> None:
    """Reading before anything was written finds nothing and fails nowhere."""
    assert store.suspects() == []
    assert store.reap_requests() == []
    assert store.reap_request("reap-1") is None
    assert store.reaps() == []
    assert store.restored() == Restored(0, 0)
    assert store.newest_epoch() == 0
    assert store.replica("chat-1") is None
    assert store.intent("launch-chat-1") is None


def test_the_newest_turn_is_the_last_claim(store: Store) -> None:
    """It grows with every claim, and a journal of an older turn reads the newer number."""
    old = store.claim("first", NOW)
    store.claim("second", NOW)

    assert store.newest_epoch() == old.newest_epoch() == 2


def test_single_records_are_found_by_name(store: Store) -> None:
    """A replica and an intent are what the lists hold, also long after their end."""
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("first", NOW)
    replica, intent, placement = a_launch("chat-1")
    journal.start_replica(replica, intent, placement)

    assert store.replica("chat-1") == replica
    assert store.intent(intent.id) == intent


def test_suspects_come_back_as_they_were(journal: Journal) -> None:
    """Every field survives, unknown ones as unknown."""
    full = a_suspect("gc-1")
    bare = a_suspect("gc-2", kind=SuspectKind.ABSENT, epoch=None, idle_since=None, work=Work.UNKNOWN, told=False)
    journal.set_suspects("aws+gcp", [bare, full])

    assert list(journal.suspects()) == [full, bare]


def test_the_suspects_of_one_source_are_replaced_whole(journal: Journal) -> None:
    """Those of the other source stay; a name that moves to another source is there once."""
    journal.set_suspects("aws", [a_suspect("gc-1", source="aws"), a_suspect("gc-2", source="aws")])
    journal.set_suspects("local", [a_suspect("gc-3", source="local")])
    journal.set_suspects("aws", [a_suspect("gc-2", source="aws", sightings=9)])
    assert [(s.name, s.source, s.sightings) for s in journal.suspects()] == [("gc-2", "aws", 9), ("gc-3", "local", 2)]

    journal.set_suspects("local", [a_suspect("gc-2", source="local")])
    assert [(s.name, s.source) for s in journal.suspects()] == [("gc-2", "local")]

    journal.set_suspects("local", [])
    assert journal.suspects() == []


def test_a_sign_of_a_backup_never_fades(journal: Journal) -> None:
    """Neither number falls, and it holds until the newest sign is accepted."""
    journal.set_restored(seen_epoch=7)
    journal.set_restored(seen_epoch=3)
    assert journal.restored() == Restored(7, 0)
    assert journal.restored().holds

    journal.set_restored(accepted_epoch=6)
    assert journal.restored().holds
    journal.set_restored(accepted_epoch=7)
    assert journal.restored() == Restored(7, 7)
    assert not journal.restored().holds

    journal.set_restored(seen_epoch=8)
    assert journal.restored().holds


def test_a_word_is_kept_once(store: Store) -> None:
    """The same id again changes nothing; open ones are listed in order of arrival."""
    store.submit_reap(a_request("reap-2"))
    store.submit_reap(a_request("reap-1"))
    store.submit_reap(a_request("reap-2", actor="bob"))

    assert [(r.id, r.actor) for r in store.reap_requests()] == [("reap-2", "ada"), ("reap-1", "ada")]
    assert store.reap_request("reap-1") == a_request("reap-1")


def test_an_answer_and_its_intents_are_one(store: Store, journal: Journal) -> None:
    """Closing commits both; a second answer changes nothing and commits nothing."""
    store.submit_reap(a_request())
    journal.set_reap_request("reap-1", OperationState.RUNNING, later(1))
    assert [r.state for r in store.reap_requests()] == [OperationState.RUNNING]

    answer = '{"a": 1}'
    journal.close_reap_request("reap-1", OperationState.DONE, later(5), outcome_json=answer, reaps=[a_reap()])
    journal.close_reap_request("reap-1", OperationState.FAILED, later(6), outcome_json="{}", reaps=[a_reap("gc-2")])
    journal.set_reap_request("reap-1", OperationState.RUNNING, later(7))

    closed = replace(a_request(), state=OperationState.DONE, updated_at=later(5), outcome_json='{"a": 1}')
    assert store.reap_requests() == []
    assert list(store.reap_requests(open_only=False)) == [closed]
    assert list(store.reaps()) == [a_reap()]


def test_the_end_of_an_orphan_is_followed(store: Store, journal: Journal) -> None:
    """Open ones are those that are planned or asked for; an empty detail keeps the one before."""
    store.submit_reap(a_request())
    both = [a_reap("gc-1", detail="why"), a_reap("gc-2", created_at=later(100))]
    journal.close_reap_request("reap-1", OperationState.DONE, later(5), outcome_json="{}", reaps=both)
    journal.set_reap("reap-1-gc-1", IntentState.ISSUED, later(6))
    assert [r.name for r in store.reaps(open_only=True)] == ["gc-1", "gc-2"]
    assert [r.name for r in store.reaps(since=later(100))] == ["gc-2"]

    journal.set_reap("reap-1-gc-1", IntentState.CONFIRMED, later(7))
    (gone, _) = store.reaps()
    assert (gone.state, gone.detail, gone.updated_at) == (IntentState.CONFIRMED, "why", later(7))
    assert [r.name for r in store.reaps(open_only=True)] == ["gc-2"]


def test_what_was_never_asked_cannot_be_answered(journal: Journal) -> None:
    """A mistake of the caller is said, not swallowed."""
    with pytest.raises(ValueError, match="reap-9"):
        journal.close_reap_request("reap-9", OperationState.DONE, NOW, outcome_json="{}")
    with pytest.raises(ValueError, match="reap-9"):
        journal.set_reap_request("reap-9", OperationState.RUNNING, NOW)
    with pytest.raises(ValueError, match="reap-9"):
        journal.set_reap("reap-9", IntentState.ISSUED, NOW)
