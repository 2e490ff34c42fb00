"""How good old values are, by age, beside forecasts made when they were fresh; and the age limit that is learnt.

Age counts from the end of the last known hour to the start of the hour that is guessed: a feed that lags by three hours
gives, at best, values of age 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.bench.forecast.choices import like_zones, where_to_run
from orchestrator.bench.forecast.contenders import OURS, YESTERDAY, Forecasts
from orchestrator.bench.forecast.scores import Mask, errors
from orchestrator.forecasting.pattern import LOOK_BACK_HOURS, Floats
from orchestrator.forecasting.staleness import BestGuess, best_guess

AGES_HOURS: Final = (0, 1, 2, 3, 6, 12, 24, 48)
LAST_VALUE: Final = "last value"
MONTH: Final = "28-day mean"


@dataclass(frozen=True)
class Guess:
    """One way to guess the present at one age, over the zones compared.

    ``wape_percent`` is the mean over zones, ``None`` where nobody of them is guessed at that age.
    ``placement_percent``: how much of the possible saving is reached by being in the zone guessed cleanest (see
    :func:`orchestrator.bench.forecast.choices.where_to_run`); ``None`` where there is nothing to choose between.
    """

    name: str
    age_hours: int
    wape_percent: float | None
    placement_percent: float | None


@dataclass(frozen=True)
class Freshness:
    """``rules``: what was learnt before the scored year of the last value against a forecast, by that one's name."""

    guesses: tuple[Guess, ...]
    rules: Mapping[str, BestGuess]


def freshness(forecasts: Forecasts, counted: Mask, usable: Mask) -> Freshness:
    """Compare guesses by age on the scored issues, ``counted`` (issues, hours ahead, zones), of the usable zones.

    Rules are learnt on the issues before the scored year, where there are any, and judged on the year.
    """
    ages = list(AGES_HOURS)
    taught, scored = slice(0, forecasts.scored), slice(forecasts.scored, None)
    actual = forecasts.actual[scored]
    horizon = actual.shape[1]
    last, month = _last_and_month(forecasts)
    value, mean = _held(last, horizon), _held(month, horizon)
    guesses = {LAST_VALUE: value[scored], MONTH: mean[scored], YESTERDAY: forecasts.by_name[YESTERDAY][scored]}
    rules: dict[str, BestGuess] = {}
    names = [name for name in forecasts.by_name if name in {forecasts.provider, OURS}]
    for name in names:
        guesses[name] = forecasts.by_name[name][scored]
    for name in names if forecasts.scored else []:
        forecast = forecasts.by_name[name]
        rules[name] = best_guess(value[taught], forecast[taught], mean[taught], forecasts.actual[taught])
        guesses[f"{LAST_VALUE} or {name}"] = rules[name].choose(value[scored], forecast[scored], mean[scored])
    counted = counted & usable
    groups = like_zones(month[forecasts.scored], usable)
    found = []
    for name, guess in guesses.items():
        said, real = guess[:, ages], actual[:, ages]
        hours = counted[:, ages] & np.isfinite(said)
        worth = where_to_run(said, real, hours, groups)
        for place, age in enumerate(ages):
            at = [place]
            wape = errors(said[:, at], real[:, at], hours[:, at]).wape_percent
            known = wape[np.isfinite(wape)]
            reached = float(worth.reached_percent[place])
            found.append(
                Guess(
                    name,
                    age,
                    float(known.mean()) if len(known) else None,
                    reached if np.isfinite(reached) else None,
                )
            )
    return Freshness(tuple(found), rules)


def _last_and_month(forecasts: Forecasts) -> tuple[Floats, Floats]:
    """Return (issues, zones) of the last value and of the mean of the 28 days before each issue."""
    month = np.stack([forecasts.filled[row - LOOK_BACK_HOURS : row].mean(axis=0) for row in forecasts.issues.tolist()])
    return forecasts.filled[forecasts.issues - 1], month


def _held(values: Floats, hours: int) -> Floats:
    return np.repeat(values[:, None], hours, axis=1)
