"""Readers of hardware and places in SkyPilot's own notation (task file of SkyPilot 0.14.1).

They raise :class:`~orchestrator.spec.grammar.Unreadable`, as the readers of our own notation do.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from orchestrator.domain.matching import zone_in
from orchestrator.domain.service import Accelerators
from orchestrator.spec import grammar
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.words import show

CLOUD_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
_ACCELERATOR = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,39})(?::([0-9.]{1,8}))?")
ZONE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
_AWS_ZONE_ID = re.compile(r"[a-z0-9-]+-az[0-9]+")
_CONTEXTS = frozenset({"kubernetes", "ssh"})
_INFRA = re.compile(r"(\*|[A-Za-z0-9][A-Za-z0-9_-]{0,31})(/[A-Za-z0-9*][A-Za-z0-9._*:@-]{0,127}){0,2}")
_QUANTITY = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)\+?")
_MEMORY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([A-Za-z]{0,2})\+?")
_GIB = {
    "": 1.0,
    "GB": 1.0,
    "GI": 1.0,
    "G": 1.0,
    "MB": 1 / 1024,
    "MI": 1 / 1024,
    "M": 1 / 1024,
    "TB": 1024.0,
    "TI": 1024.0,
}
"""SkyPilot counts memory by 1024 whatever the unit is called (``sky.skylet.constants.MEMORY_SIZE_UNITS``, 0.14.1)."""


def accelerators(value: object) -> tuple[Accelerators, ...]:
    """Read ``L4``, ``L4:1``, a list of those, or a block of names with counts (an empty count is part of the name)."""
    if value is None:
        return ()
    if isinstance(value, dict):
        pairs = [f"{name}:{_count(count)}" if count is not None else str(name) for name, count in value.items()]
    elif isinstance(value, list):
        pairs = [_accelerator_word(v) for v in value]
    else:
        pairs = [_accelerator_word(value)]
    return tuple(_accelerator(pair) for pair in pairs)


def _accelerator_word(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{show(value)} is not an accelerator. Write it like L4:1")
    return value


def _count(count: object) -> str:
    if isinstance(count, bool) or not isinstance(count, (int, float)):
        raise Unreadable(f"{show(count)} is not a number of accelerators")
    return f"{count:g}" if abs(count) < 1_000_000 else "0"  # noqa: PLR2004  # refused below, as every count under 1


def _accelerator(word: str) -> Accelerators:
    found = _ACCELERATOR.fullmatch(word)
    if not found:
        raise Unreadable(f"{show(word)} is not an accelerator. Write it like L4:1")
    try:
        count = Decimal(found[2] or "1")
    except InvalidOperation as error:
        raise Unreadable(f"{show(word)} is not an accelerator. Write it like L4:1") from error
    if count != count.to_integral_value() or count < 1:
        raise Unreadable(f"{show(word)}: shares of an accelerator are not supported. Write a whole number")
    return Accelerators(found[1], int(count))


def vcpus(value: object) -> float | None:
    """Read ``4`` or ``4+`` as a lower bound."""
    if value is None:
        return None
    found = _QUANTITY.fullmatch(_quantity_text(value))
    if not found or float(found[1]) <= 0:
        raise Unreadable(f"{show(value)} is not a number of vCPUs. Write it like 4 or 4+")
    return float(found[1])


def memory_gib(value: object) -> float | None:
    """Read ``16``, ``16+``, ``16GB`` or ``512MB+`` as a lower bound in GiB."""
    if value is None:
        return None
    found = _MEMORY.fullmatch(_quantity_text(value))
    factor = _GIB.get(found[2].upper()) if found else None
    if not found or factor is None or float(found[1]) <= 0:
        raise Unreadable(f"{show(value)} is not an amount of memory. Write it like 16 or 16+, in GB")
    return float(found[1]) * factor


def infra(value: object) -> str:
    """Read ``cloud``, ``cloud/region`` or ``cloud/region/zone``."""
    if not isinstance(value, str) or not _INFRA.fullmatch(value):
        raise Unreadable(f"{show(value)} is not a place. Write it like aws or aws/eu-north-1")
    found = grammar.place(value)
    provider, _, rest = found.partition("/")
    if provider in _CONTEXTS and "/" in rest:
        raise Unreadable(f"{show(value)}: {provider} has no zones, and a context with a slash cannot be a region here")
    if "*" in zone_in(found):
        raise Unreadable(f"{show(value)}: write one zone, or none for any of the region's")
    return found


def zone(value: object) -> str:
    """Read a zone, on Slurm a partition."""
    return grammar.text(value, ZONE_PATTERN, "a zone like eu-north-1a")


def is_zone_id(place: str | None) -> bool:
    """Whether the place's zone is one of AWS by its id: SkyPilot launches by the names that an account has for them."""
    return (place or "").startswith("aws/") and _AWS_ZONE_ID.fullmatch(zone_in(place)) is not None


def cloud(value: object) -> str:
    """Read the name of a cloud, in any case, as SkyPilot does."""
    return grammar.provider(grammar.text(value, CLOUD_PATTERN, "a cloud"))


def _quantity_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return value if isinstance(value, str) else f"{value:.3f}".rstrip("0").rstrip(".")
