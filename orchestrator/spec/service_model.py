"""The whole service file as one pydantic model: SkyPilot's keys and ours, side by side."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from orchestrator.spec import blocks, forms, grammar, sky_task
from orchestrator.spec.batch_block import BatchBlock
from orchestrator.spec.block import AnyBlock, require_value, without_null
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.sky_task import Passed
from orchestrator.spec.words import show


def _read_nodes(value: object) -> int:
    if value != 1 or isinstance(value, bool):
        raise Unreadable("replicas over several nodes are not supported: one node is what is counted. Write 1")
    return 1


def _read_script(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Unreadable(f"{show(value)} is not text")
    return value


def _read_block(value: object) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise Unreadable(f"{show(value)} is not a block of keys")
    return value


def _read_secrets(value: object) -> object:
    if isinstance(value, list):
        raise Unreadable("a list names what SkyPilot keeps. Write it under managed_secrets, or here as HF_TOKEN: null")
    if value is None or isinstance(value, dict):
        return value
    raise Unreadable("this is not a block of names. Write it like HF_TOKEN: null")


Script = Annotated[str | None, Form(_read_script, {"type": ["string", "null"]})]
Mapping = Annotated[dict[str, Any] | None, Form(_read_block, {"type": ["object", "null"]})]
SecretsValue = Annotated[
    dict[str, Any] | None,
    Form(
        _read_secrets,
        {
            "type": ["object", "null"],
            "propertyNames": {"pattern": grammar.VARIABLE_PATTERN},
            "additionalProperties": {"type": "null"},
            "examples": [{"HF_TOKEN": None}],
        },
    ),
]


OURS = (
    "api_version",
    "name",
    "model",
    "slo",
    "placement",
    "carbon",
    "policy",
    "migration",
    "gateway",
    "batch",
    "lease",
    "budget",
    "report",
)
"""Fields of the file that are no key of SkyPilot's, and ``name``."""


def _with_values(schema: dict[str, Any]) -> None:
    for key, described in schema["properties"].items():
        if key in OURS:
            without_null(described)


class ServiceFile(AnyBlock):
    """A service for greenctl: a SkyPilot task or service file with blocks of our own beside SkyPilot's."""

    model_config = ConfigDict(json_schema_extra=_with_values)

    _has_value = field_validator(*OURS, mode="before")(require_value)

    api_version: blocks.ApiVersion = Field(None, alias="apiVersion", description="May be left out.")
    name: blocks.ServiceName = Field(None, description="Lower-case letters, digits and dashes, at most 40.")

    model: blocks.ModelBlock | None = None
    slo: blocks.SloBlock | None = None
    placement: blocks.PlacementBlock | None = None
    carbon: blocks.CarbonBlock | None = None
    policy: blocks.PolicyBlock | None = None
    migration: blocks.MigrationBlock | None = None
    gateway: blocks.GatewayBlock | None = None
    batch: BatchBlock | None = None
    lease: Annotated[timedelta | None, forms.duration("6h", "30d")] = Field(
        None,
        description="For how long a replica goes on when the controller renews nothing and nobody uses it; then it "
        "ends itself. Longer than any outage of the controller that has to be lived through. Default 24h.",
    )
    budget: blocks.BudgetBlock | None = None
    report: blocks.ReportBlock | None = None

    resources: sky_task.ResourcesBlock | None = Field(None, description="SkyPilot's resources, passed through.")
    service: sky_task.ServiceBlock | None = Field(None, description="SkyServe's service, passed through.")
    secrets: SecretsValue = Field(None, description="Names only; values come from the environment when deploying.")
    envs: Mapping = Field(None, description="Environment of setup and run; no secrets here.")
    num_nodes: Annotated[int | None, Form(_read_nodes, {"const": 1})] = Field(
        None, description="1: replicas over several nodes are not supported."
    )
    setup: Script = Field(None, description="SkyPilot's setup script; replaces the template's.")
    run: Script = Field(None, description="SkyPilot's run script; replaces the template's.")
    file_mounts: Mapping = None
    config: Mapping = None
    workdir: Passed = None
    event_callback: Passed = None
    managed_secrets: Passed = None
    inputs: Passed = None
    outputs: Passed = None
    volumes: Passed = None
    volume_mounts: Passed = None
    api_server_access: Passed = None
    pool: Annotated[None, forms.refused("a pool has no endpoint, so there is no traffic to move")] = None
