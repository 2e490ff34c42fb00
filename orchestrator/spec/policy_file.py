"""Policy files: a trade-off with a name, shipped with greenctl or written beside a service file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from orchestrator.domain.service import Objective, OfferRule, Policy, WeighedTerm, WhenUnknown, usual_horizon
from orchestrator.errors import InvalidSpec, Problem
from orchestrator.policy.expression import MAX_CHARACTERS, BadExpression, Expression, expression
from orchestrator.policy.variables import Sort, spoken
from orchestrator.spec import blocks, forms, grammar, shipped
from orchestrator.spec.block import Block
from orchestrator.spec.blocks import UNLIMITED, PolicySetBlock
from orchestrator.spec.codec import digest
from orchestrator.spec.files import read_text
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.problems import in_order, validate
from orchestrator.spec.schedule_block import REASON_PATTERN
from orchestrator.spec.words import Path as Keys
from orchestrator.spec.words import nearest, show
from orchestrator.spec.yaml_tree import Document, read

KIND = "Policy"
_MAX_DESCRIPTION = 500
MAX_ENTRIES = 32

_EXPRESSION_SCHEMA = {"type": "string", "maxLength": MAX_CHARACTERS, "examples": ["grams_per_kwh <= 400"]}


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{show(value)} is not an expression. Put it in quotes")
    return value


def _read_description(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{show(value)} is not text")
    words = " ".join(value.split())
    if len(words) > _MAX_DESCRIPTION:
        raise Unreadable(f"longer than {_MAX_DESCRIPTION} characters")
    return words


RuleUnknown = Annotated[str | None, forms.choice((WhenUnknown.EXCLUDE.value, WhenUnknown.KEEP.value))]
TermUnknown = Annotated[str | None, forms.choice((WhenUnknown.EXCLUDE.value, WhenUnknown.LAST.value))]


class RuleBlock(Block):
    """An offer is taken only where an expression is true. Nobody is evicted by it."""

    name: Annotated[str, forms.pattern(grammar.NAME_PATTERN, "a name like not-too-dirty", "not-too-dirty")] = Field(
        description="What plans call it."
    )
    only_if: Annotated[str, Form(_read_text, _EXPRESSION_SCHEMA)] = Field(
        description="True where the offer may be taken, like grams_per_kwh <= 400."
    )
    if_unknown: Annotated[WhenUnknown | None, forms.choice((WhenUnknown.EXCLUDE.value, WhenUnknown.KEEP.value))] = (
        Field(None, description="What holds where something in it is unknown: exclude the offer, or keep it.")
    )
    because: Annotated[str | None, forms.pattern(REASON_PATTERN, "one line of at most 120 characters")] = Field(
        None, description="Why, in words; plans repeat it."
    )


class TermBlock(Block):
    """One part of a score."""

    term: Annotated[str, Form(_read_text, _EXPRESSION_SCHEMA)] = Field(
        description="A number, like usd_per_hour or rtt_ms - 30."
    )
    weight: Annotated[float, forms.number(-1_000_000, 1_000_000)] = Field(
        description="What one unit of it counts, in US dollars per hour."
    )
    if_unknown: Annotated[WhenUnknown | None, forms.choice((WhenUnknown.EXCLUDE.value, WhenUnknown.LAST.value))] = (
        Field(None, description="What holds where something in it is unknown: exclude the offer, or rank it last.")
    )


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
    horizon: blocks.Horizon = Field(
        None, description="How far ahead emissions are looked at. Default 96h for greenest, 24h for others."
    )
    rules: list[RuleBlock] | None = Field(
        None, min_length=1, max_length=MAX_ENTRIES, description="Which offers are taken at all."
    )
    weigh: list[TermBlock] | None = Field(
        None, min_length=1, max_length=MAX_ENTRIES, description="What objective: lowest_score adds up."
    )


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
    document.problems.extend(_expression_problems(found, document, text.splitlines()))
    if document.problems:
        raise InvalidSpec(file, in_order(document.problems))
    cost = found.max_extra_cost
    objective = found.objective or Objective.GREENEST
    policy = Policy(
        name=found.name or "",
        objective=objective,
        max_extra_cost_fraction=cost if isinstance(cost, float) else None,
        price_cap_usd_per_hour=found.price_cap,
        horizon=found.horizon or usual_horizon(objective),
        description=found.description or "",
        rules=tuple(_rule(r) for r in found.rules or ()),
        weigh=tuple(_term(t) for t in found.weigh or ()),
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
    if found.objective is Objective.LOWEST_SCORE and not found.weigh:
        yield "weigh", "missing. Write the terms of the score, like weigh: [{term: usd_per_hour, weight: 1, …}]"
    if found.weigh and found.objective not in {None, Objective.LOWEST_SCORE}:
        yield "weigh", "has no effect on this objective. Write objective: lowest_score"


def _expression_problems(found: PolicyFile, document: Document, lines: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with expressions, each at its own line and column of the file."""
    names: set[str] = set()
    for index, rule in enumerate(found.rules or ()):
        if rule.name in names:
            yield document.problem(("rules", index, "name"), f"{show(rule.name)} is here twice")
        names.add(rule.name)
        yield from _problems_of(rule.only_if, rule.if_unknown, Sort.TRUTH, ("rules", index, "only_if"), document, lines)
    for index, term in enumerate(found.weigh or ()):
        yield from _problems_of(term.term, term.if_unknown, Sort.NUMBER, ("weigh", index, "term"), document, lines)


def _problems_of(
    text: str, if_unknown: str | None, wanted: Sort, path: Keys, document: Document, lines: Sequence[str]
) -> Iterator[Problem]:
    try:
        checked = expression(text)
    except BadExpression as error:
        yield _inside(document.problem(path, error.message), error, lines)
        return
    if checked.sort is not wanted:
        yield document.problem(path, f"gives {checked.sort.value}, and {wanted.value} is wanted here")
    if checked.may_be_unknown and if_unknown is None:
        other = "keep" if wanted is Sort.TRUTH else "last"
        message = f"{', '.join(checked.uses)} may be unknown, which is never 0. Write if_unknown: exclude, or {other}"
        yield document.problem(path, message, at_key=True)


def _inside(problem: Problem, error: BadExpression, lines: Sequence[str]) -> Problem:
    """Point into the expression; where it is folded over lines, say where in it."""
    if problem.line is None or problem.column is None:
        return problem
    opening = lines[problem.line - 1][problem.column - 1 :][:1]
    if error.line > 1 or opening in {">", "|", "&", "*", "!"}:
        where = f"line {error.line}, column {error.column} of the expression"
        return replace(problem, message=f"{problem.message} ({where})")
    return replace(problem, column=problem.column + error.column - 1 + (opening in {"'", '"'}))


def _rule(block: RuleBlock) -> OfferRule:
    return OfferRule(
        block.name, block.only_if, WhenUnknown(block.if_unknown or WhenUnknown.EXCLUDE), block.because or ""
    )


def _term(block: TermBlock) -> WeighedTerm:
    unit = _unit(expression(block.term))
    return WeighedTerm(block.term, block.weight, unit, WhenUnknown(block.if_unknown or WhenUnknown.EXCLUDE))


def _unit(checked: Expression) -> str:
    return "" if not checked.unit else spoken(checked.unit)


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
        if objective is Objective.LOWEST_SCORE:
            raise Unreadable("lowest_score needs terms to weigh, which stand in a policy file")
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
