"""What every store promises about leases and money: the one in memory, SQLite, and a real PostgreSQL."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta, timezone

import pytest

from orchestrator.control.ports import Journal, Store
from orchestrator.domain.money import LeaseTerms, MoneyBudget, SpendingCap
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import BudgetSpent, LeaseHeld
from tests.postgres import every_store, postgres_server  # noqa: F401  # fixtures
from tests.store_samples import NOW, SERVICE, a_launch, a_spec, an_operation, later

DAY = timedelta(days=1)
TERMS = LeaseTerms(DAY, timedelta(minutes=15))
MONTH_END = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=40)


def cap(usd: float) -> SpendingCap:
    """Make a monthly limit."""
    return SpendingCap(MoneyBudget(usd_per_month=usd), TERMS)


@pytest.fixture
def journal(store: Store) -> Journal:
    store.submit_deploy(a_spec(), an_operation())
    return store.claim("first", NOW)


def test_a_lease_is_kept_with_its_launch_and_renewed(store: Store, journal: Journal) -> None:
    """It is there from the commit on, is renewed, and is forgotten once nothing of the replica is left."""
    journal.start_replica(*a_launch("chat-1"), lease_ends_at=later(60))
    journal.start_replica(*a_launch("chat-2", slot=1))
    assert store.leases() == {"chat-1": later(60)}

    journal.renew_lease("chat-1", later(120))
    journal.renew_lease("chat-2", later(90))
    assert store.leases(SERVICE) == {"chat-1": later(120), "chat-2": later(90)}
    assert store.leases("nobody") == {}

    journal.move_replica("chat-1", ReplicaState.FAILED, later(5))
    journal.update_replica("chat-1", cleaned_up=True, now=later(6))
    assert store.leases() == {"chat-2": later(90)}


def test_what_was_given_up_is_paid_for_until_nothing_of_it_is_left(store: Store, journal: Journal) -> None:
    """A provider that could not end a lost machine for an hour is paid for that hour, and the budget knows."""
    journal.start_replica(*a_launch("chat-1", usd_per_hour=1.0), lease_ends_at=later(60))
    journal.move_replica("chat-1", ReplicaState.PROVISIONING, later(1))
    lost = journal.move_replica("chat-1", ReplicaState.LOST, later(5))
    assert lost.ended_at == later(5)

    assert journal.update_replica("chat-1", cleaned_up=True, now=later(3605)).ended_at == later(3605)
    assert journal.update_replica("chat-1", cleaned_up=True, now=later(9000)).ended_at == later(3605)
    assert [r.name for r in store.replicas(SERVICE, ended=True, ended_since=later(3600))] == ["chat-1"]
    another = a_launch("chat-2", slot=1, usd_per_hour=1.0)
    with pytest.raises(BudgetSpent, match=r"1\.00 USD of 2\.00 USD are spent"):
        journal.start_replica(*another, lease_ends_at=later(3600), cap=cap(2.0))


def test_a_lease_of_nobody_is_a_mistake(journal: Journal) -> None:
    """A caller who renews what was never recorded is told so."""
    with pytest.raises(ValueError, match="nobody"):
        journal.renew_lease("nobody", NOW)


def test_a_superseded_controller_renews_nothing(store: Store, journal: Journal) -> None:
    """What is on record is the newest controller's word."""
    journal.start_replica(*a_launch(), lease_ends_at=later(60))
    store.claim("second", later(1))
    with pytest.raises(LeaseHeld):
        journal.renew_lease("chat-1", later(120))

    assert store.leases() == {"chat-1": later(60)}


def test_what_does_not_fit_is_not_written(store: Store, journal: Journal) -> None:
    """Neither replica, nor intent, nor placement, nor lease; what fits beside what is held is."""
    day = later(24 * 3600)
    journal.start_replica(*a_launch("chat-1", usd_per_hour=1.0), lease_ends_at=day, cap=cap(30.0))
    with pytest.raises(BudgetSpent, match=r"usd_per_month: it may cost 24\.25 USD"):
        journal.start_replica(*a_launch("chat-2", usd_per_hour=1.0, slot=1), lease_ends_at=day, cap=cap(30.0))

    assert [r.name for r in store.replicas()] == ["chat-1"]
    assert [i.replica for i in store.intents()] == ["chat-1"]
    assert [p.replica for p in store.placements(SERVICE)] == ["chat-1"]
    assert store.leases() == {"chat-1": day}

    journal.start_replica(*a_launch("chat-2", usd_per_hour=0.1, slot=1), lease_ends_at=day, cap=cap(30.0))
    assert [r.name for r in store.replicas()] == ["chat-1", "chat-2"]


