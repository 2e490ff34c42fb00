"""What the store in memory can do beyond the contract: fail when it is told to."""

from __future__ import annotations

import pytest

from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import DiskFull, StoreUnavailable
from orchestrator.store.memory import MemoryStore
from tests.store_samples import NOW, a_launch, a_spec, an_operation, later


@pytest.fixture
def store() -> MemoryStore:
    memory = MemoryStore()
    memory.submit_deploy(a_spec(), an_operation())
    return memory


def test_the_next_call_fails_and_changes_nothing(store: MemoryStore) -> None:
    """Once, on the journal as on the store, and only the method that was named."""
    journal = store.claim("me", NOW)
    store.fail_next("start_replica", StoreUnavailable("down"))

    with pytest.raises(StoreUnavailable, match="down"):
        journal.start_replica(*a_launch())

    assert not store.replicas()
    journal.start_replica(*a_launch())
    assert len(store.replicas()) == 1


def test_a_call_can_work_and_still_fail(store: MemoryStore) -> None:
    """Committed, but the answer was lost: what a caller must be able to repeat."""
    journal = store.claim("me", NOW)
    journal.start_replica(*a_launch())
    store.fail_next("move_replica", StoreUnavailable("reply lost"), after=True)

    with pytest.raises(StoreUnavailable, match="reply lost"):
        journal.move_replica("chat-1", ReplicaState.PROVISIONING, later(1))

    assert store.replicas()[0].state is ReplicaState.PROVISIONING


def test_failures_queue_up(store: MemoryStore) -> None:
    """Each call takes one, in the order in which they were asked for."""
    store.fail_next("services", StoreUnavailable("first"))
    store.fail_next("services", DiskFull("second"))

    with pytest.raises(StoreUnavailable):
        store.services()
    with pytest.raises(DiskFull):
        store.services()
    assert len(store.services()) == 1


@pytest.mark.parametrize("method", ["sell_replica", "fail_next", "_state", "epoch"])
def test_only_methods_of_the_port_can_fail(store: MemoryStore, method: str) -> None:
    """A misspelt name would make a test that can never fail."""
    with pytest.raises(ValueError, match="no method"):
        store.fail_next(method, StoreUnavailable("down"))


def test_its_id_can_be_chosen() -> None:
    """Simulations are repeatable: nothing in it is random."""
    assert MemoryStore("sim").deployment_uid() == "sim"
    assert MemoryStore().deployment_uid() == MemoryStore().deployment_uid()
