"""The JSON Schema that editors use."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from orchestrator.spec.schema import policy_schema, service_schema
from orchestrator.spec.service_file import parse_service
from orchestrator.spec.shipped import POLICIES
from orchestrator.spec.sky_task import TASK_KEYS
from orchestrator.spec.yaml_tree import read

GOLDEN = Path(__file__).parents[2] / "golden" / "spec"
SERVICE = Draft202012Validator(service_schema())
POLICY = Draft202012Validator(policy_schema())


@pytest.mark.parametrize("validator", [SERVICE, POLICY], ids=["service", "policy"])
def test_the_schemas_are_schemas(validator: Draft202012Validator) -> None:
    """Dialect 2020-12, checked against its own meta-schema."""
    Draft202012Validator.check_schema(validator.schema)
    assert validator.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("file", sorted((GOLDEN / "good").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_good_file_satisfies_the_schema(file: Path) -> None:
    """An editor never underlines what greenctl takes."""
    SERVICE.validate(read(file.read_text(), file.name, TASK_KEYS).data)


@pytest.mark.parametrize("name", ["typos", "later"])
def test_bad_files_do_not(name: str) -> None:
    """Wrong words, types and keys are underlined."""
    with pytest.raises(ValidationError):
        SERVICE.validate(read((GOLDEN / "bad" / f"{name}.yaml").read_text(), name).data)


@pytest.mark.parametrize(
    "text",
    [
        "model: {id: a/b}",
        "name: A\nmodel: {id: a/b}",
        "name: a\nmodel: {id: 'a b'}",
        "name: a\nmodel: {id: a/b, args: {trust_remote_code: true}}",
        "name: a\nmodel: {id: a/b, args: {max_model_len: big}}",
        "name: a\nmigration: {min_dwell: 2 hours}",
        "name: a\nmigration: {canary: [10]}",
        "name: a\npolicy: {rules: []}",
        "name: a\nplacement: {max_per_region: 0}",
        "name: a\ncarbon: {budget: 25kg}",
        "name: a\nnum_nodes: 2",
        "name: a\nsecrets: {HF_TOKEN: value}",
        "name: a\nunknown: 1",
        "name: a\nresources: {acclerators: L4}",
    ],
)
def test_the_schema_finds_single_slips(text: str) -> None:
    """What the reader refuses by looking at one value, the schema refuses as well."""
    assert not SERVICE.is_valid(read(text, "s.yaml").data)


@pytest.mark.parametrize("file", sorted(POLICIES.glob("*.yaml")), ids=lambda f: f.stem)
def test_the_shipped_policies_satisfy_their_schema(file: Path) -> None:
    """People copy them."""
    POLICY.validate(read(file.read_text(), file.name).data)


def test_every_key_of_ours_is_described() -> None:
    """An editor shows the description while one types."""
    ours = ["model", "slo", "placement", "carbon", "policy", "migration", "gateway", "report"]
    blocks = [service_schema()["$defs"][f"{name.capitalize()}Block"] for name in ours]

    missing = [
        f"{block['title']}.{key}"
        for block in blocks
        for key, value in block["properties"].items()
        if "description" not in value and "$ref" not in str(value)
    ]
    assert not missing


def _documented_defaults() -> list[tuple[str, str, str]]:
    schema = service_schema()
    found = []
    for block, name in (
        ("carbon", "CarbonBlock"),
        ("migration", "MigrationBlock"),
        ("gateway", "GatewayBlock"),
        ("placement", "PlacementBlock"),
        ("report", "ReportBlock"),
    ):
        for key, value in schema["$defs"][name]["properties"].items():
            if default := re.search(r"Default (.+?)\.$", value.get("description", "")):
                found.append((block, key, default[1]))
    return found


@pytest.mark.parametrize(("block", "key", "default"), _documented_defaults())
def test_documented_defaults_are_the_real_ones(block: str, key: str, default: str) -> None:
    """Writing the default changes nothing."""
    base = "name: a\nmodel: {id: a/b}\n"

    assert parse_service(f"{base}{block}: {{{key}: {default}}}\n", "s").digest == parse_service(base, "s").digest
