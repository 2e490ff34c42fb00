"""Policies as people read them, and how their trials came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render.facts import facts
from orchestrator.cli.render.numbers import percent, usd
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line, safe
from orchestrator.control.policy_trial import Outcome
from orchestrator.domain.service import Objective, Policy
from orchestrator.domain.time import HOUR
from orchestrator.policy.expression import expression
from orchestrator.policy.variables import VARIABLES

INDENT = 2


def listing(policies: Sequence[Policy], *, width: int) -> RenderableType:
    """Return one row per policy."""
    grid = Grid(columns("POLICY", Column("WHAT IT IS FOR", wrap=True)))
    for policy in policies:
        grid.add(policy.name, policy.description)
    return grid.laid_out(width)


def one(policy: Policy, digest: str, *, width: int) -> RenderableType:
    """Return everything that a policy says, and what the names in its expressions mean."""
    rows = [("Goal", goal(policy))]
    if policy.price_cap_usd_per_hour is not None:
        rows.append(("At most", f"{usd(policy.price_cap_usd_per_hour)}/h for a replica"))
    rows.append(("Looks", f"{policy.horizon / HOUR:g} h ahead"))
    head = line((policy.name, "bold"), (f"  {digest}", "dim"))
    parts: list[RenderableType] = [head, Text(safe(policy.description)), Text(""), facts(*rows)]
    if policy.rules:
        grid = Grid(columns("ONLY IF", "IF UNKNOWN", Column("BECAUSE", wrap=True), Column("RULE", keep=1)))
        for rule in policy.rules:
            grid.add(rule.only_if, rule.if_unknown.value, rule.because, rule.name)
        parts += [Text(""), grid.laid_out(width, INDENT)]
    if policy.weigh:
        grid = Grid(columns(Column("$/h FOR EACH", right=True), "UNIT", "OF", "IF UNKNOWN"))
        for term in policy.weigh:
            grid.add(f"{term.weight:g}", term.unit or "1", term.term, term.if_unknown.value)
        parts += [Text(""), grid.laid_out(width, INDENT)]
    texts = [rule.only_if for rule in policy.rules] + [term.term for term in policy.weigh]
    names = sorted({name for text in texts for name in expression(text).uses})
    if names:
        meaning = Grid(columns("", "", Column("", wrap=True)))
        for name in names:
            meaning.add(name, VARIABLES[name].unit, VARIABLES[name].meaning)
        parts += [Text(""), meaning.laid_out(width, INDENT)]
    return Group(*parts)


def goal(policy: Policy) -> str:
    """Say what is minimised."""
    if policy.objective is Objective.CHEAPEST:
        return "the cheapest offer"
    if policy.objective is Objective.LOWEST_SCORE:
        return "the lowest weighed sum of the terms below"
    if policy.max_extra_cost_fraction is None:
        return "the greenest offer, whatever it costs"
    return f"the greenest offer within {percent(policy.max_extra_cost_fraction)} above the cheapest"


def trial(outcomes: Sequence[Outcome], files: Mapping[str, str], *, width: int) -> RenderableType:
    """Return one row per case, what went wrong in full below it, and the counts."""
    grid = Grid(columns("", "POLICY", Column("CASE", wrap=True), Column("DECIDED", wrap=True)))
    for outcome in outcomes:
        sign = Text("✓", style="green") if outcome.passed else Text("✗", style="red")
        grid.add(sign, outcome.policy, outcome.case, outcome.expected if outcome.passed else outcome.decided)
    parts: list[RenderableType] = [grid.laid_out(width)]
    for wrong in (o for o in outcomes if not o.passed):
        parts += [
            Text(""),
            line((f"{files.get(wrong.policy, wrong.policy)}:{wrong.line}", "bold"), f"  {wrong.case}"),
            indented(INDENT, f"expected  {wrong.expected}"),
            indented(INDENT, f"decided   {wrong.decided}"),
            indented(INDENT, f"because   {wrong.because}"),
        ]
    failed = sum(not o.passed for o in outcomes)
    count = f"{len(outcomes)} case{'' if len(outcomes) == 1 else 's'}"
    ending = "each decided as expected." if not failed else f"{failed} not decided as expected."
    return Group(*parts, Text(""), line(f"{count}, {ending}"))
