"""What a forecast is worth to the two decisions that are taken on it: when to run, and where.

Both are scored by the share of the possible saving that the choices reach: 100 % is what perfect knowledge reaches,
0 % what needs no forecast at all. It can be negative: a forecast may be worse than none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.bench.forecast.scores import Mask, ratio
from orchestrator.forecasting.pattern import DAY, Floats

WINDOW_HOURS: Final = 4
"""How long the work runs that waits for the cleanest stretch of the coming day."""

GROUP_ZONES: Final = 6
"""How many zones of like intensity a service is placed among: between unlike ones nobody needs a forecast."""

_LEAST_ZONES: Final = 3


@dataclass(frozen=True)
class Worth:
    """``reached_percent`` of the possible saving; ``possible_percent``: that saving by what is emitted without."""

    reached_percent: Floats
    possible_percent: Floats


def when_to_run(forecast: Floats, actual: Floats, counted: Mask) -> Worth:
    """Choose the stretch of four hours within the coming 24 that is forecast cleanest, at each issue; per zone.

    Without a forecast the work runs at a random hour: the mean over all stretches. Of equal ones the earliest is taken.
    Issues of which any of the 24 hours is not counted are left out.
    """
    whole = counted[:, :DAY].all(axis=1, keepdims=True)
    said, real = (np.where(whole, _stretches(values[:, :DAY]), 0.0) for values in (forecast, actual))
    chosen = np.take_along_axis(real, said.argmin(axis=1)[:, None], axis=1)[:, 0]
    blind, best = real.mean(axis=1).sum(axis=0), real.min(axis=1).sum(axis=0)
    return Worth(100 * ratio(blind - chosen.sum(axis=0), blind - best), 100 * ratio(blind - best, blind))


def _stretches(values: Floats) -> Floats:
    ends = values.shape[1] - WINDOW_HOURS + 1
    return np.asarray(sum(values[:, i : i + ends] for i in range(WINDOW_HOURS)) / WINDOW_HOURS)


def like_zones(mean_before: Floats, usable: Mask) -> tuple[tuple[int, ...], ...]:
    """Group the usable zones (columns) by their mean intensity before the year began; ties by their order.

    The last group takes the rest, if it has at least three; fewer join the group before.
    """
    order = [int(z) for z in np.argsort(mean_before, kind="stable") if usable[z] and np.isfinite(mean_before[z])]
    groups = [tuple(order[i : i + GROUP_ZONES]) for i in range(0, len(order), GROUP_ZONES)]
    if len(groups) > 1 and len(groups[-1]) < _LEAST_ZONES:
        groups[-2:] = [groups[-2] + groups[-1]]
    return tuple(group for group in groups if len(group) >= _LEAST_ZONES)


def where_to_run(guess: Floats, actual: Floats, counted: Mask, groups: tuple[tuple[int, ...], ...]) -> Worth:
    """Be in the zone of each group that is guessed cleanest, in every hour; per hour ahead, over all groups.

    Moves are free, and 0 % is to stay in the zone of the group that was the cleanest over all these hours, which needs
    hindsight: a hard rival. Ties go to the first zone of the group.
    """
    hours = actual.shape[1]
    saved, possible, stayed = np.zeros(hours), np.zeros(hours), np.zeros(hours)
    for group in groups:
        zones = list(group)
        known = counted[:, :, zones].all(axis=2, keepdims=True)
        real = np.where(known, actual[:, :, zones], 0.0)
        said = np.where(known, guess[:, :, zones], 0.0)
        chosen = np.take_along_axis(real, said.argmin(axis=2)[:, :, None], axis=2)[:, :, 0].sum(axis=0)
        static, best = real.sum(axis=0).min(axis=1), real.min(axis=2).sum(axis=0)
        saved += static - chosen
        possible += static - best
        stayed += static
    return Worth(100 * ratio(saved, possible), 100 * ratio(possible, stayed))
