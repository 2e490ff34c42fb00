"""Our forecast and a provider's, joined by what their difference was worth so far.

Stacked regression with one input (Wolpert, Neural Networks 5(2), 1992; for forecasts: Granger and Ramanathan, Journal
of Forecasting 3(2), 1984): of what the provider says beyond our own forecast of the same quantity, that part is added
which turned out to be right. The quantity may be another one than ours (direct intensity for life-cycle intensity):
then the same regression learns how the one tells of the other. Weights are learnt for each zone, each six hours ahead
and each hour of issue, because a provider's issue ages through the day; they are drawn towards those of all zones
together. As in :mod:`orchestrator.forecasting.regression`, everything is done on square roots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.forecasting.pattern import DAY, Floats, Rows

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Trust:
    """How fast weights are learnt.

    ``own``: weight of the common value for a zone, and ``common`` of zero for that one, in forecast hours.
    ``step_hours``: hours ahead that share a weight.
    """

    own: float = 60.0
    common: float = 60.0
    step_hours: int = 6


def with_provider(
    ours: Floats, theirs: Floats, reference: Floats, actual: Floats, issues: Rows, trust: Trust
) -> Floats:
    """Return the joint forecast; ours where the provider has none, and until the first weights are known.

    All arrays are (issues, hours ahead, zones): ``theirs`` is the provider's newest at each issue, ``reference`` our
    forecast of what they forecast (``ours``, if it is the same quantity), ``actual`` what came of ours; of the latter
    only what is known at an issue counts for it. Hours ahead must be a multiple of ``trust.step_hours``.
    Raises ``ValueError`` when they are not.
    """
    horizon = ours.shape[1]
    if horizon % trust.step_hours:
        raise ValueError(f"{horizon} hours ahead cannot be told apart by {trust.step_hours}")
    roots = np.sqrt(ours)
    beyond = np.sqrt(np.maximum(0.0, theirs)) - np.sqrt(reference)
    error = np.sqrt(actual) - roots
    joint = ours.copy()
    for hour in np.unique(issues % DAY).tolist():
        mine = np.flatnonzero(issues % DAY == hour)
        mine = mine[np.argsort(issues[mine], kind="stable")]
        weights = _weights(beyond[mine], error[mine], issues[mine], trust)
        added = weights.repeat(trust.step_hours, axis=1) * beyond[mine]
        told = np.isfinite(added)
        joint[mine] = np.where(told, np.maximum(0.0, roots[mine] + np.where(told, added, 0.0)) ** 2, ours[mine])
    return joint


def _weights(beyond: Floats, error: Floats, issues: Rows, trust: Trust) -> Floats:
    """Return the weights at each issue, (issues, steps, zones): zero as long as nothing is known."""
    known = np.isfinite(beyond) & np.isfinite(error)
    x, y = np.where(known, beyond, 0.0), np.where(known, error, 0.0)
    squares, products, counts = (_so_far(part, trust.step_hours) for part in (x * x, x * y, known.astype(float)))
    # Issues whose last hour was over at each issue.
    over = np.searchsorted(issues, issues - beyond.shape[1], side="right")
    squares, products, counts = squares[over], products[over], counts[over]
    unit = squares.sum(axis=1, keepdims=True) / np.maximum(1.0, counts.sum(axis=1, keepdims=True)) + _TINY
    squares, products = squares / unit, products / unit
    common_squares, common_products = squares.sum(axis=2, keepdims=True), products.sum(axis=2, keepdims=True)
    common = common_products / (common_squares + trust.common)
    return np.asarray((products + trust.own * common) / (squares + trust.own))


def _so_far(parts: Floats, step: int) -> Floats:
    """Sum (issues, hours ahead, zones) over the hours of a step and over all issues before each, with one row more."""
    issues, horizon, zones = parts.shape
    steps = parts.reshape(issues, horizon // step, step, zones).sum(axis=2)
    return np.concatenate([np.zeros((1, horizon // step, zones)), np.cumsum(steps, axis=0)])
