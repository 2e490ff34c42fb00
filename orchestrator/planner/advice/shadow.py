"""What each limit of a service costs: the best offer that this limit alone keeps out. Pure.

In a linear program this would be the limit's dual price; offers come in whole pieces, so here it is the difference to
the next piece, which is exact and can be checked by changing the file as it says. The promise to clients of several
areas keeps no offer out by itself; what it costs is the difference of all replicas (``clients.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.domain.decision import Assessment
from orchestrator.domain.service import Policy
from orchestrator.domain.time import Instant
from orchestrator.planner.advice.clients import chosen_anew, loosened
from orchestrator.planner.advice.relax import Relaxed, relaxed
from orchestrator.planner.choose import rank
from orchestrator.planner.judged import Judged, judge
from orchestrator.planner.promise import TTFT_RULE
from orchestrator.planner.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ShadowPrice:
    """One replica on ``offer_id`` instead of the best that is allowed now, if ``change`` were made.

    ``by``: how far the limit moves, with its unit; empty where it has none. ``grams_per_hour_saved`` and
    ``usd_per_hour_change`` are against the best allowed offer, at the mean of the policy's horizon; dollars are
    ``None`` where a price is unknown.

    ``is_of_all``: it is what a promise to clients costs. The figures are then of all ``replicas``, chosen anew with the
    change, beside all of them without it; ``offer_id`` is the best offer that comes in.
    """

    rule: str
    change: str
    by: str
    offer_id: str
    region: str
    grams_per_hour_saved: float
    saved_fraction: float
    usd_per_hour_change: float | None
    replicas: int = 1
    is_of_all: bool = False


def shadow_prices(snapshot: Snapshot, policy: Policy, now: Instant) -> tuple[ShadowPrice, ...]:
    """Return what each limit costs in carbon, the dearest first; limits that cost none are left out."""
    return tuple(price for price, _ in priced(snapshot, policy, now))


def priced(snapshot: Snapshot, policy: Policy, now: Instant) -> tuple[tuple[ShadowPrice, Relaxed | None], ...]:
    """Return :func:`shadow_prices` with the world after each change; ``None`` beside those of all replicas."""
    judged = judge(snapshot, policy, now)
    allowed = [a for a in judged.assessments if a.allowed]
    if not allowed:
        return ()
    best = min(allowed, key=lambda a: rank(a, policy.objective))
    grams = best.expected_grams_per_hour
    if grams is None or grams <= 0:
        return ()
    found: dict[str, tuple[ShadowPrice, Relaxed | None]] = {}
    for offer in sorted(judged.assessments, key=_greenest_first):
        failed = [v for v in offer.verdicts if not v.passed]
        theirs = offer.expected_grams_per_hour
        if len(failed) != 1 or failed[0].rule in found or theirs is None or theirs >= grams:
            continue
        change = relaxed(snapshot, policy, offer, failed[0])
        if change is None or not _is_taken(change, offer, now):
            continue
        price = ShadowPrice(
            rule=failed[0].rule,
            change=change.change,
            by=change.by,
            offer_id=offer.offer_id,
            region=offer.region,
            grams_per_hour_saved=grams - theirs,
            saved_fraction=1 - theirs / grams,
            usd_per_hour_change=_change(best, offer),
        )
        found[price.rule] = price, change
    of_all = [(price, None) for price in _of_all(judged)]
    of_one = [(p, how) for p, how in found.values() if not (judged.promised.areas and p.rule == TTFT_RULE)]
    return tuple(sorted([*of_one, *of_all], key=_dearest_first))


def _of_all(judged: Judged) -> Iterator[ShadowPrice]:
    """Yield what the promise to clients of several areas costs, where it has any."""
    before = chosen_anew(judged.snapshot, judged.policy, judged.now) if judged.promised.areas else None
    if before is None or before.grams <= 0:
        return
    for way in loosened(judged, before):
        new, after = way.newcomer(before), way.fleet
        yield ShadowPrice(
            rule=way.rule,
            change=way.change,
            by=way.by,
            offer_id=new.offer_id,
            region=new.region,
            grams_per_hour_saved=before.grams - after.grams,
            saved_fraction=1 - after.grams / before.grams,
            usd_per_hour_change=None if before.usd is None or after.usd is None else after.usd - before.usd,
            replicas=len(after.offers),
            is_of_all=True,
        )


def _dearest_first(entry: tuple[ShadowPrice, Relaxed | None]) -> tuple[float, str, str]:
    price, _ = entry
    return (-price.grams_per_hour_saved, price.rule, price.change)


def _greenest_first(a: Assessment) -> tuple[bool, float, float, str]:
    grams, usd = a.expected_grams_per_hour, a.usd_per_hour
    return (grams is None, grams or 0.0, usd or 0.0, a.offer_id)


def _is_taken(change: Relaxed, offer: Assessment, now: Instant) -> bool:
    """Whether the offer comes in by the change, and is what the objective takes then: else nothing would be saved."""
    there = judge(change.snapshot, change.policy, now).assessments
    allowed = [a for a in there if a.allowed and a.market is offer.market]
    best = min(allowed, key=lambda a: rank(a, change.policy.objective), default=None)
    return best is not None and best.offer_id == offer.offer_id


def _change(here: Assessment, there: Assessment) -> float | None:
    if here.usd_per_hour is None or there.usd_per_hour is None:
        return None
    return there.usd_per_hour - here.usd_per_hour
