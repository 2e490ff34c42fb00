"""Why a number of replicas was chosen: what it costs, and what the numbers that were tried beside it would. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.scale import COST_OF, Figure, WantedReplicas
from orchestrator.domain.service import Objective

MOST_TOLD = 4
"""So many numbers are told of, the chosen one first and then the best of the others."""

UNITS = {Objective.GREENEST: "gCO2e/h", Objective.CHEAPEST: "USD/h", Objective.LOWEST_SCORE: "USD/h by weights"}


@dataclass(frozen=True, slots=True)
class Tried:
    """One number, on its best offers. ``cost``: per hour, in what is minimised.

    ``short``: replicas that would be too small for their share of the load, or find no place. ``missing``: the part of
    the load (0..1) that nobody near to its clients would take; ``lack``: in words, whose. ``dear``: in words, how
    many dollars it costs, where those are more than the policy lets it.
    """

    number: int
    cost: float
    short: int
    offers: tuple[str, ...]
    missing: float = 0.0
    lack: str = ""
    dear: str = ""


def with_reasons(
    size: WantedReplicas, chosen: Tried, others: Sequence[Tried], objective: Objective, requests_per_second: float
) -> WantedReplicas:
    """Return the size at the number that was chosen, with what each number costs among its figures.

    Those of an earlier decision go. The words of load stay where its number does.
    """
    ranked = [chosen, *sorted(others, key=lambda t: (t.short, t.missing, bool(t.dear), t.cost, t.number))]
    figures = tuple(_figure(t, objective) for t in ranked[:MOST_TOLD])
    kept = tuple(f for f in size.figures if not f.name.startswith(COST_OF))
    because = size.because
    if chosen.number != size.replicas:
        because = f"{requests_per_second:.3g} requests/s cost least so"
        # Whoever sees that fewer would cost less wants to know why it is not fewer.
        fewer = [t for t in others if t.number < chosen.number and t.cost < chosen.cost and not t.short]
        if told := next((t.lack or t.dear for t in fewer if t.lack or t.dear), ""):
            because += f"; with {fewer[-1].number}, {told}"
    return replace(size, replicas=chosen.number, because=because, figures=(*kept, *figures))


def _figure(tried: Tried, objective: Objective) -> Figure:
    counts = Counter(tried.offers)
    where = ", ".join(f"{n} × {offer}" for offer, n in sorted(counts.items()))
    short = f"; {tried.short} too small for their share, or without a place" if tried.short else ""
    lack = f"; {tried.lack}" if tried.lack else ""
    dear = f"; {tried.dear}" if tried.dear else ""
    return Figure(f"{COST_OF}{tried.number}", tried.cost, UNITS[objective], f"{where}{short}{lack}{dear}")
