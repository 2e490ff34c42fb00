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
    def _sums(self) -> Series:
        return np.vstack([np.zeros((1, self.values.shape[1])), np.cumsum(self.values, axis=0)])

    def ago(self, hours: int) -> Series:
        """Return the value so many hours before each hour; at least one, or it would not be known."""
        if hours < 1:
            raise ValueError(f"{hours} hours ago is not the past")
        shifted = np.full_like(self.values, np.nan)
        shifted[hours:] = self.values[: len(self.values) - hours]
        return shifted

    def mean(self, farthest: int, nearest: int = 1) -> Series:
        """Return the mean of the values ``farthest`` .. ``nearest`` hours ago, both included."""
        means = np.full_like(self.values, np.nan)
        sums, at = self._sums, np.arange(farthest, len(self.values))
        means[farthest:] = (sums[at - nearest + 1] - sums[at - farthest]) / (farthest - nearest + 1)
        return means

    def mean_so_far(self, longest: int) -> Series:
        """Return the mean of the last ``longest`` hours, or of all hours where there are fewer."""
        means = self.mean(longest)
        early = np.arange(1, min(longest, len(self.values)))
        means[early] = self._sums[early] / early[:, None]
        return means

    def same_hour(self, first: int, days: int) -> Series:
        """Return the mean of the values ``first``, ``first + 24``, .. hours ago, as many of ``days`` as there are."""
        total = np.zeros_like(self.values)
        count = np.zeros((len(self.values), 1))
        for hours in range(first, first + DAY * days, DAY):
            total[hours:] += self.values[: max(0, len(self.values) - hours)]
            count[hours:] += 1
        return total / np.where(count > 0, count, np.nan)
