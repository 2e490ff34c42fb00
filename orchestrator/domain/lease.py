"""A replica's lease: for how long it goes on when nobody of ours is heard of any more.

Whoever watches the engine on its machine counts the lease down by that machine's own clock. It begins anew when the
controller says so, by a path that needs nothing but reaching the replica, and when the engine serves requests: a
service that is used is nobody's orphan, however long the controller is away. When it is over the engine finishes what
it is saying and ends, and then its machine. See decision 0026.

The lease itself is physical time. What is recorded of it is grid time, like every other instant of the records.
"""

from __future__ import annotations

from datetime import timedelta

SHORTEST_LEASE = timedelta(hours=6)
"""Longer than an outage of the controller or its database that has to be lived through (a night's sleep)."""

LONGEST_LEASE = timedelta(days=30)

DEFAULT_LEASE = timedelta(hours=24)

ENDING = timedelta(minutes=15)
"""What the end takes at most once a lease is over: two minutes for what is being said, ten idle minutes until the
machine ends itself, and the minutes between looks at both."""

RENEWALS_PER_LEASE = 12
LONGEST_BETWEEN_RENEWALS = timedelta(minutes=10)


def renewed_every(lease: timedelta) -> timedelta:
    """Return how often a lease is renewed, physical time: many renewals may fail before one is missed."""
    return min(LONGEST_BETWEEN_RENEWALS, lease / RENEWALS_PER_LEASE)
