"""Run every policy on the services of a year and send each the same bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from orchestrator.bench.placement.grid import Floats, Grid
from orchestrator.bench.placement.installed import installed_placements
from orchestrator.bench.placement.instance import Instance, Service
from orchestrator.bench.placement.ledger import Bill, Ledger
from orchestrator.bench.placement.ours import our_placements
from orchestrator.bench.placement.placements import Placements
from orchestrator.bench.placement.report import Row, Summary, rows, summaries
from orchestrator.bench.placement.rivals import RIVALS, View
from orchestrator.errors import UsageError
from orchestrator.planner.follow.past import filled_from_before

OURS: Final = "greenctl"
INSTALLED: Final = "controller"
"""The rules that the installed controller moves by."""

GIVEN: Final = "given"
"""The placements of a file that is only counted."""


@dataclass(frozen=True)
class Outcome:
    """What a bench of a year found. ``bills``: by service, then by policy."""

    year: int
    hours: int
    first: int
    services: tuple[Service, ...]
    policies: tuple[str, ...]
    bills: Mapping[str, Mapping[str, Bill]]

    @property
    def rows(self) -> list[Row]:
        """By track, RTT, K and policy."""
        return rows(self.services, self.bills, self.policies)

    @property
    def summaries(self) -> list[Summary]:
        """By track and policy."""
        return summaries(self.services, self.bills, self.policies)


def place(
    instance: Instance, grid: Grid, services: Sequence[Service], year_before: Floats, done: Callable[[], None]
) -> dict[str, Sequence[str]]:
    """Return our placements by service; ``done`` is called after each. Raises what :class:`Ledger` does."""
    # Files that do not belong together are refused before the work, not after it.
    Ledger(instance, grid, services)
    placements: dict[str, Sequence[str]] = {}
    for service, hours in our_placements(instance, grid, services, year_before):
        placements[service.id] = hours
        done()
    return placements


def measure(
    instance: Instance,
    grid: Grid,
    services: Sequence[Service],
    placements: Placements,
    year_before: Floats,
    *,
    name: str,
    done: Callable[[], None],
) -> Outcome:
    """Bill the placements, under that name, and every rival. Raises ``UsageError`` when a service has none.

    ``year_before`` is (hours, zones) of the grid's zones, perhaps without any hours: by it rivals, too, fill what the
    year does not have in its first hours.
    """
    missing = [s.id for s in services if s.id not in placements]
    if missing:
        message = f"{len(missing)} of {len(services)} services have no placements, the first is {missing[0]}"
        raise UsageError(message, hint="All services of a track are needed; --track chooses one track.")
    ledger = Ledger(instance, grid, services)
    seen = filled_from_before(np.vstack([year_before, grid.grams_per_kwh]))[len(year_before) :]
    bills: dict[str, dict[str, Bill]] = {}
    for service, installed in installed_placements(instance, grid, services, year_before):
        view = _view(service, ledger, seen)
        bills[service.id] = {
            name: ledger.bill(service, placements[service.id]),
            INSTALLED: ledger.bill(service, installed),
        }
        for rival, policy in RIVALS.items():
            path = [service.candidates[i] for i in policy(view).tolist()]
            bills[service.id][rival] = ledger.bill(service, path)
        done()
    return Outcome(instance.year, instance.hours, instance.first, tuple(services), (name, INSTALLED, *RIVALS), bills)


def _view(service: Service, ledger: Ledger, seen: Floats) -> View:
    places = [ledger.instance.places[c] for c in service.candidates]
    columns = [ledger.grid.column(p.zone) for p in places]
    return View(
        seen=seen[:, columns] * np.array([p.pue for p in places]),
        costs=ledger.costs(service.candidates),
        first=ledger.instance.first,
        home=service.candidates.index(service.origin),
        switching_grams=service.switching_grams,
    )
