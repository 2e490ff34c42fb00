"""What a reader of the figures has to know: what had to be assumed, who is left out, and what they do not show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orchestrator.domain.time import format_instant
from orchestrator.sim.batch import rounds_of
from orchestrator.sim.costs import changing
from orchestrator.sim.layout import open_to, seen_by_clients, why_not_counted
from orchestrator.sim.request import Request, rivals_of, sleeps, takes_spot
from orchestrator.sim.runs import HOME_ASLEEP
from orchestrator.sim.world import Setting

MOST_NAMED = 8
"""Of regions that are left out for one reason, so many are named."""


def notes_of(request: Request, setting: Setting) -> Iterator[str]:
    """Yield all of it, in words: of prices and spot, of places that are left out, of the service, of the past."""
    yield from setting.prices.notes
    if takes_spot(request):
        yield from setting.stock.notes
    yield from _left_out(request, setting)
    yield from _of_the_service(request, setting)
    yield from _of_the_past(setting)


def _left_out(request: Request, setting: Setting) -> list[str]:
    """Say in which regions nobody can stand because something that is counted there is not known, by reason."""
    standing = {o.region.id for o in setting.offers}
    regions: dict[str, set[str]] = {}
    for offer in open_to(request):
        if offer.region.id not in standing:
            place, zone = offer.region.id, offer.region.zone
            is_of_the_grid = zone is not None and zone not in setting.grid.zones
            regions.setdefault(why_not_counted(offer, setting.grid), set()).add(
                f"{place} ({zone})" if is_of_the_grid else place
            )
    notes = []
    for why, named in sorted(regions.items()):
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        notes.append(f"left out, {why}: {', '.join(sorted(named)[:MOST_NAMED])}{more}")
    return notes


def _of_the_service(request: Request, setting: Setting) -> list[str]:
    """Say what the figures do not show of a service that sleeps, has batch work, or shares traffic by the grid."""
    notes = []
    if (batch := request.spec.batch) is not None:
        rounds = rounds_of(batch, request.period)
        words = f"{len(rounds)} round{'' if len(rounds) == 1 else 's'} of batch work, the last due"
        words += f" {format_instant(rounds[-1].end)}, where the figures end"
        notes.append(f"{words}; replicas are full while they serve, and rivals begin each round at once")
        if left_out := sorted({*request.rules} - {*rivals_of(request)}):
            notes.append(f"without {', '.join(left_out)}: rules of how a replica moves that is always there")
    if sleeps(request.spec):
        quiet = sum(rate == 0 for rate in request.load.requests_per_second)
        words = f"{quiet} of {len(request.load.requests_per_second)} hours have no request: only in these it sleeps"
        notes.append(f"{words}, because requests flow evenly within an hour; rivals but {HOME_ASLEEP} never sleep")
    if guessed := sorted({o.region.id for o in setting.offers if seen_by_clients(o, request) is not o}):
        words = "lie where their grid zones have other regions, on average, as their own places are not known"
        notes.append(f"for the way to clients {', '.join(guessed)} {words}")
    if names := changing(request.spec.policy):
        words = "with the hour, so rivals and the oracle stand where these do not let the service stand"
        notes.append(f"what {', '.join(names)} of policy {request.spec.policy.name} allows changes {words}")
    if not request.evenly:
        words = "of greenctl's policies follows the grid; rivals and the oracle share it evenly"
        notes.append(f"traffic {words}, so that a policy may stand below the oracle")
    return notes


def _of_the_past(setting: Setting) -> list[str]:
    """Say who begins where, if nothing is recorded before the period."""
    if np.isfinite(setting.grid.grams_per_kwh[: setting.grid.past]).any():
        return []
    return ["nothing is recorded before the period: who goes by the grid begins at home, and looks from its values on"]
