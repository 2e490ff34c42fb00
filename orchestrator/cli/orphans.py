"""``greenctl doctor --orphans``: look, and, where somebody says so, ask the controller to act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import typer

from orchestrator.cli.acting import acting_elsewhere, see_to_controller
from orchestrator.cli.render import orphans as page
from orchestrator.cli.render.numbers import duration
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.control.orphan_survey import OrphanSurvey, orphan_survey
from orchestrator.control.reap_requests import outcome_of, submit_acceptance, submit_reap
from orchestrator.domain.orphans import ReapRequest, ReapVerdict
from orchestrator.domain.records import OperationState
from orchestrator.domain.time import parse_instant
from orchestrator.errors import ExitStatus, ProviderError, RestoredDatabase, TimedOut, UsageError
from orchestrator.planner.reaping import RESTORED
from orchestrator.provisioners.skypilot.clouds import GROUND_TRUTH

POLL_SECONDS: Final = 0.5
PATIENCE: Final = timedelta(minutes=3)
"""A sweep asks every provider once; SkyPilot's answer takes seconds to tens of seconds."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. ``confirmed``: names given one by one."""

    reap: bool = False
    confirmed: tuple[str, ...] = ()
    accept_restored: bool = False
    yes: bool = False
    timeout: timedelta | None = None

    def __post_init__(self) -> None:
        """Refuse words that contradict each other."""
        if self.confirmed and not self.reap:
            raise UsageError(
                "--confirm names what --reap may end", hint="greenctl doctor --orphans --reap --confirm NAME"
            )
        if self.reap and self.accept_restored:
            raise UsageError("accept the database first, look again, and reap then", hint="Two commands, not one.")


def run(session: Session, asked: Asked) -> None:
    """Show the survey; then do what is asked for.

    Exits with 0 (clean), 10 (orphans) or 4 (a listing cannot be used). Raises ``RestoredDatabase``, ``Declined``,
    ``TimedOut``, ``UsageError`` and what starting a controller raises.
    """
    survey = session.run(orphan_survey(session.runtime, turn_for=turn_for(session)))
    by_word_only = sorted(set(session.settings.skypilot.clouds) - GROUND_TRUTH)
    found = page.render(survey, by_word_only=by_word_only, width=session.out.width)
    session.show(found)
    if session.as_json and (asked.reap or asked.accept_restored):
        session.say(found)  # whoever is asked must have seen it
    document: dict[str, object] = {"orphans": survey, "by_word_only": by_word_only}
    left = bool(survey.unowned)
    if asked.accept_restored:
        document["acceptance"] = _accept(session, survey, asked)
    elif asked.reap:
        request, verdicts = _reap(session, survey, asked)
        document["reap"] = {"request": request, "verdicts": verdicts}
        left = left if request is None else not all(v.allowed for v in verdicts)
    session.emit(**document)
    if not survey.complete:
        raise typer.Exit(ExitStatus.PROVIDER)
    if left:
        raise typer.Exit(ExitStatus.CHANGES_PENDING)


def _reap(session: Session, survey: OrphanSurvey, asked: Asked) -> tuple[ReapRequest | None, Sequence[ReapVerdict]]:
    """Ask, and wait for the answer of the brakes."""
    if survey.restored_epoch is not None:
        raise RestoredDatabase(RESTORED)
    known = {o.name for o in survey.strangers}
    if strange := sorted({*asked.confirmed} - known):
        raise UsageError(f"no orphan is named {', '.join(strange)}", hint="Names stand in the first column above.")
    names = sorted({o.name for o in survey.strangers if o.reapable} | {*asked.confirmed})
    if not names:
        session.show(line("Nothing may be reaped now."))
        return None, ()
    session.complain(line(f"This ends {len(names)}: {', '.join(names)}. What runs there is lost."))
    session.confirm("End them? [y/N]:", yes=asked.yes)
    request = _answered(session, asked, _submit(session, names, asked.confirmed))
    verdicts = outcome_of(request)
    if request.state is OperationState.FAILED:
        raise ProviderError(
            "the request could not be weighed, nothing was ended", hint="Look again: greenctl doctor --orphans"
        )
    session.show(page.answer(verdicts, width=session.out.width))
    session.show(line("The controller asks until they are gone: ", ("greenctl doctor --orphans", "bold")))
    return request, verdicts


def turn_for(session: Session) -> timedelta | None:
    """Return for how long the controller has had its turn, ``None`` where none runs."""
    info = session.outside.controller().info(session.settings)
    if info is None:
        there = acting_elsewhere(session)
        return None if there is None else there.lasts
    return max(timedelta(0), session.runtime.clock.wall() - parse_instant(info.since))


def _submit(session: Session, names: Sequence[str], confirmed: Sequence[str]) -> ReapRequest:
    see_to_controller(session)
    return submit_reap(session.runtime, actor=session.outside.actor(), names=names, confirmed=confirmed)


def _accept(session: Session, survey: OrphanSurvey, asked: Asked) -> ReapRequest | None:
    epoch = survey.restored_epoch
    if epoch is None:
        session.show(line("Nothing says that this database was set back."))
        return None
    session.complain(
        line(
            f"What was launched up to turn {epoch} and is in no record will never be looked after again. Replicas that"
            " this database misses are launched anew, beside what may still serve."
        )
    )
    session.confirm("Type 'restored' to continue:", yes=asked.yes, answer="restored")
    see_to_controller(session)
    request = submit_acceptance(session.runtime, actor=session.outside.actor(), epoch=epoch)
    accepted = _answered(session, asked, request)
    if accepted.state is OperationState.FAILED:
        raise ProviderError(
            "the acceptance was not looked at in time and does not count, nothing was changed",
            hint="Look again: greenctl doctor --orphans",
        )
    session.show(line("Accepted: the controller goes on from what this database knows."))
    return accepted


def _answered(session: Session, asked: Asked, request: ReapRequest) -> ReapRequest:
    """Wait until the controller has answered. Raises ``TimedOut``; the request stays for an hour."""
    limit = asked.timeout or PATIENCE
    return session.run(_wait(session, request, limit))


async def _wait(session: Session, request: ReapRequest, limit: timedelta) -> ReapRequest:
    clock = session.runtime.clock
    until = clock.monotonic() + limit.total_seconds()
    while clock.monotonic() < until:
        found = session.runtime.store.reap_request(request.id)
        if found is not None and found.state in {OperationState.DONE, OperationState.FAILED}:
            return found
        await clock.sleep(POLL_SECONDS)
    message = f"no answer after {duration(limit.total_seconds())}; the request stays for an hour"
    raise TimedOut(message, hint="greenctl controller status; then greenctl doctor --orphans")
