"""One number a zone and year, the last resort: it says where a zone stands among others, and nothing of the day.

The numbers are those of :mod:`orchestrator.signals.profile` without the day that is drawn there. They are synthetic:
no grid ever has its yearly mean for long.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.time import Instant
from orchestrator.signals.likeness import LikenessCarbon
from orchestrator.signals.profile import packaged_facts
from orchestrator.signals.shape import ZoneFacts


class StaticCarbon(LikenessCarbon):
    """A :class:`~orchestrator.control.ports.CarbonSource` of yearly means, average life-cycle intensity only."""

    def __init__(self, facts: Mapping[str, ZoneFacts] | None = None) -> None:
        super().__init__(_Mean(), packaged_facts() if facts is None else facts)


class _Mean:
    name = "static"
    plural = "yearly means"

    def of(self, facts: ZoneFacts) -> str:
        return f"yearly mean of {facts.year}"

    def grams_per_kwh(self, facts: ZoneFacts, start: Instant) -> float:
        del start
        return facts.mean_grams_per_kwh
