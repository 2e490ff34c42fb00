"""Values as they can be kept: UTC instants, text that every database takes, numbers that are numbers.

Both stores pass what they are given through here, so that neither keeps what the other would refuse or change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
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
    for name in cast("Any", value).__dataclass_fields__:
        old = getattr(value, name)
        mend = _MENDERS.get(type(old))
        if mend is None:
            continue
        try:
            new = mend(old)
        except ValueError as error:
            raise ValueError(f"{type(value).__name__}.{name}: {error}") from error
        if new is not old:
            changed[name] = new
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


def _tidy_window(window: Window) -> Window:
    start, end = tidy_instant(window.start), tidy_instant(window.end)
    return window if start is window.start and end is window.end else Window(start, end)


def _checked_number(number: float) -> float:
    if math.isnan(number):
        raise ValueError("not a number; unknown is None")
    return number


def _checked_whole(number: int) -> int:
    if abs(number) > LARGEST_WHOLE:
        raise ValueError(f"{number} does not fit into 64 bits")
    return number


_MENDERS: dict[type, Callable[[Any], Any]] = {
    str: tidy_text,
    datetime: tidy_instant,
    Window: _tidy_window,
    float: _checked_number,
    int: _checked_whole,
}
"""By exact type: enumerations are text already, and a ``bool`` is no number."""
