"""Ports for what a test starts: each is given once, and the kernel gives none of them to anybody else.

Linux takes the local end of outgoing connections from 32768 up (``ip_local_port_range``), and a port that was found by
binding to 0 is one of those: until the program that it is meant for listens, any client may get it. Replicas have
20000 to 29999 (``orchestrator/provisioners/local/provisioner.py``), labs what ``infra/lab/config.py`` says.
"""

from __future__ import annotations

import os
import socket
from itertools import count

PORTS = range(30_000, 32_768)

_APART = 97
"""Test processes that start together have process ids that follow on each other; each needs some dozens of ports."""

_numbers = count(os.getpid() * _APART)


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on, and that this process gave to nobody before."""
    for number in (next(_numbers) for _ in PORTS):
        port = PORTS[number % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"every port from {PORTS[0]} to {PORTS[-1]} is taken")
