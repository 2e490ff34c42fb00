"""Whole replicas on offers, exactly, where each takes one seat of its region: a transport problem.

Replicas that are alike are a party; a party has choices, each in a region, and regions have a number of seats. Such a
problem is totally unimodular (Hoffman and Kruskal 1956, Integral boundary points of convex polyhedra), so that its
relaxation has a whole optimum, and neither a solver nor numpy is needed: successive shortest paths find it in any size
(Jewell 1958, Optimal flow through networks). The prices of seats that come with it prove it, by a sum that anybody can
redo.

Costs are integers of any length, so that a cost can hold several quantities one before the other, and nothing is ever
lost by rounding.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import pairwise

from orchestrator.domain.certificate import Budget

_Node = tuple[str, str]
"""A kind and a name: a party by its number, a door of a region (``crowds`` or ``sits``), a region, or the end."""

_END: _Node = ("end", "")


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """An offer that a party may take: what it costs there. ``crowds``: it counts where replicas are to be spread."""

    cost: int
    offer: str
    region: str
    crowds: bool = False


@dataclass(frozen=True, slots=True)
class Hall:
    """Where parties may sit. A region that is not in ``seats`` has as many as anybody wants.

    ``crowding``: what each replica that crowds costs beside another one that does in its region; those in ``free_of``
    hold none yet.
    """

    seats: Mapping[str, int] = field(default_factory=dict)
    crowding: int = 0
    free_of: AbstractSet[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Prices:
    """What a seat of a region, and being the first to crowd it, are worth; none negative."""

    seat: Mapping[str, int]
    first: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Seated:
    """Which offers each party took, cheapest first; ``prices`` are ``None`` where time ran out before all had a turn.

    ``served``: of the replicas in the order given, which ones have a seat. ``cost`` is the sum over those.
    """

    taken: tuple[tuple[Choice, ...], ...]
    served: tuple[bool, ...]
    cost: int
    prices: Prices | None


def seat(parties: Sequence[Sequence[Choice]], order: Sequence[int], hall: Hall, budget: Budget, most: int) -> Seated:
    """Seat one replica of the parties named in ``order`` after another, at most ``most``, at the least cost together.

    Who has a seat keeps one: those that come first have one before those that come later, and as many have one as can.
    Ties go to the choice that comes first by cost and name.
    """
    flow = _Flow(parties, hall)
    served: list[bool] = []
    in_time = True
    for party in order:
        in_time = in_time and budget() > 0
        served.append(in_time and sum(served) < most and flow.augment(party))
    taken = tuple(tuple(sorted(flow.taken(p))) for p in range(len(parties)))
    return Seated(taken, tuple(served), spent(taken, hall), flow.prices() if in_time else None)


def bound(parties: Sequence[Sequence[Choice]], counts: Sequence[int], hall: Hall, prices: Prices) -> int:
    """Return what no seating of that many replicas of each party costs less than, by any prices that are not negative.

    Every replica pays for its seat, and takes its cheapest choice; what the seats are worth is given back (Lagrangean
    relaxation, Geoffrion 1974). Raises ``ValueError`` where a party that is to be seated has no choice.
    """
    total = 0
    for choices, count in zip(parties, counts, strict=True):
        if count:
            total += count * min(c.cost + prices.seat.get(c.region, 0) + _crowding(c, hall, prices) for c in choices)
    total -= sum(hall.seats[region] * price for region, price in prices.seat.items())
    return total - sum(prices.first.values())


def spent(taken: Sequence[Sequence[Choice]], hall: Hall) -> int:
    """Return what a seating costs, crowding included."""
    chosen = [c for party in taken for c in party]
    crowd = Counter(c.region for c in chosen if c.crowds)
    beside = sum(count - (region in hall.free_of) for region, count in crowd.items())
    return sum(c.cost for c in chosen) + hall.crowding * beside


def _crowding(choice: Choice, hall: Hall, prices: Prices) -> int:
    if not choice.crowds:
        return 0
    return min(hall.crowding, prices.first.get(choice.region, 0)) if choice.region in hall.free_of else hall.crowding


class _Flow:
    """Who sits where so far; each further replica comes by a shortest path that may move others on."""

    def __init__(self, parties: Sequence[Sequence[Choice]], hall: Hall) -> None:
        self._hall = hall
        self._doors: list[dict[_Node, Choice]] = []
        for choices in parties:
            doors: dict[_Node, Choice] = {}
            for choice in sorted(choices):
                doors.setdefault(("crowds" if choice.crowds else "sits", choice.region), choice)
            self._doors.append(doors)
        self._sits: list[Counter[_Node]] = [Counter() for _ in parties]
        self._through: Counter[_Node] = Counter()

    def augment(self, party: int) -> bool:
        """Seat one more of the party; say whether there was a way."""
        path = self._shortest(("party", str(party)))
        if path is None:
            return False
        for a, b in pairwise(path):
            if a[0] == "party":
                self._sits[int(a[1])][b] += 1
                self._through[b] += 1
            elif b[0] == "party":
                self._sits[int(b[1])][a] -= 1
                self._through[a] -= 1
        return True

    def taken(self, party: int) -> Iterator[Choice]:
        """Yield what the party has taken, once for each of its replicas."""
        for door, count in self._sits[party].items():
            yield from [self._doors[party][door]] * count

    def prices(self) -> Prices:
        """Read the prices off the shortest ways from each region to a free seat; a region that has one is free."""
        doors = sorted({door for doors in self._doors for door in doors})
        sizes = [abs(choice.cost) for of_party in self._doors for choice in of_party.values()]
        # Beyond what any way through all parties and doors can cost: there is no seat left at any price.
        beyond = 1 + (2 * max(sizes, default=0) + self._hall.crowding) * (len(doors) + len(self._doors))
        least: dict[_Node, int] = {("region", r): 0 if self._has_seat(r) else beyond for _, r in doors}
        nodes = [*doors, *(("party", str(n)) for n in range(len(self._doors))), *sorted(least)]
        changed = True
        while changed:
            changed = False
            for node in nodes:
                way = min((cost + least[to] for to, cost in self._ways(node) if to in least), default=None)
                if way is not None and (node not in least or way < least[node]):
                    least[node], changed = way, True
        seats = {region: max(0, least["region", region]) for region in sorted(self._hall.seats) if self._known(region)}
        first = {
            region: min(self._hall.crowding, max(0, least[kind, region] - seats.get(region, 0)))
            for kind, region in doors
            if kind == "crowds" and region in self._hall.free_of
        }
        return Prices(seats, first)

    def _known(self, region: str) -> bool:
        return any(door[1] == region for doors in self._doors for door in doors)

    def _shortest(self, party: _Node) -> list[_Node] | None:
        """Return the cheapest way for one more of the party (Bellman and Ford: moving others on can earn)."""
        best, came = {party: 0}, dict[_Node, _Node]()
        queue, waiting = deque([party]), {party}
        while queue:
            at = queue.popleft()
            waiting.discard(at)
            for to, cost in self._ways(at):
                way = best[at] + cost
                if to not in best or way < best[to]:
                    best[to], came[to] = way, at
                    if to != _END and to not in waiting:
                        queue.append(to)
                        waiting.add(to)
        if _END not in best:
            return None
        path = [_END]
        while path[-1] != party:
            path.append(came[path[-1]])
        return path[::-1]

    def _ways(self, at: _Node) -> Iterator[tuple[_Node, int]]:
        """Yield where a replica can go from a node, and at what cost: on to a seat, or in the place of another one."""
        kind, name = at
        if kind == "party":
            for door, choice in self._doors[int(name)].items():
                yield door, choice.cost
        elif kind == "region":
            if self._has_seat(name):
                yield _END, 0
            for door in (("crowds", name), ("sits", name)):
                if self._through[door]:
                    yield door, -self._last(door)
        else:
            yield ("region", name), self._next(at)
            for number, sits in enumerate(self._sits):
                if sits[at]:
                    yield ("party", str(number)), -self._doors[number][at].cost

    def _has_seat(self, region: str) -> bool:
        taken = self._through["crowds", region] + self._through["sits", region]
        return region not in self._hall.seats or taken < self._hall.seats[region]

    def _next(self, door: _Node) -> int:
        """What one more through a door costs beside its choice."""
        is_first = not self._through[door] and door[1] in self._hall.free_of
        return self._hall.crowding if door[0] == "crowds" and not is_first else 0

    def _last(self, door: _Node) -> int:
        """What the last one through a door cost beside its choice."""
        is_only = self._through[door] == 1 and door[1] in self._hall.free_of
        return self._hall.crowding if door[0] == "crowds" and not is_only else 0
