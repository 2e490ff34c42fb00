"""The least grams that any placement could have emitted in the period: exact dynamic programming with hindsight.

A state is which offers hold the wanted replicas, within the limit per region. An hour costs what the replicas emit in
it; a replica that leaves adds what it emits until it is gone, one that arrives starts idle. Both depend on one place
each, so the cheapest change between any two states is found one replica at a time: down to fewer, then up again. What
is sold out or dear does not bind it: a bound.

Where load decides on the number, a state of an hour holds that hour's number; one that leaves for good counts like one
that makes room for another, and in the first minutes after a change the load is shared by as many as before. So
the bill of the path may differ a little from its value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from orchestrator.sim.board import Board, Choose
from orchestrator.sim.grid import Floats

MOST_STATES = 20_000
"""States times offers; above that the limit per region is dropped, and the result is a bound that nobody reaches."""

NOBODY = -1
"""In a slot that an hour's load does not need."""

Indices = NDArray[np.int32]
State = tuple[int, ...]


@dataclass(frozen=True)
class _Lattice:
    """All multisets of up to ``wanted`` of ``count`` things, at most ``limit`` of those of one kind, by size."""

    kinds: tuple[str, ...]
    wanted: int
    limit: int | None

    @cached_property
    def levels(self) -> list[list[State]]:
        """Sorted tuples of indices, by size."""
        levels: list[list[State]] = [[()]]
        for _ in range(self.wanted):
            grown = {
                (*state, i)
                for state in levels[-1]
                for i in range(state[-1] if state else 0, len(self.kinds))
                if self._fits((*state, i))
            }
            levels.append(sorted(grown))
        return levels

    def _fits(self, state: State) -> bool:
        if self.limit is None:
            return True
        return max(Counter(self.kinds[i] for i in state).values()) <= self.limit

    @cached_property
    def larger(self) -> list[Indices]:
        """For each size below the full one: (states, things) -> the state with that thing more, -1 where none."""
        found = []
        for size in range(self.wanted):
            index = {state: i for i, state in enumerate(self.levels[size + 1])}
            table = [
                [index.get(tuple(sorted((*state, i))), -1) for i in range(len(self.kinds))]
                for state in self.levels[size]
            ]
            found.append(np.array(table, dtype=np.int32).reshape(len(table), len(self.kinds)))
        return found

    @cached_property
    def smaller(self) -> list[Indices]:
        """For each size above zero: (states, things) -> the state with that thing less, -1 where it has none."""
        found = []
        for size in range(1, self.wanted + 1):
            index = {state: i for i, state in enumerate(self.levels[size - 1])}
            table = []
            for state in self.levels[size]:
                row = [-1] * len(self.kinds)
                for i in set(state):
                    rest = list(state)
                    rest.remove(i)
                    row[i] = index[tuple(rest)]
                table.append(row)
            found.append(np.array(table, dtype=np.int32).reshape(len(table), len(self.kinds)))
        return found

    @cached_property
    def members(self) -> list[Floats]:
        """For each size: how many of each thing each state holds, (states, things)."""
        found = []
        for states in self.levels:
            held = np.zeros((len(states), len(self.kinds)))
            for row, state in enumerate(states):
                for i in state:
                    held[row, i] += 1
            found.append(held)
        return found


@dataclass(frozen=True)
class Best:
    """The optimum: grams, the offer of each slot in each hour, (hours, slots), and whether it keeps to the limit.

    In the path -1 is a slot that is empty in that hour.
    """

    grams: float
    path: NDArray[np.intp]
    exact: bool


def best(board: Board) -> Best:
    """Return the least grams over the allowed offers, and how."""
    usable = _one_per_place(board)
    bound = board.limit is not None and board.limit < board.wanted
    lattice = _Lattice(tuple(board.offers[i].region.id for i in usable), board.wanted, board.limit)
    if not bound or _size(len(usable), board.wanted) * len(usable) > MOST_STATES:
        return _each_alone(board, usable, lattice.kinds, exact=not bound)
    return _solve(board, usable, lattice, board.sizes.held)


def _each_alone(board: Board, usable: Sequence[int], kinds: tuple[str, ...], *, exact: bool) -> Best:
    """Return the optimum without a limit: replicas do not see each other, and those of the same hours do the same."""
    alone: dict[tuple[int, ...], Best] = {}
    found = []
    for slot in range(board.wanted):
        hours = tuple(int(number > slot) for number in board.sizes.held)
        if hours not in alone:
            alone[hours] = _solve(board, usable, _Lattice(kinds, 1, None), hours)
        found.append(alone[hours])
    return Best(sum(b.grams for b in found), np.concatenate([b.path for b in found], axis=1), exact)


def as_rule(path: NDArray[np.intp]) -> Choose:
    """Follow a path, whatever is free."""
    return lambda hour, slot, _here, _free: int(path[hour, slot])


