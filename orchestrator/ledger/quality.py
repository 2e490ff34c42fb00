"""How good the answers were that a service gave: which variant wrote how much, and the mean over output tokens. Pure.

Quality is the owner's own figure for each variant (``model.variants``), relative to the main model. It is weighed by
output tokens, because it is answers that are good or bad, and a replica that idles says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.energy import EnergySample
from orchestrator.domain.service import MAIN, Variant
from orchestrator.domain.units import joules_to_kwh


@dataclass(frozen=True, slots=True)
class VariantLine:
    """Sums of one variant. ``quality``: ``None`` where the file has it no more; ``source``: who says so."""

    variant: str
    quality: float | None
    source: str
    replicas: tuple[str, ...]
    output_tokens: int
    kwh: float


@dataclass(frozen=True, slots=True)
class Served:
    """What served, by name of the variant. ``mean``: 0..1 of the main model; ``None`` where a part is unknown."""

    variants: tuple[VariantLine, ...]
    mean: float | None


def served(samples: Sequence[EnergySample], runs: Mapping[str, str], variants: Sequence[Variant]) -> Served | None:
    """Return what wrote the output of a period; ``None`` where no variant ever ran and the file has none.

    ``runs``: the variant of each replica by its name, empty for the main model.
    """
    if not variants and not any(runs.values()):
        return None
    known = {v.name: v for v in variants}
    lines = []
    for name in sorted({runs.get(s.replica, "") for s in samples}):
        own = [s for s in samples if runs.get(s.replica, "") == name]
        variant = known.get(name)
        quality = 1.0 if not name else None if variant is None else variant.quality
        lines.append(
            VariantLine(
                variant=name or MAIN,
                quality=quality,
                source="" if variant is None else variant.source,
                replicas=tuple(sorted({s.replica for s in own})),
                output_tokens=sum(s.output_tokens for s in own),
                kwh=joules_to_kwh(sum(s.facility_joules for s in own)),
            )
        )
    return Served(tuple(lines), _mean(lines))


def _mean(lines: Sequence[VariantLine]) -> float | None:
    writing = [line for line in lines if line.output_tokens]
    tokens = sum(line.output_tokens for line in writing)
    good = [line.quality * line.output_tokens for line in writing if line.quality is not None]
    return sum(good) / tokens if tokens and len(good) == len(writing) else None
