"""Load: what the gateway and the engines say a service has to do, and how many replicas follow from it.

One process watches; what it has seen dies with it. The number in force does not: it is in the records of decisions.
After a restart load is watched anew, and until a whole ``downscale_delay_seconds`` of it has been seen nothing leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from orchestrator.control.observe import SERVING, Watch
from orchestrator.control.past import expected_cold_start
from orchestrator.control.ports import EngineLoad
from orchestrator.control.runtime import Runtime
from orchestrator.domain.carbon import CarbonIntensity, Reading
from orchestrator.domain.counters import GatewayStatus, ServiceCounts
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Offer, variant_in
from orchestrator.domain.records import ServiceRecord, ServiceState
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import LoadSeen, WantedReplicas
from orchestrator.domain.service import Scaling, ServiceSpec
from orchestrator.domain.variants import workloads_of
from orchestrator.planner.promise import trip_seconds
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.sizing.idle import Idle, Standing, break_even, judge_idle
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import TYPICAL_DRAIN_SECONDS
from orchestrator.planner.wanted import Need, is_scaled, may_sleep, need, wanted

A_DAY = timedelta(days=1)

WINDOW_SECONDS = 30.0
"""Rates are means over this stretch: long beside the pauses between requests, short beside the start of a replica.
SkyServe takes 60 s (``AUTOSCALER_QPS_WINDOW_SIZE_SECONDS``)."""

LEAST_SECONDS = 5.0
"""A shorter stretch is no load: one request in the first second after a start is not one request per second."""

STEADY_SECONDS, LEAST_STEADY_SECONDS = 600.0, 60.0
"""Where replicas stand follows the mean of this stretch, as far as it was watched: places last, rates swing."""

LEAST_ANSWERS = 5
"""Fewer answered requests say nothing about the mean number of their tokens."""

REMEMBERED_GAPS = 64
"""So many of the last stretches without requests say how long the next one may be."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The gateway's and the engines' counters at one look; ``at_seconds``: ``Clock.monotonic``.

    ``prompt_tokens`` and ``output_tokens``: of all engines since we began to watch, as far as they told; they only
    grow. ``is_whole``: every engine that serves told at this look, so nothing that it wrote before is still to come.
    """

    at_seconds: float
    boot_id: str
    accepted: int
    in_flight: int
    request_seconds: float
    prompt_tokens: int
    output_tokens: int
    is_whole: bool = True

    @property
    def answered(self) -> int:
        """How many requests have come and gone."""
        return self.accepted - self.in_flight


@dataclass(slots=True)
class Quiet:
    """When a service that may sleep was asked for something, in seconds of ``Clock.monotonic``.

    ``since``: the last request, or the moment from which on it was watched. ``asked_at``: the last request that we have
    seen come. ``serving_since``: until then nobody served. ``gaps``: stretches without requests, those longer than the
    delay of scaling down. ``in_flight``: at this look, ``None`` while the gateway does not say. ``standing``: of all
    that serve; empty while nobody does. ``cold_start``: of whom it was worked out, and the seconds.
    """

    since: float
    serving_since: float
    asked_at: float | None = None
    accepted: int | None = None
    boot_id: str = ""
    in_flight: int | None = None
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_GAPS))
    standing: tuple[Standing, ...] = ()
    cold_start: tuple[frozenset[str], float] = (frozenset(), 0.0)


@dataclass(slots=True)
class Memory:
    """What has been seen of one service. ``scaling``: the rules that its needs were worked out by.

    ``counts`` are those of the last window, ``slow`` fewer of a longer one; ``seen`` and ``steady`` follow from them.
    ``lengths``: prompt and output tokens per answered request, when engines last told them.
    """

    began_at: float
    scaling: Scaling
    quiet: Quiet
    counts: deque[Counted] = field(default_factory=deque)
    needs: list[Need] = field(default_factory=list)
    tokens: dict[str, EngineLoad] = field(default_factory=dict)
    prompt_tokens: int = 0
    output_tokens: int = 0
    lengths: tuple[float, float] | None = None
    number: int | None = None
    changed_at: float = 0.0
    seen: LoadSeen | None = None
    slow: deque[Counted] = field(default_factory=deque)
    steady: LoadSeen | None = None


class LoadWatch:
    """Remembers the load of every service that is up: its traffic follows it, and its number where it may."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._memories: dict[str, Memory] = {}

    def forget(self, service: str) -> None:
        """Drop what is remembered of a service: it is no longer there."""
        self._memories.pop(service, None)

    def seen(self, service: str) -> LoadSeen | None:
        """Return the load at the last look; ``None`` while that is not known."""
        memory = self._memories.get(service)
        return None if memory is None else memory.seen

    def steady(self, service: str) -> LoadSeen | None:
        """Return the load over the last minutes; ``None`` while they were not watched, or it is not known now."""
        memory = self._memories.get(service)
        return None if memory is None else memory.steady

    def look(
        self,
        service: ServiceRecord,
        replicas: Sequence[Replica],
        offers: Mapping[str, Offer],
        status: GatewayStatus | None,
        watch: Watch,
        grid: Mapping[str, Reading] | None = None,
    ) -> None:
        """Take in what the gateway and the engines say now, and what they need by it.

        ``grid``: the present of the zones that replicas stand in, for services that may sleep.
        """
        scaling = service.spec.scaling
        if service.state is not ServiceState.ACTIVE:
            self.forget(service.name)
            return
        now = self._runtime.clock.monotonic()
        memory = self._memories.get(service.name)
        if memory is None or memory.scaling != scaling:
            # By other rules the needs would have been others.
            memory = self._memories[service.name] = Memory(now, scaling, Quiet(now, now), changed_at=now)
        ready = [r for r in replicas if r.state is ReplicaState.READY]
        if may_sleep(scaling):
            counts = None if status is None else status.of_service(service.name)
            _listen(memory.quiet, counts, "" if status is None else status.boot_id, scaling, now)
            if not ready:
                memory.quiet.serving_since = now
            memory.quiet.standing = self._standing(service.spec, memory.quiet, ready, offers, grid or {})
        _add_tokens(memory, replicas, watch)
        # What was counted before says nothing about now: a gateway that cannot be asked may have more to do than ever.
        is_whole = not any(r.name in watch.unread for r in replicas if r.state in SERVING)
        is_counted = self._count(memory, service.name, status, now, is_whole=is_whole)
        seen = memory.seen = _load_seen(memory.counts, memory.lengths, ready, watch) if is_counted else None
        if seen is not None and seen.prompt_tokens is not None and seen.output_tokens is not None:
            memory.lengths = seen.prompt_tokens, seen.output_tokens
        slow = _load_seen(memory.slow, memory.lengths, ready, watch, LEAST_STEADY_SECONDS) if is_counted else None
        memory.steady = slow
        if not is_scaled(scaling):
            return
        if seen is None:
            memory.needs.append(Need(now, None, None, "the gateway's counts are not known"))
        else:
            shapes = [offers[r.offer_id].shape if r.offer_id in offers else None for r in ready]
            loads = [watch.loads.get(r.name) for r in ready]
            capacity = capacity_of(service.spec, shapes, loads, [variant_in(r.offer_id) for r in ready])
            placed = [offers[r.offer_id] for r in ready if r.offer_id in offers]
            farthest = max((trip_seconds(service.spec, offer, seen) for offer in placed), default=0.0)
            capacity = replace(capacity, rtt_seconds=farthest)
            memory.needs.append(need(now, seen, scaling, capacity))
        since = now - max(scaling.upscale_delay, scaling.downscale_delay).total_seconds()
        # The newest of the older ones stays: from it on the whole delay has been watched.
        older = sum(n.at_seconds <= since for n in memory.needs)
        del memory.needs[: max(0, older - 1)]

    def wanted(self, spec: ServiceSpec, last: WantedReplicas | None, *, fixed: bool = False) -> WantedReplicas | None:
        """Return how many replicas should serve now; ``None`` when load does not decide that.

        ``last``: what was decided last. ``fixed``: that holds on, because a request is under way. Load has no say in
        batch work: what was decided holds until the next plan.
        """
        now_in_force = number_in_force(spec, last)
        memory = self._memories.get(spec.name)
        if now_in_force is None or memory is None or fixed or spec.batch is not None:
            return now_in_force
        now, number = self._runtime.clock.monotonic(), now_in_force.replicas
        if memory.number is not None and memory.number != number:
            memory.changed_at = now
        memory.number = number
        idle = _idle(memory.quiet, spec, number, now) if may_sleep(spec.scaling) else None
        return wanted(number, memory.needs, spec.scaling, now, memory.changed_at, idle)

    def _standing(
        self,
        spec: ServiceSpec,
        quiet: Quiet,
        ready: Sequence[Replica],
        offers: Mapping[str, Offer],
        grid: Mapping[str, Reading],
    ) -> tuple[Standing, ...]:
        """Return what each of those that serve draws and costs.

        More than one may be the last: a spare, or one near to the clients of each area.
        """
        names = frozenset(r.name for r in ready)
        if ready and quiet.cold_start[0] != names:
            clock, workloads = self._runtime.clock, workloads_of(spec)
            past = self._runtime.store.replicas(spec.name, ended=True, ended_since=clock.now() - A_DAY * clock.rate)
            quiet.cold_start = (names, expected_cold_start(past, workloads, clock.rate).value)
        return tuple(_standing(r, offers.get(r.offer_id), grid, quiet.cold_start[1]) for r in ready)

    def _count(self, memory: Memory, service: str, status: GatewayStatus | None, now: float, *, is_whole: bool) -> bool:
        """Take in the gateway's counters of the service; return whether it told them."""
        counts = None if status is None else status.of_service(service)
        if status is None or counts is None:
            return False
        if memory.counts and memory.counts[-1].boot_id != status.boot_id:
            memory.counts.clear()  # its counters began again
            memory.slow.clear()
        memory.counts.append(
            Counted(
                now,
                status.boot_id,
                counts.accepted,
                counts.in_flight,
                counts.request_seconds,
                memory.prompt_tokens,
                memory.output_tokens,
                is_whole,
            )
        )
        while len(memory.counts) > 2 and memory.counts[1].at_seconds <= now - WINDOW_SECONDS:  # noqa: PLR2004  # both ends
            memory.counts.popleft()
        _keep_slow(memory.slow, memory.counts[-1])
        return True


