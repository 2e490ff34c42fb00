"""Many simulated days on all cores: runs share nothing, so each process lives through runs of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

from orchestrator.bench.sim.faults import Setting
from orchestrator.bench.sim.run import Outcome, run


def lived(
    settings: Iterator[Setting], jobs: int, until: float, run_it: Callable[[Setting], Outcome]
) -> Iterator[tuple[Outcome, float]]:
    """Yield how each run ended, in the order of the settings, and the seconds of a core that it took.

    ``jobs``: processes; with more than one, ``run_it`` has to be the plain :func:`run`. ``until``: of
    ``time.monotonic``; no run begins after it.
    """
    if jobs == 1:
        for setting in settings:
            if time.monotonic() > until:
                return
            yield timed(run_it, setting)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        coming: deque[Future[tuple[Outcome, float]]] = deque()
        for setting in settings:
            if time.monotonic() > until:
                break
            coming.append(pool.submit(timed, run, setting))
            if len(coming) > 2 * jobs:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def timed(run_it: Callable[[Setting], Outcome], setting: Setting) -> tuple[Outcome, float]:
    """Return how a run ended, without its history, and the seconds of a core that it took."""
    began = time.process_time()
    outcome = run_it(setting)
    return replace(outcome, history=()), time.process_time() - began
