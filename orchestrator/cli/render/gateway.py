"""The gateway: where it listens, which routes it has, what it has counted since it started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from orchestrator.cli.render.facts import facts
from orchestrator.cli.render.offers import INDENT
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.domain.counters import GatewayStatus

if TYPE_CHECKING:
    from orchestrator.gateway.instance import GatewayInfo


def render(info: GatewayInfo, status: GatewayStatus, *, width: int) -> RenderableType:
    """Return the address, the table in use, and one row per upstream."""
    table = f"routing table {status.applied_version}" if status.applied_version else "no routing table yet"
    processes = f"{info.processes} process{'' if info.processes == 1 else 'es'}"
    totals = (
        f"{status.accepted} accepted: {status.ok} ok, {status.failed} failed, {status.truncated} cut short, "
        f"{status.cancelled} left by the client; {status.resumed} resumed elsewhere"
    )
    parts: list[RenderableType] = [
        line(("The gateway runs", "green"), f" on {info.url}, pid {info.pid}, mode {info.mode}, {processes}."),
        facts(("Routes", table), ("Requests", totals)),
    ]
    if not status.upstreams:
        return Group(*parts)
    grid = Grid(
        columns(
            "REPLICA",
            Column("IN FLIGHT", right=True),
            Column("OK", right=True),
            Column("FAILED", right=True),
            Column("CUT SHORT", right=True, keep=3),
            Column("RESUMED", right=True, keep=2),
            Column("CANCELLED", right=True, keep=1),
        )
    )
    for u in status.upstreams:
        counts = (u.in_flight, u.ok, u.failed, u.truncated, u.resumed, u.cancelled)
        grid.add(u.replica, *(str(c) for c in counts))
    return Group(*parts, grid.laid_out(width, INDENT))
