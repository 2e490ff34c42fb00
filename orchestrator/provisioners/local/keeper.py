"""The keeper: parent of one replica's processes, so that nothing depends on who launched it.

    python -I -S keeper.py DIRECTORY [--lease-seconds SECONDS]

The controller may die at any moment and a command ends right after launching; somebody must still learn the engine's
exit status, enforce the grace of a stop, and see that no child survives its parent. That is all the keeper does. It
uses the standard library alone and imports nothing of ours: it starts in milliseconds, without site-packages.

* An exclusive lock on ``keeper.lock`` is held for life, so one directory never has two engines, whoever died when.
* ``instance.json`` says what to run: ``steps`` (argument vectors, the last one is the engine) and
  ``secret_environment`` (variable -> file beside it). Everything else the engine needs is in our own environment.
* ``exit.json`` is written when the engine has ended, before its leftovers are cleaned.
* ``stop.json`` is the wish to end, with a deadline on the machine's monotonic clock. SIGTERM makes us read it; SIGTERM
  without it means "now, with the default grace" (a machine that shuts down).
* ``lease`` holds for how many seconds the replica goes on when nobody is heard of. Writing it again renews the lease,
  and so does what the engine has served meanwhile. When it is over we end the engine as if we had been told to: what
  nobody owns and nobody uses does not run for ever. Only our own monotonic clock counts. ``--lease-seconds`` takes the
  place of what the file says, so that a test need not wait for hours.

On Linux we are the subreaper: whatever the engine leaves behind becomes our child, and is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DEFAULT_GRACE_SECONDS = 30.0
"""Grace of a SIGTERM that comes without ``stop.json``: what Kubernetes and Docker Compose files usually grant."""

STRAGGLER_SECONDS = 5.0
"""How long children may outlive the engine's main process: they clean up shared memory. vLLM's take under 2 s."""

IDLE_SECONDS = 30.0
"""Upper bound of one sleep; only the log's size is watched by time."""

LOG_LIMIT_BYTES = 16 * 1024 * 1024
"""At this size the log is copied to ``engine.log.1`` and emptied: two files bound what a talkative engine can fill."""

LAPSE_GRACE_SECONDS = 120.0
"""Grace of an engine whose lease is over: the drain limit that services have by default. Nobody waits for the end."""

COUNTS_PER_LEASE = 8
LONGEST_COUNT_SECONDS = 600.0
"""How often we look whether the engine has served anybody: that many times per lease, at least every ten minutes."""

COUNT_PATIENCE_SECONDS = 2.0

SERVED = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
"""Counters of the engine's ``/metrics`` (vllm/v1/metrics/loggers.py): tokens taken in and given out."""

HTTP_OK = 200

PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>."""

PARENT_FIELD = 1
"""Index of ``ppid`` in /proc/PID/stat after the command name, see proc_pid_stat(5)."""


def main(directory: Path, lease_seconds: float | None = None) -> int:
    """Take the directory, detach, and keep its replica until it ends. Prints the detached process's pid."""
    os.umask(0o077)
    lock = os.open(directory / "keeper.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # another keeper has it: the launch is already under way
    child = os.fork()
    if child:
        print(child, flush=True)  # noqa: T201 - the launcher reads it; the child shares the lock and keeps it
        return 0
    os.setsid()
    log = os.open(directory / "engine.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(number, target)
    for number in (null, log):
        os.close(number)
    _become_subreaper()
    Keeper(directory, Lease(directory / "lease", lease_seconds)).run()
    return 0


class Lease:
    """For how long the replica goes on by itself. Without its file there is no lease, and nothing ends.

    ``fixed_seconds`` takes the place of what the file says. Times are seconds of the monotonic clock, as arguments.
    """

    def __init__(self, path: Path, fixed_seconds: float | None = None) -> None:
        self._path = path
        self._fixed_seconds = fixed_seconds
        self._seconds: float | None = None
        self._stamp: tuple[int, int] | None = None
        self._ends_at = self._count_at = 0.0
        self._count: int | None = None
        self._counted_at = 0.0

    def is_over(self, now: float, served: Callable[[], int | None]) -> bool:
        """Whether it is over. ``served``: tokens that the engine has handled so far, ``None`` while nobody knows."""
        self._read(now)
        if self._seconds is None:
            return False
        if now >= min(self._count_at, self._ends_at):
            self._look_at_traffic(now, self._seconds, served())
        return now >= self._ends_at

    def pause(self, now: float) -> float:
        """Return for how long there is nothing to look at but the file."""
        return IDLE_SECONDS if self._seconds is None else max(0.0, min(self._count_at, self._ends_at) - now)

    def _read(self, now: float) -> None:
        """Begin anew whenever somebody has written the file. Nonsense in it: for as long as before."""
        try:
            found = self._path.stat()
        except OSError:
            return  # nobody renews it: it runs on
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        with contextlib.suppress(OSError, ValueError):
            seconds = float(self._path.read_text(encoding="ascii"))
            self._seconds = seconds if math.isfinite(seconds) and seconds > 0 else self._seconds
        if self._fixed_seconds is not None:
            self._seconds = self._fixed_seconds
        if self._seconds is not None:
            self._ends_at = now + self._seconds
            self._count_at = self._count_at or now

    def _look_at_traffic(self, now: float, seconds: float, count: int | None) -> None:
        """Renew it from the last look on if the engine has served since: never for longer than a true renewal would."""
        self._count_at = now + min(LONGEST_COUNT_SECONDS, seconds / COUNTS_PER_LEASE)
        if count is None:
            return
        if self._count is not None and count > self._count:
            self._ends_at = max(self._ends_at, self._counted_at + seconds)
        self._count, self._counted_at = count, now


class Keeper:
    """Runs the steps one after the other and ends them when asked, or when nobody asks for anything any more."""

    def __init__(self, directory: Path, lease: Lease) -> None:
        self._directory = directory
        self._lease = lease
        self._lapsed_at: float | None = None
        self._served: Callable[[], int | None] = lambda: None
        self._wakeup, wakeup_writer = socket.socketpair()
        for end in (self._wakeup, wakeup_writer):
            end.settimeout(0)
        self._writer = wakeup_writer  # kept: the descriptor lives as long as we do
        signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)
        self._told_at: float | None = None
        # Handlers and not SIG_IGN, which the engine would inherit.
        signal.signal(signal.SIGTERM, self._told)
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Run every step; the last one is the engine, an earlier one that fails ends it all."""
        if self._deadline() is not None:
            self._say("told to end before it began")
            return
        instance = json.loads((self._directory / "instance.json").read_text(encoding="utf-8"))
        environment = dict(os.environ)
        for variable, name in instance["secret_environment"].items():
            environment[variable] = (self._directory / name).read_text(encoding="ascii").strip()
        key = next((environment[variable] for variable in instance["secret_environment"]), "")
        port = instance.get("port")
        steps = instance["steps"]
        for index, argv in enumerate(steps):
            last = index == len(steps) - 1
            environment["GREENCTL_PART"] = "engine" if last else "prepare"
            if last and port is not None:
                self._served = lambda: tokens_served(int(port), key)
            status = self._run_step(argv, environment, engine=last)
            if status != 0 or last:
                return

    def _run_step(self, argv: list[str], environment: dict[str, str], *, engine: bool) -> int | None:
        """Run one process to its end and clean up after it. ``None`` when it never started."""
        if self._deadline() is not None:
            return None
        try:
            # close_fds=False: all our descriptors are close-on-exec, so the lock is held until the very exec, and
            # whoever gets it after our sudden death finds the engine in the process table.
            child = subprocess.Popen(  # noqa: S603 - an argument vector made by the launcher, no shell
                argv, env=environment, cwd=self._directory, start_new_session=True, close_fds=False
            )
        except OSError as exc:
            self._say(f"cannot start {argv[0]}: {exc.strerror}")
            self._record_exit(engine=engine, status=127, error=f"cannot start {argv[0]}: {exc.strerror}")
            return None
        status = self._watch(child.pid)
        if status != 0 or engine:
            self._record_exit(engine=engine, status=status, error=self._why_lapsed())
        self._sweep(child.pid)
        return status

    def _watch(self, pid: int) -> int:
        """Wait for the end of ``pid``, ending it when told; returns its status (negative: the signal), unreaped.

        Left unreaped, it keeps its number, and with it the number of its process group, from being given away.
        """
        asked = forced = False
        while True:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            self._look_at_lease()
            deadline = self._deadline()
            if deadline is not None and not asked:
                os.kill(pid, signal.SIGTERM)
                asked = True
            if deadline is not None and not forced and time.monotonic() >= deadline:
                self._say("the grace is over: killing")
                self._kill_all(pid)
                forced = True
            self._reap_except(pid)
            self._limit_log()
            now = time.monotonic()
            pause = self._lease.pause(now) if deadline is None else IDLE_SECONDS if forced else deadline - now
            self._sleep(min(IDLE_SECONDS, pause))

    def _sweep(self, group: int) -> None:
        """Give the main process's leftovers a moment, then kill them; nothing survives. Reaps everything."""
        patience = time.monotonic() + STRAGGLER_SECONDS
        while self._others(group):
            deadline = self._deadline()
            if time.monotonic() >= (patience if deadline is None else min(patience, deadline)):
                self._kill_all(group)
            self._reap_except(group)
            self._sleep(0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, of an all-zombie group
            os.killpg(group, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(group, 0)

    def _kill_all(self, group: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        for pid in self._others(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _reap_except(self, pid: int) -> None:
        """Collect every dead child but ``pid``, whose number we still need."""
        for child in self._others(pid):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)

    def _others(self, pid: int) -> list[int]:
        """Return our children but ``pid``: on Linux its orphans are among them, elsewhere we never have others."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            if entry.name == str(pid):
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if int(fields[PARENT_FIELD]) == os.getpid():
                    found.append(int(entry.name))
        return found

    def _deadline(self) -> float | None:
        """When the engine must be gone, in monotonic seconds; ``None`` while nobody wants that."""
        try:
            return float(json.loads((self._directory / "stop.json").read_text(encoding="utf-8"))["deadline"])
        except (OSError, ValueError, KeyError, TypeError):
            if self._told_at is not None:
                return self._told_at + DEFAULT_GRACE_SECONDS
            return None if self._lapsed_at is None else self._lapsed_at + LAPSE_GRACE_SECONDS

    def _look_at_lease(self) -> None:
        """Begin the end when the lease is over; what has begun is not taken back."""
        now = time.monotonic()
        if self._lapsed_at is None and self._deadline() is None and self._lease.is_over(now, self._served):
            self._lapsed_at = now
            self._say("the lease is over: nobody renewed it and nobody was served; the engine ends")

    def _why_lapsed(self) -> str:
        """Return the words for the record when it was the lease that ended it."""
        told = self._told_at is not None or (self._directory / "stop.json").exists()
        return "" if self._lapsed_at is None or told else "its lease was over: nobody renewed it and nobody was served"

    def _told(self, *_: object) -> None:
        if self._told_at is None:
            self._told_at = time.monotonic()

    def _sleep(self, seconds: float) -> None:
        """Sleep until a signal or the time is over."""
        select.select([self._wakeup], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            while self._wakeup.recv(512):
                pass

    def _record_exit(self, *, engine: bool, status: int, error: str = "") -> None:
        """Write ``exit.json`` in one step."""
        text: dict[str, Any] = {
            "engine": engine,
            "status": status,
            "error": error,
            "at": datetime.now(UTC).isoformat(),
        }
        draft = self._directory / f"exit.json.{os.getpid()}"
        with contextlib.suppress(OSError):  # a full disk or a removed directory must not keep us from cleaning up
            draft.write_text(json.dumps(text), encoding="utf-8")
            draft.replace(self._directory / "exit.json")

    def _limit_log(self) -> None:
        path = self._directory / "engine.log"
        with contextlib.suppress(OSError):
            if path.stat().st_size > LOG_LIMIT_BYTES:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)  # the engine appends, so it goes on at the new end

    def _say(self, text: str) -> None:
        """Write into the engine's log, which is our stderr; a full disk must not keep us from what we were saying."""
        with contextlib.suppress(OSError):
            print(f"greenctl: {text}", file=sys.stderr, flush=True)  # noqa: T201


def tokens_served(port: int, key: str) -> int | None:
    """Ask the engine on this machine how many tokens it has handled, ``None`` when it does not say."""
    from http.client import HTTPConnection, HTTPException  # noqa: PLC0415 - a keeper without a lease never needs it

    connection = HTTPConnection("127.0.0.1", port, timeout=COUNT_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        page = answer.read().decode("utf-8", errors="replace") if answer.status == HTTP_OK else ""
        rows = [line.rpartition(" ") for line in page.splitlines() if line.startswith(SERVED)]
        return sum(int(float(value)) for _, _, value in rows) if rows else None
    except (OSError, HTTPException, ValueError, OverflowError):
        return None
    finally:
        connection.close()


def _become_subreaper() -> None:
    """Make orphans of our descendants our children (Linux). Without it only the engine's own group is cleaned here."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - not needed elsewhere

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[3]) if sys.argv[2:3] == ["--lease-seconds"] else None))
