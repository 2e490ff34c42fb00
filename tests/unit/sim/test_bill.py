"""The ledger of the rivals, recomputed by hand."""

import math
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Basis
from orchestrator.sim.bill import Stay, account_of, moves_in, service_of
from orchestrator.sim.grid import read_grid
from orchestrator.sim.sizes import sizes_of
from orchestrator.sim.workload import constant, diurnal
from tests.unit.sim.sample_world import ZONES, carbon, offers, period, spec, wait

HOUR_SECONDS = 3600


def by_hand(stays: list[Stay], days: int, load_of_hour: list[float], values: dict[str, list[float]]) -> float:
    """Add up grams minute by minute, from nothing but the stays, the curve, the PUE and the recording."""
    sold = offers()
    total = 0.0
    for minute in range(days * 24 * 60):
        now = minute * 60 + 30
        busy = [s for s in stays if s.ready <= now < s.until]
        for stay in stays:
            if not stay.requested <= now < stay.gone:
                continue
            batch = load_of_hour[minute // 60] / len(busy) if stay in busy else 0.0
            offer = sold[stay.offer]
            assert offer.shape.power is not None
            assert offer.region.pue is not None
            power = offer.shape.power
            watts = power.idle_watts + (power.full_watts - power.idle_watts) * (1 - math.exp(-batch / power.knee_batch))
            kwh = watts * offer.region.pue / 1000 / 60
            total += kwh * values[offer.region.zone or ""][minute // 60]
    return total


def test_the_bill_is_what_adding_up_every_minute_gives() -> None:
    """Idle starts, shared load, a drain and a loss: grams to a millionth, dollars to the cent."""
    days, span = 2, period(2)
    source = carbon(days=days)
    grid = wait(read_grid(source, ZONES, Basis(), span))
    load = diurnal(span, 0.5)
    values = {z: [float(v) for v in grid.grams_per_kwh[grid.past :, i]] for i, z in enumerate(grid.zones)}
    stays = [
        Stay(0, 0, -120, 0, 7320, 7380, 1.0),
        Stay(0, 1, 7200, 7320, 90000, 90000, 1.5, lost=True),
        Stay(0, 2, 90300, 90420, 172800, 172800, 0.5),
        Stay(1, 1, 3600, 3720, 172800, 172800, 1.0),
    ]

    account = account_of(stays, offers(), grid, load)

    loads = [load.concurrency(h) for h in range(days * 24)]
    assert account.grams == pytest.approx(by_hand(stays, days, loads, values), rel=1e-9)
    paid = sum((min(s.gone, 172800) - max(s.requested, 0)) / 3600 * (s.usd_per_hour or 0) for s in stays)
    assert account.usd == pytest.approx(paid, rel=1e-12)
    assert sum(account.by_month.values()) == pytest.approx(account.grams)
    assert sum(account.by_region.values()) == pytest.approx(account.replica_hours)


def test_availability_is_the_time_with_enough_ready() -> None:
    """A gap of six minutes in a day is a gap of six minutes; half as many replicas still serve everything."""
    span = period(1)
    stays = [Stay(0, 0, -60, 0, 3600, 3600, 1.0, lost=True), Stay(0, 1, 3600, 3960, 86400, 86400, 1.0)]

    load = constant(span, 1.0)
    one = service_of(stays, span, sizes_of(spec(1), load, ()), load)
    two = service_of([*stays, Stay(1, 0, -60, 0, 86400, 86400, 1.0)], span, sizes_of(spec(2), load, ()), load)

    assert one.available_fraction == pytest.approx(1 - 360 / 86400)
    assert one.served_fraction == pytest.approx(1 - 360 / 86400)
    assert two.available_fraction == pytest.approx(1 - 360 / 86400)
    assert two.served_fraction == 1.0


def test_only_what_nobody_forced_is_a_move() -> None:
    """A replacement of what was lost is none."""
    stays = [
        Stay(0, 0, -60, 0, 10, 10, 1.0, lost=True),
        Stay(0, 1, 10, 70, 500, 560, 1.0),
        Stay(0, 2, 440, 500, 900, 900, 1),
    ]

    assert moves_in(stays) == 1


def test_an_unpriced_or_unrecorded_place_is_not_free() -> None:
    """Unknown is not zero: such hours and kilowatt-hours are counted apart."""
    span = period(1)
    grid = wait(read_grid(carbon(days=1), ("DE",), Basis(), span))

    account = account_of([Stay(0, 2, 0, 60, 86400, 86400, None)], offers(), grid, constant(span, 0.2))

    assert account.grams == 0.0
    assert account.unknown_kwh > 0
    assert account.unpriced_hours == pytest.approx(24)
    assert timedelta(hours=account.replica_hours) == timedelta(days=1)