def _standing(replica: Replica, offer: Offer | None, grid: Mapping[str, Reading], cold_start: float) -> Standing:
    power = None if offer is None else offer.shape.power
    reading = grid.get(replica.zone or "")
    return Standing(
        idle_watts=None if power is None else power.idle_watts,
        full_watts=None if power is None else power.full_watts,
        pue=None if offer is None else offer.region.pue,
        grams_per_kwh=reading.grams_per_kwh if isinstance(reading, CarbonIntensity) else None,
        usd_per_hour=replica.usd_per_hour,
        cold_start_seconds=cold_start,
        drain_seconds=TYPICAL_DRAIN_SECONDS,
    )


def _keep_slow(slow: deque[Counted], last: Counted) -> None:
    """Keep one look in a window, and the newest, back to the beginning of the longer stretch."""
    if len(slow) > 1 and slow[-1].at_seconds - slow[-2].at_seconds < WINDOW_SECONDS:
        slow.pop()
    slow.append(last)
    while len(slow) > 2 and slow[1].at_seconds <= last.at_seconds - STEADY_SECONDS:  # noqa: PLR2004  # both ends
        slow.popleft()


def _listen(quiet: Quiet, counts: ServiceCounts | None, boot_id: str, scaling: Scaling, now: float) -> None:
    """Take in whether the service was asked for something since the last look.

    Counters are integrals: a gateway that could not be asked for a while tells by them what came meanwhile. One that
    began again does not, so that its silence counts from now on.
    """
    quiet.in_flight = None if counts is None else counts.in_flight
    if counts is None:
        return
    is_new = quiet.accepted is None or quiet.boot_id != boot_id
    came = counts.accepted > (0 if is_new else quiet.accepted or 0)
    if came and not is_new and now - quiet.since > max(WINDOW_SECONDS, scaling.downscale_delay.total_seconds()):
        quiet.gaps.append(now - quiet.since)
    if came and quiet.accepted is not None:
        quiet.asked_at = now
    if came or is_new or counts.in_flight > 0:
        quiet.since = now
    quiet.accepted, quiet.boot_id = counts.accepted, boot_id


