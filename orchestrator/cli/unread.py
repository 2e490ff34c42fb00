"""Sources of carbon that could not be read while a command looked at the grid: what stands in for them is no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.carbon import Gap


def unread(session: Session) -> tuple[Gap, ...]:
    """Return the sources that others stood in for, each with the reason; after the grid was read."""
    from orchestrator.signals.composite import CompositeCarbon  # noqa: PLC0415  # --help needs none

    carbon = session.runtime.carbon
    return carbon.unread() if isinstance(carbon, CompositeCarbon) else ()


def say_unread(session: Session, sources: Sequence[Gap]) -> None:
    """Say so for each, even with ``--quiet``: numbers of another kind than the ones that were configured decide."""
    for gap in sources:
        words = f"the carbon source {gap.source!r} could not be read: {gap.reason}. The sources after it stand in"
        session.complain(line(("warning: ", "yellow"), words))
