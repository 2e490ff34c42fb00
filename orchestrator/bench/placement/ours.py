"""Our policy on a placement year: the rule of ``planner/follow``, given each hour only what was over by then.

It is not what the controller runs, which weighs its moves in ``planner/moves``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np

from orchestrator.bench.placement.grid import Floats, Grid
from orchestrator.bench.placement.instance import Instance, Service
from orchestrator.planner.follow.outlook import Habits, outlook
from orchestrator.planner.follow.past import filled_from_before
from orchestrator.planner.follow.rule import Arms, Temper, follow


def our_placements(
    instance: Instance, grid: Grid, services: Sequence[Service], year_before: Floats
) -> Iterator[tuple[Service, list[str]]]:
    """Yield each service with its region per scored hour; one outlook serves all of them.

    ``year_before`` is (hours, zones) of the grid's zones, perhaps without any hours: experience, where there is some.
    """
    seen = filled_from_before(np.vstack([year_before, grid.grams_per_kwh]))
    begins = date(grid.year - 1 if len(year_before) else grid.year, 1, 1)
    ahead = outlook(seen, len(year_before) + instance.first, begins.weekday(), Habits())
    for service in services:
        names = useful_regions(instance, service)
        places = [instance.places[n] for n in names]
        arms = Arms(tuple(grid.column(p.zone) for p in places), tuple(p.pue for p in places))
        path = follow(ahead, arms, service.switching_grams, Temper())
        yield service, [names[i] for i in path.tolist()]


def useful_regions(instance: Instance, service: Service) -> list[str]:
    """Return home, and of each zone the region with the lowest PUE (then the first by name), in the order of names.

    Every other region costs more than one of these in every hour, and as much to move to.
    """
    best: dict[str, str] = {}
    for name in service.candidates:
        place = instance.places[name]
        held = best.get(place.zone)
        if held is None or place.pue < instance.places[held].pue:
            best[place.zone] = name
    return [service.origin, *sorted(name for name in best.values() if name != service.origin)]
