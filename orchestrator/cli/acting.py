"""Who acts on what a command asks for: the controller here, one of another host that shares the database, or nobody."""

from __future__ import annotations

from orchestrator.cli.render.numbers import age
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.domain.turns import Turn
from orchestrator.errors import GreenctlError


def see_to_controller(session: Session) -> None:
    """Have a controller that carries out what is asked for now: one is started here, unless one is heard of elsewhere.

    Raises what starting one raises.
    """
    if session.outside.controller().info(session.settings) is None:
        there = acting_elsewhere(session)
        if there is not None:
            session.say(line(f"It is carried out by the controller of {there.claimant}."))
            return
    session.outside.controller().start(session.settings, progress=lambda words: session.say(line(words)))


def is_acting(session: Session) -> bool:
    """Whether a controller runs, here or elsewhere."""
    return session.outside.controller().info(session.settings) is not None or acting_elsewhere(session) is not None


def acting_elsewhere(session: Session) -> Turn | None:
    """Return the turn of a controller of another host or state directory that is heard of."""
    return session.outside.controller().elsewhere(session.settings, session.runtime.store.turn())


def in_words(turn: Turn) -> str:
    """Say who has the turn, and that it lives."""
    return f"{turn.claimant}, for {age(turn.lasts)}, epoch {turn.epoch}; heard of {age(turn.silent_for)} ago"


def last_word(session: Session) -> str:
    """Say of a controller elsewhere that is not heard of any more where it was; empty where there was none."""
    try:
        turn = session.runtime.store.turn()
    except GreenctlError:  # it is told by whoever needs the database
        return ""
    if turn is None or turn.is_over or turn.is_heard:
        return ""
    return f" (the last one, of {turn.claimant}, was heard of {age(turn.silent_for)} ago)"
