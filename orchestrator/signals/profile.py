"""A likeness of every known zone, for demonstrations and as the last resort: always synthetic, never random.

Yearly means and carbon-free shares of 2023 are Electricity Maps' published yearly figures (ODbL 1.0), solar shares are
Ember's (CC BY 4.0) for countries and our own estimates for parts of countries; ``zone_facts.csv`` names the source in
each row. The day is drawn by :mod:`orchestrator.signals.shape`. Live values differ from it on any given day by far
more than zones differ from one another, so nothing here may be reported as what a grid emitted.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from orchestrator.domain.time import HOUR, Instant
from orchestrator.signals.likeness import LikenessCarbon
from orchestrator.signals.shape import Shape, ZoneFacts

ZONE_FACTS = Path(__file__).with_name("zone_facts.csv")


class ProfileCarbon(LikenessCarbon):
    """A :class:`~orchestrator.control.ports.CarbonSource` that knows the typical day of each zone.

    It serves average life-cycle intensity only.
    """

    def __init__(self, facts: Mapping[str, ZoneFacts] | None = None) -> None:
        super().__init__(_Day(), packaged_facts() if facts is None else facts)


class _Day:
    name = "profile"
    plural = "synthetic profiles"

    def __init__(self) -> None:
        self._shapes: dict[ZoneFacts, Shape] = {}

    def of(self, facts: ZoneFacts) -> str:
        return f"synthetic profile of {facts.year}"

    def grams_per_kwh(self, facts: ZoneFacts, start: Instant) -> float:
        if facts not in self._shapes:
            self._shapes[facts] = Shape.of(facts)
        return self._shapes[facts].grams_per_kwh(start + HOUR / 2)


@cache
def packaged_facts() -> Mapping[str, ZoneFacts]:
    """Read the facts that ship with the package, by zone."""
    with ZONE_FACTS.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {
            row["zone"]: ZoneFacts(
                zone=row["zone"],
                year=int(row["year"]),
                mean_grams_per_kwh=float(row["mean_grams_per_kwh"]),
                fossil_share=1 - float(row["carbon_free_share"]),
                solar_share=float(row["solar_share"]),
                latitude=float(row["latitude"]),
                longitude=float(row["longitude"]),
                source=f"{row['mean_source']}; solar: {row['solar_source']}",
            )
            for row in rows
        }
