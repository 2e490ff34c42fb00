"""Seeded bad moments for a real controller and its real database, and what must be true when they are over.

What is done to them is what their machines and the network between them do: kill, freeze, cut, delay, stop. The gateway
and the keepers of the engines are left alone: they are what makes a dead controller harmless, and have tests of their
own.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from orchestrator.control.ports import Store
from orchestrator.domain.records import IntentKind
from orchestrator.domain.replica import ENDED, ReplicaState
from orchestrator.errors import GreenctlError
from orchestrator.store.sql import SqlStore
from tests.e2e.deployment import Deployment, until
from tests.postgres import PostgresServer
from tests.processes.proxy import Mode, Proxy

SPEC = """
apiVersion: greenctl/v1
name: bad
model: {{id: greenctl/tiny, engine: builtin}}
service: {{replicas: {replicas}}}
placement: {{allow: [local/*], max_per_region: 1}}
migration: {{enabled: false, canary: [100%], canary_hold: 0s, drain: 10s}}
gateway: {{retries: 3, resume_streams: false}}
"""
HEAL_SECONDS = 240.0


@dataclass
class Yard:
    """One installation on a real PostgreSQL behind a proxy; schedules run in it one after the other."""

    deployment: Deployment
    server: PostgresServer
    database: str
    proxy: Proxy

    def records(self) -> Store:
        """Read the database past the proxy."""
        return SqlStore.open(self.server.url(self.database))

    def controller(self) -> psutil.Process | None:
        """The controller's process, if one lives."""
        pid = self.deployment.controller_pid()
        with suppress(psutil.Error):
            return None if pid is None else psutil.Process(pid)
        return None

    def ask(self, replicas: int) -> None:
        """Hand a deploy over; the controller has only begun when this returns."""
        path = self.deployment.spec(SPEC.format(replicas=replicas))
        self.deployment.run("deploy", path, "--yes", "--detach")

    def heal(self) -> None:
        """Take back every lasting fault, as people would, and see that a controller runs."""
        process = self.controller()
        if process is not None:
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        self.proxy.set(Mode.PASS)
        with suppress(Exception):
            self.server.execute(f"ALTER DATABASE {self.database} RESET default_transaction_read_only")
            self._drop_connections()
        until(lambda: self.controller() is not None or self._started(), "a controller runs", HEAL_SECONDS)

    def _started(self) -> bool:
        return self.deployment.run("controller", "start", check=False).returncode == 0

    def _drop_connections(self) -> None:
        self.server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", self.database)

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────

    def kill(self, _seconds: float) -> None:
        """SIGKILL, and nobody starts another one before the end."""
        process = self.controller()
        if process is not None:
            process.kill()
            process.wait(10)

    def replace(self, seconds: float) -> None:
        """SIGKILL, and another one at once."""
        self.kill(seconds)
        self.deployment.run("controller", "start", check=False)

    def freeze(self, seconds: float) -> None:
        """SIGSTOP and SIGCONT: inside of whatever it was doing."""
        process = self.controller()
        if process is not None:
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)

    def delay(self, seconds: float) -> None:
        """Everything that is said to the database and back takes longer."""
        self._for(Mode.DELAY, seconds)

    def half_open(self, seconds: float) -> None:
        """Connections stand and nothing gets through."""
        self._for(Mode.HALF_OPEN, seconds)

    def refuse(self, seconds: float) -> None:
        """Nobody listens."""
        self._for(Mode.REFUSE, seconds)

    def cut(self, _seconds: float) -> None:
        """Every connection ends where it is."""
        self.proxy.cut()

    def stop_database(self, seconds: float) -> None:
        """The server stops at once, and comes back by recovery from its log."""
        self.server.stop()
        time.sleep(seconds)
        self.server.start()

    def read_only(self, seconds: float) -> None:
        """The database takes no writes, as a standby does after a failover."""
        self.server.execute(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        self._drop_connections()
        time.sleep(seconds)
        self.server.execute(f"ALTER DATABASE {self.database} RESET default_transaction_read_only")
        self._drop_connections()

    def _for(self, mode: Mode, seconds: float) -> None:
        self.proxy.set(mode)
        time.sleep(seconds)
        self.proxy.set(Mode.PASS)


FAULTS: dict[str, Callable[[Yard, float], None]] = {
    "kill": Yard.kill,
    "replace": Yard.replace,
    "freeze": Yard.freeze,
    "delay": Yard.delay,
    "half-open": Yard.half_open,
    "refuse": Yard.refuse,
    "cut": Yard.cut,
    "stop database": Yard.stop_database,
    "read-only": Yard.read_only,
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens, in order: how many replicas are asked for, then faults, each for some seconds."""

    seed: int
    replicas: int
    faults: tuple[tuple[str, float], ...]


def drawn(seed: int) -> Schedule:
    """Return the schedule of a seed: always the same."""
    draw = random.Random(seed)
    names = sorted(FAULTS)
    chosen = [names[seed % len(names)], *draw.sample(names, k=draw.choice((0, 1)))]  # nine seeds leave none out
    return Schedule(seed, 1 + seed % 2, tuple((name, round(draw.uniform(0.2, 1.2), 2)) for name in chosen))


def play(yard: Yard, schedule: Schedule) -> None:
    """Ask for a change, break things meanwhile, heal, wait until all is as asked, and check."""
    yard.ask(schedule.replicas)
    for name, seconds in schedule.faults:
        FAULTS[name](yard, seconds)
    yard.heal()
    with yard.records() as store:
        until(lambda: not store.operations("bad"), f"no request is left open: {schedule}", HEAL_SECONDS)
        until(lambda: _at_rest(yard, store), f"engines are what is recorded: {schedule}", HEAL_SECONDS)
        check(yard, store)


def check(yard: Yard, store: Store) -> None:
    """The invariants: nobody is unowned, nothing was bought twice, and the journal is as it was written."""
    engines = _engines(yard)
    recorded = {r.name for r in store.replicas("bad") if r.state not in ENDED}
    assert set(engines) == recorded, f"engines {sorted(engines)}, records {sorted(recorded)}"
    assert all(n == 1 for n in engines.values()), f"one replica, several engines: {engines}"
    launches = Counter(i.replica for i in store.intents("bad") if i.kind is IntentKind.LAUNCH)
    assert all(n == 1 for n in launches.values()), f"one replica, several launches: {launches}"
    assert store.check_journal().findings == ()


def _at_rest(yard: Yard, store: Store) -> bool:
    try:
        replicas = [r for r in store.replicas("bad") if r.state not in ENDED]
        service = store.service("bad")
    except GreenctlError:
        return False
    wanted = 0 if service is None else service.spec.scaling.min_replicas
    settled = len(replicas) == wanted and all(r.state is ReplicaState.READY for r in replicas)
    return settled and set(_engines(yard)) == {r.name for r in replicas}


def _engines(yard: Yard) -> Counter[str]:
    """Count the engines' keepers by the replica that they carry: a keeper's children carry the same mark."""
    marked = {p.pid: p for p in yard.deployment.engines()}
    found: Counter[str] = Counter()
    for process in marked.values():
        with suppress(psutil.Error):
            if process.ppid() not in marked:
                found[process.environ()["GREENCTL_REPLICA"]] += 1
    return found
