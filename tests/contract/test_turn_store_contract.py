"""What every store promises about whose turn it is: the one in memory, SQLite, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from orchestrator.control.ports import Journal, Records, Store
from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.records import (
    EventKind,
    IntentKind,
    IntentState,
    OperationState,
    ServiceState,
)
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import LeaseHeld
from tests.postgres import every_store, postgres_server, settled_journal  # noqa: F401  # fixtures
from tests.store_samples import (
    NOW,
    READINGS,
    SERVICE,
    a_decision,
    a_launch,
    a_reap,
    a_request,
    a_sample,
    a_spec,
    a_suspect,
    an_intent,
    an_operation,
    at_rest,
    later,
)

S = ReplicaState


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
