"""What the coming hours of each zone may be like: an expectation, and the ways in which such expectations erred lately.

The expectation of hour t + h is the last known same hour of a day, corrected by a linear model: per zone and h, ridge
regression (Hoerl and Kennard, Technometrics 12(1), 1970, eq. 2.3) of how that base erred on deviations known at t. The
coefficients are drawn towards those of all zones together, which stands for the experience that a zone lacks early in
a year, and are fitted again each week on everything up to then. Deviations of solar grids fade differently at noon and
at night, so the chief ones also enter times the first harmonics of the hour of the day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.planner.follow.past import DAY, TRAILING_HOURS, WEEK, Past, Series

Floats = NDArray[np.floating[Any]]

_BLOCK: Final = 42
"""Hours per product of matrices: so small that no linear algebra library splits it among threads, which would make
the last digits depend on their number."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the outlook is made; one set for all zones, services and years.

    ``horizon_hours``: how far hours are told apart. ``shrinkage``: weight of the common coefficients, in observations
    of unit variance. ``scenarios``: how many past errors are replayed. ``refit_hours``: between fits.
    """

    horizon_hours: int = 36
    shrinkage: float = 50.0
    scenarios: int = 8
    refit_hours: int = WEEK


@dataclass(frozen=True)
class Outlook:
    """For each decision hour, in order: gCO2e/kWh of its coming hours.

    ``expected`` is (horizon, zones, decisions), its first row the decision hour itself. ``errors`` are of the same
    shape: what such an expectation of some days ago turned out to lack, less the mean over them. ``mean`` is (zones,
    decisions), of the 28 days before. ``nan`` for zones that have not been seen yet.
    """

    expected: Floats
    errors: tuple[Floats, ...]
    mean: Floats


def outlook(seen: Series, first: int, habits: Habits) -> Outlook:
    """Return the outlook of each hour from ``first`` on. ``seen`` is (hours, zones), gaps already filled from before.

    Hours before ``first`` are history. Column t of the result rests on rows up to t - 1 of ``seen``.
    """
    past = Past(seen)
    horizon = habits.horizon_hours
    oldest_known = -(-horizon // DAY)
    begin = max(0, first - DAY * (oldest_known + habits.scenarios))
    expected = np.stack([_expected(past, ahead, begin, habits) for ahead in range(horizon)])
    errors = [
        _errors(seen, expected, begin, first, DAY * days)
        for days in range(oldest_known, oldest_known + habits.scenarios)
    ]
    bias = sum(errors) / len(errors) if errors else 0.0
    mean = past.mean_so_far(TRAILING_HOURS)[first:].T
    return Outlook(
        expected=np.ascontiguousarray(expected[:, :, first - begin :]),
        errors=tuple(e - bias for e in errors),
        mean=np.ascontiguousarray(mean, dtype=np.float32),
    )


def _errors(seen: Series, expected: Floats, begin: int, first: int, age: int) -> Floats:
    """What the expectations of ``age`` hours before each decision turned out to lack; zero where there was none."""
    errors = np.zeros((len(expected), seen.shape[1], len(seen) - first), dtype=np.float32)
    decisions = np.arange(max(first, begin + age), len(seen))
    for ahead in range(len(expected)):
        found = seen[decisions - age + ahead].T - expected[ahead][:, decisions - age - begin]
        errors[ahead][:, decisions - first] = np.nan_to_num(found)
    return errors


def _expected(past: Past, ahead: int, begin: int, habits: Habits) -> Floats:
    """Expect the hour ``ahead`` of each hour from ``begin`` on, (zones, decisions)."""
    seen = past.values
    hours, zones = seen.shape
    base, deviations = _base_and_deviations(past, ahead)
    scale = np.nanstd(seen[: max(begin, DAY)], axis=0) + 1e-9
    inputs = np.stack(deviations, axis=2) / scale[:, None]
    known = np.isfinite(inputs).all(axis=2)
    inputs = np.where(known[:, :, None], inputs, 0.0).transpose(1, 0, 2)
    target = np.zeros((hours, zones))
    target[: hours - ahead] = (seen[ahead:] - base[: hours - ahead]) / scale
    target = np.where(known & np.isfinite(target), target, 0.0).T
    expected = base[begin:].T.copy()
    fit = _Fit(zones, inputs.shape[2], habits.shrinkage)
    done = 0
    for now in range(begin, hours, habits.refit_hours):
        # What began before now - ahead has ended by now - 1.
        for start in range(done, max(done, now - ahead), _BLOCK):
            block = slice(start, min(start + _BLOCK, now - ahead))
            fit.learn(inputs[:, block], target[:, block])
        done = max(done, now - ahead)
        until = min(hours, now + habits.refit_hours)
        correction = (inputs[:, now:until] * fit.coefficients()[:, None, :]).sum(axis=2)
        expected[:, now - begin : until - begin] += correction * scale[:, None]
    # A grid emits something: an extrapolation below a third of the base is not believed.
    return np.maximum(expected, base[begin:].T / 3).astype(np.float32)


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


def _base_and_deviations(past: Past, ahead: int) -> tuple[Series, list[Series]]:
    """Return the last known same hour, and what is known of how these days differ from those before."""
    first = DAY * (ahead // DAY + 1) - ahead
    base = past.ago(first)
    last, yesterday = past.ago(1), past.mean(DAY)
    week = past.mean(WEEK)
    from_profile = last - past.same_hour(1 + DAY, 7)
    from_yesterday = last - past.ago(1 + DAY)
    day_from_week = yesterday - week
    deviations = [
        from_yesterday,
        from_profile,
        day_from_week,
        last - yesterday,
        yesterday - past.mean(2 * DAY, DAY + 1),
        week - past.mean_so_far(TRAILING_HOURS),
        past.mean(3) - past.mean(3 + DAY, 1 + DAY),
        past.mean(6) - past.mean(6 + DAY, 1 + DAY),
        *(past.ago(h) - past.ago(h + DAY) for h in (2, 3, 4, 5, 8, 12)),
        past.ago(first + DAY) - base,
        past.ago(first + 6 * DAY) - base,
        past.same_hour(first, 7) - base,
        past.same_hour(first, 21) - base,
        past.ago(max(1, first - 1)) - base,
        past.ago(first + 1) - base,
    ]
    deviations += [
        d * wave[:, None] for d in (from_yesterday, from_profile, day_from_week) for wave in _waves(len(base), ahead)
    ]
    return base, deviations


def _waves(hours: int, ahead: int) -> Iterator[Series]:
    """Yield the first two harmonics of the expected hour's place in the day; rows begin at midnight UTC."""
    angle = 2 * np.pi * ((np.arange(hours) + ahead) % DAY) / DAY
    for harmonic in (1, 2):
        yield np.sin(harmonic * angle)
        yield np.cos(harmonic * angle)
