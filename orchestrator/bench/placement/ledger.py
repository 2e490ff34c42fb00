"""What placements emit. It knows nothing of how they came about, and reads nobody's own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from orchestrator.bench.placement.grid import Floats, Grid
from orchestrator.bench.placement.instance import Instance, Service
from orchestrator.errors import SignalFormatError, UsageError


@dataclass(frozen=True, slots=True)
class Bill:
    """Grams of CO2e over the scored hours, switching included, and the number of changes of region."""

    grams: float
    moves: int


class Ledger:
    """Counts grams of 1 kW of IT power: PUE times the grid's intensity, and a fixed mass for each change of region.

    Only the candidates of the ``services`` have to have numbers. Raises ``UsageError`` for a grid of other hours than
    the instance has, ``SignalUnavailable`` where it lacks a zone, ``SignalFormatError`` where a zone has gaps that no
    other day fills, or where staying at home emits nothing.
    """

    def __init__(self, instance: Instance, grid: Grid, services: Sequence[Service]) -> None:
        if grid.hours != instance.hours:
            message = f"ci_lifecycle_{grid.year} has {grid.hours} hours, the instance {instance.hours}"
            raise UsageError(message, hint="Use the carbon file that the instance was made from.")
        self.instance = instance
        self.grid = grid
        self._filled = {zone: grid.filled(zone) for zone in sorted(instance.zones(services))}
        self.grams = cache(self._grams)
        for service in services:
            self._refuse_home_of_nothing(service)

    def bill(self, service: Service, placements: Sequence[str]) -> Bill:
        """Count the grams of one region id per scored hour; the replica starts at its origin.

        Raises ``UsageError`` for a wrong number of hours or a region that is not a candidate.
        """
        scored = self.instance.scored
        if len(placements) != scored:
            message = f"{service.id}: {len(placements)} placements for {scored} scored hours"
            raise UsageError(message, hint="Give one region id per scored hour, or runs of [region, hours].")
        total = 0.0
        moves = 0
        before, begin = service.origin, 0
        for region, hours in runs(placements):
            if region not in service.candidates:
                raise UsageError(f"{service.id}: hour {begin} is in {region!r}, which is not a candidate")
            moves += region != before
            total += float(self.grams(region)[begin : begin + hours].sum())
            before, begin = region, begin + hours
        return Bill(total + moves * service.switching_grams, moves)

    def _refuse_home_of_nothing(self, service: Service) -> None:
        """All figures are percent of what staying at home emits."""
        if not self.grams(service.origin).sum() > 0:
            zone = self.instance.places[service.origin].zone
            message = f"column {zone!r} is 0 in every scored hour, and {service.id} is at home there"
            raise SignalFormatError(message, hint="Leave that service out: no saving is a percentage of nothing.")

    def _grams(self, region: str) -> Floats:
        """Grams of each scored hour in a region, (scored,); kept, because many services share a region."""
        place = self.instance.places[region]
        return np.asarray(self._filled[place.zone][self.instance.first :] * place.pue)

    def costs(self, regions: Sequence[str]) -> Floats:
        """Grams per hour, (scored, regions)."""
        return np.stack([self.grams(r) for r in regions], axis=1)


def runs(placements: Sequence[str]) -> list[tuple[str, int]]:
    """Return the placements as (region, hours) in order."""
    found: list[tuple[str, int]] = []
    begin = 0
    for t in range(1, len(placements) + 1):
        if t == len(placements) or placements[t] != placements[begin]:
            found.append((placements[begin], t - begin))
            begin = t
    return found
