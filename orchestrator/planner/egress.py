"""The way of the weights as a part of what a move or a launch costs: named terms in grams and in dollars. Pure.

The range and its sources are in ``ledger/egress.py``; what is counted here is the middle of the energy, and the list
price of the way, or the dear end where nobody has said where the weights come from.
"""

from __future__ import annotations

from orchestrator.domain.decision import Factor, Term
from orchestrator.domain.service import ModelSpec
from orchestrator.domain.transfer import Egress
from orchestrator.ledger.egress import egress_of, on_grids

EGRESS = "egress"
"""The name of its terms."""


def launch_egress(model: ModelSpec, region: str, grams_per_kwh: dict[str, float]) -> Egress | None:
    """Return what one launch in a region fetches; ``None`` where it fetches nothing.

    ``grams_per_kwh``: of this hour, by region id, of those that are known.
    """
    found = egress_of(model, region)
    return None if found is None else on_grids(found, grams_per_kwh, region)


def grams_term(egress: Egress | None) -> tuple[Term, ...]:
    """Return the grams as a term of a move; nothing where nothing is fetched, or nobody knows how much."""
    if egress is None or egress.gb is None or egress.grams is None or egress.grams_per_kwh is None:
        return ()
    factors = (
        Factor("gigabytes", egress.gb, "GB", f"{egress.gb_origin}, from {egress.source}"),
        Factor("kwh_per_gb", egress.kwh_per_gb.counted, "kWh/GB", egress.kwh_origin),
        Factor("intensity", egress.grams_per_kwh, "g/kWh", egress.grams_origin),
    )
    return (Term(EGRESS, -egress.grams.counted, "gCO2e", "-gigabytes x kwh_per_gb x intensity", factors),)


def usd_term(egress: Egress | None) -> tuple[Term, ...]:
    """Return the dollars as a term of a move; nothing where they are unknown, or where it is free."""
    if egress is None or egress.usd is None or egress.usd_per_gb is None or egress.gb is None:
        return ()
    if egress.usd.counted == 0.0:
        return ()
    factors = (
        Factor("gigabytes", egress.gb, "GB", f"{egress.gb_origin}, from {egress.source}"),
        Factor("usd_per_gb", egress.usd_per_gb.counted, "USD/GB", egress.usd_origin),
    )
    return (Term(EGRESS, -egress.usd.counted, "USD", "-gigabytes x usd_per_gb", factors),)


def usd_of(egress: Egress | None) -> float | None:
    """Return the dollars that count; nothing where nothing is fetched or told of, ``None`` where nobody knows."""
    if egress is None or egress.is_untold:
        return 0.0
    return None if egress.usd is None else egress.usd.counted
