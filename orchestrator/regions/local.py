"""Regions of this machine: a name tied to a grid zone, so that one computer can stand in for several places."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.places import Region

PROVIDER = "local"


@dataclass(frozen=True, slots=True)
class LocalRegion:
    """One such region. ``name`` is the part after the slash; what a replica there costs is in the price catalogue."""

    name: str
    zone: str
    pue: float | None
    pue_source: str
    residency: frozenset[str] = frozenset()
    location: str = ""

    @property
    def id(self) -> str:
        """The region's id, ``local/se``."""
        return f"{PROVIDER}/{self.name}"

    def as_region(self) -> Region:
        """Return it as any other region."""
        return Region(
            id=self.id,
            zone=self.zone,
            pue=self.pue,
            pue_source=self.pue_source,
            residency=self.residency,
            location=self.location,
        )
