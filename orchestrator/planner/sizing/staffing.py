"""Square-root staffing: how many replicas carry an offered load without much waiting. Pure.

``n = R + beta * sqrt(R)`` for an offered load of ``R`` busy replicas: the spare grows with the root of the load, so
large services need relatively less of it. ``beta`` follows from the probability that an arriving request finds no room,
which in this regime depends on ``beta`` alone (Halfin and Whitt, "Heavy-traffic limits for queues with many exponential
servers", Operations Research 29(3), 1981, theorem 1 and equation 2.3)::

    P[wait] -> 1 / (1 + beta * Phi(beta) / phi(beta))

A replica is taken for one server although it carries many requests at once: the load is taken to swing by whole
replicas, as retries, retrieval and agents make it do. The room that is left is 47 % at one replica, 31 % at three, 19 %
at ten, 9 % at fifty.
"""

from __future__ import annotations

from functools import cache
from math import ceil, erf, exp, log, pi, sqrt

WAIT_PROBABILITY = 0.4
"""How often a swing may find all replicas at their usable batch. Then requests queue for moments, none is refused."""

_BISECTIONS = 80
_ROUNDING = 1e-9


def replicas_for(offered: float) -> int:
    """Return the fewest replicas for an offered load (busy replicas, ``>= 0``); at least 1. Raises ``ValueError``."""
    if not offered >= 0:
        raise ValueError(f"an offered load of {offered!r} replicas")
    return max(1, ceil(offered + beta_for(WAIT_PROBABILITY) * sqrt(offered) - _ROUNDING))


def usable_fraction(replicas: int) -> float:
    """Return how busy so many replicas may be on average, ``0..1``: what :func:`replicas_for` leaves free. Inverse."""
    beta = beta_for(WAIT_PROBABILITY)
    root = (-beta + sqrt(beta * beta + 4 * replicas)) / 2
    return root * root / replicas


@cache
def beta_for(wait_probability: float) -> float:
    """Return the service grade of a probability of waiting in ``(0, 1)``, by bisection. Raises ``ValueError``."""
    if not 0 < wait_probability < 1:
        raise ValueError(f"{wait_probability!r} is not a probability of waiting between 0 and 1")
    low, high = 0.0, 10.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if halfin_whitt(middle) > wait_probability else (low, middle)
    return (low + high) / 2


def halfin_whitt(beta: float) -> float:
    """Return the limit of the probability of waiting at service grade ``beta >= 0``."""
    density = exp(-beta * beta / 2) / sqrt(2 * pi)
    distribution = (1 + erf(beta / sqrt(2))) / 2
    return 1 / (1 + beta * distribution / density)


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability of waiting in M/M/n with ``offered < servers`` Erlang, 1 beyond that.

    By Erlang B's recursion ``1/B(k) = 1 + k/(a B(k-1))`` (Cooper, "Introduction to Queueing Theory", 1981, chapter 3),
    which stays stable for thousands of servers.
    """
    if offered >= servers:
        return 1.0
    if offered <= 0:
        return 0.0
    inverse_b = 1.0
    for k in range(1, servers + 1):
        inverse_b = 1 + inverse_b * k / offered
    blocking = 1 / inverse_b
    busy = offered / servers
    return blocking / (1 - busy * (1 - blocking))


def wait_quantile(servers: int, offered: float, service_seconds: float, quantile: float) -> float:
    """Return the waiting time (seconds) that the quantile (``0..1``) stays below in M/M/n; infinite when overloaded.

    Waiting is exponential with rate ``(n - a)/s`` behind Erlang C's probability of waiting at all (Cooper 1981,
    equation 3.13).
    """
    if offered >= servers:
        return float("inf")
    waits = erlang_c(servers, offered)
    if waits <= 1 - quantile:
        return 0.0
    return log(waits / (1 - quantile)) * service_seconds / (servers - offered)
