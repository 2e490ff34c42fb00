"""How far replicas have come while somebody waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render import numbers
from orchestrator.cli.render.labels import label, labels, shortened
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.domain.records import Event
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import Instant

WAY_UP: Final = (ReplicaState.PENDING, ReplicaState.PROVISIONING, ReplicaState.STARTING, ReplicaState.READY)
WAY_DOWN: Final = (ReplicaState.DRAINING, ReplicaState.TERMINATED)
EVENTS_SHOWN: Final = 6


def event_line(event: Event, names: Mapping[str, str]) -> Text:
    """Return one line for a terminal that cannot redraw, and for logs: wall time and words."""
    return line((f"{numbers.clock_time(event.wall_at)}  ", "dim"), shortened(event.text, names))


def board(
    replicas: Sequence[Replica], events: Sequence[Event], *, now: Instant, rate: float, width: int
) -> RenderableType:
    """Return the picture that is redrawn: a row per replica with its way so far, and the last events."""
    grid = Grid(columns("", Column("", keep=6), "", Column("", right=True), Column("", wrap=True, keep=2)))
    for replica in replicas:
        grid.add(label(replica), replica.region, _way(replica), _elapsed(replica, now, rate), replica.reason)
    parts: list[RenderableType] = [grid.laid_out(width, indent=2)] if replicas else []
    return Group(*parts, *[event_line(e, labels(replicas)) for e in events[-EVENTS_SHOWN:]])


def _way(replica: Replica) -> Text:
    """Draw the states passed and the present one; a failure stands where the way ended."""
    state = replica.state
    if state in WAY_UP:
        passed = WAY_UP[: WAY_UP.index(state) + 1]
    elif state in WAY_DOWN:
        passed = (ReplicaState.READY, *WAY_DOWN[: WAY_DOWN.index(state) + 1])
    else:
        passed = (ReplicaState.PENDING, state)
    style = {
        ReplicaState.READY: "green",
        ReplicaState.TERMINATED: "dim",
        ReplicaState.FAILED: "red",
        ReplicaState.LOST: "red",
    }.get(state, "yellow")
    return line(
        (" ▸ ".join(s.value for s in passed[:-1]) + (" ▸ " if passed[:-1] else ""), "dim"), (state.value, style)
    )


def _elapsed(replica: Replica, now: Instant, rate: float) -> str:
    """Return the physical time to ready, or so far; the records are in grid time."""
    end = replica.ended_at or replica.ready_at or now
    return numbers.duration((end - replica.created_at).total_seconds() / rate)
