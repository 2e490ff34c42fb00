"""How good a plan is, in a line."""

from __future__ import annotations

from typing import Final

from orchestrator.cli.render import numbers
from orchestrator.domain.certificate import Certificate, Rung

MILLISECOND: Final = 1e-3
GRAMS: Final = "gCO2e"


def proof(certificate: Certificate) -> str:
    """Say how far from the best possible a plan is at most, what it costs, and how long it took to find that out."""
    c = certificate
    at_least = "" if c.gap == 0 else f" of at least {_amount(c.bound, c.unit)}"
    words = f"{c.words} ({c.of}: {_amount(c.objective, c.unit)}{at_least} over {c.hours:g} h"
    if c.greedy is not None and c.greedy > c.objective:
        words += f"; one by one it would be {_amount(c.greedy, c.unit)}"
    if c.rung in {Rung.GREEDY, Rung.SHIFTED, Rung.FROZEN}:
        words += f"; the time was up, so this is the {c.rung.value} plan"
    if c.seconds is not None:
        milliseconds = c.seconds / MILLISECOND
        words += f"; found in {'under 1' if milliseconds < 1 else f'{milliseconds:.0f}'} ms"
    return f"{words})"


def _amount(value: float, unit: str) -> str:
    if unit == GRAMS:
        return f"{numbers.grams(value)}CO2e"
    dollars, _, by_weights = unit.partition(" ")
    del dollars
    return f"{numbers.usd(value)} {by_weights}".rstrip()
