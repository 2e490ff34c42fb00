"""How many requests a source may still be asked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.time import parse_instant
from orchestrator.errors import SignalThrottled
from orchestrator.signals.budget import Budget, Rest, Spent

NOW = parse_instant("2031-03-01T18:00Z")


def test_a_spent_budget_says_when_it_is_full_again(tmp_path: Path) -> None:
    """At midnight of UTC, for whoever counts in the same file."""
    file = tmp_path / "signals.db"
    budget = Budget("maps", 3, file)
    budget.add(2, NOW)
    budget.check(NOW)
    budget.add(1, NOW)

    assert Budget("maps", 3, file).spent(NOW) == Spent(3, 3)
    with pytest.raises(SignalThrottled, match="all 3 requests of 2031-03-01 are spent") as caught:
        Budget("maps", 3, file).check(NOW)
    assert caught.value.retry_after_seconds == 6 * 3600
    Budget("maps", 3, file).check(NOW + timedelta(hours=6))


def test_sources_are_counted_apart_and_without_a_limit(tmp_path: Path) -> None:
    """What one source is asked takes nothing from another."""
    file = tmp_path / "signals.db"
    Budget("maps", 1, file).add(5, NOW)

    other = Budget("watttime", None, file)
    other.check(NOW)
    assert other.spent(NOW) == Spent(0, None)
    assert Budget("maps", None, file).spent(NOW) == Spent(5, None)


def test_a_count_that_cannot_be_kept_still_counts_here(tmp_path: Path) -> None:
    """The file is damaged: it is said, and this process holds to its limit."""
    file = tmp_path / "signals.db"
    file.write_bytes(b"this is no database, whatever its name says" * 50)
    budget = Budget("maps", 1, file)
    budget.add(1, NOW)

    assert "signals.db" in budget.problem
    with pytest.raises(SignalThrottled):
        budget.check(NOW)


def test_old_days_are_forgotten(tmp_path: Path) -> None:
    """Two months of counts are kept."""
    file = tmp_path / "signals.db"
    budget = Budget("maps", None, file)
    budget.add(7, NOW - timedelta(days=100))
    budget.add(1, NOW)

    assert Budget("maps", None, file).spent(NOW - timedelta(days=100)).requests == 0


def test_a_rest_that_began_meanwhile_is_not_forgotten(tmp_path: Path) -> None:
    """An answer that was on its way says nothing of what another process was told after it."""
    file = tmp_path / "signals.db"
    rest = Rest(NOW, NOW + timedelta(hours=1), 2, "busy")
    Budget("maps", None, file).let_rest(rest)
    Budget("maps", None, file).rested(NOW)

    assert Budget("maps", None, file).rest() == rest
    assert Budget("watttime", None, file).rest() is None
    Budget("maps", None, file).rested(NOW + timedelta(hours=1))
    assert Budget("maps", None, file).rest() is None
