"""A real PostgreSQL server for the tests: its own data directory, reachable only through its own socket.

Import the ``postgres_server`` fixture. The server starts on first use and stops with the session. Where the server's
binaries are missing the tests that need it are skipped, and say so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.ports import Journal, Store
from orchestrator.domain.records import OperationState
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
from tests.store_samples import NOW, a_spec, an_operation, later

USER = "greenctl"
TEMPLATE = "template_greenctl"
START_SECONDS = 30.0


@dataclass
class PostgresServer:
    """One server. ``account`` runs it when we are root, which the server refuses to be."""

    binaries: Path
    home: Path
    account: pwd.struct_passwd | None
    _process: subprocess.Popen[bytes] | None = None
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def initialise(self) -> None:
        """Make the data directory. Its language sorts text otherwise than bytes do, as many installations do."""
        language = ["--locale-provider=icu", "--icu-locale=en-US"] if self.speaks_english else []
        self._run(
            *("initdb", f"--pgdata={self.home / 'data'}", f"--username={USER}", "--no-sync", "--encoding=UTF8"),
            *("--auth-local=trust", "--auth-host=reject", "--locale=C.UTF-8", *language),
        )
        rules = self.home / "data" / "pg_hba.conf"
        rules.write_text("local all locked scram-sha-256\n" + rules.read_text())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.home),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
            "max_connections": "60",
        }
        argv = [str(self.binaries / "postgres"), "-D", str(self.home / "data")]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._identity())
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Stop the server at once; harmless when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(3)  # SIGQUIT: immediate shutdown
            process.wait(START_SECONDS)

    def url(self, database: str, *, user: str = USER, password: str = "") -> str:
        """Return the URL of a database of this server."""
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@/{database}?host={self.home}"

    def new_database(self, *, migrated: bool = True) -> str:
        """Make a database and return its URL; with our schema in it unless asked otherwise."""
        if migrated and not self.execute("SELECT 1 FROM pg_database WHERE datname = %s", TEMPLATE):
            self.execute(f"CREATE DATABASE {TEMPLATE}")
            SqlStore.open(self.url(TEMPLATE)).close()
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if migrated else 'template1'}")
        return self.url(name)

    def copied_database(self, url: str) -> str:
        """Make a copy of a database of this server that nobody is connected to, and return its URL."""
        name, old = f"test_{next(self._numbers)}", url.partition("@/")[2].partition("?")[0]
        self.execute(f"CREATE DATABASE {name} TEMPLATE {old}")
        return self.url(name)

    def execute(self, statement: str, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the owner."""
        import psycopg  # noqa: PLC0415  # an optional dependency

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @cached_property
    def speaks_english(self) -> bool:
        """Whether the server can sort by the rules of a language whatever languages this machine has (15 and later)."""
        text = subprocess.run([self.binaries / "initdb", "--help"], capture_output=True, text=True, check=True).stdout
        return "--icu-locale" in text

    def _wait_until_it_answers(self) -> None:
        import psycopg  # noqa: PLC0415  # an optional dependency

        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process is None or self._process.poll() is not None:
                    log = (self.home / "server.log").read_text()
                    raise RuntimeError(f"PostgreSQL did not start:\n{log}") from None
                time.sleep(0.05)
            else:
                return

    def _run(self, program: str, *arguments: str) -> None:
        argv = [str(self.binaries / program), *arguments]
        subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL, **self._identity())

    def _identity(self) -> dict[str, Any]:
        if self.account is None:
            return {"cwd": self.home}
        account = self.account
        return {"cwd": self.home, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def find_binaries() -> Path | None:
    """Return the directory of the newest PostgreSQL server here, as Debian or the PATH has it."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    found = shutil.which("initdb")
    candidates = [versions[-1]] if versions else [Path(found).resolve()] if found else []
    return next((path.parent for path in candidates if (path.parent / "postgres").exists()), None)


def unprivileged_account() -> pwd.struct_passwd | None:
    """Return the account to run as when we are root; ``None`` when we are not."""
    if os.geteuid() != 0:
        return None
    by_name = {account.pw_name: account for account in pwd.getpwall()}
    return by_name.get("postgres") or by_name["nobody"]


_shared: list[PostgresServer] = []


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """The session's server, shared by all modules that import this fixture."""
    if not _shared:
        server = new_server(request.config)
        _shared.append(server)
        request.config.add_cleanup(_shared.clear)
    return _shared[0]


@pytest.fixture(name="store", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    """An empty store on SQLite, and then on PostgreSQL: the fixture `store` of who imports this and the server's."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").new_database()
    with SqlStore.open(url) as opened:
        yield opened


@pytest.fixture(name="store", params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def every_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore | SqlStore]:
    """An empty store of each kind: the fixture `store` of who imports this and the server's."""
    if request.param == "memory":
        yield MemoryStore()
        return
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").new_database()
    with SqlStore.open(url) as opened:
        yield opened


@pytest.fixture(name="journal")
def settled_journal(store: Store) -> Journal:
    """The turn of a controller that found one service, deployed and settled: `journal` of who imports this."""
    store.submit_deploy(a_spec(), an_operation())
    mine = store.claim("first", NOW)
    mine.set_operation("op-1", OperationState.DONE, later(1))
    return mine


def new_server(config: pytest.Config) -> PostgresServer:
    """Start a server that is stopped and removed when the session ends; skips the test when there is none to start."""
    pytest.importorskip("psycopg", reason="needs the postgres extra (psycopg)")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("needs the PostgreSQL server binaries (Debian: apt-get install postgresql)")
    stack = ExitStack()
    config.add_cleanup(stack.close)
    return stack.enter_context(running_server(binaries))


@contextmanager
def running_server(binaries: Path) -> Iterator[PostgresServer]:
    """Start a server; it is stopped and removed in the end."""
    home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))  # a socket's path must be short
    account = unprivileged_account()
    if account is not None:
        os.chown(home, account.pw_uid, account.pw_gid)
    server = PostgresServer(binaries, home, account)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
