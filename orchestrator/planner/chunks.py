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

    ``on[k, r]`` and ``off[k, r]``: the least that ``r`` quanta of work emit from quantum ``k`` on, running and not. A
    start is followed by one quantum of work at least.
    """
    serve = np.array([job.kw * known.integral(k * quantum, (k + 1) * quantum) for k in range(quanta)])
    launch = np.array([job.start_kwh * known.mean(k * quantum, (k + start) * quantum) for k in range(quanta - start)])
    on = np.full((quanta + 1, work + 1), np.inf)
    off = np.full((quanta + 1, work + 1), np.inf)
    on[:, 0] = off[:, 0] = 0.0
    goes_on = np.zeros((quanta + 1, work + 1), dtype=bool)
    starts = np.zeros((quanta + 1, work + 1), dtype=bool)
    for k in range(quanta - 1, -1, -1):
        off[k, 1:] = off[k + 1, 1:]
        if k + start < quanta:
            begun = launch[k] + serve[k + start] + on[k + start + 1, :-1]
            starts[k, 1:] = np.isfinite(begun) & (begun <= off[k, 1:] + _ROUNDING)
            off[k, 1:] = np.minimum(begun, off[k, 1:])
        further = serve[k] + on[k + 1, :-1]
        goes_on[k, 1:] = np.isfinite(further) & (further <= off[k, 1:] + _ROUNDING)
        on[k, 1:] = np.minimum(further, off[k, 1:])
    least = float((on if job.running else off)[0, work])
    return least, _stretches(goes_on, starts, work, start, running=job.running)


def _stretches(
    goes_on: NDArray[np.bool_], starts: NDArray[np.bool_], work: int, start: int, *, running: bool
) -> list[tuple[int, int]]:
    """Follow the choices: of equals the one that works earlier."""
    found: list[tuple[int, int]] = []
    k, left, began = 0, work, 0 if running else None
    while left:
        if began is not None and goes_on[k, left]:
            k, left = k + 1, left - 1
        elif began is not None:
            found += [(began, k)] if k > began else []
            began = None
        elif starts[k, left]:
            began, k, left = k, k + start + 1, left - 1
        else:
            k += 1
    return [*found, (began, k)] if began is not None else found


def _rounded(seconds: float, quantum: float) -> int:
    return ceil(seconds / quantum - _ROUNDING)
