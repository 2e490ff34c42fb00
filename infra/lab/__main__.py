"""``python -m infra.lab up|down|status``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infra.lab.config import DEFAULT_ROOT, LabConfig, LabError
from infra.lab.lab import Lab, down, status, up


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.lab", description="Slurm regions on this machine.")
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("--number", type=int, default=0, help="tells labs apart; two of one number cannot be up")
    parser.add_argument("--root", type=Path, help=f"where everything is kept ({DEFAULT_ROOT})")
    parser.add_argument("--nodes", type=int, default=3, help="nodes in each region (3)")
    parser.add_argument("--purge", action="store_true", help="down: remove the runtimes, too")
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        root = {} if asked.root is None else {"root": asked.root}
        config = LabConfig(number=asked.number, nodes=asked.nodes, **root)
        if asked.command == "status":
            found = status(config)
            print("\n".join(f"{'up  ' if there else 'down'} {name}" for name, there in found.items()))
            return 0 if all(found.values()) else 1
        if asked.command == "down":
            down(Lab(config), keep_runtimes=not asked.purge)
            print(f"the lab is down, nothing of it runs ({time.monotonic() - started:.0f} s)")
            return 0
        up(config)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = ", ".join(f"slurm/{place.region.name}" for place in config.places)
    print(f"the lab is up: {names}, {config.nodes} nodes each ({time.monotonic() - started:.0f} s)")
    print(f"use it:    . {config.root}/greenctl.env && greenctl deploy service.yaml    (resources: {{infra: slurm}})")
    print("end it:    make lab-down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
