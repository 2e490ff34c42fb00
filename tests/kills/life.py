"""One installation on this machine, lived through in rounds: something is asked for, and somebody dies on the way.

What is asked for changes real replicas; :data:`VICTIMS` says who dies. Before each round two replicas serve, and after
it the operating system has to run exactly what the journal says.

When the gateway dies, the connections that it held end with it: nobody else can answer them. What is promised then is
that another one serves by the last table without a word from anybody, and that no replica is lost or bought for it.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from orchestrator.domain.records import IntentKind
from orchestrator.domain.replica import Replica, ReplicaState
from tests.e2e.deployment import Deployment, until
from tests.kills.clients import Clients, Outage, kill_gateway, until_served_again
from tests.provisioner_bench import keeper_of, main_of, processes_of

SERVICE: Final = "kills"
REPLICAS: Final = 2
REGIONS: Final = ("local/de", "local/se", "local/us-mida-pjm")

DYING_WITHIN_SECONDS: Final = 20.0
"""On two cores the start of vLLM, the shift of traffic and the drain fall into the first twenty seconds of a change."""

SETTLING_SECONDS: Final = 420.0

_SPEC = """
apiVersion: greenctl/v1
name: kills
model: {{id: greenctl/tiny, engine: {engine}{arguments}}}
service: {{replicas: 2}}
placement: {{allow: [local/*], max_per_region: 1}}
migration: {{enabled: false, canary: [25%, 100%], canary_hold: 2s, drain: 60s}}
gateway: {{retries: 3, resume_streams: true}}
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What happened in one of them.

    ``found``: the replicas by state at the moment of the death. ``died``: what got the SIGKILL. ``rest_seconds``: from
    there until two replicas served and nothing else was left, as journal and operating system say alike.
    ``away_seconds``: how long no gateway answered, where it died.
    """

    number: int
    asked: str
    after_seconds: float
    found: str
    died: str
    rest_seconds: float
    away_seconds: float | None = None


class Life:
    """Rounds that follow from a seed, on one installation.

    ``engine``: ``vllm``, or ``builtin``, which has no arguments that could make another workload.
    """

    def __init__(self, made: Deployment, engine: str, seed: int) -> None:
        self.made = made
        self._engine = engine
        self._seed = seed
        self._workload = 0
        self._clients = Clients(made, 6, 64)
        self._gateway_died: tuple[int, Outage] | None = None
        self._killed: set[str] = set()
        self._chosen = VICTIMS

    def only(self, words: str) -> None:
        """Let nobody die but victims whose name has these words."""
        self._chosen = {name: kill for name, kill in VICTIMS.items() if words in name}

    def begin(self) -> None:
        """Deploy two replicas."""
        self.made.run("deploy", self._spec(), "--yes")

    async def live(self, count: int, tell: Callable[[Round], None]) -> Clients:
        """Live through so many rounds with streams open all the time, and return who had them.

        Raises :class:`AssertionError` when a round does not come to rest, something was bought twice, or a replica was
        lost that nobody killed.
        """
        async with self._clients as clients:
            for number in range(count):
                tell(await asyncio.to_thread(self._round, number))
        return clients

    def end(self) -> None:
        """Take the service down, while the controller dies; raises :class:`AssertionError` if anything stays."""
        command = self.made.start("down", SERVICE, "--yes")
        until(lambda: bool(self.made.records().operations(SERVICE)) or bool(command.poll()), "down was asked for")
        assert not command.poll(), f"down was refused with status {command.returncode}"
        self.made.kill_controller()
        self.made.run("controller", "start")
        command.wait(SETTLING_SECONDS)
        until(lambda: not self.made.records().replicas(SERVICE), "the service is down", SETTLING_SECONDS)
        until(lambda: not self.made.engines(), "no process of a replica is left", SETTLING_SECONDS)

    def _round(self, number: int) -> Round:
        chance = random.Random(f"{self._seed}/{number}")
        requests = sorted(_REQUESTS) if self._engine == "vllm" else sorted(_OF_ANY_ENGINE)
        asked, victim = chance.choice(requests), chance.choice(sorted(self._chosen))
        after = chance.uniform(0.0, DYING_WITHIN_SECONDS)
        command = _REQUESTS[asked](self)
        try:
            time.sleep(after)
            found = ", ".join(r.state for r in self.replicas())
            began = time.monotonic()
            died = VICTIMS[victim](self, command, chance)
            if self.made.controller_pid() is None:
                self.made.run("controller", "start")
            away = self._gateway_serves_again()
            until(self._rests, f"two replicas serve, nothing else runs (round {number})", SETTLING_SECONDS)
        finally:
            if command is not None:
                command.wait(SETTLING_SECONDS)
        rested = time.monotonic() - began
        self._check()
        return Round(number, asked, after, found, died, rested, away)

    def gateway_dies(self, *, whole: bool) -> bool:
        """Kill the gateway; whether there was one."""
        outage = Outage(time.monotonic())
        pid = kill_gateway(self.made, whole=whole)
        if pid is not None:
            self._clients.outages.append(outage)
            self._gateway_died = pid, outage
        return pid is not None

    def doom(self, name: str) -> None:
        """Remember that this replica was killed: it is the only kind that may be lost."""
        self._killed.add(name)

    def _gateway_serves_again(self) -> float | None:
        """Wait for it where it died, and return how long nobody answered."""
        if self._gateway_died is None:
            return None
        (pid, outage), self._gateway_died = self._gateway_died, None
        until_served_again(self.made, pid)
        outage.ended = time.monotonic()
        return outage.ended - outage.began

    def _check(self) -> None:
        """Nothing was bought twice, and nobody is lost but who was killed."""
        records = self.made.records()
        launches = Counter(i.replica for i in records.intents(SERVICE) if i.kind is IntentKind.LAUNCH)
        assert all(n == 1 for n in launches.values()), f"one replica, several launches: {launches}"
        ended = records.replicas(SERVICE, ended=True)
        lost = {r.name for r in ended if r.state in {ReplicaState.LOST, ReplicaState.FAILED}}
        assert lost <= self._killed, f"lost, and nobody had killed them: {sorted(lost - self._killed)}"

    def replicas(self) -> list[Replica]:
        """Those that live or are not yet cleaned up."""
        return list(self.made.records().replicas(SERVICE))

    def idle(self) -> None:
        """Ask for nothing: whoever dies, dies in quiet hours."""

    def move(self) -> subprocess.Popen[bytes]:
        """Ask for a move to the region that is free."""
        taken = {r.region for r in self.replicas()}
        free = next(region for region in REGIONS if region not in taken)
        return self.made.start("migrate", SERVICE, "--to", free, "--yes")

    def renew(self) -> subprocess.Popen[bytes]:
        """Ask for another workload, so that each replica is replaced in turn."""
        self._workload += 1
        return self.made.start("deploy", self._spec(), "--yes")

    def _rests(self) -> bool:
        there = self.replicas()
        try:
            running = {p.environ()["GREENCTL_REPLICA"] for p in self.made.engines()}
        except psutil.NoSuchProcess:  # ended between being listed and being asked
            return False
        return (
            len(there) == REPLICAS
            and all(r.state is ReplicaState.READY and r.weight_percent == 100 for r in there)
            and not self.made.records().operations(SERVICE)
            and running == {r.name for r in there}
        )

    def _spec(self) -> str:
        arguments = f", args: {{seed: {self._workload}}}" if self._workload else ""
        return self.made.spec(_SPEC.format(engine=self._engine, arguments=arguments))


_Command = subprocess.Popen[bytes] | None
_REQUESTS: Final[Mapping[str, Callable[[Life], _Command]]] = {
    "nothing": Life.idle,
    "move": Life.move,
    "renew": Life.renew,
}
_OF_ANY_ENGINE: Final = ("nothing", "move")


def _controller(life: Life, _command: _Command, _chance: random.Random) -> str:
    if life.made.controller_pid() is None:
        return "nobody: no controller ran"
    life.made.kill_controller()
    return "the controller"


def _engine(life: Life, _command: _Command, chance: random.Random) -> str:
    """Kill every process of a replica, as a machine does that vanishes."""
    return _kill_of_replica(life, chance, "machine", lambda name: [p.pid for p in processes_of(name)])


def _main_process(life: Life, _command: _Command, chance: random.Random) -> str:
    """Kill the engine's main process alone, as the kernel does when memory runs out."""
    return _kill_of_replica(life, chance, "main process", lambda name: [p.pid for p in [main_of(name)] if p])


def _keeper(life: Life, _command: _Command, chance: random.Random) -> str:
    """Kill the process that watches over an engine."""
    return _kill_of_replica(life, chance, "keeper", lambda name: [p.pid for p in [keeper_of(name)] if p])


def _command_line(_life: Life, command: _Command, _chance: random.Random) -> str:
    """Kill what the person typed; the work is the controller's and goes on."""
    if command is None or command.poll() is not None:
        return "nobody: no command ran"
    command.kill()
    return "the command"


def _both(life: Life, command: _Command, chance: random.Random) -> str:
    return f"{_engine(life, command, chance)}; {_controller(life, command, chance)}"


def _gateway(life: Life, _command: _Command, _chance: random.Random) -> str:
    """Kill every process of the gateway at once."""
    return "the gateway" if life.gateway_dies(whole=True) else "nobody: no gateway ran"


def _gateway_main(life: Life, _command: _Command, _chance: random.Random) -> str:
    """Kill the gateway's first process alone: what it had started goes on serving until the next one takes over."""
    return "the gateway's main process" if life.gateway_dies(whole=False) else "nobody: no gateway ran"


def _gateway_and_controller(life: Life, command: _Command, chance: random.Random) -> str:
    """Kill the controller first, so that nobody brings the gateway back but the next controller."""
    return f"{_controller(life, command, chance)}; {_gateway(life, command, chance)}"


VICTIMS: Final[Mapping[str, Callable[[Life, _Command, random.Random], str]]] = {
    "controller": _controller,
    "machine": _engine,
    "main process": _main_process,
    "keeper": _keeper,
    "command": _command_line,
    "machine and controller": _both,
    "gateway": _gateway,
    "main process of the gateway": _gateway_main,
    "gateway and controller": _gateway_and_controller,
}


def _kill_of_replica(life: Life, chance: random.Random, what: str, pids: Callable[[str], list[int]]) -> str:
    """Kill processes of one replica, whatever its state, so long as another one serves."""
    serving = [r.name for r in life.replicas() if r.state is ReplicaState.READY and r.weight_percent > 0]
    mortal = [r for r in life.replicas() if set(serving) - {r.name}]
    if not mortal:
        return "nobody: no other replica serves"
    victim = chance.choice(sorted(mortal, key=lambda r: r.name))
    found = pids(victim.name)
    if found:
        life.doom(victim.name)
    for pid in found:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    return f"{what} of a replica that is {victim.state}" if found else f"nobody: no {what} there yet"
