"""A real PostgreSQL that is not there, goes away, comes back, or says no."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, QueuePool

from orchestrator.domain.energy import EnergySample
from orchestrator.domain.records import EventKind
from orchestrator.errors import DiskFull, StoreIncompatible, StoreUnavailable
from orchestrator.store import mappers
from orchestrator.store.database import SILENT_SECONDS
from orchestrator.store.sql import SqlStore
from orchestrator.store.tables import energy_samples
from tests.postgres import PostgresServer, new_server, postgres_server  # noqa: F401  # a fixture
from tests.processes.proxy import Mode, Proxy
from tests.store_samples import NOW, a_launch, a_sample, a_spec, an_operation

pytestmark = pytest.mark.postgres

PASSWORD = "s3cret-%40-hunter2"


@pytest.fixture
def server(postgres_server: PostgresServer) -> PostgresServer:  # noqa: F811
    return postgres_server


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    """Stands between a store and the server, and can fall silent."""
    between = Proxy(server.home / ".s.PGSQL.5432")
    between.start()
    yield between
    between.close()


def behind(proxy: Proxy, url: str) -> SqlStore:
    """Open a database through the proxy, by a store that waits less long for a word than ours do."""
    database = url.partition("@/")[2].partition("?")[0]
    through = f"postgresql://greenctl@127.0.0.1:{proxy.port}/{database}"
    return SqlStore.open(f"{through}?sslmode=disable&gssencmode=disable&connect_timeout=2", silent_seconds=0.3)


def shown_by(error: BaseException) -> str:
    """Everything that a user or a log could see of an error, with ``--debug``."""
    return "".join(traceback.format_exception(error))


def test_nobody_listening_is_said_without_the_password(server: PostgresServer) -> None:
    """Host and database are named, the password is not: neither in the message nor in the traceback."""
    del server
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://ada:{PASSWORD}@127.0.0.1:{unused.getsockname()[1]}/green"
        with pytest.raises(StoreUnavailable, match=r"ada:\*\*\*@127\.0\.0\.1") as refusal:
            SqlStore.open(url)

    assert "hunter2" not in shown_by(refusal.value)
    assert "GREENCTL_DATABASE_URL" in refusal.value.hint()


def test_a_wrong_password_is_not_repeated(server: PostgresServer) -> None:
    """The server refuses the login; the message says so and keeps the password to itself."""
    server.execute("DROP ROLE IF EXISTS locked")
    server.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")

    with pytest.raises(StoreUnavailable, match="authentication") as refusal:
        SqlStore.open(server.url("postgres", user="locked", password=PASSWORD))

    assert "hunter2" not in shown_by(refusal.value)


def test_a_password_in_the_query_is_hidden_too(server: PostgresServer) -> None:
    """Libpq takes it there as well."""
    with pytest.raises(StoreUnavailable) as refusal:
        SqlStore.open(server.url("postgres", user="locked_too") + f"&password={PASSWORD}")

    assert "hunter2" not in shown_by(refusal.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_usual_spelling_of_the_url_works(server: PostgresServer, scheme: str) -> None:
    """Including the one that hosting providers hand out."""
    url = server.new_database().replace("postgresql", scheme, 1)

    with SqlStore.open(url) as store:
        assert store.deployment_uid()
        assert store.address.shown.startswith("postgresql://greenctl@/")


def test_options_of_the_url_are_kept(server: PostgresServer) -> None:
    """Somebody's schema or time-out goes on top of ours."""
    url = server.new_database(migrated=False)
    name = url.partition("?")[0].rpartition("/")[2]
    server.execute("CREATE SCHEMA green", database=name)

    with SqlStore.open(url + "&options=-csearch_path%3Dgreen") as store:
        lock_timeout = store._database.read(lambda tx: tx.exec_driver_sql("SHOW lock_timeout").scalar_one())

    assert server.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'events'", database=name) == [
        ("green",)
    ]
    assert lock_timeout == "5s"


def test_a_missing_database_is_named(server: PostgresServer) -> None:
    """The server's own words come through."""
    with pytest.raises(StoreUnavailable, match="nowhere"):
        SqlStore.open(server.url("nowhere"))


def test_an_outage_is_survived_without_a_restart(request: pytest.FixtureRequest) -> None:
    """While the server is down every call says so; when it is back the same store and journal go on."""
    own = new_server(request.config)
    with SqlStore.open(own.new_database()) as store:
        store.submit_deploy(a_spec(), an_operation())
        journal = store.claim("me", NOW)

        own.stop()
        with pytest.raises(StoreUnavailable):
            store.services()
        with pytest.raises(StoreUnavailable):
            journal.record_event(EventKind.WARNING, "lost", service="", at=NOW, wall_at=NOW)
        with pytest.raises(StoreUnavailable):
            store.services()

        own.start()
        assert [s.name for s in store.services()] == ["chat"]
        journal.record_event(EventKind.WARNING, "kept", service="", at=NOW, wall_at=NOW)
        assert [e.text for e in store.events()] == ["kept"]


def test_a_read_notices_no_broken_connection(server: PostgresServer) -> None:
    """Connections that were cut while they lay idle are replaced unseen, for readers and writers."""
    url = server.new_database()
    with SqlStore.open(url) as store:
        store.deployment_uid()
        for _ in range(2):
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'greenctl'")
            assert store.services() == []
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'greenctl'")
            store.claim("me", NOW)


