"""Fields of our values that are written only where they say something: what says nothing new reads as before."""

from __future__ import annotations

from dataclasses import Field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ONLY_IF_SET: Final = MappingProxyType({"only_if_set": True})
"""``metadata`` of a field that JSON leaves out while it holds its default, so that digests stay what they were."""


def is_left_out(field: Field[Any], value: object) -> bool:
    """Whether a field is not written, because it says what it says by itself."""
    return "only_if_set" in field.metadata and bool(value == field.default)


def left_out_of(value: DataclassInstance) -> frozenset[str]:
    """Return the names of the value's own fields that are not written."""
    return frozenset(f.name for f in fields(value) if is_left_out(f, getattr(value, f.name)))
