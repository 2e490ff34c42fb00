"""The schema: what the migrations make is what the tables say, on both databases, up and down again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select

from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import Pause, ServiceState
from orchestrator.domain.turns import Claim, Claimant
from orchestrator.errors import StoreIncompatible
from orchestrator.store import schema, tables
from orchestrator.store.address import parse_address
from orchestrator.store.codec import SPECS
from orchestrator.store.database import Database
from orchestrator.store.mappers import row_of
from orchestrator.store.sql import SqlStore
from orchestrator.store.tables import METADATA
from tests.postgres import PostgresServer, postgres_server  # noqa: F401  # a fixture
from tests.store_samples import NOW, READINGS, SERVICE, a_decision, a_launch, a_sample, a_spec, an_operation, later


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without anything in it."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").new_database(migrated=False)
    database = Database(parse_address(url))
    yield database
    database.close()


def definitions(tx: Connection) -> dict[str, str]:
    """Return what the database itself says about each table, index and constraint of ours."""
    if tx.dialect.name == "sqlite":
        query = "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE tbl_name <> 'greenctl_schema'"
        rows = tx.exec_driver_sql(query).all()
    else:
        rows = tx.exec_driver_sql(
            "SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " UNION ALL SELECT 'constraint ' || conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT 'column ' || table_name || '.' || column_name,"
            " concat_ws(' ', data_type, is_nullable, column_default, ordinal_position)"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        ).all()
    return {str(name): in_any_order(sql or "") for name, sql in rows if "greenctl_schema" not in name}


def in_any_order(sql: str) -> str:
    """Sort what stands between the outer brackets: columns and constraints mean the same in another order."""
    head, _, rest = re.sub(r'[\s"]+', "", sql).lower().partition("(")
    body, _, tail = rest.rpartition(")")
    return f"{head}({','.join(sorted(body.split(',')))}){tail}"


def test_the_code_names_the_newest_migration() -> None:
    """There is one head, and opening a database compares with it."""
    assert ScriptDirectory.from_config(schema.alembic_config()).get_heads() == [schema.HEAD]


def test_up_down_and_up_again(empty: Database) -> None:
    """Each migration can be taken back, and leaves what was there before: nothing, then everything."""
    schema.migrate(empty)
    first = empty.read(definitions)
    assert empty.read(schema.current_version) == schema.HEAD

    schema.migrate(empty, "base")
    assert empty.read(lambda tx: set(inspect(tx).get_table_names())) == {schema.VERSION_TABLE}
    assert empty.read(schema.current_version) is None

    schema.migrate(empty)
    assert empty.read(definitions) == first


def test_the_migrations_make_what_the_tables_say(empty: Database) -> None:
    """Alembic finds no difference between them."""
    schema.migrate(empty)

    def differences(tx: Connection) -> list[object]:
        context = MigrationContext.configure(tx, opts={"version_table": schema.VERSION_TABLE})
        return list(compare_metadata(context, METADATA))

    assert empty.read(differences) == []


def test_the_migrations_make_it_to_the_letter(empty: Database) -> None:
    """Checks, partial indexes and strictness included, which Alembic does not compare: the database's own words."""
    schema.migrate(empty)
    migrated = empty.read(definitions)
    schema.migrate(empty, "base")
    empty.write(METADATA.create_all)

    assert empty.read(definitions) == migrated
    assert any("uq_operations_open_service" in name for name in migrated)


def test_a_comparison_would_find_a_difference(empty: Database) -> None:
    """The two tests above can fail: an index more is seen by both ways of looking."""
    schema.migrate(empty)
    before = empty.read(definitions)
    empty.write(lambda tx: tx.exec_driver_sql("CREATE INDEX ix_intents_epoch ON intents (epoch)"))

    assert empty.read(definitions) != before
    context_sees = empty.read(
        lambda tx: compare_metadata(
            MigrationContext.configure(tx, opts={"version_table": schema.VERSION_TABLE}), METADATA
        )
    )
    assert [name for name, *_ in context_sees] == ["remove_index"]


def test_data_survives_opening_again(empty: Database) -> None:
    """Opening a current database keeps every row."""
    url = empty.address.url.render_as_string(hide_password=False)
    with SqlStore.open(url) as store:
        store.submit_deploy(a_spec(), an_operation())
        uid = store.deployment_uid()

    with SqlStore.open(url) as store:
        assert store.deployment_uid() == uid
        assert [s.spec for s in store.services()] == [a_spec()]


