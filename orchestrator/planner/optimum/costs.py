"""From physics and price lists to the dollars and grams of a problem.

Operational carbon is ``E x I`` with the energy of the whole facility (SCI, ISO/IEC 21031:2024: IT energy times PUE). A
start pays for what a move really costs: the new replica's rent and energy while it loads, the old one's while it
drains, and the copy of the weights. The end of the horizon pays for what comes after it, without which a short horizon
is myopic: it never recovers the cost of a start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.planner.optimum.problem import Flags, Floats, Integers, Weights

COLD_START_POWER_FRACTION: Final = 0.7
"""Of full power while weights load; the same assumption as in ``planner/moves.py``."""

TAIL_HOURS: Final = 168.0
"""A week of what follows the horizon: with less, plans were worse than a rule without any forecast (own replay of
hourly intensities of 2022 in 32 zones: 33.9 % saved with 24 h alone, 35.2 % by the rule, a start worth 4 h of running).
"""

DEARER_THAN_ANY: Final = 30.0
"""Penalty over the dearest token/s on sale: any way to serve it is cheaper, a start for one step included."""


@dataclass(frozen=True, slots=True, eq=False)
class Physics:
    """What is known of offers (J), regions (R) and steps (T).

    ``idle_kw`` and ``full_kw`` are IT power of a replica without and with full load; ``price`` is in USD per hour;
    ``intensity`` in gCO2e/kWh; ``weights_gb`` is what a start copies; ``transfer_kwh_per_gb`` the network's energy for
    it. What making the hardware emitted is not among them: it steers nothing (decision 0031).
    """

    step_hours: Floats
    region_of: Integers
    capacity: Floats
    idle_kw: Floats
    full_kw: Floats
    price: Floats
    pue: Floats
    intensity: Floats
    cold_start_hours: Floats
    drain_hours: float
    weights_gb: float
    egress_usd_per_gb: Floats
    transfer_kwh_per_gb: float


@dataclass(frozen=True, slots=True, eq=False)
class Charges:
    """The cost arrays of a :class:`~orchestrator.planner.optimum.problem.Problem`, under the same names."""

    rent_usd: Floats
    rent_grams: Floats
    start_usd: Floats
    start_grams: Floats
    end_usd: Floats
    end_grams: Floats
    traffic_grams: Floats
    shortfall: Floats
    exposure: Floats


def charge(physics: Physics, weights: Weights, sold: Flags | None = None) -> Charges:
    """Return what everything costs.

    A region's traffic pays for the energy above idle at the mean of what its offers draw per token/s, so that routing
    sees the grid. ``sold`` marks the offers that set the penalties (all without it).
    """
    region, hours = physics.region_of, physics.step_hours
    grams_per_kwh = (physics.pue[:, None] * physics.intensity)[region]
    rent_usd = physics.price * hours
    rent_grams = hours * (physics.idle_kw[:, None] * grams_per_kwh)
    loading, draining = physics.cold_start_hours[:, None], physics.drain_hours
    running_kw = 0.5 * (physics.idle_kw + physics.full_kw)[:, None]
    start_kwh = COLD_START_POWER_FRACTION * physics.full_kw[:, None] * loading + running_kw * draining
    copied_kwh = physics.transfer_kwh_per_gb * physics.weights_gb
    start_grams = (start_kwh + copied_kwh) * grams_per_kwh
    start_usd = physics.price * (loading + draining) + (physics.egress_usd_per_gb * physics.weights_gb)[region, None]
    kwh_per_token = (physics.full_kw - physics.idle_kw) / physics.capacity
    mean = np.bincount(region, kwh_per_token, len(physics.pue)) / np.maximum(
        np.bincount(region, minlength=len(physics.pue)), 1
    )
    traffic_grams = hours * (mean * physics.pue)[:, None] * physics.intensity
    end_usd, end_grams = _ends(physics, weights, rent_usd, rent_grams, start_usd, start_grams)
    hold = weights.usd * rent_usd + weights.grams * rent_grams
    start = weights.usd * start_usd + weights.grams * start_grams
    per_token = (hold + start) / physics.capacity[:, None]
    dearest = (per_token if sold is None else per_token[sold]).max(axis=0)
    penalty = DEARER_THAN_ANY * (dearest + weights.grams * traffic_grams.max(axis=0))
    return Charges(
        rent_usd, rent_grams, start_usd, start_grams, end_usd, end_grams, traffic_grams, penalty, penalty / 2.0
    )


def _ends(
    physics: Physics, weights: Weights, rent_usd: Floats, rent_grams: Floats, start_usd: Floats, start_grams: Floats
) -> tuple[Floats, Floats]:
    """What a week of going on costs more than with the best offer, at most the start that would end it, per replica."""
    total_hours = float(physics.step_hours.sum())
    usd, grams = rent_usd.sum(axis=1) / total_hours, rent_grams.sum(axis=1) / total_hours
    rate = (weights.usd * usd + weights.grams * grams) / physics.capacity
    best = int(np.argmin(rate))
    more = TAIL_HOURS * (rate - rate[best]) * physics.capacity
    of_start = physics.capacity / physics.capacity[best]
    leaving = (weights.usd * start_usd.mean(axis=1) + weights.grams * start_grams.mean(axis=1))[best] * of_start
    kept = np.minimum(1.0, leaving / np.where(more > 0, more, np.inf).clip(1e-300))
    scale = TAIL_HOURS * np.where(more > 0, kept, 0.0)
    return scale * (usd - usd[best] * of_start), scale * (grams - grams[best] * of_start)
