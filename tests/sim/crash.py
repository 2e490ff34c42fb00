"""Kill the controller before and after everything that leaves its process, or let the answer be lost; then again.

A story is something that the controller has to bring to an end. First it is told undisturbed, and everything that
leaves the process is a point: a commit, or a call to the cloud or the gateway. Then it is told once for every point and
mode, perhaps with a second crash while the first is being recovered from, and in the end all must be in order.

The commands that people run in a story are crashed as well, at each of their commits and calls to the outside. Somebody
runs the same again, and the story has to come to the end that it comes to undisturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.bench.sim.checks import Violation
from orchestrator.bench.sim.cloud import BROKEN_MODEL
from orchestrator.bench.sim.commands import Interruption
from orchestrator.bench.sim.faults import HOUR, Fault, Setting
from orchestrator.bench.sim.processes import Call, Died
from orchestrator.bench.sim.timeline import Dice
from orchestrator.bench.sim.world import SimWorld
from orchestrator.control.usecases import pause
from orchestrator.domain.replica import ENDED
from orchestrator.domain.service import ModelSpec
from orchestrator.domain.workload import workload_digest
from orchestrator.errors import GatewayUnavailable, ProviderError, StoreUnavailable

MODES = ("killed before", "killed after", "answer lost")
SECOND_CRASHES = (1, 2, 5, 11, 23)
"""How many points after the restart the second crash of a pair comes."""

MOST_HOURS = 3.0
"""Within which a story must have come to its end. Nothing in it is sold out for longer."""

LONGEST_WAIT_SECONDS = 10.0
"""Between two looks of a story, whatever goes on: every look has points of its own, and a real controller looks each
second. Before the story begins and once it is over no point counts, and looks are as far apart as in any other run."""

LONGEST_BREAK_SECONDS = 240.0
"""After which, at most, the same command is run again: the first one may be under way still, or be done."""

STORY_SECONDS = 900.0
"""After which a story's own trouble is over."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Where it is: at the n-th point of the story, and perhaps again at the n-th one after the restart.

    ``of_command``: at the n-th point of the command that people run in it, and the controller lives.
    """

    point: int
    mode: str
    again_at: int | None = None
    of_command: bool = False

    def __str__(self) -> str:
        """Say it in words."""
        if self.of_command:
            return f"{self.mode} point {self.point} of the command"
        again = "" if self.again_at is None else f", and before point {self.again_at} after the restart"
        return f"{self.mode} point {self.point}{again}"


class Crasher:
    """Counts the points of the process in charge while it is armed, and crashes at those that it was told."""

    def __init__(self, world: SimWorld, crash: Crash | None) -> None:
        self._world = world
        self._crash = crash
        self._again_at = None if crash is None else crash.again_at
        self._pending: Call | None = None
        self.armed = False
        self.points: list[str] = []
        self.crashed_at = ""

    async def leaving(self, call: Call) -> None:
        """Nobody sleeps here."""

    def before(self, call: Call) -> None:
        """Count, and perhaps crash."""
        outside = call.port in {"cloud", "gateway"}
        if not self.armed or call.process is not self._world.claimant or not (call.is_write or outside):
            return
        self.points.append(call.point)
        if self._crash is None:
            return
        if not self.crashed_at:
            if len(self.points) == self._crash.point:
                self.crashed_at = call.point
                self.points.clear()
                if self._crash.mode == "killed before":
                    self._die(call)
                self._pending = call
        elif self._again_at is not None and len(self.points) == self._again_at:
            self._again_at = None
            self._die(call)

    def after(self, call: Call, answer: Any) -> None:
        """Crash after the work was done, or lose the answer."""
        del answer
        if call is not self._pending or self._crash is None:
            return
        self._pending = None
        if self._crash.mode == "killed after":
            self._die(call)
        errors = {"cloud": ProviderError, "gateway": GatewayUnavailable}
        raise errors.get(call.port, StoreUnavailable)("the answer was lost")

    def _die(self, call: Call) -> None:
        world = self._world
        world.kill(call.process)
        world.supervise_in(world.dice.between(1.0, 90.0, "restart", len(self.points)))
        raise Died(call.point)


# ── stories ──────────────────────────────────────────────────────────────────────────────────────────


async def _deploy(world: SimWorld) -> None:
    await world.people.deploy(world.people.spec(number=2))


async def _scale_down(world: SimWorld) -> None:
    await world.people.deploy(world.people.spec(number=1))


async def _new_workload(world: SimWorld) -> None:
    await world.people.deploy(replace(world.people.spec(), model=ModelSpec("org/other", served_name="chat")))


async def _broken_workload(world: SimWorld) -> None:
    await world.people.deploy(replace(world.people.spec(), model=ModelSpec(BROKEN_MODEL, served_name="chat")))


async def _move(world: SimWorld) -> None:
    first = world.truth.placements("chat")[0].region  # run again, it is the same command
    await world.people.move(next(r for r in ("sky/de", "sky/fr", "sky/se") if r != first))


async def _down(world: SimWorld) -> None:
    world.people.down()


async def _pause(world: SimWorld) -> None:
    pause("chat", world.people.runtime, actor="ada", reason="a look at it")


async def _stranger(world: SimWorld) -> None:
    await _fault(world, "stray_ours")


def _misfortune(kind: str) -> Callable[[SimWorld], Awaitable[None]]:
    async def happens(world: SimWorld) -> None:
        await _fault(world, kind)

    return happens


async def _fault(world: SimWorld, kind: str) -> None:
    await world.misfortunes.beginning(Fault(0, world.clock.elapsed, kind, STORY_SECONDS, 0.0))()


@dataclass(frozen=True, slots=True)
class Story:
    """What is told. ``replicas`` are there before; 0 for none. ``minutes``: how long points count as its own."""

    name: str
    replicas: int
    tell: Callable[[SimWorld], Awaitable[None]]
    minutes: float = 6.0
    spot: bool = False


STORIES = (
    Story("deploy", 0, _deploy),
    Story("move", 1, _move),
    Story("scale down", 2, _scale_down),
    Story("new workload", 1, _new_workload),
    Story("broken workload", 1, _broken_workload, minutes=15.0),
    Story("down", 2, _down),
    Story("pause", 2, _pause),
    Story("preempted", 1, _misfortune("preempt")),
    Story("preempted spot", 2, _misfortune("preempt_region"), spot=True),
    Story("frozen", 1, _misfortune("freeze")),
    Story("created late", 1, _misfortune("create_late"), minutes=5.0),
    Story("stranger", 1, _stranger, minutes=45.0),
)


@dataclass(frozen=True, slots=True)
class Told:
    """How a story ended: its points, where it crashed, and what was broken.

    ``commands``: the points of the command that was run in it, none where it is about a misfortune. ``end``: what
    people asked for and what serves, as the journal has it.
    """

    points: tuple[str, ...]
    crashed_at: str
    violations: tuple[Violation, ...]
    history: tuple[str, ...]
    commands: tuple[str, ...] = ()
    end: tuple[object, ...] = ()


def tell(story: Story, seed: int, crash: Crash | None = None) -> Told:
    """Tell a story to its end. Without a crash it is told undisturbed, and has all its points."""
    return asyncio.run(_tell(story, seed, crash))


async def _tell(story: Story, seed: int, crash: Crash | None) -> Told:
    dice = Dice(f"crash/{seed}")
    setting = Setting(
        seed,
        replicas=story.replicas or 1,
        spot=story.spot,
        lag_seconds=dice.one_of((0.0, 20.0, 60.0), "lag"),
        look_seconds=dice.one_of((1.0, 2.0, 5.0), "look"),
        drain_seconds=dice.one_of((30.0, 60.0), "drain"),
    )
    watched = replace(setting, waiting_seconds=LONGEST_WAIT_SECONDS, resting_seconds=LONGEST_WAIT_SECONDS)
    world = SimWorld(setting)
    world.grid.freeze(world.clock.now())  # whatever moves, moves because of the story
    world.start()
    world.people.operator_comes()
    if story.replicas:
        await world.people.deploy(world.people.spec())
        await world.timeline.until(1800.0)
    of_command = crash if crash is not None and crash.of_command else None
    crasher = Crasher(world, None if of_command is not None else crash)
    world.hooks.append(crasher)
    crasher.armed = True
    world.setting = watched
    world.wake()
    commands = await _asked(story, world, of_command)
    if story.name == "created late":
        await _fault(world, "preempt")
    await world.timeline.until(world.clock.elapsed + story.minutes * 60.0)
    crasher.armed = crash is not None and bool(crasher.crashed_at) and crash.again_at is not None
    points = tuple(crasher.points)
    world.setting = watched if crasher.armed else setting
    await world.come_to_order(MOST_HOURS * HOUR)
    crashed_at = crasher.crashed_at if of_command is None else ", ".join(commands[of_command.point - 1 :][:1])
    return Told(points, crashed_at, tuple(world.checks.violations), tuple(world.history), commands, _end(world))


async def _asked(story: Story, world: SimWorld, crash: Crash | None) -> tuple[str, ...]:
    """Have people ask for it, perhaps by a command that is crashed; return the command's points until then."""
    if crash is None:
        world.commands.points.clear()
        await story.tell(world)
    else:
        seconds = world.dice.between(1.0, LONGEST_BREAK_SECONDS, "command", crash.point, crash.mode)
        world.commands.interrupt_next(Interruption(crash.mode, crash.point, seconds))
        await world.commands.run("chat", lambda: story.tell(world))
    return tuple(world.commands.points)


