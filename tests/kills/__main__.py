"""``python -m tests.kills --rounds 20 --seed 0``: live through the rounds, tell each, and end with one line.

Exit status 1 where a request failed or a stream was cut by anything but the gateway's own death, or a round did not
come to rest. What that death takes is counted apart: requests that were open in it, and those while there was none.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import signal
import sys
import time

import psutil

from tests.e2e.deployment import make
from tests.kills.clients import Clients
from tests.kills.life import Life, Round


def main() -> int:
    """Run the session."""
    parser = argparse.ArgumentParser(prog="make kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["vllm", "builtin"], default="vllm")
    parser.add_argument("--gateway", choices=["serve", "plain"], default="serve")
    parser.add_argument("--only", default="", help="let nobody die but victims with these words in their name")
    asked = parser.parse_args()

    _say(f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}; engine {asked.engine}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave nothing running then, either
    made = make(GREENCTL_GATEWAY__MODE=asked.gateway)
    life = Life(made, asked.engine, asked.seed)
    began = time.monotonic()
    try:
        life.begin()
        _say(f"two replicas serve after {time.monotonic() - began:.0f} s")
        life.only(asked.only)
        clients = asyncio.run(life.live(asked.rounds, _tell))
        violations = _sum_up(clients)  # before the end, which may fail in its own way
        life.end()
    finally:
        made.end()
    _say(f"{asked.rounds} runs, {violations} violations")
    return min(violations, 1)


def _sum_up(clients: Clients) -> int:
    """Say what became of the requests, and return how many were lost that nothing excuses."""
    tally, losses = clients.tally, clients.losses()
    for problem in losses.others:
        _say(problem)
    _say(
        f"{tally.ok} answers complete, {tally.failed} failed, {tally.truncated} truncated, "
        f"{tally.resumed} streams went on elsewhere"
    )
    if clients.outages:
        away = [o.ended - o.began for o in clients.outages if o.ended is not None]
        _say(
            f"the gateway died {len(clients.outages)} times: {losses.cut} requests were open in it and cut, "
            f"{losses.refused} refused while there was none; another one served after {max(away):.1f} s at the latest"
        )
        _say(f"how they ended: {', '.join(f'{count} x {kind}' for kind, count in losses.kinds.most_common())}")
    return len(losses.others)


def _tell(lived: Round) -> None:
    away = "" if lived.away_seconds is None else f"; served again {lived.away_seconds:.1f} s later"
    _say(
        f"{lived.number:3} {lived.asked:<8} {lived.after_seconds:5.1f} s  SIGKILL: {lived.died}"
        f" ({lived.found}){away}; at rest {lived.rest_seconds:.0f} s later",
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
