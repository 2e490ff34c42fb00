"""Unit conversions, each exact or with its source. Everything else names its unit."""

from __future__ import annotations

JOULES_PER_KWH = 3_600_000.0
SECONDS_PER_HOUR = 3600.0
HOURS_PER_YEAR = 8760.0
"""A common year."""
WATTS_PER_KILOWATT = 1000.0
GRAMS_PER_POUND = 453.59237
"""International avoirdupois pound, exact by definition (1959)."""


def joules_to_kwh(joules: float) -> float:
    """Convert joules to kilowatt-hours."""
    return joules / JOULES_PER_KWH


def pounds_per_mwh_to_grams_per_kwh(pounds_per_mwh: float) -> float:
    """Convert WattTime's unit (lb CO2/MWh) to ours (g CO2/kWh)."""
    return pounds_per_mwh * GRAMS_PER_POUND / 1000.0


def watts_to_kw(watts: float) -> float:
    """Convert watts to kilowatts, which for one hour is also kWh."""
    return watts / WATTS_PER_KILOWATT
