"""A hundred replicas in twenty regions for twenty services, on each database: up, at rest, all down at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.bench.scale.measure import PARTS, Size, measure
from orchestrator.store.sql import SqlStore
from tests.postgres import postgres_server  # noqa: F401  # a fixture

FLEET = Size(100, 20, 20)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_a_whole_fleet_taken_down_at_once_leaves_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """Neither a machine nor an open record is left, and the journal is whole. How fast it goes is for the bench."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if database == "postgres":
        url = request.getfixturevalue("postgres_server").new_database()
    told: list[str] = []

    with SqlStore.open(url) as store:
        row = await measure(FLEET, store, database, told.append)

    assert tuple(told) == PARTS
    assert (row.leaked, row.open_records, row.findings) == (0, 0, 0)
    launch, steady, down = row.phases
    assert launch.simulated_s > 0
    assert steady.looks == steady.rounds * FLEET.services
    assert down.looks == down.rounds * FLEET.services
    assert row.links > FLEET.replicas
