"""The keys of every JSON document, and what kind of value each holds: scripts depend on them.

``GREENCTL_UPDATE_GOLDEN=1`` writes ``documents.json`` anew. A key that goes away or changes its kind needs a new
``format_version``; a new key does not, and breaks no test.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.sql import SqlStore
from tests.unit.cli.world import World

DOCUMENTS = Path(__file__).with_name("documents.json")

COMMANDS = (
    "plan SPEC",
    "validate SPEC",
    "deploy SPEC --yes",
    "status chat",
    "explain chat",
    "history chat",
    "history --actors",
    "report chat",
    "carbon",
    "rollout status chat",
    "rollout history chat",
    "rollout pause chat",
    "rollout resume chat",
    "pause chat",
    "pause",
    "resume",
    "resume chat",
    "migrate chat --yes",
    "gateway start",
    "gateway status",
    "gateway stop",
    "controller status",
    "doctor",
    "doctor --orphans",
    "config show",
    "down chat --yes",
    "backup FILE",
    "controller stop",
    "restore FILE --yes",
    "completion bash",
    "version",
    "status nope",
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two regions, nothing deployed."""
    return World(tmp_path)


def shape(value: Any) -> Any:
    """Keep the keys, and of each value only what it is; lists are described by what their members have in common."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [merged([shape(inner) for inner in value])] if value else []
    if value is None:
        return "unknown"
    return {bool: "flag", int: "number", float: "number", str: "text"}[type(value)]


def merged(shapes: list[Any]) -> Any:
    """One shape for all members of a list; what differs is listed."""
    if all(isinstance(s, dict) for s in shapes):
        keys = dict.fromkeys(key for s in shapes for key in s)
        return {key: merged([s[key] for s in shapes if key in s]) for key in keys}
    known = sorted({json.dumps(s, sort_keys=True) for s in shapes})
    return json.loads(known[0]) if len(known) == 1 else [json.loads(one) for one in known]


def lost(pinned: Any, found: Any, path: str = "") -> list[str]:
    """Name what was promised and is no longer there, or is of another kind; what is unknown may be of any."""
    if "unknown" in {str(pinned), str(found)} or pinned in ([], ["unknown"]) or found == []:
        return []
    if isinstance(pinned, dict) and isinstance(found, dict):
        gone = [f"{path}.{key}" for key in pinned if key not in found]
        return gone + [
            place for key in pinned if key in found for place in lost(pinned[key], found[key], f"{path}.{key}")
        ]
    if isinstance(pinned, list) and isinstance(found, list) and len(pinned) == len(found) == 1:
        return lost(pinned[0], found[0], f"{path}[]")
    return [] if pinned == found else [f"{path}: was {pinned}, is {found}"]


def test_documents_keep_their_keys(world: World) -> None:
    """One session of a service's life, each command with --json: every key is pinned."""
    names = {"SPEC": str(world.spec_file()), "FILE": str(world.folder / "backup.zip")}
    SqlStore.open(world.settings().store_url).close()
    found = {}
    for command in COMMANDS:
        words = [names.get(word, word) for word in command.split()]
        found[command] = shape(world.document(*words))
    if os.environ.get("GREENCTL_UPDATE_GOLDEN") == "1":
        DOCUMENTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    pinned = json.loads(DOCUMENTS.read_text(encoding="utf-8"))
    assert list(found) == list(pinned)
    assert lost(pinned, found) == []


@pytest.mark.parametrize(
    ("pinned", "found", "places"),
    [
        ({"a": "text"}, {"a": "text", "b": "text"}, []),
        ({"a": "text", "b": "text"}, {"a": "text"}, [".b"]),
        ({"a": "text"}, {"a": "number"}, [".a: was text, is number"]),
        ({"a": [{"b": "text"}]}, {"a": [{"c": "text"}]}, [".a[].b"]),
        ({"a": "unknown"}, {"a": "number"}, []),
    ],
    ids=["new key", "lost key", "another kind", "in a list", "was unknown"],
)
def test_what_is_lost_is_found(pinned: Any, found: Any, places: list[str]) -> None:
    """The comparison itself can fail, and says where."""
    assert lost(pinned, found) == places


def test_every_document_says_its_format(world: World) -> None:
    """The version stands first, so that a reader can stop there."""
    for words in (("version",), ("status",), ("status", "nope"), ("schema",)):
        assert next(iter(world.document(*words))) == "format_version"
