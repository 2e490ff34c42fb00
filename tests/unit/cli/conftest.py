"""The world of the commands."""

from pathlib import Path

import pytest

from tests.unit.cli.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two regions, nothing deployed, no controller."""
    return World(tmp_path)
