"""What the coming hours of each zone may be like: an expectation, and the ways in which such expectations erred lately.

The expectation of hour t + h is the last known same hour of a day, corrected by a linear model: per zone and h, ridge
regression (Hoerl and Kennard, Technometrics 12(1), 1970, section 2) of how that base erred on deviations known at t.
The coefficients are drawn towards those of all zones together, which stands for the experience that a zone lacks early
in a year, and the more so the farther the hour; they are fitted again each week on everything up to then. Deviations of
solar grids fade differently at noon and at night, so the chief ones also enter times harmonics of the hour of the day;
harmonics of the week stand for working days. What lies beyond the horizon is expected as one mean, in the same way.

For the first hours, from a zone's 28th day on, the expectation is the mean of that and of a second one, made otherwise:
:mod:`orchestrator.forecasting.regression`, on square roots, with coefficients for each hour of the day, in which
misjudged hours count less. Their errors differ enough for the mean to err as little as the better one, or less (Bates
and Granger, Operational Research Quarterly 20(4), 1969). From the second half of the first day on it gains nothing.

What is lost against the optimum is lost to weather that this does not foresee: of 0.88 points (72 services without
the cleanest grids, 2022) 0.78 would be left if the next hour were known, 0.56 with six hours, 0.25 with a day, 0.62
with nothing but the mean of the three days after it, and 0.07 with both (decision 0049). Tried over two years and left
out: the deviations of other zones, direct intensities, carbon-free shares and a provider's day-ahead forecasts, which
made the expectation no better, nor did random features of the last days fitted to all zones together (2022); single
days beyond the horizon, means of months and last year's season, which made following no better. Single hours up to the
fourth day make the mean beyond the horizon err 3 to 5 % less and following worse: it then follows what soon passes. A
day beyond instead of three is better in one year and worse in the other, and keeps a replica where it is when K is 4 h
(2 points below B3). Scenarios that know the days beyond, too, move too late. The 28-day mean as what comes after them,
capped by K, costs 3 to 11 % more above the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.forecasting import regression
from orchestrator.forecasting.pattern import LOOK_BACK_HOURS
from orchestrator.planner.follow.deviations import deviations_ahead, deviations_beyond
from orchestrator.planner.follow.past import DAY, WEEK, Past, Series

Floats = NDArray[np.floating[Any]]

_BLOCK: Final = 42
"""Hours per product of matrices: so small that no linear algebra library splits it among threads, which would make
the last digits depend on their number."""


_LEARN_FIRST: Final = 2 * WEEK
"""No expectation is judged before this hour: it would rest on next to nothing."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the outlook is made; one set for all zones, services and years.

    ``horizon_hours``: how far hours are told apart; ``beyond_hours``: how much of what follows counts as one mean;
    ``met_hours``: how many of the first hours are expected in two ways.
    ``shrinkage``: weight of the common coefficients in the fit of the next hour, in observations of unit variance; the
    h-th hour has h times as much, and what lies beyond ``shrinkage_beyond``. ``scenarios``: how many past errors are
    replayed, one a day, the youngest of them ``youngest_hours`` old. ``refit_hours``: between fits.

    The errors of the last days are no fair sample: the expectation is corrected by what those days were like. Replayed
    over two years, 24 errors from the fourth day back on cost 2 % less above the optimum than the last 12.
    """

    horizon_hours: int = 24
    beyond_hours: int = 72
    met_hours: int = 6
    shrinkage: float = 50.0
    shrinkage_beyond: float = 20_000.0
    scenarios: int = 24
    youngest_hours: int = 4 * DAY
    refit_hours: int = WEEK


@dataclass(frozen=True)
class Outlook:
    """For each decision hour, in order: gCO2e/kWh of its coming hours.

    ``expected`` is (horizon, zones, decisions), its first row the decision hour itself. ``errors`` are of the same
    shape: what such an expectation of some days ago turned out to lack. ``centre`` is the expectation less the mean of
    the errors, so that the scenarios, ``centre`` and each of the errors, have the expectation as their mean. ``beyond``
    is (zones, decisions): the expected mean of the ``beyond_hours`` after the horizon. ``nan`` for zones not seen yet.
    """

    expected: Floats
    centre: Floats
    errors: tuple[Floats, ...]
    beyond: Floats
    beyond_hours: int


def outlook(seen: Series, first: int, first_weekday: int, habits: Habits) -> Outlook:
    """Return the outlook of each hour from ``first`` on. ``seen`` is (hours, zones), gaps already filled from before.

    Hours before ``first`` are history; row 0 is a midnight UTC, and ``first_weekday`` that day's (Monday is 0). Column
    t of the result rests on rows up to t - 1 of ``seen``.
    """
    past = Past(seen)
    # An expectation is younger than its horizon before that has passed, and its errors are not known.
    youngest = max(habits.youngest_hours, habits.horizon_hours)
    ages = [youngest + DAY * day for day in range(habits.scenarios)]
    begin = max(min(first, _LEARN_FIRST), first - max(ages, default=0))
    expected = np.stack([_expected(past, ahead, begin, habits) for ahead in range(habits.horizon_hours)])
    _meet(expected[: habits.met_hours], seen, begin, first_weekday)
    now = np.ascontiguousarray(expected[:, :, first - begin :])
    errors = _errors(seen, expected, begin, first, ages)
    return Outlook(
        expected=now,
        centre=now - sum(errors) / np.float32(len(errors)) if errors else now,
        errors=errors,
        beyond=_beyond(past, first, habits),
        beyond_hours=habits.beyond_hours,
    )


def _errors(seen: Series, expected: Floats, begin: int, first: int, ages: list[int]) -> tuple[Floats, ...]:
    """What the expectations of each age turned out to lack at each decision; zero where there was none.

    All are views of one array, which has the errors of every past hour once.
    """
    decisions = len(seen) - first
    earliest = first - max(ages, default=0)
    errors = np.zeros((*expected.shape[:2], decisions + max(ages, default=0)), dtype=np.float32)
    for ahead, lacks in enumerate(errors):
        made = np.arange(begin, len(seen) - ahead)
        lacks[:, made - earliest] = np.nan_to_num(seen[made + ahead].T - expected[ahead][:, made - begin])
    starts = [first - age - earliest for age in ages]
    return tuple(errors[:, :, start : start + decisions] for start in starts)


def _expected(past: Past, ahead: int, begin: int, habits: Habits) -> Floats:
    """Expect the hour ``ahead`` of each hour from ``begin`` on, (zones, decisions)."""
    base, deviations = deviations_ahead(past, ahead)
    found = np.full_like(base, np.nan)
    found[: len(base) - ahead] = past.values[ahead:]
    history = _History(past.values, base, deviations, found, known_after=ahead + 1)
    return _corrected(history, begin, habits.shrinkage * (1 + ahead), habits.refit_hours)


def _meet(expected: Floats, seen: Series, begin: int, first_weekday: int) -> None:
    """Move (hours ahead, zones, decisions), in place, half the way to the second expectation, where there is one.

    There is none for zones that are not known for 28 days.
    """
    issues = np.arange(max(begin, LOOK_BACK_HOURS), len(seen))
    if not len(expected) or not len(issues):
        return
    habits = regression.Habits(horizon_hours=len(expected))
    second = regression.foresee(seen, issues, first_weekday, habits).transpose(1, 2, 0).astype(expected.dtype)
    first = expected[:, :, issues[0] - begin :]
    first[...] = np.where(np.isnan(second), first, (first + second) / 2)


def _beyond(past: Past, begin: int, habits: Habits) -> Floats:
    """Expect the mean of the hours beyond the horizon, (zones, decisions)."""
    until = habits.horizon_hours + habits.beyond_hours
    base, deviations = deviations_beyond(past)
    found = np.full_like(base, np.nan)
    # The mean that ends with hour t + until - 1 is what is past at t + until.
    found[: max(0, len(base) - until)] = past.mean(habits.beyond_hours)[until:]
    history = _History(past.values, base, deviations, found, known_after=until)
    return _corrected(history, begin, habits.shrinkage_beyond, habits.refit_hours)


@dataclass(frozen=True)
class _History:
    """What was known at each hour, (hours, zones) each, and what was found out ``known_after`` hours later.

    ``seen`` are the values themselves; their spread is each zone's unit.
    """

    seen: Series
    base: Series
    deviations: list[Series]
    found: Series
    known_after: int


def _corrected(history: _History, begin: int, shrinkage: float, refit_hours: int) -> Floats:
    """Return base and fitted correction of each hour from ``begin`` on, (zones, hours)."""
    base = history.base
    hours, zones = base.shape
    scale = _spread(history.seen[:begin])
    inputs = np.stack(history.deviations, axis=2) / scale[:, None]
    known = np.asarray(np.isfinite(inputs).all(axis=2))
    inputs = np.where(known[:, :, None], inputs, 0.0).transpose(1, 0, 2)
    target = (history.found - base) / scale
    target = np.where(known & np.isfinite(target), target, 0.0).T
    corrected = base[begin:].T.copy()
    fit = _Fit(zones, inputs.shape[2], shrinkage)
    learnt = 0
    for now in range(begin, hours, refit_hours):
        known_until = max(learnt, now - history.known_after + 1)
        for start in range(learnt, known_until, _BLOCK):
            block = slice(start, min(start + _BLOCK, known_until))
            fit.learn(inputs[:, block], target[:, block])
        learnt = known_until
        until = min(hours, now + refit_hours)
        correction = (inputs[:, now:until] * fit.coefficients()[:, None, :]).sum(axis=2)
        corrected[:, now - begin : until - begin] += correction * scale[:, None]
    # A grid emits something: an extrapolation below a third of the base is not believed.
    return np.maximum(corrected, base[begin:].T / 3).astype(np.float32)


def _spread(values: Series) -> Series:
    """Standard deviation per zone of what is known; one where there is nothing to tell."""
    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / np.maximum(count, 1)
    spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(count, 1))
    return np.where(spread > 0, spread, 1.0)


class _Fit:
    """Ridge regression per zone, drawn towards that of all zones, from sums that grow with the past."""

    def __init__(self, zones: int, inputs: int, shrinkage: float) -> None:
        self._squares = np.zeros((zones, inputs, inputs))
        self._products = np.zeros((zones, inputs))
        self._penalty = shrinkage * np.eye(inputs)
        self._shrinkage = shrinkage

    def learn(self, inputs: Series, target: Series) -> None:
        """Add hours: inputs (zones, hours, inputs), target (zones, hours)."""
        turned = inputs.transpose(0, 2, 1)
        self._squares += turned @ inputs
        self._products += (turned @ target[:, :, None])[:, :, 0]

    def coefficients(self) -> Series:
        """Return (zones, inputs)."""
        common = np.linalg.solve(self._squares.sum(axis=0) + self._penalty, self._products.sum(axis=0))
        right = self._products + self._shrinkage * common
        return np.asarray(np.linalg.solve(self._squares + self._penalty, right[:, :, None])[:, :, 0])
