"""Who did what, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType

from orchestrator.cli.render.headline import headline
from orchestrator.cli.render.labels import shortened
from orchestrator.cli.render.numbers import NOTHING
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.control.audit import Action

EVERYTHING = "all services"


def render(
    service: str | None, actions: Sequence[Action], labels: Mapping[str, str], *, width: int, limit: int
) -> RenderableType:
    """Return the last ``limit`` actions, 0 for all; a column for the service where several are shown."""
    if not actions:
        return line(f"Nobody has done anything to {service or EVERYTHING} yet.")
    shown = actions[-limit:] if limit > 0 else actions
    names: list[Column | str] = ["TIME (UTC)", Column("ACTOR", keep=6), Column("ACTION", keep=5)]
    names += [] if service else [Column("SERVICE", keep=4)]
    grid = Grid(columns(*names, Column("WHAT", keep=3), Column("CAUSE", wrap=True), Column("OUTCOME", keep=2)))
    for a in shown:
        own = [] if service else [a.service or NOTHING]
        what = labels.get(a.subject, a.subject) or NOTHING
        cause = shortened(a.cause, labels) or NOTHING
        time = f"{a.at:%Y-%m-%d %H:%M:%S}"
        grid.add(time, a.actor or "unknown user", a.action, *own, what, cause, a.outcome or NOTHING)
    parts: list[RenderableType] = [headline(service or EVERYTHING, ""), grid.laid_out(width)]
    if len(shown) < len(actions):
        parts.append(line((f"The last {len(shown)} of {len(actions)} actions. All: --limit 0.", "dim")))
    return Group(*parts)
