"""What every block of a file has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

NO_VALUE = "no_value"
"""Type of the complaint about a key that has none."""


def require_value(value: object) -> object:
    """Return what is written under a key. Raises where nothing is: it would read as the rule's opposite."""
    if value is None:
        message = "has no value. Write one, or remove the key"
        raise PydanticCustomError(NO_VALUE, message)
    return value


def without_null(schema: dict[str, Any]) -> None:
    """Take "or null" from a property's JSON Schema, in place: ``None`` is what an absent key is read as."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) == len(schema.get("anyOf", ())):
        return
    if len(branches) > 1:
        schema["anyOf"] = branches
        return
    described = {key: value for key, value in schema.items() if key != "anyOf"}
    schema.clear()
    schema.update(branches[0] | described)


def _with_values(schema: dict[str, Any]) -> None:
    for described in schema.get("properties", {}).values():
        without_null(described)


class AnyBlock(BaseModel):
    """A block of known keys; anything else is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Block(AnyBlock):
    """A block of ours: each key that is written has a value (decision 0066)."""

    model_config = ConfigDict(json_schema_extra=_with_values)

    _has_value = field_validator("*", mode="before")(require_value)
