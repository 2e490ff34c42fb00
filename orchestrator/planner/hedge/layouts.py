"""Layouts to choose from: how many replicas in which zones, from all in one to one in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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


def layouts(
    possible: Sequence[tuple[int, ...]],
    held: Sequence[int],
    ranked: Sequence[int],
    burden: Callable[[int, int, bool], float],
    has_room: Callable[[int, int], bool],
    regions: Sequence[str],
) -> Iterator[Layout]:
    """Yield one layout for each spread that has zones enough, the largest share in the zone with the least burden.

    ``ranked``: zones that may be used, the best first; a tie goes to the earlier one. ``burden(zone, count, again)``:
    what so many replicas in a zone weigh, ``again`` where another zone of its region is used already.
    ``has_room(zone, count)``: whether it is thinkable that so many fit.
    """
    seen: set[tuple[int, ...]] = set()
    for spread in possible:
        layout = [0] * len(held)
        used: set[str] = set()
        for count in spread:
            free = (z for z in ranked if not layout[z] and has_room(z, count))
            best = min(free, key=lambda z, count=count: burden(z, count, regions[z] in used), default=None)  # type: ignore[misc]  # mypy infers no default argument
            if best is None:
                break
            layout[best] = count
            used.add(regions[best])
        else:
            if (key := tuple(layout)) not in seen:
                seen.add(key)
                yield layout
