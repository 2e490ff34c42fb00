"""Whether what is near to clients is enough for them: their part of the load against what is near to them. Pure.

An area has somebody near to it (``cover.py``), who may still be too small for its clients while others, too far from
them, idle. The parts of the load that come from each area have to fit into the places near to it: a transport problem
(Hitchcock 1941), solvable exactly where any set of areas has no more clients than the places near to one of them carry
together (Hall 1935, with capacities). What a place carries for whom is the ceiling that the rows of traffic go by
(``origins.py``): queues short, the rest left without one replica that falls, ``slo.ttft_p95`` behind the round trip. A
place that serves far clients as well is held to theirs, so every such ceiling of each place is tried. Places take whole
parts of the same lattice, so that what is enough here is what rows can be made of. See decision 0047.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import ceil, floor, prod

from orchestrator.domain.scale import LoadSeen
from orchestrator.planner.promise import Promised
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.split import Place, in_parts, lattice, most_part

MOST_LEVELS = 256
"""So many ways to hold places to nearer or farther clients are tried; beyond that each is held to its farthest."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Lack:
    """Clients for whom too little is near. ``wanted``: their part of the load (0..1); ``carried``: what is near takes.

    ``areas``: the fewest of which all the lack is, by name.
    """

    areas: tuple[str, ...]
    wanted: float
    carried: float

    @property
    def missing(self) -> float:
        """The part of the whole load (0..1) that nobody near takes."""
        return self.wanted - self.carried

    @property
    def words(self) -> str:
        """One clause for a person."""
        # Rounded away from each other, so that the one is never said to be as much as the other.
        wanted, carried = ceil(100 * self.wanted - _ROUNDING), floor(100 * self.carried + _ROUNDING)
        whose, them = ", ".join(self.areas), "them" if len(self.areas) == 1 else "any of them"
        return f"clients in {whose} make {wanted} % of the load, and what is near to {them} takes {carried} % of it"


@dataclass(frozen=True, slots=True)
class Leaves:
    """What a move takes from clients: ``areas`` that nobody is near to any more, and a ``lack`` that grows by it."""

    areas: frozenset[str] = frozenset()
    lack: Lack | None = None

    def __bool__(self) -> bool:
        """Whether it takes anything from anybody."""
        return bool(self.areas) or self.lack is not None


def missing(lack: Lack | None) -> float:
    """Return the part of the load (0..1) that nobody near takes; 0 where nothing lacks, or nobody can tell."""
    return 0.0 if lack is None else lack.missing


@dataclass(frozen=True, slots=True)
class _Site:
    """One replica on an offer, and the milliseconds to those that it is near to; 0 where the way is not known."""

    capacity: Capacity
    near_ms: Mapping[str, float]

    def ceilings(self, replicas: int, whole: int, load: LoadSeen) -> dict[str, int]:
        """Return up to how many parts so many of them may take, by the area that any of them come from."""
        if not self.near_ms:
            return {}
        alone = self.unpromised(replicas, load)
        # A longer way never leaves more, so who is held back by nothing at the longest is held back by nothing.
        if _most(self.capacity, replicas, max(self.near_ms.values()), load) >= alone:
            return dict.fromkeys(self.near_ms, in_parts(alone, whole))
        return {a: in_parts(_most(self.capacity, replicas, ms, load), whole) for a, ms in self.near_ms.items()}

    def unpromised(self, replicas: int, load: LoadSeen) -> float:
        """Return which part of the load so many of them take when nothing is promised."""
        return _most(replace(self.capacity, ttft_p95_seconds=None), replicas, 0.0, load)


@dataclass(frozen=True, slots=True)
class Nearby:
    """What replicas on each offer carry for clients of each area at a load. ``weights``: the part of all in each."""

    load: LoadSeen
    weights: Mapping[str, float]
    sites: Mapping[str, _Site]

    def lack(self, offer_ids: Iterable[str]) -> Lack | None:
        """Return for whom too little is near, with replicas on these offers (one may be named often).

        ``None`` where there is enough, and where one of them is not known: unknown is neither enough nor too little.
        An area that nobody is near to may be served anywhere: that it is, ``cover.py`` says.
        """
        counts = Counter(offer_ids)
        if not counts or any(i not in self.sites for i in counts):
            return None
        ids = sorted(counts)
        places = [Place(i, counts[i], None, None, None, self.sites[i].capacity) for i in ids]
        whole, _ = lattice(places)
        areas = sorted(self.weights)
        total = sum(self.weights[a] for a in areas)
        wants = [self.weights[a] / total * whole for a in areas]
        known = [self.sites[i].ceilings(counts[i], whole, self.load) for i in ids]
        anywhere = [a for a in areas if not any(a in self.sites[i].near_ms for i in ids)]
        if anywhere:
            alone = [in_parts(self.sites[i].unpromised(counts[i], self.load), whole) for i in ids]
            known = [dict.fromkeys(anywhere, most) | own for most, own in zip(alone, known, strict=True)]
        return _least_lack(areas, wants, known, whole)

    def ceilings(self, offer_id: str, replicas: int, parts: int = 10_000) -> dict[str, int]:
        """Return up to how many parts so many replicas on an offer take, by area, to compare offers by."""
        site = self.sites.get(offer_id)
        return {} if site is None else site.ceilings(replicas, parts, self.load)

    def busier(self, fraction: float) -> Nearby:
        """Return it at a load that is larger by a fraction."""
        rate, in_flight = self.load.requests_per_second * (1 + fraction), self.load.mean_in_flight * (1 + fraction)
        return replace(self, load=replace(self.load, requests_per_second=rate, mean_in_flight=in_flight))


