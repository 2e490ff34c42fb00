"""Hourly series as a decision could have known them: gaps filled from before, and sums over the hours just past."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]

DAY = 24
WEEK = 168
TRAILING_HOURS = 672
"""28 days: the window of the honest rival B3, and of the mean that stands for what is too far to foresee."""


def filled_from_before(values: Series) -> Series:
    """Fill each gap with the value 24 h earlier, itself filled; in the first day with the last one known.

    ``values`` is (hours, zones), ``nan`` in gaps. What stands before the first value of a zone stays ``nan``: unknown
    is not zero.
    """
    filled = values.copy()
    for t in np.flatnonzero(np.isnan(values).any(axis=1)).tolist():
        gaps = np.isnan(filled[t])
        if t >= DAY:
            filled[t, gaps] = filled[t - DAY, gaps]
        if t > 0:
            gaps = np.isnan(filled[t])
            filled[t, gaps] = filled[t - 1, gaps]
    return filled


@dataclass(frozen=True)
class Past:
    """Filled series, (hours, zones). Row t of every result rests on hours up to t - 1; ``nan`` where too early."""

    values: Series

    @cached_property
    def spread_so_far(self) -> Series:
        """The standard deviation of all values before each hour; zero before the second."""
        count = np.maximum(self._count[:-1], 1)
        squares = _running(np.nan_to_num(self.values) ** 2)[:-1]
        return np.asarray(np.sqrt(np.maximum(squares / count - (self._sums[:-1] / count) ** 2, 0.0)))

    def ago(self, hours: int) -> Series:
        """Return the value so many hours before each hour; at least one, or it would not be known."""
        if hours < 1:
            raise ValueError(f"{hours} hours ago is not the past")
        shifted = np.full_like(self.values, np.nan)
        shifted[hours:] = self.values[: max(0, len(self.values) - hours)]
        return shifted

    def mean(self, farthest: int, nearest: int = 1) -> Series:
        """Return the mean of the values ``farthest`` .. ``nearest`` hours ago, both included, where all are known."""
        means = np.full_like(self.values, np.nan)
        at, length = np.arange(farthest, len(self.values)), farthest - nearest + 1
        begin, end = at - farthest, at - nearest + 1
        full = self._count[end] - self._count[begin] == length
        means[farthest:] = np.where(full, (self._sums[end] - self._sums[begin]) / length, np.nan)
        return means

    def mean_so_far(self, longest: int) -> Series:
        """Return the mean of what is known of the last ``longest`` hours."""
        end = np.arange(len(self.values))
        begin = np.maximum(end - longest, 0)
        count = self._count[end] - self._count[begin]
        return np.where(count > 0, (self._sums[end] - self._sums[begin]) / np.maximum(count, 1), np.nan)

    def same_hour(self, first: int, days: int) -> Series:
        """Return the mean of what is known ``first``, ``first + 24``, .. hours ago, at most ``days`` values."""
        total = np.zeros_like(self.values)
        count = np.zeros_like(self.values)
        for hours in range(first, first + DAY * days, DAY):
            values = self.values[: max(0, len(self.values) - hours)]
            total[hours:] += np.nan_to_num(values)
            count[hours:] += np.isfinite(values)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def _sums(self) -> Series:
        return _running(np.nan_to_num(self.values))

    @cached_property
    def _count(self) -> Series:
        return _running(np.isfinite(self.values).astype(np.float64))


def _running(values: Series) -> Series:
    """Sums of the rows before each row, and of all rows at the end."""
    return np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
