"""How sure it is that a move saves carbon: the same sum in every way in which the forecasts were wrong lately. Pure.

A move pays in a scenario when what it saves there is more than what it costs (ALGORITHMS, rule 1: the dead band is the
cost itself, at a confidence). The scenarios are days: each puts its errors on both forecasts, hour by hour, so that
weather that lies over both grids counts at both ends. Live values are known and are not put in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.decision import Likelihood, MoveComparison
from orchestrator.domain.misses import FEWEST_DAYS, Misses
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.moves import Side


def with_likelihood(
    comparison: MoveComparison, here: Side, there: Side, now: Instant, clock_rate: float
) -> MoveComparison:
    """Say in how many scenarios the move saves more carbon than it costs.

    Unchanged where energy is unknown, where the misses of a forecast are, or where fewer than nine days are known of
    all the hours that were weighed.
    """
    kwh_here, kwh_there = here.assessment.kwh_per_hour, there.assessment.kwh_per_hour
    missed_here, missed_there = here.candidate.misses, there.candidate.misses
    if kwh_here is None or kwh_there is None or missed_here is None or missed_there is None:
        return comparison
    live = here.assessment.grams_per_kwh is not None, there.assessment.grams_per_kwh is not None
    stay = _Way(missed_here, comparison.intensity_from, kwh_here / clock_rate, int(live[0]))
    move = _Way(missed_there, comparison.intensity_to, kwh_there / clock_rate, int(live[1]))
    pays = scenarios = 0
    for day in range(min(len(missed_here.by_day), len(missed_there.by_day))):
        staying, moving = stay.grams(day, now), move.grams(day, now)
        if staying is not None and moving is not None:
            scenarios += 1
            pays += staying - moving > comparison.cost_grams
    return replace(comparison, likelihood=Likelihood(pays, scenarios)) if scenarios >= FEWEST_DAYS else comparison


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the two: its forecast's misses, g/kWh of each hour from now on, and what an hour of grid time draws, kWh.

    ``known``: how many of the hours are no forecast.
    """

    misses: Misses
    grams_per_kwh: Sequence[float]
    kwh_per_hour: float
    known: int

    def grams(self, day: int, now: Instant) -> float | None:
        """Return gCO2e over all hours in the scenario of a day; ``None`` where one is not known."""
        scenario = self.misses.scenario(day, self.grams_per_kwh[self.known :], now + self.known * HOUR)
        return None if scenario is None else (sum(self.grams_per_kwh[: self.known]) + sum(scenario)) * self.kwh_per_hour
