"""What the journal says of spot places: how long replicas held, which were lost, and which places fell together. Pure.

A place is what an offer names, a region of a provider. The records of the last day are replayed into the memory that
the hedge learns with (:mod:`orchestrator.planner.hedge.memory`), event by event; the time between has a closed form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica
from orchestrator.domain.time import Instant
from orchestrator.planner.capacity import TOGETHER, taken_away
from orchestrator.planner.hedge.memory import Memory
from orchestrator.planner.hedge.rules import HedgeRules, SpotZone

_REFUSED = "no_capacity"


@dataclass(frozen=True, slots=True)
class Bond:
    """Two places, by name, where at least one lost a replica while both held some: how often both did, or one alone."""

    places: tuple[str, str]
    together: int
    apart: int

    def holds(self, rules: HedgeRules) -> bool:
        """Whether they fall together oftener than the hedge takes for granted of places of which nothing is known.

        That is where the posterior share of joint losses is above the prior one.
        """
        prior = rules.joint_losses / (rules.joint_losses + rules.single_losses)
        seen = self.together + self.apart
        return (rules.joint_losses + self.together) / (rules.joint_losses + rules.single_losses + seen) > prior


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of places now. ``lost``: P[one replica there is lost before what replaces it could be ready].

    ``groups``: the label that places which fall together share. ``losses``: how often each place lost replicas.
    """

    lost: Mapping[str, float]
    groups: Mapping[str, str]
    bonds: tuple[Bond, ...]
    losses: Mapping[str, int]
    region_share: float
    whole_share: float


@dataclass(slots=True)
class _Step:
    """What happened to places in one tick; numbers of replicas."""

    tick: int
    lost: dict[str, int] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)


def remembered(
    places: Iterable[str], replicas: Sequence[Replica], now: Instant, clock_rate: float, rules: HedgeRules
) -> Past:
    """Learn from the records of spot replicas; ``places``: those that are of interest besides those of the records.

    ``clock_rate``: grid seconds per physical second; losses and starts are physical, and so are the rules.
    """
    spot = [r for r in replicas if r.market is Market.SPOT]
    names = sorted({*places, *(r.region for r in spot)})
    steps = _steps(spot, now, clock_rate, rules)
    bonds = _bonds(steps)
    groups = _groups(names, [b for b in bonds if b.holds(rules)])
    if not names:
        return Past({}, {}, (), {}, 0.0, 0.0)
    memory = Memory([SpotZone(name, groups[name]) for name in names], rules)
    losses = dict.fromkeys(names, 0)
    held, then = [0] * len(names), steps[0].tick if steps else 0
    for step, _ in _stories(steps):
        memory.hold(then, step.tick, held)
        held = _told(memory, step, names, held)
        then = step.tick + 1
        for name in step.lost:
            losses[name] += 1
    memory.hold(then, 0, held)
    lost = dict(zip(names, memory.loss_probabilities(0), strict=True))
    return Past(lost, groups, bonds, losses, memory.region_share, memory.whole_share)


def _told(memory: Memory, step: _Step, names: Sequence[str], held: list[int]) -> list[int]:
    """Tell the memory of one step, losses first; return what is held after it."""
    stands = [max(0, n - step.lost.get(name, 0)) for name, n in zip(names, held, strict=True)]
    if step.lost:
        memory.observe(step.tick, held, held, stands)
    after = [
        max(0, n + step.joined.get(name, 0) - step.left.get(name, 0)) for name, n in zip(names, stands, strict=True)
    ]
    asked = [n + step.refused.get(name, 0) for name, n in zip(names, after, strict=True)]
    if step.joined or step.refused:
        memory.observe(step.tick, stands, asked, after)
    return after


def _steps(spot: Sequence[Replica], now: Instant, clock_rate: float, rules: HedgeRules) -> list[_Step]:
    """Return what happened, tick by tick; the present is tick 0. Losses within three minutes are one event."""

    def tick(at: Instant) -> int:
        return min(0, -int((now - at) / clock_rate / rules.tick))

    found: dict[int, _Step] = {}

    def note(what: str, at: int, place: str) -> None:
        counts = getattr(found.setdefault(at, _Step(at)), what)
        counts[place] = counts.get(place, 0) + 1

    first_of_wave: Instant | None = None
    for one in sorted(spot, key=lambda r: (r.state_since, r.name)):
        if one.ready_at is None and not taken_away(one):
            if one.reason.partition(":")[0] == _REFUSED:
                note("refused", tick(one.state_since), one.region)
            continue
        note("joined", tick(one.ready_at or one.created_at), one.region)
        if taken_away(one):
            if first_of_wave is None or (one.state_since - first_of_wave) / clock_rate > TOGETHER:
                first_of_wave = one.state_since
            at = max(tick(first_of_wave), tick(one.ready_at or one.created_at) + 1)
            note("lost", min(0, at), one.region)
        elif one.ended_at is not None:
            note("left", tick(one.state_since), one.region)
    return [found[at] for at in sorted(found)]


def _stories(steps: Sequence[_Step]) -> Iterator[tuple[_Step, dict[str, int]]]:
    """Yield each step with what was held before it."""
    held: dict[str, int] = {}
    for step in steps:
        yield step, {name: n for name, n in held.items() if n > 0}
        for counts, sign in ((step.joined, 1), (step.lost, -1), (step.left, -1)):
            for name, n in counts.items():
                held[name] = max(0, held.get(name, 0) + sign * n)


def _bonds(steps: Sequence[_Step]) -> tuple[Bond, ...]:
    together: dict[tuple[str, str], int] = {}
    apart: dict[tuple[str, str], int] = {}
    for step, before in _stories(steps):
        for a, b in combinations(sorted({*before, *step.lost}), 2):
            if a in step.lost and b in step.lost:
                together[a, b] = together.get((a, b), 0) + 1
            elif a in step.lost or b in step.lost:
                apart[a, b] = apart.get((a, b), 0) + 1
    pairs = sorted({*together, *apart})
    return tuple(Bond(pair, together.get(pair, 0), apart.get(pair, 0)) for pair in pairs)


def _groups(names: Sequence[str], bonds: Sequence[Bond]) -> dict[str, str]:
    """Return a label for each place, the least name of those that hang together by bonds."""
    label = {name: name for name in names}
    for _ in bonds:
        for bond in bonds:
            least = min(label[p] for p in bond.places)
            label |= dict.fromkeys(bond.places, least)
    return label
