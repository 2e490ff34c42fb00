"""The quantile of the benches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bench.quantile import quantile


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0, 1))
def test_it_is_a_measured_value_and_the_smallest_that_will_do(values: list[float], share: float) -> None:
    """At least that share is not above it, and of every smaller value that is not so."""
    found = quantile(values, share)

    assert found in values
    assert sum(v <= found for v in values) >= share * len(values)
    assert all(sum(v <= smaller for v in values) < share * len(values) for smaller in values if smaller < found)


def test_the_order_of_the_values_does_not_matter() -> None:
    """The median of three is the middle one, the last percent of a hundred is the ninety-ninth."""
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(100, 0, -1)], 0.99) == 99.0


def test_nothing_measured_has_no_quantile() -> None:
    """Unknown is not zero."""
    with pytest.raises(ValueError, match="of nothing"):
        quantile([], 0.5)
