"""What an expression of a policy may speak of: names with a type, a unit, and whether they may be unknown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.decision import Assessment

Unit = tuple[tuple[str, int], ...]
"""Base units and their exponents, sorted; the empty one is a pure number."""

PURE: Unit = ()


class Sort(StrEnum):
    """What a value is."""

    NUMBER = "a number"
    TEXT = "text"
    TRUTH = "true or false"


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that expressions may use. ``unit`` as people write it; ``may_be_unknown``: it can be null."""

    name: str
    sort: Sort
    unit: str
    may_be_unknown: bool
    meaning: str


def _numbers(*rows: tuple[str, str, bool, str]) -> tuple[Variable, ...]:
    return tuple(Variable(name, Sort.NUMBER, unit, unknown, meaning) for name, unit, unknown, meaning in rows)


VARIABLES: dict[str, Variable] = {
    v.name: v
    for v in (
        *_numbers(
            ("grams_per_kwh", "g/kWh", True, "the grid's carbon intensity now, by the staleness rule"),
            ("ahead_grams_per_kwh", "g/kWh", True, "its forecast mean over the policy's horizon"),
            ("usual_grams_per_kwh", "g/kWh", True, "its mean over the last 28 days"),
            ("age_minutes", "min", True, "how old the newest observed intensity is"),
            ("grams_per_hour", "g/h", True, "what a replica emits there in this hour"),
            ("ahead_grams_per_hour", "g/h", True, "what it emits per hour over the horizon"),
            ("budget_grams_per_hour", "g/h", True, "a replica's even share of carbon.budget"),
            ("kwh_per_hour", "kWh/h", True, "facility energy of a replica there, PUE included"),
            ("pue", "", True, "the facility's energy over its machines' energy"),
            ("usd_per_hour", "USD/h", True, "the price of a replica there"),
            ("liters_per_hour", "L/h", True, "the water that a replica takes on site, where the operator publishes it"),
            ("rtt_ms", "ms", True, "the round trip between slo.clients and the region, estimated from distance"),
        ),
        Variable("region", Sort.TEXT, "", may_be_unknown=False, meaning="like aws/eu-north-1"),
        Variable("provider", Sort.TEXT, "", may_be_unknown=False, meaning="like aws"),
        Variable("zone", Sort.TEXT, "", may_be_unknown=True, meaning="the grid zone, like SE"),
        Variable("market", Sort.TEXT, "", may_be_unknown=False, meaning="spot or on_demand"),
        Variable("shape", Sort.TEXT, "", may_be_unknown=False, meaning="like 1xL4"),
    )
}

Value = float | str | None


def values_of(a: Assessment, rtt_ms: float | None, budget_grams_per_hour: float | None) -> dict[str, Value]:
    """Return the value of every variable for one judged offer; what is unknown is ``None``."""
    age = a.intensity_age_seconds
    return {
        "grams_per_kwh": a.grams_per_kwh,
        "ahead_grams_per_kwh": a.next_24h_grams_per_kwh,
        "usual_grams_per_kwh": a.trailing_mean_grams_per_kwh,
        "age_minutes": None if age is None else age / 60,
        "grams_per_hour": a.grams_per_hour,
        "ahead_grams_per_hour": a.expected_grams_per_hour,
        "budget_grams_per_hour": budget_grams_per_hour,
        "kwh_per_hour": a.kwh_per_hour,
        "pue": a.pue,
        "usd_per_hour": a.usd_per_hour,
        "liters_per_hour": a.liters_per_hour,
        "rtt_ms": rtt_ms,
        "region": a.region,
        "provider": a.region.partition("/")[0],
        "zone": a.zone,
        "market": a.market.value,
        "shape": a.shape,
    }


# ── units ────────────────────────────────────────────────────────────────────────────────────────────


def unit_of(text: str) -> Unit:
    """Read a unit like ``g/kWh``."""
    if not text:
        return PURE
    above, _, below = text.partition("/")
    return product(((above, 1),), ((below, -1),) if below else PURE)


def product(one: Unit, other: Unit) -> Unit:
    """Multiply two units; what cancels goes away."""
    exponents = dict(one)
    for base, exponent in other:
        exponents[base] = exponents.get(base, 0) + exponent
    return tuple(sorted((b, e) for b, e in exponents.items() if e))


def inverse(unit: Unit) -> Unit:
    """Return one over a unit."""
    return tuple((base, -exponent) for base, exponent in unit)


def spoken(unit: Unit) -> str:
    """Write a unit as people do."""
    above = "*".join(b if e == 1 else f"{b}^{e}" for b, e in unit if e > 0)
    below = "*".join(b if e == -1 else f"{b}^{-e}" for b, e in unit if e < 0)
    return f"{above or '1'}/{below}" if below else above or "a pure number"
