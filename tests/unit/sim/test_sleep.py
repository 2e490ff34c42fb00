"""The twin sleeps and shares: zero replicas in hours without a request, and traffic that follows the grid."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.routing import RoutingTable, ServiceRoutes
from orchestrator.domain.service import GatewayRules, PlacementRules, Scaling, ServiceSpec
from orchestrator.errors import UsageError
from orchestrator.sim.cloud import SimulatedCloud
from orchestrator.sim.runs import HOME_ASLEEP, Row
from orchestrator.sim.simulate import simulate
from orchestrator.sim.stock import Stock
from orchestrator.sim.traffic import SimulatedGateway
from orchestrator.sim.workload import Workload, working_hours
from tests.unit.sim.sample_world import START, carbon, period, request, rows, spec, wait

SPAN = period(2)
NIGHTS = [0.0] * 8 + [0.5] * 8 + [0.0] * 8
DELAY = timedelta(minutes=5)


def load_of(rates: list[float]) -> Workload:
    """Make a load that repeats these hours."""
    return Workload("nights", tuple(rates[h % len(rates)] for h in range(round(SPAN.hours))), 8.0, 500.0, 200.0)


def sleepy(**changes: object) -> ServiceSpec:
    """Make a service that may have no replica at all."""
    scaling = Scaling(0, 2, 2.0, downscale_delay=DELAY)
    return spec(1, scaling=scaling, gateway=GatewayRules(max_held=1000), **changes)


def lived(wanted: ServiceSpec, rates: list[float], *, oracle: bool = False) -> dict[str, Row]:
    """Simulate two days of it."""
    asked = request(spec=wanted, period=SPAN, load=load_of(rates), carbon=carbon(days=2), with_oracle=oracle)
    return rows(replace(asked, policies={"ours": wanted.policy}))


def test_nobody_stands_idle_by_night_and_the_first_request_waits_for_a_start() -> None:
    """Two days of eight hours with requests: sixteen hours of a replica and its delays, and everybody is answered."""
    found = lived(sleepy(), NIGHTS, oracle=True)
    ours, home, asleep, least = (found[name] for name in ("ours", "home", HOME_ASLEEP, "oracle"))

    assert home.replica_hours == pytest.approx(48)
    assert home.held_fraction == 0
    for row in (ours, asleep):
        assert 16 < row.replica_hours < 18, row.policy
        assert row.served_fraction == pytest.approx(1.0)
        assert 0 < row.held_fraction < 0.02
        assert 120 <= row.longest_hold_seconds < 135
    assert ours.moves == 0
    assert ours.grams < home.grams / 2
    assert least.grams <= min(r.grams for r in found.values())


def test_who_would_wait_too_long_is_refused_and_counted() -> None:
    """A start takes two minutes, the gateway holds for half a minute: the first minute and a half finds nobody."""
    wanted = sleepy()
    found = lived(replace(wanted, gateway=replace(wanted.gateway, hold=timedelta(seconds=30))), NIGHTS)

    day = 8 * 3600
    assert found[HOME_ASLEEP].served_fraction == pytest.approx(1 - 90 / day, abs=1e-6)
    assert 1 - 110 / day < found["ours"].served_fraction <= 1 - 90 / day
    assert found["home"].served_fraction == 1.0


def test_a_load_without_a_quiet_hour_lets_nobody_sleep() -> None:
    """However little there is to do: within an hour requests flow evenly, and a note says what that means."""
    found = lived(sleepy(), [0.001])
    notes: list[str] = []

    async def collect() -> None:
        asked = request(spec=sleepy(), period=SPAN, load=load_of([0.001]), carbon=carbon(days=2))
        _ = [row async for row in simulate(asked, lambda _name, _fraction: None, notes.append)]

    wait(collect())
    assert found["ours"].replica_hours == pytest.approx(48, rel=1e-3)
    assert any("0 of 48 hours have no request" in words for words in notes)


def test_the_gateway_holds_as_many_and_as_long_as_its_table_says() -> None:
    """Ten may wait, for twenty seconds: the eleventh is refused at once, and those who waited longer are given up."""
    seconds = 0.0
    cloud = SimulatedCloud(lambda: START, lambda: seconds, frozenset({"sky"}), Stock(SPAN), timedelta(seconds=1))
    gateway = SimulatedGateway(load_of([1.0]), cloud, 256)
    asleep = ServiceRoutes("chat", "chat", (), hold_seconds=20.0, max_held=10)
    wait(gateway.publish(RoutingTable(1, START, (asleep,))))

    gateway.pass_time(0.0, 15.0, 0)
    assert (gateway.refused, wait(gateway.status()).services[0].in_flight) == (5.0, 10)

    gateway.pass_time(15.0, 10.0, 0)  # those of the first five seconds are given up in the end
    assert wait(gateway.status()).services[0].in_flight == 5
    assert gateway.refused == pytest.approx(5 + 10 + 5)
    assert gateway.held == 0


def test_traffic_that_follows_the_grid_emits_less_from_the_same_replicas() -> None:
    """One replica on each of two grids: the same hours and dollars, and fewer grams where shares may differ."""
    values = {"DE": [500.0] * 60 * 24, "FR": [60.0] * 60 * 24, "SE": [900.0] * 60 * 24}
    wanted = spec(2, placement=PlacementRules(home="sky/de", max_per_region=1, deny=("sky/se",)))
    load = Workload("much", (8.0,) * round(SPAN.hours), 8.0, 500.0, 200.0)
    asked = request(spec=wanted, period=SPAN, load=load, carbon=carbon(values), with_oracle=True)
    asked = replace(asked, policies={"ours": wanted.policy})
    even, shared = rows(asked), rows(replace(asked, evenly=False))

    assert shared["ours"].replica_hours == pytest.approx(even["ours"].replica_hours)
    assert shared["ours"].usd == pytest.approx(even["ours"].usd)
    assert shared["ours"].served_fraction == 1.0
    assert shared["ours"].grams < 0.95 * even["ours"].grams
    assert shared["B3"] == even["B3"]
    assert "traffic shared evenly" in shared["oracle"].about


def test_working_hours_have_their_mean_and_their_nights() -> None:
    """Fourteen hours of five days; a weekend alone is refused by name."""
    week = working_hours(period(7), 0.5)

    assert sum(rate > 0 for rate in week.requests_per_second) == 5 * 14
    assert math.isclose(sum(week.requests_per_second) / 168, 0.5)
    saturday = START + timedelta(days=3)
    with pytest.raises(UsageError, match="working-hours"):
        working_hours(replace(SPAN, start=saturday, end=saturday + timedelta(days=1)), 0.5)
