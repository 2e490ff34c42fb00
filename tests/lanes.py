"""Commands beside each other, each one's output in one block: ``python3 -m tests.lanes LANE -- LANE``.

A lane is words ``NAME=COMMAND``: commands for bash, one after the other. The output of the first command that still
runs is shown as it comes, that of others waits for its turn. The first that fails ends the whole run, as Ctrl-C does,
and its block is the last that is shown. Needs nothing but Python, because it may run before there is an environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import BinaryIO

GRACES = ((signal.SIGINT, 180.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
"""How a command is ended, and how many seconds it has. On SIGINT pytest still takes down what its fixtures started,
which is why it comes first and is given so long."""

POLL_SECONDS = 0.1
INTERRUPTED = 130
WRONG_WORDS = 2


@dataclass
class Step:
    """One command; ``log`` is where its output goes, ``status`` its exit status once it has ended."""

    name: str
    command: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    seconds: float = 0.0
    status: int | None = None

    def start(self) -> None:
        """Start it in a process group of its own, with the signals that a terminal's child has."""
        self.began = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/env", "bash", "-c", self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def has_ended(self) -> bool:
        """Whether it has run to its end; notes when."""
        if self.status is None and self.process is not None and self.process.poll() is not None:
            self.status = self.process.returncode
            self.seconds = time.monotonic() - self.began
        return self.status is not None


@dataclass
class Lanes:
    """``shown``: the step whose output is shown as it comes; ``at``: how many bytes of it were."""

    lanes: list[list[Step]]
    out: BinaryIO
    shown: int = 0
    at: int = 0
    headed: set[str] = field(default_factory=set)

    @property
    def steps(self) -> list[Step]:
        """All of them, in the order in which they are shown."""
        return [step for lane in self.lanes for step in lane]

    def run(self) -> Step | None:
        """Run all; return the first that failed, after every other one was ended."""
        try:
            while any(not step.has_ended() for step in self.steps):
                failed = self.advance()
                if failed is not None:
                    return failed
                self.show()
                time.sleep(POLL_SECONDS)
            self.show()
            return next((step for step in self.steps if step.status), None)
        finally:
            self.end()

    def end(self) -> None:
        """End whatever still runs, each with all that is in its group."""
        for number, grace in GRACES:
            living = [step for step in self.steps if step.process is not None and not step.has_ended()]
            for step in living:
                with suppress(ProcessLookupError):
                    os.killpg(step.process.pid, number)
            deadline = time.monotonic() + grace
            while any(not step.has_ended() for step in living) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)

    def advance(self) -> Step | None:
        """Start in each lane what may start now; return a step that has failed."""
        for lane in self.lanes:
            for step in lane:
                if step.has_ended():
                    if step.status:
                        return step
                    continue
                if step.process is None:
                    step.start()
                break
        return None

    def show(self) -> None:
        """Show what came of the first step that still runs, and all of those before it."""
        steps = self.steps
        while self.shown < len(steps):
            step = steps[self.shown]
            has_ended = step.has_ended()  # asked first: nothing is written after it
            self.copy(step)
            if not has_ended:
                return
            self.shown, self.at = self.shown + 1, 0

    def copy(self, step: Step) -> None:
        """Show what a step has written since."""
        if step.name not in self.headed:
            self.headed.add(step.name)
            self.write(f"\n== {step.name}\n")
        if step.process is not None:
            with step.log.open("rb") as log:
                log.seek(self.at)
                while piece := log.read(1 << 16):
                    self.at += len(piece)
                    self.out.write(piece)
            self.out.flush()

    def tell(self, failed: Step) -> None:
        """Show a failure: what became of the others, a line each, and its own block to the end."""
        steps = self.steps
        if self.shown < len(steps) and steps[self.shown] is failed:
            self.copy(failed)
        else:
            for step in steps[self.shown :]:
                if step is not failed and step.process is not None:
                    self.write(f"\n== {step.name}: {'done' if step.status == 0 else 'ended'}; its output: {step.log}\n")
            self.at = 0
            self.headed.discard(failed.name)
            self.copy(failed)
        self.write(f"\n== {failed.name}: FAILED with status {failed.status} after {failed.seconds:.0f} s\n")

    def write(self, text: str) -> None:
        """Write a line of our own."""
        self.out.write(text.encode())
        self.out.flush()


def lanes_of(words: Sequence[str], folder: Path) -> list[list[Step]]:
    """Read the words; raises :class:`ValueError` for one that is not ``NAME=COMMAND``, or a name that comes twice."""
    lanes: list[list[Step]] = [[]]
    names: set[str] = set()
    for word in words:
        if word == "--":
            lanes.append([])
            continue
        name, sign, command = word.partition("=")
        if not (name and sign and command):
            raise ValueError(f"{word!r} is not NAME=COMMAND")
        if name in names:
            raise ValueError(f"two steps are called {name!r}")
        names.add(name)
        lanes[-1].append(Step(name, command, folder / f"{len(names):02}.log"))
    if not all(lanes):
        raise ValueError("a lane without a command")
    return lanes


def main(argv: Sequence[str]) -> int:
    """Run the lanes; the status of what failed, 130 when interrupted, 2 for words that are no lanes."""
    folder = Path(tempfile.mkdtemp(prefix="greenctl-lanes-"))
    try:
        made = Lanes(lanes_of(argv, folder), sys.stdout.buffer)
    except ValueError as error:
        folder.rmdir()
        sys.stderr.write(f"tests.lanes: {error}\n")
        return WRONG_WORDS
    for number in (signal.SIGINT, signal.SIGTERM):  # also where we were started with SIGINT ignored, as by `&`
        signal.signal(number, _interrupt)
    sys.stdout.flush()
    try:
        failed = made.run()
    except KeyboardInterrupt:
        made.write("\n== interrupted: everything was ended\n")
        return INTERRUPTED
    if failed is not None:
        made.tell(failed)
        return failed.status if failed.status is not None and failed.status > 0 else 1
    for step in made.steps:
        step.log.unlink()
    folder.rmdir()
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # once is enough: what ends now must not be left half ended
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
