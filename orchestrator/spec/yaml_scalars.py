"""What a plain YAML word means.

Our own blocks are read by YAML 1.2: ``NO`` is Norway, ``yes`` is text. SkyPilot reads its blocks by YAML 1.1, where
both are booleans, so there we follow 1.1 for those words and refuse every number or date on which the two versions
disagree: a file must not mean one thing to us and another to SkyPilot.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

MAX_DIGITS = 18
"""Numbers of more digits are typing errors or attacks; 18 digits still fit a signed 64-bit integer."""

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {
    word: value for value, words in ((True, "true True TRUE"), (False, "false False FALSE")) for word in words.split()
}
_BOOLS_1_1 = {
    word: value
    for value, words in ((True, "yes Yes YES on On ON"), (False, "no No NO off Off OFF"))
    for word in words.split()
}
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

# YAML 1.2.2, section 10.3.2 (core schema).
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

# YAML 1.1 as PyYAML reads it: octal by a leading zero, underscores, sixties, dates; an exponent needs a dot and a sign.
_INT_1_1 = re.compile(r"[-+]?(0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(:[0-5]?[0-9])+)")
_FLOAT_1_1 = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*"
)
_DATE_1_1 = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?")
_SAME_IN_BOTH = re.compile(
    r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|([-+]?(0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?"
)
_SPECIAL_1_1 = frozenset({"=", "<<"})


class BadScalar(ValueError):
    """A word that is no usable value; the text says why and what to write."""


def resolve(word: str, *, as_skypilot: bool) -> Scalar:
    """Give a plain (unquoted) word its value. Raises :class:`BadScalar`."""
    if word in NULLS:
        return None
    if word in _BOOLS:
        return _BOOLS[word]
    if as_skypilot and word in _BOOLS_1_1:
        return _BOOLS_1_1[word]
    if _NOT_FINITE.fullmatch(word):
        raise BadScalar("not a finite number")
    is_number = _INT.fullmatch(word) is not None or _FLOAT.fullmatch(word) is not None
    if as_skypilot:
        is_other = word in _SPECIAL_1_1 or any(p.fullmatch(word) for p in (_INT_1_1, _FLOAT_1_1, _DATE_1_1))
        if (is_number or is_other) and not _SAME_IN_BOTH.fullmatch(word):
            raise BadScalar("YAML 1.1 (SkyPilot) and 1.2 read this differently. Put it in quotes, or write it plainly")
    return _number(word) if is_number else word


def _number(word: str) -> int | float:
    if sum(c.isalnum() for c in word) > MAX_DIGITS + 2:
        raise BadScalar(f"a number of more than {MAX_DIGITS} digits")
    if _INT.fullmatch(word):
        base = {"0o": 8, "0x": 16}.get(word[:2], 10)
        return int(word, base)
    value = float(word)
    if value in {float("inf"), float("-inf")}:
        raise BadScalar("not a finite number")
    return value
