"""Money before it is spent: the worst-case bill, and what of a plan the budget allows.

The worst case is that everything of ours dies at this moment, the gateway included: then nobody serves and nobody
renews, and each replica costs its price until its lease is over and its machine has ended. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import fsum

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.lease import ENDING
from orchestrator.domain.money import Charge, LeaseTerms, SpendingCap, charge_of, refusal
from orchestrator.domain.plan import Action, ActionKind, Plan
from orchestrator.domain.replica import PAID, Replica
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import HOUR, Instant
from orchestrator.ledger.egress import WorstFetch


@dataclass(frozen=True, slots=True)
class BillLine:
    """One replica: its price, when it has ended at the latest, and what it costs from now until then.

    ``usd`` is ``None`` when its price is unknown, or when nothing would end it (``until`` is ``None``: no lease).
    ``replica`` is empty for one that is only planned. ``egress_usd``: the part for fetching its weights, at most.
    """

    slot: int
    replica: str
    region: str
    usd_per_hour: float | None
    until: Instant | None
    usd: float | None
    egress_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """The worst case from ``at`` on. ``usd``: the sum, ``None`` when a part is unknown; ``known_usd``: the rest."""

    at: Instant
    lines: tuple[BillLine, ...]
    usd: float | None
    known_usd: float
    until: Instant | None


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """A limit by its name in the service file, US dollars, and what of it is spent or held (``None``: unknown)."""

    name: str
    usd: float
    held_usd: float | None
    period_ends_at: Instant


@dataclass(frozen=True, slots=True)
class Afforded:
    """A plan without what the budget does not allow, and why each of those is left out."""

    plan: Plan
    refused: tuple[str, ...]


def terms_of(spec: ServiceSpec, rate: float) -> LeaseTerms:
    """Return the leases of a service in grid time, and what its launches cost beside rent.

    ``rate``: grid seconds per physical second.
    """
    return LeaseTerms(spec.lease * rate, ENDING * rate, WorstFetch(spec.model, tuple(v.model for v in spec.variants)))


def cap_of(spec: ServiceSpec, rate: float) -> SpendingCap | None:
    """Return what the store has to check before a launch; ``None`` without a budget."""
    return SpendingCap(spec.budget, terms_of(spec, rate)) if spec.budget.is_set else None


def first_lease_end(spec: ServiceSpec, now: Instant, rate: float) -> Instant:
    """Return when the lease of a replica ends that is asked for now and never heard of again.

    Its lease begins when its machine does, which may take as long as a start may.
    """
    return now + (spec.startup_deadline + spec.lease) * rate


def worst_case(
    spec: ServiceSpec,
    replicas: Sequence[Replica],
    leases: Mapping[str, Instant],
    now: Instant,
    rate: float,
    *,
    planned: Sequence[Action] = (),
    lasting: frozenset[str] = frozenset(),
) -> Bill:
    """Return the bill of what runs and of what is planned beside it. ``leases``: by replica, when each ends.

    ``lasting``: regions in which what is planned would not end by itself. What a plan ends counts until its lease does:
    we may die before we have ended it.
    """
    terms = terms_of(spec, rate)
    lines = [
        _line(r.slot, charge_of(r, leases.get(r.name), terms, now), r.region, now, name=r.name)
        for r in sorted(replicas, key=lambda r: (r.slot, r.name))
        if not r.cleaned_up and (r.state in PAID or r.ended_at is not None)
    ]
    until = first_lease_end(spec, now, rate) + terms.ending
    lines += [
        _line(
            a.slot,
            Charge("", a.usd_per_hour, now, None if a.region in lasting else until, terms.once_usd(a.region)),
            a.region,
            now,
        )
        for a in planned
        if a.kind is not ActionKind.RETIRE
    ]
    known = [line.usd for line in lines if line.usd is not None]
    is_whole = len(known) == len(lines)
    ends = [line.until for line in lines if line.until is not None]
    return Bill(
        at=now,
        lines=tuple(lines),
        usd=fsum(known) if is_whole else None,
        known_usd=fsum(known),
        until=max(ends, default=now) if len(ends) == len(lines) else None,
    )


def within_budget(
    plan: Plan,
    spec: ServiceSpec,
    replicas: Sequence[Replica],
    leases: Mapping[str, Instant],
    now: Instant,
    rate: float,
    *,
    lasting: frozenset[str] = frozenset(),
) -> Afforded:
    """Leave out the launches that do not fit into the budget beside what runs, in the order of the plan.

    ``replicas``: those that are there and those that ended in the present month. A move holds money for both replicas,
    because both run until the old one has ended. What is not bought is no reason to keep what was to be ended.
    """
    cap = cap_of(spec, rate)
    if cap is None:
        return Afforded(plan, ())
    charges = [charge_of(r, leases.get(r.name), cap.terms, now) for r in replicas]
    until = first_lease_end(spec, now, rate) + cap.terms.ending
    kept: list[Action] = []
    refused: list[str] = []
    for number, action in enumerate(plan.actions):
        if action.kind is ActionKind.RETIRE:
            kept.append(action)
            continue
        end = None if action.region in lasting else until
        new = Charge(f"planned/{number:04d}", action.usd_per_hour, now, end, cap.terms.once_usd(action.region))
        if why := refusal(cap.budget, charges, new, now):
            refused.append(f"r{action.slot} is not started in {action.region}: {why}")
            continue
        charges.append(new)
        kept.append(action)
    if not refused:
        return Afforded(plan, ())
    words = "; ".join(refused)
    gone = plan.decision.exchanged
    exchanged = gone if any(a.replica == gone for a in kept) else ""  # what is left out is no move of the day
    kind = DecisionKind.SCALE if gone != exchanged else plan.decision.kind
    kind = kind if kept else DecisionKind.HOLD
    summary = f"{plan.decision.summary} ({words})" if kept else f"hold: {words}"
    decision = replace(plan.decision, kind=kind, summary=summary, exchanged=exchanged)
    return Afforded(replace(plan, actions=tuple(kept), decision=decision), tuple(refused))


def _line(slot: int, charge: Charge, region: str, now: Instant, *, name: str = "") -> BillLine:
    # What runs has fetched its weights already.
    once = 0.0 if name else charge.once_usd
    usd = None
    if charge.until is not None and charge.usd_per_hour is not None and once is not None:
        usd = charge.usd_per_hour * (max(charge.until - now, timedelta(0)) / HOUR) + once
    return BillLine(slot, name, region, charge.usd_per_hour, charge.until, usd, once)
