"""A cloud that behaves as badly as real ones have: see the fault model in the docstring of ``faults``.

What exists is the truth, and costs money; what can be seen of it is late, partial or wrong. Names may be used again
once nothing of that name exists, as at real providers, so a controller that asks twice can buy twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from pathlib import Path

from orchestrator.bench.sim.timeline import Dice
from orchestrator.control.ports import Ability, Instance, LaunchRequest, Phase
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import NoCapacity, ProviderError, ProviderUnavailable, QuotaExceeded

BROKEN_MODEL = "org/broken"
"""A workload whose engine never comes up."""


ELSEWHERE = "sky/us"
"""Where machines are put that are put elsewhere: nothing of ours may stand there."""

ANSWER_SECONDS = 20.0
"""For so long a provider's answer is waited for. What takes longer is handed over beside the looks (decision 0055)."""

OLDEST_SECONDS = 60.0
"""For so long an answer of before serves for looks at machines, while the next one is on its way."""

PATIENCE_SECONDS = {"describe": ANSWER_SECONDS, "renew": 5.0, "inventory": 60.0, "preflight": 180.0}
"""For so long the adapter of a provider that hangs lets us wait. What launches and ends goes on beside the looks."""

OWN_WAY = frozenset({"renew", "preflight"})
"""What is asked anew each time: of the others one question is under way at a time, and is waited for once."""

NOT_TAKEN = "the provider has been asked for it, and has not taken it yet"

OVERLOOKED = 0.2
"""Part of the looks that miss what is there, while looks are stale."""


@dataclass
class Machine:
    """One machine, as it really is. Times are seconds of the simulation."""

    request: LaunchRequest
    born_at: float
    visible_at: float
    running_at: float
    ends_at: float | None = None
    failure: str = ""
    error_code: str = ""
    is_frozen: bool = False
    serves_errors: bool = False
    is_slow: bool = False
    """Streams take long to their first token."""
    is_deaf: bool = False
    """It answers its clients, and is too busy to answer whoever looks after it."""
    has_mark: bool = True
    region: str = ""
    """Where it really runs; empty: where it was asked for."""
    is_stray: bool = False
    """Somebody else started it."""
    is_taken_late: bool = False
    """Before it is born nobody is told anything of it: its provider has been asked, and has not taken it yet."""
    lease_ends_at: float = inf

    def moments(self) -> tuple[float, ...]:
        """When something about it changes by itself."""
        ends = () if self.ends_at is None else (self.ends_at,)
        return (self.born_at, self.visible_at, self.running_at, *ends)


@dataclass
class LaunchFault:
    """What happens to the next launch."""

    kind: str
    seconds: float = 0.0


@dataclass
class Weather:
    """What is wrong just now, all of it."""

    away: str = ""
    """``refused`` (nobody was asked), ``timeout`` (nobody knows), ``throttled`` (every other call), or empty."""
    full: set[str] = field(default_factory=set)
    quota: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Regions that are away with everything that was in them."""
    full_later: set[str] = field(default_factory=set)
    listing: str = ""
    """``partial``, ``empty``, ``fails`` or ``stale``, or empty."""
    stale_describe: bool = False
    old_looks: bool = False
    """Looks at one machine say what was true when that began."""
    out_of_sight: set[str] = field(default_factory=set)
    """Machines that nothing shows just now, although they serve."""
    hangs_until: dict[str, float] = field(default_factory=dict)
    """By method: until when nobody who asks for it hears anything."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What was there at a moment, as an old view of a provider goes on showing it."""

    at: float
    machines: dict[str, Machine]


