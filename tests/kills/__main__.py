"""``python -m tests.kills --rounds 20 --seed 0``: live through the rounds, tell each, and end with one line.

Exit status 1 where a request failed, a stream was cut, or a round did not come to rest.
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
from tests.kills.life import Life, Round


def main() -> int:
    """Run the session."""
    parser = argparse.ArgumentParser(prog="make kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["vllm", "builtin"], default="vllm")
    parser.add_argument("--gateway", choices=["serve", "plain"], default="serve")
    asked = parser.parse_args()

    _say(f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}; engine {asked.engine}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave nothing running then, either
    made = make(GREENCTL_GATEWAY__MODE=asked.gateway)
    life = Life(made, asked.engine, asked.seed)
    began = time.monotonic()
    try:
        life.begin()
        _say(f"two replicas serve after {time.monotonic() - began:.0f} s")
        tally = asyncio.run(life.live(asked.rounds, _tell))
        life.end()
    finally:
        made.end()
    broken = tally.failed + tally.truncated
    for problem in tally.problems:
        _say(problem)
    _say(
        f"{tally.ok} answers complete, {tally.failed} failed, {tally.truncated} truncated, "
        f"{tally.resumed} streams went on elsewhere"
    )
    _say(f"{asked.rounds} runs, {broken} violations")
    return min(broken, 1)


def _tell(lived: Round) -> None:
    _say(
        f"{lived.number:3} {lived.asked:<8} {lived.after_seconds:5.1f} s  SIGKILL: {lived.died}"
        f" ({lived.found}); at rest {lived.rest_seconds:.0f} s later",
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
