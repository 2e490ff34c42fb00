"""Start, stop and find the controller process of a state directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.controller.home import claimant_of
from orchestrator.controller.lock import NO_TURN, Holder, holder, in_our_words, is_database_taken, is_taken
from orchestrator.domain import turns
from orchestrator.errors import ControllerUnavailable, ExitStatus, GreenctlError, LeaseHeld, PortBusy
from orchestrator.gateway import daemon as gateway_daemon
from orchestrator.own_process import own_module, with_our_package
from orchestrator.settings import Settings
from orchestrator.store.address import parse_address

START_SECONDS = 180.0
"""Two on an idle machine; more than half a minute has been seen on one with a load of ten."""

SILENT_SECONDS = 10.0
"""After so long whoever waits for a controller to come up is told so."""

END_SECONDS = 10.0
POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 2000
TAKE_OVER = "--take-over"
"""The word to a controller's process that whoever has the turn is dead."""

FAILED = "controller_failed"
"""The event in its log with which a controller ends that cannot go on."""


@dataclass(frozen=True, slots=True)
class ControllerInfo:
    """A running controller."""

    pid: int
    since: str
    epoch: int
    log_path: Path


def log_path(settings: Settings) -> Path:
    """Where the controller writes its log."""
    return settings.state_dir / "controller.log"


def info(settings: Settings) -> ControllerInfo | None:
    """Return the running controller, ``None`` when there is none."""
    found = holder(settings.state_dir)
    return None if found is None or found.epoch == NO_TURN else _info(found, settings)


def _info(found: Holder, settings: Settings) -> ControllerInfo:
    return ControllerInfo(found.pid, found.since, found.epoch, log_path(settings))


def elsewhere(settings: Settings, turn: turns.Turn | None) -> turns.Turn | None:
    """Return the turn of a controller that is heard of, and has another host or state directory than ours.

    Of one on a file nothing needs to be heard: it holds a lock, or it is dead.
    """
    path = parse_address(settings.store_url).path
    if path is not None and not is_database_taken(path):
        return None
    return turns.elsewhere(turn, claimant_of(settings.state_dir))


def start(settings: Settings, *, progress: Callable[[str], None], take_over: bool = False) -> ControllerInfo:
    """Start the controller unless one runs, and return it. The gateway is started by the controller.

    ``take_over``: somebody says that a controller elsewhere that was heard of lately is dead.

    Raises ``InvalidSettings`` or ``DiskFull`` where the state directory cannot be used, ``LeaseHeld`` while a backup
    is being put in its place or a controller elsewhere has the turn, ``PortBusy`` before anything is
    started when the gateway's port is taken by somebody else, what the controller itself says that is wrong, and
    ``ControllerUnavailable`` with the end of its log when it says nothing.
    """
    with in_our_words(settings.state_dir):
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = holder(settings.state_dir)
    if found is not None and found.epoch == NO_TURN:
        message = f"a restore is under way on {settings.state_dir} (pid {found.pid})"
        raise LeaseHeld(
            message, hint="Try again when it is done: what is asked for now would be replaced with the rest."
        )
    if found is not None:
        return _info(found, settings)
    if not gateway_daemon.is_there(settings.state_dir):
        _check_port(settings.gateway.host, settings.gateway.port)
    progress("starting the controller")
    path = log_path(settings)
    with in_our_words(settings.state_dir):
        log = path.open("ab")
    with log:
        path.chmod(0o600)
        begins = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(  # noqa: S603  # a fixed argv, no user text
            own_module("orchestrator.controller", *([TAKE_OVER] if take_over else [])),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=with_our_package(os.environ),
        )
    running = _await(process, settings, progress)
    if running is not None:
        progress(f"controller runs (pid {running.pid})")
        return running
    is_late = process.poll() is None
    if is_late:
        _end(process)  # what is said not to run must not run a minute later
    said = path.read_bytes()[begins:].decode(errors="replace")
    named = last_error(said)
    if named is not None:
        raise named
    tail = said[-LOG_TAIL_BYTES:].strip()
    when = f"within {START_SECONDS:.0f} s, and was ended" if is_late else "and has ended"
    its_log = f"its log ends with: {tail}" if tail else "it has logged nothing"
    raise ControllerUnavailable(f"the controller did not come up {when}; {its_log}", hint=f"Read {path}.")


def _await(
    process: subprocess.Popen[bytes], settings: Settings, progress: Callable[[str], None]
) -> ControllerInfo | None:
    """Wait until a controller runs, ours or one that was faster; ``None`` if ours ends alone, or neither is in time."""
    began = time.monotonic()
    is_told = False
    while time.monotonic() - began < START_SECONDS:
        running = info(settings)
        if running is not None:
            return running
        if process.poll() is not None and not is_taken(settings.state_dir):
            return info(settings)
        if not is_told and time.monotonic() - began > SILENT_SECONDS:
            is_told = True
            progress(f"it is still coming up; waiting for {START_SECONDS:.0f} s at most")
        time.sleep(POLL_SECONDS)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_error(log: str) -> GreenctlError | None:
    """Return the error that a controller ended with, as its log tells it; ``None`` where it tells of none.

    It has the code, the exit status, the words and the hint that it had there.
    """
    for text in reversed(log.splitlines()):
        with suppress(ValueError, KeyError, TypeError):
            told = json.loads(text)
            if told["event"] == FAILED:
                error = GreenctlError(str(told["message"]), hint=str(told["hint"]))
                error.code, error.exit_status = str(told["code"]), ExitStatus(int(told["exit_status"]))
                return error
    return None


def stop(settings: Settings, *, timeout_seconds: float = 30.0) -> bool:
    """Stop the controller and return whether one ran. Replicas and gateway go on serving.

    Raises ``ControllerUnavailable`` when it does not end in time.
    """
    began = time.monotonic()
    while (found := info(settings)) is None:
        is_coming_up = is_taken(settings.state_dir) and holder(settings.state_dir) is None
        if not is_coming_up:
            return False
        if time.monotonic() - began > timeout_seconds:
            message = f"a controller is coming up, and has not said for {timeout_seconds:.0f} s which process it is"
            raise ControllerUnavailable(message, hint="Try again in a moment.")
        time.sleep(POLL_SECONDS)
    try:
        process = psutil.Process(found.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout_seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired as error:
        message = f"controller {found.pid} did not end within {timeout_seconds:.0f} s"
        raise ControllerUnavailable(message, hint="It finishes the look under way first; try again.") from error
    return True


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"port {port} on {host} is in use by another program"
            raise PortBusy(message, hint="Set GREENCTL_GATEWAY__PORT to a free one; nothing was started.") from error