def filled_in(path: NDArray[np.intp]) -> Callable[[int], AbstractSet[int]]:
    """Return which slots of a path are filled in an hour."""
    return lambda hour: frozenset(int(slot) for slot in np.flatnonzero(path[hour] >= 0))


def _one_per_place(board: Board) -> list[int]:
    """Return one offer for each region and shape, that of the service's market first: grams know no market."""
    own = sorted(board.allowed, key=lambda i: (board.offers[i].market is not board.market, board.offers[i].id))
    found: dict[tuple[str, str], int] = {}
    for i in own:
        found.setdefault((board.offers[i].region.id, board.offers[i].shape.name), i)
    return sorted(found.values())


def _size(things: int, wanted: int) -> int:
    size = 1
    for i in range(wanted):
        size = size * (things + i) // (i + 1)
    return size


def _solve(board: Board, usable: Sequence[int], lattice: _Lattice, numbers: Sequence[int]) -> Best:
    """Run the recursion over states of so many replicas in each hour. Ties go to staying, then to the first by name."""
    columns = np.array(usable)
    down: list[list[Indices]] = []
    up: list[list[Indices]] = []
    value: Floats = np.zeros(0)
    for hour, number in enumerate(numbers):
        batch = board.batch(hour)
        cost = lattice.members[number] @ (board.kwh(batch) * board.intensity[board.past + hour])[columns]
        if hour == 0:
            value = cost
            continue
        fewer, left = _down(value, numbers[hour - 1], board.leaving(hour, batch)[columns], lattice)
        value, arrived = _up(fewer, number, board.arriving(hour, batch)[columns], lattice)
        value = value + cost
        down.append(left)
        up.append(arrived)
    last = int(value.argmin())
    states = _walk_back(last, down, up, lattice)
    path = _slots([tuple(usable[i] for i in state) for state in states], lattice.wanted)
    return Best(float(value[last]), path, exact=True)


def _down(value: Floats, number: int, leaving: Floats, lattice: _Lattice) -> tuple[list[Floats], list[Indices]]:
    """Let replicas leave one by one, of so many; return the values by size and which one left last."""
    by_size: list[Floats] = [value]
    choices: list[Indices] = []
    for size in reversed(range(number)):
        table = lattice.larger[size]
        options = np.where(table >= 0, by_size[0][table] + leaving, np.inf)
        choice = options.argmin(axis=1).astype(np.int32)
        by_size.insert(0, options[np.arange(len(table)), choice])
        choices.insert(0, choice)
    return by_size, choices


def _up(fewer: list[Floats], number: int, arriving: Floats, lattice: _Lattice) -> tuple[Floats, list[Indices]]:
    """Let replicas arrive one by one, up to so many; return the values, and who was last at each size, -1: nobody."""
    value = fewer[0]
    choices: list[Indices] = []
    for size in range(1, number + 1):
        table = lattice.smaller[size - 1]
        options = np.where(table >= 0, value[table] + arriving, np.inf)
        choice = options.argmin(axis=1).astype(np.int32)
        grown = options[np.arange(len(table)), choice]
        if size >= len(fewer):
            value = grown
            choices.append(choice)
            continue
        stayed = fewer[size] <= grown
        value = np.where(stayed, fewer[size], grown)
        choices.append(np.where(stayed, -1, choice).astype(np.int32))
    return value, choices


def _walk_back(last: int, down: list[list[Indices]], up: list[list[Indices]], lattice: _Lattice) -> list[State]:
    """Return the state of each hour. There are as many steps down as were held before, and up as are held now."""
    state, size = last, len(up[-1]) if up else lattice.wanted
    states = [lattice.levels[size][state]]
    for left, arrived in zip(reversed(down), reversed(up), strict=True):
        while size > 0 and arrived[size - 1][state] >= 0:
            state = int(lattice.smaller[size - 1][state, arrived[size - 1][state]])
            size -= 1
        while size < len(left):
            state = int(lattice.larger[size][state, left[size][state]])
            size += 1
        states.append(lattice.levels[size][state])
    return states[::-1]


def _slots(states: Sequence[State], most: int) -> NDArray[np.intp]:
    """Give each replica its slot: who stays keeps it, who arrives takes that of one who left, in the order of names."""
    path = [[*states[0], *[NOBODY] * (most - len(states[0]))]]
    for state in states[1:]:
        coming = Counter(state)
        row: list[int] = []
        for held in path[-1]:
            stays = coming[held] > 0
            coming[held] -= stays
            row.append(held if stays else NOBODY)
        # Those who left first: to take over a place is a move, to fill an empty one is not.
        empty = sorted((i for i, held in enumerate(row) if held == NOBODY), key=lambda i: (path[-1][i] == NOBODY, i))
        for slot, held in zip(empty, sorted(coming.elements()), strict=False):
            row[slot] = held
        path.append(row)
    return np.array(path, dtype=np.intp)
