"""Pulling and releasing the brake, for the commands that do it: ``pause``, ``resume`` and those of ``rollout``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from orchestrator.cli.render import pauses as page
from orchestrator.cli.session import Session
from orchestrator.control.usecases import pause, resume
from orchestrator.domain.records import Pause

Reason = Annotated[
    str, typer.Option("--reason", metavar="WORDS", help="Kept on record, and shown by status.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a word did: whether it changed anything, and the words in force about what it named."""

    service: str | None
    paused: bool
    changed: bool
    in_force: tuple[Pause, ...]


def set_paused(session: Session, service: str | None, *, paused: bool, reason: str) -> Answer:
    """Write the word, show what holds now, and return that; an old word stays as it was. Raises ``UnknownService``."""
    runtime = session.runtime
    act = pause if paused else resume
    changed = act(service, runtime, actor=session.outside.actor(), reason=reason.strip())
    held = tuple(p for p in runtime.store.pauses() if service is None or p.service in {"", service})
    session.show(page.answer(service, held, paused=paused, changed=changed))
    return Answer(service, any(p.service == "" or service is not None for p in held), changed, held)
