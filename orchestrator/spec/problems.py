"""From a validator's complaints to sentences with a place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import InvalidSpec, Problem
from orchestrator.spec.block import NO_VALUE
from orchestrator.spec.credentials import looks_like_one
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.words import Path, listed, nearest, show
from orchestrator.spec.yaml_nodes import MAX_DEPTH
from orchestrator.spec.yaml_tree import Document

_Model = TypeVar("_Model", bound=BaseModel)


def render_problems(error: InvalidSpec) -> list[str]:
    """Return one line per problem: ``file:line:column  path: what is wrong. Did you mean "…"?``."""
    return [_line(error.file, problem) for problem in error.problems]


def _line(file: str, problem: Problem) -> str:
    place = ":".join(str(part) for part in (file, problem.line, problem.column) if part is not None)
    ending = "" if problem.message.endswith((".", "?", "!")) else "."
    meant = f' Did you mean "{problem.suggestion}"?' if problem.suggestion else ""
    return f"{place}  {problem.path + ': ' if problem.path else ''}{problem.message}{ending}{meant}"


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort by place; what has none comes first."""
    return tuple(sorted(problems, key=lambda p: (p.line or 0, p.column or 0, p.path, p.message)))


def validate(model: type[_Model], document: Document) -> _Model:
    """Read the document with a file model, and note every problem in it.

    Returns the model of what is sound, so that it can be looked at further: a value with a problem is left out, and
    its path goes into ``document.left_out``. No top-level key of a file model may be required.
    """
    data: Any = document.data
    try:
        return model.model_validate(data)
    except ValidationError as error:
        details = error.errors()
    document.problems.extend(_problems(model, document, details))
    for _ in range(MAX_DEPTH):  # leaving out a required value makes its block unsound in turn
        lost = {_whole_value(detail) for detail in details}
        document.left_out |= lost
        data = _without(data, lost)
        try:
            return model.model_validate(data)
        except ValidationError as error:
            details = error.errors()
    return model.model_validate({})


def _whole_value(detail: ErrorDetails) -> Path:
    """Return the path of the value to leave out; of a list all of it, because positions must not shift."""
    path: Path = detail["loc"]
    if path[-1] == "[key]" or detail["type"] == "missing":
        path = path[:-1]
    first_index = next((i for i, part in enumerate(path) if isinstance(part, int)), len(path))
    return path[:first_index]


def _without(data: object, lost: set[Path], path: Path = ()) -> object:
    if not isinstance(data, dict):
        return data
    return {key: _without(value, lost, (*path, key)) for key, value in data.items() if (*path, key) not in lost}


def _problems(model: type[BaseModel], document: Document, details: Iterable[ErrorDetails]) -> Iterator[Problem]:
    for detail in details:
        path: Path = detail["loc"]
        at_key = False
        if path and path[-1] == "[key]":
            path, at_key = path[:-1], True
        if document.is_broken(path):
            continue
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Unreadable):
            yield document.problem(path, cause.message, cause.suggestion, at_key=at_key)
        elif detail["type"] == "extra_forbidden":
            yield _unknown_key(model, document, path)
        elif detail["type"] == "missing":
            yield document.problem(path, "missing", at_key=True)
        elif detail["type"] == NO_VALUE:
            yield document.problem(path, detail["msg"], at_key=True)
        else:
            yield document.problem(path, _words(detail))


def _unknown_key(model: type[BaseModel], document: Document, path: Path) -> Problem:
    key = str(path[-1])
    if home := next((name for name in _blocks_with(model, key)), None):
        return document.problem(path, f"unknown key here; it belongs under {home}", at_key=True)
    block = _model_at(model, path[:-1])
    known = sorted(_keys(block)) if block else []
    if guess := nearest(key, known):
        return document.problem(path, "unknown key", guess, at_key=True)
    return document.problem(path, f"unknown key. Known here: {listed(known)}", at_key=True)


def _words(detail: ErrorDetails) -> str:
    """Say the few complaints that still come from pydantic itself."""
    value = detail.get("input")
    context = detail.get("ctx", {})
    match detail["type"]:
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{show(value)} is not a block of keys"
        case "list_type":
            return (
                f"{show(value)} is not a list. Write [{value}]" if _is_plain(value) else f"{show(value)} is not a list"
            )
        case "too_short":
            least = context.get("min_length")
            return f"needs at least {least} {'entry' if least == 1 else 'entries'}"
        case "too_long":
            return f"has more than {context.get('max_length')} entries"
        case _:
            return f"{show(value)}: {detail['msg']}"


def _is_plain(value: object) -> bool:
    if not isinstance(value, str) or looks_like_one(value):
        return False
    return re.fullmatch(r"[A-Za-z0-9_./*?%-]{1,60}", value) is not None


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for part in path:
        if found is None or isinstance(part, int):
            continue
        found = _model_in(_keys(found).get(part))
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401  # an annotation can be anything
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def _blocks_with(model: type[BaseModel], key: str, path: Path = ()) -> Iterator[str]:
    for name, annotation in _keys(model).items():
        inner = _model_in(annotation)
        if inner is not None:
            if key in _keys(inner):
                yield ".".join(str(p) for p in (*path, name))
            yield from _blocks_with(inner, key, (*path, name))
