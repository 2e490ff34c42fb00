"""Values as they can be kept: UTC instants, text that every database takes, numbers that are numbers.

Both stores pass what they are given through here, so that neither keeps what the other would refuse or change.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from orchestrator.domain.time import Window, as_utc

V = TypeVar("V")

UNSTORABLE = "\N{REPLACEMENT CHARACTER}"
LARGEST_WHOLE = 2**63 - 1
"""Both databases keep integers in 64 bits."""


def tidy(value: V) -> V:
    """Return the frozen dataclass with its fields in storable form.

    Instants become UTC; NUL and lone surrogates in text (a provider's words can hold both) become U+FFFD. Raises
    ``ValueError`` for a naive instant, NaN (unknown is ``None``) or an integer beyond 64 bits.
    """
    changed = {}
    for field in fields(cast("Any", value)):
        old = getattr(value, field.name)
        new = _tidy_field(field.name, old)
        if new is not old:
            changed[field.name] = new
    return cast("V", replace(cast("Any", value), **changed)) if changed else value


def tidy_text(text: str) -> str:
    """Replace what no database keeps by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", UNSTORABLE)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def tidy_instant(moment: datetime) -> datetime:
    """Return the instant in UTC; a naive one is a ``ValueError``."""
    return moment if moment.tzinfo is UTC else as_utc(moment)


def _tidy_field(name: str, value: Any) -> Any:  # noqa: ANN401  # whatever a dataclass holds
    match value:
        case str() if type(value) is str:
            return tidy_text(value)
        case datetime():
            return tidy_instant(value)
        case Window():
            window = Window(tidy_instant(value.start), tidy_instant(value.end))
            return value if window.start is value.start and window.end is value.end else window
        case float() if math.isnan(value):
            raise ValueError(f"{name} is not a number; unknown is None")
        case int() if abs(value) > LARGEST_WHOLE:
            raise ValueError(f"{name} = {value} does not fit into 64 bits")
        case _:
            return value
