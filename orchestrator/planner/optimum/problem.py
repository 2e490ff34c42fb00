"""What is to be decided, as arrays: offers by step, demand by origin, rules, and what everything costs.

A problem knows nothing of clouds or specs. It is checked when it is made, so that the engines need not doubt it, and it
is put into the order of its names before it is solved, so that the order of the input cannot change a plan.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from orchestrator.domain.time import Instant
from orchestrator.errors import InvalidProgram

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits beside demand, latency and quota; ``None`` where a rule is not wanted.

    ``surviving_fraction``: the part of the demand that the capacity outside any one region covers (N-1).
    ``spot_fraction``: the largest part of the capacity that may be spot. In neither does capacity count that no origin
    can reach. ``budget_usd``: for rent and starts over the
    whole horizon (the epsilon constraint of Haimes, Lasdon and Wismer 1971). ``starts_per_step``: the largest number of
    replicas started in each step, growth included, ``[steps]``. ``max_replicas``: of all offers together.
    """

    surviving_fraction: float | None = None
    spot_fraction: float | None = None
    budget_usd: float | None = None
    starts_per_step: tuple[float, ...] | None = None
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """What is minimised: ``usd`` x dollars + ``grams`` x gCO2e. A carbon price of $100/t is ``Weights(1.0, 1e-4)``."""

    usd: float
    grams: float


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One service over a horizon. Shapes: J offers, R regions, O origins, T steps.

    ``offers`` are unique names (``region:shape:market``); ``region_of`` and ``spot`` say where and what each is.
    ``capacity``: tokens/s of one replica; ``quota``: replicas that can be had; ``running``: those that run before the
    first step (more than the quota counts as the quota: what is beyond it has been lost).
    ``rent_usd`` and ``rent_grams`` are for one replica and a whole step; ``start_usd`` and ``start_grams`` for one
    start (cold start, copied weights, double running); ``traffic_grams`` for one token/s carried through the step.
    ``end_usd`` and ``end_grams`` are for each replica that still runs after the last step: what keeping it is worth
    less than keeping the best. ``shortfall`` and ``exposure`` are the weighted costs of one token/s of demand that is
    not served, or not covered after the loss of a region, through the step: dearer than any way to cover it.
    """

    start: Instant
    step_hours: Floats
    regions: tuple[str, ...]
    origins: tuple[str, ...]
    offers: tuple[str, ...]
    region_of: Integers
    spot: Flags
    capacity: Floats
    quota: Floats
    running: Floats
    rent_usd: Floats
    rent_grams: Floats
    start_usd: Floats
    start_grams: Floats
    end_usd: Floats
    end_grams: Floats
    traffic_grams: Floats
    demand: Floats
    rtt_ms: Floats
    rtt_budget_ms: Floats
    shortfall: Floats
    exposure: Floats
    weights: Weights
    rules: Rules = Rules()

    def __post_init__(self) -> None:
        """Check shapes, names and numbers. Raises ``InvalidProgram`` with the name of what is wrong."""
        _check(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def steps(self) -> int:
        """How many steps the horizon has."""
        return len(self.step_hours)

    @property
    def eligible(self) -> Flags:
        """Whether an origin's requests may be served in a region, ``[origins, regions]``."""
        return np.asarray(self.rtt_ms <= self.rtt_budget_ms[:, None])

    @property
    def must_survive(self) -> Floats:
        """Tokens/s that have to be left when any one region is lost, ``[steps]``; zero without the rule."""
        return np.asarray(self.demand.sum(axis=0) * (self.rules.surviving_fraction or 0.0))


def _check(p: Problem) -> None:
    if not (p.regions and p.origins and p.offers and len(p.step_hours)):
        raise InvalidProgram("a problem needs a region, an origin, an offer and a step")
    for word, names in (("region", p.regions), ("origin", p.origins), ("offer", p.offers)):
        if len(set(names)) != len(names):
            twice = min(n for n, count in Counter(names).items() if count > 1)
            raise InvalidProgram(f"{word} {twice!r} is there twice")
    _check_arrays(p)
    if ((p.region_of < 0) | (p.region_of >= len(p.regions))).any():
        raise InvalidProgram("region_of points outside the regions")
    if (p.capacity <= 0).any() or (p.step_hours <= 0).any():
        raise InvalidProgram("capacity and step_hours have to be above zero")
    if (p.quota != np.floor(p.quota)).any() or (p.running != np.floor(p.running)).any():
        raise InvalidProgram("quota and running count whole replicas")
    _check_rules(p.rules, p.steps)
    if min(p.weights.usd, p.weights.grams) < 0 or not p.weights.usd + p.weights.grams > 0:
        raise InvalidProgram("weights need one above zero and none below")


