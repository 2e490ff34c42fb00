"""The longer run: seeds, crash points, the model and its mistakes, told with machine, commit and command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

SIM_SHARE, CRASH_SHARE, PAIRS_SHARE = 0.55, 0.2, 0.1
"""Of the seconds; the model takes what it takes."""

WORLDS, POINTS, PAIRS = 10, 8, 5
"""Of each story: in how many worlds it is told, and at how many points of each it crashes in every mode, or twice."""

MANY = 10**6


def verify(seconds: float, seed0: int, report: Path) -> int:
    """Run everything for about so long, write the report, and return 1 when anything was broken."""
    runs = (
        ("Bad days", ("sim", "--seeds", f"{MANY}", "--seed0", f"{seed0}", "--seconds", f"{SIM_SHARE * seconds:.0f}")),
        ("Crash points", _crash(seed0, POINTS, CRASH_SHARE * seconds)),
        ("Two crashes in a row", (*_crash(seed0, PAIRS, PAIRS_SHARE * seconds), "--pairs")),
        ("The model and its mistakes", ("model", "--names", "2", "--turns", "2")),
    )
    parts, failed = [_heading(seconds, seed0)], 0
    for title, words in runs:
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "tests.sim", *words], capture_output=True, text=True, check=False)
        failed += done.returncode != 0
        parts.append(_part(title, words, done.stdout + done.stderr[-2000:], time.monotonic() - began))
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
    parts.append("Nothing was broken.\n" if not failed else f"{failed} of {len(runs)} parts found something broken.\n")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(parts), encoding="utf-8")
    return int(failed > 0)


def _crash(seed0: int, points: int, seconds: float) -> tuple[str, ...]:
    worlds = ("--seeds", f"{WORLDS}", "--seed0", f"{seed0}")
    return ("crash", *worlds, "--points", f"{points}", "--seconds", f"{seconds:.0f}")


def _heading(seconds: float, seed0: int) -> str:
    commit, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "--", "orchestrator")
    state = f"commit {commit or 'unknown'}" + (", with changes that are not in it" if changed else "")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    today = datetime.now(UTC).date().isoformat()
    return "\n".join(
        (
            "# What the longer run found",
            "",
            f"`make verify SECONDS={seconds:.0f} SEED0={seed0}` on {today}: {state};",
            f"{machine}.",
            "",
            "One part after the other; the bad days share the cores. Seconds bound the bad days and the crash points,",
            "so a busy machine does fewer of them; each follows from its seed, and can be lived through again with",
            "`make sim SEED=...`.",
            "",
        )
    )


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip()


def _part(title: str, words: Sequence[str], told: str, took: float) -> str:
    return f"## {title}\n\n`python -m tests.sim {' '.join(words)}`, {took:.0f} s\n\n```\n{told.strip()}\n```\n"
