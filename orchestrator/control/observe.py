"""Look at every replica: what its provider says, whether it answers, what the gateway has in flight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from orchestrator.control.at_once import Questions
from orchestrator.control.ports import EngineLoad, Instance, Phase
from orchestrator.control.revisions import model_run_by
from orchestrator.control.runtime import Runtime
from orchestrator.control.traffic import weights_in
from orchestrator.domain.counters import GatewayStatus, UpstreamStatus
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import ENDED, Replica, ReplicaState
from orchestrator.domain.routing import RoutingTable
from orchestrator.domain.service import ModelSpec
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


@dataclass(frozen=True, slots=True)
class Met:
    """Whether one replica has answered a client, and whether it has failed one, since it was judged last."""

    answered: bool = False
    failed: bool = False


@dataclass(slots=True)
class Watch:
    """What one controller process remembers between looks; all of it can be learnt again after a restart."""

    unhealthy: dict[str, int] = field(default_factory=dict)
    failed_rounds: dict[str, int] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    loads: dict[str, EngineLoad] = field(default_factory=dict)
    models: dict[str, ModelSpec] = field(default_factory=dict)
    """What replicas run that are of another revision than the newest."""
    told: dict[str, Told] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    """Replicas whose engine did not tell its load at the last look; ``loads`` still holds what it told before."""
    heard: dict[str, bool] = field(default_factory=dict)
    """Whether the health route answered at the last look: of replicas that are ready, and of any other that did."""
    has_news: bool = False
    """Whether a health route was heard, or heard to be silent, since somebody took note of that."""
    looks: Questions[_Look] = field(default_factory=Questions)
    """At replicas that take longer to look at than the others can wait."""

    _counts: tuple[GatewayStatus, Mapping[str, UpstreamStatus]] | None = None
    _clients: Clients = field(default_factory=Clients)
    _met: dict[str, Met] = field(default_factory=dict)
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
        self.has_news |= answers is not None
        if answers or (answers is False and replica.state is ReplicaState.READY):
            self.heard[replica.name] = answers
        else:
            self.heard.pop(replica.name, None)

    def note(self, replica: Replica, look: _Look) -> None:
        """Keep what one look has shown."""
        self.hear(replica, answers=look.answers)
        if look.load is None:
            self.unread.add(replica.name)
        else:
            self.loads[replica.name] = look.load
            self.unread.discard(replica.name)

    def judged(self, name: str, look: _Look | None, clients: Clients) -> Observation:
        """Return what was seen, with how often it did not answer; without a look, what was true at the last one."""
        if look is not None and look.answers is None:
            return look.seen
        before = self._met.pop(name, Met())
        met = Met(before.answered or name in clients.answered, before.failed or name in clients.failed)
        if look is None:
            self._met[name] = met
            load = None if name in self.unread else self.loads.get(name)
            seen = Observation(exists=None, engine_busy=_busy(load))
        else:
            seen = look.seen
            self.unhealthy[name] = 0 if look.answers else self.bad_looks(name, met)
            self.failed_rounds[name] = 0 if look.answers else self.rounds_failed(name, met)
        unhealthy, failed = self.unhealthy.get(name, 0), self.failed_rounds.get(name, 0)
        return replace(seen, unhealthy_times=unhealthy, failed_rounds=failed)

    @property
    def is_cut_off(self) -> bool:
        """Whether nobody answers us, of several that should: then it is rather we that cannot be reached.

        Of one alone nobody can tell (decision 0054).
        """
        return len(self.heard) > 1 and not any(self.heard.values())

    def bad_looks(self, name: str, met: Met) -> int:
        """Return how many looks in a row a replica was silent at, after one more: that part of them which counts."""
        before = self.unhealthy.get(name, 0)
        if met.answered:
            return 1  # engines that are too busy to answer us answer their clients (decision 0053)
        if self.is_cut_off:
            return max(1, before)
        return before + 1

    def rounds_failed(self, name: str, met: Met) -> int:
        """Return in how many rounds it failed a client, and answered none since, after one more where nobody is heard.

        A client that is failed proves more than silence does, so they are counted apart (decision 0069).
        """
        if met.answered:
            return 0
        return self.failed_rounds.get(name, 0) + (self.is_cut_off and met.failed)

    def weights_in(self, table: RoutingTable) -> Mapping[str, int]:
        """Return the weights by which new requests reach replicas under a table, read once for all services."""
        if self._weights is None or self._weights[0] is not table:
            self._weights = table, weights_in(table)
        return self._weights[1]

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Drop what is remembered of replicas that are gone."""
        kept = set(names)
        counted = (self.unhealthy, self.failed_rounds, self._met)
        for memory in (*counted, self.instances, self.loads, self.models, self.told, self.heard):
            for name in set(memory) - kept:
                memory.pop(name, None)
        self.unread &= kept
        self.looks.forget_all_but(kept)


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

    One that takes long, because it hangs or has just been started, is not waited for by everybody else: nothing is
    known of it at this look, and what was seen is there at one of the next. ``steps``: the canary step in per cent (of
    its slot's traffic) that the published table was made of, by replica.
    """
    open_ones = [r for r in replicas if not (r.state in ENDED and r.cleaned_up)]
    models = {r.name: model_run_by(r, service, runtime.store, watch.models) for r in open_ones}
    asked = {r.name: partial(_one, models[r.name].name, r, runtime, watch) for r in open_ones}
    looks = await watch.looks.answers(asked, runtime.tuning.look_patience)
    for replica in open_ones:
        if replica.name in looks:
            watch.note(replica, looks[replica.name])
    clients = Clients() if status is None else watch.clients(status)
    counts = None if status is None else watch.counts_in(status)
    found = {}
    for replica in open_ones:
        told = _told(replica.name, runtime, watch, status, published, steps)
        found[replica.name] = replace(
            watch.judged(replica.name, looks.get(replica.name), clients),
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
    """What was seen of one replica; ``answers``: whether its health route did, where there was one to ask.

    ``load``: what its engine said that it has to do, ``None`` where it did not.
    """

    seen: Observation
    answers: bool | None = None
    load: EngineLoad | None = None


async def _described(replica: Replica, runtime: Runtime, watch: Watch) -> Instance | None:
    """Return what its provider says of it, ``None`` where it says nothing.

    One that cannot log in to a machine says neither its address nor its key: its engine is asked there all the same,
    and the gateway's table keeps the key. After a start of ours nobody knows that, so it was not seen yet.
    """
    provisioner = runtime.provisioners.get(replica.region.partition("/")[0])
    if provisioner is None:
        return None
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


async def _one(model: str, replica: Replica, runtime: Runtime, watch: Watch) -> _Look:
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
        return _Look(Observation(exists=True, has_machine=instance.has_machine, elsewhere=instance.runs_in))
    if instance.endpoint is None:
        return _Look(Observation(exists=True, has_machine=instance.has_machine))
    healthy = await runtime.probe.is_healthy(instance.endpoint)
    serves = None
    if healthy and replica.state in {ReplicaState.PROVISIONING, ReplicaState.STARTING}:
        serves = await runtime.probe.completes(instance.endpoint, model, instance.api_key_file)
    load = await runtime.probe.load(instance.endpoint, instance.api_key_file) if healthy else None
    seen = Observation(exists=True, endpoint=instance.endpoint, serves=serves, engine_busy=_busy(load))
    return _Look(seen, answers=healthy, load=load)


def _busy(load: EngineLoad | None) -> int | None:
    return None if load is None else load.running + load.waiting