def test_a_server_that_falls_silent_is_not_waited_for_without_end(server: PostgresServer, proxy: Proxy) -> None:
    """The connection stands and takes whatever is sent: every call says so in the end, and later ones go on."""
    with behind(proxy, server.new_database()) as store:
        store.submit_deploy(a_spec(), an_operation())
        journal = store.claim("me", NOW)

        proxy.set(Mode.HALF_OPEN)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            store.services()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            journal.record_event(EventKind.WARNING, "lost", service="", at=NOW, wall_at=NOW)

        proxy.set(Mode.PASS)
        assert [s.name for s in store.services()] == ["chat"]
        journal.record_event(EventKind.WARNING, "kept", service="", at=NOW, wall_at=NOW)
        assert "kept" in [e.text for e in store.events()]


def test_a_silence_within_a_transaction_ends_it_and_is_waited_out_once(server: PostgresServer, proxy: Proxy) -> None:
    """Another try would take as long again; the connection is gone, as what comes late would answer something else."""
    asked = list[str]()

    def work(tx: Connection) -> None:
        asked.append("first")
        tx.exec_driver_sql("SELECT 1")
        proxy.set(Mode.HALF_OPEN)
        tx.exec_driver_sql("SELECT 2")

    with behind(proxy, server.new_database()) as store:
        pool = store._database._engine.pool
        assert isinstance(pool, QueuePool)
        for transact in (store._database.read, store._database.write):
            with pytest.raises(StoreUnavailable, match=r"it has said nothing for 0\.3 s"):
                transact(work)
            proxy.set(Mode.PASS)
            assert pool.checkedout() == 0
            assert store.services() == []

    assert asked == ["first", "first"]


def test_who_works_is_waited_for_as_long_as_the_work_may_take(server: PostgresServer) -> None:
    """As long as the server lets a statement take, by somebody's own limit too; a migration takes what it takes."""

    def patience(tx: Connection) -> float | None:
        driver = tx.connection.driver_connection
        assert driver is not None
        seconds: float | None = driver.silent_seconds
        return seconds

    url = server.new_database()
    for options, seconds in (
        ("", SILENT_SECONDS),
        ("-cstatement_timeout%3D2min", 125.0),
        ("-cstatement_timeout%3D0", None),
    ):
        with SqlStore.open(f"{url}&options={options}") as store:
            assert store._database.read(patience) == seconds
            assert store._database.rebuild(patience) is None
            assert store._database.write(patience) == seconds


def test_a_database_that_may_only_be_read_says_so(server: PostgresServer) -> None:
    """A standby, or a maintenance window: reading works, writing is refused in the server's words."""
    url = server.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with SqlStore.open(url) as store:
        assert store.services() == []
        with pytest.raises(StoreUnavailable, match="read-only"):
            store.claim("me", NOW)


def test_a_database_that_cannot_keep_every_text_is_refused(server: PostgresServer) -> None:
    """Before anything is made in it."""
    provider = "LOCALE_PROVIDER libc" if server.speaks_english else ""
    server.execute("DROP DATABASE IF EXISTS latin")
    server.execute(f"CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' {provider}")

    with pytest.raises(StoreIncompatible, match="LATIN1"):
        SqlStore.open(server.url("latin"))

    assert server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database="latin") == [(0,)]


def test_a_full_server_is_a_full_disk(server: PostgresServer) -> None:
    """The server's own SQLSTATE for it, raised by the server."""
    with SqlStore.open(server.new_database()) as store, pytest.raises(DiskFull):
        store._database.write(
            lambda tx: tx.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$")
        )


def test_text_sorts_as_promised_although_the_server_sorts_otherwise(server: PostgresServer) -> None:
    """The contract's orders are tested against a server whose language would give other ones."""
    if not server.speaks_english:
        pytest.skip("needs a PostgreSQL server of version 15 or later, built with ICU")

    rows = server.execute("SELECT t FROM (VALUES ('a'), ('B')) AS v(t) ORDER BY t")

    assert rows == [("a",), ("B",)]


def test_samples_are_understood_when_the_transaction_is_over(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Months of them take longer than the server lets a transaction idle; pages of them come all, and none is lost."""
    url, minutes = server.new_database(), 2_500
    with SqlStore.open(url) as store:
        store.submit_deploy(a_spec(), an_operation())
        journal = store.claim("me", NOW)
        journal.start_replica(*a_launch())
        journal.record_energy([a_sample()])
        others = ", ".join(c.name for c in energy_samples.columns if not c.name.startswith("window_"))
        store._database.write(
            lambda tx: tx.exec_driver_sql(
                f"INSERT INTO energy_samples ({others}, window_start, window_end)"  # noqa: S608  # our columns
                f" SELECT {others}, window_start + n * interval '1 minute', window_end + n * interval '1 minute'"
                f" FROM energy_samples, generate_series(1, {minutes - 1}) n"
            )
        )
    with SqlStore.open(url) as store:
        pool, read = store._database._engine.pool, mappers.energy_from
        assert isinstance(pool, QueuePool)

        def understood(row: mappers.Values) -> EnergySample:
            assert pool.checkedout() == 0
            return read(row)

        monkeypatch.setattr(mappers, "energy_from", understood)
        assert len(store.energy("chat", replica="chat-1")) == minutes
