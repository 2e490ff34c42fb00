"""The brake: from the moment it is on, nothing voluntary is done, and who pulled it is on record.

It is a row in the store, so it holds for every controller that will ever run on it. What it holds back is decided in
:mod:`orchestrator.planner.pause`.
"""

from __future__ import annotations

from orchestrator.control.runtime import Runtime
from orchestrator.domain.records import Pause
from orchestrator.errors import JournalEdited, Paused, UnknownService


def pause(service: str | None, runtime: Runtime, *, actor: str, reason: str) -> bool:
    """Hold what is voluntary, of one service or of all; return whether it was not held by that word already.

    Raises ``UnknownService``.
    """
    return _say(service, runtime, paused=True, actor=actor, reason=reason)


def resume(service: str | None, runtime: Runtime, *, actor: str, reason: str) -> bool:
    """Take back the word about one service, or the one about all; return whether there was one.

    A service stays paused while everything is, and everything's end leaves alone what is paused by itself. Raises
    ``UnknownService``.
    """
    return _say(service, runtime, paused=False, actor=actor, reason=reason)


def pauses_of(service: str, runtime: Runtime) -> tuple[Pause, ...]:
    """Return the words that hold this service now, the one about everything first."""
    return tuple(p for p in runtime.store.pauses() if p.service in {"", service})


def refuse_while_paused(service: str, runtime: Runtime) -> None:
    """Raise ``Paused`` when nothing may be changed about the service, saying who holds it and why.

    Raises ``JournalEdited`` while somebody has to say what is to be made of a journal that was changed by hand.
    """
    if runtime.store.journal_marks().holds:
        raise JournalEdited(f"{service} does not change: the journal is not as it was written")
    held = pauses_of(service, runtime)
    if held:
        lift = " && ".join(f"greenctl resume {p.service}".rstrip() for p in held)
        message = f"{service} does not change while {'; '.join(in_words(p) for p in held)}"
        raise Paused(message, hint=f"When you are sure: {lift}.")


def in_words(word: Pause) -> str:
    """Say what is paused, by whom and why."""
    what = word.service or "everything"
    return f"{what} is paused by {word.actor or 'an unknown user'}{f' ({word.reason})' if word.reason else ''}"


def _say(service: str | None, runtime: Runtime, *, paused: bool, actor: str, reason: str) -> bool:
    store = runtime.store
    if service is not None and store.service(service) is None:
        names = ", ".join(s.name for s in store.services()) or "none"
        message = f"no service {service!r}; known: {names}"
        raise UnknownService(message)
    return store.set_paused(service, paused=paused, now=runtime.clock.now(), actor=actor, reason=reason)
