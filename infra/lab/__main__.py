"""``python -m infra.lab up|down|status``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infra.lab.config import DEFAULT_REGIONS, LabConfig, LabError, RegionConfig, default_root
from infra.lab.lab import Lab, down, recorded, status, still_using, up

EPILOG = """\
A region is NAME=ZONE:AREA,AREA...: the grid zone that its replicas are taken to stand in, and the areas of residency
that it counts for. The default is two: eu-north=SE:SE,EU,EEA us-east=US-MIDA-PJM:US
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.lab", description="Slurm regions on this machine.", epilog=EPILOG
    )
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("--number", type=int, default=0, help="tells labs apart; two of one number cannot be up (0)")
    parser.add_argument("--root", type=Path, help="where everything is kept (GREENCTL_LAB_ROOT, /var/lib/greenctl-lab)")
    parser.add_argument("--nodes", type=int, default=3, help="up: nodes in each region (3)")
    parser.add_argument("--region", action="append", type=region, metavar="NAME=ZONE:AREAS", help="up: once for each")
    parser.add_argument("--purge", action="store_true", help="down: remove the runtimes, too")
    asked = parser.parse_args(arguments)
    try:
        return COMMANDS[asked.command](asked)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def region(text: str) -> RegionConfig:
    """Read one region from the command line."""
    name, equals, facts = text.partition("=")
    zone, colon, areas = facts.partition(":")
    if not (equals and colon and zone and areas):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ZONE:AREA,AREA")
    return RegionConfig(name, zone, tuple(areas.split(",")))


def _up(asked: argparse.Namespace) -> int:
    started = time.monotonic()
    config = _asked_config(asked)
    if all(status(config).values()) and recorded(config.root) == config:
        print(f"the lab is up already, nothing to do ({time.monotonic() - started:.1f} s)")
    else:
        up(config, lambda line: print(f"  {line}", flush=True))
        names = ", ".join(f"slurm/{place.region.name}" for place in config.places)
        print(f"the lab is up: {names}, {config.nodes} nodes each ({time.monotonic() - started:.1f} s)")
    print(f"use it:    . {config.root}/greenctl.env && greenctl deploy service.yaml    (resources: {{infra: slurm}})")
    print("end it:    make lab-down")
    return 0


def _down(asked: argparse.Namespace) -> int:
    started = time.monotonic()
    config = _present_config(asked)
    for line in still_using(config):
        print(f"this will miss the lab: {line[:120]}", file=sys.stderr)
    down(Lab(config), keep_runtimes=not asked.purge)
    print(f"the lab is down, nothing of it runs ({time.monotonic() - started:.1f} s)")
    return 0


def _status(asked: argparse.Namespace) -> int:
    found = status(_present_config(asked))
    print("\n".join(f"{'up  ' if there else 'down'} {name}" for name, there in found.items()))
    return 0 if all(found.values()) else 1


def _asked_config(asked: argparse.Namespace) -> LabConfig:
    root = asked.root or default_root(asked.number)
    regions = tuple(asked.region or DEFAULT_REGIONS)
    return LabConfig(number=asked.number, root=root.absolute(), nodes=asked.nodes, regions=regions)


def _present_config(asked: argparse.Namespace) -> LabConfig:
    """The lab that is there; if none is, the one that was asked for, of which there may be remains."""
    config = _asked_config(asked)
    return recorded(config.root) or config


COMMANDS = {"up": _up, "down": _down, "status": _status}


if __name__ == "__main__":
    sys.exit(main())
