"""What the hedge has seen of each zone: launches accepted and refused, losses, how long it has held. Learns online.

Two laws, both scale-free, carry it. A zone that has been up for a time T is lost with hazard ~ shape / T, and one that
has been down for T comes back likewise. (Lindy: on the published availability traces of AWS V100, February 2023, and
of GCP H100, October 2025, loss hazard x age stays within 0.3..0.6 from 10 minutes to 5 hours.) Around them, Gamma
frailties say whether the losses of a zone, and of all zones together, come oftener than that law says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.planner.hedge.rules import HedgeRules, SpotZone
from orchestrator.planner.hedge.shortfall import events_of

_DAY_SECONDS = 86_400.0

_FEW_LOOKS = 3
"""So many looks are believed to have found little, before it is taken for all that is ever sold."""

_LONGEST_REST = 8
"""Where no zone was ever found to have little headroom, it is looked for ever more rarely, up to eight times so."""


class ZoneRecord:
    """One zone's past, in ticks. ``born``: since when it counts as up; ``None`` while it is down or was never tried.

    ``down_since`` and ``refused_at``: the first and the last sign that there was no room, ``None`` while it is up.
    ``refused_depth``: how many replicas were too many, where fewer were held. ``look_at``: when it is asked for more
    than is needed there, and ``rest``: the time from one such look to the next; ``shallow_at``: when it was found to
    have little headroom, ``None`` if it had enough at the last look.
    """

    __slots__ = (
        "born",
        "down_since",
        "expected",
        "held_at",
        "look_at",
        "losses",
        "reached_depth",
        "refused_at",
        "refused_depth",
        "refused_depth_at",
        "refused_depth_for",
        "rest",
        "shallow_at",
    )

    def __init__(self, rest: int) -> None:
        self.born: float | None = None
        self.held_at: float | None = None
        self.down_since: float | None = None
        self.refused_at: float | None = None
        self.losses = 0.0
        self.expected = 0.0
        self.reached_depth = 0
        self.refused_depth: int | None = None
        self.refused_depth_at = 0.0
        self.refused_depth_for = 0.0
        self.look_at = 0
        self.rest = rest
        self.shallow_at: int | None = None


class Memory:
    """The records of all zones, in the order of ``zones``."""

    def __init__(self, zones: Sequence[SpotZone], rules: HedgeRules) -> None:
        self._rules = rules
        self._regions = [z.region for z in zones]
        self._rest = max(1, rules.ticks(rules.look_deeper))
        self.zones = [ZoneRecord(self._rest) for _ in zones]
        self._looks = self._deepest = 0
        self._has_edges = False
        self._losses = self._expected = 0.0
        self._whole, self._partial = rules.whole_losses, rules.partial_losses
        self._joint, self._single = rules.joint_losses, rules.single_losses
        self._floor_per_tick = rules.daily_losses * rules.tick.total_seconds() / _DAY_SECONDS
        self._unknown = max(1, rules.ticks(rules.unknown_age))
        self._fresh = max(1, rules.ticks(rules.fresh_age))
        self._stressed = max(1, rules.ticks(rules.stressed_age))
        self._shallow = max(1, rules.ticks(rules.shallow_age))

    @property
    def whole_share(self) -> float:
        """Which part of a replica's hazard takes all replicas of its zone."""
        return self._whole / (self._whole + self._partial)

    @property
    def region_share(self) -> float:
        """Which part of a zone's hazard takes the other zones of its region, too."""
        return self._joint / (self._joint + self._single)

    def loss_probabilities(self, tick: int) -> list[float]:
        """Return, for each zone, P[a single replica there is lost before what replaces it could be ready]."""
        rules, window = self._rules, self._rules.recovery_ticks
        common = (rules.frailty + self._losses) / (rules.frailty + self._expected)
        found = []
        for zone in self.zones:
            own = (rules.frailty + zone.losses) / (rules.frailty + zone.expected * common)
            found.append(1.0 - math.exp(-self._hazard(zone, tick) * common * own * window))
        return found

    def odds(self, zone: int, tick: int, held: int, depth: int) -> float:
        """Return P[a launch is accepted] of the replica that would be number ``depth`` where ``held`` stand."""
        record, shape = self.zones[zone], self._rules.lindy_shape
        if held > 0:
            if record.refused_depth is None or depth < record.refused_depth:
                return self._rules.more_odds
            waited = tick - record.refused_depth_at
            return _returned(record.refused_depth_for, waited, shape)
        if record.refused_at is not None and record.down_since is not None:
            down = max(float(self._stressed), record.refused_at - record.down_since)
            return _returned(down, tick - record.refused_at, shape)
        if record.born is not None and record.held_at is not None:
            return (record.held_at - record.born + 1) / (tick - record.born + 1)
        return self._rules.first_odds

    def observe(self, tick: int, before: Sequence[int], wanted: Sequence[int], held: Sequence[int]) -> bool:
        """Learn from one tick: what stood before it, what was wanted, what stands after. Say whether it was news."""
        whole_share = self.whole_share
        for record, stood, stands in zip(self.zones, before, held, strict=True):
            if stood:
                self._held_on(record, tick, stood, whole_share)
            if stands:
                record.held_at = tick
        if before == wanted == held:
            return False
        self._learn_of_regions(before, wanted, held)
        news = False
        for z, record in enumerate(self.zones):
            stood, asked, stands = before[z], wanted[z], held[z]
            if stood == 0 and asked == 0:
                continue
            stay = min(stood, asked)
            if stands < stay:
                news = True
                self._lost(record, tick, stay, stands)
            elif asked > stood:
                news = True
                if stands == 0:
                    self._refused(record, tick)
                else:
                    self._accepted(record, tick, stood, asked, stands)
        return news

    def looked(self, zone: int, tick: int, wanted: int, found: int) -> bool:
        """Learn how deep a zone is that was asked for more than is wanted there. Say whether it is shallow.

        It is shallow where it had less than was asked for; after some looks, less than the most that any of them found:
        what is asked for may be more than anybody sells at once.
        """
        record, asked = self.zones[zone], wanted + self._rules.headroom
        self._deepest = max(self._deepest, found)
        self._looks += 1
        is_shallow = found < (asked if self._looks <= _FEW_LOOKS else min(asked, self._deepest))
        record.shallow_at = tick if is_shallow else None
        self._has_edges |= is_shallow
        record.rest = self._rest if self._has_edges else min(2 * record.rest, _LONGEST_REST * self._rest)
        record.look_at = tick + record.rest
        return is_shallow

    def wants_a_look(self, zone: int, tick: int) -> bool:
        """Whether it is time to ask a zone for more than is needed there."""
        return tick >= self.zones[zone].look_at

    def hold(self, first: int, end: int, held: Sequence[int]) -> None:
        """Learn from ticks ``first`` to ``end - 1``, in which nothing happened, at once: the integral of the hazard."""
        ticks = end - first
        if ticks <= 0:
            return
        for record, stood in zip(self.zones, held, strict=True):
            if stood == 0:
                continue
            age = self._unknown if record.born is None else max(1.0, first - record.born)
            hazard = self._rules.lindy_shape * math.log1p(ticks / age) + self._floor_per_tick * ticks
            expected = hazard * events_of(stood, self.whole_share)
            record.expected += expected
            self._expected += expected
            record.held_at = end - 1

    def _held_on(self, record: ZoneRecord, tick: int, stood: int, whole_share: float) -> None:
        expected = self._hazard(record, tick) * events_of(stood, whole_share)
        record.expected += expected
        self._expected += expected

    def _hazard(self, record: ZoneRecord, tick: int) -> float:
        """Loss hazard per tick by the law alone."""
        if record.born is not None:
            age = max(1.0, tick - record.born)
            if record.shallow_at is not None:
                age = min(age, float(self._shallow + tick - record.shallow_at))
        else:
            age = self._unknown if record.down_since is None else self._fresh
        return self._rules.lindy_shape / age + self._floor_per_tick

    def _learn_of_regions(self, before: Sequence[int], wanted: Sequence[int], held: Sequence[int]) -> None:
        """Count, for each zone that was lost, whether the others of its region that were held went with it."""
        lost: dict[str, int] = {}
        kept: dict[str, int] = {}
        for z, region in enumerate(self._regions):
            stay = min(before[z], wanted[z])
            if stay > 0:
                counts = lost if held[z] < stay else kept
                counts[region] = counts.get(region, 0) + 1
        for region, count in lost.items():
            self._joint += count - 1
            self._single += kept.get(region, 0)

    def _lost(self, record: ZoneRecord, tick: int, stood: int, stands: int) -> None:
        record.losses += 1
        self._losses += 1
        if stood > 1:
            if stands == 0:
                self._whole += 1
            else:
                self._partial += 1
        record.reached_depth = stands
        if stands == 0:
            record.born, record.down_since, record.refused_at = None, tick, tick
            return
        self._stress(record, tick)
        record.refused_depth, record.refused_depth_at = stands + 1, tick
        record.refused_depth_for = float(self._stressed)

    def _refused(self, record: ZoneRecord, tick: int) -> None:
        if record.down_since is None:
            record.down_since = tick - self._unknown / 2
        record.refused_at, record.born = tick, None

    def _accepted(self, record: ZoneRecord, tick: int, stood: int, asked: int, stands: int) -> None:
        if stood == 0:
            if record.down_since is not None and record.refused_at is not None:
                record.born = tick - max(self._fresh, (tick - record.refused_at) / 2)
            elif record.born is None:
                record.born = tick - self._unknown
            record.down_since = record.refused_at = None
        if stands < asked:
            if stood > 0 and record.reached_depth >= asked:
                self._stress(record, tick)
            seen_before = record.refused_depth is not None and record.refused_depth <= stands + 1
            waited = tick - record.refused_depth_at
            record.refused_depth_for = record.refused_depth_for + waited if seen_before else 3.0 * self._fresh
            record.refused_depth, record.refused_depth_at = stands + 1, tick
        elif record.refused_depth is not None and stands >= record.refused_depth:
            record.refused_depth = None
        record.reached_depth = stands

    def _stress(self, record: ZoneRecord, tick: int) -> None:
        """Start the clock again: a zone that runs short is about to lose the rest (half of all losses have steps)."""
        if record.born is not None:
            record.born = max(record.born, tick - self._stressed)


def _returned(down_for: float, waited: float, shape: float) -> float:
    """Return P[room is back] after a wait, where there had been none for so long: 1 - (d / (d + w)) ** shape."""
    return 1.0 - math.pow(down_for / (down_for + waited), shape)
