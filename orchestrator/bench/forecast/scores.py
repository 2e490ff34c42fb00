"""Errors of forecasts, and whether their bands hold what they promise.

Arrays are (issues, hours ahead, zones) gCO2e/kWh. A score is ``nan`` where there is nothing to score, or to divide by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.forecasting.bands import Band
from orchestrator.forecasting.pattern import DAY, Floats

BLOCKS: Final[Mapping[str, tuple[int, int]]] = {"0-5": (0, 6), "0-23": (0, 24), "24-47": (24, 48), "48-95": (48, 96)}
"""Hours ahead that are told apart; 0 is the first hour that is not known."""

Mask = NDArray[np.bool_]

_ROUNDING: Final = 1e-9
"""g/kWh: ends of bands are squares of square roots, and one without any width still holds what it is made of."""


@dataclass(frozen=True)
class Errors:
    """Per zone. ``wape_percent``: sum of absolute errors by sum of actuals; ``bias`` is forecast less actual."""

    wape_percent: Floats
    mae_grams_per_kwh: Floats
    bias_grams_per_kwh: Floats


@dataclass(frozen=True)
class Calibration:
    """Of a band, per zone.

    ``coverage_percent``: hours inside. ``width_percent``: mean width by mean actual. ``interval_score_percent``: mean
    of width plus 2/(1 - level) times what lies outside (Gneiting and Raftery, JASA 102(477), 2007, eq. 43), by mean
    actual: narrow bands and honest ones both lower it.
    """

    coverage_percent: Floats
    width_percent: Floats
    interval_score_percent: Floats


def errors(forecast: Floats, actual: Floats, counted: Mask) -> Errors:
    """Score the hours that are ``counted``; all of the same shape."""
    number = counted.sum(axis=(0, 1))
    difference = np.where(counted, forecast - actual, 0.0)
    wrong = np.abs(difference).sum(axis=(0, 1))
    return Errors(
        wape_percent=100 * ratio(wrong, np.where(counted, actual, 0.0).sum(axis=(0, 1))),
        mae_grams_per_kwh=ratio(wrong, number),
        bias_grams_per_kwh=ratio(difference.sum(axis=(0, 1)), number),
    )


def calibration(band: Band, actual: Floats, counted: Mask) -> Calibration:
    """Score a band on the hours that are counted and that it covers."""
    counted = counted & np.isfinite(band.low)
    number = counted.sum(axis=(0, 1))
    mean = ratio(np.where(counted, actual, 0.0).sum(axis=(0, 1)), number)
    inside = counted & (actual >= band.low - _ROUNDING) & (actual <= band.high + _ROUNDING)
    width = np.where(counted, band.high - band.low, 0.0)
    outside = np.where(counted, np.maximum(band.low - actual, 0.0) + np.maximum(actual - band.high, 0.0), 0.0)
    penalised = width + 2.0 / (1.0 - band.level) * outside
    return Calibration(
        coverage_percent=100 * ratio(inside.sum(axis=(0, 1)), number),
        width_percent=100 * ratio(ratio(width.sum(axis=(0, 1)), number), mean),
        interval_score_percent=100 * ratio(ratio(penalised.sum(axis=(0, 1)), number), mean),
    )


def rank_loss(forecast: Floats, actual: Floats, counted: Mask) -> Floats:
    """Return the share of pairs of hours that a forecast puts in the wrong order, percent, per zone.

    Pairs are of hours of one issue, less than a day apart, whose actuals differ; equal forecasts count half. That is
    (1 - Kendall's tau)/2 without ties (Biometrika 30, 1938): 50 is what guessing gives.
    """
    wrong, pairs = np.zeros(actual.shape[2]), np.zeros(actual.shape[2])
    for gap in range(1, min(DAY, actual.shape[1])):
        both = counted[:, gap:] & counted[:, :-gap]
        real = np.sign(np.where(both, actual[:, gap:] - actual[:, :-gap], 0.0))
        said = np.sign(np.where(both, forecast[:, gap:] - forecast[:, :-gap], 0.0))
        wrong += np.where(real != 0, (1.0 - real * said) / 2.0, 0.0).sum(axis=(0, 1))
        pairs += (real != 0).sum(axis=(0, 1))
    return 100 * ratio(wrong, pairs)


def ratio(above: NDArray[np.generic], below: NDArray[np.generic]) -> Floats:
    """Divide; ``nan`` where there is nothing to divide by."""
    bottom = np.asarray(below, dtype=np.float64)
    return np.asarray(np.asarray(above, dtype=np.float64) / np.where(bottom > 0, bottom, np.nan))
