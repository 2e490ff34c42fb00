"""Errors as people and as programs read them: what, why or where, and what to try next."""

from __future__ import annotations

import traceback
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render.text import line
from orchestrator.errors import ExitStatus, GreenctlError, InvalidSpec

INTERNAL_HINT: Final = GreenctlError.default_hint


def render(error: BaseException, *, verbose: bool = False, debug: bool = False) -> RenderableType:
    """Return the lines for standard error."""
    what, *details = _words(error).split("\n")
    lines: list[Text] = [line((f"error[{_code(error)}]:", "bold red"), f" {what}")]
    lines += [line(f"  {detail}") for detail in details if detail.strip()]
    if isinstance(error, InvalidSpec):
        lines += [line(f"  {text}") for text in problems(error)]
    cause = error.__cause__
    if verbose and cause is not None:
        lines.append(line(f"  because of {type(cause).__name__}: {cause}"))
    lines.append(line(("hint:", "bold"), f" {_hint(error)}"))
    if debug:
        text = "".join(traceback.format_exception(error))
        lines += [line((f"  {row}", "dim")) for row in text.splitlines()]
    return Group(*lines)


def document(error: BaseException) -> dict[str, object]:
    """Return the error for ``--json``."""
    status = error.exit_status if isinstance(error, GreenctlError) else ExitStatus.UNEXPECTED
    fields: dict[str, object] = {
        "code": _code(error),
        "exit_status": int(status),
        "message": _words(error),
        "hint": _hint(error),
    }
    if isinstance(error, InvalidSpec):
        fields["file"] = error.file
        fields["problems"] = [
            {"path": p.path, "line": p.line, "column": p.column, "message": p.message, "suggestion": p.suggestion}
            for p in error.problems
        ]
    return fields


def problems(error: InvalidSpec) -> list[str]:
    """Return one line per problem: where, what, and the nearest right word."""
    from orchestrator.spec.problems import render_problems  # noqa: PLC0415  # pydantic, for no other error

    return render_problems(error)


def _words(error: BaseException) -> str:
    if isinstance(error, GreenctlError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _code(error: BaseException) -> str:
    return error.code if isinstance(error, GreenctlError) else GreenctlError.code


def _hint(error: BaseException) -> str:
    return error.hint() if isinstance(error, GreenctlError) else INTERNAL_HINT
