"""The short name of a spec's content: what a plan and a recorded revision are bound to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from datetime import timedelta

from orchestrator.domain.plan import DIGEST_LENGTH
from orchestrator.domain.service import ServiceSpec

_MICROSECOND = timedelta(microseconds=1)


def spec_digest(spec: ServiceSpec) -> str:
    """Digest every field of the spec: equal specs have equal digests, in every process and on every machine."""
    text = json.dumps(_plain(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _plain(value: object) -> object:
    """Reduce to what JSON has. Enumerations are text already; durations become whole microseconds."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    return value
