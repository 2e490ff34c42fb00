"""Old samples in a database: merged, sealed, and the chain follows from end to end as before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from orchestrator.domain.chain import Tampering
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.records import EventKind
from orchestrator.domain.time import Window, floor_hour
from orchestrator.ledger.hourly import hourly
from orchestrator.store import tables
from orchestrator.store.journal import SqlJournal
from orchestrator.store.sql import SqlStore
from tests.postgres import either_store, postgres_server  # noqa: F401  # fixtures
from tests.store_samples import NOW, SERVICE, a_launch, a_sample, a_spec, an_operation, later

HOURS = 11
BEGIN = floor_hour(NOW)
T = Tampering


def minutes(replica: str = "chat-1") -> list[EnergySample]:
    """Samples of a few hours, each of another load."""
    return [
        a_sample(
            replica,
            window=Window.starting(BEGIN + timedelta(minutes=n), timedelta(minutes=1)),
            facility_joules=19912.2 + n / 7,
            mean_batch=n / 11,
            output_tokens=n,
        )
        for n in range(60 * HOURS)
    ]


@pytest.fixture
def journal(store: SqlStore) -> SqlJournal:
    """Eleven hours of one replica, and one that is not old yet."""
    store.submit_deploy(a_spec(), an_operation())
    found = store.claim("one", NOW)
    found.start_replica(*a_launch())
    found.record_energy(minutes())
    found.set_intent("launch-chat-1", "issued", later(1))  # type: ignore[arg-type]  # a word of it
    return found


def compact_all(journal: SqlJournal) -> None:
    """Take every step that there is, up to the last hour."""
    while journal.compact_energy(BEGIN + timedelta(hours=HOURS - 1)):
        pass


def by_hand(store: SqlStore, *statements: str) -> None:
    """Do what a person with the database's own tool would do."""
    store._database.rebuild(lambda tx: [tx.execute(text(s)) for s in statements])


def count(store: SqlStore, table: str) -> int:
    """How many rows there are."""
    query = select(func.count()).select_from(tables.METADATA.tables[table])
    return store._database.read(lambda tx: int(tx.execute(query).scalar_one()))


def found(store: SqlStore) -> list[tuple[Tampering, str]]:
    return [(f.what, f.table) for f in store.check_journal().findings]


def test_what_is_merged_and_sealed_is_whole_and_tells_the_same(store: SqlStore, journal: SqlJournal) -> None:
    """At each step. In the end a row stands for each old hour, and most of their links are gone."""
    before, links = hourly(store.energy(SERVICE)), store.check_journal().links
    assert len(before) == HOURS

    while journal.compact_energy(BEGIN + timedelta(hours=HOURS - 1)):
        assert store.check_journal().is_whole
        assert hourly(store.energy(SERVICE)) == before

    assert (count(store, "energy_hours"), count(store, "energy_samples")) == (HOURS - 1, 60)
    assert store.check_journal().links == count(store, "journal_links") < links - 400
    by_hand(store, "DELETE FROM energy_samples")
    assert found(store) == [(T.REMOVED, "energy_samples")] * 60


def test_writes_go_on_after_a_seal(store: SqlStore, journal: SqlJournal) -> None:
    """The next links follow the seal; a second range is sealed beside the first."""
    compact_all(journal)
    sealed = count(store, "journal_links")
    shift = timedelta(hours=HOURS)
    journal.record_energy(
        [a_sample(window=Window.starting(s.window.start + shift, timedelta(minutes=1))) for s in minutes()]
    )

    while journal.compact_energy(BEGIN + 2 * shift):
        pass

    assert store.check_journal().is_whole
    assert count(store, "journal_links") < sealed + 400
    assert count(store, "energy_samples") == 0


@pytest.mark.parametrize(
    ("edit", "seen"),
    [
        ("DELETE FROM energy_hours WHERE window_start = (SELECT MIN(window_start) FROM energy_hours)", T.REMOVED),
        ("UPDATE energy_hours SET it_joules = it_joules / 2", T.EDITED),
        ("DELETE FROM journal_links WHERE kind = 'sealed'", T.LINK_REMOVED),
        ("UPDATE journal_links SET content_sha256 = 'x' WHERE kind = 'sealed'", T.LINK_EDITED),
        ("DELETE FROM journal_links WHERE seq = 3", T.LINK_REMOVED),
        ("DELETE FROM journal_links WHERE entity = 'energy_hours'", T.LINK_REMOVED),
    ],
)
def test_what_is_changed_afterwards_is_seen(store: SqlStore, journal: SqlJournal, edit: str, seen: Tampering) -> None:
    """The rows that stand for samples, the seal, and links beside what it stands for: none is left out of a check."""
    compact_all(journal)
    assert store.check_journal().is_whole

    by_hand(store, edit)

    assert seen in {what for what, _ in found(store)}


def test_many_links_that_stay_do_not_keep_the_others(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after them is sealed all the same, and of them none can be taken out unseen."""
    monkeypatch.setattr("orchestrator.store.compaction.LINKS_AT_ONCE", 600)
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("one", NOW)
    for number in range(700):
        journal.record_event(EventKind.WARNING, f"{number}", service="", at=NOW, wall_at=NOW)
    journal.start_replica(*a_launch())
    journal.record_energy(minutes())

    while journal.compact_energy(BEGIN + timedelta(hours=HOURS)):
        assert store.check_journal().is_whole

    assert store.check_journal().is_whole
    assert count(store, "journal_links") < 700 + 250
    by_hand(store, "DELETE FROM journal_links WHERE seq = 40")
    assert found(store) == [(T.LINK_REMOVED, ""), (T.ADDED, "events")]


def test_links_that_somebody_took_away_are_not_sealed(store: SqlStore, journal: SqlJournal) -> None:
    """A gap that was there before stays a finding, however much is sealed around it."""
    by_hand(store, "DELETE FROM journal_links WHERE seq = 40")
    links = count(store, "journal_links")
    assert (T.LINK_REMOVED, "") in found(store)

    compact_all(journal)

    assert (T.LINK_REMOVED, "") in found(store)
    assert count(store, "journal_links") < links - 400


def test_an_edited_sample_is_put_on_record_before_it_is_merged(store: SqlStore, journal: SqlJournal) -> None:
    """A merge launders nothing: the mark stays, though the row is gone."""
    by_hand(store, "UPDATE energy_samples SET it_joules = 1 WHERE output_tokens = 7")

    compact_all(journal)

    assert found(store) == [(T.NOTICED, "energy_samples")]


def test_an_accepted_loss_of_an_hour_stays_accepted(store: SqlStore, journal: SqlJournal) -> None:
    """Neither it nor the samples that it stood for are found again."""
    compact_all(journal)
    by_hand(store, "DELETE FROM energy_hours WHERE window_start = (SELECT MIN(window_start) FROM energy_hours)")
    report = store.check_journal()
    assert len(report.findings) == 1

    store.accept_edits(report.digest, actor="ada", reason="lost", now=later(9))

    assert store.check_journal().is_whole
