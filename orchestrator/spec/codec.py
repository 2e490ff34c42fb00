"""Specs and policies as JSON: one canonical text per value, and back."""

from __future__ import annotations

import hashlib
import json

from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.plan import DIGEST_LENGTH
from orchestrator.domain.service import Policy, ServiceSpec
from orchestrator.domain.written import left_out_of
from orchestrator.errors import StoreIncompatible

_SPEC = TypeAdapter(ServiceSpec)
_POLICY = TypeAdapter(Policy)


def canonical(value: ServiceSpec | Policy) -> str:
    """Write a value as JSON with sorted keys and no spaces; durations are ISO 8601."""
    if isinstance(value, Policy):
        plain = _POLICY.dump_python(value, mode="json", warnings="error")
    else:
        plain = _SPEC.dump_python(value, mode="json", warnings="error")
        for name in left_out_of(value):
            del plain[name]
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def spec_to_json(spec: ServiceSpec) -> str:
    """Write a spec as canonical JSON."""
    return canonical(spec)


def spec_from_json(text: str) -> ServiceSpec:
    """Read what :func:`spec_to_json` wrote, now or in an older version whose specs had fewer fields.

    Raises ``StoreIncompatible`` when it is no spec, or has fields that this version does not know and would lose.
    """
    try:
        spec = _SPEC.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise StoreIncompatible(f"a stored service spec cannot be read ({where}: {first['msg']})") from error
    if lost := _lost(json.loads(text), json.loads(canonical(spec))):
        raise StoreIncompatible(f"a stored service spec has a field that this version does not know: {lost}")
    return spec


def _lost(stored: object, kept: object) -> str | None:
    """Return the first key of the stored text that reading it dropped."""
    if isinstance(stored, dict) and isinstance(kept, dict):
        if unknown := sorted(stored.keys() - kept.keys()):
            return str(unknown[0])
        return next((found for key, value in stored.items() if (found := _lost(value, kept[key]))), None)
    if isinstance(stored, list) and isinstance(kept, list):
        return next((found for a, b in zip(stored, kept, strict=True) if (found := _lost(a, b))), None)
    return None


def digest(value: ServiceSpec | Policy) -> str:
    """Return the short name of a value's content: 12 hex digits of SHA-256 over its canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:DIGEST_LENGTH]


def spec_digest(spec: ServiceSpec) -> str:
    """Return the short name of a spec's content. The store computes the same one."""
    return digest(spec)
