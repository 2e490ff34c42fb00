"""Regions and the grid zones that feed them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A place where a provider sells capacity.

    ``id`` is ``provider/name`` as SkyPilot's ``infra`` writes it (``aws/eu-north-1``, ``local/se``). ``zone`` is the
    Electricity-Maps style grid zone, ``None`` when nobody has established it: such a region is shown and excluded.
    ``pue`` is facility energy over IT energy (ISO/IEC 30134-2), ``wue_liters_per_kwh`` on-site water per IT kWh;
    each with the source that says so. ``residency`` holds the jurisdictions it lies in (``EU``, ``EEA``, ``SE``).
    """

    id: str
    zone: str | None
    pue: float | None
    pue_source: str
    residency: frozenset[str] = frozenset()
    wue_liters_per_kwh: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    location: str = ""

    @property
    def provider(self) -> str:
        """The part before the slash."""
        return self.id.partition("/")[0]