def _idle(quiet: Quiet, spec: ServiceSpec, number: int, now: float) -> Idle:
    """Return whether the first replica has to come, or the last one may go."""
    if number == 0:
        if quiet.in_flight:
            words = "1 request waits" if quiet.in_flight == 1 else f"{quiet.in_flight} requests wait"
            return Idle(wakes=True, because=f"{words} while nobody serves")
        came = quiet.asked_at is not None and now - quiet.asked_at < WINDOW_SECONDS
        return Idle(wakes=came, because="a request came while nobody served" if came else "")
    if quiet.in_flight is None:
        return Idle(because="not to zero: the gateway's counts are not known")
    if quiet.in_flight:
        return Idle(because="not to zero: requests are under way")
    if not quiet.standing:
        return Idle(because="not to zero: nobody serves yet")
    least = max(WINDOW_SECONDS, spec.scaling.downscale_delay.total_seconds())
    seconds = now - max(quiet.since, quiet.serving_since)
    return judge_idle(seconds, tuple(quiet.gaps), break_even(quiet.standing, spec.policy), least)


def number_in_force(spec: ServiceSpec, last: WantedReplicas | None) -> WantedReplicas | None:
    """Return the last number within the spec's present bounds; ``None`` when load does not decide on it.

    ``last``: of the decision that last had one; ``None`` before the first: then one replica shows at least that the
    service can serve at all.
    """
    scaling = spec.scaling
    if not is_scaled(scaling):
        return None
    low, high = scaling.min_replicas, scaling.max_replicas
    if last is None:
        because = "min_replicas" if low else "one to begin with"
        return WantedReplicas(max(1, low), low, high, None, f"{because}, until load has been seen")
    return replace(last, replicas=min(max(last.replicas, low), high), least=low, most=high)


