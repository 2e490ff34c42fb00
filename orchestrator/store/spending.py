"""Money is held in the transaction that commits a launch: whoever comes second sees what the first one holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, not_, or_, select

from orchestrator.domain.money import SpendingCap, charge_of, earliest, refusal
from orchestrator.domain.replica import Replica
from orchestrator.errors import BudgetSpent
from orchestrator.store import mappers, tables


def hold(tx: Connection, new: Replica, lease_ends_at: datetime | None, cap: SpendingCap | None) -> None:
    """Keep when the new replica's lease ends. Raises ``BudgetSpent`` when what it may cost does not fit.

    The epoch's lock keeps every other launch of this deployment out until the transaction has ended.
    """
    if cap is not None:
        table = tables.replicas
        since = earliest(cap.budget, new.created_at)
        mine = select(table).where(table.c.service == new.service)
        counted = mine.where(or_(not_(table.c.cleaned_up), table.c.ended_at >= since))
        others = [mappers.replica_from(row) for row in mappers.fetch(tx, counted)]
        refuse_unaffordable(new, lease_ends_at, others, leases_in(tx, new.service), cap)
    if lease_ends_at is not None:
        tx.execute(tables.leases.insert().values(replica=new.name, ends_at=lease_ends_at))


def leases_in(tx: Connection, service: str | None) -> dict[str, datetime]:
    """Return when the leases of the replicas end that need attention still, by name."""
    leases, replicas = tables.leases, tables.replicas
    query = select(leases.c.replica, leases.c.ends_at).join(replicas, replicas.c.name == leases.c.replica)
    query = query.where(tables.UNFINISHED, not_(replicas.c.cleaned_up))
    if service is not None:
        query = query.where(replicas.c.service == service)
    return {str(name): ends_at for name, ends_at in sorted(tuple(row) for row in tx.execute(query))}


def refuse_unaffordable(
    new: Replica,
    lease_ends_at: datetime | None,
    others: Iterable[Replica],
    leases: Mapping[str, datetime],
    cap: SpendingCap,
) -> None:
    """Raise ``BudgetSpent`` when a launch does not fit beside the others."""
    now = new.created_at
    charges = [charge_of(r, leases.get(r.name), cap.terms, now) for r in others]
    if why := refusal(cap.budget, charges, charge_of(new, lease_ends_at, cap.terms, now), now):
        raise BudgetSpent(f"r{new.slot} of {new.service} is not started in {new.region}: {why}")
