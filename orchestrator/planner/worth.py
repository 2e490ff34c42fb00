"""What a move is worth beside its grams: dollars, the policy's own score and water, term by term. Pure.

Every sum here is the number that the rules of moving judge by (``moves.py``), taken apart so that it can be checked:

* dollars: the rent saved over the policy's whole horizon, less the rent paid twice while the new one starts and while
  the old one drains, less what providers charge for fetching the weights (``planner/egress.py``);
* the score (``policy.weigh``): what the offers' scores differ by over the horizon, and the quality lost where a
  service's variants have a price for it, less the same rent paid twice and the same egress, less the grams of the move
  at the price that the policy gives them;
* water: on-site litres, reported; they decide where a policy weighs ``liters_per_hour``.

No premium for spot stands here: a replica never changes its market by such a move, and what a loss costs is paid for by
the spares that ``slo.availability`` takes. Nothing is counted beyond the horizon: whoever moves for it may move back.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.decision import Assessment, Factor, MoveComparison, Quality, Term
from orchestrator.domain.service import Objective
from orchestrator.domain.time import HOUR
from orchestrator.domain.units import SECONDS_PER_HOUR
from orchestrator.planner.egress import usd_term
from orchestrator.planner.judged import Judged
from orchestrator.policy.apply import usd_per_gram


def with_worth(comparison: MoveComparison, judged: Judged) -> MoveComparison:
    """Return it with the terms of its dollars, of its score and of its water; what is unknown has none."""
    here, there = judged.by_id(comparison.from_offer), judged.by_id(comparison.to_offer)
    if here is None or there is None:
        return comparison
    once = (*_paid_twice(here, there, judged), *usd_term(comparison.egress))
    usd = (*_rent(here, there, judged), *once) if comparison.net_usd is not None else ()
    return replace(
        comparison,
        usd_terms=usd,
        score_terms=_score(comparison, here, there, judged),
        water=_water(here, there, judged),
    )


def _hours(judged: Judged) -> tuple[Factor, Factor]:
    """The hours that prices are weighed over: all of the horizon, because prices last."""
    return (
        Factor("hours", float(max(1, int(judged.policy.horizon / HOUR))), "h", "the policy's horizon, grid time"),
        Factor("engine_hours_per_grid_hour", 1.0 / judged.snapshot.clock_rate, "h/h", "1 / clock rate"),
    )


def _over_the_horizon(name: str, what: str, here: float, there: float, unit: str, origin: str, judged: Judged) -> Term:
    less, hours = Factor(what, here - there, f"{unit}/h", origin), _hours(judged)
    amount = less.value * hours[0].value * hours[1].value
    return Term(name, amount, unit, f"{what} x hours x engine_hours_per_grid_hour", (less, *hours))


def _rent(here: Assessment, there: Assessment, judged: Judged) -> tuple[Term, ...]:
    if here.usd_per_hour is None or there.usd_per_hour is None:
        return ()
    origin = f"{here.usd_per_hour:.6g} here, {there.usd_per_hour:.6g} there"
    found = _over_the_horizon("rent", "usd_per_hour_less", here.usd_per_hour, there.usd_per_hour, "USD", origin, judged)
    return (found,)


def _paid_twice(here: Assessment, there: Assessment, judged: Judged) -> tuple[Term, ...]:
    if here.usd_per_hour is None or there.usd_per_hour is None:
        return ()
    world = judged.snapshot
    rows = (
        ("start rent", there, world.cold_start_seconds, "the new one while it starts"),
        ("drain rent", here, world.overlap_seconds, "the old one until it has drained"),
    )
    return tuple(
        Term(
            name,
            -(side.usd_per_hour or 0.0) * seconds.value / SECONDS_PER_HOUR,
            "USD",
            "-usd_per_hour x hours",
            (
                Factor("usd_per_hour", side.usd_per_hour or 0.0, "USD/h", f"{who}: {side.price_source}"),
                Factor("hours", seconds.value / SECONDS_PER_HOUR, "h", seconds.origin),
            ),
        )
        for name, side, seconds, who in rows
    )


def _score(comparison: MoveComparison, here: Assessment, there: Assessment, judged: Judged) -> tuple[Term, ...]:
    mine, other, once = here.score_usd_per_hour, there.score_usd_per_hour, comparison.move_usd
    if judged.policy.objective is not Objective.LOWEST_SCORE or mine is None or other is None or once is None:
        return ()
    price = max(0.0, usd_per_gram(judged.policy))
    grams = Term(
        "its carbon",
        -price * comparison.cost_grams,
        "USD",
        "-usd_per_gram x grams",
        (
            Factor("usd_per_gram", price, "USD/g", "the policy's weights"),
            Factor("grams", comparison.cost_grams, "gCO2e", "what the move itself emits"),
        ),
    )
    lost_here, lost_there = _lost(here), _lost(there)
    origin = "the policy's weighed terms"
    running = _over_the_horizon("score", "score_less", mine - lost_here, other - lost_there, "USD", origin, judged)
    paid = (*_paid_twice(here, there, judged), *usd_term(comparison.egress))
    return (running, *_quality(here, there, judged), *paid, grams)


def _lost(side: Assessment) -> float:
    """What lost quality counts in its score, where it counts."""
    return 0.0 if side.quality is None else side.quality.usd_per_hour or 0.0


def _quality(here: Assessment, there: Assessment, judged: Judged) -> tuple[Term, ...]:
    if here.quality is None or there.quality is None or not here.quality.usd_per_point:
        return ()
    mine, other, hours = here.quality, there.quality, _hours(judged)
    points = Factor("points_less", mine.lost_points - other.lost_points, "points", _origin(mine, other))
    price = Factor("usd_per_point", mine.usd_per_point, "USD", "model.quality.price, of 1,000 output tokens")
    tokens = Factor("thousands_of_tokens", (mine.tokens_per_hour or 0.0) / 1000.0, "/h", "output of one replica")
    amount = points.value * price.value * tokens.value * hours[0].value * hours[1].value
    formula = "points_less x usd_per_point x thousands_of_tokens x hours x engine_hours_per_grid_hour"
    return (Term("quality", amount, "USD", formula, (points, price, tokens, *hours)),)


def _origin(mine: Quality, other: Quality) -> str:
    return f"{mine.of_main:g} here as {mine.variant}, {other.of_main:g} there as {other.variant}"


def _water(here: Assessment, there: Assessment, judged: Judged) -> Term | None:
    if here.liters_per_hour is None or there.liters_per_hour is None:
        return None
    origin = "IT energy x on-site WUE, both ends"
    return _over_the_horizon(
        "water", "liters_per_hour_less", here.liters_per_hour, there.liters_per_hour, "L", origin, judged
    )
