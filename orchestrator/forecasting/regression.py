"""What the coming four days will be, learnt from each zone's own past and from all zones together.

The blend of :mod:`orchestrator.forecasting.blend` is corrected by a linear model of how it erred: for each zone, each
hour of issue and each hour ahead, ridge regression (Hoerl and Kennard, Technometrics 12(1), 1970, eq. 2.3) on the
departures of the last week from the daily pattern. The coefficients of an hour of issue are drawn towards those of all
hours of the zone, these towards those of all zones together, and these towards zero, which is the blend: a folder with
few zones or a year that has just begun gives the blend, and more as more is known. The hours beside an hour of issue
teach it, too, by half. The first hours ahead follow from the last ones more plainly than later hours do, and are drawn
less. What the last hours changed by is an input of its own, in its own unit: as a difference of two departures, each
some ten times as large, ridge regression would hardly use it.

An hour teaches the less the more it was misjudged: weighing rows by one over their absolute error turns least squares
into least absolute deviations (Schlossmacher, JASA 68(344), 1973), here in one pass, with the errors that the forecast
made before it knew the row. Faults of meters and storms thus do not bend what holds on all other days.

Everything is done on square roots, which make the spread of clean and dirty hours alike (variance-stabilising for
counts: Bartlett, JRSS Supplement 3(1), 1936) and cannot forecast less than nothing. The result is thereby nearer to the
median than to the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.forecasting.pattern import DAY, LOOK_BACK_HOURS, WEEK, Floats, Pattern, Rows, pattern

_BLOCK: Final = 28
"""Rows per product of matrices: so few that no linear algebra library splits it among threads, which would make the
last digits depend on their number."""

_WAVES: Final = (1, 2)
"""Harmonics of the hour of issue: what is known at noon fades otherwise than what is known at night."""

_STRETCH: Final = 0.5
"""A forecast leaves the range of the last 28 days by at most this part of its width: no line goes on for ever."""

_STEPS: Final = 3
"""The last changes from hour to hour that are inputs."""

_BESIDE: Final = 0.5
"""How much the hours beside an hour of issue teach it, as a part of what it teaches itself."""

_TINY: Final = 1e-9

_LEAST_SCALE: Final = 0.05
_LEAST_STEP: Final = 0.005
"""Square roots of g/kWh: zones that hardly ever change are not blown up to the size of the others."""


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """How strongly coefficients are drawn, in observations of unit variance.

    ``hour``: weight of a zone's coefficients for each hour of issue, ``zone`` of the common coefficients for a zone,
    ``common`` of zero for these.
    """

    hour: float
    zone: float
    common: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How the model learns; one set for all zones and years, chosen on 2022 and 2023 of 41 zones.

    ``horizon_hours``: how far is forecast; the first ``near_hours`` of it are learnt apart, as soon as they are known.
    ``learn_every_hours``: between the hours that are learnt from. ``refit_hours``: between two fits. ``weekday``: size
    of the inputs that name the day of the week, in standard deviations. ``calm``: errors below this part of the zone's
    mean error all weigh the same.
    """

    horizon_hours: int = 96
    near_hours: int = 6
    near: Shrinkage = Shrinkage(hour=50.0, zone=100.0, common=300.0)
    far: Shrinkage = Shrinkage(hour=100.0, zone=300.0, common=3000.0)
    learn_every_hours: int = 1
    refit_hours: int = WEEK
    weekday: float = 0.5
    calm: float = 0.4


