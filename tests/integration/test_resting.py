"""Old decisions in a database: merged and sealed, and the chain follows from end to end as before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.chain import Tampering
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.time import Window, floor_day
from orchestrator.store import tables
from orchestrator.store.journal import SqlJournal
from orchestrator.store.sql import SqlStore
from tests.postgres import either_store, postgres_server  # noqa: F401  # fixtures
from tests.store_samples import NOW, READINGS, a_decision, a_launch, a_sample, a_spec, an_operation

DAYS = 2
SAMPLE = timedelta(minutes=4)
A_DAY = 15 * 24
"""Samples of a day."""
BEGIN = floor_day(NOW) + timedelta(days=1)
OLD = BEGIN + timedelta(days=DAYS)
T = Tampering


@pytest.fixture
def journal(store: SqlStore) -> SqlJournal:
    """Days of samples, a "stay" an hour, one move; and then what is too new."""
    store.submit_deploy(a_spec(), an_operation())
    found = store.claim("one", NOW)
    found.start_replica(*a_launch())
    for day in range(DAYS):
        start = BEGIN + timedelta(days=day)
        found.record_energy([a_sample(window=Window.starting(start + n * SAMPLE, SAMPLE)) for n in range(A_DAY)])
        for n in range(24 * day, 24 * (day + 1)):
            stay(found, f"h-{n}", n, DecisionKind.MOVE if n == 30 else DecisionKind.STAY)
    for n in range(DECISIONS_LEFT):
        stay(found, f"new-{n}", 24 * DAYS + n)
    return found


def stay(journal: SqlJournal, name: str, hours: int, kind: DecisionKind = DecisionKind.STAY) -> None:
    """Let the policy decide, so many hours after the beginning."""
    journal.record_decision(a_decision(name, at=BEGIN + timedelta(hours=hours), kind=kind, actor="policy"), READINGS)


def merge_all(journal: SqlJournal) -> None:
    while journal.compact_decisions(OLD):
        pass


def seal_all(journal: SqlJournal) -> None:
    while journal.compact_energy(OLD):
        pass


def by_hand(store: SqlStore, *statements: str) -> None:
    """Do what a person with the database's own tool would do."""
    store._database.rebuild(lambda tx: [tx.execute(text(s)) for s in statements])


def count(store: SqlStore, table: str) -> int:
    query = select(func.count()).select_from(tables.METADATA.tables[table])
    return store._database.read(lambda tx: int(tx.execute(query).scalar_one()))


def links_of(store: SqlStore, table: str) -> int:
    links = tables.journal_links.c
    query = select(func.count()).select_from(tables.journal_links).where(links.entity == table)
    return store._database.read(lambda tx: int(tx.execute(query).scalar_one()))


def found(store: SqlStore) -> list[tuple[Tampering, str]]:
    return [(f.what, f.table) for f in store.check_journal().findings]


def test_what_is_merged_and_sealed_is_whole(store: SqlStore, journal: SqlJournal) -> None:
    """At each step. A row stands for each day, the rules and signals are gone, and so are most of the links."""
    rules = count(store, "verdicts")
    while journal.compact_decisions(OLD):
        assert store.check_journal().is_whole
    while journal.compact_energy(OLD):
        assert store.check_journal().is_whole

    assert count(store, "resting_days") == DAYS
    assert count(store, "decisions") == DECISIONS_LEFT + 1
    assert count(store, "verdicts") * (24 * DAYS + DECISIONS_LEFT) == rules * (DECISIONS_LEFT + 1)
    assert count(store, "signals_used") == len(READINGS) * (DECISIONS_LEFT + 1)
    assert links_of(store, "decisions") == DECISIONS_LEFT + 24 * DAYS - 24  # a seal for fewer waits for more
    assert store.decision("h-30") is not None


def test_links_wait_until_the_decisions_of_their_time_are_merged(store: SqlStore, journal: SqlJournal) -> None:
    """Samples become hours by then; their links go no further than asked."""
    while journal.compact_energy(OLD, links_before=BEGIN + timedelta(days=1)):
        pass

    assert count(store, "energy_samples") == 0
    assert links_of(store, "energy_samples") >= A_DAY * (DAYS - 1)
    merge_all(journal)
    seal_all(journal)
    assert links_of(store, "energy_samples") < A_DAY
    assert store.check_journal().is_whole