def test_a_newer_schema_is_refused(empty: Database) -> None:
    """A database of a later version is left as it is; the message names both versions."""
    schema.migrate(empty)
    empty.write(lambda tx: tx.exec_driver_sql("UPDATE greenctl_schema SET version_num = '9999'"))
    before = empty.read(definitions)

    with pytest.raises(StoreIncompatible, match="9999") as refusal:
        SqlStore.open(empty.address.url.render_as_string(hide_password=False))

    assert schema.HEAD in refusal.value.message
    assert empty.read(definitions) == before
    assert empty.read(schema.current_version) == "9999"


def test_somebody_elses_database_is_refused(empty: Database) -> None:
    """Tables that are not ours, under one of our names, are not touched."""
    empty.write(lambda tx: tx.exec_driver_sql("CREATE TABLE services (id INTEGER)"))
    before = empty.read(definitions)

    with pytest.raises(StoreIncompatible, match="services"):
        SqlStore.open(empty.address.url.render_as_string(hide_password=False))

    assert empty.read(definitions) == before


def test_a_failed_migration_changes_nothing(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema changes are part of the transaction on both databases: a crash half-way is as if it never began."""

    def fail(_tx: Connection) -> None:
        raise StoreIncompatible("on purpose")

    monkeypatch.setattr(schema, "_check_keys", fail)
    with pytest.raises(StoreIncompatible, match="on purpose"):
        schema.migrate(empty)
    monkeypatch.undo()

    assert empty.read(lambda tx: inspect(tx).get_table_names()) == []
    schema.migrate(empty)
    assert empty.read(schema.current_version) == schema.HEAD


def test_several_processes_may_open_a_new_database_at_once(empty: Database) -> None:
    """One migrates, the others wait and find it done; all agree on the installation's id."""
    url = empty.address.url.render_as_string(hide_password=False)
    code = "import sys; from orchestrator.store.sql import SqlStore; print(SqlStore.open(sys.argv[1]).deployment_uid())"
    argv = [sys.executable, "-c", code, url]

    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=60) for process in running]

    assert [error for _, error in answers] == [""] * 4
    assert len({uid for uid, _ in answers}) == 1
    assert empty.read(schema.current_version) == schema.HEAD


