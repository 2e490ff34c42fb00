"""JSON Schema (2020-12) of the files that people write, for editors."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.spec.policy_file import PolicyFile
from orchestrator.spec.service_model import ServiceFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Leaves out ``default: null`` (it means "not written") and titles that only repeat the key."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Describe the value; its default is in the description."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never: the key is the title."""
        del schema
        return False


def service_schema() -> dict[str, Any]:
    """Return the schema of a service file. It checks single values; ``greenctl validate`` checks them together."""
    return _schema(ServiceFile, required=["name"])


def policy_schema() -> dict[str, Any]:
    """Return the schema of a policy file."""
    return _schema(PolicyFile, required=["kind", "name", "objective"])


def schema_text(schema: dict[str, Any]) -> str:
    """Write a schema as it is shipped."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(model: type[BaseModel], required: list[str]) -> dict[str, Any]:
    generated = model.model_json_schema(by_alias=True, schema_generator=_Generator, mode="validation")
    return {"$schema": DIALECT, **generated, "required": required}
