"""Readers of single values: names, durations, percentages, budgets. Allow-lists throughout.

Each reader takes what YAML gave and returns a domain-ready value, or raises :class:`Unreadable` whose text goes into
the sentence ``<key>: <text>``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from orchestrator.domain.service import WEIGHTS_AT_HAND, WEIGHTS_FROM_HUB
from orchestrator.spec.credentials import looks_like_one
from orchestrator.spec.words import listed, nearest, show

NAME_PATTERN = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
"""At most 40 characters: it becomes part of cluster names and host names (DNS label of 63 with room for a suffix)."""
HUB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$"
MODEL_PATH_PATTERN = r"^(\.{0,2}/)[A-Za-z0-9_.+@-]+(/[A-Za-z0-9_.+@-]+)*/?$"
SERVED_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,126}$"
REGION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
REGION_GLOB_PATTERN = r"^[A-Za-z0-9*?][A-Za-z0-9_*?-]{0,31}/[A-Za-z0-9*?][A-Za-z0-9._*?-]{0,63}$"
RESIDENCY_PATTERN = r"^[A-Z]{2,8}(-[A-Z0-9]{1,8})?$"
AREA_PATTERN = r"^[a-z][a-z0-9-]{0,31}$"
WORD_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"
HOST_PATTERN = r"^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
LABEL_KEY_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9][A-Za-z0-9 ._/@:+=,-]{0,62})?$"
DURATION_PATTERN = r"^[0-9]{1,9}(ms|s|m|h|d)$"
PERCENT_PATTERN = r"^[0-9]{1,4}(\.[0-9]{1,6})?%$"
BUDGET_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?(g|kg|t)/(day|week|month)$"
TOKENS_PATTERN = r"^[1-9][0-9]{0,8} output tokens$"

LONGEST = timedelta(days=366)
"""Upper end of every duration in a file; beyond it the unit was most likely a mistake."""

MAX_PATH = 1024

_ALIASES = {"k8s": "kubernetes", "digitalocean": "do"}
"""``aliases`` of ``sky.utils.registry.CLOUD_REGISTRY``, 0.14.1."""

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_GRAMS = {"g": Decimal(1), "kg": Decimal(1000), "t": Decimal(1_000_000)}
_UNIT_WORDS = {
    "ms": "ms msec msecs millisecond milliseconds",
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
}
_UNITS = {word: unit for unit, words in _UNIT_WORDS.items() for word in words.split()}
_LOOSE_DURATION = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([A-Za-z]+)\s*")
_LOOSE_NUMBER = re.compile(r"\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(?:%|percent|per cent)?\s*")


class Unreadable(ValueError):
    """A value that is not of the wanted form. ``suggestion``: what was probably meant, if that is clear."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = None if suggestion is not None and looks_like_one(suggestion) else suggestion


def text(value: object, pattern: str, wanted: str) -> str:
    """Return text that matches a pattern as a whole. ``wanted`` completes the sentence "… is not"."""
    if not isinstance(value, str):
        raise Unreadable(
            f"{show(value)} is not text. Put it in quotes" if _is_word(value) else f"{show(value)} is not text"
        )
    if not re.fullmatch(pattern, value, re.ASCII) or value.endswith("\n"):
        raise Unreadable(f"{show(value)} is not {wanted}")
    return value


def service_name(value: object) -> str:
    """Read a service's or policy's name."""
    try:
        return text(value, NAME_PATTERN, "a name. Use up to 40 lower-case letters, digits and dashes")
    except Unreadable as error:
        raise Unreadable(error.message, _name_like(value) if isinstance(value, str) else None) from error


def _name_like(value: str) -> str | None:
    """Return the nearest name that is one; none for what must not be repeated."""
    slug = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:40].strip("-")
    return slug if re.fullmatch(NAME_PATTERN, slug) and not looks_like_one(value) else None


def model_id(value: object) -> str:
    """Read a hub id (``Qwen/Qwen3-8B``) or a path that begins with ``/``, ``./`` or ``../``."""
    if isinstance(value, str) and len(value) <= MAX_PATH:
        if re.fullmatch(HUB_ID_PATTERN, value, re.ASCII) and ".." not in value:
            return value
        if re.fullmatch(MODEL_PATH_PATTERN, value, re.ASCII):
            return value
        if value.count("/") > 1 and re.fullmatch(MODEL_PATH_PATTERN, f"./{value}", re.ASCII):
            raise Unreadable(f"{show(value)} is neither a hub id nor a path", f"./{value}")
    raise Unreadable(
        f"{show(value)} is not a model. Write a hub id (owner/name) or a path that begins with ./, ../ or /"
    )


