"""The dynamic program over places and hours, held to every possible sequence."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from orchestrator.planner.follow.trajectory import best_trajectory, cost_to_go, cost_to_go_backwards


def price(costs: np.ndarray, path: tuple[int, ...], switching: float, start: int) -> float:
    """What a sequence costs, counted by hand."""
    moves = sum(a != b for a, b in zip((start, *path), path, strict=False))
    return float(sum(costs[t, n] for t, n in enumerate(path))) + switching * moves


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("switching", [0.0, 0.7, 3.0])
def test_no_sequence_is_cheaper_than_the_best_trajectory(seed: int, switching: float) -> None:
    """The trajectory costs as much as the cheapest of all sequences."""
    costs = np.random.default_rng(seed).integers(0, 9, size=(6, 3)).astype(float)
    path = tuple(best_trajectory(costs, switching, start=1).tolist())
    cheapest = min(price(costs, p, switching, 1) for p in product(range(3), repeat=6))

    assert price(costs, path, switching, 1) == pytest.approx(cheapest)


@pytest.mark.parametrize("seed", range(10))
def test_the_cost_to_go_is_that_of_the_best_continuation(seed: int) -> None:
    """For each place of the first hour: its cost, the cheapest hours after it, and the cheapest end."""
    rng = np.random.default_rng(seed)
    costs, terminal, switching = rng.random((5, 3)), 4 * rng.random(3), 0.8
    found = cost_to_go(costs[:, :, None], switching, terminal[:, None])[:, 0]
    for place in range(3):
        ways = product((place,), *[range(3)] * 5)
        by_hand = min(price(np.vstack([costs, terminal]), w, switching, place) for w in ways)
        assert found[place] == pytest.approx(by_hand)


def test_many_problems_at_once_are_as_many_problems() -> None:
    """Decisions of different hours do not touch each other, and nothing that was handed over is changed."""
    rng = np.random.default_rng(3)
    costs, terminal = rng.random((4, 3, 7)), rng.random((3, 7))
    kept = costs.copy(), terminal.copy()
    together = cost_to_go(costs, 0.5, terminal)

    for i in range(7):
        alone = cost_to_go(costs[:, :, i : i + 1], 0.5, terminal[:, i : i + 1])
        assert np.array_equal(alone[:, 0], together[:, i])
    assert np.array_equal(costs, kept[0])
    assert np.array_equal(terminal, kept[1])


def test_the_hours_need_not_exist_at_once() -> None:
    """From the last to the first, each written over the one before: the same numbers, and the end is not changed."""
    rng = np.random.default_rng(4)
    costs, terminal = rng.random((5, 3, 2)), rng.random((3, 2))
    kept, memory = terminal.copy(), np.empty((3, 2))

    def hours() -> Iterator[np.ndarray]:
        for hour in reversed(costs):
            memory[:] = hour
            yield memory

    assert np.array_equal(cost_to_go_backwards(hours(), 0.3, terminal), cost_to_go(costs, 0.3, terminal))
    assert np.array_equal(terminal, kept)


def test_a_tie_stays_where_it_is() -> None:
    """A move that gains exactly its cost is not made; of two equal targets the first is taken."""
    assert best_trajectory(np.array([[1.0, 0.0]]), 1.0, start=0).tolist() == [0]
    assert best_trajectory(np.array([[9.0, 0.0, 0.0]]), 1.0, start=0).tolist() == [1]