class SimCloud:
    """The provider. ``wait`` lets the world go on while a call hangs; ``tell`` writes into the history."""

    def __init__(
        self,
        now: Callable[[], float],
        dice: Dice,
        wait: Callable[[float], Awaitable[None]],
        tell: Callable[[str], None],
    ) -> None:
        self._now = now
        self._dice = dice
        self._wait = wait
        self._tell = tell
        self.providers = frozenset({"sky"})
        self.machines: dict[str, Machine] = {}
        self.weather = Weather()
        self.launch_faults: deque[LaunchFault] = deque()
        self.end_faults: deque[LaunchFault] = deque()
        self.lag_seconds = 0.0
        self.start_seconds = (20.0, 120.0)
        self.created: list[LaunchRequest] = []
        self.on_launch: Callable[[LaunchRequest], None] = lambda _request: None
        self.on_end: Callable[[str, Machine], None] = lambda _name, _machine: None
        self.said_gone: dict[str, float] = {}
        """When a look at a machine last showed nothing, true or not."""
        self.ended_at: dict[str, float] = {}
        """When machines ended by themselves, or were taken away."""
        self._calls = 0
        self._picture: Picture | None = None
        self._picture_before: Picture | None = None
        """Of when the provider began to hang."""
        self._asked_at: dict[str, float] = {}
        """By method that hangs: since when a question is open."""

    # ── what is ──

    def exists(self, name: str) -> bool:
        """Whether a machine runs and is paid for."""
        machine = self.machines.get(name)
        return machine is not None and self._lives(machine)

    def existing(self) -> list[str]:
        """Return the names of all that run and are paid for."""
        return sorted(name for name, machine in self.machines.items() if self._lives(machine))

    def serves(self, name: str) -> bool:
        """Whether its engine answers."""
        machine = self.machines.get(name)
        return (
            machine is not None
            and self._lives(machine)
            and self._now() >= machine.running_at
            and not machine.is_frozen
            and machine.request.model.id != BROKEN_MODEL
        )

    def end_of(self, name: str) -> float:
        """Return when a machine ended or ends, by itself or as it was told to; infinite where that is not settled."""
        machine = self.machines.get(name)
        told = None if machine is None else machine.ends_at
        return min(self.ended_at.get(name, inf), inf if told is None else told)

    def changes_after(self, now: float) -> float | None:
        """When the next machine is born, seen, up or gone, as far as that is settled."""
        return min((at for m in self.machines.values() for at in m.moments() if at > now), default=None)

    def vanish(self, name: str) -> None:
        """Take a machine away without a trace."""
        self.ended_at.setdefault(name, self._now())
        self.machines.pop(name, None)

    def lose(self, region: str) -> None:
        """Take a region away, with whatever of ours is there, or would come there late."""
        self.weather.lost.add(region)
        for name, machine in sorted(self.machines.items()):
            is_there = (machine.region or machine.request.offer.region.id) == region
            if is_there and (machine.has_mark or not machine.is_stray):
                self.vanish(name)

    def fail(self, name: str, detail: str, code: str = "") -> None:
        """Let a machine end by itself; its provider goes on knowing of it."""
        machine = self.machines.get(name)
        if machine is not None and self._lives(machine):
            machine.failure, machine.error_code = detail, code
            self.ended_at.setdefault(name, self._now())

    def plant(self, request: LaunchRequest, *, mine: bool) -> None:
        """Let a machine exist that nobody here has asked for. ``mine``: it carries our mark."""
        now = self._now()
        self.machines[request.name] = Machine(request, now, now, now, has_mark=mine, is_stray=True)

    def remember(self) -> None:
        """Take the picture that old views show from now on."""
        self._picture = self._photograph()

    def hang(self, methods: Iterable[str], seconds: float) -> None:
        """Let these say nothing for a while; no shorter than they hang already."""
        self._picture_before = self._photograph()
        until = self._now() + seconds
        self.weather.hangs_until |= {m: max(until, self.weather.hangs_until.get(m, 0.0)) for m in methods}

    @property
    def hangs(self) -> bool:
        """Whether anybody who asks it something hears nothing."""
        return any(until > self._now() for until in self.weather.hangs_until.values())

    def _photograph(self) -> Picture:
        return Picture(self._now(), {name: replace(m) for name, m in self.machines.items()})

    # ── the port ──

    def abilities(self, region: str) -> frozenset[Ability]:
        """Everything, everywhere."""
        del region
        return frozenset(Ability)

    async def preflight(self, model: ModelSpec, offers: Sequence[Offer] = ()) -> None:
        """Find nothing wrong."""
        del model, offers
        await self._hear("preflight")

    async def launch(self, request: LaunchRequest) -> None:
        """Create the machine, unless there is one of that name."""
        late = self._seconds_until_taken(request.name)
        self._answer_badly("launch")
        self.on_launch(request)
        there = self.machines.get(request.name)
        if there is not None and (there.ends_at is None or self._now() < there.ends_at):
            await self._taken(there)
            return
        region = request.offer.region.id
        if late:
            await self._hand_over(request, late)
            return
        self._refuse_if_lost(region)
        if region in self.weather.quota:
            raise QuotaExceeded(f"{region}: the quota is used up")
        no_spot = region in self.weather.full and request.offer.market is Market.SPOT
        if no_spot or f"{region}!" in self.weather.full:
            raise NoCapacity(f"{region} is full")
        fault = self.launch_faults.popleft() if self.launch_faults else LaunchFault("")
        if fault.kind == "refused":
            raise NoCapacity(f"{region}: not now")
        if fault.kind == "hangs":
            await self._wait(fault.seconds)
            self._refuse_if_lost(region)
        machine = self._create(request, fault.seconds if fault.kind in {"late", "late_lost", "taken_late"} else 0.0)
        machine.is_taken_late = fault.kind == "taken_late"
        await self._taken(machine)
        if fault.kind == "elsewhere":
            machine.region = ELSEWHERE
        if fault.kind in {"lost", "late_lost"}:
            raise ProviderUnavailable("the answer did not come in time")
        if fault.kind == "error":
            raise ProviderError("an internal error, although the machine was created")

    async def describe(self, name: str) -> Instance:
        """Say what can be seen of it."""
        there, before = self.machines.get(name), self._picture_before
        if self._hangs("describe") and there is not None and self._is_awaited(there):
            raise ProviderUnavailable(NOT_TAKEN)
        if self._hangs("describe") and before is not None and self._now() - before.at < OLDEST_SECONDS:
            self._asked_at.setdefault("describe", self._now())
            machines, at = before.machines, before.at
        else:
            await self._hear("describe")
            self._answer_badly("describe")
            machines, at = self._view(old=self.weather.old_looks)
        machine = machines.get(name)
        if machine is not None and self._is_awaited(machine):
            raise ProviderUnavailable(NOT_TAKEN)
        if machine is None or not self._visible(machine, at) or self._overlooks(name):
            self.said_gone[name] = self._now()
            return Instance(name, "", Phase.GONE, None)
        return self._instance(machine, at)

    def _overlooks(self, name: str) -> bool:
        if name in self.weather.out_of_sight:
            return True
        return self.weather.stale_describe and self._dice.fraction("stale", name, int(self._now())) < OVERLOOKED

    async def inventory(self, deployment_uid: str) -> Sequence[Instance]:
        """List what can be seen with our mark, as completely as today's weather allows."""
        await self._hear("inventory")
        self._answer_badly("inventory")
        listing = self.weather.listing
        if listing == "fails":
            raise ProviderError("the listing broke off")
        if listing == "empty":
            return []
        machines, at = self._view(old=listing == "stale")
        shown = [
            self._instance(machine, at)
            for name, machine in sorted(machines.items())
            if machine.has_mark
            and machine.request.deployment_uid == deployment_uid
            and self._visible(machine, at)
            and not machine.failure
            and name not in self.weather.out_of_sight
        ]
        return shown[::2] if listing == "partial" else shown

    async def terminate(self, name: str, grace: timedelta) -> None:
        """End it, or say so."""
        hangs = self._hangs("terminate")
        if not hangs:
            self._answer_badly("terminate")
        machine = self.machines.get(name)
        if machine is not None and self._is_awaited(machine):
            machine.ends_at = machine.born_at + min(5.0, grace.total_seconds())
            return  # it waits for it, or it would come after its end
        if machine is None or not self._visible(machine, self._now()):
            return  # no such thing, as far as anybody can see here
        self.on_end(name, machine)
        if hangs:  # it is asked for beside the looks, again and again
            end = self.weather.hangs_until["terminate"] + min(5.0, grace.total_seconds())
            machine.ends_at = end if machine.ends_at is None else min(machine.ends_at, end)
            return
        fault = self.end_faults.popleft() if self.end_faults else LaunchFault("")
        if fault.kind == "lies":
            return
        seconds = fault.seconds if fault.kind == "slow" else min(5.0, grace.total_seconds())
        end = self._now() + seconds
        machine.ends_at = end if machine.ends_at is None else min(machine.ends_at, end)
        if fault.kind == "error":
            raise ProviderError("404: there is no such machine")

    async def renew(self, name: str, lease: timedelta) -> bool:
        """Begin its lease anew."""
        await self._hear("renew")
        self._answer_badly("renew")
        machine = self.machines.get(name)
        if machine is None or not self._lives(machine) or machine.lease_ends_at == inf:
            return False
        machine.lease_ends_at = self._now() + lease.total_seconds()
        return True

    def log_path(self, name: str) -> Path | None:
        """There are no logs."""
        del name
        return None

    # ── small parts ──

    def _hangs(self, method: str) -> bool:
        return self._now() < self.weather.hangs_until.get(method, 0.0)

    async def _hear(self, method: str) -> None:
        """Wait for an answer, if its provider hangs: so long since it was asked, and not at all by who asks later."""
        if not self._hangs(method):
            self._asked_at.pop(method, None)
            return
        now = self._now()
        since = now if method in OWN_WAY else self._asked_at.setdefault(method, now)
        patience = since + PATIENCE_SECONDS[method] - now
        await self._wait(max(0.0, min(patience, self.weather.hangs_until[method] - now)))
        if self._hangs(method):
            raise ProviderUnavailable(f"{method}: no answer for {self._now() - since:.0f} s")
        self._asked_at.pop(method, None)

    def _seconds_until_taken(self, name: str) -> float:
        """Return after how long a launch is taken that is handed over now, 0.0 for at once.

        Raises ``ProviderUnavailable`` where nobody has had an answer for so long that it is not handed over at all.
        """
        if not self._hangs("launch"):
            return 0.0
        since = self._asked_at.get("describe", self._now())
        if name not in self.machines and self._now() - since > ANSWER_SECONDS:
            raise ProviderUnavailable(f"launch: no answer for {self._now() - since:.0f} s")
        return self.weather.hangs_until["launch"] - self._now() + 1.0

    def _refuse_if_lost(self, region: str) -> None:
        if region in self.weather.lost:
            raise NoCapacity(f"{region} is lost")

    def _is_awaited(self, machine: Machine) -> bool:
        """Whether its provider has been asked for it and has not taken it yet."""
        return machine.is_taken_late and self._now() < machine.born_at

    async def _hand_over(self, request: LaunchRequest, late: float) -> None:
        """Leave a launch with a provider that hangs: it is taken then, or refused then, and not known before."""
        machine, region = self._create(request, late), request.offer.region.id
        machine.is_taken_late = True
        if region in self.weather.lost | self.weather.quota or f"{region}!" in self.weather.full:
            machine.failure, machine.error_code = "sold out, as it turned out", "no_capacity"
        await self._taken(machine)

    async def _taken(self, machine: Machine) -> None:
        """Wait until its provider has taken it, as long as for any other answer."""
        if self._is_awaited(machine):
            await self._wait(min(ANSWER_SECONDS, machine.born_at - self._now()))
        if self._is_awaited(machine):
            raise ProviderUnavailable(NOT_TAKEN)

    def _create(self, request: LaunchRequest, late: float) -> Machine:
        now, name = self._now(), request.name
        born = now + late
        again = sum(r.name == name for r in self.created)
        low, high = self.start_seconds
        self.created.append(request)
        machine = Machine(
            request,
            born,
            born + self.lag_seconds * self._dice.fraction("lag", name, again),
            born + self._dice.between(low, high, "start", name, again),
        )
        if request.offer.region.id in self.weather.full_later:
            machine.failure, machine.error_code = "sold out after all", "no_capacity"
        if request.lease is not None:
            machine.lease_ends_at = born + request.lease.total_seconds()
        self.machines[name] = machine
        self._tell(f"created {name} in {request.offer.region.id}")
        return machine

    def _answer_badly(self, method: str) -> None:
        self._calls += 1
        away = self.weather.away
        if away == "refused":
            raise ProviderUnavailable(f"{method}: connection refused")
        if away == "timeout":
            raise ProviderError(f"{method}: the answer did not come in time")
        if away == "throttled" and self._calls % 2:
            raise ProviderUnavailable(f"{method}: too many requests")

    def _lives(self, machine: Machine) -> bool:
        now = self._now()
        if now >= machine.lease_ends_at and not machine.failure:
            machine.failure = "its lease was over"
        return not machine.failure and machine.born_at <= now and (machine.ends_at is None or now < machine.ends_at)

    def _view(self, *, old: bool) -> tuple[dict[str, Machine], float]:
        """Return the machines that are shown, and as of when."""
        if old and self._picture is not None:
            return self._picture.machines, self._picture.at
        return self.machines, self._now()

    def _visible(self, machine: Machine, at: float) -> bool:
        self._lives(machine)
        return machine.visible_at <= at and (machine.ends_at is None or at < machine.ends_at)

    def _instance(self, machine: Machine, at: float) -> Instance:
        request = machine.request
        seen = Instance(
            request.name,
            request.service,
            Phase.RUNNING if at >= machine.running_at else Phase.STARTING,
            f"http://{request.name}.sim.invalid:8000",
            region=request.offer.region.id,
            intent_id=request.intent_id,
            epoch=request.epoch,
            deployment_uid=request.deployment_uid,
            runs_in=machine.region or request.offer.region.id,
        )
        if machine.failure:
            detail, code = machine.failure, machine.error_code
            return replace(seen, phase=Phase.FAILED, endpoint=None, exit_detail=detail, error_code=code)
        return seen if machine.ends_at is None else replace(seen, phase=Phase.STOPPING)
