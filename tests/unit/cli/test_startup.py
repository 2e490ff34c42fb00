"""What ``--help`` may not load, measured by what is loaded and not by the clock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.clocks import WORLD_FILE

HEAVY = (
    "pydantic",
    "pydantic_settings",
    "sqlalchemy",
    "alembic",
    "aiohttp",
    "httpx",
    "numpy",
    "ray",
    "sky",
    "vllm",
    "torch",
    "psutil",
    "structlog",
    "ruamel",
    "prometheus_client",
    "apscheduler",
    "rich",
    "asyncio",
    "orchestrator.wiring",
    "orchestrator.settings",
    "orchestrator.control",
    "orchestrator.store",
    "orchestrator.gateway",
    "orchestrator.provisioners",
)
"""Each costs tens of milliseconds to import, or pulls in what does."""

NEVER = ("ray", "sky", "vllm", "torch")
"""Not even a command that works may load these: they belong to other processes."""

PROBE = """
import sys
from orchestrator.cli.app import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print("\\n" + " ".join(sorted(sys.modules)), file=sys.stderr)
"""


def loaded_by(*words: str) -> set[str]:
    """The modules that are loaded when a fresh process has run the command line."""
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("words", [("--help",), ("--version",), (), ("version",)], ids=" ".join)
def test_help_and_version_load_nothing_heavy(words: tuple[str, ...]) -> None:
    """The first impression is instant: only Typer and our own few modules are imported."""
    found = loaded_by(*words)

    assert {name for name in HEAVY if name in found} == set()


def test_the_front_page_loads_no_command() -> None:
    """Commands are listed from a table; the one that runs is imported then."""
    assert [m for m in loaded_by("--help") if m.startswith("orchestrator.cli.commands.")] == []


@pytest.mark.parametrize("command", ["plan", "deploy", "status", "explain", "carbon", "report", "doctor", "gateway"])
def test_a_command_s_help_loads_none_of_what_belongs_to_other_processes(command: str) -> None:
    """Ray, SkyPilot, vLLM and torch are never imported here, and no database is opened for a help text."""
    found = loaded_by(command, "--help")

    assert {name for name in (*NEVER, "sqlalchemy", "orchestrator.wiring") if name in found} == set()


def test_the_version_is_a_document_where_one_is_asked_for() -> None:
    """By the flag as by the command: a script reads both."""
    flag, command = (
        subprocess.run([sys.executable, "-m", "orchestrator", *words, "--json"], capture_output=True, check=True).stdout
        for words in (("--version",), ("version",))
    )
    assert json.loads(flag) == json.loads(command)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "status"), [("policy show", 0), ("policy show nothing-like-it", 2)])
def test_a_closed_stream_changes_no_exit_status(closed: str, words: str, status: int) -> None:
    """Cron jobs and services may have none of the three; what is said to a closed one is lost, and that is all."""
    command = f"{sys.executable} -m orchestrator {words} {closed}"
    assert subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.DEVNULL, check=False).returncode == status


def test_a_look_at_a_replayed_grid_fixes_none(tmp_path: Path) -> None:
    """Whoever only tries a recording can deploy in real time afterwards."""
    environment = {**os.environ, "GREENCTL_STATE_DIR": str(tmp_path), "GREENCTL_WORLD__START": "2023-06-01T12:00:00Z"}

    said = subprocess.run(
        [sys.executable, "-m", "orchestrator", "carbon", "--zone", "SE", "--json"],
        env=environment,
        capture_output=True,
        check=True,
    )

    assert b"2023-06-01T12" in said.stdout
    assert not (tmp_path / WORLD_FILE).exists()
