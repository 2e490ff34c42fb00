"""Issue, compare, score: everything that one run of the bench finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from orchestrator.bench.forecast.choices import Worth, when_to_run
from orchestrator.bench.forecast.contenders import Forecasts, issue_all
from orchestrator.bench.forecast.freshness import Freshness, freshness
from orchestrator.bench.forecast.ranking import Ranking, rank
from orchestrator.bench.forecast.recording import Recording, read_provider, read_recording
from orchestrator.bench.forecast.scores import BLOCKS, Calibration, Errors, Mask, calibration, errors, rank_loss
from orchestrator.domain.carbon import Factors
from orchestrator.errors import SignalUnavailable
from orchestrator.forecasting.bands import bands
from orchestrator.forecasting.pattern import DAY, Floats

LEVELS: Final = (0.8, 0.95)
STEPS: Final = 14
"""How often ``done`` is called, at most."""

ENOUGH: Final = 0.5
"""Part of the hours of a zone that must be counted, and of the issues that everybody must have, to compare it."""

AT_ISSUE, LATER = "at issue", "later"
"""The provider's forecast when it is issued (00:00), and at the other hours, when it has aged."""


@dataclass(frozen=True)
class Score:
    """One forecast over one block of hours ahead, by the hours of issue (``when``); arrays are per zone."""

    name: str
    when: str
    hours_ahead: str
    errors: Errors
    rank_loss_percent: Floats


@dataclass(frozen=True)
class BandScore:
    """The band of one level around one forecast, over one block of hours ahead."""

    name: str
    level: float
    hours_ahead: str
    calibration: Calibration


@dataclass(frozen=True)
class Outcome:
    """What a run found.

    ``compared``: the zones (of ``zones``) that all forecasts cover and that emit anything. ``worth``: of choosing when
    to run, by hours of issue and name. ``ranking``: all methods by zone, over zones and hours of its own.
    """

    year: int
    factors: Factors
    provider: str | None
    best: str
    every_hours: int
    years_before: int
    issues: int
    zones: tuple[str, ...]
    compared: Mask
    scores: tuple[Score, ...]
    bands: tuple[BandScore, ...]
    worth: Mapping[tuple[str, str], Worth]
    freshness: Freshness
    ranking: Ranking


def measure(
    folder: Path, year: int, factors: Factors, *, zones: Iterable[str], every_hours: int, done: Callable[[], None]
) -> Outcome:
    """Run the bench on a folder of recorded files; ``done`` is called as the work goes on, ``STEPS`` times at most.

    ``every_hours`` must divide a day. Raises ``SignalUnavailable`` and ``SignalFormatError``.
    """
    recording = read_recording(folder, year, factors, tuple(zones))
    done()
    direct = recording if factors is Factors.DIRECT else _direct(folder, recording)
    provider = None if direct is None else read_provider(folder, recording)
    forecasts = issue_all(recording, direct, provider, every_hours=every_hours, done=done)
    counted = _counted(forecasts)
    compared = _compared(forecasts, counted)
    if not compared.any():
        message = f"no zone of {year} has forecasts and values to compare: {', '.join(recording.zones)}"
        raise SignalUnavailable(message, hint="Name other zones, or a year with values in more of its hours.")
    scores = tuple(_scores(forecasts, counted))
    found = tuple(_bands(forecasts, counted, done))
    return Outcome(
        year=year,
        factors=factors,
        provider=forecasts.provider,
        best=forecasts.best,
        every_hours=every_hours,
        years_before=recording.scored_from // (365 * DAY),
        issues=len(counted),
        zones=recording.zones,
        compared=compared,
        scores=scores,
        bands=found,
        worth=dict(_worth(forecasts, counted)),
        freshness=freshness(forecasts, counted, compared),
        ranking=rank(forecasts, recording.zones, done),
    )


