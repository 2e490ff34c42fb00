"""Ports for what Ray Serve starts beside the gateway, chosen seconds before it listens on them."""

from __future__ import annotations

import random
import socket
from itertools import chain, islice
from pathlib import Path
from typing import Final

from orchestrator.errors import ProviderError

_LENT_BY_KERNEL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LENT_ELSEWHERE: Final = range(49_152, 65_536)
"""Dynamic ports, which systems without that file lend (RFC 6335, section 6)."""

_FIRST: Final = 10_000
"""Below live services that people know by their number."""

_LAST: Final = 65_535
_BY_CHANCE = random.SystemRandom()


def lent_ports(file: Path = _LENT_BY_KERNEL) -> range:
    """Return the ports of which the kernel gives any to any client for the local end of a connection."""
    try:
        lowest, highest = map(int, file.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return _LENT_ELSEWHERE
    return range(lowest, highest + 1)


def free_ports(count: int, lent: range | None = None) -> list[int]:
    """Return ports that nobody listens on, all different, and none that the kernel may lend before they are used.

    A port found by binding to 0 is one that is lent: while Ray starts, it opens hundreds of connections, and any of
    them may take it. ``lent``: what the kernel says, unless told. Raises ``ProviderError`` when there are too few.
    """
    lent = lent_ports() if lent is None else lent
    above, below = range(lent.stop, _LAST + 1), range(_FIRST, lent.start)
    # Those above belong to nobody; replicas of this machine have some of those below; the lent are the last resort.
    candidates = chain.from_iterable(map(_in_any_order, (above, below, lent)))
    found = list(islice(filter(_is_free, candidates), count))
    if len(found) < count:
        raise ProviderError(f"fewer than {count} ports of this machine are free", hint="Stop some of what listens.")
    return found


def _in_any_order(ports: range) -> list[int]:
    """Two gateways that start at once must not try the same ports in the same order."""
    return _BY_CHANCE.sample(ports, len(ports))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
