"""When to move: the program held against every way through a small world, and what it says in stories."""

from __future__ import annotations

import random
from itertools import product

import pytest

from orchestrator.planner.path import Paths, Place


def place(name: str, running: list[float], coming: float = 0.0, leaving: float = 0.0) -> Place:
    """Make a place, gCO2e."""
    return Place(name, tuple(running), coming, leaving)


def tried(places: list[Place], opens: list[bool], dwell: int, first: int | None) -> float:
    """Return the grams of the best of all ways from the first place on that stay, or go to ``first``, in this hour."""
    hours, best = len(opens), float("inf")
    for way in product(range(len(places)), repeat=hours):
        here, since, grams = 0, -dwell, 0.0
        if way[0] != (first or 0):
            continue
        for hour, n in enumerate(way):
            if n != here:
                if hour and (not opens[hour] or hour - since < dwell):
                    break
                grams += places[here].leaving + places[n].coming
                here, since = n, hour
            grams += places[n].running[hour]
        else:
            best = min(best, grams)
    return best


@pytest.mark.parametrize("seed", range(60))
def test_it_says_what_trying_every_way_says(seed: int) -> None:
    """Three places, five hours, costs of switching that differ by place, shut hours, a dwell: the same gain."""
    chance = random.Random(f"path {seed}")
    hours, dwell = 5, chance.choice([1, 2, 3])
    opens = [chance.random() < 0.7 for _ in range(hours)]
    rows = [[chance.uniform(0.0, 9.0) for _ in range(hours)] for _ in "abc"]
    places = [
        place(*found, chance.uniform(0.0, 4.0), chance.uniform(0.0, 2.0)) for found in zip("abc", rows, strict=True)
    ]
    paths = Paths(places[0], places[1:], opens, dwell)
    for n in (1, 2):
        cost = places[0].leaving + places[n].coming
        expected = tried(places, opens, dwell, None) - tried(places, opens, dwell, n)
        assert paths.timing(places[n], cost).gain == pytest.approx(expected, abs=1e-9)


def test_it_waits_an_hour_for_the_better_move() -> None:
    """One place is a little better now; another is far better from the next hour on."""
    here, near = place("here", [10.0] * 6), place("near", [8.0] * 6, coming=3.0)
    best = place("best", [12.0] + [0.0] * 5, coming=3.0)
    paths = Paths(here, [near, best], [True] * 6, 1)
    found = paths.timing(near, 3.0)
    assert (found.gain < 0, found.later, found.to) == (True, 1, "best")
    assert Paths(here, [near], [True] * 6, 1).timing(near, 3.0).gain == pytest.approx(2.0)


def test_a_place_is_a_way_for_as_long_as_it_is_known() -> None:
    """Two clean hours from the next one on are worth waiting for, whatever comes after them there."""
    here, near = place("here", [10.0] * 6), place("near", [8.0] * 6, coming=3.0)
    short = place("short", [12.0, 0.0, 0.0], coming=3.0)
    found = Paths(here, [near, short], [True] * 6, 1).timing(near, 3.0)
    # Staying for now: 10, then 3 + 0 + 0, then 3 + 8 x 3; going now: 3 + 8, 3 + 0 + 0, 3 + 8 x 3.
    assert (found.gain, found.later, found.to) == (pytest.approx(-1.0), 1, "short")


def test_fewer_hours_are_compared_where_fewer_are_known() -> None:
    """Two hours are known of one end, so two are summed up; nothing is made up for the others."""
    here, short = place("here", [10.0] * 6), place("short", [4.0] * 2, coming=3.0)
    found = Paths(here, [short, place("long", [11.0] * 6)], [True] * 6, 1).timing(short, 3.0)
    assert (found.gain, found.hours) == (pytest.approx(6.0), 2)
