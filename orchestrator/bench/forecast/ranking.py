"""One table of all methods by zone and hours ahead: what a year's run is compared by.

Four methods are issued once a day at midnight and judged on the same hours; ours is judged as issued every hour, too.
Nobody is given anything but the recorded hours before an issue, so ours stands here without any provider's forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.bench.forecast.contenders import Forecasts
from orchestrator.bench.forecast.scores import BLOCKS, Mask, calibration, errors, rank_loss
from orchestrator.forecasting.bands import Band, bands
from orchestrator.forecasting.pattern import DAY, Floats, Rows, same_hours, yesterday

LEVEL: Final = 0.9
"""Of the bands that are judged."""

STORED: Final = "stored"
OURS_DAILY: Final = "ours_daily"
OURS_ROLLING: Final = "ours_rolling"
METHODS: Final = ("yesterday", "last_week", STORED, OURS_DAILY, OURS_ROLLING)

ENOUGH: Final = 0.5
"""A method has data for a zone and block if it forecast this part of its known hours."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one method did in one zone over one block of hours ahead; percent, ``None`` where it has no data.

    ``wape``: sum of absolute errors by sum of actuals. ``rank_loss``: pairs of hours in the wrong order (50 is
    guessing). ``coverage90``: hours inside of its 90 % band, which for every method is made of its own past errors.
    """

    zone: str
    block: str
    method: str
    wape: float | None
    rank_loss: float | None
    coverage90: float | None


@dataclass(frozen=True)
class Ranking:
    """``rows``: by zone, block, method. ``zones``: those in which every method that has any data has some."""

    rows: tuple[Row, ...]
    zones: tuple[str, ...]

    def median(self, method: str, block: str, figure: str) -> float | None:
        """Return the median of a figure over :attr:`zones`; ``None`` where the method has none there."""
        found = [
            value
            for row in self.rows
            if (row.method, row.block) == (method, block) and row.zone in self.zones
            if (value := getattr(row, figure)) is not None
        ]
        return float(np.median(found)) if found else None


def rank(forecasts: Forecasts, zones: tuple[str, ...], done: Callable[[], None]) -> Ranking:
    """Judge all methods on the scored issues; ``done`` is called after each method."""
    hourly = forecasts.hourly
    midnights = hourly.issues % DAY == 0
    daily = hourly.issues[midnights]
    said = {
        "yesterday": yesterday(forecasts.filled, daily, hourly.ours.shape[1]),
        "last_week": _last_week(forecasts.filled, daily, hourly.ours.shape[1]),
        STORED: forecasts.stored,
        OURS_DAILY: hourly.ours[midnights],
    }
    actual = same_hours(forecasts.recorded, hourly.issues, hourly.ours.shape[1])
    counted = _forecast_by_all(said.values(), actual[midnights])
    rows = [
        row
        for method, forecast in said.items()
        for row in _judged(method, forecast, actual[midnights], counted, daily, hourly.scored_from, zones, done)
    ]
    rolling = np.isfinite(actual) & np.isfinite(hourly.ours)
    rows += _judged(OURS_ROLLING, hourly.ours, actual, rolling, hourly.issues, hourly.scored_from, zones, done)
    order = {zone: place for place, zone in enumerate(zones)}
    rows.sort(key=lambda r: (order[r.zone], list(BLOCKS).index(r.block), METHODS.index(r.method)))
    return Ranking(tuple(rows), _shared(rows, zones))


def _last_week(values: Floats, issues: Rows, horizon_hours: int) -> Floats:
    """Return the same hour of the same weekday, a week earlier."""
    return np.asarray(values[issues[:, None] + np.arange(horizon_hours) - 7 * DAY])


def _forecast_by_all(said: Iterable[Floats], actual: Floats) -> Mask:
    """Return the known hours that all have forecast who forecast most of a zone's hours so far ahead."""
    counted = np.isfinite(actual)
    known = np.maximum(1, counted.sum(axis=0))
    for forecast in said:
        has = np.isfinite(forecast)
        absent = (has & np.isfinite(actual)).sum(axis=0) < ENOUGH * known
        counted &= has | absent
    return np.asarray(counted)


def _judged(
    method: str,
    forecast: Floats,
    actual: Floats,
    counted: Mask,
    issues: Rows,
    scored_from: int,
    zones: tuple[str, ...],
    done: Callable[[], None],
) -> list[Row]:
    """Score the issues from ``scored_from`` on; the earlier ones teach the band."""
    first = int(np.searchsorted(issues, scored_from))
    (band,) = bands(forecast, actual, issues, [LEVEL], first=scored_from)
    rows = []
    for block, (begin, end) in BLOCKS.items():
        said, real = forecast[first:, begin:end], actual[first:, begin:end]
        hours = counted[first:, begin:end] & np.isfinite(said)
        enough = hours.sum(axis=(0, 1)) >= np.maximum(1.0, ENOUGH * np.isfinite(real).sum(axis=(0, 1)))
        part = Band(band.level, band.low[:, begin:end], band.high[:, begin:end])
        figures = np.stack(
            [
                errors(said, real, hours).wape_percent,
                rank_loss(said, real, hours),
                calibration(part, real, hours).coverage_percent,
            ]
        )
        figures[:, ~enough] = np.nan
        for zone, column in zip(zones, figures.T.tolist(), strict=True):
            rows.append(Row(zone, block, method, *(value if np.isfinite(value) else None for value in column)))
    done()
    return rows


def _shared(rows: Iterable[Row], zones: tuple[str, ...]) -> tuple[str, ...]:
    """Return the zones that have an error for each (method, block) that has one anywhere."""
    has = {(r.zone, r.method, r.block) for r in rows if r.wape is not None}
    wanted = {(method, block) for _, method, block in has}
    return tuple(zone for zone in zones if wanted and all((zone, *what) in has for what in wanted))
