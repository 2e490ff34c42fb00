"""What ``--help`` may not load, measured by what is loaded and not by the clock."""

import subprocess
import sys

import pytest

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
