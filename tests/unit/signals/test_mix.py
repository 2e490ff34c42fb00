"""Intensity out of generation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.time import HOUR, Instant, parse_instant
from orchestrator.signals import mix

START = parse_instant("2031-03-01T00:00Z")
OURS = {fuel: fuel for fuel in (*mix.GRAMS_PER_KWH, mix.STORAGE)}
megawatts = st.dictionaries(st.sampled_from(sorted(mix.GRAMS_PER_KWH)), st.floats(0, 1e5), min_size=1)


@given(megawatts)
def test_a_mix_lies_between_its_cleanest_and_its_dirtiest_part(generation: dict[str, float]) -> None:
    """It is a weighted mean, and nothing when nothing runs."""
    grams = mix.intensity(generation, OURS)
    if grams is None:
        assert sum(generation.values()) == 0
    else:
        factors = [mix.GRAMS_PER_KWH[f] for f, mw in generation.items() if mw > 0]
        assert min(factors) <= grams * (1 + 1e-9)
        assert grams <= max(factors) * (1 + 1e-9)


@given(megawatts, st.floats(-1e4, 1e4))
def test_storage_changes_nothing(generation: dict[str, float], stored: float) -> None:
    """Charging and discharging are counted where the power was made."""
    assert mix.intensity(generation | {mix.STORAGE: stored}, OURS) == mix.intensity(generation, OURS)


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf])
def test_an_unknown_part_makes_the_whole_unknown(unknown: float | None) -> None:
    """Unknown is not zero."""
    assert mix.intensity({"coal": 100.0, "gas": unknown}, OURS) is None


def test_two_codes_of_a_fuel_are_two_things_to_know() -> None:
    """An hour in which one kind of coal has not arrived yet does not burn less of it."""
    fuel_of = {"lignite": "coal", "hard coal": "coal", "wind": "wind", "battery": mix.STORAGE}
    hours: dict[Instant, dict[str, float | None]] = {
        START: {"lignite": 500.0, "hard coal": 500.0, "wind": 100.0, "battery": 900.0},
        START + HOUR: {"lignite": 500.0, "wind": 100.0, "battery": 900.0},
    }
    needed = mix.needed(hours, fuel_of)

    assert needed == {"lignite", "hard coal", "wind"}
    assert mix.intensity(mix.complete(hours[START], needed), fuel_of) is not None
    assert mix.intensity(mix.complete(hours[START + HOUR], needed), fuel_of) is None


def test_a_code_that_is_not_known_counts_as_other() -> None:
    """A new kind of plant neither vanishes nor is clean."""
    assert mix.intensity({"moonshine": 1.0}, OURS) == mix.GRAMS_PER_KWH["other"]


def test_a_station_that_draws_power_counts_as_none() -> None:
    """Solar parks draw a little at night."""
    assert mix.intensity({"coal": 100.0, "solar": -3.0}, OURS) == 820.0


def test_small_unknowns_are_let_go_and_large_ones_are_not() -> None:
    """One per cent of the period is the line."""
    hours = {
        START: {"coal": 1000.0, "oil": None},
        START + HOUR: {"coal": 1000.0, "oil": 5.0},
        START + 2 * HOUR: {"oil": 5.0},
    }
    needed = mix.needed(hours, OURS)

    assert needed == {"coal"}
    assert mix.intensity(mix.complete(hours[START], needed), OURS) == 820.0
    assert mix.intensity(mix.complete(hours[START + 2 * HOUR], needed), OURS) is None
