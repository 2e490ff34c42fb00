"""The first files of ``greenctl init``."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from orchestrator.domain.service import Engine
from orchestrator.errors import ExitStatus, InvalidSpec, UsageError, WouldOverwrite
from orchestrator.spec.scaffold import scaffold
from orchestrator.spec.service_file import load_service_file
from orchestrator.spec.yaml_tree import read

FILES = ["service.yaml", "policy.yaml", "service.schema.json", "policy.schema.json"]


def test_the_files_are_written_and_valid(tmp_path: Path) -> None:
    """The service file loads as it is, uses the policy beside it and satisfies the schema beside it."""
    paths = scaffold(tmp_path / "new" / "chat", "chat", "Qwen/Qwen3-8B")

    assert [p.name for p in paths] == FILES
    loaded = load_service_file(paths[0])
    assert (loaded.spec.name, loaded.spec.model.id, loaded.spec.model.engine) == ("chat", "Qwen/Qwen3-8B", Engine.VLLM)
    assert (loaded.spec.policy.name, loaded.spec.placement.allow) == ("chat-policy", ("local/*",))
    assert loaded.notes == ()
    for file, schema in zip(paths[:2], paths[2:], strict=True):
        Draft202012Validator(json.loads(schema.read_text())).validate(read(file.read_text(), file.name).data)


def test_every_suggestion_in_a_comment_works(tmp_path: Path) -> None:
    """Uncommenting any single line that looks like YAML gives a valid file."""
    file = scaffold(tmp_path, "chat", "a/b")[0]
    lines = file.read_text().splitlines()
    tried = 0
    for number, line in enumerate(lines):
        if line.startswith("  # ") and ": " in line and not line.startswith("  # A "):
            changed = [*lines[:number], "  " + line[4:], *lines[number + 1 :]]
            file.write_text("\n".join(changed))
            load_service_file(file)
            tried += 1

    assert tried >= 7


@pytest.mark.parametrize("name", ["true", "null", "on", "a" * 40, "x"])
def test_names_that_yaml_would_read_as_something_else(tmp_path: Path, name: str) -> None:
    """A service may be called null."""
    assert load_service_file(scaffold(tmp_path, name, "a/b")[0]).spec.name == name


def test_a_model_path_is_relative_to_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./models from the command line is the same folder when the service file is read."""
    monkeypatch.chdir(tmp_path)

    inside = load_service_file(scaffold(Path("svc"), "a", "./models/tiny")[0])
    beside = load_service_file(scaffold(Path(), "a", "./models/tiny")[0])

    assert Path(inside.spec.model.id).resolve() == tmp_path / "models/tiny"
    assert Path(beside.spec.model.id).resolve() == tmp_path / "models/tiny"


@pytest.mark.parametrize("present", FILES)
def test_nothing_is_overwritten_without_force(tmp_path: Path, present: str) -> None:
    """One file in the way, and none is written."""
    (tmp_path / present).write_text("mine")

    with pytest.raises(WouldOverwrite) as caught:
        scaffold(tmp_path, "chat", "a/b")

    assert (caught.value.code, caught.value.exit_status) == ("would_overwrite", ExitStatus.INVALID)
    assert [p.name for p in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_text() == "mine"


def test_force_replaces_files_and_never_follows_links(tmp_path: Path) -> None:
    """A link in the way is replaced; what it leads to stays as it is."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "svc"
    folder.mkdir()
    (folder / "service.yaml").symlink_to(victim)
    (folder / "policy.yaml").symlink_to(tmp_path / "dangling")

    with pytest.raises(WouldOverwrite):
        scaffold(folder, "chat", "a/b")
    scaffold(folder, "chat", "a/b", force=True)

    assert victim.read_text() == "mine"
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert not (folder / "service.yaml").is_symlink()


@pytest.mark.parametrize(
    ("name", "model"), [("A B", "a/b"), ("a", "a b"), ("a", 'x"\nrun: id'), ('a"', "a/b"), ("", "a/b")]
)
def test_what_no_service_could_be_called_writes_nothing(tmp_path: Path, name: str, model: str) -> None:
    """Only checked names go into the files."""
    with pytest.raises(InvalidSpec):
        scaffold(tmp_path / "new", name, model)

    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="cannot write"):
        scaffold(tmp_path / "file" / "svc", "a", "a/b")
