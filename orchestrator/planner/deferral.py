"""When work with a deadline runs: now, or in cleaner hours before it is too late. Pure.

Every second of running emits what the grid of that hour emits; a start takes time and energy and does no work. Of all
ways to do the work that is left before ``deadline - spare``, the one that emits least is taken::

    grams = sum over starts of E_start x I(while it starts) + P x integral of I over the time that it serves

Work that must not be interrupted has one start. Intensities are constant within an hour, so what it emits is piecewise
linear in the moment of that start, and the least lies at a corner: where the start, the first second of serving or the
last one falls on the beginning of an hour, or at either end. Work that may be interrupted is ``planner.chunks``.

This is the offline optimum over an outlook, taken anew at every look, as in "Let's Wait Awhile" (Wiesner, Behnke,
Scheinert, Gontarska and Thamsen, Middleware 2021, section 4: interruptible and not). What is not known is not waited
for: with no outlook, or one that ends before the work could, it runs at once. Nothing else ever misses a deadline for
want of a signal, and from the latest safe start on the outlook is not even looked at.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

from orchestrator.domain.carbon import CarbonSeries, Kind, weakest
from orchestrator.domain.time import Instant, Window, format_instant
from orchestrator.domain.units import SECONDS_PER_HOUR

LEAST_SAVING_FRACTION = 0.01
"""For less than a hundredth nothing is put off: forecasts are wrong by more, and done is done."""

SURE_FRACTION = 0.95
"""So likely enough launches come to something within the time that is kept free for them."""

MOST_TRIES = 10
"""Where hardly any launch works, more time helps no more."""

_NOTHING = timedelta(0)
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Job:
    """Work that is left, and what doing it takes; all replicas of it together. Times are grid time.

    ``work``: how long they have to serve. ``start``: from the launch until they serve, nothing where they do already.
    ``spare``: kept free before the deadline. ``kw``: power while they serve, the facility's share included, in kWh per
    hour of grid time; ``start_kwh``: energy of a start, so that a start emits ``start_kwh`` times the mean intensity
    while it goes on. ``preemptible``: it may stop and start again. ``running``: it has been begun.
    """

    work: timedelta
    deadline: Instant
    start: timedelta
    spare: timedelta
    kw: float
    start_kwh: float
    preemptible: bool = False
    running: bool = False

    @property
    def lead(self) -> timedelta:
        """How long a start takes from now on."""
        return _NOTHING if self.running else self.start

    @property
    def latest_start(self) -> Instant:
        """The last moment at which beginning, or going on, is soon enough."""
        return self.deadline - self.spare - self.lead - self.work


@dataclass(frozen=True, slots=True)
class Deferral:
    """What to do with a job. ``until``: when it begins if it waits, else by when it has to be done.

    ``grams`` and ``grams_now``: of what is done, and of beginning now and going through; ``None`` where the outlook
    does not tell. ``hours``: when it runs, starts included. ``kind``: the weakest of the intensities it rests on.
    """

    runs: bool
    until: Instant
    because: str
    latest_start: Instant
    grams: float | None = None
    grams_now: float | None = None
    hours: tuple[Window, ...] = ()
    kind: Kind | None = None

    @property
    def saved_grams(self) -> float | None:
        """What waiting saves beside starting now; ``None`` where that is not known."""
        return None if self.grams is None or self.grams_now is None else self.grams_now - self.grams


def tries_for(replicas: int, started: int, failed: int) -> int:
    """Return how many times in a row each of some replicas may have to be launched until all of them serve.

    ``started`` and ``failed``: launches of late that came to something, or to nothing. A launch fails with probability
    ``(failed + 1) / (started + failed + 2)``, which is Laplace's rule of succession, so a place that nobody has tried
    is no safe one.
    """
    fails = (failed + 1) / (started + failed + 2)
    tries = 1
    while (1 - fails**tries) ** replicas < SURE_FRACTION and tries < MOST_TRIES:
        tries += 1
    return tries


def decide(job: Job, outlook: CarbonSeries, now: Instant) -> Deferral:
    """Say whether the job runs now or waits, and until when.

    ``outlook``: intensities from the present hour on; hours after the first hole are not known.
    """
    latest = job.latest_start
    if now + job.lead + job.work > job.deadline:
        return _run(job, "it cannot be done in time any more, so nothing is waited for")
    if job.running and not job.preemptible:
        return _run(job, "begun, and not to be interrupted")
    if now >= latest:
        return _run(job, "this is the latest safe start")
    known = Known.from_series(outlook, now, job.deadline - job.spare)
    if known.seconds < (job.lead + job.work).total_seconds():
        return _run(job, "the coming hours of the grid are not known, and nothing is waited for in the dark")
    plan = best_of_known(job, known)
    kind = known.kind
    if plan.begins <= 0:
        words = "no later hours are cleaner" if len(plan.stretches) == 1 else "this is one of the cleanest stretches"
        return _run(job, words, (plan.grams, plan.grams_now), _windows(plan, now), kind)
    if plan.grams_now - plan.grams < LEAST_SAVING_FRACTION * plan.grams_now:
        words = f"waiting saves less than {LEAST_SAVING_FRACTION:.0%}"
        return _run(job, words, (plan.grams_now, plan.grams_now), (), kind)
    return Deferral(
        runs=False,
        until=now + timedelta(seconds=plan.begins),
        because=f"cleaner hours come before {format_instant(job.deadline)}",
        latest_start=latest,
        grams=plan.grams,
        grams_now=plan.grams_now,
        hours=_windows(plan, now),
        kind=kind,
    )


@dataclass(frozen=True, slots=True)
class Known:
    """The intensities from now on without a hole, as a function of seconds from now.

    ``edges``: 0 first; ``grams_per_kwh[i]`` holds from ``edges[i]`` to ``edges[i + 1]``. ``sums``: the integral up to
    each edge, in g/kWh x h.
    """

    edges: tuple[float, ...]
    grams_per_kwh: tuple[float, ...]
    sums: tuple[float, ...]
    kind: Kind | None = None

    @classmethod
    def from_series(cls, outlook: CarbonSeries, now: Instant, end: Instant) -> Known:
        """Take what is known between now and ``end``, up to the first hole."""
        edges, values, kinds = [0.0], [], []
        last = (end - now).total_seconds()
        for point in outlook.points:
            start = (point.interval.start - now).total_seconds()
            stop = min((point.interval.end - now).total_seconds(), last)
            if stop <= edges[-1]:
                continue
            if start > edges[-1]:
                break
            edges.append(stop)
            values.append(point.grams_per_kwh)
            kinds.append(point.kind)
        pieces = ((b - a) * v / SECONDS_PER_HOUR for a, b, v in zip(edges, edges[1:], values, strict=False))
        sums = tuple(accumulate(pieces, initial=0.0))
        return cls(tuple(edges), tuple(values), sums, weakest(kinds) if kinds else None)

    @property
    def seconds(self) -> float:
        """How far it is known."""
        return self.edges[-1]

    def integral(self, start: float, end: float) -> float:
        """Return the integral between two moments that are known, in g/kWh x h."""
        return self._up_to(end) - self._up_to(start)

    def mean(self, start: float, end: float) -> float:
        """Return the mean of a stretch; of none, the value at its beginning."""
        if end > start:
            return self.integral(start, end) / (end - start) * SECONDS_PER_HOUR
        return self.grams_per_kwh[self._piece(start)]

    def _up_to(self, moment: float) -> float:
        piece = self._piece(moment)
        return self.sums[piece] + (moment - self.edges[piece]) * self.grams_per_kwh[piece] / SECONDS_PER_HOUR

    def _piece(self, moment: float) -> int:
        return min(max(0, bisect_right(self.edges, moment) - 1), len(self.grams_per_kwh) - 1)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The best way to do a job: stretches of running in seconds from now, the first begins at ``begins``."""

    stretches: tuple[tuple[float, float], ...]
    grams: float
    grams_now: float

    @property
    def begins(self) -> float:
        """When it begins, in seconds from now."""
        return self.stretches[0][0]


