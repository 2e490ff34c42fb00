"""Bugs that the simulation has found in our own code, each as the smallest run that showed it."""

import pytest

from orchestrator.bench.sim.faults import Fault, Setting
from orchestrator.bench.sim.run import run


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_leaves_for_want_of_load_that_nobody_has_read(seed: int) -> None:
    """A gateway that cannot be asked says nothing about its load.

    Its last counts were gone on with: a replica left six minutes after anybody had read the load (I16).
    """
    outages = tuple(Fault(n, 1800.0 * (n + 2) + 60.0, "gateway_away", 1500.0, 0.0) for n in range(7))

    outcome = run(Setting(seed, outages, hours=5.0, replicas=1, scaled=True, recovery_hours=3.0, rest_hours=0.5))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert outcome.launches > 1
