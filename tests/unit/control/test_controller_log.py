"""The controller's log stays within two files, however long it runs."""

from __future__ import annotations

from pathlib import Path

from orchestrator.controller.daemon import keep_log_short, last_error
from orchestrator.errors import ExitStatus


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
