"""Intensity out of generation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.time import HOUR, parse_instant
from orchestrator.signals import mix

START = parse_instant("2031-03-01T00:00Z")
megawatts = st.dictionaries(st.sampled_from(sorted(mix.GRAMS_PER_KWH)), st.floats(0, 1e5), min_size=1)


@given(megawatts)
def test_a_mix_lies_between_its_cleanest_and_its_dirtiest_part(generation: dict[str, float]) -> None:
    """It is a weighted mean, and nothing when nothing runs."""
    grams = mix.intensity(generation)
    if grams is None:
        assert sum(generation.values()) == 0
    else:
        factors = [mix.GRAMS_PER_KWH[f] for f, mw in generation.items() if mw > 0]
        assert min(factors) <= grams * (1 + 1e-9)
        assert grams <= max(factors) * (1 + 1e-9)


@given(megawatts, st.floats(-1e4, 1e4))
def test_storage_changes_nothing(generation: dict[str, float], stored: float) -> None:
    """Charging and discharging are counted where the power was made."""
    assert mix.intensity(generation | {mix.STORAGE: stored}) == mix.intensity(generation)


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf])
def test_an_unknown_part_makes_the_whole_unknown(unknown: float | None) -> None:
    """Unknown is not zero."""
    assert mix.intensity({"coal": 100.0, "gas": unknown}) is None
    assert mix.intensity({"coal": 100.0, "moonshine": 1.0}) is None


def test_a_station_that_draws_power_counts_as_none() -> None:
    """Solar parks draw a little at night."""
    assert mix.intensity({"coal": 100.0, "solar": -3.0}) == 820.0


def test_small_unknowns_are_let_go_and_large_ones_are_not() -> None:
    """One per cent of the period is the line."""
    hours = {
        START: {"coal": 1000.0, "oil": None},
        START + HOUR: {"coal": 1000.0, "oil": 5.0},
        START + 2 * HOUR: {"oil": 5.0},
    }
    needed = mix.needed(hours)

    assert needed == {"coal"}
    assert mix.intensity(mix.complete(hours[START], needed)) == 820.0
    assert mix.intensity(mix.complete(hours[START + 2 * HOUR], needed)) is None
