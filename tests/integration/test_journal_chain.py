"""The chain of a journal in a database: whatever is changed past it is seen, named and never laundered."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.chain import Finding, Tampering
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.records import EventKind, IntentState, OperationKind, OperationState, ServiceState
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import Conflict
from orchestrator.store import schema, tables
from orchestrator.store.address import parse_address
from orchestrator.store.backup import write_backup
from orchestrator.store.chain import LINKED
from orchestrator.store.database import Database
from orchestrator.store.journal import SqlJournal
from orchestrator.store.mappers import row_of
from orchestrator.store.restore import restore_backup
from orchestrator.store.sql import SqlStore
from tests.postgres import PostgresServer, postgres_server  # noqa: F401  # a fixture
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
    an_operation,
    later,
)

T = Tampering
AT_REST = Decision("stay", SERVICE, NOW, DecisionKind.STAY, "policy", "green-first", "stay")


KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="module", params=KINDS)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a database of each kind is that everything was written to once; tests work on copies of it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('filled') / 'store.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").new_database()
    with SqlStore.open(url) as opened:
        fill(opened)
    return url


@pytest.fixture
def url(filled: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a copy of it is."""
    if filled.startswith("sqlite"):
        shutil.copy(filled.removeprefix("sqlite:///"), tmp_path / "store.db")
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.copied_database(filled)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    with SqlStore.open(url) as opened:
        yield opened


def fill(store: SqlStore) -> SqlJournal:
    """Write through every method that writes, to every table of the journal."""
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("one", NOW)
    journal.start_replica(*a_launch())
    journal.set_intent("launch-chat-1", IntentState.ISSUED, later(1))
    for state in (ReplicaState.PROVISIONING, ReplicaState.STARTING, ReplicaState.READY):
        journal.move_replica("chat-1", state, later(2))
    journal.update_replica("chat-1", weight_percent=100, endpoint="http://127.0.0.1:1", now=later(3))
    journal.record_decision(a_decision(), READINGS)
    journal.record_energy([a_sample(), a_sample(start=later(60))])
    journal.record_energy([a_sample(start=later(-7200)), a_sample(start=later(-7140))])
    journal.compact_energy(NOW)
    for n in range(DECISIONS_LEFT + 1):
        journal.record_decision(replace(AT_REST, id=f"stay-{n}", at=later(n)), ())
    assert journal.compact_decisions(later(86_400)) == 1
    journal.record_event(EventKind.WARNING, "something", service=SERVICE, at=NOW, wall_at=NOW)
    journal.next_routing_version()
    journal.set_restored(seen_epoch=9)
    journal.set_operation("op-1", OperationState.DONE, later(4))
    store.set_paused(SERVICE, paused=True, now=later(5), actor="ada", reason="incident")
    store.set_paused(None, paused=True, now=later(5))
    store.submit_reap(a_request("reap-1"))
    journal.set_reap_request("reap-1", OperationState.RUNNING, later(6))
    journal.close_reap_request("reap-1", OperationState.DONE, later(6), outcome_json="[]", reaps=[a_reap()])
    journal.set_reap("reap-1-gc-1", IntentState.ISSUED, later(7))
    journal.restore_revision(SERVICE, 1, later(7))
    store.submit(an_operation("op-2", kind=OperationKind.MIGRATE))
    store.submit(an_operation("op-3", kind=OperationKind.DOWN))
    journal.set_service_state(SERVICE, ServiceState.GOING_DOWN, later(8))
    return journal


def by_hand(store: SqlStore, *statements: str) -> None:
    """Do what a person with the database's own tool would do."""
    store._database.rebuild(lambda tx: [tx.execute(text(s)) for s in statements])


def found(store: SqlStore) -> list[tuple[Tampering, str, str]]:
    return [(f.what, f.table, f.row) for f in store.check_journal().findings]


def first_row(store: SqlStore, table: str) -> str:
    """Return the condition that names one row of a table."""
    key = LINKED[table].key
    columns = [tables.METADATA.tables[table].c[name] for name in key]
    query = tables.METADATA.tables[table].select().order_by(*columns).limit(1)

    def work(tx: Connection) -> str:
        raw = tx.exec_driver_sql(str(query.compile(tx, compile_kwargs={"literal_binds": True}))).mappings().one()
        return " AND ".join(f"{name} = '{raw[name]}'" for name in key)

    return store._database.read(work)


