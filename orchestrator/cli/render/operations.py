"""Requests to the controller: what was asked for, by whom, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cli.render import headline as head
from orchestrator.cli.render.numbers import NOTHING, instant
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.domain.records import Operation, OperationState

STYLES: Final = {OperationState.DONE: "green", OperationState.FAILED: "red"}


def headline(service: str, last: Operation | None) -> Text:
    """Say what the newest request is and how far it has come."""
    if last is None:
        return head.headline(service, "nothing was ever asked for")
    words = f"{last.kind.value} {last.state.value}, asked by {last.actor}, {instant(last.created_at)}"
    failed = f"{last.error_code}: {last.error}" if last.error_code else ""
    return head.headline(service, words, failed)


def table(service: str, operations: Sequence[Operation], *, width: int) -> RenderableType:
    """Return one row per request, newest last."""
    if not operations:
        return line(f"Nothing was ever asked for {service}.")
    grid = Grid(
        columns(
            "REQUEST",
            "WHAT",
            "STATE",
            "ASKED",
            Column("BY", keep=4),
            Column("PLAN", keep=2),
            Column("RESULT", wrap=True, keep=6),
        )
    )
    for o in operations:
        result = f"{o.error_code}: {o.error}" if o.error_code else ""
        state = Text(o.state.value, style=STYLES.get(o.state, "yellow"))
        grid.add(o.id, o.kind.value, state, instant(o.created_at), o.actor, _plan_digest(o), result)
    return grid.laid_out(width)


def _plan_digest(operation: Operation) -> str:
    try:
        digest = json.loads(operation.payload_json)["plan"]["digest"]
    except (ValueError, KeyError, TypeError):
        return NOTHING
    return str(digest)