def test_decisions_of_a_service_without_replicas_are_sealed(store: SqlStore) -> None:
    """A month of "stay", and nothing that was drawn: as far as it is merged, and what is young later."""
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("one", NOW)
    days = 44
    for n in range(24 * days + DECISIONS_LEFT):
        stay(journal, f"h-{n}", n)
    half, end = BEGIN + timedelta(days=days // 2), BEGIN + timedelta(days=days)
    for until, left in ((half, 24 * days // 2), (end, 0)):
        while journal.compact_decisions(until):
            pass
        while journal.compact_energy(until):
            assert store.check_journal().is_whole

        assert links_of(store, "decisions") <= left + DECISIONS_LEFT + 4
    assert store.check_journal().is_whole
    by_hand(store, "DELETE FROM resting_days WHERE day = (SELECT MIN(day) FROM resting_days)")
    assert found(store) == [(T.REMOVED, "resting_days")]


def test_young_decisions_are_not_passed_by(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: their links go once they are merged."""
    monkeypatch.setattr("orchestrator.store.compaction.LINKS_AT_ONCE", 300)
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("one", NOW)
    for n in range(24 * 30 + DECISIONS_LEFT):
        stay(journal, f"h-{n}", n)

    assert journal.compact_energy(BEGIN) == 0
    while journal.compact_decisions(BEGIN + timedelta(days=30)):
        pass
    while journal.compact_energy(BEGIN + timedelta(days=30)):
        assert store.check_journal().is_whole

    assert links_of(store, "decisions") < 300 + DECISIONS_LEFT


@pytest.mark.parametrize(
    ("edit", "seen"),
    [
        ("DELETE FROM resting_days WHERE day = (SELECT MIN(day) FROM resting_days)", (T.REMOVED, "resting_days")),
        ("UPDATE resting_days SET summary = 'moved'", (T.EDITED, "resting_days")),
        ("UPDATE resting_days SET ids_json = 'no list'", (T.EDITED, "resting_days")),
        ("UPDATE resting_days SET ids_json = '7'", (T.EDITED, "resting_days")),
        ("DELETE FROM verdicts WHERE decision_id = 'h-30'", (T.EDITED, "decisions")),
    ],
)
def test_what_is_changed_afterwards_is_seen(
    store: SqlStore, journal: SqlJournal, edit: str, seen: tuple[Tampering, str]
) -> None:
    """The rows that stand for decisions, and the decisions that were kept."""
    merge_all(journal)
    seal_all(journal)
    assert store.check_journal().is_whole

    by_hand(store, edit)

    assert seen in found(store)
    assert {table for _, table in found(store)} == {seen[1]}  # not one more for each decision that a row stood for


def test_links_of_days_are_missed(store: SqlStore, journal: SqlJournal) -> None:
    """They say which decisions are not missing, so taking them out hides nothing."""
    merge_all(journal)

    by_hand(store, "DELETE FROM journal_links WHERE entity = 'resting_days'")

    assert (T.LINK_REMOVED, "") in found(store)
    assert (T.REMOVED, "decisions") in found(store)


def test_a_decision_that_somebody_takes_away_is_missed(store: SqlStore, journal: SqlJournal) -> None:
    """Only those that a row of a day names are not."""
    merge_all(journal)

    by_hand(
        store,
        "DELETE FROM verdicts WHERE decision_id = 'new-3'",
        "DELETE FROM signals_used WHERE decision_id = 'new-3'",
        "DELETE FROM decisions WHERE id = 'new-3'",
    )

    assert found(store) == [(T.REMOVED, "decisions")]


def test_an_edited_decision_is_put_on_record_before_it_is_merged(store: SqlStore, journal: SqlJournal) -> None:
    """A merge launders nothing: the mark stays, though the row is gone."""
    by_hand(store, "UPDATE decisions SET summary = 'moved' WHERE id = 'h-3'")

    merge_all(journal)
    seal_all(journal)

    assert found(store) == [(T.NOTICED, "decisions")]


def test_an_edited_day_is_put_on_record_before_it_grows(store: SqlStore, journal: SqlJournal) -> None:
    """What is added later is added to what stands there, with the mark."""
    merge_all(journal)
    by_hand(store, "UPDATE resting_days SET summary = 'moved' WHERE day = (SELECT MIN(day) FROM resting_days)")
    stay(journal, "late", 1)
    for n in range(DECISIONS_LEFT):
        stay(journal, f"newer-{n}", 24 * DAYS + n)

    merge_all(journal)

    assert store.resting_days("chat")[0].ids[0] == "late"
    assert found(store) == [(T.NOTICED, "resting_days")]
