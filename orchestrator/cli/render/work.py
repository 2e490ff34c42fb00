"""What a replica of each shape would have to do: the batch that its energy was worked out at, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.offers import INDENT, shape_words
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.domain.decision import Assessment
from orchestrator.domain.scale import Work

MOST_NAMED = 3
"""So many shapes stand in a line of a plan; explain has all of them."""


def work_line(assessments: Sequence[Assessment]) -> str:
    """Name the batch of each shape, those that were chosen first, with where it comes from; empty where none is known.

    A shape of which the load takes more than serve says so.
    """
    known = list(_works(sorted(assessments, key=lambda a: (-a.chosen, not a.allowed))).items())
    if not known:
        return ""
    named = ", ".join(f"{_batch(work)} on {shape}{_too_small(work)}" for shape, work in known[:MOST_NAMED])
    more = f" and {len(known) - MOST_NAMED} shapes more" if len(known) > MOST_NAMED else ""
    origins = list(dict.fromkeys(work.origin for _, work in known))
    return f"{named}{more}, by {origins[0]}" + (" (explain has all)" if len(origins) > 1 else "")


def work_table(assessments: Sequence[Assessment], *, width: int) -> list[RenderableType]:
    """Return one row per shape, with a heading; nothing where none is known."""
    known = _works(assessments)
    if not known:
        return []
    grid = Grid(
        columns(
            "SHAPE",
            Column("BATCH", right=True),
            Column("READS", right=True, keep=3),
            Column("SHARED BY", right=True, keep=2),
            Column("LOAD TAKES", right=True),
            Column("FROM", wrap=True),
        )
    )
    for shape, work in sorted(known.items()):
        needed = numbers.UNKNOWN if work.needed is None else str(work.needed)
        grid.add(shape, _batch(work), numbers.percent(work.reading), str(work.replicas), needed, work.origin)
    return [Text(""), Text("What a replica has to do", style="bold"), grid.laid_out(width, INDENT)]


def _works(assessments: Sequence[Assessment]) -> dict[str, Work]:
    found: dict[str, Work] = {}
    for a in assessments:
        if a.work is not None:
            found.setdefault(shape_words(a), a.work)
    return found


def _batch(work: Work) -> str:
    return numbers.number(work.mean_batch)


def _too_small(work: Work) -> str:
    return f" (the load takes {work.needed} of it)" if work.carries is False else ""
