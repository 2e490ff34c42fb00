"""Old samples as few rows: those of one replica in one clock hour that differ in nothing but load become one.

A report is made of these rows whether the samples were merged in the database already or not, so it is the same to the
last bit before and after: merging is a function of the samples alone, what is merged stays as it is when it is merged
again, and sums are rounded once (``math.fsum``, J. R. Shewchuk, Discrete & Computational Geometry 18, 1997, 305-363).
What is lost is how the load went up and down within the hour. A stretch without samples stays one: rows end before it
and begin after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.domain.energy import EnergySample
from orchestrator.domain.time import Window, floor_hour

DETAIL_SEPARATOR = "\n"
"""Between the ways in which the energy of a merged row was found; none of them has a line break of its own."""

LARGEST = 1e100
"""No sum or product of an hour's numbers below this one overflows."""


def hourly(samples: Iterable[EnergySample]) -> tuple[EnergySample, ...]:
    """Merge neighbours of one replica and one clock hour; return rows by start and replica.

    Only what touches is merged, and only where place, PUE, intensity (value, kind, source), method, uncertainty and
    whether grams and dollars are known are all the same. Joules, grams, dollars, seconds and tokens are sums;
    ``watts`` is joules over seconds and ``mean_batch`` the mean over engine time. Numbers of :data:`LARGEST` and
    more are left alone.
    """
    of_replica: dict[str, list[EnergySample]] = {}
    for sample in samples:
        of_replica.setdefault(sample.replica, []).append(sample)
    merged: list[EnergySample] = []
    for own in of_replica.values():
        run: list[EnergySample] = []
        for sample in sorted(own, key=lambda s: s.window.start):
            if run and not _belong_together(run[-1], sample):
                merged.append(_one(run))
                run = []
            run.append(sample)
        merged.append(_one(run))
    return tuple(sorted(merged, key=lambda s: (s.window.start, s.replica)))


def details(samples: Iterable[EnergySample]) -> tuple[str, ...]:
    """Return each way in which energy was found, once and in order, of merged rows as of samples."""
    return tuple(sorted({part for s in samples for part in s.method_detail.split(DETAIL_SEPARATOR)}))


def _belong_together(one: EnergySample, other: EnergySample) -> bool:
    return (
        one.window.end == other.window.start
        and floor_hour(one.window.start) == floor_hour(other.window.start)
        and _facts(one) == _facts(other)
        and _can_be_summed(one)
        and _can_be_summed(other)
    )


def _facts(sample: EnergySample) -> tuple[object, ...]:
    """Everything that is not of the load; a number by its bits, for 0.0 and -0.0 are equal and not the same."""
    return (
        *(sample.service, sample.replica, sample.region, sample.zone, sample.pue.hex()),
        None if sample.grams_per_kwh is None else sample.grams_per_kwh.hex(),
        *(sample.intensity_kind, sample.intensity_source, sample.grams is None, sample.usd is None),
        *(sample.method, sample.uncertainty_fraction.hex()),
    )


def _can_be_summed(sample: EnergySample) -> bool:
    numbers = (
        *(sample.engine_seconds, sample.mean_batch, sample.watts, sample.it_joules, sample.facility_joules),
        *(sample.grams or 0.0, sample.usd or 0.0),
    )
    return all(abs(n) < LARGEST for n in numbers)


def _one(run: Sequence[EnergySample]) -> EnergySample:
    if len(run) == 1:
        return run[0]
    seconds = math.fsum(s.engine_seconds for s in run)
    joules = math.fsum(s.it_joules for s in run)
    last = run[-1]
    batch = math.fsum(s.mean_batch * s.engine_seconds for s in run)
    return replace(
        last,
        window=Window(run[0].window.start, last.window.end),
        engine_seconds=seconds,
        mean_batch=batch / seconds if seconds else last.mean_batch,
        watts=joules / seconds if seconds else last.watts,
        it_joules=joules,
        facility_joules=math.fsum(s.facility_joules for s in run),
        grams=None if last.grams is None else math.fsum(s.grams for s in run if s.grams is not None),
        usd=None if last.usd is None else math.fsum(s.usd for s in run if s.usd is not None),
        prompt_tokens=sum(s.prompt_tokens for s in run),
        output_tokens=sum(s.output_tokens for s in run),
        method_detail=DETAIL_SEPARATOR.join(details(run)),
    )