def in_force(spec: ServiceSpec, size: WantedReplicas | None) -> ServiceSpec:
    """Return the spec as it holds now: where load decides, its number stands for ``min_replicas``.

    Beside no replica at all there is no spare either.
    """
    if size is None:
        return spec
    scaling = replace(spec.scaling, min_replicas=size.replicas)
    return replace(spec, scaling=scaling if size.replicas else replace(scaling, num_overprovision=0))


def capacity_of(
    spec: ServiceSpec,
    shapes: Sequence[Shape | None],
    loads: Sequence[EngineLoad | None],
    variants: Sequence[str] = (),
) -> Capacity:
    """Return what one replica of the service can carry, as far as that is known of every shape that it stands on.

    What an engine says of its KV cache goes before what is worked out. ``variants``: which runs on each of the shapes.
    """
    rooms = [load.kv_tokens for load in loads if load is not None and load.kv_tokens is not None]
    return capacity_on(spec, shapes, min(rooms) if rooms else None, variants)


def _add_tokens(memory: Memory, replicas: Sequence[Replica], watch: Watch) -> None:
    """Add up what the engines have read and written since the last look; one that began again begins at zero."""
    for replica in replicas:
        load = watch.loads.get(replica.name)
        if load is None:
            continue
        before = memory.tokens.get(replica.name)
        if before is not None:
            memory.prompt_tokens += max(0, load.prompt_tokens - before.prompt_tokens)
            memory.output_tokens += max(0, load.output_tokens - before.output_tokens)
        memory.tokens[replica.name] = load
    for name in memory.tokens.keys() - {r.name for r in replicas}:
        del memory.tokens[name]


def _load_seen(
    counts: Sequence[Counted],
    lengths_before: tuple[float, float] | None,
    ready: Sequence[Replica],
    watch: Watch,
    least_seconds: float = LEAST_SECONDS,
) -> LoadSeen | None:
    """Return the load between the first and the last look; ``None`` while there are no two to compare."""
    if len(counts) < 2:  # noqa: PLR2004  # a rate has two ends
        return None
    first, last = counts[0], counts[-1]
    seconds = last.at_seconds - first.at_seconds
    if seconds < least_seconds:
        return None
    loads = [watch.loads.get(r.name) for r in ready if r.name not in watch.unread]
    known = [load for load in loads if load is not None] if len(loads) == len(ready) else []
    is_known = bool(ready) and len(known) == len(ready)
    fills = [load.kv_fraction for load in known if load.kv_fraction is not None]
    lengths = _lengths(counts, lengths_before)
    return LoadSeen(
        seconds=seconds,
        requests_per_second=(last.accepted - first.accepted) / seconds,
        mean_in_flight=(last.request_seconds - first.request_seconds) / seconds,
        serving=len(ready),
        running=sum(load.running for load in known) if is_known else None,
        waiting=sum(load.waiting for load in known) if is_known else None,
        kv_fraction=max(fills) if is_known and fills else None,
        prompt_tokens=None if lengths is None else lengths[0],
        output_tokens=None if lengths is None else lengths[1],
    )


def _lengths(counts: Sequence[Counted], before: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the mean tokens of a request, of prompt and output; ``None`` where too few were answered to tell.

    Engines that could not be read for a while tell all that they wrote meanwhile at once, and requests that were
    answered then may lie outside this stretch. So it is counted between two looks at which every engine told; without
    two of them requests are taken to be as long as ``before``.
    """
    whole = [c for c in counts if c.is_whole]
    answered = whole[-1].answered - whole[0].answered if whole else 0
    if answered < LEAST_ANSWERS:
        return None if len(whole) == len(counts) else before
    prompt = whole[-1].prompt_tokens - whole[0].prompt_tokens
    return prompt / answered, (whole[-1].output_tokens - whole[0].output_tokens) / answered
