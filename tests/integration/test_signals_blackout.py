"""What the controller's view of the grid is while APIs fail, one or all, for minutes or for days."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.bench.signals.service import snapshot_of
from orchestrator.control.grid import GridReader, ZoneView
from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors, Gap
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.time import HOUR, Instant, parse_instant
from orchestrator.planner.plan import plan
from orchestrator.signals.archive import Archive
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.feeds.electricity_maps import ElectricityMaps
from orchestrator.signals.feeds.great_britain import GreatBritain
from orchestrator.signals.http import Fetch
from orchestrator.signals.live import LiveCarbon
from tests.conformance import faults
from tests.conformance.grid import Grid
from tests.conformance.server import Conformance, conformance

START = parse_instant("2031-03-01T00:00Z")
NOW = START + 100 * HOUR + timedelta(minutes=10)
MINUTE = timedelta(minutes=1)
MAX_AGE = timedelta(minutes=90)
DIRECT = Basis(Accounting.AVERAGE, Factors.DIRECT)


@dataclass
class Sight:
    """The controller's reader over two APIs that know Great Britain."""

    server: Conformance
    folder: Path
    reader: GridReader = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start a process: nothing is known but what the memory's file holds."""
        fetch = Fetch(private=True, seconds=30)
        feeds = [
            ElectricityMaps(fetch, "em-secret", self.server.address("electricity-maps")),
            GreatBritain(fetch, self.server.address("national-grid")),
        ]
        sources = [LiveCarbon(feed, Archive(feed.name, self.folder / "signals.db")) for feed in feeds]
        self.reader = GridReader(CompositeCarbon(sources, fresh_for=MAX_AGE))

    async def look(self, now: Instant) -> ZoneView:
        """Look at the zone, as a controller does."""
        self.server.grid.now = now
        return await self.reader.zone("GB", DIRECT, now, 24)


@pytest.fixture
async def sight(tmp_path: Path) -> AsyncIterator[Sight]:
    """Four days of grid, and as many to come."""
    grid = Grid(NOW, running=True)
    grid.put("GB", Factors.DIRECT, START, [150.0 + 5 * (hour % 24) for hour in range(24 * 40)])
    async with conformance(grid) as server:
        yield Sight(server, tmp_path)


async def test_the_second_source_takes_over_when_the_first_goes_stale_and_gives_back(sight: Sight) -> None:
    """While the first is merely late its value counts; when that is old the second's does, until the first is back."""
    before = await sight.look(NOW)
    sight.server.behave, sight.server.only = faults.status(503), "electricity-maps"
    late, stale = await sight.look(NOW + HOUR), await sight.look(NOW + 5 * HOUR)
    sight.server.heal()
    back = await sight.look(NOW + 6 * HOUR)

    said_by = [v.now.source.split()[0] for v in (before, late, stale, back)]
    assert said_by == ["electricity-maps", "electricity-maps", "national-grid", "electricity-maps"]
    assert all(isinstance(v.now, CarbonIntensity) and v.now.grams_per_kwh > 100 for v in (before, late, stale, back))


@pytest.mark.parametrize("length", [timedelta(minutes=1), timedelta(hours=3), timedelta(days=6)], ids=str)
async def test_a_blackout_of_all_leaves_what_was_known_and_its_age(sight: Sight, length: timedelta) -> None:
    """The view stays whole: the last value with its age, yesterday, and tomorrow as yesterday; never zero."""
    await sight.look(NOW)
    sight.server.behave = faults.status(500)
    dark = await sight.look(NOW + length)

    assert isinstance(dark.now, CarbonIntensity)
    assert dark.now.grams_per_kwh > 100
    assert dark.now.is_fresh(NOW + length, MAX_AGE) is (length < timedelta(hours=2))
    assert dark.history.points
    assert dark.forecast.points
    sight.server.heal()
    light = await sight.look(NOW + length + HOUR)
    assert isinstance(light.now, CarbonIntensity)
    assert light.now.is_fresh(NOW + length + HOUR, MAX_AGE)


@pytest.mark.parametrize("length", [MINUTE, timedelta(hours=3), timedelta(days=6), timedelta(days=30)], ids=str)
async def test_a_service_stays_up_through_a_blackout_and_says_why(sight: Sight, length: timedelta) -> None:
    """On its last plan: nothing is started, ended or moved for want of a signal; the stay names what is missing."""
    await sight.look(NOW)
    sight.server.behave = faults.status(500)
    now = NOW + length
    dark = await sight.look(now)
    elsewhere = replace(dark, zone="SE", now=Gap("SE", "no answer", "test"))
    snapshot = snapshot_of(dark, elsewhere, DIRECT, now)
    made = plan(snapshot, snapshot.spec.policy, now, keep_up=True)

    assert made.actions == ()
    assert made.decision.kind is DecisionKind.STAY
    # The hour that was heard last ends fifty minutes after it was heard.
    minutes = (length - timedelta(minutes=50)) / MINUTE
    old = f"stay: sky/gb: intensity {minutes:.0f} min old, over the limit of 90 min"
    assert made.decision.summary == old or length == MINUTE


async def test_a_controller_that_starts_in_the_dark_has_yesterday(sight: Sight) -> None:
    """The memory's file is enough for a view; without it there is a gap that names both sources."""
    await sight.look(NOW)
    sight.server.behave = faults.status(500)
    sight.start()
    with_memory = await sight.look(NOW + HOUR)
    (sight.folder / "signals.db").unlink()
    sight.start()
    without = await sight.look(NOW + HOUR)

    assert isinstance(with_memory.now, CarbonIntensity)
    assert with_memory.history.points
    assert with_memory.forecast.points
    assert isinstance(without.now, Gap)
    assert "electricity-maps" in without.now.reason
    assert "national-grid" in without.now.reason
    assert not without.history.points


async def test_a_day_of_blackout_is_a_hundred_requests_per_source(sight: Sight) -> None:
    """Looks go on; questions back off to one in a quarter of an hour."""
    await sight.look(NOW)
    sight.server.behave = faults.status(500)
    asked = len(sight.server.asked)
    for minute in range(24 * 60):
        await sight.look(NOW + minute * MINUTE)
    per_source = (len(sight.server.asked) - asked) / 2

    assert per_source <= 24 * 4 + 6
    assert per_source >= 24 * 4 - 1
