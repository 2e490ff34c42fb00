"""Whether a shape in a region is what a request asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from orchestrator.domain.hardware import Shape
from orchestrator.domain.service import ResourceRequest


def is_asked_for(shape: Shape, request: ResourceRequest) -> bool:
    """Whether the shape has one of the accelerators asked for (or none, if none is), and enough of the rest.

    A shape whose vCPUs or memory are unknown does not satisfy a minimum: unknown is not enough.
    """
    if not _enough(shape.vcpus, request.min_vcpus) or not _enough(shape.memory_gib, request.min_memory_gib):
        return False
    if not request.accelerators:
        return shape.accelerator is None
    if shape.accelerator is None:
        return False
    have = (shape.accelerator.casefold(), shape.accelerator_count)
    return have in {(wanted.name.casefold(), wanted.count) for wanted in request.accelerators}


def is_inside(region_id: str, zone: str, infra: str | None) -> bool:
    """Whether a provider's region (and its availability zone) lies in SkyPilot's ``infra``.

    ``None`` is everywhere; ``aws`` a provider; ``aws/eu-north-1`` or ``*/eu-north-1`` a region, with globs;
    ``aws/eu-north-1/eu-north-1a`` one zone. ``zone``: "" where there are none, or it is not known which: what is bought
    is then bought in the zone that is wanted.
    """
    if infra is None:
        return True
    provider, region, wanted_zone = (*infra.split("/", 2), "*", "*")[:3]
    return fnmatchcase(region_id, f"{provider}/{region}") and (not zone or fnmatchcase(zone, wanted_zone))


def zone_in(infra: str | None) -> str:
    """Return the one zone (on Slurm the partition) that SkyPilot's ``infra`` names, "" if it leaves that open."""
    zone = (*(infra or "").split("/", 2), "", "")[2]
    return "" if zone == "*" else zone


def denied_by(region_id: str, deny: Iterable[str]) -> str | None:
    """Return the first pattern that denies a region, ``None`` if none does.

    Whatever the case: providers write the names of regions in either, and a pattern that is meant must not be missed.
    """
    return next((pattern for pattern in deny if fnmatchcase(region_id.lower(), pattern.lower())), None)


def _enough(have: float | None, wanted: float | None) -> bool:
    return wanted is None or (have is not None and have >= wanted)
