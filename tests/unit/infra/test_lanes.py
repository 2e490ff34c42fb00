"""Commands beside each other, for ``make test``: what runs when, what is shown, what ends whom."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]

STAYS = """
import os, signal, sys
def end(*_):
    open(sys.argv[2], "w").write("ended")
    sys.exit(0)
signal.signal(signal.SIGINT, end)
open(sys.argv[1], "w").write(str(os.getpid()))
while True:
    signal.pause()
"""
"""Says on a pipe who it is, and at its end leaves a file."""


def lanes(*words: str) -> list[str]:
    """Return the words that start it."""
    return [sys.executable, "-m", "tests.lanes", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(lanes(*words), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    """A pipe by name, for bash: who reads waits for who writes."""
    made = tmp_path / "pipe"
    os.mkfifo(made)
    return shlex.quote(str(made))


def test_lanes_run_beside_each_other_and_each_block_stays_whole(pipe: str) -> None:
    """One waits for what the other says; the blocks come in the order of the words, whoever wrote first."""
    done = run(
        f"first=echo one; read -r said <{pipe}; echo heard $said", "then=echo two", "--", f"other=echo now >{pipe}"
    )

    assert done.returncode == 0
    assert done.stdout == "\n== first\none\nheard now\n\n== then\ntwo\n\n== other\n"


def test_the_first_failure_ends_the_others_and_is_told_last(pipe: str) -> None:
    """What failed is shown whole, with name and status; what waits for ever is ended, what comes later not begun."""
    done = run(f"waits=read -r said <{pipe}", "never=echo no", "--", "fails=echo why; exit 3")

    assert done.returncode == 3
    shown, _, failure = done.stdout.partition("\n== fails\n")
    assert "== waits: ended" in shown
    assert re.fullmatch(r"why\n\n== fails: FAILED with status 3 after \d+ s\n", failure)
    assert "== never" not in done.stdout


def test_an_interrupt_ends_every_command_with_what_it_started(pipe: str, tmp_path: Path) -> None:
    """Ctrl-C reaches them also where all was started with SIGINT ignored, and what they do then has time."""
    left, script = tmp_path / "left", tmp_path / "stays.py"
    script.write_text(STAYS)
    command = f"exec {sys.executable} {shlex.quote(str(script))} {pipe} {shlex.quote(str(left))}"
    process = subprocess.Popen(lanes(f"stays={command}"), cwd=ROOT, stdout=subprocess.PIPE, preexec_fn=_deaf)  # noqa: PLW1509
    child = int(Path(shlex.split(pipe)[0]).read_text())
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert b"interrupted: everything was ended" in output
    assert left.read_text() == "ended"
    assert not psutil.pid_exists(child)


@pytest.mark.parametrize(
    "words",
    [("a",), ("a=",), ("=b",), ("a=true", "--"), ("a=true", "--", "a=true")],
    ids=["no-sign", "no-command", "no-name", "empty-lane", "same-name"],
)
def test_words_that_are_no_lanes_run_nothing(words: tuple[str, ...]) -> None:
    """They are refused before anything starts."""
    done = run(*words)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tests.lanes: ")


def _deaf() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
