"""Our plan beside SkyPilot's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Group, RenderableType

from orchestrator.bench.plan.ours import OurPlan
from orchestrator.bench.plan.rival import RivalPlan
from orchestrator.cli.render.numbers import UNKNOWN, number, usd
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line

_INDENT: Final = 2


def document(ours: OurPlan) -> dict[str, object]:
    """Return our plan without the offers themselves: ``greenctl plan --json`` has those."""
    whole = asdict(ours)
    del whole["assessments"]
    return {**whole, "excluded_by": dict(ours.excluded_by), "choices": list(whole["choices"])}


def render(ours: OurPlan, rival: RivalPlan | None, clouds: Sequence[str], *, width: int) -> RenderableType:
    """Return the tables for people."""
    reasons = Grid(columns(Column("OFFERS", right=True), Column("EXCLUDED BY")))
    for rule, count in ours.excluded_by:
        reasons.add(str(count), rule)
    planners = Grid(
        columns(
            "PLANNER",
            Column("REPLICAS", right=True),
            Column("CHOICE", wrap=True),
            Column("$/h", right=True),
            Column("gCO2e/h", right=True),
            Column("FIRST s", right=True),
            Column("AGAIN s", right=True),
        )
    )
    times = f"{ours.first_seconds:.2f}", f"{ours.again_seconds:.2f}"
    for choice in ours.choices:
        grams = number(choice.grams_per_hour)
        planners.add("greenctl", str(choice.replicas), choice.offer_id, usd(choice.usd_per_hour), grams, *times)
    parts: list[RenderableType] = [
        line(f"{ours.offers} offers in {ours.regions} regions of {', '.join(clouds)}; {ours.allowed} allowed"),
        reasons.laid_out(width, _INDENT),
        line(""),
    ]
    if rival is not None:
        planners.add(
            f"SkyPilot {rival.version}",
            "",
            rival.choice,
            usd(rival.usd_per_hour),
            number(rival.grams_per_hour) if rival.grams_per_hour is not None else UNKNOWN,
            f"{rival.first_seconds:.2f}",
            f"{rival.again_seconds:.2f}",
        )
    parts.append(planners.laid_out(width, _INDENT))
    parts.append(line("$ and grams are of one replica. FIRST reads the catalogues, AGAIN is the same process again."))
    if rival is not None and rival.excluded_because:
        parts.append(line(f"Our rules do not take SkyPilot's choice: {rival.excluded_because}"))
    return Group(*parts)
