"""The recorded grid, and the reader that all policies share."""

import math
import random

import pytest

from orchestrator.control.grid import GridReader
from orchestrator.domain.carbon import Basis
from orchestrator.domain.time import HOUR
from orchestrator.errors import SignalUnavailable
from orchestrator.sim.grid import SharedGrid, read_grid
from tests.builders import MINUTE
from tests.unit.sim.sample_world import PAST_DAYS, START, ZONES, carbon, period, swinging, wait


def holed(seed: int) -> dict[str, list[float | None]]:
    """Make values with holes in the past."""
    dice = random.Random(seed)
    values: dict[str, list[float | None]] = {}
    for zone, column in swinging((PAST_DAYS + 3) * 24, seed).items():
        past = PAST_DAYS * 24
        values[zone] = [None if h < past and dice.random() < 0.03 else v for h, v in enumerate(column)]
    return values


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hours", [1, 24, 48])
def test_the_shared_reader_says_what_the_controllers_own_says(seed: int, hours: int) -> None:
    """Newest value, forecast and trailing mean are the same at every hour, holes in the past or not."""
    source = carbon(holed(seed), days=3)
    grid = wait(read_grid(source, ZONES, Basis(), period(3)))
    ours, theirs = SharedGrid(source, grid), GridReader(source)
    for hour in (0, 1, 13, 40, 71):
        now = START + hour * HOUR
        for zone in ZONES:
            mine = wait(ours.zone(zone, Basis(), now, hours))
            reference = wait(theirs.zone(zone, Basis(), now, hours))
            assert mine.now == reference.now
            assert [p.grams_per_kwh for p in mine.forecast.points] == pytest.approx(
                [p.grams_per_kwh for p in reference.forecast.points], rel=1e-12
            )
            assert [p.interval for p in mine.forecast.points] == [p.interval for p in reference.forecast.points]
            for moment in (now - HOUR, now, now + 2.5 * HOUR, now + hours * HOUR, now + (hours + 1) * HOUR):
                same, other = mine.forecast.at(moment), reference.forecast.at(moment)
                assert (same and same.interval) == (other and other.interval)
                assert mine.forecast.kind == reference.forecast.kind
                for later in (moment, moment + 7 * MINUTE):
                    assert mine.forecast.phases_after(later) == reference.forecast.phases_after(later)
                told, expected = (s.hourly_grams(moment, hours + 3) for s in (mine.forecast, reference.forecast))
                assert [g is None for g in told] == [g is None for g in expected]
                assert [g or 0.0 for g in told] == pytest.approx([g or 0.0 for g in expected], rel=1e-12)
            assert mine.forecast.mean_grams_per_kwh() == pytest.approx(
                reference.forecast.mean_grams_per_kwh(), rel=1e-12
            )
            assert mine.trailing_mean_grams_per_kwh == pytest.approx(reference.trailing_mean_grams_per_kwh, rel=1e-12)
            assert mine.history.points == reference.history.points


def test_an_hour_missing_inside_the_period_is_refused_by_name() -> None:
    """Neither a zero nor a neighbour takes the place of what nobody recorded."""
    values: dict[str, list[float | None]] = {z: list(c) for z, c in swinging((PAST_DAYS + 3) * 24).items()}
    values["FR"][PAST_DAYS * 24 + 5] = None

    with pytest.raises(SignalUnavailable, match=r"FR: 1 hours .* missing .* 2023-03-01T05:00:00Z"):
        wait(read_grid(carbon(values, days=3), ZONES, Basis(), period(3)))


def test_a_period_beyond_the_recording_is_refused() -> None:
    """A year that was not recorded has no grid to live through."""
    with pytest.raises(SignalUnavailable, match="no value of DE, FR, SE"):
        wait(read_grid(carbon(days=0), ZONES, Basis(), period(3)))


def test_a_period_that_ends_after_the_recording_is_refused() -> None:
    """Half a year is not a year."""
    with pytest.raises(SignalUnavailable, match="24 hours of the period are missing"):
        wait(read_grid(carbon(days=2), ZONES, Basis(), period(3)))


def test_a_zone_without_a_recording_is_left_out() -> None:
    """Its offers cannot be counted, so they are not offered."""
    grid = wait(read_grid(carbon(days=3), (*ZONES, "XX"), Basis(), period(3)))

    assert grid.zones == ZONES
    assert not any(math.isnan(v) for v in grid.grams_per_kwh[grid.past :].ravel())
