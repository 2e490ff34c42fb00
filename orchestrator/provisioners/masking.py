"""Text of other programs, fit to be kept and shown: no secrets, as far as they can be told by how they look."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"

SHORTEST_SECRET: Final = 4
"""A value of fewer characters is not looked for: it would be found in every other word."""

_LOOKS_SECRET = re.compile(
    # Bearer abcdefgh
    r"(?i)\b(bearer\s{1,4})[\w.~+/=-]{8,}"
    # --api-key ...: a word of its own, as command lines have it
    r"|((?<![\w-])--[\w-]{0,40}(?:key|token|secret|password)\s{1,4})[^\s-]\S{3,}"
    # HF_TOKEN=..., "api_key": "...": whatever stands before the name. Counts of tokens are no secrets.
    r"|((?:(?:api|access|private|secret)[_-]?key|token(?!s|i[zs]|_ids?\b)|passw(?:or)?d|passphrase|secret|credential)"
    r"[\w-]{0,40}['\"]?\s{0,4}[:=]\s{0,4}\[?['\"]?)[^\s'\",\])}]{4,}"
    # postgresql://user:password@host
    r"|(://[^\s:/@]{0,80}:)[^\s/@]{1,200}(?=@)"
    # hf_..., sk-..., ghp_..., AKIA...
    r"|\b((?:hf|sk|ghp|gho|glpat|xoxb)[_-]|AKIA)[\w-]{8,}"
)


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text with the given values, and whatever looks like a secret, replaced by three stars."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    return _LOOKS_SECRET.sub(lambda m: f"{m[1] or m[2] or m[3] or m[4] or m[5]}{MASK}", text)
