"""Whose traffic would go where once a plan is carried out: a line for each area of the clients."""

from __future__ import annotations

from orchestrator.cli.render.numbers import percent
from orchestrator.cli.render.text import safe
from orchestrator.domain.split import OriginSplit


def origin_lines(origins: OriginSplit | None) -> list[str]:
    """Return them, or why all clients are served by one split; nothing where all are in one place."""
    if origins is None:
        return []
    if not origins.rows:
        return [f"Clients of every area are served by one split for now: {safe(origins.why_none)}."]
    if not origins.differs:
        return [f"Clients of every area are sent to the same places: {safe(origins.rows[0].words)}."]
    return [f"Traffic from {safe(row.words)}, {percent(row.weight)} of all." for row in origins.rows]
