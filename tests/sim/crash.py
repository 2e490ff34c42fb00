"""Kill the controller before and after everything that leaves its process, or let the answer be lost; then again.

A story is something that the controller has to bring to an end. First it is told undisturbed, and everything that
leaves the process is a point: a commit, or a call to the cloud or the gateway. Then it is told once for every point and
mode, perhaps with a second crash while the first is being recovered from, and in the end all must be in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.bench.sim.checks import Violation
from orchestrator.bench.sim.cloud import BROKEN_MODEL
from orchestrator.bench.sim.faults import HOUR, Fault, Setting
from orchestrator.bench.sim.processes import Call, Died
from orchestrator.bench.sim.timeline import Dice
from orchestrator.bench.sim.world import SimWorld
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import GatewayUnavailable, ProviderError, StoreUnavailable

MODES = ("killed before", "killed after", "answer lost")
SECOND_CRASHES = (1, 2, 5, 11, 23)
"""How many points after the restart the second crash of a pair comes."""

MOST_HOURS = 3.0
"""Within which a story must have come to its end. Nothing in it is sold out for longer."""

LONGEST_WAIT_SECONDS = 10.0
"""Between two looks of a story, whatever goes on: every look has points of its own, and a real controller looks each
second. Before the story begins and once it is over no point counts, and looks are as far apart as in any other run."""

STORY_SECONDS = 900.0
"""After which a story's own trouble is over."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Where it is: at the n-th point of the story, and perhaps again at the n-th one after the restart."""

    point: int
    mode: str
    again_at: int | None = None

    def __str__(self) -> str:
        """Say it in words."""
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
    there = {r.region for r in world.truth.replicas("chat")}
    await world.people.move(next(r for r in ("sky/de", "sky/fr", "sky/se") if r not in there))


async def _down(world: SimWorld) -> None:
    world.people.down()


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
    Story("preempted", 1, _misfortune("preempt")),
    Story("preempted spot", 2, _misfortune("preempt_region"), spot=True),
    Story("frozen", 1, _misfortune("freeze")),
    Story("created late", 1, _misfortune("create_late"), minutes=5.0),
    Story("stranger", 1, _stranger, minutes=45.0),
)


@dataclass(frozen=True, slots=True)
class Told:
    """How a story ended: its points, where it crashed, and what was broken."""

    points: tuple[str, ...]
    crashed_at: str
    violations: tuple[Violation, ...]
    history: tuple[str, ...]


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
    crasher = Crasher(world, crash)
    world.hooks.append(crasher)
    crasher.armed = True
    world.setting = watched
    world.wake()
    await story.tell(world)
    if story.name == "created late":
        await _fault(world, "preempt")
    await world.timeline.until(world.clock.elapsed + story.minutes * 60.0)
    crasher.armed = crash is not None and bool(crasher.crashed_at) and crash.again_at is not None
    points = tuple(crasher.points)
    world.setting = watched if crasher.armed else setting
    await world.come_to_order(MOST_HOURS * HOUR)
    return Told(points, crasher.crashed_at, tuple(world.checks.violations), tuple(world.history))


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
