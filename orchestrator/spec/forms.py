"""Forms of values for the file models: how one is read, and how JSON Schema describes it.

A form takes the place of pydantic's own validation of a field, so that every refusal is a sentence of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

from orchestrator.spec import grammar
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.words import listed, nearest, show

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler


@dataclass(frozen=True, slots=True)
class Form:
    """Goes into ``Annotated``: ``read`` makes the value or raises ``Unreadable``; ``schema`` is its JSON Schema."""

    read: Callable[[Any], object]
    schema: dict[str, Any] = field(compare=False)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Read the value our way, whatever the annotated type is."""
        del source, handler
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the text that people write, not the value that comes of it."""
        del schema, handler
        return dict(self.schema)


def pattern(regex: str, wanted: str, *examples: str) -> Form:
    """Text of a grammar. ``wanted`` ends the sentence "… is not"."""
    schema = {"type": "string", "pattern": regex, "examples": list(examples)}
    return Form(lambda v: grammar.text(v, regex, wanted), schema)


def duration(low: str, high: str) -> Form:
    """A duration between two others, ends included."""
    lowest, highest = grammar.duration(low), grammar.duration(high)

    def read(value: object) -> timedelta:
        found = grammar.duration(value)
        if not lowest <= found <= highest:
            raise Unreadable(f"{show(value)} is not between {low} and {high}")
        return found

    return Form(read, {"type": "string", "pattern": grammar.DURATION_PATTERN, "examples": [low, high]})


def percent(low: int, high: int, *, above: bool = False, below: bool = False) -> Form:
    """A percentage between two whole ones, ends included unless ``above`` or ``below`` is said; read as a fraction."""

    def read(value: object) -> float:
        found = grammar.percent(value)
        inside = low / 100 <= found <= high / 100
        if not inside or (above and found == low / 100) or (below and found == high / 100):
            start = f"above {low}%" if above else f"at least {low}%"
            end = f"below {high}%" if below else f"at most {high}%"
            raise Unreadable(f"{show(value)} is not {start} and {end}")
        return found

    return Form(read, {"type": "string", "pattern": grammar.PERCENT_PATTERN, "examples": ["15%"]})


def whole_percent(low: int, high: int) -> Form:
    """A percentage without a fraction, read as a whole number."""

    def read(value: object) -> int:
        found = round(grammar.percent(value) * 100, 6)
        if not float(found).is_integer() or not low <= found <= high:
            raise Unreadable(f"{show(value)} is not a whole percentage of {low}% to {high}%")
        return int(found)

    return Form(read, {"type": "string", "pattern": r"^[0-9]{1,3}%$", "examples": ["10%", "100%"]})


def whole(low: int, high: int) -> Form:
    """A whole number, ends included."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Unreadable(f"{show(value)} is not a whole number")
        if not low <= value <= high:
            raise Unreadable(f"{value} is not between {low} and {high}")
        return value

    return Form(read, {"type": "integer", "minimum": low, "maximum": high})


def whole_of(*known: int) -> Form:
    """One of some whole numbers."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value not in known:
            raise Unreadable(f"{show(value)} is not one of {listed([str(n) for n in known])}")
        return value

    return Form(read, {"enum": list(known)})


def number(low: float, high: float, *, above: bool = False) -> Form:
    """A number, ends included unless ``above`` is said."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Unreadable(f"{show(value)} is not a number")
        if not low <= value <= high or (above and value == low):
            raise Unreadable(f"{value:g} is not {'above' if above else 'at least'} {low:g} and at most {high:g}")
        return float(value)

    schema = {"type": "number", "exclusiveMinimum" if above else "minimum": low, "maximum": high}
    return Form(read, schema)


def flag() -> Form:
    """True or false, as YAML means them."""

    def read(value: object) -> bool:
        if isinstance(value, bool):
            return value
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(value).lower())
        raise Unreadable(f"{show(value)} is not true or false", meant)

    return Form(read, {"type": "boolean"})


def choice(words: type[StrEnum] | tuple[str, ...]) -> Form:
    """One of some words; of an enumeration, its member."""
    known = words if isinstance(words, tuple) else tuple(w.value for w in words)

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            guess = nearest(value, known) if isinstance(value, str) else None
            raise Unreadable(f"{show(value)} is not one of {listed(known)}", guess)
        return value if isinstance(words, tuple) else words(value)

    return Form(read, {"enum": list(known)})


def refused(reason: str) -> Form:
    """A known key that may not be used, and why."""

    def read(value: object) -> None:
        del value
        raise Unreadable(reason)

    return Form(read, {"not": {}, "description": f"Not accepted: {reason}."})
