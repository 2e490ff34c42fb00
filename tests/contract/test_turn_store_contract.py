"""What every store promises about whose turn it is: the one in memory, SQLite, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
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
from orchestrator.domain.turns import LATE_CALL, LEASE, Claim, Claimant
from orchestrator.errors import LeaseHeld
from orchestrator.store import tables
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
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
    "renew_turn": lambda j: j.renew_turn(),
    "end_turn": lambda j: j.end_turn(),
}

SAYS_NOTHING = {"next_routing_version", "renew_turn", "end_turn"}
"""Writes of a turn without a claim that leave nothing to read."""

HERE, THERE = Claimant("build1", "/srv/a", "0f3a", 11), Claimant("build2", "/srv/b", "9c1e", 12)


def everything(store: Records) -> list[object]:
    """Read all that can be seen."""
    return [
        *(store.services(), store.replicas(ended=True), store.operations(open_only=False), store.decisions(SERVICE)),
        *(store.placements(SERVICE), store.intents(), store.events(), store.energy(SERVICE)),
        *(store.leases(), store.resting_days(SERVICE)),
        *(store.suspects(), store.restored(), store.reap_requests(open_only=False), store.reaps()),
        *(store.journal_marks(), store.newest_epoch()),
    ]


def silence(store: Store, seconds: float) -> None:
    """Let so many seconds pass since the holder was heard of, by the store's clock."""
    turn = store.turn()
    assert turn is not None
    heard_at = turn.heard_at - timedelta(seconds=seconds)
    if isinstance(store, MemoryStore):
        store._state.turn = replace(turn, heard_at=heard_at, silent_for=timedelta(0))
    elif isinstance(store, SqlStore):
        store._database.write(lambda tx: tx.execute(tables.turn.update().values(heard_at=heard_at)))


def test_every_write_of_the_port_is_fenced_below() -> None:
    """A method added to the port must be added to the list of writes that the next test tries."""
    methods = {name for name in vars(Journal) if not name.startswith("_")}

    assert methods - {"epoch", "predecessor"} == set(WRITES)


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
    if method not in SAYS_NOTHING:
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


# ── who is heard of ──────────────────────────────────────────────────────────────────────────────────


def test_nobody_has_the_turn_before_somebody_claims_it(store: Store) -> None:
    """There is no holder before the first claim, and none after one that says not whose it is."""
    assert store.turn() is None
    store.claim("first", NOW, Claim(HERE))
    assert store.turn() is not None

    assert store.claim("a restore", NOW).predecessor is not None
    assert store.turn() is None


def test_who_has_the_turn_can_be_read(store: Store) -> None:
    """Host, directory and process, since when, and that they were heard of just now."""
    journal = store.claim("first", NOW, Claim(HERE))
    turn = store.turn()

    assert turn is not None
    assert (turn.epoch, turn.claimant, turn.claimant.pid, turn.is_over) == (journal.epoch, HERE, 11, False)
    assert turn.since == turn.heard_at
    assert timedelta(0) <= turn.silent_for < LEASE
    assert turn.is_heard


def test_a_turn_that_is_heard_of_is_not_taken(store: Store) -> None:
    """Another host's claim is refused, names the holder and what to do, and changes nothing."""
    mine = store.claim("first", NOW, Claim(HERE))
    before = [*everything(store), store.turn() and store.turn().heard_at]  # type: ignore[union-attr]

    with pytest.raises(LeaseHeld, match=r"build1 \(/srv/a, pid 11\)") as refused:
        store.claim("second", NOW, Claim(THERE))

    assert "--take-over" in refused.value.hint()
    assert [*everything(store), store.turn() and store.turn().heard_at] == before  # type: ignore[union-attr]
    assert mine.next_routing_version() == 1


def test_the_successor_in_the_same_place_waits_for_nobody(store: Store) -> None:
    """A controller that was killed is followed at once, in its own directory on its own host."""
    store.claim("first", NOW, Claim(HERE))
    mine = store.claim("second", NOW, Claim(replace(HERE, pid=99)))

    assert mine.epoch == 2
    assert mine.predecessor is not None
    assert mine.predecessor.claimant.pid == 11