def foresee(values: Floats, issues: Rows, first_weekday: int, habits: Habits) -> Floats:
    """Return the forecast issued at each row, (issues, hours ahead, zones); ``nan`` for zones without 28 known days.

    ``values`` is (hours, zones) without gaps, row 0 at midnight UTC; ``first_weekday`` is that day's (Monday is 0).
    A forecast issued at row t rests on rows up to t - 1 alone, and does not depend on the other ``issues``.
    Raises ``ValueError`` for an issue within the first 28 days.
    """
    if len(issues) and issues.min() < LOOK_BACK_HOURS:
        raise ValueError(f"row {issues.min()} has no {LOOK_BACK_HOURS} hours before it")
    roots = np.sqrt(values)
    units = _units(roots)
    scale = units.departure
    forecast = np.full((len(issues), habits.horizon_hours, values.shape[1]), np.nan)
    near = min(habits.near_hours, habits.horizon_hours)
    spans = ((slice(0, near), habits.near), (slice(near, habits.horizon_hours), habits.far))
    fits = [_Fit(values.shape[1], hours, shrinkage, habits) for hours, shrinkage in spans if hours.start < hours.stop]
    order = np.argsort(issues, kind="stable")
    weeks = (issues[order] - LOOK_BACK_HOURS) // habits.refit_hours
    for week in range(int(weeks[-1]) + 1 if len(weeks) else 0):
        known_to = LOOK_BACK_HOURS + week * habits.refit_hours
        for fit in fits:
            for block in fit.due(known_to):
                inputs, base = _situation(roots, block, units, first_weekday, habits)
                fit.learn(inputs, _errors(roots, base, block, scale, fit.ahead), block % DAY)
            fit.refit()
        begin, end = np.searchsorted(weeks, (week, week + 1)).tolist()
        mine = order[begin:end]
        for start in range(0, len(mine), _BLOCK):
            now = mine[start : start + _BLOCK]
            inputs, base = _situation(roots, issues[now], units, first_weekday, habits)
            hours_of_issue = issues[now] % DAY
            correction = np.concatenate([fit.correction(inputs, hours_of_issue) for fit in fits], axis=2)
            forecast[now] = _believable(base + correction.transpose(1, 2, 0) * scale, roots, issues[now]) ** 2
    return forecast


class _Fit:
    """Ridge regression per hour of issue and zone, drawn towards that of the zone and of all, from growing sums.

    ``ahead``: the hours ahead that it is about. A row is learnt from when the last of them is known.
    """

    def __init__(self, zones: int, ahead: slice, shrinkage: Shrinkage, habits: Habits) -> None:
        inputs, hours = _inputs_number(), ahead.stop - ahead.start
        self._squares = np.zeros((DAY, zones, inputs, inputs))
        self._products = np.zeros((DAY, zones, inputs, hours))
        self._coefficients = np.zeros((DAY, zones, inputs, hours))
        self._wrong, self._rows = np.zeros(zones), np.zeros(zones)
        self._unit = np.eye(inputs)
        self.ahead = ahead
        self._shrinkage = shrinkage
        self._habits = habits
        self._learnt_to = LOOK_BACK_HOURS

    def due(self, known_to: int) -> list[Rows]:
        """Return the rows to learn from that were not returned yet, in blocks; they count as learnt."""
        every = self._habits.learn_every_hours
        rows = np.arange(self._learnt_to, max(self._learnt_to, known_to - self.ahead.stop + 1), every)
        self._learnt_to += len(rows) * every
        return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]

    def learn(self, inputs: Floats, target: Floats, hours: Rows) -> None:
        """Add rows: inputs (zones, rows, inputs), target (zones, rows, hours ahead); those with a ``nan`` are left."""
        known = np.asarray(np.isfinite(inputs).all(axis=2) & np.isfinite(target).all(axis=2))[:, :, None]
        inputs, target = np.where(known, inputs, 0.0), np.where(known, target, 0.0)
        weight = self._weight((target - self.correction(inputs, hours))[:, :, :DAY], known[:, :, 0])
        weighed = (inputs * weight[:, :, None]).transpose(0, 2, 1)
        for hour in np.unique(hours).tolist():
            mine = np.flatnonzero(hours == hour)
            self._squares[hour] += weighed[:, :, mine] @ inputs[:, mine]
            self._products[hour] += weighed[:, :, mine] @ target[:, mine]

    def _weight(self, errors: Floats, known: NDArray[np.bool_]) -> Floats:
        """Return how much each row teaches, (zones, rows): one over its error, in mean errors of the zone so far."""
        wrong = np.abs(errors).mean(axis=2)
        self._wrong += np.where(known, wrong, 0.0).sum(axis=1)
        self._rows += known.sum(axis=1)
        usual = np.maximum(_TINY, self._wrong / np.maximum(1.0, self._rows))
        return np.asarray(1.0 / np.maximum(self._habits.calm, wrong / usual[:, None]))

    def refit(self) -> None:
        """Solve for what was learnt so far."""
        shrinkage, unit = self._shrinkage, self._unit
        squares, products = self._squares.sum(axis=0), self._products.sum(axis=0)
        common = np.linalg.solve(squares.sum(axis=0) + shrinkage.common * unit, products.sum(axis=0))
        zone = np.linalg.solve(squares + shrinkage.zone * unit, products + shrinkage.zone * common)
        own = shrinkage.hour
        for hour in range(DAY):
            self._coefficients[hour] = np.linalg.solve(
                _with_neighbours(self._squares, hour) + own * unit, _with_neighbours(self._products, hour) + own * zone
            )

    def correction(self, inputs: Floats, hours: Rows) -> Floats:
        """Return what to add to the blend, (zones, rows, hours ahead), of inputs (zones, rows, inputs)."""
        found = np.empty((*inputs.shape[:2], self._coefficients.shape[-1]))
        for hour in np.unique(hours).tolist():
            mine = np.flatnonzero(hours == hour)
            found[:, mine] = inputs[:, mine] @ self._coefficients[hour]
        return found


