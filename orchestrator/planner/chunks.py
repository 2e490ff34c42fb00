"""Work that may be interrupted: in which stretches before its deadline it emits least. Pure.

Exact on a grid of quanta, by dynamic programming over the quanta left and the work left, with one bit for whether it
runs: from there it goes on, stops, or starts, which takes time and energy and does no work. Work and starts are rounded
up to quanta, so what is planned is always enough. With a price on starts this is the offline problem of Lechowicz et
al., "The online pause and resume problem" (SIGMETRICS 2024, arXiv 2303.17551), section 2.

A quantum begins at ``now``; a plan is made anew at every look, and only its first step is ever taken.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.units import SECONDS_PER_HOUR
from orchestrator.planner.deferral import Chosen, Job, Known, grams_of_run

FINE_SECONDS, COARSE_SECONDS = 300.0, 900.0
"""Five minutes; a quarter of an hour where more than two days are looked at, for the sake of time."""

_TWO_DAYS = 48 * SECONDS_PER_HOUR
_ROUNDING = 1e-9


def best_chunks(job: Job, known: Known) -> Chosen:
    """Return the stretches that emit least; the job fits into what is known as one stretch.

    Where it does not fit any more once it is rounded to quanta, it runs now.
    """
    now = grams_of_run(job, known, 0.0)
    through = job.lead.total_seconds() + job.work.total_seconds()
    whole = Chosen(((0.0, through),), now, now)
    quantum = FINE_SECONDS if known.seconds <= _TWO_DAYS else COARSE_SECONDS
    quanta = int(known.seconds / quantum + _ROUNDING)
    work, start = _rounded(job.work.total_seconds(), quantum), _rounded(job.start.total_seconds(), quantum)
    if quanta < work + (0 if job.running else start):
        return whole
    grams, stretches = _solve(job, known, quantum, quanta, work, start)
    # Both ends of the comparison are rounded, so that rounding never speaks for one of them.
    edges = [k * quantum for k in range(quanta + 1)]
    lead = 0 if job.running else start
    begun = 0.0 if job.running else job.start_kwh * known.mean(0.0, edges[start])
    grams_now = begun + job.kw * known.integral(edges[lead], edges[lead + work])
    return Chosen(tuple((edges[a], edges[b]) for a, b in stretches), min(grams, grams_now), grams_now)


def _solve(
    job: Job, known: Known, quantum: float, quanta: int, work: int, start: int
) -> tuple[float, list[tuple[int, int]]]:
    """Return the least grams, and the stretches of quanta in which it runs, starts included.

    ``on[r, k]`` and ``off[r, k]``: the least that ``r`` quanta of work emit from quantum ``k`` on, running and not. A
    start is followed by one quantum of work at least.
    """
    serve, launch = _grams_of_quanta(job, known, quantum, quanta, start)
    # A start at k serves first in k + start, and its work goes on from the quantum after that.
    first = launch + serve[start:]
    on = np.full((work + 1, quanta + 1), np.inf)
    off = np.full((work + 1, quanta + 1), np.inf)
    on[0] = off[0] = 0.0
    for left in range(1, work + 1):
        begun = first + on[left - 1, start + 1 :]
        off[left, : begun.size] = np.minimum.accumulate(begun[::-1])[::-1]
        on[left, :-1] = np.minimum(serve + on[left - 1, 1:], off[left, :-1])
    least = float((on if job.running else off)[work, 0])
    return least, _stretches(serve, first, on, off, running=job.running)


def _grams_of_quanta(
    job: Job, known: Known, quantum: float, quanta: int, start: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what serving in each quantum emits, and a start from each on that is over before the last."""
    moments = np.arange(quanta + 1) * quantum
    pieces = np.searchsorted(known.edges, moments, side="right") - 1
    pieces = np.clip(pieces, 0, len(known.grams_per_kwh) - 1)
    values = np.array(known.grams_per_kwh)[pieces]
    up_to = np.array(known.sums)[pieces] + (moments - np.array(known.edges)[pieces]) * values / SECONDS_PER_HOUR
    serve = job.kw * np.diff(up_to)
    if not start:
        return serve, job.start_kwh * values[:-1]
    begins = slice(max(0, quanta - start))
    seconds = moments[start:-1] - moments[begins]
    means = (up_to[start:-1] - up_to[begins]) / seconds * SECONDS_PER_HOUR
    return serve, job.start_kwh * means


def _stretches(
    serve: NDArray[np.float64],
    first: NDArray[np.float64],
    on: NDArray[np.float64],
    off: NDArray[np.float64],
    *,
    running: bool,
) -> list[tuple[int, int]]:
    """Follow the choices: of equals the one that works earlier."""
    found: list[tuple[int, int]] = []
    start = serve.size - first.size
    k, left, began = 0, on.shape[0] - 1, 0 if running else None
    while left:
        if began is not None:
            further = serve[k] + on[left - 1, k + 1] if k < serve.size else np.inf
            if further < np.inf and further <= off[left, k] + _ROUNDING:
                k, left = k + 1, left - 1
                continue
            found += [(began, k)] if k > began else []
            began = None
        begun = first[k] + on[left - 1, k + start + 1]
        if begun < np.inf and begun <= off[left, k + 1] + _ROUNDING:
            began, k, left = k, k + start + 1, left - 1
        else:
            k += 1
    return [*found, (began, k)] if began is not None else found


def _rounded(seconds: float, quantum: float) -> int:
    return ceil(seconds / quantum - _ROUNDING)
