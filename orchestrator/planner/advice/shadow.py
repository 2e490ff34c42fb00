"""What each limit of a service costs: the best offer that this limit alone keeps out. Pure.

In a linear program this would be the limit's dual price; offers come in whole pieces, so here it is the difference to
the next piece, which is exact and can be checked by changing the file as it says. The promise to clients of several
areas, and how many may be in one region, keep no offer out by themselves; what they cost is the difference of all
replicas (``clients.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.domain.decision import Assessment
from orchestrator.domain.service import Policy
from orchestrator.domain.time import Instant
from orchestrator.planner.advice.clients import Fleet, Loosened, chosen_anew, loosened
from orchestrator.planner.advice.relax import REGION_RULE, Relaxed, one_more_in_a_region, relaxed
from orchestrator.planner.choose import rank
from orchestrator.planner.judged import Judged, judge
from orchestrator.planner.promise import TTFT_RULE
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.surviving import as_written

_A_LITTLE = 1e-9


@dataclass(frozen=True, slots=True)
class ShadowPrice:
    """One replica on ``offer_id`` instead of the best that is allowed now, if ``change`` were made.

    ``by``: how far the limit moves, with its unit; empty where it has none. ``grams_per_hour_saved`` and
    ``usd_per_hour_change`` are against the best allowed offer, at the mean of the policy's horizon; dollars are
    ``None`` where a price is unknown.

    ``is_of_all``: it is what a limit of all together costs, the promise to clients or so many in one region. The
    figures are then of all ``replicas``, chosen anew with the change, beside all of them without it; ``offer_id`` is
    the best offer that comes in.
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
    """Return :func:`shadow_prices` with the world after each change; ``None`` beside those of the promise."""
    judged = judge(snapshot, policy, now)
    if not any(a.allowed for a in judged.assessments):
        return ()
    return tuple(sorted([*_of_one(judged), *_of_crowd(judged), *_of_promise(judged)], key=_dearest_first))


def _of_one(judged: Judged) -> Iterator[tuple[ShadowPrice, Relaxed]]:
    """Yield what each limit costs that keeps a better offer out by itself."""
    snapshot, policy = judged.snapshot, judged.policy
    best = min((a for a in judged.assessments if a.allowed), key=lambda a: rank(a, policy.objective))
    grams = best.expected_grams_per_hour
    if grams is None or grams <= 0:
        return
    # The limit of the promise to several areas is priced with all replicas.
    found = {TTFT_RULE} if judged.promised.areas else set[str]()
    for offer in sorted(judged.assessments, key=_greenest_first):
        failed = [v for v in offer.verdicts if not v.passed]
        theirs = offer.expected_grams_per_hour
        if len(failed) != 1 or failed[0].rule in found or theirs is None or theirs >= grams:
            continue
        change = relaxed(snapshot, policy, offer, failed[0])
        if change is None or not _is_taken(change, offer, judged.now):
            continue
        found.add(failed[0].rule)
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
        yield price, change


def _of_crowd(judged: Judged) -> Iterator[tuple[ShadowPrice, Relaxed]]:
    """Yield what it costs that no more may be in one region, where one more in each would save any carbon."""
    snapshot, policy, now = as_written(judged.snapshot), judged.policy, judged.now
    limit = snapshot.spec.placement.max_per_region
    if limit is None:
        return
    change = one_more_in_a_region(snapshot, policy, limit)
    after = chosen_anew(change.snapshot, policy, now)
    before = None if after is None else chosen_anew(snapshot, policy, now) or _standing(judged)
    if after is None or before is None or before.grams - after.grams <= _A_LITTLE * before.grams:
        return
    yield _price(Loosened(REGION_RULE, change.change, change.by, after), before), change


def _standing(judged: Judged) -> Fleet | None:
    """Return the replicas where they are; ``None`` where some are missing, or what one emits is not known."""
    there = [judged.by_id(r.offer_id) for r in judged.snapshot.occupants().values()]
    offers = tuple(a for a in there if a is not None)
    grams = [a.expected_grams_per_hour for a in offers if a.expected_grams_per_hour is not None]
    if len(grams) < max(len(there), judged.snapshot.wanted):
        return None
    usd = [a.usd_per_hour for a in offers]
    return Fleet(offers, sum(grams), None if None in usd else sum(u for u in usd if u is not None))


def _of_promise(judged: Judged) -> Iterator[tuple[ShadowPrice, None]]:
    """Yield what the promise to clients of several areas costs, where it has any."""
    before = chosen_anew(judged.snapshot, judged.policy, judged.now) if judged.promised.areas else None
    if before is None or before.grams <= 0:
        return
    for way in loosened(judged, before):
        yield _price(way, before), None


def _price(way: Loosened, before: Fleet) -> ShadowPrice:
    new, after = way.newcomer(before), way.fleet
    return ShadowPrice(
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
