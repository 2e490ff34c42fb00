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


class ZoneRecord:
    """One zone's past, in ticks. ``born``: since when it counts as up; ``None`` while it is down or was never tried.

    ``down_since`` and ``refused_at``: the first and the last sign that there was no room, ``None`` while it is up.
    ``refused_depth``: how many replicas were too many, where fewer were held.
    """

    __slots__ = (
        "born",
        "down_since",
        "expected",
        "held_at",
        "losses",
        "reached_depth",
        "refused_at",
        "refused_depth",
        "refused_depth_at",
        "refused_depth_for",
    )

    def __init__(self) -> None:
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


class Memory:
    """The records of all zones, in the order of ``zones``."""

    def __init__(self, zones: Sequence[SpotZone], rules: HedgeRules) -> None:
        self._rules = rules
        self._regions = [z.region for z in zones]
        self.zones = [ZoneRecord() for _ in zones]
        self._losses = self._expected = 0.0
        self._whole, self._partial = rules.whole_losses, rules.partial_losses
        self._joint, self._single = rules.joint_losses, rules.single_losses
        self._floor_per_tick = rules.daily_losses * rules.tick.total_seconds() / _DAY_SECONDS
        self._unknown = max(1, rules.ticks(rules.unknown_age))
        self._fresh = max(1, rules.ticks(rules.fresh_age))
        self._stressed = max(1, rules.ticks(rules.stressed_age))

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
        if any(h < min(b, w) for b, w, h in zip(before, wanted, held, strict=True)):
            self._learn_of_regions(before, wanted, held)
        news = False
        whole_share = self.whole_share
        for z, record in enumerate(self.zones):
            stood, asked, stands = before[z], wanted[z], held[z]
            if stood == 0 and asked == 0:
                continue
            if stood > 0:
                expected = self._hazard(record, tick) * events_of(stood, whole_share)
                record.expected += expected
                self._expected += expected
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
            if stands > 0:
                record.held_at = tick
        return news

    def _hazard(self, record: ZoneRecord, tick: int) -> float:
        """Loss hazard per tick by the law alone."""
        if record.born is not None:
            age = max(1.0, tick - record.born)
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
