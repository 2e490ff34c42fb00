"""Look at every replica: what its provider says, whether it answers, what the gateway has in flight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import timedelta

from orchestrator.control.at_once import all_of
from orchestrator.control.ports import EngineLoad, Instance, Phase
from orchestrator.control.runtime import Runtime
from orchestrator.control.traffic import weights_in
from orchestrator.domain.counters import GatewayStatus, UpstreamStatus
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.routing import RoutingTable
from orchestrator.errors import GatewayUnavailable, ProviderError
from orchestrator.planner.rollout import Observation

SERVING = frozenset({ReplicaState.READY, ReplicaState.DRAINING})


@dataclass(frozen=True, slots=True)
class Told:
    """What every gateway has confirmed about one replica, and since when (``Clock.monotonic``).

    ``weight``: its canary step in per cent, whatever part of the traffic that is a step of.
    """

    weight: int | None
    since: float


@dataclass(frozen=True, slots=True)
class Clients:
    """What clients have had of replicas: who answered one, and who failed one, since the counters before these.

    ``numbers``: by replica, how many it has answered and failed at this reading. Nobody did either where there are no
    counters of the same gateway before these.
    """

    status: GatewayStatus | None = None
    numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    answered: AbstractSet[str] = frozenset()
    failed: AbstractSet[str] = frozenset()


@dataclass(slots=True)
class Watch:
    """What one controller process remembers between looks; all of it can be learnt again after a restart."""

    unhealthy: dict[str, int] = field(default_factory=dict)
    failed_rounds: dict[str, int] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    loads: dict[str, EngineLoad] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    """Replicas whose engine did not tell its load at the last look; ``loads`` still holds what it told before."""
    heard: dict[str, bool] = field(default_factory=dict)
    """Whether the health route answered at the last look: of replicas that are ready, and of any other that did."""

    _counts: tuple[GatewayStatus, Mapping[str, UpstreamStatus]] | None = None
    _clients: Clients = field(default_factory=Clients)
    _weights: tuple[RoutingTable, Mapping[str, int]] | None = None

    def counts_in(self, status: GatewayStatus) -> Mapping[str, UpstreamStatus]:
        """Return the gateway's counters by replica: sorted once for all services, whose looks ask for a few each."""
        if self._counts is None or self._counts[0] is not status:
            self._counts = status, {u.replica: u for u in reversed(status.upstreams)}
        return self._counts[1]

    def clients(self, status: GatewayStatus) -> Clients:
        """Return what clients had of replicas since the counters before these; a whole answer counts, or its start."""
        last = self._clients
        if last.status is not status:
            numbers = {u.replica: (u.ok + sum(u.first_tokens), u.failed + u.truncated) for u in status.upstreams}
            same = last.status is not None and last.status.boot_id == status.boot_id
            before = last.numbers if same else {}
            grown = {n: (a - x, f - y) for n, (a, f) in numbers.items() for x, y in [before.get(n, (a, f))]}
            answered = frozenset(n for n, (more, _) in grown.items() if more > 0)
            failed = frozenset(n for n, (_, more) in grown.items() if more > 0)
            self._clients = Clients(status, numbers, answered, failed)
        return self._clients

    def hear(self, replica: Replica, *, answers: bool | None) -> None:
        """Note whether a health route answered; ``None``: it could not be asked."""
        if answers or (answers is False and replica.state is ReplicaState.READY):
            self.heard[replica.name] = answers
        else:
            self.heard.pop(replica.name, None)

    @property
    def is_cut_off(self) -> bool:
        """Whether nobody answers us, of several that should: then it is rather we that cannot be reached.

        Of one alone nobody can tell (decision 0054).
        """
        return len(self.heard) > 1 and not any(self.heard.values())

    def bad_looks(self, name: str, clients: Clients) -> int:
        """Return how many looks in a row a replica was silent at, after one more: that part of them which counts."""
        before = self.unhealthy.get(name, 0)
        if name in clients.answered:
            return 1  # engines that are too busy to answer us answer their clients (decision 0053)
        if self.is_cut_off:
            return max(1, before)
        return before + 1

    def rounds_failed(self, name: str, clients: Clients) -> int:
        """Return in how many rounds it failed a client, and answered none since, after one more where nobody is heard.

        A client that is failed proves more than silence does, so they are counted apart (decision 0069).
        """
        if name in clients.answered:
            return 0
        return self.failed_rounds.get(name, 0) + (self.is_cut_off and name in clients.failed)

    def weights_in(self, table: RoutingTable) -> Mapping[str, int]:
        """Return the weights by which new requests reach replicas under a table, read once for all services."""
        if self._weights is None or self._weights[0] is not table:
            self._weights = table, weights_in(table)
        return self._weights[1]

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Drop what is remembered of replicas that are gone."""
        kept = set(names)
        for memory in (self.unhealthy, self.failed_rounds, self.instances, self.loads, self.told, self.heard):
            for name in set(memory) - kept:
                memory.pop(name, None)
        self.unread &= kept


async def gateway_status(runtime: Runtime) -> GatewayStatus | None:
    """Return the gateway's counters, ``None`` while it does not answer."""
    try:
        return await runtime.gateway.status()
    except GatewayUnavailable:
        return None


