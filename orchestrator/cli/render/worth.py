"""What a move is worth beside its grams: a line for each sum, with what it is made of."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli.render.numbers import exact
from orchestrator.cli.render.offers import INDENT
from orchestrator.cli.render.text import indented
from orchestrator.domain.decision import MoveComparison, Term


def worth(comparison: MoveComparison) -> list[RenderableType]:
    """Return the sums in dollars, by the policy's score, and in litres; nothing where none of them is known."""
    rows = [
        _sum("In dollars", comparison.usd_terms),
        _sum("By the policy's weights", comparison.score_terms),
        _sum("In water", () if comparison.water is None else (comparison.water,)),
    ]
    shown = [row for row in rows if row]
    return [Text(""), *(indented(INDENT, row) for row in shown)] if shown else []


def _sum(name: str, terms: Sequence[Term]) -> str:
    if not terms:
        return ""
    parts = " ".join(f"{'+' if t.amount >= 0 else '-'} {exact(abs(t.amount))} {t.name}" for t in terms)
    return f"{name}: {parts.removeprefix('+ ')} = {exact(sum(t.amount for t in terms))} {terms[0].unit} saved"
