"""No rush: when many services would like to be in one place, a few go there at a time, and the others wait. Pure.

All services of a controller read the same numbers and want the same place in the same minute. A place that is full
would then fail fifty starts before anybody knows, and each of them is paid for. The next service goes as soon as one of
those before it serves, or knows better. It waits for the better place and goes to no other meanwhile: a detour would
cost a move and a dwell, and the wait is of minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.domain.decision import MoveComparison, Verdict
from orchestrator.domain.replica import LIVE, Replica

RUSH_RULE = "migration.rush"

MOST_ON_THE_WAY = 5
"""Replicas of other services that start in a region to take over from one that serves. Our choice, not a law of nature.

A start on a GPU takes minutes, so that a hundred services are there within two hours, and a place that is sold out
costs five starts."""


def rushed(replicas: Iterable[Replica], service: str) -> frozenset[str]:
    """Return the regions to which enough replicas of other services than this one are on their way."""
    arriving = Counter(
        r.region for r in replicas if r.service != service and r.replaces and r.state in LIVE and r.ready_at is None
    )
    return frozenset(region for region, count in arriving.items() if count >= MOST_ON_THE_WAY)


def without_rush(
    comparisons: Sequence[MoveComparison], regions: Mapping[str, str], full: frozenset[str]
) -> list[MoveComparison]:
    """Return the moves, the best first as before, with a verdict on those that others are in the way of just now.

    ``regions``: of each offer. ``full``: as :func:`rushed` says. What a replica would do instead waits as well.
    """
    waiting: dict[str, str] = {}
    judged = []
    for move in comparisons:
        region = regions[move.to_offer]
        if move.approved and region in full:
            waiting.setdefault(move.replica, region)
        if region in full:
            verdict = _verdict(region)
        elif move.approved and move.replica in waiting:
            verdict = replace(_verdict(waiting[move.replica]), text=f"{waiting[move.replica]} is better, and soon free")
        else:
            judged.append(move)
            continue
        judged.append(replace(move, verdicts=(*move.verdicts, verdict)))
    return sorted(judged, key=lambda move: not move.approved)


def _verdict(region: str) -> Verdict:
    text = f"{MOST_ON_THE_WAY} replicas of other services are on their way to {region}, no more go at a time"
    return Verdict(RUSH_RULE, passed=False, text=text, limit=float(MOST_ON_THE_WAY), unit="replicas")