# ── what is written is whole ─────────────────────────────────────────────────────────────────────────


def test_what_was_written_is_whole(store: SqlStore) -> None:
    """Every method leaves rows and links that agree, in every table of the journal."""
    report = store.check_journal()

    assert report.findings == ()
    assert report.digest == ""
    links = store._database.read(lambda tx: set(tx.execute(tables.journal_links.select()).scalars("entity")))
    assert links - {"journal"} == set(LINKED)
    assert report.links > report.rows > 0


def test_a_write_that_changes_nothing_adds_no_link(store: SqlStore) -> None:
    """Repeating is free: the chain grows with what happened, not with how often somebody asked."""
    journal = store.claim("two", NOW)
    before = store.check_journal()

    journal.start_replica(*a_launch())
    journal.record_decision(a_decision(), READINGS)
    journal.record_energy([a_sample()])
    store.submit_deploy(a_spec(), an_operation())
    store.set_paused(None, paused=True, now=later(9))
    store.submit_reap(a_request("reap-1"))

    assert store.check_journal() == before


def test_a_write_that_fails_leaves_the_chain_as_it_was(store: SqlStore) -> None:
    """Row and link are one transaction."""
    journal = store.claim("two", NOW)
    before = store.check_journal()

    with pytest.raises(ValueError, match="cannot go"):
        journal.move_replica("chat-1", ReplicaState.PENDING, later(9))

    assert store.check_journal() == before


def test_every_table_of_the_journal_is_linked() -> None:
    """A table that is added later is chained, or is named here with the reason."""
    own = {"journal_links", "journal_head"}
    parts = {part.name for kind in LINKED.values() for part in kind.parts}
    found_anew = {"suspects"}  # every sweep replaces them by what it sees
    renewed = {"leases", "turn"}  # all the time: the one is asked of the replica, the other is worth a minute
    repeated = {"deployment"}  # its turn is in controllers, its uid in the first link

    assert set(tables.METADATA.tables) - renewed == set(LINKED) | own | parts | found_anew | repeated


# ── what is changed by hand is seen ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("table", sorted(LINKED))
def test_a_row_that_is_removed_is_named(store: SqlStore, table: str) -> None:
    """From whichever table: the first finding names the table, and a row of it."""
    name = first_row(store, table)
    if store._database.is_sqlite:
        by_hand(store, f"DELETE FROM {table} WHERE {name}")  # noqa: S608  # names of our own
    else:
        off, on = "SET LOCAL session_replication_role = replica", "SET LOCAL session_replication_role = origin"
        by_hand(store, off, f"DELETE FROM {table} WHERE {name}", on)  # noqa: S608  # names of our own

    first = store.check_journal().findings[0]
    assert (first.what, first.table) == (T.REMOVED, table)


WORD = "service, paused, actor, reason, at"

EDITS: dict[str, tuple[str, tuple[Tampering, str, str]]] = {
    "a price": ("UPDATE replicas SET usd_per_hour = 0.01", (T.EDITED, "replicas", "chat-1")),
    "a state": ("UPDATE replicas SET state = 'draining'", (T.EDITED, "replicas", "chat-1")),
    "a word that no version knows": ("UPDATE intents SET state = 'maybe'", (T.EDITED, "intents", "launch-chat-1")),
    "a number of joules": ("UPDATE energy_samples SET it_joules = 0.5", (T.EDITED, "energy_samples", "")),
    "a verdict": ("UPDATE verdicts SET passed = NOT passed", (T.EDITED, "decisions", "d-1")),
    "a signal": ("DELETE FROM signals_used", (T.EDITED, "decisions", "d-1")),
    "somebody's word": ("UPDATE pauses SET actor = 'eve' WHERE service = ''", (T.EDITED, "pauses", "2")),
    "history": ("UPDATE events SET text = 'nothing'", (T.EDITED, "events", "1")),
    "an accepted turn": (
        "UPDATE counters SET value = 99 WHERE name = 'restored_accepted_epoch'",
        (T.EDITED, "counters", "restored_accepted_epoch"),
    ),
    "a further pause": (
        f"INSERT INTO pauses ({WORD}) SELECT {WORD} FROM pauses WHERE service = ''",  # noqa: S608  # names of our own
        (T.ADDED, "pauses", "3"),
    ),
}


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_a_row_that_is_edited_or_added_is_named(store: SqlStore, edit: str) -> None:
    """Whatever column it is, whatever it says now, and whether or not this version could read it."""
    statement, (what, table, row) = EDITS[edit]

    by_hand(store, statement)

    first = store.check_journal().findings[0]
    assert (first.what, first.table) == (what, table)
    assert row in {"", first.row}


