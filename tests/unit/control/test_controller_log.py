"""Logs of the controller and the gateway stay within two files, however long they run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from orchestrator.controller.daemon import last_error
from orchestrator.controller.gateway_keeper import GatewayKeeper
from orchestrator.errors import ExitStatus
from orchestrator.gateway import daemon as gateway_daemon
from orchestrator.gateway.instance import GatewayInfo
from orchestrator.gateway.instance import log_path as gateway_log_path
from orchestrator.logs import LOG_LIMIT_BYTES, keep_log_short, lines_to
from orchestrator.settings import Settings


def test_a_long_log_is_emptied_for_a_writer_that_appends(tmp_path: Path) -> None:
    """What was written is in the old file, private as it was; the writer goes on at the beginning of the new one."""
    path = tmp_path / "controller.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        keep_log_short(path, 100)
        assert path.stat().st_size == 100

        writer.write(b"y")
        keep_log_short(path, 100)
        writer.write(b"z")

    old = tmp_path / "controller.log.1"
    assert path.read_bytes() == b"z"
    assert old.read_bytes() == b"x" * 100 + b"y"
    assert old.stat().st_mode & 0o077 == 0


def test_the_controller_keeps_the_log_of_the_gateway_short_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway outlives controllers by months, and nobody starts it anew for the sake of its log."""
    monkeypatch.setattr(gateway_daemon, "running", lambda _: GatewayInfo(1, "127.0.0.1", 1, "plain", 1))
    log = gateway_log_path(tmp_path)
    log.parent.mkdir()
    log.write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))

    asyncio.run(GatewayKeeper(Settings(state_dir=tmp_path)).keep())

    assert log.stat().st_size == 0
    assert log.with_suffix(".log.1").stat().st_size == LOG_LIMIT_BYTES + 1


def test_a_log_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    """A controller in the foreground writes none."""
    keep_log_short(tmp_path / "controller.log", 1)

    assert list(tmp_path.iterdir()) == []


def test_what_a_controller_ended_with_is_told_as_it_was() -> None:
    """Code, status, words and hint; the last one counts, and lines that are none of ours are passed over."""
    log = """{"event": "controller_failed", "code": "old", "message": "m", "hint": "h", "exit_status": 2}
Traceback: not JSON
{"event": "look_failed", "code": "x"}
[1, 2]
{"event": "controller_failed", "code": "store_incompatible", "message": "schema 9", "hint": "upgrade", "exit_status": 4}
{"event": "controller_failed"}
"""

    error = last_error(log)

    assert error is not None
    assert (error.code, error.message, error.hint()) == ("store_incompatible", "schema 9", "upgrade")
    assert error.exit_status is ExitStatus.PROVIDER
    assert last_error("nothing\n") is None


FULL_DISK = Path("/dev/full")


@pytest.mark.skipif(not FULL_DISK.exists(), reason="this system has no file that is always full")
class TestAFullDisk:
    """The log lies on the very disk of which a controller must say that it is full."""

    def test_a_line_that_finds_no_room_is_lost_and_nobody_ends(self) -> None:
        """The look that failed is told to nobody, and the next one follows."""
        handle = os.open(FULL_DISK, os.O_WRONLY)
        log = structlog.wrap_logger(lines_to(handle)(), processors=[structlog.processors.JSONRenderer()])

        for say in (log.debug, log.info, log.warning, log.error, log.critical, log.exception):
            say("look_failed", code="disk_full")

        os.close(handle)

    def test_a_controller_ends_with_its_own_status(self, tmp_path: Path) -> None:
        """Also where nothing that it says can be written: what started it learns why from the status."""
        environment = {**os.environ, "GREENCTL_STATE_DIR": str(tmp_path), "GREENCTL_CONTROLLER__TICK_SECONDS": "soon"}
        command = [sys.executable, "-m", "orchestrator.controller"]
        statuses = []
        for place in (FULL_DISK, tmp_path / "log"):
            with place.open("wb") as log:
                statuses.append(subprocess.run(command, env=environment, stdout=log, check=False).returncode)

        assert statuses[0] == statuses[1] != 0
        assert last_error((tmp_path / "log").read_text()) is not None


def test_what_is_said_is_one_line_each(tmp_path: Path) -> None:
    """Also with a letter that is none, out of a name that somebody gave in another encoding."""
    path = tmp_path / "controller.log"
    with path.open("wb") as file:
        for name in ("é", "\udce9"):
            lines_to(file.fileno())("a name").info(name)

    assert path.read_bytes() == "é\n\\udce9\n".encode()
