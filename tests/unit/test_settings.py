"""Where settings may come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.errors import InvalidSettings
from orchestrator.settings import (
    NOT_OF_A_PROJECT,
    OF_NO_DIRECTORY,
    PROJECT_FILE,
    load_settings,
    refuse_unknown,
    variables,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, and a user without settings. Gives the directory's file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GREENCTL_DATABASE_URL", raising=False)
    return tmp_path / PROJECT_FILE


@pytest.mark.parametrize("name", NOT_OF_A_PROJECT)
def test_the_file_of_a_directory_says_nothing_of_the_users_keys_and_programs(project: Path, name: str) -> None:
    """A repository that was cloned would have them sent to its author; the refusal says where they belong instead."""
    section, _, key = name.rpartition(".")
    line = f"{key} = {'true' if key == 'private' else repr('/elsewhere/a')}"
    project.write_text(f"[{section}]\n{line}\n" if section else f"{line}\n")

    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert name in caught.value.message
    assert "config.toml" in caught.value.hint()

    own = project.parent / "config" / "greenctl" / "config.toml"
    own.parent.mkdir(parents=True)
    project.rename(own)
    load_settings()


def test_the_file_of_a_directory_says_all_the_rest(project: Path) -> None:
    """Also in the same sections."""
    project.write_text("[skypilot]\nclouds = ['aws']\n[signals]\nlive = ['eia']\n[signals.eia]\nkey = 'k'\n")

    settings = load_settings()

    assert settings.skypilot.clouds == ("aws",)
    assert settings.signals.live == ("eia",)


def test_paths_may_begin_at_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves a quoted ``~`` alone, and files have no shell: no folder of that name is made."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("GREENCTL_STATE_DIR", "~/state")
    project.write_text("[signals]\nrecorded = '~/carbon'\n[skypilot]\ncatalogs = '~/catalogs'\n")

    settings = load_settings()

    assert settings.state_dir == Path("/home/ada/state")
    assert settings.signals.recorded == Path("/home/ada/carbon")
    assert settings.skypilot.catalogs == Path("/home/ada/catalogs")


def test_a_path_of_the_nodes_is_theirs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is installed there, under a home that is not ours."""
    del project
    monkeypatch.setenv("GREENCTL_SKYPILOT__ENGINE", "~/vllm/bin/vllm")

    assert load_settings().skypilot.engine == Path("~/vllm/bin/vllm")


def test_a_path_means_what_it_meant_where_it_was_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may be relative to where the command stands; processes that it starts stand elsewhere."""
    monkeypatch.setenv("GREENCTL_STATE_DIR", "state")

    assert load_settings().state_dir == project.parent / "state"


@pytest.mark.parametrize("name", OF_NO_DIRECTORY)
def test_a_file_of_the_user_says_one_place_for_all_directories(project: Path, name: str) -> None:
    """Relative, there would be a fleet for each directory, and each would take the others' for strangers."""
    own = project.parent / "config" / "greenctl" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(f"{name} = 'state'\n")

    with pytest.raises(InvalidSettings, match=f"config.toml: {name} is relative"):
        load_settings()


@pytest.mark.parametrize("where", ["project", "user"])
@pytest.mark.parametrize("text", [b"gateway = ", b"\xff"], ids=["toml", "utf-8"])
def test_a_broken_file_is_called_by_its_name(project: Path, where: str, text: bytes) -> None:
    """Who looks for the other one finds none."""
    file = project if where == "project" else project.parent / "config" / "greenctl" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text)

    with pytest.raises(InvalidSettings) as caught:
        load_settings()

    assert caught.value.message.startswith(f"{PROJECT_FILE if where == 'project' else file}: ")


def test_a_variable_that_is_no_json_is_called_by_its_name(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by that of a file which is not there; what it holds is not repeated, it may be a key."""
    del project
    monkeypatch.setenv("GREENCTL_SKYPILOT__CLOUDS", "aws-secret")

    with pytest.raises(InvalidSettings) as caught:
        load_settings()

    assert caught.value.message == "GREENCTL_SKYPILOT__CLOUDS: a list or a table is wanted, as JSON"
    assert "aws-secret" not in caught.value.message + caught.value.hint()
    assert '["one", "two"]' in caught.value.hint()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("GREENCTL_STATEDIR", "GREENCTL_STATE_DIR"),
        ("GREENCTL_GATEWAY_PORT", "GREENCTL_GATEWAY__PORT"),
        ("GREENCTL_SKYPILOT_CLOUDS", "GREENCTL_SKYPILOT__CLOUDS"),
        ("greenctl_sate_dir", "GREENCTL_STATE_DIR"),
        ("GREENCTL_SIGNALS_EIA__KEY", "GREENCTL_SIGNALS__EIA__KEY"),
        ("GREENCTL_STATE_DIR__PATH", "GREENCTL_STATE_DIR"),
    ],
)
def test_a_variable_that_says_nothing_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    """Unheard, a command would work on the fleet of the default place; what it holds may be a key, and is not told."""
    del project
    monkeypatch.setenv(written, "/srv/fleet-secret")

    with pytest.raises(InvalidSettings) as caught:
        load_settings()

    assert caught.value.message == f"{written}: there is no such setting"
    assert caught.value.hint().startswith(f"Did you mean {meant}? Two underscores join the parts of a name")


def test_nothing_is_guessed_for_what_resembles_nothing() -> None:
    """That all names begin alike makes none of them likely."""
    with pytest.raises(InvalidSettings) as caught:
        refuse_unknown({"GREENCTL_FOO": "1"})

    assert caught.value.hint().startswith("Two underscores")


def test_each_setting_has_a_variable_that_is_heard() -> None:
    """Whatever the environment may set is not taken for a mistake."""
    refuse_unknown(dict.fromkeys(variables(), ""))


def test_what_kubernetes_says_of_a_service_of_our_name_is_no_setting() -> None:
    """Each pod of the namespace gets it, and nobody there can leave it out."""
    address = {"GREENCTL_GATEWAY_PORT": "tcp://10.0.0.11:80", "GREENCTL_PORT_8080_TCP": "tcp://10.0.0.11:80"}
    parts = ("PORT_8080_TCP_PROTO", "PORT_8080_TCP_ADDR", "PORT_8080_TCP_PORT", "SERVICE_HOST", "SERVICE_PORT_HTTP")

    refuse_unknown(address | {f"GREENCTL_GATEWAY_{part}": "x" for part in parts})


def test_the_variables_of_tests_and_replicas_are_no_mistakes() -> None:
    """They stand in the environment of commands, too: whoever reads a new one says so in the settings."""
    texts = {"GREENCTL_CANARY", "GREENCTL_X"}  # nobody sets them
    files = [ROOT / "Makefile", ROOT / ".ci" / "run"]
    files += [f for folder in ("orchestrator", "tests", "infra") for f in (ROOT / folder).rglob("*.py")]
    files.remove(Path(__file__))
    names = {n for f in files for n in re.findall(r"\bGREENCTL_[A-Z][A-Z0-9_]*[A-Z0-9]\b", f.read_text("utf-8"))}

    assert len(names) > 40, "the files were read"
    refuse_unknown(dict.fromkeys(names - texts, ""))
