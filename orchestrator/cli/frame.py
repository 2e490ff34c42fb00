"""What every command has in common: help that opens with examples, the shared flags, commands loaded when they run.

The help text of a command is its function's docstring: a sentence, an ``Examples:`` block, then the details. It is
written without Rich, so that ``--help`` costs no import that it does not need.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Protocol

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from orchestrator.cli.session import Session

APP: Final = "greenctl"
SHARED: Final = "Shared options"
COMPLETE_VARIABLE: Final = "_GREENCTL_COMPLETE"
"""Set by the shell's completion script when it asks for completions."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A command as the front page lists it, without importing it. ``summary`` repeats the first line of its help.

    ``only_looks``: whatever its words are, it leaves services and their memory as they are.
    """

    name: str
    chapter: str
    summary: str
    package: str = "orchestrator.cli.commands"
    only_looks: bool = False

    @property
    def module(self) -> str:
        """Where its Typer application is."""
        return f"{self.package}.{self.name}"


class Page(Protocol):
    """The part of the help formatter that is written to."""

    def write(self, string: str) -> None:
        """Append text as it is."""

    def write_paragraph(self) -> None:
        """Append an empty line, except at the top."""

    def write_text(self, text: str) -> None:
        """Append paragraphs, wrapped."""

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None:
        """Append a list of terms and their descriptions."""

    def section(self, name: str) -> AbstractContextManager[None]:
        """Indent what follows under a heading."""
        ...

    def indentation(self) -> AbstractContextManager[None]:
        """Indent what follows."""
        ...


def new_app(help_text: str = "") -> typer.Typer:
    """Return an application to hang one command (or one group of them) on; ``help_text`` is a group's own help."""
    group = {"cls": Group, "help": help_text, "invoke_without_command": True} if help_text else {}
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **group)  # type: ignore[arg-type]  # mixed values
    if help_text:
        app.callback()(_help_when_alone)
    return app


