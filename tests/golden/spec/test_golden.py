"""Files that must be read the same for ever, and files whose problems must be told the same for ever.

``GREENCTL_UPDATE_GOLDEN=1`` writes what is found now; look at the difference before keeping it.
"""

import json
import os
from pathlib import Path

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.codec import spec_to_json
from orchestrator.spec.schema import policy_schema, schema_text, service_schema
from orchestrator.spec.service_file import LoadedSpec, parse_service, render_problems

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
BAD = sorted((HERE / "bad").glob("*.yaml"))


def compare(found: str, golden: Path) -> None:
    """Hold a text against a file."""
    if os.environ.get("GREENCTL_UPDATE_GOLDEN") == "1":
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8"), f"{golden.name} differs"


def described(loaded: LoadedSpec) -> str:
    """Everything that was read, for people to review."""
    spec = json.loads(spec_to_json(loaded.spec))
    spec["passthrough_json"] = json.loads(spec["passthrough_json"])
    notes = [f"{n.line}:{n.column} {n.path}: {n.message}" for n in loaded.notes]
    return json.dumps({"digest": loaded.digest, "notes": notes, "spec": spec}, indent=2) + "\n"


@pytest.mark.parametrize("file", GOOD, ids=lambda f: f.stem)
def test_a_good_file_means_what_it_always_meant(file: Path) -> None:
    """Spec, digest, passed-through part and notes are pinned: a change of meaning is a decision, not an accident."""
    compare(described(parse_service(file.read_text(encoding="utf-8"), file.name)), file.with_suffix(".json"))


@pytest.mark.parametrize("file", BAD, ids=lambda f: f.stem)
def test_a_bad_file_is_told_every_problem_with_its_place(file: Path) -> None:
    """All problems come at once, in the order of the file, each with line and column."""
    with pytest.raises(InvalidSpec) as caught:
        parse_service(file.read_text(encoding="utf-8"), file.name)

    compare("\n".join(render_problems(caught.value)) + "\n", file.with_suffix(".txt"))


@pytest.mark.parametrize(
    ("schema", "golden"),
    [(service_schema, "service.schema.json"), (policy_schema, "policy.schema.json")],
    ids=["service", "policy"],
)
def test_the_schema_changes_only_on_purpose(schema: object, golden: str) -> None:
    """Editors cache the schema, so each change of it is seen in a review."""
    compare(schema_text(schema()), HERE / golden)  # type: ignore[operator]
