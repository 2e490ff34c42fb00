"""Let a rival place replicas through the period: hourly decisions, events of the market in between.

A replica that is moved runs until the new one serves, and a while longer to drain. One that is taken away is replaced
at the next step of the market, wherever the rival says and something is free. Spot that is sold out can be neither kept
nor bought. Each slot is decided for by itself, one after the other, so that at most ``limit`` share a region; then who
stands where anybody is wanted stays there, and only the others move: a place that all want is one move. Where
load decides on the number, the last slots are filled when an hour begins that needs them; when one does not,
they are emptied once the delay of the service is over.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from orchestrator.domain.price import Market
from orchestrator.domain.units import SECONDS_PER_HOUR
from orchestrator.sim.bill import Stay
from orchestrator.sim.board import Board, Choose, Mask
from orchestrator.sim.stock import STEP, STEPS_PER_HOUR

STEP_SECONDS = STEP.total_seconds()


@dataclass
class _Slot:
    """A slot and who fills it, and who is on the way out because load needs the slot no longer; ``-1`` for nobody.

    ``label``: by which the stays of one line of replicas are known in the bill.
    """

    label: int
    stay: int = -1
    spared: int = -1


class Fleet:
    """The replicas of one rival. ``filled``: which slots are, by the hour; else the first, by the board's sizes."""

    def __init__(self, board: Board, choose: Choose, filled: Callable[[int], AbstractSet[int]] | None = None) -> None:
        self._board = board
        self._choose = choose
        self._filled = filled or (lambda hour: frozenset(range(board.sizes.held[hour])))
        self._stays: list[Stay] = []
        self._slots = [_Slot(label) for label in range(board.wanted)]
        self._limited = {i for i, o in enumerate(board.offers) if o.id in board.stock.counts}

    def play(self) -> tuple[Stay, ...]:
        """Return the stays of the whole period, by slot and time."""
        board = self._board
        end = board.hours * SECONDS_PER_HOUR
        for index in sorted(self._filled(0)):
            self._fill(index, 0, -board.cold_seconds, 0)
        events = iter([*board.stock.changes().tolist(), None])
        event = next(events)
        for hour in range(board.hours):
            self._lose(hour * STEPS_PER_HOUR)
            filled = self._filled(hour)
            self._decide(sorted(filled), hour)
            for index in range(len(self._slots)):
                if index not in filled:
                    self._spare(index, hour * SECONDS_PER_HOUR)
            while event is not None and event < (hour + 1) * STEPS_PER_HOUR:
                if event > hour * STEPS_PER_HOUR:
                    self._lose(event)
                    for index, slot in enumerate(self._slots):
                        if slot.stay < 0 and index in filled:
                            self._fill(index, hour, event * STEP_SECONDS, event)
                event = next(events)
        closed = [replace(s, until=min(s.until, end), gone=min(s.gone, end)) for s in self._stays]
        return tuple(sorted(closed, key=lambda s: (s.slot, s.requested)))

    def _decide(self, filled: Sequence[int], hour: int) -> None:
        """Ask for each slot where it should stand, then move as few replicas as that takes."""
        at, step = hour * SECONDS_PER_HOUR, hour * STEPS_PER_HOUR
        for index in filled:
            self._take_back(index, at)
        held = wanted = self._places()
        for index in filled:
            here = held.get(index)
            if here is not None and self._stays[self._slots[index].stay].ready > at:
                continue  # it is still on its way
            there = self._choose(hour, index, here, self._free(index, step, wanted))
            if there is not None:
                wanted = {**wanted, index: there}
        self._move(held, {i: there for i, there in wanted.items() if held.get(i) != there}, at)

    def _take_back(self, index: int, at: float) -> None:
        """Let a slot keep who was about to leave it, if it is still there."""
        slot = self._slots[index]
        if slot.stay < 0 and slot.spared >= 0 and self._stays[slot.spared].until > at:
            slot.stay = slot.spared
            self._stays[slot.stay] = replace(self._stays[slot.stay], until=math.inf, gone=math.inf, spared=False)

    def _move(self, held: Mapping[int, int], wanted: Mapping[int, int], at: float) -> None:
        """Give slots that want another place the replica that stands there already and is to leave, else a new one."""
        leaving = {i: (self._slots[i].label, self._slots[i].stay) for i in wanted if i in held}
        empty = [self._slots[i].label for i in wanted if i not in held]
        new: list[int] = []
        for index, there in wanted.items():
            stands = next((i for i in leaving if held[i] == there), None)
            if stands is None:
                new.append(index)
            else:
                self._slots[index].label, self._slots[index].stay = leaving.pop(stands)
        for index in new:
            slot = self._slots[index]
            if not leaving:
                slot.label, slot.stay = empty.pop(0), -1
            else:
                slot.label, old = leaving.pop(index if index in leaving else next(iter(leaving)))
                ready = at + self._board.cold_seconds
                gone = ready + self._board.overlap_seconds
                self._stays[old] = replace(self._stays[old], until=ready, gone=gone)
            self._start(index, wanted[index], at)

    def _spare(self, index: int, at: float) -> None:
        """Let a slot's replica go, once the service's delay is over."""
        slot = self._slots[index]
        if slot.stay < 0:
            return
        stay = self._stays[slot.stay]
        until = max(at + self._board.sizes.leave_seconds, stay.ready)
        self._stays[slot.stay] = replace(stay, until=until, gone=until + self._board.overlap_seconds, spared=True)
        slot.stay, slot.spared = -1, slot.stay

    def _fill(self, index: int, hour: int, at: float, step: int) -> None:
        there = self._choose(hour, index, None, self._free(index, step, self._places()))
        if there is not None:
            self._start(index, there, at)

    def _start(self, index: int, offer: int, at: float) -> None:
        ready = at + self._board.cold_seconds
        price = float(self._board.usd(max(0, int(at // SECONDS_PER_HOUR)))[offer])
        usd = price if math.isfinite(price) else None
        self._slots[index].stay = len(self._stays)
        self._stays.append(Stay(self._slots[index].label, offer, at, ready, math.inf, math.inf, usd))

    def _lose(self, step: int) -> None:
        """Take away what the market has no longer; the newest go first."""
        at = step * STEP_SECONDS
        for offer in sorted({self._stays[s.stay].offer for s in self._slots if s.stay >= 0} & self._limited):
            held = [s for s in self._slots if s.stay >= 0 and self._stays[s.stay].offer == offer]
            room = int(self._board.stock.counts[self._board.offers[offer].id][step])
            held.sort(key=lambda s: self._stays[s.stay].requested)
            for slot in held[room:]:
                stay = self._stays[slot.stay]
                self._stays[slot.stay] = replace(
                    stay,
                    ready=min(stay.ready, at),
                    until=max(at, stay.requested),
                    gone=max(at, stay.requested),
                    lost=True,
                )
                slot.stay = -1

    def _places(self) -> dict[int, int]:
        """Return on which offer each slot's replica stands, or is about to."""
        return {i: self._stays[s.stay].offer for i, s in enumerate(self._slots) if s.stay >= 0}

    def _free(self, index: int, step: int, places: Mapping[int, int]) -> Mask:
        """Return which offers this slot may take: not sold out, and not too many in one region already."""
        board = self._board
        sold = board.sold(step // STEPS_PER_HOUR)
        if board.limit is None and not self._limited:
            return sold
        others = [offer for i, offer in places.items() if i != index]
        regions = Counter(board.offers[o].region.id for o in others)
        held = Counter(others)
        free = sold.copy()
        for i, offer in enumerate(board.offers):
            full = board.limit is not None and regions[offer.region.id] >= board.limit
            sold_out = (
                offer.market is Market.SPOT
                and i in self._limited
                and (int(board.stock.counts[offer.id][step]) <= held[i])
            )
            free[i] &= not full and not sold_out
        return free