def _with_neighbours(sums: Floats, hour: int) -> Floats:
    """Return what was summed at an hour of issue, and by half at those beside it."""
    return np.asarray(sums[hour] + _BESIDE * (sums[hour - 1] + sums[(hour + 1) % DAY]))


@dataclass(frozen=True)
class _Units:
    """By zone: what a departure and what a change from hour to hour is measured in, square roots of g/kWh."""

    departure: Floats
    step: Floats


def _units(roots: Floats) -> _Units:
    """Standard deviations of each zone over the first 28 days that it has: known before its first forecast.

    Of the hours themselves, and of by how much more they change than a day before.
    """
    units = _Units(np.full(roots.shape[1], np.nan), np.full(roots.shape[1], np.nan))
    for zone, column in enumerate(roots.T):
        known = np.flatnonzero(np.isfinite(column))
        if len(known):
            first = column[known[:LOOK_BACK_HOURS]]
            units.departure[zone] = max(_LEAST_SCALE, float(np.std(first)))
            steps = np.diff(first)
            unusual = steps[DAY:] - steps[:-DAY] if len(steps) > DAY else steps
            units.step[zone] = max(_LEAST_STEP, float(np.std(unusual)) / np.sqrt(2)) if len(unusual) else _LEAST_STEP
    return units


def _inputs_number() -> int:
    return DAY + 7 + 1 + 4 * 2 * len(_WAVES) + _STEPS + 7


def _situation(roots: Floats, rows: Rows, units: _Units, first_weekday: int, habits: Habits) -> tuple[Floats, Floats]:
    """Return the inputs (zones, rows, inputs) and the blend (rows, hours ahead, zones) at each row."""
    found = pattern(roots, rows)
    days = found.departures.mean(axis=2)
    last = found.departures[:, -1]
    columns = [last[:, hour] for hour in range(DAY)]
    columns += [days[:, day] for day in range(7)]
    columns.append(_month(roots, rows, found))
    angle = 2 * np.pi * (rows % DAY) / DAY
    for chief in (last[:, -1], last[:, -3:].mean(axis=1), last[:, -6:].mean(axis=1), days[:, -1]):
        for wave in _WAVES:
            columns.append(chief * np.sin(wave * angle)[:, None])
            columns.append(chief * np.cos(wave * angle)[:, None])
    weekday = (rows // DAY + first_weekday) % 7
    names = [np.broadcast_to(habits.weekday * (weekday == d)[:, None], last[:, -1].shape) for d in range(7)]
    steps = [(last[:, -1 - back] - last[:, -2 - back]) / units.step for back in range(_STEPS)]
    inputs = np.stack([column / units.departure for column in columns] + steps + names, axis=2)
    return inputs.transpose(1, 0, 2), found.carried_on(habits.horizon_hours)


def _month(roots: Floats, rows: Rows, found: Pattern) -> Floats:
    """How the mean of 28 days differs from that of the pattern, in which the last days count most."""
    month = roots[rows[:, None] + np.arange(-LOOK_BACK_HOURS, 0)].mean(axis=1)
    return np.asarray(month - found.hours.mean(axis=1))


def _errors(roots: Floats, base: Floats, rows: Rows, scale: Floats, ahead: slice) -> Floats:
    """What the blend turned out to lack at some hours ahead, (zones, rows, hours ahead)."""
    actual = roots[rows[:, None] + np.arange(ahead.start, ahead.stop)]
    return np.asarray(((actual - base[:, ahead]) / scale).transpose(2, 0, 1))


def _believable(forecast: Floats, roots: Floats, rows: Rows) -> Floats:
    past = roots[rows[:, None] + np.arange(-LOOK_BACK_HOURS, 0)]
    low, high = past.min(axis=1)[:, None], past.max(axis=1)[:, None]
    room = _STRETCH * (high - low)
    return np.asarray(np.clip(forecast, np.maximum(0.0, low - room), high + room))
