"""The controller as a process of its own, started by the command as a user does it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.own_process import own_module, with_our_package
from tests.e2e.deployment import Deployment, make, until


@pytest.fixture
def made() -> Iterator[Deployment]:
    deployment = make(GREENCTL_GATEWAY__MODE="plain")
    yield deployment
    deployment.end()


def test_what_lies_in_the_working_directory_is_not_executed(made: Deployment, tmp_path: Path) -> None:
    """Somebody stands in a repository that was cloned: controller and gateway start, and none of its code runs."""
    for name in ("structlog.py", "queue.py", "orchestrator/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()\nraise SystemExit({name!r})\n")

    done = subprocess.run(
        own_module("orchestrator", "controller", "start"),
        cwd=tmp_path,
        env=with_our_package(made.environment),
        capture_output=True,
        text=True,
        timeout=made.patience_seconds,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert made.controller_pid() is not None
    until(lambda: made.run("gateway", "status", check=False).returncode == 0, "the gateway serves")
    assert not (tmp_path / "executed").exists()
