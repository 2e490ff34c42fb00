"""A decision as a reader can check it: what was weighed, by whose numbers, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.comparison import in_full, overview, verdict_line
from orchestrator.cli.render.egress import launch_lines
from orchestrator.cli.render.facts import facts
from orchestrator.cli.render.headline import grid_time, headline
from orchestrator.cli.render.labels import shortened
from orchestrator.cli.render.numbers import Marks, six
from orchestrator.cli.render.offers import INDENT, offers_table, price_sources
from orchestrator.cli.render.origins import origin_lines
from orchestrator.cli.render.proof import proof
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import indented, line
from orchestrator.cli.render.variants import variant_lines
from orchestrator.cli.render.work import work_table
from orchestrator.domain.decision import Assessment, Decision, DecisionKind
from orchestrator.domain.scale import WantedReplicas

FORMULAS: Final = "gCO2e/h = kWh/h × g/kWh.  kWh/h = power at the batch (full while it reads) × PUE.  AHEAD: a mean."
KIND_WORDS: Final = {
    DecisionKind.PLACE: "place replicas",
    DecisionKind.REPLACE: "replace a replica",
    DecisionKind.SCALE: "change the number of replicas",
    DecisionKind.MOVE: "move",
    DecisionKind.STAY: "stay",
    DecisionKind.TAKE_DOWN: "take down",
    DecisionKind.HOLD: "hold",
}


def render(
    decision: Decision, *, width: int, why_not: str = "", every: bool = False, names: Mapping[str, str] | None = None
) -> RenderableType:
    """Return the whole explanation.

    ``why_not``: a region (or pattern) whose every rule is shown, and whose comparisons are. ``every``: all comparisons
    in full, not only the best one and the runner-up. ``names``: short names of replicas.
    """
    marks = Marks()
    parts: list[RenderableType] = [
        headline(
            decision.service,
            f"decision {decision.id}",
            grid_time(decision.at, decision.clock_rate),
            f"policy {decision.policy}",
            f"decided by {decision.actor}",
        ),
        facts(
            ("Decided", KIND_WORDS[decision.kind]),
            ("In short", shortened(decision.summary, names or {}) or numbers.NOTHING),
            *([] if decision.certificate is None else [("Proof", proof(decision.certificate))]),
        ),
    ]
    if decision.sizing is not None:
        parts += _size(decision.sizing, width=width)
    if decision.assessments:
        parts += [
            Text(""),
            Text("What was weighed", style="bold"),
            offers_table(decision.assessments, marks, width=width, exactly=True),
            indented(INDENT, (FORMULAS, "dim")),
        ]
        parts += [indented(INDENT, (words, "dim")) for words in variant_lines(decision.assessments)]
        parts += [indented(INDENT, (words, "dim")) for words in launch_lines(decision)]
        parts += work_table(decision.assessments, width=width)
        parts += _sources(decision.assessments, width=width)
    parts += [indented(INDENT, (words, "dim")) for words in origin_lines(decision.origins)]
    if why_not:
        parts += _why_not(decision.assessments, why_not)
    parts += _comparisons(decision, width=width, why_not=why_not, every=every, names=names or {})
    if legend := marks.legend():
        parts += [Text(""), Text(legend, style="dim")]
    return Group(*parts)


def _size(size: WantedReplicas, *, width: int) -> list[RenderableType]:
    """Say how many replicas were wanted, within which bounds, and by which numbers."""
    needed = numbers.UNKNOWN if size.needed is None else str(size.needed)
    parts: list[RenderableType] = [
        Text(""),
        Text("How many replicas", style="bold"),
        facts(("Wanted", size.words), ("Needed now", needed), ("Bounds", f"{size.least} to {size.most}")),
    ]
    if not size.figures:
        return parts
    grid = Grid(columns("FIGURE", Column("VALUE", right=True), "UNIT", Column("FROM", wrap=True)))
    for figure in size.figures:
        grid.add(figure.name, six(figure.value), figure.unit, figure.origin)
    return [*parts, grid.laid_out(width, INDENT)]


def _sources(assessments: Sequence[Assessment], *, width: int) -> list[RenderableType]:
    """Say who gave each zone's number and when, and who the prices come from."""
    grid = Grid(
        columns("ZONE", "INTENSITY FROM", Column("AGE", right=True), Column("TRAILING 28-DAY MEAN", right=True, keep=2))
    )
    zones: dict[str, Assessment] = {}
    for a in assessments:
        if a.zone is not None:
            zones.setdefault(a.zone, a)
    for zone, a in sorted(zones.items()):
        mean = a.trailing_mean_grams_per_kwh
        grid.add(
            zone,
            a.intensity_source or numbers.NOTHING,
            numbers.age(a.intensity_age_seconds),
            numbers.UNKNOWN if mean is None else f"{six(mean)} g/kWh",
        )
    prices = price_sources(assessments)
    parts: list[RenderableType] = [Text(""), Text("Sources", style="bold"), grid.laid_out(width, INDENT)]
    return [*parts, facts(("Prices", prices))] if prices else parts


def _why_not(assessments: Sequence[Assessment], pattern: str) -> list[RenderableType]:
    found = [a for a in assessments if fnmatchcase(a.region, pattern)]
    parts: list[RenderableType] = [Text(""), line((f"Why not {pattern}", "bold"))]
    if not found:
        return [
            *parts,
            indented(INDENT, "No offer there was weighed: no region of that name sells the shape that was asked for."),
        ]
    for a in found:
        ending = "allowed" if a.allowed else "excluded"
        parts.append(line(f"  {a.offer_id}: {'chosen' if a.chosen else ending}"))
        parts += [verdict_line(v, indent=4) for v in a.verdicts]
    return parts


def _comparisons(
    decision: Decision, *, width: int, why_not: str, every: bool, names: Mapping[str, str]
) -> list[RenderableType]:
    """Return every comparison in a line, and in full the best one, what it was preferred to, and what was asked for.

    They come in the order of what the policy minimises, approved ones first: the first is the one that was made. The
    next of the same pair of places would repeat its numbers for another replica.
    """
    found = decision.comparisons
    if not found:
        return [Text(""), line(("No move of a running replica was weighed in this decision.", "dim"))]
    best = found[0]
    others = (c for c in found if (c.from_offer, c.to_offer) != (best.from_offer, best.to_offer))
    told = (best, next(others, best))
    full = [c for c in found if every or c in told or (why_not and fnmatchcase(c.to_offer.split(":")[0], why_not))]
    parts: list[RenderableType] = [Text(""), Text("Moves that were weighed", style="bold")]
    parts.append(overview(found, names, width=width))
    if len(full) < len(found):
        parts.append(line((f"  {len(full)} of {len(found)} in full below. All: --all.", "dim")))
    for comparison in full:
        parts += [Text(""), *in_full(comparison, decision.clock_rate, names, width=width)]
    return parts
