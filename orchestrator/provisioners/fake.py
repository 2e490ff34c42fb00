"""A provider in memory that behaves as badly as it is told to.

The faults are those that real providers have shown: a create that succeeds although its answer was lost, one that
shows up late, listings that lag behind, a delete that reports success and does nothing, stock-outs. Time is given to
it, so a test or a simulation decides when "late" is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from orchestrator.control.ports import Ability, Instance, LaunchRequest, Phase
from orchestrator.domain.offer import Offer
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import GreenctlError, NoCapacity

LAPSED = "its lease was over: nobody renewed it and nobody was served"


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it came in. ``subject``: the replica's name, the deployment's uid, or the model's id."""

    method: str
    subject: str


@dataclass
class _Machine:
    request: LaunchRequest
    visible_at: float
    running_at: float
    gone_at: float | None = None
    failure: str = ""
    error_code: str = ""
    endpoint: str = ""
    lease_ends_at: float | None = None
    lease_seconds: float = 0.0
    runs_in: str = ""
    is_blurred: bool = False
    found_at: float = 0.0


@dataclass
class FakeProvisioner:
    """The fake. Times are seconds of ``now``, which only the test moves.

    Standing behaviour: ``start_seconds`` until an instance runs, ``listing_lag_seconds`` until a new one can be seen,
    ``stop_at_once`` or only after the grace, ``max_replicas`` per region id. Faults for the next call are queued by the
    methods below. ``calls`` holds what was asked, ``launches`` what was really created, ever.
    """

    now: Callable[[], float]
    providers: frozenset[str] = frozenset({"fake"})
    able: frozenset[Ability] = frozenset(Ability)
    start_seconds: float = 0.0
    listing_lag_seconds: float = 0.0
    stop_at_once: bool = True
    max_replicas: Mapping[str, int] = field(default_factory=dict)
    endpoint_of: Callable[[str], str] = "http://{}.fake.invalid:8000".format
    key_file: Path | None = None
    calls: list[Call] = field(default_factory=list)
    launches: list[LaunchRequest] = field(default_factory=list)
    _machines: dict[str, _Machine] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _failures: dict[str, deque[GreenctlError]] = field(default_factory=dict)
    _lost_replies: deque[GreenctlError] = field(default_factory=deque)
    _delays_seconds: deque[float] = field(default_factory=deque)
    _searches_seconds: deque[float] = field(default_factory=deque)
    _lies: int = 0
    _elsewhere: deque[str] = field(default_factory=deque)

    # ── what a test may script ──

    def fail_next(self, method: str, error: GreenctlError) -> None:
        """Let the next call of a method of the port raise: ``launch``, ``describe``, ``terminate``, ``renew``..."""
        self._failures.setdefault(method, deque()).append(error)

    def lose_next_reply(self, error: GreenctlError) -> None:
        """Let the next launch create the instance and raise all the same."""
        self._lost_replies.append(error)

    def delay_next_launch(self, seconds: float) -> None:
        """Let the next instance exist, and be seen, only after that long: the create succeeds late."""
        self._delays_seconds.append(seconds)

    def search_at_next_launch(self, seconds: float) -> None:
        """Let the next instance be shown as starting at once, and have a machine only after that long."""
        self._searches_seconds.append(seconds)

    def misplace_next_launch(self, region: str) -> None:
        """Let the next instance run there, whatever is asked for."""
        self._elsewhere.append(region)

    def blur(self, name: str, *, blurred: bool = True) -> None:
        """Show an instance as starting, without address and key, as SkyPilot does what it cannot log in to."""
        self._machines[name].is_blurred = blurred

    def lie_at_next_terminate(self) -> None:
        """Let the next terminate report success and do nothing."""
        self._lies += 1

    def die(self, name: str, detail: str = "killed by SIGKILL", *, error_code: str = "") -> None:
        """Let an instance fail; the provider still knows it. With a code, as one whose launch came to nothing."""
        self._machines[name].failure = detail
        self._machines[name].error_code = error_code

    def vanish(self, name: str) -> None:
        """Let an instance disappear without a trace, as preempted capacity does."""
        del self._machines[name]

    def serve(self, name: str) -> None:
        """Let an instance answer a request of the gateway, which renews its lease."""
        machine = self._machines[name]
        if machine.lease_ends_at is not None:
            machine.lease_ends_at = self.now() + machine.lease_seconds

    def existing(self) -> frozenset[str]:
        """Return what really exists now and costs money, whatever the listings say."""
        return frozenset(name for name, machine in self._machines.items() if self._exists(machine))

    # ── the port ──

    def abilities(self, region: str) -> frozenset[Ability]:  # noqa: ARG002 - the port's signature
        """Return what it was told that it can do, everywhere."""
        return self.able

    async def preflight(self, model: ModelSpec, offers: Sequence[Offer] = ()) -> None:  # noqa: ARG002 - as above
        """Succeed unless told otherwise."""
        self._note("preflight", model.id)

    async def launch(self, request: LaunchRequest) -> None:
        """Create the instance unless its name was ever used."""
        self._note("launch", request.name)
        if request.name in self._used:
            return
        region = request.offer.region.id
        there = [m for m in self._machines.values() if self._exists(m) and m.request.offer.region.id == region]
        if len(there) >= self.max_replicas.get(region, len(there) + 1):
            raise NoCapacity(f"{region} is full: {len(there)} of {self.max_replicas[region]} replicas run there")
        asked = self.now() + (self._delays_seconds.popleft() if self._delays_seconds else 0.0)
        born = asked + (self._searches_seconds.popleft() if self._searches_seconds else 0.0)
        self._used.add(request.name)
        self.launches.append(request)
        self._machines[request.name] = _Machine(
            request=request,
            visible_at=asked + self.listing_lag_seconds,
            running_at=born + self.start_seconds,
            endpoint=self.endpoint_of(request.name),
            lease_ends_at=None if request.lease is None else born + request.lease.total_seconds(),
            lease_seconds=0.0 if request.lease is None else request.lease.total_seconds(),
            runs_in=self._elsewhere.popleft() if self._elsewhere else region,
            found_at=0.0 if born == asked else born,
        )
        if self._lost_replies:
            raise self._lost_replies.popleft()

    async def describe(self, name: str) -> Instance:
        """Say what can be seen of it."""
        self._note("describe", name)
        machine = self._machines.get(name)
        if machine is None or not self._visible(machine):
            return Instance(name, "", Phase.GONE, None, has_machine=False)
        return self._instance(machine)

    async def inventory(self, deployment_uid: str) -> Sequence[Instance]:
        """List what can be seen of the deployment, by name."""
        self._note("inventory", deployment_uid)
        return [
            self._instance(machine)
            for _, machine in sorted(self._machines.items())
            if machine.request.deployment_uid == deployment_uid and self._visible(machine) and not machine.failure
        ]

    async def terminate(self, name: str, grace: timedelta) -> None:
        """End it at once or after the grace; a failed one is removed."""
        self._note("terminate", name)
        machine = self._machines.get(name)
        if machine is None:
            return
        if self._lies:
            self._lies -= 1
            return
        end = self.now() + (0.0 if self.stop_at_once or machine.failure else grace.total_seconds())
        machine.gone_at = end if machine.gone_at is None else min(machine.gone_at, end)

    async def renew(self, name: str, lease: timedelta) -> bool:
        """Begin the lease anew, unless it is over or there never was one."""
        self._note("renew", name)
        machine = self._machines.get(name)
        if machine is None or machine.lease_ends_at is None or not self._exists(machine):
            return False
        machine.lease_seconds = lease.total_seconds()
        machine.lease_ends_at = self.now() + machine.lease_seconds
        return True

    def log_path(self, name: str) -> Path | None:  # noqa: ARG002 - the port's signature
        """There are no logs in memory."""
        return None

    def _note(self, method: str, subject: str) -> None:
        self.calls.append(Call(method, subject))
        queue = self._failures.get(method)
        if queue:
            raise queue.popleft()

    def _exists(self, machine: _Machine) -> bool:
        if not machine.failure and machine.lease_ends_at is not None and self.now() >= machine.lease_ends_at:
            machine.failure = LAPSED
        is_there = self.now() >= machine.found_at and not machine.failure
        return is_there and (machine.gone_at is None or self.now() < machine.gone_at)

    def _visible(self, machine: _Machine) -> bool:
        self._exists(machine)  # whose lease is over is seen to have failed
        gone = machine.gone_at is not None and self.now() >= machine.gone_at
        return not gone and self.now() >= machine.visible_at

    def _instance(self, machine: _Machine) -> Instance:
        request, endpoint = machine.request, machine.endpoint
        seen = Instance(
            request.name,
            request.service,
            Phase.RUNNING if self.now() >= machine.running_at else Phase.STARTING,
            endpoint,
            region=request.offer.region.id,
            intent_id=request.intent_id,
            epoch=request.epoch,
            deployment_uid=request.deployment_uid,
            runs_in=machine.runs_in,
            api_key_file=self.key_file,
            has_machine=self._exists(machine),
        )
        if self.now() < machine.found_at:
            seen = replace(seen, endpoint=None, api_key_file=None)
        if machine.is_blurred:
            return replace(seen, phase=Phase.STARTING, endpoint=None, api_key_file=None)
        if machine.gone_at is not None:
            return replace(seen, phase=Phase.STOPPING)
        if machine.failure:
            failed, code = Phase.FAILED, machine.error_code
            return replace(seen, phase=failed, endpoint=None, exit_detail=machine.failure, error_code=code)
        return seen
