"""``python -m orchestrator.demo``: see the package's story."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from orchestrator.demo.story import Options, play
from orchestrator.errors import GreenctlError


def _options(words: list[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Two real vLLM replicas, three regions of this machine, a replayed grid, a policy that moves one.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--carbon-data", type=Path, metavar="DIR", help="a folder of recorded hourly intensities")
    parser.add_argument("--short", action="store_true", help="shorter stretches of steady traffic")
    parser.add_argument("--keep", action="store_true", help="keep the state directory, logs and database")
    found = parser.parse_args(words)
    return Options(json_file=found.json, carbon_data=found.carbon_data, short=found.short, keep=found.keep)


def main() -> int:
    """Play the demonstration; exit 0 only when the bar is met."""
    try:
        return asyncio.run(play(_options(sys.argv[1:])))
    except GreenctlError as error:
        sys.stderr.write(f"\nerror[{error.code}]: {error.message}\nhint: {error.hint()}\n")
        return int(error.exit_status)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; everything that the demonstration had started was stopped\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