def _help_when_alone(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _cheap(option: TyperOption | None) -> TyperOption | None:
    """Give the ``--help`` flag a default that needs no conversion: Typer converts by pydantic, which costs 100 ms."""
    if option is not None:
        option.default = False
    return option


class Command(TyperCommand):
    """A command with examples in its help and with the shared flags."""

    def __init__(self, name: str | None, **attributes: Any) -> None:  # noqa: ANN401  # Typer's own constructor
        super().__init__(name, **attributes)
        self.params = [*self.params, *_shared_options()]

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:  # type: ignore[override]  # Typer's base class is private
        """Return the ``--help`` flag."""
        return _cheap(super().get_help_option(ctx))

    def format_help_text(self, ctx: typer.Context, formatter: Page) -> None:  # type: ignore[override]  # a narrower page
        """Write sentence, examples and details."""
        del ctx
        _write_help(self.help or "", formatter)

    def format_options(self, ctx: typer.Context, formatter: Page) -> None:  # type: ignore[override]  # a narrower page
        """Write the arguments, the command's own options, and then those that every command has."""
        _write_parameters(self, ctx, formatter)


class FileCommand(Command):
    """A command whose document may go to a file: ``--json`` alone prints it, ``--json FILE.json`` writes it there.

    Typer has no option with a value that may be left out, so the file is taken out of the words before it sees them. A
    word that does not end in ``.json`` may be what the command is asked to read, and is never taken for what it is to
    write; ``--json=FILE`` takes any name.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # a private base class
        """Take the file from the words, and let Typer have the others."""
        kept, file = _without_file(args)
        if file is not None and isinstance(ctx.obj, Session) and not ctx.resilient_parsing:
            ctx.obj.write_json_to(file)
        return super().parse_args(ctx, kept)


def _without_file(words: Sequence[str]) -> tuple[list[str], str | None]:
    kept: list[str] = []
    file: str | None = None
    rest = iter(range(len(words)))
    for i in rest:
        word = words[i]
        if word == "--":
            return [*kept, *words[i:]], file
        if word.startswith("--json="):
            file = word.removeprefix("--json=")
        elif word == "--json" and i + 1 < len(words) and _is_document(words[i + 1]):
            file = words[next(rest)]
        else:
            kept.append(word)
    return kept, file


def _is_document(word: str) -> bool:
    return word.endswith(".json") and not word.startswith("-")


class Group(TyperGroup):
    """A group of commands; its front page lists them in the order in which they are used."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  # Typer's own constructor
        super().__init__(**attributes)
        self.params = [*self.params, *_shared_options()]

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:  # type: ignore[override]  # Typer's base class is private
        """Return the ``--help`` flag."""
        return _cheap(super().get_help_option(ctx))

    def format_help_text(self, ctx: typer.Context, formatter: Page) -> None:  # type: ignore[override]  # a narrower page
        """Write sentence, examples and details."""
        del ctx
        _write_help(self.help or "", formatter)

    def format_options(self, ctx: typer.Context, formatter: Page) -> None:  # type: ignore[override]  # a narrower page
        """Write the commands first: that is what people look for."""
        self.format_commands(ctx, formatter)  # type: ignore[arg-type]  # as above
        _write_parameters(self, ctx, formatter)


class LazyGroup(Group):
    """Knows its commands by name and sentence, and imports the one that runs."""

    entries: tuple[Entry, ...] = ()

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  # Typer's own constructor
        super().__init__(**attributes)
        # Stand-ins, so that "did you mean" knows the names.
        self.commands = {e.name: TyperCommand(e.name, help=e.summary, rich_markup_mode=None) for e in self.entries}

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | TyperGroup | None:  # type: ignore[override]  # Typer's base class is private
        """Import the command's module; ``None`` for a name that we do not have."""
        del ctx
        return load(next((e for e in self.entries if e.name == cmd_name), None))

    def format_commands(self, ctx: typer.Context, formatter: Page) -> None:  # type: ignore[override]  # a narrower page
        """List the commands by chapter, from the table alone."""
        del ctx
        for chapter in dict.fromkeys(e.chapter for e in self.entries):
            with formatter.section(chapter):
                formatter.write_dl([(f"{e.name:<11}", e.summary) for e in self.entries if e.chapter == chapter])


def load(entry: Entry | None) -> TyperCommand | TyperGroup | None:
    """Import a command."""
    if entry is None:
        return None
    command = get_command(importlib.import_module(entry.module).app)
    command.name = entry.name
    if not isinstance(command, TyperCommand | TyperGroup):
        raise TypeError(f"{entry.module}.app is not a command")
    return command


@cache
def _shared_options() -> tuple[Any, ...]:
    """Build the flags that every command takes, wherever they stand; they go to the session, not to the command.

    Typer has no public way to make an option by itself, so they are taken from a command that never runs.
    """
    app = typer.Typer(add_completion=False)

    @app.command()
    def never_run(
        *,
        as_json: Annotated[
            bool, _shared("--json", "One JSON document on stdout, with format_version and stable keys.")
        ] = False,
        no_color: Annotated[
            bool, _shared("--no-color", "No colour; NO_COLOR in the environment does the same.")
        ] = False,
        quiet: Annotated[bool, _shared("--quiet", "-q", "Only results and errors, no talk.")] = False,
        verbose: Annotated[bool, _shared("--verbose", "-v", "More talk: causes of errors, log lines.")] = False,
        debug: Annotated[bool, _shared("--debug", "Tracebacks and debug log lines.")] = False,
    ) -> None:
        del as_json, no_color, quiet, verbose, debug

    return tuple(p for p in get_command(app).params if p.name in Session.FLAGS)


def _shared(*words: str) -> Any:  # noqa: ANN401  # what typer.Option returns
    *names, help_text = words
    return typer.Option(
        *names, help=help_text, callback=_remember, expose_value=False, show_default=False, rich_help_panel=SHARED
    )


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: bool) -> None:  # noqa: FBT001  # Typer's call
    if value and isinstance(ctx.obj, Session) and param.name is not None:
        ctx.obj.raise_flag(param.name)


def _write_help(text: str, page: Page) -> None:
    for block in _blocks(inspect.cleandoc(text)):
        page.write_paragraph()
        if block[0] == "Examples:":
            page.write("".join(f"{line}\n" for line in block))
        else:
            with page.indentation():
                page.write_text("\n".join(block))


def _blocks(text: str) -> Iterator[list[str]]:
    """Split at empty lines."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def _write_parameters(command: TyperCommand | TyperGroup, ctx: typer.Context, page: Page) -> None:
    arguments: list[tuple[str, str]] = []
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        if parameter.param_type_name == "argument":
            arguments.append(record)
        elif getattr(parameter, "rich_help_panel", None) == SHARED or parameter.name == "help":
            shared.append(record)
        else:
            own.append(record)
    for title, rows in (("Arguments", arguments), ("Options", own), (SHARED, shared)):
        if rows:
            with page.section(title):
                page.write_dl(rows)


def commands_of(entries: Iterable[Entry]) -> Iterator[tuple[Entry, TyperCommand | TyperGroup]]:
    """Import every command: for the generated reference and for tests."""
    for entry in entries:
        command = load(entry)
        if command is not None:
            yield entry, command
