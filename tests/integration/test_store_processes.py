"""Several processes at one database: who wins, who waits, who gives up, and what a killed one leaves behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from orchestrator.domain.records import EventKind, OperationState
from orchestrator.errors import GreenctlError, LeaseHeld, StoreUnavailable
from orchestrator.store.address import parse_address
from orchestrator.store.database import ATTEMPTS, Database
from orchestrator.store.sql import SqlStore
from tests.postgres import PostgresServer, postgres_server  # noqa: F401  # a fixture
from tests.store_samples import NOW, a_spec, an_operation, later

ROOT = Path(__file__).parents[2]

DEPLOY = """
import sys
from orchestrator.errors import Conflict
from orchestrator.store.sql import SqlStore
from tests.store_samples import a_spec, an_operation
store = SqlStore.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    print(store.submit_deploy(a_spec(), an_operation(sys.argv[2])))
except Conflict as error:
    print("conflict")
"""

CLAIM = """
import sys
from orchestrator.store.sql import SqlStore
from tests.store_samples import NOW
store = SqlStore.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(store.claim(sys.argv[2], NOW).epoch)
"""

WRITE_FOR_EVER = """
import sys
from orchestrator.domain.records import EventKind
from orchestrator.store.sql import SqlStore
from tests.store_samples import NOW, a_launch
journal = SqlStore.open(sys.argv[1]).claim("child", NOW)
n = 0
while True:
    journal.start_replica(*a_launch(f"r{n}"))
    journal.record_event(EventKind.WARNING, str(n), service="", at=NOW, wall_at=NOW)
    print(n, flush=True)
    n += 1
"""

HOLD = """
import sys
from orchestrator.store.address import parse_address
from orchestrator.store.database import Database
from orchestrator.store.tables import deployment
from sqlalchemy import select
def work(tx):
    tx.execute(select(deployment).with_for_update()).all()
    print("holding", flush=True)
    sys.stdin.readline()
Database(parse_address(sys.argv[1]), float(sys.argv[2])).write(work)
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with our schema."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_server").new_database())
    SqlStore.open(f"sqlite:///{tmp_path / 'store.db'}").close()
    return f"sqlite:///{tmp_path / 'store.db'}"


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process of its own; it is gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for the child's next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    """Let the child go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def outcomes(code: str, url: str) -> list[str]:
    """Run three children up to the same line, let them go at once and collect what they say."""
    with child(code, url, "a") as a, child(code, url, "b") as b, child(code, url, "c") as c:
        processes = (a, b, c)
        assert [line_of(p) for p in processes] == ["ready"] * 3
        for process in processes:
            let_go(process)
        return sorted(line_of(p) for p in processes)


def test_of_racing_command_lines_one_deploys(url: str) -> None:
    """Exactly one gets its revision, the others a conflict, and one request is stored."""
    assert outcomes(DEPLOY, url) == ["1", "conflict", "conflict"]

    with SqlStore.open(url) as store:
        assert len(store.operations(open_only=False)) == 1


def test_of_racing_controllers_each_gets_a_turn_of_its_own(url: str) -> None:
    """Epochs are distinct, without a hole."""
    assert outcomes(CLAIM, url) == ["1", "2", "3"]


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    """A process killed while it writes leaves every commit that it knew of, no half of one, and no lock."""
    with SqlStore.open(url) as store:
        store.submit_deploy(a_spec(), an_operation())
    with child(WRITE_FOR_EVER, url) as writer:
        acknowledged = [line_of(writer) for _ in range(25)][-1]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert writer.stdout is not None
        rest = writer.stdout.read().split("\n")[:-1]  # a last line without its end was not said
        acknowledged = ([acknowledged, *rest])[-1]

    with SqlStore.open(url) as store:
        replicas, events = store.replicas(), store.events(limit=100_000)
        assert len(replicas) >= len(events) > int(acknowledged)
        assert len(replicas) == len(store.intents()) == len(store.placements("chat"))
        assert store.claim("next", NOW).next_routing_version() == 1


def test_a_reader_is_not_kept_waiting_by_a_writer(url: str) -> None:
    """``greenctl status`` answers while the controller is in the middle of a write."""
    with SqlStore.open(url) as store:
        store.submit_deploy(a_spec(), an_operation())
        with child(HOLD, url, "15") as holder:
            assert line_of(holder) == "holding"
            assert len(store.services()) == 1
            let_go(holder)


def test_a_lock_that_lasts_is_given_up_on(url: str) -> None:
    """Within the stated patience, as an error that says so; and the next attempt works once the lock is gone."""
    with SqlStore.open(url, patience_seconds=0.6) as store:
        store.claim("me", NOW)
        with child(HOLD, url, "60") as holder:
            assert line_of(holder) == "holding"
            with pytest.raises(StoreUnavailable):
                store.claim("me", NOW)
        assert store.claim("me", NOW).epoch == 2


