"""The reference of the command line is generated from its help, and its help opens with examples that work.

``GREENCTL_UPDATE_GOLDEN=1`` writes ``reference.md`` anew.
"""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from orchestrator.cli.app import ENTRIES, app
from orchestrator.cli.frame import APP, LazyGroup, load
from orchestrator.cli.session import Session

REFERENCE = Path(__file__).with_name("reference.md")
PATHS = [()] + [
    (entry.name, *sub) for entry in ENTRIES for sub in [(), *((name,) for name in getattr(load(entry), "commands", {}))]
]


def help_of(path: tuple[str, ...]) -> str:
    """What ``--help`` prints at 80 columns."""
    result = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert result.stderr == ""
    return result.stdout


def reference() -> str:
    """Every page of help, one after the other."""
    parts = ["# greenctl: the command line", "", "Generated from `--help`; do not edit."]
    for path in PATHS:
        parts += ["", f"## {' '.join((APP, *path))}", "", "```text", help_of(path).rstrip("\n"), "```"]
    return "\n".join(parts) + "\n"


def examples_of(path: tuple[str, ...]) -> Iterator[str]:
    """The examples of a page of help, without what is said about them."""
    lines = help_of(path).splitlines()
    for text in lines[lines.index("Examples:") + 1 :]:
        if not text.startswith("  "):
            return
        yield text.strip().split("  ")[0]


def test_the_reference_is_what_help_says() -> None:
    """The page that is published is the page that is printed."""
    found = reference()
    if os.environ.get("GREENCTL_UPDATE_GOLDEN") == "1":
        REFERENCE.write_text(found, encoding="utf-8")

    assert found == REFERENCE.read_text(encoding="utf-8"), "run the tests with GREENCTL_UPDATE_GOLDEN=1"


@pytest.mark.parametrize("path", PATHS, ids=lambda p: " ".join((APP, *p)))
def test_help_opens_with_a_sentence_and_examples(path: tuple[str, ...]) -> None:
    """Usage, one sentence, examples, and only then the details; nothing wider than 80 columns but an example."""
    usage, empty, sentence, second, *rest = help_of(path).splitlines()

    assert usage.startswith(f"Usage: {' '.join((APP, *path))} ")
    assert (empty, second, rest[0]) == ("", "", "Examples:")
    assert sentence.startswith("  ")
    assert sentence.endswith(".")


@pytest.mark.parametrize("path", PATHS, ids=lambda p: " ".join((APP, *p)))
def test_every_example_can_be_typed(path: tuple[str, ...]) -> None:
    """Each command, option and value in an example is one that the command line takes."""
    found = list(examples_of(path))
    assert found
    for example in found:
        for part in example.split(" && "):
            _parse(part)


def _parse(example: str) -> None:
    """Read the words as the command line would, without running the command."""
    if example.startswith("eval "):
        example = example.removeprefix('eval "$(').removesuffix(')"')
    words = shlex.split(example.split(" > ")[0])
    while "=" in words[0]:
        del words[0]
    assert words.pop(0) == APP
    command: Any = get_command(app)
    context: Any = None
    while True:
        if isinstance(command, typer.core.TyperGroup):
            context = command.make_context(APP, list(words), parent=context, obj=Session())
            name, command, words = command.resolve_command(context, list(words))
            assert command is not None, name
        else:
            command.make_context(words, list(words), parent=context)
            return


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_the_front_page_says_of_a_command_what_the_command_says_of_itself(entry: Any) -> None:
    """The list is a table so that it costs no import; this holds it to the truth."""
    command: Any = load(entry)

    assert command.help.splitlines()[0] == entry.summary


def test_every_command_is_on_the_front_page() -> None:
    """No module of commands is forgotten, and none is listed that is not there."""
    folder = Path(__file__).parents[3] / "orchestrator" / "cli" / "commands"

    modules = {f.parent.name if f.stem == "__init__" else f.stem for f in folder.glob("*.py")}
    groups = {f.parent.name for f in folder.glob("*/__init__.py")}
    assert (modules | groups) - {"commands"} == {e.name for e in ENTRIES}
    assert {e.name for e in LazyGroup.entries} == set()


@pytest.mark.parametrize("path", [p for p in PATHS if p], ids=" ".join)
def test_every_command_takes_the_shared_flags(path: tuple[str, ...]) -> None:
    """--json, --no-color, -q, -v and --debug mean the same everywhere."""
    text = help_of(path)

    for flag in ("--json", "--no-color", "-q, --quiet", "-v, --verbose", "--debug", "-h, --help"):
        assert flag in text
