"""Carbon intensity out of what power stations produce. Pure.

Life-cycle factors are the medians of IPCC AR5 WG3 Annex III, Table A.III.2 (Schlömer et al. 2014). It has none for oil:
650 is that of the UK Parliamentary Office of Science and Technology (POSTnote 383, 2011). "Other" is what operators do
not tell; it is mostly burnt waste and gas, and stands between gas and coal, which is our own assumption. Imports are
not counted, so a grid that lives on its neighbours' coal looks cleaner than it is: the result is derived, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from orchestrator.domain.time import Instant

GRAMS_PER_KWH: Final[Mapping[str, float]] = {
    "coal": 820.0,
    "gas": 490.0,
    "oil": 650.0,
    "biomass": 230.0,
    "geothermal": 38.0,
    "hydro": 24.0,
    "nuclear": 12.0,
    "solar": 48.0,
    "wind": 11.0,
    "other": 655.0,
}
STORAGE: Final = "storage"
"""What comes out of storage went in before, and is counted there."""

SMALL_SHARE: Final = 0.01
"""A fuel below this share of the whole period's generation may be unknown in an hour without spoiling it."""


def intensity(generation_mw: Mapping[str, float | None]) -> float | None:
    """Return the mean of the factors, weighted by generation, g CO2e/kWh.

    ``generation_mw``: by our names of fuels. Negative generation is a station's own use, and counts as none. ``None``
    when a fuel's generation is unknown (it is not zero), when it has no factor, or when nothing is generated at all.
    """
    total = weighed = 0.0
    for fuel, megawatts in generation_mw.items():
        if fuel == STORAGE:
            continue
        factor = GRAMS_PER_KWH.get(fuel)
        if megawatts is None or factor is None or not math.isfinite(megawatts):
            return None
        total += max(0.0, megawatts)
        weighed += max(0.0, megawatts) * factor
    return weighed / total if total > 0 else None


def needed(hours: Mapping[Instant, Mapping[str, float | None]]) -> frozenset[str]:
    """Return the fuels that every hour must tell of: all but those with a small share of the whole."""
    sums: dict[str, float] = {}
    for generation in hours.values():
        for fuel, megawatts in generation.items():
            if fuel != STORAGE:
                sums[fuel] = sums.get(fuel, 0.0) + max(0.0, megawatts or 0.0)
    total = sum(sums.values())
    return frozenset(fuel for fuel, amount in sums.items() if amount > SMALL_SHARE * total)


def complete(generation_mw: Mapping[str, float | None], needed_fuels: frozenset[str]) -> Mapping[str, float | None]:
    """Return the hour as it may be weighed: unknown small fuels left out, unknown large ones made plain."""
    known = {f: mw for f, mw in generation_mw.items() if mw is not None or f in needed_fuels}
    return known | dict.fromkeys(needed_fuels - generation_mw.keys())
