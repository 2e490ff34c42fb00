"""What following the grid keeps to, whatever the grid does."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tests.hypothesis_profiles
from orchestrator.planner.follow.outlook import Habits, outlook
from orchestrator.planner.follow.past import filled_from_before
from orchestrator.planner.follow.rule import Arms, Temper, follow
from orchestrator.planner.follow.trajectory import best_trajectory

HABITS = Habits(horizon_hours=5, beyond_hours=8, scenarios=2)
HOURS, FIRST, MONDAY = 24 * 14, 24 * 12, 0
ARMS = Arms((0, 1, 2), (1.2, 1.1, 1.3))
FEW = settings(max_examples=200 if tests.hypothesis_profiles.PROFILE == "thorough" else 12)
"""Each example is days of decisions."""

GRAMS = st.one_of(st.floats(0, 1200, width=32), st.just(float("nan")))
GRIDS = arrays(np.float64, (HOURS, 3), elements=GRAMS, fill=st.floats(1, 900, width=32))


def placed(values: np.ndarray, switching_grams: float) -> list[int]:
    """Follow a grid with gaps."""
    ahead = outlook(filled_from_before(values), FIRST, MONDAY, HABITS)
    return [int(i) for i in follow(ahead, ARMS, switching_grams, Temper())]


@FEW
@given(GRIDS, st.integers(0, HOURS - FIRST - 1), st.floats(0, 5000), st.integers(0, 2**32 - 1))
def test_a_decision_rests_on_the_hours_before_it_alone(
    values: np.ndarray, after: int, switching_grams: float, seed: int
) -> None:
    """Whatever changes from an hour on, gaps included, the placements up to and at that hour are the same."""
    other = values.copy()
    other[FIRST + after :] = np.random.default_rng(seed).uniform(0, 1500, other[FIRST + after :].shape)
    other[FIRST + after :: 7] = np.nan

    assert placed(values, switching_grams)[: after + 1] == placed(other, switching_grams)[: after + 1]


@FEW
@given(GRIDS)
def test_what_no_gain_can_pay_for_is_not_done(values: np.ndarray) -> None:
    """With a switching cost above all that the hours ahead could ever save, and home known, the replica stays."""
    values[0] = 100.0
    most = 2000.0 * 1.3 * (HABITS.horizon_hours + HABITS.beyond_hours) * 10

    assert set(placed(values, most)) == {0}


@FEW
@given(arrays(np.float64, (5, 3), elements=st.integers(0, 20)), st.integers(0, 15), st.integers(0, 2))
def test_no_sequence_is_cheaper_than_the_best_trajectory(costs: np.ndarray, switching: int, start: int) -> None:
    """Held to every one of the sequences."""

    def total(path: tuple[int, ...]) -> float:
        moves = sum(a != b for a, b in zip((start, *path), path, strict=False))
        return float(costs[np.arange(5), list(path)].sum()) + switching * moves

    best = total(tuple(best_trajectory(costs, float(switching), start).tolist()))
    assert best == min(total(p) for p in product(range(3), repeat=5))
