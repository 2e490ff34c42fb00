"""Rows and summaries of a placement year, in percent and points of the emissions of staying at home."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.bench.placement.instance import Service
from orchestrator.bench.placement.ledger import Bill

WORSE_POINTS: Final = 0.5
"""From here on a service counts as worse off."""

Bills = Mapping[str, Bill]
"""By the name of the policy; ``home``, ``B3`` and ``oracle`` are among them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy on one service. Points are percent of the grams of staying at home.

    ``excess_percent``: None where the optimum emits nothing, which nothing is a multiple of; so in a row and a summary.
    """

    saving_percent: float
    gap_points: float
    over_b3_points: float
    excess_percent: float | None
    moves: int


@dataclass(frozen=True, slots=True)
class Row:
    """A policy over the origins of one (track, RTT, K); ``worst`` is over the origins, and at worst below B3 < 0."""

    track: str
    rtt_budget_ms: float
    switching_hours: float
    policy: str
    services: int
    saving_percent: float
    worst_saving_percent: float
    moves: float
    gap_points: float
    worst_gap_points: float
    over_b3_points: float
    worst_over_b3_points: float
    excess_percent: float | None
    worst_excess_percent: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A policy over all services of a track. ``total_excess_percent`` is of the summed grams.

    ``below_b3`` and ``below_home``: services worse off by more than half a point. ``moves_by_switching_hours``: mean
    moves a year for each K.
    """

    track: str
    policy: str
    services: int
    gap_points: float
    p90_gap_points: float
    worst_gap_points: float
    worst_over_b3_points: float
    below_b3: int
    below_home: int
    excess_percent: float | None
    total_excess_percent: float | None
    moves_by_switching_hours: dict[str, float]


def standing(bill: Bill, bills: Bills) -> Standing:
    """Compare one bill with those of staying at home, of B3 and of the oracle."""
    point = bills["home"].grams / 100
    return Standing(
        saving_percent=100 - bill.grams / point,
        gap_points=(bill.grams - bills["oracle"].grams) / point,
        over_b3_points=(bills["B3"].grams - bill.grams) / point,
        excess_percent=_excess_percent(bill.grams, bills["oracle"].grams),
        moves=bill.moves,
    )


def rows(services: Sequence[Service], bills: Mapping[str, Bills], policies: Iterable[str]) -> list[Row]:
    """Return a row per (track, RTT, K) and policy; ``bills`` is by the id of the service."""
    groups: dict[tuple[str, float, float], list[Service]] = {}
    for service in services:
        groups.setdefault((service.track, service.rtt_budget_ms, service.switching_hours), []).append(service)
    names = list(policies)
    return [
        _row(key, name, [standing(bills[s.id][name], bills[s.id]) for s in group])
        for key, group in sorted(groups.items())
        for name in names
    ]


def summaries(services: Sequence[Service], bills: Mapping[str, Bills], policies: Iterable[str]) -> list[Summary]:
    """Return a summary per track and policy."""
    names = list(policies)
    tracks = sorted({s.track for s in services})
    return [
        _summary(track, name, [s for s in services if s.track == track], bills) for track in tracks for name in names
    ]


def _row(key: tuple[str, float, float], policy: str, found: Sequence[Standing]) -> Row:
    return Row(
        *key,
        policy=policy,
        services=len(found),
        saving_percent=_mean(s.saving_percent for s in found),
        worst_saving_percent=min(s.saving_percent for s in found),
        moves=_mean(s.moves for s in found),
        gap_points=_mean(s.gap_points for s in found),
        worst_gap_points=max(s.gap_points for s in found),
        over_b3_points=_mean(s.over_b3_points for s in found),
        worst_over_b3_points=min(s.over_b3_points for s in found),
        excess_percent=_if_all_known([s.excess_percent for s in found], _mean),
        worst_excess_percent=_if_all_known([s.excess_percent for s in found], max),
    )


def _summary(track: str, policy: str, services: Sequence[Service], bills: Mapping[str, Bills]) -> Summary:
    found = [standing(bills[s.id][policy], bills[s.id]) for s in services]
    grams = sum(bills[s.id][policy].grams for s in services)
    least = sum(bills[s.id]["oracle"].grams for s in services)
    moves: dict[float, list[int]] = {}
    for service in services:
        moves.setdefault(service.switching_hours, []).append(bills[service.id][policy].moves)
    return Summary(
        track=track,
        policy=policy,
        services=len(found),
        gap_points=_mean(s.gap_points for s in found),
        p90_gap_points=float(np.percentile([s.gap_points for s in found], 90)),
        worst_gap_points=max(s.gap_points for s in found),
        worst_over_b3_points=min(s.over_b3_points for s in found),
        below_b3=sum(s.over_b3_points < -WORSE_POINTS for s in found),
        below_home=sum(s.saving_percent < -WORSE_POINTS for s in found),
        excess_percent=_if_all_known([s.excess_percent for s in found], _mean),
        total_excess_percent=_excess_percent(grams, least),
        moves_by_switching_hours={f"{hours:g}": _mean(counts) for hours, counts in sorted(moves.items())},
    )


def _excess_percent(grams: float, least: float) -> float | None:
    return 100 * (grams / least - 1) if least > 0 else None


def _if_all_known(values: Sequence[float | None], total: Callable[[Iterable[float]], float]) -> float | None:
    known = [v for v in values if v is not None]
    return total(known) if len(known) == len(values) else None


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
