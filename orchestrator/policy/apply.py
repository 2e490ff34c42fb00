"""A policy's own expressions, applied to one judged offer: rules that keep it out, terms that make its score. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.domain.decision import Assessment, Verdict
from orchestrator.domain.service import OfferRule, Policy, ServiceSpec, WhenUnknown
from orchestrator.policy.expression import Expression, expression
from orchestrator.policy.variables import VARIABLES, Value, values_of

RULES = "policy.rules"
WEIGH = "policy.weigh"
GRAMS_PER_HOUR = "g/h"

_HOURS = {"day": 24.0, "week": 168.0, "month": 730.485}
"""A month is a twelfth of the Gregorian year's 365.2425 days."""


def with_own_rules(a: Assessment, spec: ServiceSpec, policy: Policy, rtt_ms: float | None) -> Assessment:
    """Return the assessment with a verdict of each rule, and its score.

    Raises ``BadExpression`` where nobody has checked the policy.
    """
    values = values_of(a, rtt_ms, budget_grams_per_hour(spec))
    verdicts = [_judge(rule, values) for rule in policy.rules]
    parts = [(term, expression(term.term).result(values)) for term in policy.weigh]
    verdicts += [
        Verdict(WEIGH, passed=False, text=_unweighed(expression(term.term), values))
        for term, part in parts
        if part is None and term.if_unknown is WhenUnknown.EXCLUDE
    ]
    known = [term.weight * part for term, part in parts if part is not None]
    score = sum(known) if known and len(known) == len(parts) else None
    return replace(a, verdicts=(*a.verdicts, *verdicts), score_usd_per_hour=score)


def has_expressions(policy: Policy) -> bool:
    """Whether a policy has rules or weights of its own to apply."""
    return bool(policy.rules or policy.weigh)


def usd_per_gram(policy: Policy) -> float:
    """Return what the policy's score makes of one gram: the weights of those terms that count grams per hour.

    It prices the grams that a move itself costs. Exact for terms that are a variable, as in the shipped policies.
    """
    return sum(term.weight for term in policy.weigh if term.unit == GRAMS_PER_HOUR)


def budget_grams_per_hour(spec: ServiceSpec) -> float | None:
    """Return a replica's even share of ``carbon.budget``, ``None`` without one. What is spent does not count.

    Spares draw as the others do. Who stands in for a spot replica takes the share of that one, which draws nothing.
    """
    grams, period = spec.carbon.budget_grams, spec.carbon.budget_period
    if grams is None or period is None:
        return None
    return grams / _HOURS[period] / max(1, spec.scaling.min_replicas + spec.scaling.num_overprovision)


def _judge(rule: OfferRule, values: Mapping[str, Value]) -> Verdict:
    name, found = f"{RULES}.{rule.name}", expression(rule.only_if)
    result = found.result(values)
    if result is None:
        kept = rule.if_unknown is WhenUnknown.KEEP
        why = _unknown(found, values, f"rule {rule.name}")
        return Verdict(name, kept, f"{why}: {'kept' if kept else 'excluded'} by if_unknown")
    because = f"{rule.because}: " if rule.because and not result else ""
    numbers = _numbers(found, values)
    seen = f" ({numbers})" if numbers else ""
    return Verdict(name, bool(result), f"{because}{rule.only_if} is {'true' if result else 'false'}{seen}")


def _unweighed(found: Expression, values: Mapping[str, Value]) -> str:
    return f"{_unknown(found, values, 'a term')}, and {found.text} is weighed"


def _unknown(found: Expression, values: Mapping[str, Value], owner: str) -> str:
    """Say why an expression has no result: of the inputs, or of the arithmetic, then with what it saw."""
    names = found.unknown_in(values)
    if names:
        return f"{', '.join(names)} unknown"
    return f"{found.trouble_in(values)} in {owner} ({found.text}; {_numbers(found, values)})"


def _numbers(found: Expression, values: Mapping[str, Value]) -> str:
    """Write what an expression saw."""
    words = []
    for name in found.uses:
        value, unit = values[name], VARIABLES[name].unit
        written = f"{value:.6g}" if isinstance(value, float) else str(value)
        words.append(f"{name} {written}{' ' + unit if unit else ''}")
    return ", ".join(words)