def test_history_can_be_left_out(store: SqlStore) -> None:
    """A controller looks at what it decides by; a doctor at everything."""
    by_hand(store, "UPDATE events SET text = 'nothing'")

    assert store.check_journal(history=False).is_whole
    assert not store.check_journal().is_whole


@pytest.mark.parametrize("column", ["kind", "entity", "row_key", "content_sha256", "before_sha256", "sha256", "detail"])
def test_a_link_that_is_edited_is_named(store: SqlStore, column: str) -> None:
    """A link covers itself; nobody can point it at another row."""
    by_hand(store, f"UPDATE journal_links SET {column} = 'x' WHERE seq = 5")  # noqa: S608  # names of our own

    assert (5, T.LINK_EDITED) in [(f.link, f.what) for f in store.check_journal().findings]


def test_a_link_that_is_removed_is_named(store: SqlStore) -> None:
    """In the middle by the gap, at the end by the head."""
    last = store.check_journal().links

    by_hand(store, "DELETE FROM journal_links WHERE seq = 5")
    assert store.check_journal().findings[0] == Finding(5, T.LINK_REMOVED)

    by_hand(store, f"DELETE FROM journal_links WHERE seq = {last}")  # noqa: S608  # a number
    assert Finding(last, T.LINK_REMOVED) in store.check_journal().findings


@pytest.mark.parametrize(
    "statement", ["DELETE FROM journal_head", "UPDATE journal_head SET seq = 3", "UPDATE journal_head SET sha256 = ''"]
)
def test_a_head_that_is_changed_is_seen_and_writes_go_on(store: SqlStore, statement: str) -> None:
    """Nobody is locked out by it: the chain goes on from its last link, and says what was met."""
    by_hand(store, statement)
    assert (T.EDITED, "journal_head", "head") in found(store) or (T.REMOVED, "journal_head", "head") in found(store)

    store.claim("two", NOW)

    assert found(store) == [(T.NOTICED, "journal", "head")]
    assert store.journal_marks().holds


def test_an_emptied_chain_does_not_begin_anew(store: SqlStore) -> None:
    """Whoever takes all links away has not made what is there the truth."""
    by_hand(store, "DELETE FROM journal_links")

    store.claim("two", NOW)

    assert T.LINK_REMOVED in {what for what, _, _ in found(store)}
    assert (T.ADDED, "replicas", "chat-1") in found(store)


@pytest.mark.parametrize("seed", range(2))
def test_random_edits_are_all_found(tmp_path: Path, seed: int) -> None:
    """Any text of any row of any table: every one of 25 is seen, alone."""
    store = SqlStore.open(f"sqlite:///{tmp_path / 'store.db'}")
    fill(store)
    draw = random.Random(seed)
    for n in range(25):
        table = draw.choice(sorted(LINKED))
        column = draw.choice([c.name for c in tables.METADATA.tables[table].c if str(c.type) == "TEXT"] or [""])
        if not column or column in LINKED[table].key:
            continue
        name = first_row(store, table)
        old = f"(SELECT {column} FROM {table} WHERE {name})"  # noqa: S608  # names of our own
        kept = store._database.read(lambda tx, q=old: tx.execute(text(f"SELECT {q}")).scalar_one())  # type: ignore[misc]  # bound now
        by_hand(store, f"UPDATE {table} SET {column} = 'changed {n}' WHERE {name}")  # noqa: S608  # as above
        assert table in {t for _, t, _ in found(store)}, (table, column)
        undo = text(f"UPDATE {table} SET {column} = :kept WHERE {name}")  # noqa: S608  # as above
        store._database.rebuild(lambda tx, q=undo, v=kept: tx.execute(q, {"kept": v}))  # type: ignore[misc]  # bound now
        assert found(store) == []
    store.close()


