"""What is known of a zone before a moment, as the gate wants it; it grows while a batch of statements is judged."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from orchestrator.domain.carbon import Basis, CarbonIntensity
from orchestrator.domain.time import HOUR, Instant, Window, format_instant
from orchestrator.signals import gate
from orchestrator.signals.archive import Archive, Kept
from orchestrator.signals.statement import Statement


class Past:
    """The hours before a batch of statements: what was believed of each, and what was said last."""

    def __init__(
        self, archive: Archive, zone: str, basis: Basis, statements: Sequence[Statement], now: Instant
    ) -> None:
        self.added: list[Kept] = []
        first = min((s.interval.start for s in statements), default=now)
        window = Window(min(first, now) - gate.PAST, now + gate.CLOCKS_DIFFER)
        kept = archive.known(zone, basis, window, now)
        about = {s.interval.start for s in statements}
        self._kept = kept
        self._said = {k.interval: k for k in kept if k.interval.start in about}
        self._hours = [k for k in kept if k.interval.length == HOUR]
        self._starts = [k.interval.start for k in self._hours]
        self._grams = [k.grams_per_kwh for k in self._hours]
        believed = archive.believed(zone, basis, window, now) if any(k.doubt for k in kept) else kept
        self._values = {k.interval.start: k.grams_per_kwh for k in believed if k.interval.length == HOUR}
        self._believed_starts, self._believed_grams = list(self._values), list(self._values.values())
        self._levels: dict[Instant, float] = {}
        self._jumps: dict[Instant, bool] = {}
        self._is_first = all(now - k.fetched_at < HOUR for k in kept)

    def was_said(self, statement: Statement) -> bool:
        """Whether the interval's newest version is this very number, of this kind."""
        last = self._said.get(statement.interval)
        return last is not None and (last.grams_per_kwh, last.kind) == (statement.grams_per_kwh, statement.kind)

    def until(self, moment: Instant) -> tuple[list[float], list[float]]:
        """Return the believed values of the 28 days before, and all that was said of them, oldest first, g/kWh."""
        low, high = bisect_left(self._starts, moment - gate.PAST), bisect_left(self._starts, moment)
        first = bisect_left(self._believed_starts, moment - gate.PAST)
        after = bisect_left(self._believed_starts, moment)
        return self._believed_grams[first:after], self._grams[low:high]

    def watched(self, moment: Instant, now: Instant) -> list[float]:
        """Return what was said of the two days before the moment, none of it believed, if heard over two days, g/kWh.

        A liar can tell two days at once; to go on for two days is harder, and is what a new level does. When a source
        is heard for the first time, all that it says of the zone's past is as good: there its own two days count.
        """
        high = bisect_left(self._starts, moment)
        days = self._hours[max(0, high - gate.WATCHED_HOURS) : high]
        if len(days) < gate.WATCHED_HOURS or any(not k.doubt for k in days):
            return []
        heard_for = now - min(k.fetched_at for k in days)
        return [k.grams_per_kwh for k in days] if self._is_first or heard_for >= gate.WATCHED else []

    def taken_back(self, statements: Sequence[Statement], now: Instant) -> str:
        """Say that the statements, or others of the last day, take back what was said; "" if none do.

        Whether it was believed does not count: who rewrites what was doubted is no better.
        """
        corrections = [
            (self._said[s.interval].grams_per_kwh, s.grams_per_kwh)
            for s in statements
            if s.interval.length == HOUR and self._is_of_the_same_kind(s)
        ]
        reason = gate.takes_back(corrections)
        if reason:
            return reason
        lately = [k for k in self._hours if k.doubt.startswith(gate.TAKES_BACK)]
        heard = max((k.fetched_at for k in lately), default=None)
        if heard is None or now - heard > gate.TAKEN_BACK_FOR:
            return ""
        return f"comes from a source that took back what it said, {format_instant(heard)}"

    def just_said(self, now: Instant) -> list[Kept]:
        """Return what was heard and believed within the hour, about the present or nearly so."""
        return [
            k for k in self._kept if not k.doubt and now - k.fetched_at < gate.JUST and now - k.interval.end < gate.JUST
        ]

    def jump(self, moment: Instant, grams_per_kwh: float, watched: Sequence[float]) -> str:
        """Say that a value is not to be had from the last believed one, or goes on from such a value; "" if neither.

        What was ``watched`` for long enough, without another jump, is a new level.
        """
        high = bisect_left(self._starts, moment)
        believed = next((n for n in range(high - 1, -1, -1) if self._starts[n] in self._values), None)
        if believed is None or moment - self._starts[high - 1] > gate.JUMP_OVER:
            return ""
        before = self._values[self._starts[believed]]
        over = moment - self._starts[believed]
        reason = ""
        if self._is_jump(before, grams_per_kwh, self._starts[believed], moment):
            reason = f"jumps from {before:g} to {grams_per_kwh:g} g/kWh in {over / HOUR:.3g} h, as it never did"
        elif believed + 1 < high:
            first = self._hours[believed + 1]
            began = self._is_jump(before, first.grams_per_kwh, self._starts[believed], first.interval.start)
            jumps = sum(self._jumped(place) for place in range(believed + 2, high))
            # After one jump it is away, after another one back.
            if began and (jumps + self._jumps_to(moment, grams_per_kwh)) % 2 == 0:
                since = format_instant(first.interval.start)
                reason = f"goes on from the jump of {since}: {grams_per_kwh:g} g/kWh"
        if reason and watched:
            largest = self._largest(moment, 1)
            settled = not any(
                gate.is_jump(gate.step(a, b), largest or 0.0) for a, b in pairwise((*watched, grams_per_kwh))
            )
            return "" if settled else reason
        return reason

    def to_and_fro(self, moment: Instant, grams_per_kwh: float) -> str:
        """Say that the source has jumped too often within a day, to this value included; "" if it has not."""
        low = bisect_left(self._starts, moment - gate.TO_AND_FRO_WITHIN)
        high = bisect_left(self._starts, moment)
        jumps = sum(self._jumped(place) for place in range(low, high)) + self._jumps_to(moment, grams_per_kwh)
        if jumps < gate.TO_AND_FRO:
            return ""
        return f"jumps to and fro: {jumps} times in {gate.TO_AND_FRO_WITHIN / HOUR:g} h"

    def on_probation(self, moment: Instant, watched: Sequence[float]) -> str:
        """Say that what was said just before was not believed, and too little since was without fault; "" if not.

        What was ``watched`` for long enough has been on probation all the time.
        """
        if watched:
            return ""
        place, before = bisect_left(self._starts, moment) - 1, moment
        good = bad = 0
        while place >= 0 and bad <= gate.PROBATION_HOURS and before - self._starts[place] == HOUR:
            hour, before = self._hours[place], self._starts[place]
            if before in self._values or (bad and hour.doubt.startswith(gate.PROBATION)):
                break
            good, bad = (good + 1, bad) if hour.doubt.startswith(gate.PROBATION) else (good, bad + 1)
            place -= 1
        wanted = min(bad - 1, gate.PROBATION_HOURS)
        return "" if good >= wanted else f"{gate.PROBATION}: hour {good + 1} of {wanted}"

    def jump_ahead(self, last: CarbonIntensity | None, statement: Statement) -> str:
        """Say that a forecast jumps from the point before it, or from the present where it begins; "" if not."""
        if last is not None:
            grams, start = last.grams_per_kwh, last.interval.start
        else:
            known = [s for s in self._starts if s <= statement.interval.start and s in self._values]
            if not known:
                return ""
            grams, start = self._values[known[-1]], known[-1]
        begin = statement.interval.start
        if begin - start > gate.JUMP_OVER or not self._is_jump(grams, statement.grams_per_kwh, start, begin):
            return ""
        return f"jumps from {grams:g} to {statement.grams_per_kwh:g} g/kWh at {format_instant(begin)}, as it never did"

    def add(self, kept: Kept) -> None:
        """Take the judged statement in."""
        self.added.append(kept)
        if kept.interval.length != HOUR:
            return
        start = kept.interval.start
        if not kept.doubt:
            self._believe(start, kept.grams_per_kwh)
        place = bisect_left(self._starts, start)
        for changed in self._starts[place : place + 2]:
            self._jumps.pop(changed, None)
        if place < len(self._starts) and self._starts[place] == start:
            self._hours[place], self._grams[place] = kept, kept.grams_per_kwh
        else:
            self._starts.insert(place, start)
            self._hours.insert(place, kept)
            self._grams.insert(place, kept.grams_per_kwh)

    def _believe(self, start: Instant, grams_per_kwh: float) -> None:
        place = bisect_left(self._believed_starts, start)
        if start in self._values:
            self._believed_grams[place] = grams_per_kwh
        else:
            self._believed_starts.insert(place, start)
            self._believed_grams.insert(place, grams_per_kwh)
        self._values[start] = grams_per_kwh
        if self._levels:
            self._levels[start] = gate.level(grams_per_kwh)

    def _is_of_the_same_kind(self, statement: Statement) -> bool:
        """Whether it corrects the like of it: that a measurement differs from an estimate takes nothing back."""
        last = self._said.get(statement.interval)
        return last is not None and last.kind is statement.kind

    def _jumped(self, place: int) -> bool:
        """Whether what was said at that place is a jump from what was said before it, believed or not."""
        start = self._starts[place]
        if start not in self._jumps:
            before = self._hours[place - 1] if place else None
            near = before is not None and start - before.interval.start <= gate.JUMP_OVER
            after = self._hours[place].grams_per_kwh
            self._jumps[start] = (
                before is not None and near and self._is_jump(before.grams_per_kwh, after, before.interval.start, start)
            )
        return self._jumps[start]

    def _jumps_to(self, moment: Instant, grams_per_kwh: float) -> bool:
        """Whether the value is a jump from what was said last before the moment."""
        high = bisect_left(self._starts, moment)
        if not high or moment - self._starts[high - 1] > gate.JUMP_OVER:
            return False
        return self._is_jump(self._hours[high - 1].grams_per_kwh, grams_per_kwh, self._starts[high - 1], moment)

    def _is_jump(self, before: float, after: float, start: Instant, end: Instant) -> bool:
        """Whether it changed by more from one time to the other than it did in the 28 days before the later one."""
        size = gate.step(before, after)
        if not gate.is_jump(size, 0.0):
            return False
        largest = self._largest(end, max(1, -((start - end) // HOUR)))
        return largest is not None and gate.is_jump(size, largest)

    def _largest(self, moment: Instant, hours: int) -> float | None:
        """Return the zone's largest change over so many hours in the 28 days before; ``None`` if too few are known."""
        low, high = bisect_left(self._starts, moment - gate.PAST), bisect_left(self._starts, moment)
        over = hours * HOUR
        # Logarithms of four weeks, for the few statements that change much.
        self._levels = self._levels or {start: gate.level(grams) for start, grams in self._values.items()}
        levels = self._levels
        changes = [
            abs(levels[start + over] - levels[start])
            for start in self._starts[low:high]
            if start in levels and start + over in levels and start + over < moment
        ]
        return max(changes) if len(changes) >= gate.JUMP_PAST else None
