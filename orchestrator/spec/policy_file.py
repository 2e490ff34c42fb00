"""Policy files: a trade-off with a name, shipped with greenctl or written beside a service file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from orchestrator.domain.service import Objective, Policy
from orchestrator.errors import InvalidSpec, Problem
from orchestrator.spec import blocks, forms, shipped
from orchestrator.spec.block import Block
from orchestrator.spec.blocks import UNLIMITED, PolicySetBlock
from orchestrator.spec.codec import digest
from orchestrator.spec.files import read_text
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.problems import in_order, validate
from orchestrator.spec.words import nearest, show
from orchestrator.spec.yaml_tree import read

KIND = "Policy"
_MAX_DESCRIPTION = 500


def _read_description(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{show(value)} is not text")
    words = " ".join(value.split())
    if len(words) > _MAX_DESCRIPTION:
        raise Unreadable(f"longer than {_MAX_DESCRIPTION} characters")
    return words


class PolicyFile(Block):
    """A policy: what is minimised, and what that may cost."""

    api_version: blocks.ApiVersion = Field(None, alias="apiVersion", description="May be left out.")
    kind: Annotated[str | None, forms.choice((KIND,))] = Field(None, description="Always Policy.")
    name: blocks.ServiceName = Field(None, description="What reports and plans call it.")
    description: Annotated[str | None, Form(_read_description, {"type": "string"})] = Field(
        None, description="What it is for, in a sentence or two."
    )
    objective: blocks.ObjectiveWord = Field(None, description="What is minimised once every constraint holds.")
    max_extra_cost: blocks.ExtraCost = Field(
        None, description="How far above the cheapest price greenest may go, or unlimited. Not for cheapest."
    )
    price_cap: blocks.PriceCap = Field(None, description="US dollars per hour of one replica that are never exceeded.")
    horizon: blocks.Horizon = Field(None, description="How far ahead emissions are looked at. Default 24h.")
    rules: Annotated[None, forms.refused("rules by expression are not supported yet")] = None


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy with its digest (12 hex digits of SHA-256 over its canonical JSON) and its text."""

    policy: Policy
    digest: str
    yaml_text: str


def is_policy_file(path: Path) -> bool:
    """Whether a file says that it is a policy. Raises ``InvalidSpec`` when it is not even readable YAML."""
    return read(read_text(path, str(path)), str(path)).data.get("kind") == KIND


def load_policy_file(path: Path) -> LoadedPolicy:
    """Read a policy file. Raises ``InvalidSpec`` with every problem."""
    return parse_policy(read_text(path, str(path)), str(path))


def parse_policy(text: str, file: str) -> LoadedPolicy:
    """Read a policy from text. Raises ``InvalidSpec`` with every problem."""
    document = read(text, file)
    found = validate(PolicyFile, document)
    document.problems.extend(
        document.problem((key,), message, at_key=True)
        for key, message in _findings(found)
        if not document.has_its_problem((key,))
    )
    if document.problems:
        raise InvalidSpec(file, in_order(document.problems))
    cost = found.max_extra_cost
    policy = Policy(
        name=found.name or "",
        objective=found.objective or Objective.GREENEST,
        max_extra_cost_fraction=cost if isinstance(cost, float) else None,
        price_cap_usd_per_hour=found.price_cap,
        horizon=found.horizon or Policy().horizon,
        description=found.description or "",
    )
    return LoadedPolicy(policy, digest(policy), text)


def _findings(found: PolicyFile) -> Iterator[tuple[str, str]]:
    """Yield keys and what is wrong with them, given the others."""
    for key, wanted in (("kind", "kind: Policy"), ("name", "name: my-policy"), ("objective", "objective: greenest")):
        if getattr(found, key) is None:
            yield key, f"missing. Write {wanted}"
    if found.objective is Objective.GREENEST and found.max_extra_cost is None:
        yield "max_extra_cost", "missing. Write how far above the cheapest price it may be, like 15%, or unlimited"
    if found.objective is Objective.CHEAPEST and found.max_extra_cost is not None:
        yield "max_extra_cost", "the cheapest costs nothing extra. Remove it, or write objective: greenest"


def shipped_policies() -> tuple[str, ...]:
    """Return the names of the policies that come with greenctl."""
    return shipped.names(shipped.POLICIES)


@lru_cache
def shipped_policy(name: str) -> LoadedPolicy:
    """Return a shipped policy. Raises ``Unreadable`` when there is none of that name."""
    known = shipped_policies()
    if name not in known:
        raise Unreadable(
            f"{show(name)} is not one of {', '.join(known)}, nor a path (./policy.yaml)", nearest(name, known)
        )
    return load_policy_file(shipped.POLICIES / f"{name}.yaml")


def resolve_policy(use: str, base: Path | None) -> Policy:
    """Return the policy that ``policy.use`` names: a shipped one, or a file (relative to ``base``).

    Raises ``Unreadable``, or ``InvalidSpec`` of the policy file.
    """
    if not use.startswith((".", "/")):
        return shipped_policy(use).policy
    if base is None and not use.startswith("/"):
        raise Unreadable("a relative path needs a file that it is relative to")
    path = Path(use) if base is None else base / use
    return parse_policy(read_text(path, use), use).policy


def override(policy: Policy, changes: PolicySetBlock) -> Policy:
    """Apply ``policy.set``. Raises ``Unreadable`` when the changes contradict each other."""
    objective = changes.objective or policy.objective
    cost = policy.max_extra_cost_fraction
    if changes.max_extra_cost is not None:
        if objective is Objective.CHEAPEST:
            raise Unreadable("max_extra_cost has no meaning when the objective is cheapest")
        cost = None if changes.max_extra_cost == UNLIMITED else float(changes.max_extra_cost)
    elif objective is not policy.objective:
        if objective is Objective.GREENEST:
            raise Unreadable("objective: greenest needs max_extra_cost here, like 15%, or unlimited")
        cost = None
    return replace(
        policy,
        objective=objective,
        max_extra_cost_fraction=cost,
        price_cap_usd_per_hour=policy.price_cap_usd_per_hour if changes.price_cap is None else changes.price_cap,
        horizon=changes.horizon or policy.horizon,
    )


def as_problems(error: InvalidSpec) -> list[str]:
    """Retell the problems of a policy file in one sentence each, for the service file that uses it."""
    return [f"{_where(error.file, p)} {p.path + ': ' if p.path else ''}{p.message}" for p in error.problems]


def _where(file: str, problem: Problem) -> str:
    return f"{file}, line {problem.line}:" if problem.line else f"{file}:"
