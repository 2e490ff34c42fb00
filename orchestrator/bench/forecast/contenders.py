"""Everybody's forecasts, issued through the year from what was known at each issue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.bench.forecast.recording import Provider, Recording
from orchestrator.forecasting.bands import WINDOW
from orchestrator.forecasting.pattern import (
    DAY,
    LOOK_BACK_HOURS,
    Floats,
    Rows,
    blended,
    filled_from_before,
    same_hours,
    yesterday,
)
from orchestrator.forecasting.provider import Trust, with_provider
from orchestrator.forecasting.regression import Habits, foresee

OURS: Final = "greenctl"
BLEND: Final = "blend"
YESTERDAY: Final = "yesterday"
LEVEL: Final = "yesterday+level"
WEEK: Final = "week"

TAUGHT_HOURS: Final = DAY * (WINDOW + 5)
"""A band looks back on the issues of so many hours: its window, and the four days until an issue is over."""

LEVEL_FADES_HOURS: Final = 6.0
"""Of yesterday+level: what ``greenctl`` had for its planner before the blend."""


@dataclass(frozen=True)
class Hourly:
    """Our forecast issued at every hour of the scored year and of the weeks that teach its bands.

    ``issues``: rows; ``ours``: (issues, hours ahead, zones); ``scored_from``: the row from which on they are scored.
    """

    issues: Rows
    ours: Floats
    scored_from: int


@dataclass(frozen=True)
class Forecasts:
    """By name, (issues, hours ahead, zones) gCO2e/kWh; ``nan`` where somebody has none.

    ``issues``: rows of the recording at which they are issued, those before ``scored`` (a position in it) only to learn
    from. ``actual``: what came of them, ``nan`` in gaps and after the year. ``filled``: the recording as one could know
    it, gaps filled from before, and ``recorded`` as it is. ``provider``: the name among them that a provider issued, if
    any; ``stored``: its forecasts at the midnights of ``hourly``, unknown where it forecast another quantity.
    """

    issues: Rows
    scored: int
    actual: Floats
    filled: Floats
    recorded: Floats
    hourly: Hourly
    stored: Floats
    by_name: Mapping[str, Floats]
    provider: str | None

    @property
    def best(self) -> str:
        """The name of the forecast that we would use."""
        return OURS if self.provider is None else f"{OURS}+{self.provider}"


def issue_all(
    recording: Recording,
    direct: Recording | None,
    provider: Provider | None,
    *,
    every_hours: int,
    done: Callable[[], None],
) -> Forecasts:
    """Issue every forecast at every row that is due; ``done`` is called after each kind.

    ``direct`` is the same recording of direct intensity, which is what providers forecast (``recording`` itself, if it
    is that); without it, or without a provider, nobody else's forecasts are used.
    """
    habits = Habits()
    horizon = habits.horizon_hours
    filled = filled_from_before(recording.values)
    issues = np.arange(LOOK_BACK_HOURS, len(filled), every_hours)
    actual = same_hours(recording.values, issues, horizon)
    by_name: dict[str, Floats] = {}

    def add(name: str, forecast: Floats) -> Floats:
        by_name[name] = forecast
        done()
        return forecast

    add(YESTERDAY, yesterday(filled, issues, horizon))
    add(LEVEL, _with_level(filled, issues, by_name[YESTERDAY]))
    add(WEEK, _week(filled, issues, horizon))
    add(BLEND, blended(filled, issues, horizon))
    every_hour = np.arange(max(LOOK_BACK_HOURS, recording.scored_from - TAUGHT_HOURS), len(filled))
    both = np.union1d(issues, every_hour)
    foreseen = foresee(filled, both, recording.first_weekday, habits)
    ours = add(OURS, foreseen[np.searchsorted(both, issues)])
    hourly = Hourly(every_hour, foreseen[np.searchsorted(both, every_hour)], recording.scored_from)
    midnights = every_hour[every_hour % DAY == 0]
    stored = np.full((len(midnights), horizon, len(recording.zones)), np.nan)
    if provider is not None and direct is not None:
        theirs = newest(provider, recording, issues, horizon)
        reference = ours
        if direct.factors is not recording.factors:
            reference = foresee(filled_from_before(direct.values), issues, recording.first_weekday, habits)
        else:
            by_name[provider.name] = theirs
            stored = newest(provider, recording, midnights, horizon)
        add(f"{OURS}+{provider.name}", with_provider(ours, theirs, reference, actual, issues, Trust()))
    scored = int(np.searchsorted(issues, recording.scored_from))
    name = None if provider is None else provider.name
    return Forecasts(issues, scored, actual, filled, recording.values, hourly, stored, by_name, name)


def newest(provider: Provider, recording: Recording, issues: Rows, horizon: int) -> Floats:
    """Return the provider's newest issue at each of our issues, on our hours, (issues, hours ahead, zones).

    One that is issued at the same moment counts: both then know the same hours. ``nan`` beyond its reach.
    """
    found = np.full((len(issues), horizon, len(recording.zones)), np.nan)
    their_rows = np.array(provider.issued_hours) - recording.first_hour
    reach = provider.grams_per_kwh.shape[1]
    for i, row in enumerate(issues.tolist()):
        position = int(np.searchsorted(their_rows, row, side="right")) - 1
        if position < 0:
            continue
        age = row - int(their_rows[position])
        hours = min(horizon, reach - age)
        if hours > 0:
            found[i, :hours] = provider.grams_per_kwh[position, age : age + hours]
    return found


def _with_level(filled: Floats, issues: Rows, base: Floats) -> Floats:
    """Yesterday, moved by how the last hour differs from the same hour of the day that serves as yesterday."""
    ahead = np.arange(base.shape[1])
    last = filled[issues - 1][:, None]
    before = filled[issues[:, None] - 1 - DAY * (ahead // DAY + 1)]
    fading = np.exp(-(ahead + 1) / LEVEL_FADES_HOURS)[:, None]
    return np.asarray(np.maximum(0.0, base + (last - before) * fading))


def _week(filled: Floats, issues: Rows, horizon: int) -> Floats:
    """The mean of the same hour over the last seven days that are known."""
    total = sum(yesterday(filled, issues - DAY * day, horizon) for day in range(7))
    return np.asarray(total / 7)
