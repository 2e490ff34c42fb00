"""Specs as stored text."""

import json

import pytest

from orchestrator.errors import StoreIncompatible
from orchestrator.spec.codec import spec_from_json, spec_to_json
from orchestrator.spec.service_file import parse_service

SPEC = parse_service("name: chat\nmodel: {id: a/b, args: {seed: 1, enforce_eager: true}}\n", "s.yaml").spec


def test_an_older_text_with_fewer_fields_gets_todays_defaults() -> None:
    """What an older version wrote can still be read."""
    older = json.loads(spec_to_json(SPEC))
    del older["clients"], older["migration"]["canary_hold"]

    assert spec_from_json(json.dumps(older)) == SPEC


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"name": "x"}', "not json", '{"name": 1, "model": {}}', "[" * 10_000, "\ud800"]
)
def test_what_is_no_spec_is_incompatible(text: str) -> None:
    """A damaged row is named as such, never half read."""
    with pytest.raises(StoreIncompatible):
        spec_from_json(text)


@pytest.mark.parametrize("path", [("newer",), ("model", "newer")])
def test_a_newer_text_is_refused_instead_of_losing_a_field(path: tuple[str, ...]) -> None:
    """Going back a version must not silently forget a rule."""
    newer = json.loads(spec_to_json(SPEC))
    block = newer
    for key in path[:-1]:
        block = block[key]
    block[path[-1]] = 1

    with pytest.raises(StoreIncompatible, match="newer"):
        spec_from_json(json.dumps(newer))
