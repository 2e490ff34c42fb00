"""How these hours differ from those before: what the outlook corrects its base by. Everything is known at its row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orchestrator.planner.follow.past import DAY, TRAILING_HOURS, WEEK, Past, Series

_LAGS = (2, 3, 4, 5, 8, 12)


def deviations_ahead(past: Past, ahead: int) -> tuple[Series, list[Series]]:
    """Return the base of the hour ``ahead`` of each hour, and deviations that may correct it; (hours, zones) each.

    The base is the last known same hour of a day.
    """
    first = DAY * (ahead // DAY + 1) - ahead
    base = past.ago(first)
    last, day, week = past.ago(1), past.mean(DAY), past.mean(WEEK)
    from_yesterday = last - past.ago(1 + DAY)
    from_profile = last - past.same_hour(1 + DAY, 7)
    day_from_week = day - week
    deviations = [
        from_yesterday,
        from_profile,
        day_from_week,
        last - day,
        last - past.ago(2),
        past.ago(1 + DAY) - past.ago(2 + DAY),
        day - past.mean(2 * DAY, DAY + 1),
        week - past.mean_so_far(TRAILING_HOURS),
        _since_yesterday(past, 3),
        _since_yesterday(past, 6),
        *(past.ago(hours) - past.ago(hours + DAY) for hours in _LAGS),
        past.ago(first + DAY) - base,
        past.ago(first + 6 * DAY) - base,
        past.same_hour(first, 7) - base,
        past.same_hour(first, 21) - base,
        past.ago(max(1, first - 1)) - base,
        past.ago(first + 1) - base,
    ]
    hours = np.arange(len(base), dtype=np.float64) + ahead
    chief = (from_yesterday, from_profile, day_from_week)
    deviations += [d * wave[:, None] for d in chief for wave in _waves(hours, DAY, 2)]
    return base, deviations + _working_days(past, hours)


def deviations_beyond(past: Past) -> tuple[Series, list[Series]]:
    """Return the base of the mean over the days to come, and deviations that may correct it; (hours, zones) each.

    The base is the mean of the last 28 days, or of all hours where there are fewer. The deviations are few and change
    slowly: what flickers here makes a replica move whose switching cost is large, although it fits the means better.
    """
    base = past.mean_so_far(TRAILING_HOURS)
    means = [past.mean_so_far(days * DAY) - base for days in (1, 3, 7, 14)]
    return base, [*means, _since_yesterday(past, 6)]


def _since_yesterday(past: Past, hours: int) -> Series:
    """Return how the last hours differ from the same hours of yesterday."""
    return past.mean(hours) - past.mean(hours + DAY, 1 + DAY)


def _working_days(past: Past, hours: Series) -> list[Series]:
    """Return harmonics of the week, of the size of each zone's changes so far."""
    return [past.spread_so_far * wave[:, None] for wave in _waves(hours, WEEK, 3)]


def _waves(hours: Series, period: int, harmonics: int) -> Iterator[Series]:
    angle = 2 * np.pi * (hours % period) / period
    for harmonic in range(1, harmonics + 1):
        yield np.sin(harmonic * angle)
        yield np.cos(harmonic * angle)