def _check_arrays(p: Problem) -> None:
    """Shapes, and numbers that are there."""
    sizes = {"J": len(p.offers), "R": len(p.regions), "O": len(p.origins), "T": p.steps}
    for name, shape in _SHAPES.items():
        array, wanted = getattr(p, name), tuple(sizes[letter] for letter in shape)
        if array.shape != wanted:
            raise InvalidProgram(f"{name} has the shape {array.shape}, not {wanted}")
        if not np.isfinite(array).all():
            raise InvalidProgram(f"{name} holds a number that is missing or infinite")
        if name not in {"region_of", "end_usd", "end_grams"} and (array < 0).any():
            raise InvalidProgram(f"{name} holds a negative number")


def _check_rules(rules: Rules, steps: int) -> None:
    for name in ("surviving_fraction", "spot_fraction"):
        value = getattr(rules, name)
        if value is not None and not 0 <= value <= 1:
            raise InvalidProgram(f"{name} is {value}, not between 0 and 1")
    for name in ("budget_usd", "max_replicas"):
        value = getattr(rules, name)
        if value is not None and not 0 <= value < np.inf:
            raise InvalidProgram(f"{name} is {value}, not a number from zero on")
    starts = rules.starts_per_step
    if starts is not None and (len(starts) != steps or not all(0 <= s < np.inf for s in starts)):
        raise InvalidProgram(f"starts_per_step needs {steps} numbers from zero on")


_SHAPES = {
    "step_hours": "T",
    "region_of": "J",
    "spot": "J",
    "capacity": "J",
    "quota": "J",
    "running": "J",
    "rent_usd": "JT",
    "rent_grams": "JT",
    "start_usd": "JT",
    "start_grams": "JT",
    "end_usd": "J",
    "end_grams": "J",
    "traffic_grams": "RT",
    "demand": "OT",
    "rtt_ms": "OR",
    "rtt_budget_ms": "O",
    "shortfall": "T",
    "exposure": "T",
}


def open_offers(problem: Problem) -> Integers:
    """Return the offers that can be bought, in regions that anybody's requests may go to."""
    reached = np.asarray(problem.eligible.any(axis=0))
    return np.flatnonzero((problem.quota > 0) & reached[problem.region_of])


@dataclass(frozen=True, slots=True)
class Order:
    """Where the canonical offers, regions and origins stand in the input."""

    offers: Integers
    regions: Integers
    origins: Integers


def canonical(problem: Problem) -> tuple[Problem, Order]:
    """Return the same problem in the order of its names, and the way back."""
    order = Order(*(_sorted(names) for names in (problem.offers, problem.regions, problem.origins)))
    if all(np.array_equal(o, np.arange(len(o))) for o in (order.offers, order.regions, order.origins)):
        return problem, order
    by_letter = {"J": order.offers, "R": order.regions, "O": order.origins}
    arrays = {}
    for name, shape in _SHAPES.items():
        value = getattr(problem, name)
        for axis, letter in enumerate(shape):
            if letter in by_letter:
                value = np.take(value, by_letter[letter], axis=axis)
        arrays[name] = value
    arrays["region_of"] = np.argsort(order.regions, kind="stable")[arrays["region_of"]]
    arranged = replace(
        problem,
        offers=tuple(problem.offers[i] for i in order.offers),
        regions=tuple(problem.regions[i] for i in order.regions),
        origins=tuple(problem.origins[i] for i in order.origins),
        **arrays,
    )
    return arranged, order


def places(names: tuple[str, ...], wanted: tuple[str, ...]) -> Integers:
    """Return where each of the wanted names stands."""
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[name] for name in wanted], dtype=np.int64)


def _sorted(names: tuple[str, ...]) -> Integers:
    return np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """The coefficients of the objective.

    ``hold[J, T]`` is for a replica in a step (its end in the last), ``start[J, T]`` for a start, ``carry[R, T]`` for
    one token/s.
    """

    hold: Floats
    start: Floats
    carry: Floats


def weigh(problem: Problem) -> Weighed:
    """Put dollars and grams on one scale by the problem's weights."""
    w = problem.weights
    hold = w.usd * problem.rent_usd + w.grams * problem.rent_grams
    hold[:, -1] += w.usd * problem.end_usd + w.grams * problem.end_grams
    return Weighed(hold, w.usd * problem.start_usd + w.grams * problem.start_grams, w.grams * problem.traffic_grams)
