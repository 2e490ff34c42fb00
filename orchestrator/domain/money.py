"""What may be spent on a service, and what is held of it: spent already, or to be paid if nobody of ours comes back.

Pure arithmetic over records; the store uses it inside the transaction that commits a launch, the planner before it
proposes one. Periods are calendar days and months in UTC, of grid time. See decision 0027.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from math import fsum

from orchestrator.domain.replica import Replica
from orchestrator.domain.time import HOUR, Instant, Window

SMALLEST_USD = 1e-9
"""What sums of floating-point numbers may be off by: a billionth of a dollar is nobody's money."""


@dataclass(frozen=True, slots=True)
class MoneyBudget:
    """The most US dollars per calendar day and month (UTC) of one service; ``None`` is no limit."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return self.usd_per_day is not None or self.usd_per_month is not None


NO_LIMIT = MoneyBudget()


OnceUsd = Callable[[str], float | None]
"""US dollars that a launch costs beside rent, by region id, at most; ``None`` where nobody knows."""


def nothing_once(_region: str) -> float | None:
    """Charge nothing beside rent."""
    return 0.0


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long leases of a service are, and how long the end takes after one, in grid time.

    ``once_usd``: what each launch costs beside its rent, for fetching its weights.
    """

    lease: timedelta
    ending: timedelta
    once_usd: OnceUsd = nothing_once


@dataclass(frozen=True, slots=True)
class SpendingCap:
    """What the store checks before it commits a launch."""

    budget: MoneyBudget
    terms: LeaseTerms


@dataclass(frozen=True, slots=True)
class Charge:
    """A replica's hold on money, from ``start`` until at most ``until`` (``None``: nothing says when it ends).

    ``once_usd``: for fetching its weights, at its start; ``None`` where nobody knows it.
    """

    replica: str
    usd_per_hour: float | None
    start: Instant
    until: Instant | None
    once_usd: float | None = 0.0

    def usd(self, window: Window) -> float | None:
        """Return what falls into the window, US dollars; ``None`` without a price."""
        once = self.once_usd if window.start <= self.start < window.end else 0.0
        start = max(self.start, window.start)
        end = window.end if self.until is None else min(self.until, window.end)
        if end <= start:
            return once
        if self.usd_per_hour is None or once is None:
            return None
        return self.usd_per_hour * ((end - start) / HOUR) + once


def charge_of(replica: Replica, lease_ends_at: Instant | None, terms: LeaseTerms, now: Instant) -> Charge:
    """Return what a replica holds: all that it has cost, and what it costs until it ends by itself.

    Whoever may have served until this moment may have had its lease renewed by that until this moment. What came to
    nothing costs what its record lasted, and has fetched nothing. See decision 0084.
    """
    if replica.cleaned_up:
        until: Instant | None = replica.ended_at or now
    elif lease_ends_at is None:
        until = None
    else:
        last = lease_ends_at if replica.ready_at is None else max(lease_ends_at, now + terms.lease)
        until = last + terms.ending
    once = 0.0 if replica.came_to_nothing else terms.once_usd(replica.region)
    return Charge(replica.name, replica.usd_per_hour, replica.created_at, until, once)


def held_usd(charges: Iterable[Charge], window: Window) -> float | None:
    """Return what is spent and held of a window, US dollars; ``None`` when a part has no known price."""
    parts = [charge.usd(window) for charge in sorted(charges, key=lambda c: c.replica)]
    known = [part for part in parts if part is not None]
    return fsum(known) if len(known) == len(parts) else None


def limits(budget: MoneyBudget, now: Instant) -> tuple[tuple[str, float, Window], ...]:
    """Return each limit: its name in the service file, US dollars, and the present period."""
    day = Window.starting(now.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(days=1))
    first = day.start.replace(day=1)
    month = Window(first, (first + timedelta(days=31)).replace(day=1))
    found = (("usd_per_day", budget.usd_per_day, day), ("usd_per_month", budget.usd_per_month, month))
    return tuple((name, usd, window) for name, usd, window in found if usd is not None)


def earliest(budget: MoneyBudget, now: Instant) -> Instant:
    """Return since when costs count, of the longest period."""
    return min((window.start for _, _, window in limits(budget, now)), default=now)


def refusal(budget: MoneyBudget, charges: Iterable[Charge], new: Charge, now: Instant) -> str:
    """Say why a launch does not fit beside what is held already; empty when it fits.

    ``charges``: of every replica of the service that is there or ended in the period. An unknown price is not zero:
    under a budget nothing of unknown price is bought, and nothing beside something whose price is unknown.
    """
    held_by = [charge for charge in charges if charge.replica != new.replica]
    for name, cap, window in limits(budget, now):
        wanted, held = new.usd(window), held_usd(held_by, window)
        where = f"budget.{name}"
        if new.once_usd is None and new.usd_per_hour is not None:
            return f"{where}: what fetching its weights costs is unknown (model.weights_gb, model.weights_from)"
        if wanted is None:
            return f"{where}: its price is unknown, and what it may cost must fit into {_dollars(cap)}"
        if held is None:
            return f"{where}: what runs has a part of unknown price, so nobody knows what is left of {_dollars(cap)}"
        if held + wanted > cap + SMALLEST_USD:
            return (
                f"{where}: it may cost {_dollars(wanted)} until {window.end:%Y-%m-%d %H:%M} UTC, and "
                f"{_dollars(held)} of {_dollars(cap)} are spent or held for what runs"
            )
    return ""


def _dollars(usd: float) -> str:
    return f"{usd:,.2f} USD"
