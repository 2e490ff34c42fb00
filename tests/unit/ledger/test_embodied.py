"""What is embodied in the hardware: published figures spread over its life, a range and never a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ledger.embodied import embodied_rate, published


def test_an_h100_by_hand() -> None:
    """164 kg of the board and an eighth of a server: of 2,500 kg over six years, of 5,700 kg over three."""
    rate = embodied_rate("1xH100")
    assert rate is not None
    assert rate.low_grams_per_hour == pytest.approx((164 + 2500 / 8) * 1000 / (6 * 8760))
    assert rate.high_grams_per_hour == pytest.approx((164 + 5700 / 8) * 1000 / (3 * 8760))
    assert rate.method == "1 H100 and 1/8 of its server, 3 to 6 years"


def test_a_cpu_machine_by_hand() -> None:
    """By vCPU and by gigabyte; the whole two-socket server of 384 GB is its published total."""
    whole = embodied_rate("96vCPU-384GB")
    assert whole is not None
    assert whole.high_grams_per_hour * 3 * 8760 == pytest.approx((1100 + 533) * 1000)
    assert whole.low_grams_per_hour == pytest.approx(whole.high_grams_per_hour / 2)


@pytest.mark.parametrize("shape", ["1xL4", "8xMI300X", "", "vCPU-GB", "0xH100", "1xH100x", "-1vCPU-4GB", "1e9vCPU-4GB"])
def test_of_whom_nothing_is_published_nothing_is_said(shape: str) -> None:
    """Unknown is not zero, and the nearest name is not the same hardware."""
    assert embodied_rate(shape) is None


@given(st.sampled_from(sorted(published())), st.integers(1, 64))
def test_more_of_the_same_is_so_many_times_as_much(name: str, count: int) -> None:
    """Whatever the case of the name; and the low end is below the high end."""
    one, many = embodied_rate(f"1x{name}"), embodied_rate(f"{count}x{name.upper()}")
    assert one is not None
    assert many is not None
    assert many.low_grams_per_hour == pytest.approx(count * one.low_grams_per_hour)
    assert 0 < many.low_grams_per_hour < many.high_grams_per_hour