# ── nothing is laundered, nobody is locked out ───────────────────────────────────────────────────────


def test_a_write_does_not_launder_an_edit(store: SqlStore) -> None:
    """The controller changes a row that somebody has edited: it goes through, and the edit is on record for good."""
    by_hand(store, "UPDATE replicas SET usd_per_hour = 0.01")
    journal = store.claim("two", NOW)
    assert not store.journal_marks().holds

    journal.move_replica("chat-1", ReplicaState.DRAINING, later(9))

    assert found(store) == [(T.NOTICED, "replicas", "chat-1")]
    assert store.journal_marks().holds
    replica = store.replica("chat-1")
    assert replica is not None
    assert replica.state is ReplicaState.DRAINING


def test_a_row_that_was_removed_and_is_written_again_is_on_record(store: SqlStore) -> None:
    """The row is as it should be, and the chain still tells that it was gone."""
    by_hand(store, "DELETE FROM counters WHERE name = 'routing_version'")

    store.claim("two", NOW).next_routing_version()

    assert found(store) == [(T.NOTICED, "counters", "routing_version")]


def test_what_is_accepted_is_whole_again(store: SqlStore) -> None:
    """Edited, removed and added rows, and broken links: one word about all of them, kept in the chain itself."""
    by_hand(
        store,
        "UPDATE replicas SET usd_per_hour = 0.01",
        "DELETE FROM events",
        "DELETE FROM journal_links WHERE seq = 5",
        EDITS["a further pause"][0],
    )
    digest = store.check_journal().digest

    store.accept_edits(digest, actor="ada", reason="the disk failed", now=later(9))

    assert found(store) == []
    assert not store.journal_marks().holds
    [word] = store.journal_acceptances()
    assert (word.actor, word.reason, word.at, word.digest) == ("ada", "the disk failed", later(9), digest)
    by_hand(store, "UPDATE replicas SET usd_per_hour = 0.02")
    assert found(store) == [(T.EDITED, "replicas", "chat-1")]


def test_only_what_was_seen_can_be_accepted(store: SqlStore) -> None:
    """An edit that came after the look is not waved through with it; nor is an old word used twice."""
    by_hand(store, "UPDATE replicas SET usd_per_hour = 0.01")
    digest = store.check_journal().digest
    by_hand(store, "UPDATE intents SET usd_per_hour = 0.01")

    with pytest.raises(Conflict, match="findings are"):
        store.accept_edits(digest, actor="ada", reason="fine", now=NOW)
    assert len(found(store)) == 2

    store.accept_edits(store.check_journal().digest, actor="ada", reason="fine", now=NOW)
    with pytest.raises(Conflict, match="nothing is wrong"):
        store.accept_edits(digest, actor="ada", reason="fine", now=NOW)


def test_an_acceptance_that_is_edited_is_seen(store: SqlStore) -> None:
    """The word itself is part of the chain, and one that cannot be read is nobody's."""
    by_hand(store, "UPDATE replicas SET usd_per_hour = 0.01")
    store.accept_edits(store.check_journal().digest, actor="ada", reason="fine", now=NOW)

    by_hand(store, "UPDATE journal_links SET detail = '{' WHERE kind = 'accepted'")

    assert store.journal_acceptances() == []
    assert T.LINK_EDITED in {what for what, _, _ in found(store)}


def test_findings_are_noticed_once(store: SqlStore) -> None:
    """A controller that starts ten times says it once."""
    journal = store.claim("two", NOW)
    links = store.check_journal().links

    journal.notice_edits("abc")
    journal.notice_edits("abc")

    assert store.check_journal().links == links + 1
    assert store.journal_marks().noticed == links + 1


# ── old databases, backups ───────────────────────────────────────────────────────────────────────────