@pytest.mark.parametrize(
    "other", [replace(HERE, host="build9"), replace(HERE, number="1"), replace(HERE, state_dir="/")]
)
def test_host_directory_and_number_make_the_place(store: Store, other: Claimant) -> None:
    """A copy of a directory on another host is another place, and so are hosts of one name."""
    store.claim("first", NOW, Claim(HERE))

    with pytest.raises(LeaseHeld):
        store.claim("second", NOW, Claim(other))


def test_a_turn_that_is_silent_for_long_is_free(store: Store) -> None:
    """After the lease anybody may have it; a word just before the end counts."""
    mine = store.claim("first", NOW, Claim(HERE))
    silence(store, 50)
    mine.renew_turn()
    silence(store, 50)
    with pytest.raises(LeaseHeld, match=r"5[0-9] s ago"):
        store.claim("second", NOW, Claim(THERE))

    silence(store, LEASE.total_seconds())
    theirs = store.claim("second", NOW, Claim(THERE))

    assert theirs.predecessor is not None
    assert theirs.predecessor.silent_for >= LEASE
    with pytest.raises(LeaseHeld):
        mine.renew_turn()
    turn = store.turn()
    assert turn is not None
    assert turn.claimant == THERE


def test_a_turn_that_has_ended_is_free_at_once(store: Store) -> None:
    """Who stops in order is not waited for, and one that is over has no end to write."""
    mine = store.claim("first", NOW, Claim(HERE))
    mine.end_turn()

    theirs = store.claim("second", NOW, Claim(THERE))

    assert theirs.predecessor is not None
    assert theirs.predecessor.is_over
    with pytest.raises(LeaseHeld):
        mine.end_turn()
    assert store.turn() is not None
    assert store.turn().is_heard  # type: ignore[union-attr]


def test_a_person_may_say_that_the_holder_is_dead(store: Store) -> None:
    """The turn is taken, with the word of it; so it is where a lock says so."""
    store.claim("first", NOW, Claim(HERE))
    assert store.claim("second", NOW, Claim(THERE, take_over=True)).epoch == 2
    assert store.claim("third", NOW, Claim(HERE, is_alone=True)).epoch == 3


def test_what_is_left_of_a_quiet_is_passed_on(store: Store) -> None:
    """A successor in the same place begins with the rest of it, and a word or an orderly stop leaves it as it is."""
    store.claim("first", NOW, Claim(HERE))
    assert store.claim("second", NOW, Claim(THERE, take_over=True)).predecessor.quiet_for == timedelta(0)  # type: ignore[union-attr]
    begun = store.turn()
    assert begun is not None
    assert LATE_CALL + LEASE - timedelta(seconds=30) < begun.quiet_for <= LATE_CALL + LEASE
    third = store.claim("third", NOW, Claim(THERE))
    third.renew_turn()
    third.end_turn()

    left = store.claim("fourth", NOW, Claim(THERE)).predecessor

    assert left is not None
    assert left.quiet_until is not None
    assert abs(left.quiet_until - begun.quiet_until) < timedelta(seconds=1)  # type: ignore[operator]


def test_of_several_that_claim_at_once_one_has_the_turn(store: Store) -> None:
    """Hosts that race for a free turn: one gets it, the others are told by whom it is held."""
    barrier = Barrier(4)

    def claim(number: int) -> Journal | None:
        barrier.wait()
        try:
            return store.claim(f"pid {number}", NOW, Claim(replace(THERE, host=f"build{number}")))
        except LeaseHeld:
            return None

    with ThreadPoolExecutor(4) as pool:
        journals = [j for j in pool.map(claim, range(4)) if j is not None]

    assert [j.epoch for j in journals] == [1]


def test_being_heard_of_leaves_the_chain_alone(store: Store) -> None:
    """A word every ten seconds adds nothing to the journal."""
    mine = store.claim("first", NOW, Claim(HERE))
    links = store.check_journal().links
    mine.renew_turn()
    mine.end_turn()

    assert store.check_journal().links == links
