"""Keeping credentials out of files that are stored, shown and sent around.

Not a secret scanner: it knows the common shapes and names, so that the usual slip (a token under ``envs``) is caught
before the file reaches the database.
"""

from __future__ import annotations

import re

_SHAPES = re.compile(
    r"""
      \bhf_[A-Za-z0-9]{20,}            # Hugging Face
    | \bsk-[A-Za-z0-9_-]{20,}          # OpenAI and those who copied it
    | \b(AKIA|ASIA)[0-9A-Z]{16}\b      # AWS access key id
    | \bgh[pousr]_[A-Za-z0-9]{30,}     # GitHub
    | \bgithub_pat_[A-Za-z0-9_]{30,}
    | \bglpat-[A-Za-z0-9_-]{20,}       # GitLab
    | \bxox[abprs]-[A-Za-z0-9-]{20,}   # Slack
    | \bAIza[0-9A-Za-z_-]{35}          # Google
    | \bey[A-Za-z0-9_-]{10,}\.ey[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}   # JSON web token
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
    """,
    re.VERBOSE,
)
_NAMES = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY|CREDENTIALS?)$",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|secrets:.+")


def looks_like_one(text: str) -> bool:
    """Whether the text holds something of a credential's shape."""
    return _SHAPES.search(text) is not None


def names_one(variable: str, value: object) -> bool:
    """Whether an environment variable is called like a credential and has a value (not one by reference)."""
    if value is None or value == "" or not _NAMES.search(variable):
        return False
    return not (isinstance(value, str) and _REFERENCE.fullmatch(value))
