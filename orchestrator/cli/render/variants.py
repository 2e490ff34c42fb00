"""Which variants of a model were weighed, how good their answers are, by whose word, and what their loss counts."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.render.numbers import UNKNOWN, exact, percent, usd
from orchestrator.cli.render.text import safe
from orchestrator.domain.decision import Assessment, Quality
from orchestrator.domain.service import MAIN
from orchestrator.ledger.quality import Served


def variant_lines(assessments: Sequence[Assessment]) -> list[str]:
    """Return a line for each variant but the main model, by name; nothing where a service has none."""
    found: dict[str, Quality] = {}
    for a in assessments:
        if a.quality is not None and a.quality.variant != MAIN:
            found.setdefault(a.quality.variant, a.quality)
    chosen = {a.quality.variant: 0 for a in assessments if a.quality is not None}
    for a in assessments:
        if a.quality is not None:
            chosen[a.quality.variant] += a.chosen
    return [_words(found[name], chosen[name]) for name in sorted(found)]


def _words(quality: Quality, chosen: int) -> str:
    words = f"Variant {quality.variant}: quality {exact(quality.of_main)} of the main model's ({safe(quality.source)})"
    words += f", floor {exact(quality.floor)}"
    if quality.usd_per_point:
        lost = quality.usd_per_hour
        words += f", its loss counts {UNKNOWN if lost is None else usd(lost)}/h in the score"
    return f"{words}; {chosen} chosen." if chosen else f"{words}; not chosen."


def served_words(served: Served) -> tuple[str, ...]:
    """Say what the mean quality was, and which variant wrote which part of the output."""
    tokens = sum(v.output_tokens for v in served.variants)
    mean = UNKNOWN if served.mean is None else exact(round(served.mean, 6))
    parts = []
    for v in served.variants:
        good = UNKNOWN if v.quality is None else exact(v.quality)
        who = f"{good}, {safe(v.source)}" if v.source else good
        share = percent(v.output_tokens / tokens) if tokens else UNKNOWN
        parts.append(f"{v.variant} ({who}) wrote {share} on {', '.join(v.replicas)}")
    return (f"{mean} of the main model's, by output tokens", *parts)