@pytest.mark.postgres
def test_a_second_migration_waits_for_the_first(
    postgres_server: PostgresServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that comes later finds the work done, instead of half of it in its way."""
    url = postgres_server.new_database(migrated=False)
    entered, leave = Event(), Event()
    check_keys = schema._check_keys

    def pause(tx: Connection) -> None:
        check_keys(tx)
        if not entered.is_set():
            entered.set()
            assert leave.wait(30)

    monkeypatch.setattr(schema, "_check_keys", pause)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(SqlStore.open, url)
        try:
            assert entered.wait(30)
            second = pool.submit(SqlStore.open, url)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'greenctl'"
            while not postgres_server.execute(waiting):
                assert not second.done(), second.exception()
        finally:
            leave.set()
        for opened in (first.result(), second.result()):
            opened.close()


def test_alembics_own_command_works_for_those_who_write_migrations(tmp_path: Path) -> None:
    """``alembic -x url=...`` upgrades a database and finds nothing to generate."""
    ini = schema.MIGRATIONS / "alembic.ini"
    argv = [sys.executable, "-m", "alembic", "-c", str(ini), "-x", f"url=sqlite:///{tmp_path / 'dev.db'}"]

    subprocess.run([*argv, "upgrade", "head"], check=True, capture_output=True)
    check = subprocess.run([*argv, "check"], check=True, capture_output=True, text=True)

    assert "No new upgrade operations" in check.stdout + check.stderr


def test_a_database_of_the_first_schema_keeps_its_rows(empty: Database) -> None:
    """Opening it adds the tables about orphans beside what was there; a step back takes away only those."""
    schema.migrate(empty, "0001")
    first = empty.read(definitions)
    empty.write(lambda tx: tx.exec_driver_sql("INSERT INTO deployment (singleton, uid, epoch) VALUES (1, 'abc', 41)"))
    url = empty.address.url.render_as_string(hide_password=False)

    with SqlStore.open(url) as store:
        assert empty.read(schema.current_version) == schema.HEAD
        assert (store.deployment_uid(), store.newest_epoch()) == ("abc", 41)
        store.claim("one", NOW).set_restored(seen_epoch=9)
        assert store.restored().seen_epoch == 9
        assert store.suspects() == store.reaps() == []

    config = schema.alembic_config()

    def one_back(tx: Connection) -> None:
        config.attributes["connection"] = tx
        command.downgrade(config, "0001")

    empty.rebuild(one_back)
    assert empty.read(definitions) == first
    assert empty.read(lambda tx: tx.exec_driver_sql("SELECT uid, epoch FROM deployment").one()) == ("abc", 42)


def test_what_was_paused_before_reasons_were_kept_stays_paused(empty: Database) -> None:
    """Forward: the word is there, without a name to it. Back: a pause of everything is left with each service."""
    schema.migrate(empty, "0002")
    url = empty.address.url.render_as_string(hide_password=False)
    spec = {"service": "chat", "revision": 1, "digest": "d", "spec": SPECS.encode(a_spec()), "operation_id": "op"}
    row = {"name": "chat", "revision": 1, "state": ServiceState.ACTIVE, "paused": True}
    moments = {"created_at": NOW, "updated_at": NOW}

    def fill(tx: Connection) -> None:
        tx.execute(tables.services.insert(), [row | moments, row | moments | {"name": "idle", "paused": False}])
        tx.execute(tables.operations.insert().values(**row_of(an_operation("op"))))
        tx.execute(tables.spec_revisions.insert().values(**spec, created_at=NOW))

    empty.write(fill)
    with SqlStore.open(url) as store:
        assert store.pauses() == [Pause("chat", True, "unknown user", "", NOW)]
        assert [s.paused for s in store.services()] == [True]
        store.set_paused("chat", paused=False, now=NOW, actor="ada")
        store.set_paused(None, paused=True, now=NOW, actor="ada")

    config = schema.alembic_config()

    def one_back(tx: Connection) -> None:
        config.attributes["connection"] = tx
        command.downgrade(config, "0002")

    empty.rebuild(one_back)
    flags = select(tables.services.c.paused)
    assert empty.read(lambda tx: list(tx.execute(flags).scalars())) == [True, True]


def test_hours_of_energy_go_back_as_samples(empty: Database) -> None:
    """A step back from the schema with hours loses nothing: they are samples of an hour then; forward they stay."""
    schema.migrate(empty)
    with SqlStore.open(empty.address.url.render_as_string(hide_password=False)) as store:
        store.submit_deploy(a_spec(), an_operation())
        journal = store.claim("one", NOW)
        journal.start_replica(*a_launch())
        journal.record_energy([a_sample(start=later(60 * n)) for n in range(150)])
        assert journal.compact_energy(later(3600)) == 60
        before = store.energy(SERVICE)
    config = schema.alembic_config()

    def back(tx: Connection) -> None:
        config.attributes["connection"] = tx
        command.downgrade(config, "0005")

    empty.rebuild(back)
    rows = empty.read(lambda tx: tx.exec_driver_sql("SELECT COUNT(*) FROM energy_samples").scalar_one())

    assert rows == len(before) == 1 + 90
    with SqlStore.open(empty.address.url.render_as_string(hide_password=False)) as store:
        assert store.energy(SERVICE) == before


def test_days_at_rest_go_back_as_decisions_that_are_gone(empty: Database) -> None:
    """A step back keeps all that is whole; forward again, a check names the missing day, and somebody accepts it."""
    schema.migrate(empty)
    url = empty.address.url.render_as_string(hide_password=False)
    with SqlStore.open(url) as store:
        store.submit_deploy(a_spec(), an_operation())
        journal = store.claim("one", NOW)
        for n in range(DECISIONS_LEFT + 2):
            stay = a_decision(f"d-{n}", at=later(n), kind=DecisionKind.STAY, actor="policy")
            journal.record_decision(stay, READINGS)
        assert journal.compact_decisions(later(86_400 * 2)) == 2
        before = store.decisions(SERVICE, limit=1000)
    config = schema.alembic_config()

    def back(tx: Connection) -> None:
        config.attributes["connection"] = tx
        command.downgrade(config, "0006")

    empty.rebuild(back)

    with SqlStore.open(url) as store:
        assert store.decisions(SERVICE, limit=1000) == before
        assert store.resting_days(SERVICE) == []
        report = store.check_journal()
        assert [(f.table, f.what.value) for f in report.findings] == [("resting_days", "removed")]
        store.accept_edits(report.digest, actor="ada", reason="went back a version", now=later(9))
        assert store.check_journal().is_whole


def test_the_holder_of_the_turn_is_forgotten_on_the_way_back(empty: Database) -> None:
    """A step back leaves no lease, as the version before has none; forward again whoever comes first has the turn."""
    schema.migrate(empty)
    url = empty.address.url.render_as_string(hide_password=False)
    with SqlStore.open(url) as store:
        store.claim("one", NOW, Claim(Claimant("build1", "/srv/a")))
    config = schema.alembic_config()

    def back(tx: Connection) -> None:
        config.attributes["connection"] = tx
        command.downgrade(config, "0007")

    empty.rebuild(back)
    assert not empty.read(lambda tx: inspect(tx).has_table("turn"))

    with SqlStore.open(url) as store:
        assert store.turn() is None
        assert store.claim("two", NOW, Claim(Claimant("build2", "/srv/b"))).epoch == 2
        assert store.check_journal().is_whole
