"""Small words for messages: quoting what people wrote, and the nearest right word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches

from orchestrator.spec.credentials import looks_like_one

MAX_SHOWN = 60
"""Characters of somebody's own text that a message repeats: enough to find it, too few to flood a terminal."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.:/*-]{1,60}")

Path = tuple[str | int, ...]
"""Keys and list positions that lead from the top of a file to a value."""


def show(value: object) -> str:
    """Quote a value for a message: one line, ASCII controls escaped, cut to :data:`MAX_SHOWN` characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a block of keys"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return "(hidden: it looks like a credential)" if looks_like_one(value) else f'"{printable(value)}"'
    return printable(str(value))


def printable(text: str) -> str:
    """Escape everything a terminal could act upon, and cut the rest."""
    cut = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    return "".join(c if c == "…" or c.isprintable() else json.dumps(c)[1:-1] for c in cut)


def dotted(path: Path) -> str:
    """Write a path as people read it: ``slo.clients[0].weight``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        key = part if _PLAIN_KEY.fullmatch(part) and not looks_like_one(part) else show(part)
        text += f".{key}" if text else key
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, ``None`` when none is near.

    Cut-off 0.6 is difflib's own default; dashes count as underscores, because flags are written with either.
    """
    by_fold = {k.lower().replace("-", "_"): k for k in known}
    folded = word[:MAX_SHOWN].lower().replace("-", "_")
    found = get_close_matches(folded, by_fold, n=1, cutoff=0.6)
    if not found and len(folded) >= 3:  # noqa: PLR2004  # two letters are inside everything
        found = [f for f in by_fold if f in folded or folded in f][:1]
    return by_fold[found[0]] if found else None


def listed(words: Iterable[str]) -> str:
    """Join words with commas."""
    return ", ".join(words)
