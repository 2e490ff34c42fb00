"""How many replicas a batch service wants now: none while its work waits, all of them while it runs. Pure.

``planner.deferral`` says when; here is what it needs to know of a service: what is left to do, what a start takes, how
many launches came to nothing lately, and which places it could run in. Each place is judged by its own coming hours,
and the cleanest of them counts, as the planner takes it when the time comes. Work that runs and may be interrupted is
judged by where it runs: only if it stops, it may begin anew elsewhere, with a start.

The work is shared by as many as can serve together: no more than ``max_per_region`` leaves room for where the policy
allows it, and once it runs no more than have come up. A start takes longer where launches have to wait for each other.

Counted as a start: a launch of the service of late that became ready; as a failed one: a launch that ended before it
was. A loss while serving is no failed launch; ``margin`` is kept free for those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from statistics import median

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Reading
from orchestrator.domain.decision import Assessment
from orchestrator.domain.price import Market
from orchestrator.domain.replica import ENDED, Replica
from orchestrator.domain.scale import Figure, WantedReplicas
from orchestrator.domain.service import BatchRules, Objective, Policy
from orchestrator.domain.time import HOUR, Instant, Window, format_instant
from orchestrator.domain.units import SECONDS_PER_HOUR, watts_to_kw
from orchestrator.planner.choose import choose
from orchestrator.planner.deferral import Deferral, Job, Known, decide, tries_for
from orchestrator.planner.fallback import pools_for
from orchestrator.planner.judged import Judged, judge
from orchestrator.planner.launches import MOST_LAUNCHES_PER_MINUTE
from orchestrator.planner.moves import COLD_START_POWER_FRACTION
from orchestrator.planner.snapshot import Snapshot

_SECOND = timedelta(seconds=1)
_LITTLE_HOURS = 1 / SECONDS_PER_HOUR
"""A second of work that is left is none: hours are sums of many pieces."""


@dataclass(frozen=True, slots=True)
class Round:
    """One piece of work: it is there from the window's start on, and has to be done by its end (grid time).

    ``asked_hours`` and ``done_hours``: engine hours, physical. ``counted``: what the second one counts, in words.
    ``recurs``: the next one begins where this one ends.
    """

    window: Window
    asked_hours: float
    done_hours: float
    counted: str
    recurs: bool

    @property
    def left_hours(self) -> float:
        """The engine hours that are left."""
        return max(0.0, self.asked_hours - self.done_hours)


@dataclass(frozen=True, slots=True)
class _Place:
    """A place where it could run, what its coming hours are like, and what would be done there."""

    offer_id: str
    region: str
    deferral: Deferral


@dataclass(frozen=True, slots=True)
class _Crew:
    """How many replicas share the work, and what keeps more of them away, where that is fewer than wanted."""

    replicas: int
    why_no_more: str = ""


def batch_wanted(
    snapshot: Snapshot,
    policy: Policy,
    batch: BatchRules,
    work: Round,
    outlooks: Mapping[str, CarbonSeries],
    last: WantedReplicas | None,
    now: Instant,
) -> WantedReplicas:
    """Return how many replicas should serve from now on, and why.

    ``outlooks``: the coming hours of grid zones up to the deadline, as far as they are known. ``last``: what was wanted
    last, ``None`` before the first decision.
    """
    most, due = snapshot.spec.scaling.max_replicas, work.window.end
    if work.left_hours <= _LITTLE_HOURS:
        because = f"batch: {_hours(work.asked_hours)} done"
        if work.recurs:
            because += f"; the next round begins at {format_instant(due)}"
        return WantedReplicas(0, 0, most, 0, because, _figures(work), due if work.recurs else None)
    running = last is not None and last.replicas > 0 and last.needed is not None and last.until == due
    judged = judge(snapshot, policy, now)
    crew = _crew(judged, now, running=running)
    place, tries = _best_place(judged, batch, work, crew, outlooks, running=running)
    found = place.deferral
    figures = (*_figures(work), *_costs(found, place, snapshot, tries))
    todo = f"{_hours(work.left_hours)} of work by {format_instant(due)}"
    if crew.replicas < most:
        todo += f" on {crew.replicas} of {most} replicas ({crew.why_no_more})"
    if found.runs:
        return WantedReplicas(most, 0, most, most, f"batch: {todo}: {found.because}", figures, due)
    begun = format_instant(found.latest_start.replace(microsecond=0))
    because = f"batch waits until {format_instant(found.until)}{_saving(found, place)}; {todo}, begun by {begun}"
    return WantedReplicas(0, 0, most, 0, because, figures, found.until)


def _crew(judged: Judged, now: Instant, *, running: bool) -> _Crew:
    """Return how many replicas the work is shared by; all of them where no place may be taken at all just now.

    Who serves alone while a start and all launches would be over is not joined by others soon.
    """
    snapshot = judged.snapshot
    crew = _Crew(snapshot.spec.scaling.max_replicas)
    limit, living = snapshot.spec.placement.max_per_region, snapshot.living()
    allowed = {a.region for a in judged.assessments if a.allowed}
    if limit is not None and allowed:
        room = limit * len(allowed) + sum(r.region not in allowed for r in living)
        if room < crew.replicas:
            crew = _Crew(room, "max_per_region leaves no room for more")
    since = min((r.ready_at for r in living if r.ready_at is not None), default=None)
    patience = _start(snapshot, crew.replicas)
    if running and since is not None and now - since > patience:
        up = sum(r.ready_at is not None or now - r.created_at <= patience for r in living)
        if up < crew.replicas:
            crew = _Crew(up, "no more have come up")
    return crew


def _best_place(
    judged: Judged,
    batch: BatchRules,
    work: Round,
    crew: _Crew,
    outlooks: Mapping[str, CarbonSeries],
    *,
    running: bool,
) -> tuple[_Place, int]:
    """Return the place where the work emits least, and how many launches in a row time is kept free for.

    Of work that runs and may stop it is the place where it runs; else it would go on in dirty hours because they are
    clean elsewhere. One that cannot be judged says what to do only where none can.
    """
    snapshot, now = judged.snapshot, judged.now
    tries, try_length = _launches(snapshot, crew)
    spare = batch.margin + (tries - 1) * try_length
    blind = Job(
        _length(work, snapshot, crew),
        work.window.end,
        _start(snapshot, crew.replicas),
        spare,
        kw=0.0,
        start_kwh=0.0,
        preemptible=batch.preemptible,
        running=running,
    )
    places: list[_Place] = []
    stands = _stands_on(snapshot) if running and batch.preemptible else ""
    for a in [a for a in judged.assessments if a.offer_id == stands] if stands else _allowed(judged):
        job = _job(judged, a, blind, crew)
        side = judged.side(a.offer_id)
        if job is None or side is None:
            continue
        outlook = _from_now(outlooks.get(a.zone or ""), side.candidate.now, now)
        if not _is_worse(job, outlook, places, now):
            places.append(_Place(a.offer_id, a.region, decide(job, outlook, now)))
    told = [p for p in places if p.deferral.grams is not None]
    if now >= blind.latest_start or not told:
        # The moment from which on nothing is weighed is the same for every place.
        return _Place("", "", decide(blind, CarbonSeries("", ()), now)), tries
    return min(told, key=lambda p: (p.deferral.grams or 0.0, p.deferral.until, p.offer_id)), tries


def _stands_on(snapshot: Snapshot) -> str:
    """Return the offer that most living replicas stand on; empty while there are none."""
    stands = Counter(r.offer_id for r in snapshot.living())
    return min(stands, key=lambda offer_id: (-stands[offer_id], offer_id), default="")


def _allowed(judged: Judged) -> list[Assessment]:
    """Return the offers that would be looked through; where not the grams decide on the place, the one to be taken.

    Those of the market that most of the replicas would be launched on: work that begins for the hours of a place where
    it is not launched stops again at the next look.
    """
    policy, spec = judged.policy, judged.snapshot.spec
    allowed = [a for a in judged.assessments if a.allowed]
    base = spec.scaling.base_ondemand_fallback_replicas
    pools: list[tuple[str, ...]] = []
    for slot in range(spec.scaling.max_replicas):
        market = Market.ON_DEMAND if slot < base else spec.market
        found = pools_for(judged, slot, market, allowed, (), keep_up=True)
        pools.append(next((tuple(a.offer_id for a in pool) for pool in found if pool), ()))
    ids = set(max(Counter(pools).items(), key=lambda own: (own[1], own[0]))[0])
    pool = [a for a in allowed if a.offer_id in ids]
    if policy.objective is Objective.GREENEST:
        return pool
    return list(choose(pool, 1, [], spec.placement, policy.objective))


def _job(judged: Judged, a: Assessment, blind: Job, crew: _Crew) -> Job | None:
    """Return the work as it would be at a place; ``None`` where its energy is unknown."""
    side, snapshot = judged.side(a.offer_id), judged.snapshot
    power = None if side is None else side.candidate.offer.shape.power
    if a.kwh_per_hour is None or a.pue is None or power is None:
        return None
    cold_hours = snapshot.cold_start_seconds.value / SECONDS_PER_HOUR
    start_kwh = COLD_START_POWER_FRACTION * watts_to_kw(power.full_watts) * a.pue * cold_hours
    kw = crew.replicas * a.kwh_per_hour / snapshot.clock_rate
    return replace(blind, kw=kw, start_kwh=crew.replicas * start_kwh)


def _length(work: Round, snapshot: Snapshot, crew: _Crew) -> timedelta:
    """Return for how long all that share the work have to serve, in grid time."""
    hours = work.left_hours / crew.replicas * snapshot.clock_rate
    most = timedelta(days=3650) / HOUR
    return min(hours, most) * HOUR


def _start(snapshot: Snapshot, replicas: int = 1) -> timedelta:
    """Return how long it takes in grid time until so many serve: the last of them is launched some minutes later."""
    waits = timedelta(minutes=(replicas - 1) // MOST_LAUNCHES_PER_MINUTE)
    return (snapshot.cold_start_seconds.value * _SECOND + waits) * snapshot.clock_rate


def _launches(snapshot: Snapshot, crew: _Crew) -> tuple[int, timedelta]:
    """Return how many launches in a row are reckoned with, and how long one takes that comes to nothing."""
    failed = [r for r in snapshot.replicas if r.ready_at is None and r.state in ENDED and _came_to_nothing(r)]
    started = sum(r.ready_at is not None for r in snapshot.replicas)
    lengths = [(r.state_since - r.created_at) / _SECOND for r in failed]
    length = median(lengths) * _SECOND if lengths else _start(snapshot)
    return tries_for(crew.replicas, started, len(failed)), length


def _came_to_nothing(replica: Replica) -> bool:
    """Whether it ended of itself: one that was drained before it served was not wanted any more."""
    return replica.state.value in {"failed", "lost"}


def _from_now(outlook: CarbonSeries | None, reading: Reading, now: Instant) -> CarbonSeries:
    """Lay a value that describes the present over an outlook; one of an hour ago is what the forecast begins with."""
    if outlook is None:
        return CarbonSeries("?", ())
    coming = [p for p in outlook.points if p.interval.end > now]
    if coming and isinstance(reading, CarbonIntensity) and now in reading.interval and now in coming[0].interval:
        coming[0] = replace(coming[0], grams_per_kwh=reading.grams_per_kwh, kind=reading.kind)
    return CarbonSeries(outlook.zone, tuple(coming))


def _is_worse(job: Job, outlook: CarbonSeries, places: list[_Place], now: Instant) -> bool:
    """Whether the cleanest hour of a place, all the time, would still emit more than another place: it is not tried.

    A place with the same numbers as one that was tried is not better either.
    """
    best = min((p.deferral.grams for p in places if p.deferral.grams is not None), default=None)
    if best is None:
        return False
    known = Known.from_series(outlook, now, job.deadline - job.spare)
    if not known.grams_per_kwh:
        return False
    return job.kw * min(known.grams_per_kwh) * (job.work / HOUR) >= best


# ── in words ─────────────────────────────────────────────────────────────────────────────────────────


def _saving(found: Deferral, place: _Place) -> str:
    saved, at_once = found.saved_grams, found.grams_now
    if saved is None or at_once is None or at_once <= 0:
        return ""
    return f" ({place.region}: {saved:.3g} g or {saved / at_once:.0%} less than beginning now)"


def _hours(hours: float) -> str:
    written = f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"
    return f"{written} engine hour{'' if written in {'1', '1.0'} else 's'}"


def _figures(work: Round) -> tuple[Figure, ...]:
    return (
        Figure("asked", work.asked_hours, "engine h", "the batch block"),
        Figure("done", work.done_hours, "engine h", work.counted),
    )


def _costs(found: Deferral, place: _Place, snapshot: Snapshot, tries: int) -> Iterator[Figure]:
    kind = "" if found.kind is None else f", {found.kind.value}"
    if found.grams_now is not None:
        yield Figure("beginning now", found.grams_now, "gCO2e", f"{place.region}, one start included{kind}")
    if found.grams is not None:
        stretches = max(1, len(found.hours))
        words = "one stretch" if stretches == 1 else f"{stretches} stretches"
        yield Figure("as planned", found.grams, "gCO2e", f"in {words}{kind}")
    cold = snapshot.cold_start_seconds
    yield Figure("start", cold.value, "s", cold.origin)
    yield Figure("launches", tries, "in a row", "time is kept free for so many, by how many failed lately")