def _end(world: SimWorld) -> tuple[object, ...]:
    """Return what people asked for and what serves now, without the names: those follow from the requests' ids."""
    store = world.truth
    return tuple(
        (
            service.name,
            service.state,
            service.paused,
            workload_digest(service.spec),
            service.spec.scaling,
            sorted(
                (r.region, r.state, r.workload_digest) for r in store.replicas(service.name) if r.state not in ENDED
            ),
        )
        for service in store.services()
    )


def some_of(points: int, most: int, seed: int) -> Sequence[int]:
    """Return at most so many points of a story, spread over all of it; each seed has others, the first ones vary."""
    step = max(1, points // max(1, most))
    first = 1 + int(Dice(f"points/{seed}").fraction(points) * step)
    return range(first, points + 1, step)[:most]


def crashes(points: int, *, pairs: bool) -> Iterator[Crash]:
    """Return every crash of a story with that many points: each point in each mode; or pairs, at every third point."""
    if pairs:
        for point in range(1, points + 1, 3):
            for again_at in SECOND_CRASHES:
                yield Crash(point, "killed before" if point % 2 else "killed after", again_at)
        return
    for point in range(1, points + 1):
        for mode in MODES:
            yield Crash(point, mode)


def command_crashes(points: int) -> Iterator[Crash]:
    """Return every crash of a command with that many points: each point in each mode."""
    return (Crash(point, mode, of_command=True) for point in range(1, points + 1) for mode in MODES)