def _direct(folder: Path, recording: Recording) -> Recording | None:
    """The same hours of direct intensity, if the folder has them for the same years."""
    try:
        direct = read_recording(folder, recording.year, Factors.DIRECT)
    except SignalUnavailable as error:
        if type(error) is SignalUnavailable:
            return None
        raise
    if direct.first_hour != recording.first_hour:
        return None
    at = [direct.zones.index(z) if z in direct.zones else None for z in recording.zones]
    nothing = np.full(len(direct.values), np.nan)
    values = np.stack([nothing if place is None else direct.values[:, place] for place in at], axis=1)
    return Recording(recording.year, Factors.DIRECT, recording.zones, values, direct.first_hour, direct.scored_from)


def _counted(forecasts: Forecasts) -> Mask:
    """The scored hours that everybody forecast.

    Whoever mostly has no forecast of a zone so far ahead at that hour of issue (a provider's issue ends some day) is
    not waited for there.
    """
    first = forecasts.scored
    counted = np.isfinite(forecasts.actual[first:])
    hour_of_issue = forecasts.issues[first:] % DAY
    for forecast in forecasts.by_name.values():
        known = np.isfinite(forecast[first:])
        for hour in np.unique(hour_of_issue).tolist():
            mine = np.flatnonzero(hour_of_issue == hour)
            counted[mine] &= known[mine] | (known[mine].mean(axis=0) < ENOUGH)
    return counted


def _compared(forecasts: Forecasts, counted: Mask) -> Mask:
    """The zones in which enough is counted, something is emitted, and everybody has forecasts."""
    actual = forecasts.actual[forecasts.scored :]
    compared = (np.where(counted, actual, 0.0).sum(axis=(0, 1)) > 0) & (counted.mean(axis=(0, 1)) >= ENOUGH)
    for forecast in forecasts.by_name.values():
        compared &= np.isfinite(forecast[forecasts.scored :]).any(axis=1).mean(axis=0) >= ENOUGH
    return np.asarray(compared)


def _scores(forecasts: Forecasts, counted: Mask) -> Iterable[Score]:
    first = forecasts.scored
    actual = forecasts.actual[first:]
    for when, issued in _moments(forecasts):
        for name, forecast in forecasts.by_name.items():
            for block, (begin, end) in BLOCKS.items():
                said, real = forecast[first:][issued, begin:end], actual[issued, begin:end]
                hours = counted[issued, begin:end] & np.isfinite(said)
                yield Score(name, when, block, errors(said, real, hours), rank_loss(said, real, hours))


def _worth(forecasts: Forecasts, counted: Mask) -> Iterable[tuple[tuple[str, str], Worth]]:
    first = forecasts.scored
    for when, issued in _moments(forecasts):
        real, hours = forecasts.actual[first:][issued], counted[issued]
        for name, forecast in forecasts.by_name.items():
            yield (when, name), when_to_run(forecast[first:][issued], real, hours)


def _moments(forecasts: Forecasts) -> Iterable[tuple[str, Mask]]:
    """The scored issues at midnight, and the others, as far as there are any."""
    midnight = forecasts.issues[forecasts.scored :] % DAY == 0
    return [(when, issued) for when, issued in ((AT_ISSUE, midnight), (LATER, ~midnight)) if issued.any()]


def _bands(forecasts: Forecasts, counted: Mask, done: Callable[[], None]) -> Iterable[BandScore]:
    first = forecasts.scored
    actual = forecasts.actual[first:]
    for name in dict.fromkeys(("yesterday", forecasts.best)):
        found = bands(
            forecasts.by_name[name], forecasts.actual, forecasts.issues, LEVELS, first=int(forecasts.issues[first])
        )
        done()
        for band in found:
            for block, (begin, end) in BLOCKS.items():
                part = type(band)(band.level, band.low[:, begin:end], band.high[:, begin:end])
                judged = calibration(part, actual[:, begin:end], counted[:, begin:end])
                yield BandScore(name, band.level, block, judged)
