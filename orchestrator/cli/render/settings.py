"""Settings as one line each, with where they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType

from orchestrator.cli.render.table import Column, Grid


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One setting: dotted name, what JSON can say of its value, and its origin in words."""

    name: str
    value: object
    origin: str


def render(lines: Sequence[SettingLine], *, width: int, origin: bool) -> RenderableType:
    """Return the settings in order of their names."""
    titles = (Column("SETTING"), Column("VALUE", wrap=True), Column("FROM", wrap=True))
    grid = Grid(titles if origin else titles[:2])
    for one in lines:
        grid.add(one.name, json.dumps(one.value), *([one.origin] if origin else []))
    return Group(grid.laid_out(width))
