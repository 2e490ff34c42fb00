"""``make error-paths``: how much of what must never be wrong its own tests reach, branches included, module by module.

Most catastrophic failures come from errors that were handled wrongly, not from those that were not foreseen (Yuan et
al., "Simple Testing Can Prevent Most Critical Failures", OSDI 2014). So journal, controller and reaper have a floor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LEAST_PERCENT = 95.0

MODULES = (
    *(f"orchestrator/store/{name}.py" for name in ("chain", "chain_check", "journal", "resting", "rules", "turns")),
    *(f"orchestrator/control/{name}.py" for name in ("apply", "held_turn", "leases", "reaper", "sweep")),
    "orchestrator/domain/turns.py",
    *(f"orchestrator/planner/{name}.py" for name in ("orphans", "reaping")),
    *(f"orchestrator/controller/{name}.py" for name in ("home", "lock")),
)
TESTS = (
    "tests/contract/test_store_contract.py",
    "tests/contract/test_history_store_contract.py",
    "tests/contract/test_turn_store_contract.py",
    "tests/contract/test_orphan_store_contract.py",
    "tests/contract/test_spending_store_contract.py",
    "tests/integration/test_journal_chain.py",
    "tests/integration/test_resting.py",
    "tests/property/test_reaper_properties.py",
    "tests/scenario/test_deploy.py",
    "tests/scenario/test_journal_edits.py",
    "tests/scenario/test_launch_faults.py",
    "tests/scenario/test_lease.py",
    "tests/scenario/test_loss.py",
    "tests/scenario/test_migration.py",
    "tests/scenario/test_orphans.py",
    "tests/unit/control/test_applying.py",
    "tests/unit/control/test_controller_daemon.py",
    "tests/unit/control/test_controller_home.py",
    "tests/unit/control/test_held_turn.py",
    "tests/unit/control/test_reaping_corners.py",
    "tests/unit/domain/test_turns.py",
    "tests/unit/planner/test_orphans.py",
    "tests/unit/test_file_locks.py",
)
"""Those that are about these modules; what others reach by the way does not count."""


def main(words: Sequence[str]) -> int:
    """Run the tests and print the figures; 1 when one is below the floor, pytest's own status when a test fails.

    The figures are told then, too: what failed may have reached less, never more.
    """
    with tempfile.TemporaryDirectory(prefix="greenctl-cover-") as folder:
        report = Path(folder) / "coverage.json"
        names = [f"--cov={module.removesuffix('.py').replace('/', '.')}" for module in MODULES]
        told = ["--cov-branch", "--cov-report=", f"--cov-report=json:{report}"]
        status = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *names, *told, *TESTS, *words],
            env={**os.environ, "GREENCTL_TRACE_ALL": "1"},  # properties too
            check=False,
        ).returncode
        low = tell(json.loads(report.read_text())["files"]) if report.exists() else 1
        return status or low


def tell(files: Mapping[str, Mapping[str, Mapping[str, float]]]) -> int:
    """Print a line for each module; 1 when one is below the floor, or nothing was measured of it."""
    low = 0
    say(f"{'module':<36}{'lines':>12}{'branches':>12}{'covered':>10}")
    for module in MODULES:
        found = files.get(module)
        if found is None:
            say(f"{module:<36}  not measured")
            low = 1
            continue
        sums = found["summary"]
        lines = f"{sums['covered_lines']:.0f}/{sums['num_statements']:.0f}"
        branches = f"{sums['covered_branches']:.0f}/{sums['num_branches']:.0f}"
        percent = sums["percent_covered"]
        is_low = percent < LEAST_PERCENT or sums["covered_branches"] < LEAST_PERCENT / 100 * sums["num_branches"]
        say(f"{module:<36}{lines:>12}{branches:>12}{percent:>9.1f}%{'  below ' + str(LEAST_PERCENT) if is_low else ''}")
        low |= is_low
    return int(low)


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
