"""Our values as JSON: stable keys, enums as text, instants as RFC 3339 with ``Z``, durations as seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.plan import Plan
from orchestrator.domain.time import format_instant
from orchestrator.domain.written import is_left_out

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


def to_plain(value: object) -> Plain:  # noqa: C901  # one line per type
    """Turn any of our values into JSON-able ones. Raises ``TypeError`` for anything else."""
    match value:
        case Enum():
            return to_plain(value.value)
        case float():
            return value if isfinite(value) else None  # JSON has no word for the others, and neither do our figures
        case None | bool() | int() | str():
            return value
        case datetime():
            return format_instant(value)
        case timedelta():
            return value.total_seconds()
        case Path():
            return str(value)
        case Mapping():
            return {str(to_plain(k)): to_plain(v) for k, v in value.items()}
        case AbstractSet():
            return sorted((to_plain(v) for v in value), key=str)
        case list() | tuple():
            return [to_plain(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        plain = {f.name: to_plain(part) for f in fields(value) if not is_left_out(f, part := getattr(value, f.name))}
        if isinstance(value, Plan):
            plain["digest"] = value.digest
        return plain
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)


def plan_from_json(text: str) -> Plan:
    """Read a plan that :func:`to_json` wrote. Raises ``ValueError`` on anything else."""
    return _plan_adapter().validate_json(text)


@cache
def _plan_adapter() -> TypeAdapter[Plan]:
    """Make it once: that takes longer than to read many plans."""
    from pydantic import TypeAdapter  # noqa: PLC0415  # `greenctl --help` must not load it

    return TypeAdapter(Plan)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Write one JSON document."""
    return json.dumps(to_plain(value), indent=indent, ensure_ascii=False)