def nearby(snapshot: Snapshot, kept: Promised) -> Nearby | None:
    """Return what offers carry for whom; ``None`` where anybody may be sent anywhere, or too little is known.

    That is so without a load and the lengths of requests, and where somebody says what a replica carries, or what a
    shape on offer carries is not known: it would seem to be enough for anybody.
    """
    load, spec = snapshot.load, snapshot.spec
    if not kept.areas or load is None or load.prompt_tokens is None or not load.output_tokens:
        return None
    if load.requests_per_second <= 0 or spec.scaling.target_qps_per_replica is not None or spec.batch is not None:
        return None
    offers = {c.offer.id: c.offer for c in reversed(snapshot.candidates)}
    kinds = {(o.shape, o.variant): capacity_on(spec, [o.shape], variants=[o.variant]) for o in offers.values()}
    if not all(capacity.models for capacity in kinds.values()):
        return None
    sites: dict[str, _Site] = {}
    for offer_id, offer in offers.items():
        capacity, trips = kinds[offer.shape, offer.variant], kept.rtt_ms.get(offer_id, {})
        sites[offer_id] = _Site(capacity, {a: trips.get(a, 0.0) for a in sorted(kept.near.get(offer_id, ()))})
    return Nearby(load, kept.areas, sites)


@lru_cache(maxsize=8192)
def _most(capacity: Capacity, replicas: int, rtt_ms: float, load: LoadSeen) -> float:
    """Remember it: Erlang's recursion is long, and plans ask for the same places again and again."""
    return min(1.0, most_part(Place("", replicas, None, None, None, capacity, rtt_ms), load, 1.0))


def _least_lack(
    areas: Sequence[str], wants: Sequence[float], ceilings: Sequence[Mapping[str, int]], whole: int
) -> Lack | None:
    """Hold each place to nearer or farther clients, and return the least lack of all ways to do that."""
    levels = [sorted({most for most in own.values() if most > 0}, reverse=True) or [0] for own in ceilings]
    if prod(map(len, levels)) > MOST_LEVELS:
        levels = [own[-1:] for own in levels]
    best: Lack | None = None
    for held_to in product(*levels):
        opened = [
            [p for p, (own, most) in enumerate(zip(ceilings, held_to, strict=True)) if most and own.get(a, 0) >= most]
            for a in areas
        ]
        short = _short(wants, held_to, opened)
        if not short:
            return None
        carried = sum(held_to[p] for p in {p for a in short for p in opened[a]})
        found = Lack(tuple(areas[a] for a in short), sum(wants[a] for a in short) / whole, carried / whole)
        if best is None or found.missing < best.missing:
            best = found
    return best


def _short(wants: Sequence[float], room: Sequence[int], opened: Sequence[Sequence[int]]) -> list[int]:
    """Return the fewest areas whose wants exceed all that is open to them by most; none where everybody fits.

    The side of the source of a least cut (Ford and Fulkerson 1956): ``opened[a]`` are the places that area ``a`` may
    use, ``room[p]`` what place ``p`` has.
    """
    left, free = list(wants), [float(own) for own in room]
    sent = [[0.0] * len(room) for _ in wants]
    while True:
        come, end = _reached(left, free, sent, opened)
        if end is None:
            return sorted(come)
        area, place = end
        steps = [(area, place, 1)]
        while (via := come[area]) is not None:
            steps += [(area, via[1], -1), (*via, 1)]
            area = via[0]
        most = min(left[area], free[place], *(sent[whose][where] for whose, where, sign in steps if sign < 0))
        for whose, where, sign in steps:
            sent[whose][where] += sign * most
        left[area] -= most
        free[place] -= most


def _reached(
    left: Sequence[float], free: Sequence[float], sent: Sequence[Sequence[float]], opened: Sequence[Sequence[int]]
) -> tuple[dict[int, tuple[int, int] | None], tuple[int, int] | None]:
    """Return the areas that may make room for somebody who is left, from whom and where, and who finds a free place."""
    come: dict[int, tuple[int, int] | None] = {area: None for area, more in enumerate(left) if more > _ROUNDING}
    queue, seen = deque(come), set[int]()
    while queue:
        area = queue.popleft()
        for place in opened[area]:
            if free[place] > _ROUNDING:
                return come, (area, place)
            if place in seen:
                continue
            seen.add(place)
            for other, own in enumerate(sent):
                if own[place] > _ROUNDING and other not in come:
                    come[other] = (area, place)
                    queue.append(other)
    return come, None
