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

from orchestrator.domain.carbon import Accounting, Basis, Factors, Gap
from orchestrator.domain.time import Instant

BASIS: Final = Basis(Accounting.AVERAGE, Factors.LIFECYCLE)
"""Of what is weighed here, and of the yearly figures that are packaged (:mod:`orchestrator.signals.likeness`)."""

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


def of_another_basis(zone: str, basis: Basis, source: str) -> Gap | None:
    """Say that what is asked for does not follow from a mix and these factors, ``None`` if it does."""
    if basis == BASIS:
        return None
    asked = f"{basis.accounting} {basis.factors}"
    return Gap(zone, f"its mix is weighed with life-cycle factors, {asked} was asked for", source)


def intensity(generation_mw: Mapping[str, float | None], fuel_of: Mapping[str, str]) -> float | None:
    """Return the mean of the factors, weighted by generation, g CO2e/kWh.

    ``generation_mw``: by the source's own codes. ``fuel_of``: our fuel of each code; others count as "other". Negative
    generation is a station's own use, and counts as none. ``None`` when a code's generation is unknown, which is not
    zero, or when nothing is generated at all.
    """
    total = weighed = 0.0
    for code, megawatts in generation_mw.items():
        fuel = fuel_of.get(code, "other")
        if fuel == STORAGE:
            continue
        factor = GRAMS_PER_KWH[fuel]
        if megawatts is None or not math.isfinite(megawatts):
            return None
        total += max(0.0, megawatts)
        weighed += max(0.0, megawatts) * factor
    return weighed / total if total > 0 else None


def needed(hours: Mapping[Instant, Mapping[str, float | None]], fuel_of: Mapping[str, str]) -> frozenset[str]:
    """Return the codes that every hour must tell of: all but storage and those with a small share of the whole.

    Codes, not fuels: an hour in which one kind of coal has not arrived yet does not burn less of it.
    """
    sums: dict[str, float] = {}
    for generation in hours.values():
        for code, megawatts in generation.items():
            if fuel_of.get(code) != STORAGE:
                sums[code] = sums.get(code, 0.0) + max(0.0, megawatts or 0.0)
    total = sum(sums.values())
    return frozenset(code for code, amount in sums.items() if amount > SMALL_SHARE * total)


def complete(generation_mw: Mapping[str, float | None], needed_codes: frozenset[str]) -> Mapping[str, float | None]:
    """Return the hour as it may be weighed: unknown small codes left out, unknown large ones made plain."""
    known = {code: mw for code, mw in generation_mw.items() if mw is not None or code in needed_codes}
    return known | dict.fromkeys(needed_codes - generation_mw.keys())
