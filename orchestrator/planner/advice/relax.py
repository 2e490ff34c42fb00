"""One rule given up, just far enough for one offer. Pure.

What a limit costs is only worth saying if giving it up really lets the offer in, so every relaxation is a changed
snapshot or policy that is judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil

from orchestrator.domain.decision import Assessment, Verdict
from orchestrator.domain.matching import denied_by
from orchestrator.domain.service import PlacementRules, Policy
from orchestrator.planner.promise import TTFT_RULE
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.apply import RULES
from orchestrator.policy.assess import FLOOR_RULE

REGION_RULE = "placement.max_per_region"
"""A limit of all replicas together, which keeps no offer out: others stand where there would be room."""

_ROUNDING = 1e-14
"""What a share worked out by division may be off by. The bound that it is for allows for more."""


@dataclass(frozen=True, slots=True)
class Relaxed:
    """``change``: what a person would write, or do. ``by``: how far the limit moves, with unit, where it has one."""

    snapshot: Snapshot
    policy: Policy
    change: str
    by: str = ""


Relax = Callable[[Snapshot, Policy, Assessment, Verdict], Relaxed | None]


def relaxed(snapshot: Snapshot, policy: Policy, offer: Assessment, verdict: Verdict) -> Relaxed | None:
    """Give up the rule that keeps the offer out; ``None`` where it is no limit that somebody chose.

    What is unknown (a zone, a price, a PUE), or not sold, is no limit: nothing is gained by wishing.
    """
    if verdict.rule.startswith(f"{RULES}."):
        return _own_rule(snapshot, policy, verdict)
    how = _RELAX.get(verdict.rule)
    return None if how is None else how(snapshot, policy, offer, verdict)


def at_most_in_a_region(snapshot: Snapshot, most: int) -> Snapshot:
    """Return the world in which so many may be in one region."""
    return _placing(snapshot, replace(snapshot.spec.placement, max_per_region=most))


def one_more_in_a_region(snapshot: Snapshot, policy: Policy, limit: int) -> Relaxed:
    """Let one more than so many be in each region."""
    wider = at_most_in_a_region(snapshot, limit + 1)
    return Relaxed(wider, policy, f"raise {REGION_RULE} to {limit + 1}", "+1 replica")


def _placing(snapshot: Snapshot, rules: PlacementRules) -> Snapshot:
    return replace(snapshot, spec=replace(snapshot.spec, placement=rules))


def _allow(snapshot: Snapshot, policy: Policy, offer: Assessment, _: Verdict) -> Relaxed:
    rules = snapshot.spec.placement
    wider = replace(rules, allow=(*rules.allow, offer.region))
    return Relaxed(_placing(snapshot, wider), policy, f"add {offer.region} to placement.allow")


def _deny(snapshot: Snapshot, policy: Policy, offer: Assessment, _: Verdict) -> Relaxed:
    rules = snapshot.spec.placement
    kept = tuple(p for p in rules.deny if denied_by(offer.region, (p,)) is None)
    gone = ", ".join(p for p in rules.deny if p not in kept)
    return Relaxed(_placing(snapshot, replace(rules, deny=kept)), policy, f"take {gone} out of placement.deny")


def _residency(snapshot: Snapshot, policy: Policy, offer: Assessment, _: Verdict) -> Relaxed | None:
    rules = snapshot.spec.placement
    region = next((c.offer.region for c in snapshot.candidates if c.offer.id == offer.offer_id), None)
    if region is None or not region.residency:
        return None
    one = min(region.residency, key=lambda code: (len(code), code))
    wider = replace(rules, residency=(*rules.residency, one))
    return Relaxed(_placing(snapshot, wider), policy, f"add {one} to placement.residency")


def _spot(snapshot: Snapshot, policy: Policy, offer: Assessment, _: Verdict) -> Relaxed:
    spec = snapshot.spec
    changed = replace(spec, resources=replace(spec.resources, use_spot=not spec.resources.use_spot))
    word = "true" if changed.resources.use_spot else "false"
    del offer
    return Relaxed(replace(snapshot, spec=changed), policy, f"set resources.use_spot: {word}")


def _extra_cost(snapshot: Snapshot, policy: Policy, _: Assessment, verdict: Verdict) -> Relaxed | None:
    now = policy.max_extra_cost_fraction
    if now is None or verdict.value is None or not verdict.limit:
        return None
    needed = _up(verdict.value / verdict.limit * (1 + now) - 1 - _ROUNDING, digits=3)
    wider = replace(policy, max_extra_cost_fraction=needed)
    points = (needed - now) * 100
    return Relaxed(snapshot, wider, f"raise policy.max_extra_cost to {needed:.1%}", f"+{points:.1f} points")


def _price_cap(snapshot: Snapshot, policy: Policy, _: Assessment, verdict: Verdict) -> Relaxed | None:
    if verdict.value is None or verdict.limit is None:
        return None
    needed = _up(verdict.value, digits=4)
    wider = replace(policy, price_cap_usd_per_hour=needed)
    return Relaxed(snapshot, wider, f"raise policy.price_cap to ${needed:.4f}/h", f"+${needed - verdict.limit:.4f}/h")


def _floor(snapshot: Snapshot, policy: Policy, _: Assessment, verdict: Verdict) -> Relaxed | None:
    if verdict.value is None or verdict.limit is None:
        return None
    spec = snapshot.spec
    needed = -_up(-verdict.value, digits=6)
    lower = replace(snapshot, spec=replace(spec, quality=replace(spec.quality, floor=needed)))
    less = 100 * (verdict.limit - needed)
    return Relaxed(lower, policy, f"lower model.quality.floor to {needed:g}", f"-{less:.3g} points")


def _ttft(snapshot: Snapshot, policy: Policy, _: Assessment, verdict: Verdict) -> Relaxed | None:
    if verdict.value is None or verdict.limit is None:
        return None
    needed = ceil(verdict.value)
    later = replace(snapshot, spec=replace(snapshot.spec, ttft_p95=timedelta(milliseconds=needed)))
    return Relaxed(later, policy, f"raise {TTFT_RULE} to {needed} ms", f"+{needed - verdict.limit:.0f} ms")


def _capacity(snapshot: Snapshot, policy: Policy, offer: Assessment, _: Verdict) -> Relaxed:
    freed = tuple(
        replace(c, avoid_until=None, avoid_reason="") if c.offer.id == offer.offer_id else c
        for c in snapshot.candidates
    )
    return Relaxed(
        replace(snapshot, candidates=freed), policy, f"get room for one more in {offer.region}", "+1 replica"
    )


def _up(value: float, *, digits: int) -> float:
    """Return the least number of so many digits after the point that is not below the value.

    What is told is what is written, and what is written has to be enough: to the nearest would refuse again.
    """
    near = round(value, digits)
    return near if near >= value else round(near + 10.0**-digits, digits)


def _own_rule(snapshot: Snapshot, policy: Policy, verdict: Verdict) -> Relaxed:
    name = verdict.rule.removeprefix(f"{RULES}.")
    left = tuple(rule for rule in policy.rules if rule.name != name)
    because = next((f', "{rule.because}"' for rule in policy.rules if rule.name == name and rule.because), "")
    return Relaxed(snapshot, replace(policy, rules=left), f"drop the policy's rule {name}{because}")


_RELAX: Mapping[str, Relax] = {
    "placement.allow": _allow,
    "placement.deny": _deny,
    "placement.residency": _residency,
    "resources.use_spot": _spot,
    "policy.max_extra_cost": _extra_cost,
    "policy.price_cap": _price_cap,
    "capacity": _capacity,
    FLOOR_RULE: _floor,
    TTFT_RULE: _ttft,
}
