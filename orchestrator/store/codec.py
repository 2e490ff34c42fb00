"""Whole values as JSON: decisions and specs, exact to the last bit of each number.

The documents are ordinary JSON (PostgreSQL can query them after ``::json``). Numbers that JSON does not have are the
words ``"NaN"`` and ``"Infinity"``, durations are ISO 8601. A field that an older version did not know takes its
default.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.domain.decision import Decision
from orchestrator.domain.plan import DIGEST_LENGTH
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.written import left_out_of
from orchestrator.errors import StoreIncompatible

if TYPE_CHECKING:
    from pydantic import TypeAdapter

V = TypeVar("V")


class Codec(Generic[V]):
    """JSON text of one type of frozen dataclass. The validator is built on first use: that takes tens of ms."""

    def __init__(self, kind: type[tuple[V, ...]], name: str) -> None:
        self._kind = kind
        self._name = name

    def encode(self, value: V) -> str:
        """Write the document. Raises ``ValueError`` when it holds text that is not Unicode."""
        try:
            return self._adapter.dump_json((value,)).decode()[1:-1]
        except ValueError as error:  # pydantic's own error is one
            raise ValueError(f"a {self._name} that cannot be written as JSON: {error}") from error

    def decode(self, text: str) -> V:
        """Read a document. Raises ``StoreIncompatible`` when it is not one."""
        try:
            return self._adapter.validate_json(f"[{text}]")[0]
        except ValueError as error:
            message = f"the database holds a {self._name} that this version cannot read"
            raise StoreIncompatible(message) from error

    @cached_property
    def _adapter(self) -> TypeAdapter[tuple[V, ...]]:
        """Build the validator of a one-tuple: around a bare dataclass pydantic takes no configuration."""
        from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415  # heavy, and not every command reads a document

        return TypeAdapter(self._kind, config=ConfigDict(ser_json_inf_nan="strings"))


def spec_digest(spec: ServiceSpec) -> str:
    """Return the short name of a spec's content, as :mod:`orchestrator.spec` computes it for a file (a test compares).

    12 hex digits of SHA-256 over the JSON with sorted keys and no spaces, without fields that say nothing.
    """
    left_out = left_out_of(spec)
    document = {key: value for key, value in json.loads(SPECS.encode(spec)).items() if key not in left_out}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


DECISIONS = Codec(tuple[Decision], "decision")
SPECS = Codec(tuple[ServiceSpec], "spec")


@lru_cache(maxsize=1024)
def spec_from_json(text: str) -> ServiceSpec:
    """Read a spec. The same text gives the same frozen value: every look reads the specs of services that rest."""
    return SPECS.decode(text)
