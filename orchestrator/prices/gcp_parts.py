"""Google's machines as sums of what is billed: so many cores, so much memory, so many accelerators. Pure.

Google lists no price of a machine. Compute Engine bills each part by a SKU of its own, and a machine costs the sum
("Compute Engine VM instance pricing"; SkyPilot's ``fetch_gcp`` adds them up alike). Only where all that comes with the
machine is among the known parts is the sum its price: for the others nothing is said but why.

What a SKU is for stands in its description alone, in prose. So descriptions are matched whole, beside the category and
the unit: near them are sole tenancy, commitments, custom machines, reservations, ``DWS Defined Duration`` (also
``OnDemand``), virtual workstations, and the 80 GB card whose name begins as that of the 40 GB one. A catalogue
that looked less closely had the ``DWS`` price of A100 for four regions in May 2026, a third below the list's.
"""

from __future__ import annotations

import re
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from orchestrator.domain.price import Market


class Part(StrEnum):
    """What is billed by the hour: one virtual core, one GiB of memory, one accelerator."""

    A2_CORE = "A2 core"
    A2_RAM = "A2 memory"
    A100 = "A100 40GB"
    G2_CORE = "G2 core"
    G2_RAM = "G2 memory"
    L4 = "L4"


_PARTS: Final = {
    "A2 Instance Core": Part.A2_CORE,
    "A2 Instance Ram": Part.A2_RAM,
    "Nvidia Tesla A100 GPU": Part.A100,
    "G2 Instance Core": Part.G2_CORE,
    "G2 Instance Ram": Part.G2_RAM,
    "Nvidia L4 GPU": Part.L4,
}
_DESCRIPTION: Final = re.compile(
    r"(?P<spot>Spot Preemptible )?(?P<machine>(?:A2|G2) Instance (?:Core|Ram)) running in \S.*"
    r"|(?P<card>Nvidia (?:Tesla A100|L4) GPU) (?P<on_spot>attached to Spot Preemptible VMs )?running in \S.*"
)
_USAGE: Final = {Market.ON_DEMAND: "OnDemand", Market.SPOT: "Preemptible"}


def part_of(description: str) -> tuple[Part, Market] | None:
    """Return what a SKU of that description bills and on which market; ``None`` if it is no part known here."""
    match = _DESCRIPTION.fullmatch(description)
    if match is None:
        return None
    market = Market.SPOT if match["spot"] or match["on_spot"] else Market.ON_DEMAND
    return _PARTS[match["machine"] or match["card"]], market


def contradiction(part: Part, market: Market, *, resource_group: str, usage_type: str, usage_unit: str) -> str:
    """Say why a SKU is not what it calls itself, by its category and its unit (the API's words); "" if it is."""
    group = "RAM" if part in {Part.A2_RAM, Part.G2_RAM} else "GPU" if part in {Part.A100, Part.L4} else "CPU"
    known = (group, _USAGE[market], "GiBy.h" if group == "RAM" else "h")
    told = (resource_group, usage_type, usage_unit)
    return "" if told == known else f"{part} is listed as {', '.join(told)}, not as {', '.join(known)}"


def _a2(count: int, cores: int, memory_gib: int) -> MappingProxyType[Part, int]:
    return MappingProxyType({Part.A2_CORE: cores, Part.A2_RAM: memory_gib, Part.A100: count})


def _g2(count: int, cores: int, memory_gib: int) -> MappingProxyType[Part, int]:
    return MappingProxyType({Part.G2_CORE: cores, Part.G2_RAM: memory_gib, Part.L4: count})


MACHINES: Final = MappingProxyType(
    {
        "a2-highgpu-1g": _a2(1, 12, 85),
        "a2-highgpu-2g": _a2(2, 24, 170),
        "a2-highgpu-4g": _a2(4, 48, 340),
        "a2-highgpu-8g": _a2(8, 96, 680),
        "a2-megagpu-16g": _a2(16, 96, 1360),
        "g2-standard-4": _g2(1, 4, 16),
        "g2-standard-8": _g2(1, 8, 32),
        "g2-standard-12": _g2(1, 12, 48),
        "g2-standard-16": _g2(1, 16, 64),
        "g2-standard-24": _g2(2, 24, 96),
        "g2-standard-32": _g2(1, 32, 128),
        "g2-standard-48": _g2(4, 48, 192),
        "g2-standard-96": _g2(8, 96, 384),
    }
)
"""Parts of each machine: "Accelerator-optimized machine family", as in SkyPilot's catalogue of May 2026."""

_SSD: Final = "local SSDs come with it, and how they are billed is not known"
_WITHOUT_SUM: Final = (
    ("a2-ultragpu-", _SSD),
    ("a3-", _SSD),
    ("a4-", _SSD),
    ("n1-", "accelerators are attached at will, and the machine's name does not say which"),
)


def why_no_sum(machine: str) -> str:
    """Say why a machine's price does not follow from its parts, "" if it does, or if nothing is known of it."""
    reason = next((why for prefix, why in _WITHOUT_SUM if machine.startswith(prefix)), "")
    return f"no sum of parts: {reason}" if reason else ""
