"""Commands that people run, and what befalls them: killed before or after a commit or a call, or without an answer.

Each is a process of its own. Whoever had one killed, or had no answer of it, runs the same again some time later: it
has done all or nothing, and the second one comes to the same end, or says what to do instead (I32).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.bench.sim.cloud import BROKEN_MODEL
from orchestrator.bench.sim.processes import COMMITS, RECORDS, Call, Died, Process
from orchestrator.control.usecases import pause, resume
from orchestrator.domain.records import Operation, OperationKind
from orchestrator.errors import (
    Conflict,
    DiskFull,
    GatewayUnavailable,
    GreenctlError,
    ProviderError,
    ProviderUnavailable,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from orchestrator.bench.sim.faults import Fault
    from orchestrator.bench.sim.world import SimWorld

KILLED_BEFORE, KILLED_AFTER, UNANSWERED = "killed before", "killed after", "answer lost"

MODES = {
    "command_killed_before": KILLED_BEFORE,
    "command_killed_after": KILLED_AFTER,
    "command_unanswered": UNANSWERED,
}
"""By the kind of the fault."""

MOST_POINTS = 2
"""Commits and calls to the outside that the longest command has: a deploy asks the provider first."""

ANOTHER_TRY_SECONDS = 300.0
"""After which a command is run again that nobody could be asked for."""

PAUSED_SECONDS = 1800.0

WISHES = ("scale", "new workload", "broken workload", "same again", "move", "down and up", "pause")

Command = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Interruption:
    """What befalls the next command at its n-th commit or call to the outside, and at none if it has fewer.

    ``seconds``: after which the same is run again.
    """

    mode: str
    point: int
    seconds: float = 60.0


class Commands:
    """Runs commands, and lets the next one be interrupted. ``points``: of the last one, by name."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self._coming: Interruption | None = None
        self._pending: Call | None = None
        self._interrupted: Interruption | None = None
        self.points: list[str] = []

    def interrupt_next(self, interruption: Interruption) -> None:
        """Let the next command be interrupted."""
        self._coming = interruption

    # ── at the door ──────────────────────────────────────────────────────────────────────────────────

    def before(self, call: Call) -> None:
        """Count what a command commits and asks of others, and perhaps kill it."""
        if call.port in RECORDS and call.method not in COMMITS:
            return
        self.points.append(call.point)
        coming = self._coming
        if coming is None or len(self.points) != coming.point:
            return
        self._coming, self._interrupted = None, coming
        self._world.tell(f"a command is interrupted: {coming.mode} {call.point}")
        if coming.mode == KILLED_BEFORE:
            self._die(call)
        self._pending = call

    def after(self, call: Call) -> None:
        """Kill it once the work is done, or lose the answer."""
        if call is not self._pending or self._interrupted is None:
            return
        self._pending = None
        if self._interrupted.mode == KILLED_AFTER:
            self._die(call)
        errors = {"cloud": ProviderError, "gateway": GatewayUnavailable}
        raise errors.get(call.port, StoreUnavailable)("the answer was lost")

    def _die(self, call: Call) -> None:
        call.process.is_alive = False
        self._world.people.runtime = self._world.runtime_of(Process(0))
        raise Died(call.point)

    # ── running them ─────────────────────────────────────────────────────────────────────────────────

    async def run(self, service: str, command: Command) -> None:
        """Run a command about a service. Whoever had it interrupted runs the same again later."""
        self._begin()
        before = self._on_record(service)
        try:
            await command()
        except (Died, GreenctlError):
            pass
        except Exception as error:  # noqa: BLE001  # that is what is being looked for
            self._world.checks.broken("I32", f"a command about {service} ended with {type(error).__name__}: {error}")
        finally:
            self._coming = None
        self._look_for_halves(service, before)
        if self._interrupted is not None:
            self._again_in(self._interrupted.seconds, service, command)

    def _begin(self) -> None:
        self.points.clear()
        self._pending = self._interrupted = None

    def _again_in(self, seconds: float, service: str, command: Command) -> None:
        async def again() -> None:
            await self._again(service, command)

        self._world.timeline.at(self._world.clock.elapsed + seconds, again)

    async def _again(self, service: str, command: Command) -> None:
        """Run it once more: it is done, or refused with what to do; where nobody could be asked somebody tries on."""
        self._world.tell("a command that was interrupted is run again")
        before = self._on_record(service)
        try:
            await command()
        except (StoreUnavailable, DiskFull, ProviderUnavailable):
            self._again_in(ANOTHER_TRY_SECONDS, service, command)
        except Conflict as refusal:
            self._world.tell(f"it is refused: {refusal.message}")
            if not refusal.hint():
                self._world.checks.broken("I32", f"refused without what to do: {refusal.message}")
        except GreenctlError as refusal:
            self._world.tell(f"it is refused: {refusal.code}: {refusal.message}")
        except Exception as error:  # noqa: BLE001  # that is what is being looked for
            self._world.checks.broken("I32", f"the same command again ended with {type(error).__name__}: {error}")
        self._look_for_halves(service, before)

    # ── all or nothing ───────────────────────────────────────────────────────────────────────────────

    def _on_record(self, service: str) -> tuple[int, frozenset[str]]:
        """Return the revision of a service, 0 without it, and the ids of the deploys that were asked for."""
        record = self._world.truth.service(service)
        return 0 if record is None else record.revision, frozenset(o.id for o in self._deploys(service))

    def _deploys(self, service: str) -> list[Operation]:
        requests = self._world.truth.operations(service, open_only=False)
        return [o for o in requests if o.kind is OperationKind.DEPLOY]

    def _look_for_halves(self, service: str, before: tuple[int, frozenset[str]]) -> None:
        """A file that is on record was asked for, and one that was asked for is on record."""
        if self._world.lost_rows:
            return
        revision, asked = self._on_record(service)
        new = sorted(asked - before[1])
        if revision > before[0] and not new:
            self._world.checks.broken("I32", f"{service} has a new file, and nobody's request is to put it there")
        for name in new:
            if self._world.truth.deployed_spec(service, name) is None:
                self._world.checks.broken("I32", f"{name} is to deploy a file of {service} that is on no record")

    # ── what people ask for ──────────────────────────────────────────────────────────────────────────

    async def interrupted(self, fault: Fault, to: str) -> None:
        """Run the command that the fault picks, and let it befall that; ``to``: where a move goes."""
        number, rest = divmod(fault.pick * len(WISHES), 1.0)
        point = 1 + fault.number % MOST_POINTS
        self.interrupt_next(Interruption(MODES[fault.kind], point, fault.seconds))
        record = self._world.truth.service("chat")
        if record is None:
            return
        people, wish = self._world.people, WISHES[int(number)]
        self._world.tell(f"ada's command: {wish}")
        match wish:
            case "scale":
                wanted = replace(record.spec, scaling=people.spec(number=1 + int(3 * rest)).scaling)
                await self.run("chat", lambda: people.deploy(wanted))
            case "new workload" | "broken workload":
                model = people.model(BROKEN_MODEL if wish.startswith("broken") else f"org/m{int(3 * rest)}")
                await self.run("chat", lambda: people.deploy(replace(record.spec, model=model)))
            case "same again":
                await self.run("chat", lambda: people.deploy(record.spec))
            case "move":
                await self.run("chat", lambda: people.move(to))
            case "down and up":
                await self.run("chat", _of(people.down))
                spec = people.spec()
                self._again_in(fault.seconds + ANOTHER_TRY_SECONDS, "chat", lambda: people.deploy(spec))
            case _:
                await self.run("chat", _of(lambda: pause("chat", people.runtime, actor="ada", reason="a look at it")))
                lift = _of(lambda: resume("chat", people.runtime, actor="ada", reason="all is well"))
                self._again_in(fault.seconds + PAUSED_SECONDS, "chat", lift)


def _of(command: Callable[[], Any]) -> Command:
    async def run() -> None:
        command()

    return run