async def observe(
    service: ServiceRecord,
    replicas: Sequence[Replica],
    runtime: Runtime,
    watch: Watch,
    status: GatewayStatus | None,
    published: RoutingTable | None,
    steps: Mapping[str, int],
) -> dict[str, Observation]:
    """Look at every replica that is not finally done with, all at once.

    ``steps``: the canary step in per cent (of its slot's traffic) that the published table was made of, by replica.
    """
    open_ones = [r for r in replicas if not (r.state in ENDED and r.cleaned_up)]
    looks = await all_of([_one(service, r, runtime, watch) for r in open_ones])
    for replica, look in zip(open_ones, looks, strict=True):
        watch.hear(replica, answers=look.answers)
    clients = Clients() if status is None else watch.clients(status)
    counts = None if status is None else watch.counts_in(status)
    found = {}
    for replica, look in zip(open_ones, looks, strict=True):
        if look.answers is not None:
            watch.unhealthy[replica.name] = 0 if look.answers else watch.bad_looks(replica.name, clients)
            watch.failed_rounds[replica.name] = 0 if look.answers else watch.rounds_failed(replica.name, clients)
        told = _told(replica.name, runtime, watch, status, published, steps)
        found[replica.name] = replace(
            look.seen,
            unhealthy_times=0 if look.answers is None else watch.unhealthy[replica.name],
            failed_rounds=0 if look.answers is None else watch.failed_rounds[replica.name],
            told_weight=None if told is None else told.weight,
            routed_away=told is not None and told.weight is None,
            told_for=timedelta(seconds=0.0 if told is None else runtime.clock.monotonic() - told.since),
            in_flight=None if counts is None else counts[replica.name].in_flight if replica.name in counts else 0,
        )
    return found


def _told(
    name: str,
    runtime: Runtime,
    watch: Watch,
    status: GatewayStatus | None,
    published: RoutingTable | None,
    steps: Mapping[str, int],
) -> Told | None:
    """Return what the gateway is known to do with a replica; ``None`` while it is not known to have our last table."""
    if status is None or published is None:
        return None
    if status.applied_version < published.version:
        watch.told.pop(name, None)
        return None
    weight = steps[name] if name in watch.weights_in(published) else None
    before = watch.told.get(name)
    if before is None or before.weight != weight:
        watch.told[name] = Told(weight, runtime.clock.monotonic())
    return watch.told[name]


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of one replica; ``answers``: whether its health route did, where there was one to ask."""

    seen: Observation
    answers: bool | None = None


async def _described(replica: Replica, runtime: Runtime, watch: Watch) -> Instance | None:
    """Return what its provider says of it, ``None`` where it says nothing.

    One that cannot log in to a machine says neither its address nor its key: its engine is asked there all the same,
    and the gateway's table keeps the key. After a start of ours nobody knows that, so it was not seen yet.
    """
    provisioner = runtime.provisioners.get(replica.region.partition("/")[0])
    if provisioner is None:
        return None
    watch.unread.add(replica.name)
    try:
        instance = await provisioner.describe(replica.name)
    except ProviderError:
        return None
    before = watch.instances.get(replica.name)
    is_blurred = replica.state in SERVING and instance.endpoint is None and instance.phase is Phase.STARTING
    if is_blurred:
        key = None if before is None else before.api_key_file
        instance = replace(instance, endpoint=replica.endpoint, api_key_file=instance.api_key_file or key)
    if before is not None or not is_blurred:
        watch.instances[replica.name] = instance
    return instance


async def _one(service: ServiceRecord, replica: Replica, runtime: Runtime, watch: Watch) -> _Look:
    instance = await _described(replica, runtime, watch)
    if instance is None:
        return _Look(Observation(exists=None))
    if instance.phase is Phase.GONE:
        return _Look(Observation(exists=False, exit_detail=instance.exit_detail))
    if instance.phase is Phase.FAILED:
        code, detail = instance.error_code, instance.exit_detail
        return _Look(Observation(exists=True, failed=True, exit_detail=detail, error_code=code))
    if instance.runs_in and instance.runs_in.casefold() != replica.region.casefold():
        # Nothing is sent there, no key either: it may stand where it must not.
        return _Look(Observation(exists=True, elsewhere=instance.runs_in))
    if instance.endpoint is None:
        return _Look(Observation(exists=True))
    healthy = await runtime.probe.is_healthy(instance.endpoint)
    serves = None
    if healthy and replica.state in {ReplicaState.PROVISIONING, ReplicaState.STARTING}:
        serves = await runtime.probe.completes(instance.endpoint, service.spec.model.name, instance.api_key_file)
    load = await runtime.probe.load(instance.endpoint, instance.api_key_file) if healthy else None
    if load is not None:
        watch.loads[replica.name] = load
        watch.unread.discard(replica.name)
    busy = None if load is None else load.running + load.waiting
    seen = Observation(exists=True, endpoint=instance.endpoint, serves=serves, engine_busy=busy)
    return _Look(seen, answers=healthy)
