"""Everything that all price lists have, and why nothing of it is what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from orchestrator.domain.hardware import Shape
from orchestrator.domain.matching import is_asked_for, is_inside, zone_in
from orchestrator.domain.service import ResourceRequest

_MOST_NAMED = 3
_LIKENESS = 0.5


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is listed anywhere: region ids with shapes. ``troubles``: lists that could not be read, in words."""

    goods: tuple[tuple[str, Shape], ...] = ()
    troubles: tuple[str, ...] = ()

    def why_none(self, request: ResourceRequest) -> str:
        """Say why no offer fits: the lists that are missing, the place that nobody has, the hardware, or its size.

        Empty where something does fit; of a zone that is asked for it takes for granted that nothing is listed there.
        """
        place = None if request.infra is None else "/".join(request.infra.split("/")[:2])  # without its zone
        inside = [(region, shape) for region, shape in self.goods if is_inside(region, "", place)]
        fits = any(is_asked_for(shape, request) for _, shape in inside)
        zone = zone_in(request.infra)
        if fits and not zone:
            return ""
        parts = list(self.troubles)
        if fits:
            parts.append(_elsewhere(place or "", zone))
        elif not self.goods:
            parts.append("no price list has anything")
        elif not inside:
            regions = sorted({region for region, _ in self.goods})
            parts.append(f"no price list has a region {request.infra}{_near(str(request.infra), regions)}")
        else:
            parts.append(_hardware(inside, request))
        return "; ".join(parts)


def _elsewhere(place: str, zone: str) -> str:
    words = f"what fits in {place} is not listed in {zone}"
    if place.startswith("aws/"):
        words += " (which zone that is on your account, SkyPilot writes beside its catalogue: sky check aws)"
    return words


def _hardware(inside: Sequence[tuple[str, Shape]], request: ResourceRequest) -> str:
    where = f"in {request.infra}" if request.infra else "anywhere"
    number = len({region for region, _ in inside})
    looked = f"{number} region{'s' if number != 1 else ''} looked at"
    bare = replace(request, min_vcpus=None, min_memory_gib=None)
    if any(is_asked_for(shape, bare) for _, shape in inside):
        return f"no machine {where} has {_sizes(request)} as well ({looked})"
    if not request.accelerators:
        return f"no machine without accelerators is listed {where} ({looked})"
    wanted = [f"{a.name}:{a.count:g}" for a in request.accelerators]
    listed = {f"{shape.accelerator}:{shape.accelerator_count:g}" for _, shape in inside if shape.accelerator}
    near = _near(wanted[0], sorted(listed))
    return f"{' or '.join(wanted)} is not listed {where} ({looked}){near}"


def _sizes(request: ResourceRequest) -> str:
    parts = []
    if request.min_vcpus is not None:
        parts.append(f"{request.min_vcpus:g} vCPUs")
    if request.min_memory_gib is not None:
        parts.append(f"{request.min_memory_gib:g} GiB")
    return " and ".join(parts)


def _near(word: str, known: Iterable[str]) -> str:
    """Name what is written alike; the same accelerator in another number comes first."""
    names = list(known)
    same = [n for n in names if n.partition(":")[0].casefold() == word.partition(":")[0].casefold()]
    found = (same or get_close_matches(word, names, n=_MOST_NAMED, cutoff=_LIKENESS))[:_MOST_NAMED]
    return f"; the nearest: {', '.join(found)}" if found else ""
