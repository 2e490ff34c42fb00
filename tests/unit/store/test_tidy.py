"""Values as they can be kept."""

from __future__ import annotations

from datetime import UTC

import pytest

from orchestrator.store.tidy import LARGEST_WHOLE, tidy, tidy_instant
from tests.store_samples import NOW, a_replica, a_sample


def test_tidy_values_are_left_alone() -> None:
    """Not even copied: nearly every value is tidy already."""
    replica, sample = a_replica(zone="ƒ\U0001f331"), a_sample()

    assert tidy(replica) is replica
    assert tidy(sample) is sample
    assert tidy_instant(NOW) is NOW
    assert NOW.tzinfo is UTC


def test_whole_numbers_fit_into_64_bits() -> None:
    """The largest one does, the next one is refused by name."""
    assert tidy(a_sample(prompt_tokens=LARGEST_WHOLE)).prompt_tokens == LARGEST_WHOLE

    with pytest.raises(ValueError, match="prompt_tokens"):
        tidy(a_sample(prompt_tokens=LARGEST_WHOLE + 1))


def test_infinity_is_a_number_and_nan_is_not() -> None:
    """A limit can be infinite; a result that is no number is a mistake in a calculation."""
    assert tidy(a_sample(watts=float("inf"))).watts == float("inf")

    with pytest.raises(ValueError, match="grams"):
        tidy(a_sample(grams=float("nan")))