@pytest.mark.parametrize("limit", [None, cap(30.0), cap(0.01)], ids=["no limit", "fits", "does not fit"])
def test_a_lease_without_a_time_zone_is_a_mistake(store: Store, journal: Journal, limit: SpendingCap | None) -> None:
    """It is refused before money is looked at and before anything is written; so it is of one that is there already."""
    naive = later(3600).replace(tzinfo=None)
    with pytest.raises(ValueError, match="no time zone"):
        journal.start_replica(*a_launch("chat-1"), lease_ends_at=naive, cap=limit)
    assert not store.replicas()
    assert not store.intents()

    journal.start_replica(*a_launch("chat-1"))
    with pytest.raises(ValueError, match="no time zone"):
        journal.start_replica(*a_launch("chat-1"), lease_ends_at=naive, cap=limit)
    assert store.leases() == {}


def test_a_lease_of_another_time_zone_holds_the_same_money(store: Store, journal: Journal) -> None:
    """What a launch may cost does not depend on how its instant is written, and UTC is what is kept."""
    ends_at = later(24 * 3600).astimezone(timezone(timedelta(hours=9)))
    with pytest.raises(BudgetSpent, match=r"it may cost 24\.25 USD"):
        journal.start_replica(*a_launch("chat-1", usd_per_hour=1.0), lease_ends_at=ends_at, cap=cap(24.0))
    journal.start_replica(*a_launch("chat-1", usd_per_hour=1.0), lease_ends_at=ends_at, cap=cap(24.26))

    assert [at.isoformat() for at in store.leases().values()] == [later(24 * 3600).isoformat()]


def test_a_launch_that_is_repeated_is_not_counted_twice(store: Store, journal: Journal) -> None:
    """The same name again changes nothing and is not refused, however little is left."""
    for _ in range(2):
        journal.start_replica(*a_launch(usd_per_hour=1.0), lease_ends_at=later(24 * 3600), cap=cap(25.0))

    assert [r.name for r in store.replicas()] == ["chat-1"]


def test_what_has_ended_holds_what_it_has_cost(store: Store, journal: Journal) -> None:
    """Its rest is free again; money that is spent is not."""
    day = later(24 * 3600)
    journal.start_replica(*a_launch("chat-1", usd_per_hour=1.0), lease_ends_at=day, cap=cap(25.0))
    journal.move_replica("chat-1", ReplicaState.FAILED, later(3600))
    journal.update_replica("chat-1", cleaned_up=True, now=later(3600))
    with pytest.raises(BudgetSpent, match=r"1\.00 USD of 25\.00 USD"):
        journal.start_replica(*a_launch("chat-2", usd_per_hour=1.0), lease_ends_at=day, cap=cap(25.0))
    journal.start_replica(*a_launch("chat-3", usd_per_hour=1.0), lease_ends_at=day, cap=cap(25.26))

    assert [r.name for r in store.replicas()] == ["chat-3"]


def test_two_at_once_do_not_both_spend_the_last_dollar(store: Store, journal: Journal) -> None:
    """Of many writers of the newest turn one gets it; of two controllers the older one gets nothing at all."""
    names = [f"chat-{number}" for number in range(6)]
    begin = threading.Barrier(len(names))

    def start(name: str) -> None:
        begin.wait()
        with suppress(BudgetSpent):
            journal.start_replica(*a_launch(name, usd_per_hour=1.0), lease_ends_at=later(24 * 3600), cap=cap(25.0))

    writers = [threading.Thread(target=start, args=(name,)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(store.replicas()) == 1

    store.claim("second", later(1))
    with pytest.raises(LeaseHeld):
        journal.start_replica(*a_launch("late", usd_per_hour=0.01), lease_ends_at=later(60), cap=cap(1e6))