def best_of_known(job: Job, known: Known) -> Chosen:
    """Return the way that emits least; the job fits into what is known."""
    if job.preemptible:
        from orchestrator.planner.chunks import best_chunks  # noqa: PLC0415  # numpy, for work that may be interrupted

        return best_chunks(job, known)
    return _best_whole(job, known)


def grams_of_run(job: Job, known: Known, begin: float) -> float:
    """Return what one start at ``begin`` (seconds from now) and all of the work after it emit."""
    serves = begin + job.lead.total_seconds()
    start = 0.0 if job.running else job.start_kwh * known.mean(begin, serves)
    return start + job.kw * known.integral(serves, serves + job.work.total_seconds())


def _best_whole(job: Job, known: Known) -> Chosen:
    """Try every corner; of equals the earliest."""
    lead, work = job.lead.total_seconds(), job.work.total_seconds()
    last = known.seconds - lead - work
    corners = {edge - before for edge in known.edges for before in (0.0, lead, lead + work)} | {0.0, last}
    begins = sorted(c for c in corners if 0.0 <= c <= last)
    grams = [grams_of_run(job, known, begin) for begin in begins]
    least = min(grams)
    tolerated = least + _ROUNDING * max(1.0, abs(least))
    at = next(i for i, g in enumerate(grams) if g <= tolerated)
    return Chosen(((begins[at], begins[at] + lead + work),), grams[at], grams[0])


def _windows(plan: Chosen, now: Instant) -> tuple[Window, ...]:
    return tuple(Window(now + timedelta(seconds=a), now + timedelta(seconds=b)) for a, b in plan.stretches)


def _run(
    job: Job,
    because: str,
    grams: tuple[float | None, float | None] = (None, None),
    hours: tuple[Window, ...] = (),
    kind: Kind | None = None,
) -> Deferral:
    return Deferral(
        runs=True,
        until=job.deadline,
        because=because,
        latest_start=job.latest_start,
        grams=grams[0],
        grams_now=grams[1],
        hours=hours,
        kind=kind,
    )
