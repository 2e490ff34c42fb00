"""Which offers a policy's rules on prices let anybody take, hour by hour: rivals obey what ours is judged by anew.

Prices alone never evict: these rules are about taking a place, not about keeping it. What a policy's expressions say of
an hour is not here: they speak of forecasts, which no rival has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import Policy
from orchestrator.policy.apply import RULES, WEIGH
from orchestrator.policy.assess import FRESHNESS_RULE, SPOT_MUST_BE_CHEAPER
from orchestrator.policy.expression import expression
from orchestrator.sim.grid import Floats

Mask = NDArray[np.bool_]

PRICE_RULES = frozenset({"offer.price", "policy.price_cap", "policy.max_extra_cost", SPOT_MUST_BE_CHEAPER})
"""What :func:`affordable` says of each hour."""

STEADY = frozenset({"pue", "rtt_ms", "region", "provider", "zone", "market", "shape"})
"""Of what an expression may speak: these are the same in every hour."""

_ROUNDING_USD = 1e-12


def passing_rules(policy: Policy) -> frozenset[str]:
    """Return the rules whose verdict on an offer may be another one in the next hour."""
    return PRICE_RULES | {FRESHNESS_RULE, WEIGH} | {f"{RULES}.{name}" for name in changing(policy)}


def changing(policy: Policy) -> tuple[str, ...]:
    """Return the names of the policy's own rules that speak of something that changes with the hour."""
    return tuple(r.name for r in policy.rules if not STEADY.issuperset(expression(r.only_if).uses))


def affordable(
    offers: Sequence[Offer], compared: Collection[int], policy: Policy, prices: Floats, known: Mask, *, bound: bool
) -> Mask:
    """Return in which hours each offer has a price that the policy's rules allow, (hours, offers).

    ``compared``: what is measured against each other, by index. ``prices``: dollars an hour, ``inf`` where not offered;
    ``known``: where the grid is, without which ours counts no offer as the cheapest. Not ``bound``: without the limit
    above the cheapest, for whom the cheapest may be kept out by more than is known here.
    """
    found = np.isfinite(prices)
    if policy.price_cap_usd_per_hour is not None:
        found &= prices <= policy.price_cap_usd_per_hour
    on_demand = {(o.region.id, o.shape.name): i for i, o in enumerate(offers) if o.market is Market.ON_DEMAND}
    for i, offer in enumerate(offers):
        twin = on_demand.get((offer.region.id, offer.shape.name))
        if offer.market is Market.SPOT and twin is not None:
            found[:, i] &= ~np.isfinite(prices[:, twin]) | (prices[:, i] < prices[:, twin])
    if policy.max_extra_cost_fraction is None or not bound:
        return found
    for market in Market:
        of_it = [i for i, o in enumerate(offers) if o.market is market]
        among = [i for i in of_it if i in compared]
        if not among:
            continue
        cheapest = np.where(found[:, among] & known[:, among], prices[:, among], np.inf).min(axis=1)
        limit = cheapest * (1 + policy.max_extra_cost_fraction) + _ROUNDING_USD
        found[:, of_it] &= prices[:, of_it] <= limit[:, None]
    return found


def is_exact(policy: Policy, *, promises: bool, shortages: bool, shapes: int) -> bool:
    """Whether the cheapest that ours may take is known here; else its limit above the cheapest may be higher.

    With several shapes, or variants, it is not: who carries the load is measured by those that do (ADR 0089).
    """
    return not (promises or shortages or shapes > 1 or changing(policy))
