"""What a controller remembers of its replicas is what the database holds, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, select, update

from orchestrator.domain.records import EventKind, OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.store import tables
from orchestrator.store.journal import SqlJournal
from orchestrator.store.remembered import MOST_LINKS
from orchestrator.store.sql import SqlStore
from tests.postgres import postgres_server  # noqa: F401  # a fixture
from tests.store_samples import NOW, SERVICE, a_launch, a_sample, a_spec, an_operation, later

OTHER = "other"
LATELY = later(10)
S = ReplicaState


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_server").new_database())
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with SqlStore.open(url) as opened:
        yield opened


@pytest.fixture
def journal(store: SqlStore) -> SqlJournal:
    """The turn of a controller with two services."""
    for number, name in enumerate((SERVICE, OTHER)):
        store.submit_deploy(a_spec(name), an_operation(f"op-{number}", name))
    mine = store.claim("first", NOW)
    for number in range(2):
        mine.set_operation(f"op-{number}", OperationState.DONE, later(1))
    return mine


@pytest.fixture
def agrees(store: SqlStore, journal: SqlJournal, url: str) -> Iterator[Callable[[], None]]:
    """Compare, in every way of asking, with a store that remembers nothing."""
    with SqlStore.open(url) as plain:

        def compare(since: datetime = LATELY) -> None:
            for records in (journal, store):
                for service in (SERVICE, OTHER, "nobody"):
                    assert records.replicas(service) == plain.replicas(service)
                for asked in (None, SERVICE, OTHER):
                    found = records.replicas(asked, ended=True, ended_since=since)
                    assert found == plain.replicas(asked, ended=True, ended_since=since)

        yield compare


def by_hand(store: SqlStore, work: Callable[[Connection], object]) -> None:
    """Change the database past the journal."""
    store._database.write(work)


def end(journal: SqlJournal, name: str, at: datetime) -> None:
    """End a replica of which nothing is left."""
    journal.move_replica(name, S.DRAINING, at)
    journal.move_replica(name, S.TERMINATED, at)
    journal.update_replica(name, cleaned_up=True, now=at)


def test_every_write_is_seen_at_once(journal: SqlJournal, agrees: Callable[..., None]) -> None:
    """Starts, changes and ends, of both services, in an order that is not that of the slots."""
    agrees()
    for name, service, slot in (("chat-2", SERVICE, 1), ("o-1", OTHER, 0), ("chat-1", SERVICE, 0)):
        journal.start_replica(*a_launch(name, service=service, slot=slot))
        agrees()
    journal.move_replica("chat-1", S.PROVISIONING, later(2))
    agrees()
    journal.update_replica("o-1", endpoint="http://127.0.0.1:1", now=later(3))
    agrees()
    end(journal, "chat-2", later(5))
    agrees()
    assert [r.name for r in journal.replicas(SERVICE)] == ["chat-1"]
    end(journal, "o-1", later(20))
    agrees()


def test_an_earlier_end_is_asked_for(journal: SqlJournal, agrees: Callable[..., None]) -> None:
    """Who asks further back than anybody before is not answered from what was asked before."""
    for number, at in enumerate((2.0, 4.0, 6.0)):
        journal.start_replica(*a_launch(f"chat-{number}", slot=number))
        end(journal, f"chat-{number}", later(at))
    for seconds in (7, 5, 3, 1, 6):
        agrees(later(seconds))


def test_what_ended_long_ago_is_let_go(journal: SqlJournal, agrees: Callable[..., None], store: SqlStore) -> None:
    """A long history is not kept in memory once nobody asks for it."""
    for number in range(6):
        journal.start_replica(*a_launch(f"chat-{number}", slot=number))
        end(journal, f"chat-{number}", later(number))
    agrees(later(0))
    assert store._remembered is not None
    assert store._remembered.known == 6

    store._remembered.most_finished = 5
    journal.start_replica(*a_launch("chat-9", slot=9))
    agrees(later(100))

    assert store._remembered.known == 1


def test_a_successors_writes_are_seen(store: SqlStore, journal: SqlJournal, agrees: Callable[..., None]) -> None:
    """The chain tells of rows that another process wrote, too."""
    journal.start_replica(*a_launch("chat-1"))
    agrees()

    with SqlStore.open(store.address.url.render_as_string(hide_password=False)) as theirs:
        successor = theirs.claim("second", later(2))
        successor.move_replica("chat-1", S.PROVISIONING, later(3))
        successor.start_replica(*a_launch("chat-2", slot=1))

    agrees()
    assert [r.state for r in journal.replicas(SERVICE)] == [S.PROVISIONING, S.PENDING]


def test_a_row_changed_by_hand_is_seen_by_the_next_round(
    store: SqlStore, journal: SqlJournal, agrees: Callable[..., None]
) -> None:
    """No link tells of it; a round begins with reading all that is there, and that is compared."""
    for number in range(2):
        journal.start_replica(*a_launch(f"chat-{number}", slot=number))
    agrees()
    table = tables.replicas

    by_hand(store, lambda tx: tx.execute(update(table).where(table.c.name == "chat-1").values(reason="by hand")))
    journal.replicas()

    agrees()
    assert journal.replicas(SERVICE)[1].reason == "by hand"


def test_a_row_removed_by_hand_is_gone_by_the_next_round(
    store: SqlStore, journal: SqlJournal, agrees: Callable[..., None]
) -> None:
    """As above, of a row that no look would write to again."""
    journal.start_replica(*a_launch("chat-1"))
    agrees()

    def remove(tx: Connection) -> None:
        for table in (tables.leases, tables.placements, tables.intents):
            tx.execute(delete(table).where(table.c.replica == "chat-1"))
        tx.execute(delete(tables.replicas).where(tables.replicas.c.name == "chat-1"))

    by_hand(store, remove)
    assert not journal.replicas()

    agrees()
    assert not journal.replicas(SERVICE)


@pytest.mark.parametrize("written_since", [False, True])
def test_a_chain_that_is_another_one_is_read_anew(
    store: SqlStore, journal: SqlJournal, agrees: Callable[..., None], *, written_since: bool
) -> None:
    """A database that was set back has other links at the same numbers: nothing remembered is believed."""
    journal.start_replica(*a_launch("chat-1"))
    agrees()
    links = tables.journal_links

    def set_back(tx: Connection) -> None:
        newest = tx.execute(select(func.max(links.c.seq))).scalar_one()
        changed = update(tables.replicas).values(reason="another past")
        tx.execute(changed)
        tx.execute(update(links).where(links.c.seq == newest).values(sha256="0" * 64))
        tx.execute(update(tables.journal_head).values(sha256="0" * 64))

    by_hand(store, set_back)
    if written_since:
        journal.record_event(EventKind.WARNING, "on it goes", service=OTHER, at=NOW, wall_at=NOW)

    agrees()
    assert journal.replicas(SERVICE)[0].reason == "another past"


def test_a_chain_that_has_not_begun_is_no_ground_for_remembering(
    store: SqlStore, journal: SqlJournal, agrees: Callable[..., None]
) -> None:
    """Without its head nobody can tell what was written since."""
    journal.start_replica(*a_launch("chat-1"))
    agrees()

    by_hand(store, lambda tx: tx.execute(delete(tables.journal_head)))
    by_hand(store, lambda tx: tx.execute(update(tables.replicas).values(reason="by hand")))

    agrees()
    assert journal.replicas(SERVICE)[0].reason == "by hand"


def test_after_very_many_links_everything_is_read_anew(journal: SqlJournal, agrees: Callable[..., None]) -> None:
    """As after a night in which another controller acted."""
    journal.start_replica(*a_launch("chat-1"))
    agrees()

    journal.record_energy([a_sample("chat-1", later(60 * n)) for n in range(MOST_LINKS + 1)])
    journal.move_replica("chat-1", S.PROVISIONING, later(9))

    agrees()
    assert journal.replicas(SERVICE)[0].state is S.PROVISIONING