def weights_from(value: object) -> str:
    """Read where weights come from: a word, or the region of a bucket."""
    known = (WEIGHTS_FROM_HUB, WEIGHTS_AT_HAND)
    if isinstance(value, str) and (value in known or re.fullmatch(REGION_PATTERN, value, re.ASCII)):
        return place(value)
    near = nearest(value, known) if isinstance(value, str) else None
    raise Unreadable(f"{show(value)} is none of {listed(known)}, and no region like aws/eu-north-1", near)


def is_path(model: str) -> bool:
    """Whether a model id, already read, is a path and not a hub id."""
    return model.startswith((".", "/"))


def region(value: object) -> str:
    """Read the id of a region, its provider as :func:`provider` does."""
    return place(text(value, REGION_PATTERN, "a region like aws/eu-north-1"))


def provider(name: str) -> str:
    """Return a provider's own name: SkyPilot takes it in any case, and two of them under other names."""
    return _ALIASES.get(name.lower(), name.lower())


def place(written: str) -> str:
    """Return a place, or a pattern of places, with its provider's own name; the rest stays as it is written."""
    cloud, slash, rest = written.partition("/")
    return f"{provider(cloud)}{slash}{rest}"


def region_glob(value: object) -> str:
    """Read a region or a pattern of regions; ``*`` and ``?`` stand for characters."""
    try:
        return place(text(value, REGION_GLOB_PATTERN, "a region or a pattern of regions like aws/eu-*"))
    except Unreadable as error:
        every = f"{value}/*"
        raise Unreadable(
            error.message, every if re.fullmatch(REGION_GLOB_PATTERN, every, re.ASCII) else None
        ) from error


def duration(value: object) -> timedelta:
    """Read ``800ms``, ``90s``, ``15m``, ``2h`` or ``7d``."""
    if isinstance(value, str) and re.fullmatch(DURATION_PATTERN, value, re.ASCII):
        number = re.match(r"[0-9]+", value)
        digits = number[0] if number else ""
        milliseconds = int(digits) * _MILLISECONDS[value[len(digits) :]]
        if milliseconds > LONGEST // timedelta(milliseconds=1):
            raise Unreadable(f"{show(value)} is longer than {LONGEST.days} days")
        return timedelta(milliseconds=milliseconds)
    guess = _guess_duration(value)
    raise Unreadable(f"{show(value)} is not a duration. Write {guess}")


def _guess_duration(value: object) -> str:
    found = _LOOSE_DURATION.fullmatch(value) if isinstance(value, str) else None
    unit = _UNITS.get(found[2].lower()) if found else None
    if not found or not unit:
        return "a number with ms, s, m, h or d, like 90s"
    milliseconds = Decimal(found[1]) * _MILLISECONDS[unit]
    for smaller in (unit, "m", "s", "ms"):
        count = milliseconds / _MILLISECONDS[smaller]
        if count == count.to_integral_value():
            return f"{int(count)}{smaller}"
    return "a number with ms, s, m, h or d, like 90s"


def percent(value: object) -> float:
    """Read ``15%`` as 0.15."""
    if isinstance(value, str) and re.fullmatch(PERCENT_PATTERN, value, re.ASCII):
        return float(Decimal(value[:-1]) / 100)
    raise Unreadable(f"{show(value)} is not a percentage. Write {_guess_percent(value)}")


def _guess_percent(value: object) -> str:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is not None and 0 < number < 1:
        return f"{Decimal(str(number)) * 100:f}".rstrip("0").rstrip(".") + "%"
    if number is not None and 1 < number <= 100:  # noqa: PLR2004  # a percentage without its sign; 1 could be either
        return f"{number:g}%"
    found = _LOOSE_NUMBER.fullmatch(value) if isinstance(value, str) else None
    return f"{found[1]}%" if found else "it like 15%"


def budget(value: object) -> tuple[float, str]:
    """Read ``25kg/month`` as grams and the period."""
    if not isinstance(value, str) or not re.fullmatch(BUDGET_PATTERN, value, re.ASCII):
        raise Unreadable(
            f"{show(value)} is not a budget. Write it like 25kg/month, with g, kg or t per day, week or month"
        )
    amount, _, period = value.partition("/")
    digits = amount.rstrip("gkt")
    grams = Decimal(digits) * _GRAMS[amount[len(digits) :]]
    if grams <= 0:
        raise Unreadable(f"{show(value)}: a budget of nothing allows nothing")
    return float(grams), period


def output_tokens(value: object) -> int:
    """Read ``1000 output tokens``."""
    return int(text(value, TOKENS_PATTERN, "a functional unit. Write it like 1000 output tokens").split()[0])


def _is_word(value: object) -> bool:
    return value is not None and not isinstance(value, (dict, list))
