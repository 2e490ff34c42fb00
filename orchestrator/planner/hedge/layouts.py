"""Layouts to choose from: how many replicas in which zones, from all in one to one in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Layout = list[int]


def spreads(replicas: int) -> tuple[tuple[int, ...], ...]:
    """Return the even spreads of ``replicas``, one more, and two more, each with its largest share first.

    Two spares are looked at only where the loss of any zone leaves enough: no zone holds more than two.
    """
    found: dict[tuple[int, ...], None] = {}
    for spare in range(3):
        total = replicas + spare
        for zones in range(1, total + 1):
            share, rest = divmod(total, zones)
            spread = (share + 1,) * rest + (share,) * (zones - rest)
            if spare < 2 or spread[0] <= spare:  # noqa: PLR2004  # two spares
                found[spread] = None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Field:
    """What the layouts of one moment are made from; lists are by zone.

    ``alone``: what a replica weighs there by itself. ``together``: what is added where another zone of the region is
    used. ``launch``: what each launch adds where a zone takes several. ``ranked``: zones that may be used, with the
    least ``alone`` first; a tie goes to the earlier one. ``has_room(zone, count)``: whether so many might fit.
    """

    held: Sequence[int]
    regions: Sequence[str]
    alone: Sequence[float]
    together: Sequence[float]
    launch: float
    ranked: Sequence[int]
    has_room: Callable[[int, int], bool]

    def lightest(self, count: int, layout: Sequence[int]) -> int | None:
        """Return the zone, among those that a layout does not use yet, where so many replicas weigh least."""
        used = {self.regions[z] for z, n in enumerate(layout) if n}
        best, least = None, math.inf
        for z in self.ranked:
            if self.alone[z] - self.launch >= least:
                break  # What follows weighs no less, wherever replicas stand already.
            if layout[z] or not self.has_room(z, count):
                continue
            weight = self.alone[z] + (max(0, count - self.held[z]) - 1) * self.launch
            if self.regions[z] in used:
                weight += self.together[z]
            if weight < least:
                best, least = z, weight
        return best


def layouts(possible: Sequence[tuple[int, ...]], field: Field) -> Iterator[Layout]:
    """Yield a layout for each spread that finds zones enough, the largest share first; none of them twice."""
    seen: set[tuple[int, ...]] = set()
    for spread in possible:
        layout = [0] * len(field.held)
        for count in spread:
            zone = field.lightest(count, layout)
            if zone is None:
                break
            layout[zone] = count
        else:
            if (key := tuple(layout)) not in seen:
                seen.add(key)
                yield layout