def test_a_lock_that_passes_is_waited_for(url: str) -> None:
    """The other process finishes: nobody notices more than a delay."""
    with SqlStore.open(url, patience_seconds=30) as store:
        store.claim("me", NOW)
        with child(HOLD, url, "60") as holder:
            assert line_of(holder) == "holding"
            with child(CLAIM, url, "other") as waiting:
                assert line_of(waiting) == "ready"
                let_go(waiting)
                assert waiting.poll() is None
                let_go(holder)
                assert line_of(waiting) == "2"


@pytest.mark.postgres
def test_a_controller_frozen_inside_a_transaction_does_not_block_its_successor(
    postgres_server: PostgresServer,  # noqa: F811
) -> None:
    """PostgreSQL ends the frozen session within the successor's patience; what it had begun is undone."""
    url = postgres_server.new_database()
    with SqlStore.open(url) as store:
        store.claim("frozen", NOW)
        with child(HOLD, url, "15") as holder:
            assert line_of(holder) == "holding"
            holder.send_signal(signal.SIGSTOP)
            assert store.claim("successor", NOW).epoch == 2
            holder.send_signal(signal.SIGCONT)


def test_two_stores_see_each_others_commits(url: str) -> None:
    """The controller sees a request at once, and the command line its progress."""
    with SqlStore.open(url) as cli, SqlStore.open(url) as controller:
        journal = controller.claim("controller", NOW)
        cli.submit_deploy(a_spec(), an_operation())

        assert [o.id for o in journal.operations()] == ["op-1"]
        journal.set_operation("op-1", OperationState.RUNNING, later(1))
        journal.record_event(EventKind.OPERATION, "running", service="chat", at=NOW, wall_at=NOW)

        seen = cli.operation("op-1")
        assert seen is not None
        assert seen.state is OperationState.RUNNING
        assert [e.text for e in cli.events("chat")] == ["running"]


def test_a_turn_is_lost_to_another_process(url: str) -> None:
    """Fencing holds across processes, not only within one."""
    with SqlStore.open(url) as store:
        journal = store.claim("first", NOW)
        with child(CLAIM, url, "second") as other:
            assert line_of(other) == "ready"
            let_go(other)
            assert line_of(other) == "2"
        with pytest.raises(LeaseHeld, match="second"):
            journal.next_routing_version()


def test_a_claim_waits_for_a_write_that_has_begun(url: str) -> None:
    """The check of the epoch holds to the end of its transaction: no claim slips in between check and commit."""
    entered, leave = Event(), Event()

    def pause(_tx: Connection) -> str:
        entered.set()
        assert leave.wait(30)
        return "written"

    with SqlStore.open(url, patience_seconds=30) as store, SqlStore.open(url, patience_seconds=0.3) as rival:
        journal = store.claim("first", NOW)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(journal._write, pause)
            try:
                assert entered.wait(30)
                with pytest.raises(StoreUnavailable):
                    rival.claim("second", NOW)
            finally:
                leave.set()
            assert writing.result() == "written"
        assert rival.claim("second", NOW).epoch == 2


def test_work_is_repeated_when_others_were_in_the_way(url: str) -> None:
    """A transaction that was undone for somebody else's sake runs again, from the start, a few times at most."""
    database = Database(parse_address(url))
    calls = []

    def be_in_the_way(tx: Connection, times: int) -> str:
        calls.append(tx)
        if len(calls) <= times:
            raise OperationalError("", {}, a_collision(database.is_sqlite))
        return "done"

    try:
        assert database.write(lambda tx: be_in_the_way(tx, ATTEMPTS - 1)) == "done"
        assert len(calls) == ATTEMPTS
        calls.clear()
        with pytest.raises(StoreUnavailable):
            database.write(lambda tx: be_in_the_way(tx, ATTEMPTS))
        assert len(calls) == ATTEMPTS
    finally:
        database.close()


def a_collision(is_sqlite: bool) -> Exception:
    """Make what the driver raises when a transaction lost against another one."""
    if not is_sqlite:
        psycopg = pytest.importorskip("psycopg")
        return psycopg.errors.SerializationFailure("could not serialize access")
    collision = sqlite3.OperationalError("database is locked")
    collision.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return collision


def test_other_failures_are_not_repeated(url: str) -> None:
    """Doing again what failed for a reason of its own would only hide the reason."""
    database = Database(parse_address(url))
    calls = []

    def fail(tx: Connection) -> None:
        calls.append(tx)
        tx.exec_driver_sql("SELECT * FROM nothing_of_that_name")

    try:
        with pytest.raises(GreenctlError):
            database.write(fail)
        assert len(calls) == 1
    finally:
        database.close()


def test_a_database_is_closed_when_the_store_is(tmp_path: Path) -> None:
    """No connection outlives the store: the log is folded into the file, which can be copied or moved."""
    path = tmp_path / "store.db"
    with SqlStore.open(f"sqlite:///{path}") as store:
        store.deployment_uid()
        assert path.with_name("store.db-wal").exists()

    assert [p.name for p in tmp_path.iterdir()] == ["store.db"]
