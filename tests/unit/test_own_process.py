"""How our own processes are started: by our package, and by nothing that lies where somebody stands."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import orchestrator
from orchestrator.own_process import own_module, with_our_package

ROOT = Path(orchestrator.__file__).parents[1]


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A working directory with modules named as ours, the standard library's, and one that we depend on."""
    for name in ("orchestrator/__init__.py", "queue.py", "structlog.py", "typer.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"raise SystemExit('{name} of the working directory was executed')\n")
    return tmp_path


def test_a_module_of_ours_is_ours_wherever_somebody_stands(foreign: Path) -> None:
    """Nothing of a repository that was cloned is executed."""
    done = subprocess.run(
        own_module("orchestrator", "version"),
        cwd=foreign,
        env=with_our_package({"PATH": "/usr/bin", "PYTHONPATH": ":"}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert orchestrator.__version__ in done.stdout


def test_entries_of_the_user_stay_and_empty_ones_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty one means the working directory, a relative one what it meant where it was read."""
    monkeypatch.chdir(tmp_path)

    found = with_our_package({"PYTHONPATH": f":/plugins:lib:{ROOT}", "HOME": "/root"})

    assert found == {"PYTHONPATH": f"{ROOT}:/plugins:{tmp_path / 'lib'}", "HOME": "/root"}


def test_where_we_are_installed_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """What our processes start, such as the tools of a cloud, would import our dependencies before its own."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(ROOT))

    assert with_our_package({"HOME": "/root"}) == {"HOME": "/root"}
    assert with_our_package({"PYTHONPATH": "/plugins"}) == {"PYTHONPATH": "/plugins"}


def test_it_runs_on_our_own_python() -> None:
    """Without the working directory on its path."""
    assert own_module("orchestrator.gateway", "--plain") == [
        *(sys.executable, "-P", "-m"),
        *("orchestrator.gateway", "--plain"),
    ]