def test_a_filled_database_begins_its_chain_at_the_upgrade(tmp_path: Path) -> None:
    """What was there is adopted as it is by the first write; from then on it is guarded."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    database = Database(parse_address(url))
    schema.migrate(database, "0003")
    replica, intent, placement = a_launch()
    moments = {"created_at": NOW, "updated_at": NOW}
    service = {"name": SERVICE, "revision": 0, "state": ServiceState.ACTIVE, "paused": False}

    def old(tx: Connection) -> None:
        tx.execute(tables.deployment.insert().values(singleton=1, uid="abc", epoch=4))
        tx.execute(tables.services.insert().values(**service, **moments))
        for table, value in ((tables.replicas, replica), (tables.intents, intent), (tables.placements, placement)):
            tx.execute(table.insert().values(**row_of(value)))

    database.write(old)
    database.close()

    with SqlStore.open(url) as store:
        assert store.check_journal().links == 0
        store.claim("one", NOW)
        report = store.check_journal()
        assert report.is_whole
        assert report.rows == 5
        by_hand(store, "UPDATE replicas SET usd_per_hour = 0.01")
        assert found(store) == [(T.EDITED, "replicas", "chat-1")]


def test_a_backup_carries_the_chain(tmp_path: Path) -> None:
    """Restored, it is whole, goes on from where it was, and an edit before the backup is still an edit."""
    url, other = f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    with SqlStore.open(url) as store:
        fill(store)
        by_hand(store, "UPDATE intents SET usd_per_hour = 0.01")
        links = store.check_journal().links
    write_backup(url, tmp_path / "kept.zip", made_at=NOW)

    restore_backup(other, tmp_path / "kept.zip", actor="ada", now=NOW, wall_at=NOW)

    with SqlStore.open(other) as store:
        assert found(store) == [(T.EDITED, "intents", "launch-chat-1")]
        assert store.check_journal().links > links


WRITERS: dict[str, Callable[[SqlStore], object]] = {
    "a command": lambda store: store.set_paused(SERVICE, paused=False, now=NOW),
    "a controller": lambda store: store.claim("two", NOW),
}


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_two_stores_write_one_chain(url: str, store: SqlStore, writer: str) -> None:
    """Commands and controllers of several processes append to one chain, each from where the other left it."""
    with SqlStore.open(url) as other:
        WRITERS[writer](other)
        WRITERS[writer](store)
        WRITERS[writer](other)

    assert found(store) == []


@pytest.mark.parametrize("at_once", [2, 1000])
def test_a_journal_without_a_chain_gets_one_with_its_next_write(
    url: str, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Every row that is there is adopted, also the one that this very write changes: nothing is called edited."""
    monkeypatch.setattr("orchestrator.store.chain.AT_ONCE", at_once)
    with SqlStore.open(url) as store:
        journal = store.claim("after it", later(99))
        database = Database(parse_address(url))
        for table in (tables.journal_links, tables.journal_head):
            database.write(lambda tx, table=table: tx.execute(table.delete()))
        database.close()
        journal.set_service_state(SERVICE, ServiceState.GOING_DOWN, later(99))
        report = store.check_journal()

    assert report.is_whole, report.findings
    assert report.links == report.rows + 2, "the beginning, and what was written"


@pytest.mark.parametrize(
    ("edit", "table", "what"),
    [
        ("UPDATE replicas SET weight_percent = 50", "replicas", T.EDITED),
        ("UPDATE services SET revision = 9", "services", T.EDITED),
        ("UPDATE operations SET actor = 'bob'", "operations", T.EDITED),
        ("UPDATE journal_head SET seq = 2", "journal_head", T.EDITED),
        ("DELETE FROM journal_head", "journal_head", T.REMOVED),
    ],
)
def test_a_glance_sees_what_people_look_at(store: SqlStore, edit: str, table: str, what: Tampering) -> None:
    """Without a look at every link; a whole journal shows nothing, and so does an edit of what is not shown."""
    assert store.glance_at_journal() == ()
    by_hand(store, "UPDATE events SET text = 'nothing happened'")
    assert store.glance_at_journal() == ()

    by_hand(store, edit)

    assert (what, table) in {(f.what, f.table) for f in store.glance_at_journal()}
