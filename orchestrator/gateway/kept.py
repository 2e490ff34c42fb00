"""Who served a moment ago and is in the table no more, though nobody said that it should leave. Pure.

A replica that leaves on purpose drains first: a table says so, and the controller waits until every gateway has it.
One that is gone from the next table without a word was given up, or forgotten by whoever wrote that table: a controller
that cannot reach anybody, or that has another memory than before. As long as that is few, the controller is believed.
Where it is more than what is left, those that still answer the gateway itself are served by on (decision 0050): until
the table names enough others, or them again, until they answer no more, or until so much time has passed that they
would have ended by themselves.

Only what the last table named is ever kept, with its address, key and region: nobody is sent where he was not before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream

KEPT_SECONDS: Final = 6 * 3600.0
"""The shortest lease: so long a replica lives that nobody is heard of."""


@dataclass(frozen=True, slots=True)
class Missed:
    """What a table took away of one service without a word.

    ``routes``: as the last table that named them wrote the service, with those upstreams alone. ``since``: when the
    first of them was missed, in seconds of the gateway's clock.
    """

    routes: ServiceRoutes
    since: float


def missed_in(table: RoutingTable, last: RoutingTable | None, before: Sequence[Missed], now: float) -> list[Missed]:
    """Return who is missed in a new table: of the last one and of those that were missed before.

    Who drained was told to leave, an address that has another name now is another's, and after :data:`KEPT_SECONDS`
    nobody is waited for. A table that lets everybody drain whom it names of a service says that the service shall end.
    """
    names = {u.replica for s in table.services for u in s.upstreams}
    addresses = {u.url for s in table.services for u in s.upstreams}
    known = {m.routes.service: m for m in before}
    found = []
    ending = {s.service for s in table.services if s.upstreams and all(u.draining for u in s.upstreams)}
    for routes in _last_words(last, before):
        if routes.service in ending:
            continue
        old = known.get(routes.service)
        candidates = [*routes.upstreams, *(old.routes.named_for(routes.model) if old is not None else ())]
        gone = {
            u.replica: u for u in candidates if not u.draining and u.replica not in names and u.url not in addresses
        }
        since = now if old is None else old.since
        if gone and now - since < KEPT_SECONDS:
            found.append(Missed(replace(routes, upstreams=tuple(gone.values())), since))
    return found


def _last_words(last: RoutingTable | None, before: Sequence[Missed]) -> Iterable[ServiceRoutes]:
    """Yield the routes of every service that was served by, or is missed, as they were written last."""
    services = last.services if last is not None else ()
    yield from services
    named = {s.service for s in services}
    yield from (m.routes for m in before if m.routes.service not in named)


def doubtful(missed: Sequence[Missed], table: RoutingTable) -> list[Missed]:
    """Return those of whom more is missed than is left for new requests."""
    left = {s.service: sum(not u.draining for u in s.upstreams) for s in table.services}
    return [m for m in missed if len(m.routes.upstreams) > left.get(m.routes.service, 0)]


def with_kept(table: RoutingTable, kept: Sequence[Missed], answering: Collection[str]) -> RoutingTable:
    """Return the table with those of the kept that answer: by its own words where it names the service, else by theirs.

    ``answering``: names of replicas.
    """
    added: dict[str, ServiceRoutes] = {}
    for one in kept:
        upstreams = tuple(u for u in one.routes.upstreams if u.replica in answering)
        if upstreams:
            added[one.routes.service] = replace(one.routes, upstreams=upstreams)
    if not added:
        return table
    named = [
        s if s.service not in added else replace(s, upstreams=(*s.upstreams, *added.pop(s.service).named_for(s.model)))
        for s in table.services
    ]
    return replace(table, services=(*named, *added.values()))


def upstreams_of(missed: Iterable[Missed]) -> list[tuple[str, Upstream]]:
    """Return each missed upstream with the name of the model that it has to serve."""
    return [(m.routes.name_at(u), u) for m in missed for u in m.routes.upstreams]


def without(missed: Iterable[Missed], names: Collection[str]) -> list[Missed]:
    """Return the missed without the replicas of these names."""
    left = [(m, tuple(u for u in m.routes.upstreams if u.replica not in names)) for m in missed]
    return [replace(m, routes=replace(m.routes, upstreams=upstreams)) for m, upstreams in left if upstreams]
