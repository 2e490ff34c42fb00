"""What fetching the weights costs, in one sentence with its ranges; what is unknown is named, with what mends it."""

from __future__ import annotations

from orchestrator.cli.render.numbers import grams, number, usd
from orchestrator.domain.decision import Decision
from orchestrator.domain.transfer import Egress, Span
from orchestrator.ledger.egress import BYTES_PER_TOKEN

TOKENS = f"Requests and answers are not counted: a token is about {BYTES_PER_TOKEN} bytes."


def sentence(egress: Egress | None) -> str:
    """Say how much is fetched from where, and what that costs; empty where nothing is fetched."""
    if egress is None:
        return ""
    if egress.gb is None:
        charged = f" Charged: {money(egress.usd)}." if egress.usd is not None else ""
        return (
            f"Egress: how much is fetched from {egress.source} is unknown, and none of it is counted in grams: "
            f"{egress.gb_origin}; write model.weights_gb.{charged}"
        )
    size = f"{number(egress.gb)} GB from {egress.source} ({egress.gb_origin})"
    return f"Egress, modelled: {size}: {carbon(egress.grams)}, {money(egress.usd)} ({egress.usd_origin}). {TOKENS}"


def launch_lines(decision: Decision) -> list[str]:
    """Say of each offer that was launched what fetching the weights counted in the choice; nothing where it is none."""
    found = []
    for a in decision.assessments:
        if a.fetch is None or not a.chosen or (a.fetch.grams == 0.0 and a.fetch.usd == 0.0):
            continue
        carbon_words = "an unknown amount of CO2e" if a.fetch.grams is None else f"{grams(a.fetch.grams)} CO2e"
        money_words = "unknown dollars" if a.fetch.usd is None else usd(a.fetch.usd)
        spread = f"{grams(a.fetch.grams_per_hour)}/h"
        if a.fetch.usd_per_hour:
            spread += f" and {usd(a.fetch.usd_per_hour)}/h"
        found.append(
            f"Fetching the weights for {a.offer_id} is {carbon_words} and {money_words} once; a launch is ranked with "
            f"{spread} of it, over {number(a.fetch.hours)} h."
        )
    return found


def carbon(found: Span | None) -> str:
    """Write grams of the network as the range that they are."""
    if found is None:
        return "unknown CO2e"
    return f"{grams(found.low)} to {grams(found.high)} CO2e, counted as {grams(found.counted)}"


def money(found: Span | None) -> str:
    """Write dollars, with their range where there is one."""
    if found is None:
        return "unknown dollars"
    if found.low == found.high:
        return "free of charge" if found.high == 0 else usd(found.high)
    return f"{usd(found.low)} to {usd(found.high)}, counted as {usd(found.counted)}"
