"""Random worlds for the optimiser: regions on a globe, grids with a day and a sun, price lists, quotas, users.

Equal seeds give equal worlds. A shape is a kind of machine; most regions sell most of them, on demand and, mostly
cheaper, on spot, so a world of K shapes has up to 2 K offers in each region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from orchestrator.planner.optimum.costs import Physics, charge
from orchestrator.planner.optimum.problem import Floats, Problem, Rules, Weights

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
EARTH_KM: Final = 6371.0
MS_PER_KM: Final = 0.015
"""Round trip through fibre at two thirds of light speed (100 km per ms one way), paths half as long again."""

USD_PER_TONNE: Final = 100.0

SOLD: Final = 0.7
"""Part of the shapes that a region sells."""


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """How large a world is; ``origins`` follow from the regions."""

    regions: int
    shapes: int
    steps: int

    @property
    def origins(self) -> int:
        """Places where users are: 6 for 20 regions, 20 for 200."""
        return max(1, min(20, round(6.0 * math.pow(self.regions / 20, 0.52))))


def random_world(size: Size, seed: int, *, replicas: float | None = None) -> Problem:
    """Return the problem of that size and seed.

    ``replicas``: about how many of the median size the peak needs; 1.5 for each region without.
    """
    draw = np.random.default_rng([seed, size.regions, size.shapes, size.steps])
    places, users = _globe(draw, size.regions), _globe(draw, size.origins)
    rtt = 4.0 + MS_PER_KM * EARTH_KM * np.arccos(np.clip((users[:, None] * places).sum(axis=2), -1.0, 1.0))
    nearest = np.sort(rtt, axis=1)[:, min(size.regions, max(3, size.regions // 6)) - 1]
    budget = np.maximum(nearest, draw.uniform(60.0, 120.0, size.origins))
    intensity = _grids(draw, places, size.steps)
    machines = _machines(draw, size.shapes)
    sold = draw.random((size.regions, size.shapes)) < SOLD
    sold[:, 0] = True
    region, shape = (np.repeat(axis, 2) for axis in np.nonzero(sold))
    spot = np.tile([False, True], len(region) // 2)
    on_demand = machines.usd[shape] * draw.uniform(0.85, 1.25, size.regions)[region]
    discount = np.where(spot, np.repeat(draw.uniform(0.25, 0.9, len(region) // 2), 2), 1.0)
    wobble = np.exp(np.cumsum(draw.normal(0.0, 0.01, (len(region), size.steps)), axis=1))
    price = (on_demand * discount)[:, None] * np.where(spot[:, None], wobble, 1.0)
    quota = np.where(spot, draw.integers(0, 7, len(region)), draw.integers(0, 5, len(region))).astype(np.float64)
    capacity = machines.tokens_per_s[shape] * draw.uniform(0.97, 1.03, size.regions)[region]
    weights = Weights(usd=1.0, grams=USD_PER_TONNE / 1e6)
    hours = np.ones(size.steps)
    physics = Physics(
        step_hours=hours,
        region_of=region,
        capacity=capacity,
        idle_kw=machines.idle_kw[shape],
        full_kw=machines.full_kw[shape],
        price=price,
        pue=draw.uniform(1.05, 1.4, size.regions),
        intensity=intensity,
        cold_start_hours=draw.uniform(0.05, 0.3, len(region)),
        drain_hours=0.1,
        weights_gb=140.0,
        egress_usd_per_gb=draw.uniform(0.01, 0.09, size.regions),
        transfer_kwh_per_gb=0.03,
    )
    charges = charge(physics, weights)
    wanted = (1.5 * size.regions if replicas is None else replicas) * float(np.median(capacity))
    demand = _demand(draw, users, size.steps, wanted)
    running = np.zeros(len(region))
    runs = draw.choice(len(region), size=max(1, size.regions // 4), replace=False)
    running[runs] = np.minimum(quota[runs], draw.integers(1, 4, len(runs)))
    regions = tuple(f"cloud/r{i:03d}" for i in range(size.regions))
    names = tuple(
        f"{regions[r]}:m{s:02d}:{'spot' if on_spot else 'on_demand'}"
        for r, s, on_spot in zip(region.tolist(), shape.tolist(), spot.tolist(), strict=True)
    )
    return Problem(
        start=START,
        step_hours=hours,
        regions=regions,
        origins=tuple(f"users{i:02d}" for i in range(size.origins)),
        offers=names,
        region_of=region,
        spot=spot,
        capacity=capacity,
        quota=quota,
        running=running,
        rent_usd=charges.rent_usd,
        rent_grams=charges.rent_grams,
        start_usd=charges.start_usd,
        start_grams=charges.start_grams,
        end_usd=charges.end_usd,
        end_grams=charges.end_grams,
        traffic_grams=charges.traffic_grams,
        demand=demand,
        rtt_ms=rtt,
        rtt_budget_ms=budget,
        shortfall=charges.shortfall,
        exposure=charges.exposure,
        weights=weights,
        rules=Rules(surviving_fraction=0.7, spot_fraction=0.6),
    )


def _globe(draw: np.random.Generator, count: int) -> Floats:
    """Unit vectors, ``[count, 3]``, where people live: between 40 south and 65 north."""
    longitude, latitude = draw.uniform(-np.pi, np.pi, count), np.radians(draw.uniform(-40.0, 65.0, count))
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )


def _local_hours(places: Floats, steps: int) -> Floats:
    longitude = np.arctan2(places[:, 1], places[:, 0])
    return (np.arange(steps) + 12.0 * longitude[:, None] / np.pi) % 24.0


def _grids(draw: np.random.Generator, places: Floats, steps: int) -> Floats:
    """GCO2e/kWh, ``[regions, steps]``: levels from hydro (20) to coal (800), with sun at noon and weather between."""
    count = len(places)
    level, sun = np.exp(draw.uniform(np.log(20.0), np.log(800.0), count)), draw.uniform(0.0, 0.5, count)
    noon = np.maximum(0.0, np.cos((_local_hours(places, steps) - 13.0) * np.pi / 12.0))
    weather = np.exp(np.cumsum(draw.normal(0.0, 0.03, (count, steps)), axis=1))
    return np.clip(level[:, None] * (1.0 - sun[:, None] * noon) * weather, 5.0, 1500.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Machines:
    tokens_per_s: Floats
    idle_kw: Floats
    full_kw: Floats
    usd: Floats


def _machines(draw: np.random.Generator, count: int) -> _Machines:
    """From one small card to eight large ones: 0.7 to 10 kW, prices that rise a little slower than what they do."""
    full = np.exp(draw.uniform(np.log(0.7), np.log(10.0), count))
    tokens = 2500.0 * full * draw.uniform(0.7, 1.3, count)
    return _Machines(
        tokens,
        full * draw.uniform(0.2, 0.35, count),
        full,
        3.5 * full**0.95 * draw.uniform(0.8, 1.25, count),
    )


def _demand(draw: np.random.Generator, users: Floats, steps: int, peak: float) -> Floats:
    """Tokens/s, ``[origins, steps]``: a day with a trough of 40 %, origins of different sizes, some noise."""
    share = draw.dirichlet(np.full(len(users), 2.0))
    day = 0.7 + 0.3 * np.cos((_local_hours(users, steps) - 15.0) * np.pi / 12.0)
    noise = np.exp(draw.normal(0.0, 0.04, (len(users), steps)))
    demand = share[:, None] * day * noise
    return np.asarray(demand * peak / demand.sum(axis=0).max())
