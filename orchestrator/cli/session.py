"""One run of the command line: its flags, its two streams, its questions, and the world that it asks.

Standard output carries data, standard error the conversation. Whatever is costly to import is imported when it is first
needed, so that ``--help`` starts at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, TextIO, TypeVar

from orchestrator.cli.outside import Outside
from orchestrator.cli.places import not_written, onto, require_writable
from orchestrator.errors import Declined, GreenctlError, UsageError

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    import typer
    from rich.console import Console, RenderableType

    from orchestrator.control.runtime import Runtime
    from orchestrator.settings import Settings

FORMAT_VERSION: Final = 1
"""Grows when a key of a JSON document changes its meaning or goes away; new keys do not count."""

PIPE_WIDTH: Final = 160
"""Columns where there is no terminal to ask: wide enough that no table leaves anything out."""

_T = TypeVar("_T")


class Session:
    """What a command works with; made once per process, or by a test with its own world."""

    FLAGS: ClassVar = ("as_json", "no_color", "quiet", "verbose", "debug")

    def __init__(
        self,
        outside: Outside | None = None,
        *,
        interactive: Callable[[], bool] | None = None,
        read_answer: Callable[[], str] | None = None,
    ) -> None:
        self.outside = outside or Outside()
        self.as_json = self.no_color = self.quiet = self.verbose = self.debug = False
        self.only_looks = False
        self.json_file: Path | None = None
        self.unwritten: GreenctlError | None = None
        self._interactive = interactive or _has_terminal
        self._read_answer = read_answer or _read_line

    @staticmethod
    def of(ctx: typer.Context) -> Session:
        """Return the session of a command's context."""
        session = ctx.find_object(Session)
        if session is None:
            raise TypeError("the command runs outside of greenctl")
        return session

    def raise_flag(self, name: str) -> None:
        """Set one of the shared flags."""
        if name not in self.FLAGS:
            raise ValueError(f"{name} is not a flag")
        setattr(self, name, True)

    def write_json_to(self, file: str) -> None:
        """Send the document of a result to a file, beside the pages for people. Raises ``UsageError``."""
        from pathlib import Path  # noqa: PLC0415  # --help needs none

        self.as_json, self.json_file = False, Path(file)
        require_writable("--json", self.json_file)

    # ── the world ────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def settings(self) -> Settings:
        """The settings, read on first use. Raises ``InvalidSettings``."""
        return self.outside.settings()

    def use_recording(self, folder: Path | None) -> None:
        """Read the grid from this folder instead of what is configured; before the ports are first used."""
        if folder is not None:
            signals = self.settings.signals.model_copy(update={"recorded": folder.absolute()})
            self.settings = self.settings.model_copy(update={"signals": signals})

    @cached_property
    def runtime(self) -> Runtime:
        """The ports, built on first use. Raises ``StoreUnavailable`` and ``InvalidSettings``."""
        self.outside.configure_logs(verbose=self.verbose, debug=self.debug)
        return self.outside.runtime(self.settings, only_looks=self.only_looks)

    @cached_property
    def _loop(self) -> asyncio.Runner:
        import asyncio  # noqa: PLC0415  # a quarter of what --help would load

        return asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run asynchronous work to its end; all of a session's work shares one loop."""
        return self._loop.run(work)

    def close(self) -> None:
        """Let go of the loop, if there was one."""
        if "_loop" in self.__dict__:
            self._loop.close()

    # ── data ─────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def out(self) -> Console:
        """Standard output."""
        return self._console(sys.stdout)

    def show(self, renderable: RenderableType) -> None:
        """Print a result for people; nothing when a document was asked for."""
        if not self.as_json:
            self._print(self.out, renderable)

    def emit(self, **document: object) -> None:
        """Print the one JSON document, or write its file; nothing unless it was asked for. Raises ``DiskFull``.

        A file that cannot be written is remembered in ``unwritten`` and told at the end: hours of work may be in the
        pages that are still to be shown.
        """
        if self.as_json:
            self.write_document({name: self.outside.plain(value) for name, value in document.items()})
        elif self.json_file is not None:
            text = _as_json({name: self.outside.plain(value) for name, value in document.items()})
            try:
                self.json_file.write_text(text, encoding="ascii")
            except OSError as error:
                self.unwritten = not_written("--json", self.json_file, error)
                self.unwritten.__cause__ = error

    def write_document(self, document: Mapping[str, object]) -> None:
        """Print what JSON can say as it is: in plain ASCII, so that nothing in it can move a terminal's cursor."""
        with onto("standard output"):
            sys.stdout.write(_as_json(document))
            sys.stdout.flush()

    # ── conversation ─────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def talk(self) -> Console:
        """Standard error."""
        return self._console(sys.stderr)

    def say(self, renderable: RenderableType) -> None:
        """Say something that is not a result; silent with ``--quiet``."""
        if not self.quiet:
            self._print(self.talk, renderable)

    def complain(self, renderable: RenderableType) -> None:
        """Say something that must be heard, ``--quiet`` or not."""
        self._print(self.talk, renderable)

    def confirm(self, question: str, *, yes: bool, answer: str | None = None) -> None:
        """Ask before something is spent or destroyed. ``answer``: the exact words that count as yes.

        Raises ``Declined`` for any other answer, and ``UsageError`` where nobody can be asked.
        """
        if yes:
            return
        if not self._interactive():
            raise UsageError(
                "this needs a yes, and there is no terminal to ask on",
                hint="Add --yes, after reading the plan: nothing was changed.",
            )
        self.talk.print(question, end=" ", soft_wrap=True)
        said = self._read_answer().strip()
        agreed = said == answer if answer is not None else said.lower() in {"y", "yes"}
        if not agreed:
            raise Declined("you answered no" if answer is None else f"that was not {answer!r}")

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console  # noqa: PLC0415  # --help needs no Rich

        width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
        return Console(
            file=stream,
            width=width,
            no_color=self.no_color or None,
            color_system=None if self.no_color else "auto",
            markup=False,
            emoji=False,
            highlight=False,
        )

    def _print(self, console: Console, renderable: RenderableType) -> None:
        from orchestrator.cli.render.text import Escaped  # noqa: PLC0415  # --help needs no Rich

        with onto("standard error" if console.file is sys.stderr else "standard output"):
            console.print(Escaped(renderable), crop=False, end="")


def _as_json(document: Mapping[str, object]) -> str:
    text = json.dumps({"format_version": FORMAT_VERSION, **document}, indent=2, allow_nan=False)
    return text.replace("\x7f", "\\u007f") + "\n"


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _read_line() -> str:
    return sys.stdin.readline()
