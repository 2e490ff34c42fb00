"""Starting and stopping the controller's process: slow machines, and several who ask at once."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import psutil
import pytest

from orchestrator.controller import daemon
from orchestrator.controller.lock import Lock
from orchestrator.errors import ControllerUnavailable, GreenctlError, LeaseHeld
from orchestrator.settings import Settings

TOO_LATE = '{"event": "controller_failed", "code": "lease_held", "message": "m", "hint": "h", "exit_status": 7}'


def settings_of(folder: Path) -> Settings:
    """A state directory of its own."""
    return Settings(state_dir=folder, cache_dir=folder)


def instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Start this in the place of a controller."""
    monkeypatch.setattr(daemon, "own_module", lambda _: [sys.executable, "-c", program])


def children() -> list[psutil.Process]:
    """Whom this process has started and not waited for."""
    return psutil.Process().children()


def test_one_that_does_not_come_up_in_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said not to run, so it must not begin to work when nobody counts on it; and it is said how long it had."""
    instead(monkeypatch, "import signal; signal.pause()")
    monkeypatch.setattr(daemon, "START_SECONDS", 0.3)
    before = children()

    with pytest.raises(
        ControllerUnavailable, match=r"did not come up within 0 s, and was ended; it has logged nothing"
    ):
        daemon.start(settings_of(tmp_path), progress=print)
    assert children() == before


def test_one_that_ends_at_once_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last is told."""
    instead(monkeypatch, "raise SystemExit('no such module')")

    with pytest.raises(ControllerUnavailable, match=r"and has ended; its log ends with: no such module"):
        daemon.start(settings_of(tmp_path), progress=print)


def test_who_comes_second_gets_the_one_that_is_coming_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deploys after a reboot: the second one's controller finds the lock taken, by one that has not signed yet."""
    instead(monkeypatch, f"print({TOO_LATE!r}); raise SystemExit(7)")
    lock = Lock(tmp_path)
    lock.take()
    signing = threading.Timer(0.5, lock.sign, ("2023-06-01T00:00:00Z", 7))
    signing.start()
    found = daemon.start(settings_of(tmp_path), progress=print)
    signing.join()
    lock.release()

    assert (found.pid, found.epoch) == (os.getpid(), 7)


def test_who_comes_second_to_one_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody runs, and the reason is the one that its own controller had."""
    instead(monkeypatch, f"print({TOO_LATE!r}); raise SystemExit(7)")
    lock = Lock(tmp_path)
    lock.take()
    giving_up = threading.Timer(0.5, lock.release)
    giving_up.start()
    with pytest.raises(GreenctlError) as caught:
        daemon.start(settings_of(tmp_path), progress=print)
    giving_up.join()

    assert caught.value.code == LeaseHeld.code


def test_one_that_is_coming_up_is_not_said_not_to_run(tmp_path: Path) -> None:
    """Whoever stops it is told to come back; it was "No controller was running", and then it ran."""
    lock = Lock(tmp_path)
    lock.take()
    with pytest.raises(ControllerUnavailable, match="is coming up"):
        daemon.stop(settings_of(tmp_path), timeout_seconds=0.1)
    lock.release()

    assert not daemon.stop(settings_of(tmp_path), timeout_seconds=0.1)


@pytest.mark.parametrize(("take_over", "words"), [(False, "()"), (True, "('--take-over',)")])
def test_the_word_that_the_holder_is_dead_is_passed_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    take_over: bool,
    words: str,
) -> None:
    """The process that claims the turn must know it, and only where somebody has said it."""
    monkeypatch.setattr(daemon, "own_module", lambda _, *said: [sys.executable, "-c", f"print({str(said)!r})"])

    with pytest.raises(ControllerUnavailable) as raised:
        daemon.start(settings_of(tmp_path), progress=print, take_over=take_over)

    assert raised.value.message.endswith(words)
