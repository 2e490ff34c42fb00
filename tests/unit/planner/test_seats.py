"""Seating whole replicas: the least cost there is, and the prices that prove it."""

from collections import Counter
from collections.abc import Sequence
from itertools import product
from random import Random

import pytest

from orchestrator.domain.certificate import unhurried
from orchestrator.planner.optimum.seats import Choice, Hall, Prices, Seated, bound, seat, spent

Parties = list[list[Choice]]

A, B = Choice(1, "a", "north"), Choice(5, "b", "south")


def world(seed: int) -> tuple[Parties, list[int], Hall, int]:
    """A few parties with a few choices each, few seats, and replicas that crowd one another."""
    draw = Random(seed)
    regions = [f"r{i}" for i in range(draw.randint(1, 4))]
    parties = [
        [
            Choice(draw.randint(-5, 20), f"o{p}{i}", draw.choice(regions), crowds=draw.random() < 0.5)
            for i in range(draw.randint(0, 5))
        ]
        for p in range(draw.randint(1, 3))
    ]
    order = [draw.randrange(len(parties)) for _ in range(draw.randint(1, 4))]
    seats = {r: draw.randint(0, 2) for r in regions if draw.random() < 0.7}
    empty = frozenset(r for r in regions if draw.random() < 0.5)
    return parties, order, Hall(seats, draw.choice([0, 0, 3, 50]), empty), draw.choice([1, 2, 99])


def tried(parties: Parties, order: Sequence[int], hall: Hall, most: int) -> tuple[tuple[bool, ...], int]:
    """Try every seating: those that come first are served first, and then the least cost counts."""
    found = []
    for chosen in product(*[[None, *parties[p]] for p in order]):
        there = [c for c in chosen if c is not None]
        taken = Counter(c.region for c in there)
        if len(there) <= most and all(count <= hall.seats.get(region, 99) for region, count in taken.items()):
            found.append((tuple(c is None for c in chosen), spent([there], hall)))
    empty, cost = min(found)
    return tuple(not e for e in empty), cost


def counts(seated: Seated) -> list[int]:
    """Return how many of each party have a seat."""
    return [len(taken) for taken in seated.taken]


class TestSeating:
    @pytest.mark.parametrize("block", range(5))
    def test_nothing_is_cheaper(self, block: int) -> None:
        """Trying every seating finds the same cost for the same replicas, and the prices prove it to the last digit."""
        for seed in range(100 * block, 100 * block + 100):
            parties, order, hall, most = world(seed)
            seated = seat(parties, order, hall, unhurried, most)
            assert (seated.served, seated.cost) == tried(parties, order, hall, most), seed
            assert seated.prices is not None
            assert bound(parties, counts(seated), hall, seated.prices) == seated.cost, seed

    def test_whoever_came_first_moves_on_for_the_next(self) -> None:
        """The first one took the only seat that the second can have, and has another choice."""
        seated = seat([[A, B], [A]], [0, 1], Hall({"north": 1}), unhurried, 2)
        assert seated.taken == ((B,), (A,))
        assert seated.served == (True, True)

    def test_equals_go_to_the_first_name(self) -> None:
        """Whatever the order in which choices are told."""
        twins = [Choice(1, "b", "south"), Choice(1, "a", "north"), Choice(1, "c", "west")]
        for choices in (twins, twins[::-1]):
            seated = seat([choices], [0, 0], Hall({"north": 1, "south": 1, "west": 1}), unhurried, 2)
            assert [c.offer for c in seated.taken[0]] == ["a", "b"]

    def test_when_the_time_is_up_there_is_no_proof(self) -> None:
        """Those that had their turn keep their seats; nobody claims that it is the best."""
        seconds = iter([1.0, 0.0])
        seated = seat([[A, B]], [0, 0, 0], Hall(), lambda: next(seconds, 0.0), 3)
        assert seated.served == (True, False, False)
        assert seated.prices is None


class TestBound:
    def test_any_prices_that_are_not_negative_prove_something_true(self) -> None:
        """Even wild ones: the bound is never above the cost."""
        for seed in range(300):
            parties, order, hall, most = world(seed)
            seated = seat(parties, order, hall, unhurried, most)
            draw = Random(-seed)
            regions = {c.region for party in parties for c in party}
            prices = Prices(
                {r: draw.randint(0, 30) for r in sorted(regions & set(hall.seats))},
                {r: draw.randint(0, hall.crowding) for r in sorted(regions & hall.free_of)},
            )
            assert bound(parties, counts(seated), hall, prices) <= seated.cost

    def test_a_party_without_a_choice_has_no_bound(self) -> None:
        """There is no seating of it to be bounded."""
        with pytest.raises(ValueError, match="empty"):
            bound([[]], [1], Hall(), Prices({}, {}))
