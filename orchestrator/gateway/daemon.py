"""Run the gateway beside us: start it as a detached process, find it, stop it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from orchestrator.errors import Conflict, EngineMissing, GatewayUnavailable, GreenctlError, PortBusy, ProviderError
from orchestrator.gateway.instance import LOG_FILE, GatewayInfo, holder, running
from orchestrator.gateway.leftovers import clean_up
from orchestrator.gateway.options import Options, Progress
from orchestrator.gateway.sockets import FOLDER, gateway_folder
from orchestrator.logs import keep_log_short
from orchestrator.own_process import NOWHERE, own_module, with_our_package

__all__ = ["GatewayInfo", "is_there", "running", "start", "stop"]

START_SECONDS: Final = 180.0
"""Ten on an idle machine; a minute has been seen beside engines that load their weights on two cores."""

STOP_SECONDS: Final = 20.0
"""Beyond the drain: for Ray to end its processes."""

PROGRESS_MARK: Final = "gateway: "
"""Lines of the log that begin so are meant for whoever started the gateway."""

_POLL_SECONDS = 0.05
_children: list[subprocess.Popen[bytes]] = []
"""Gateways that we started: they live on without us, but one that ends while we live has to be reaped."""

_ERROR = re.compile(r"error: (?P<message>.*) \[(?P<code>\w+)\]")
_ERRORS: dict[str, type[GreenctlError]] = {e.code: e for e in (Conflict, EngineMissing, GatewayUnavailable, PortBusy)}


def start(
    options: Options, *, progress: Progress | None = None, deadline_seconds: float = START_SECONDS
) -> GatewayInfo:
    """Start a gateway that outlives us, and return once it serves; one that already runs so is returned as it is.

    One that is starting, for whoever it was that asked, is waited for: a second one could only disturb it.
    Raises ``PortBusy``, ``Conflict`` when another gateway runs from the state directory, ``EngineMissing`` without Ray
    and ``ProviderError`` for whatever else kept it from serving by the deadline; then nothing of it is left running.
    """
    if (found := _other(options, deadline_seconds)) is not None:
        return found
    _reap()
    log = gateway_folder(options.state_dir) / LOG_FILE
    keep_log_short(log)
    with log.open("ab") as output:
        log.chmod(0o600)
        reader = _LogReader(log, output.tell())
        child = subprocess.Popen(  # noqa: S603  # an argument list of our own; no shell
            own_module("orchestrator.gateway", *replace(options, state_dir=options.state_dir.absolute()).arguments()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=with_our_package(os.environ),
            cwd=NOWHERE,  # Ray tells its workers to import from where it was started
        )
    _children.append(child)
    try:
        return _await_ready(child, options, reader, progress or (lambda _: None), deadline_seconds)
    except BaseException as error:
        _end(child)
        if not is_there(options.state_dir):
            clean_up(gateway_folder(options.state_dir))  # what is recorded is ours, and not that of one that came first
        elif isinstance(error, Conflict) and (found := _other(options, deadline_seconds)) is not None:
            return found
        raise


def is_there(state_dir: Path) -> bool:
    """Whether a gateway of this state directory lives, serving or not yet."""
    return holder(state_dir / FOLDER) is not None


def stop(state_dir: Path, *, deadline_seconds: float = STOP_SECONDS) -> bool:
    """Stop the gateway of this state directory and return whether there was one; afterwards nothing of it runs.

    ``deadline_seconds`` should exceed the gateway's drain time; after it the gateway is killed.
    """
    folder = state_dir / FOLDER
    pid = holder(folder)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + deadline_seconds
        while holder(folder) == pid and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if holder(folder) == pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    had_leftovers = clean_up(folder) > 0
    _reap()
    return had_leftovers or pid is not None


def _other(options: Options, deadline_seconds: float) -> GatewayInfo | None:
    """Return the gateway of the state directory once it serves; ``None`` where none does, or none in time.

    Raises ``Conflict`` when it listens somewhere else.
    """
    deadline = time.monotonic() + deadline_seconds
    while (found := running(options.state_dir)) is None:
        if not is_there(options.state_dir) or time.monotonic() > deadline:
            return None
        time.sleep(_POLL_SECONDS)
    if (found.host, found.port) == (options.host, options.port):
        return found
    raise Conflict(f"a gateway already runs from this state directory, on {found.url}", hint="Stop it first.")


def _await_ready(
    child: subprocess.Popen[bytes], options: Options, log: _LogReader, progress: Progress, deadline_seconds: float
) -> GatewayInfo:
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        # Read what it says after a look at it, or what it said last before it ended or served is never told.
        ended, info = child.poll() is not None, running(options.state_dir)
        for line in log.new_lines():
            progress(line)
        if ended:
            raise log.failure(child.returncode)
        if info is not None and info.pid == child.pid:
            return info
        time.sleep(_POLL_SECONDS)
    raise ProviderError(
        f"the gateway did not serve within {deadline_seconds:g} s", hint=f"The end of {log.path} may say why."
    )


class _LogReader:
    """What the gateway says about its start, as it is written."""

    def __init__(self, path: Path, offset: int) -> None:
        self.path = path
        self._offset = offset
        self._error: tuple[str, str] | None = None
        self._hint: str | None = None

    def new_lines(self) -> list[str]:
        """Return what was said since the last call, errors and hints excepted."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text, end, _ = file.read().rpartition(b"\n")
        self._offset += len(text) + len(end)
        lines = text.decode(errors="replace").splitlines()
        said = [line.removeprefix(PROGRESS_MARK) for line in lines if line.startswith(PROGRESS_MARK)]
        return [line for line in said if not self._is_trouble(line)]

    def failure(self, status: int) -> GreenctlError:
        """Return the error that the gateway ended with."""
        if self._error is None:
            return ProviderError(f"the gateway ended with status {status}", hint=f"The end of {self.path} says why.")
        message, code = self._error
        return _ERRORS.get(code, ProviderError)(message, hint=self._hint)

    def _is_trouble(self, line: str) -> bool:
        if (error := _ERROR.fullmatch(line)) is not None:
            self._error = error["message"], error["code"]
        elif line.startswith("hint: "):
            self._hint = line.removeprefix("hint: ")
        else:
            return False
        return True


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]
