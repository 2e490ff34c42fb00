"""Instances that nobody seems to own: what each listing says, who is suspected, and what holds the reaper back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.render.numbers import UNKNOWN, age, instant, usd
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.control.orphan_survey import OrphanSurvey, OrphanView
from orchestrator.domain.orphans import ReapVerdict, Restored, Suspect, SuspectKind
from orchestrator.planner.reaping import RESTORED

ACCEPT: Final = "greenctl doctor --orphans --accept-restored"
BRAKE: Final = (
    f"The brake is on, for {RESTORED}: nothing is launched, moved, routed anew or reaped; what serves goes on serving."
)

KINDS: Final = {
    SuspectKind.STRANGER.value: ("no record", "red"),
    SuspectKind.ABSENT.value: ("not listed", "yellow"),
    "ended": ("had ended", "red"),
}


def render(survey: OrphanSurvey, *, by_word_only: Sequence[str], width: int) -> RenderableType:
    """Return the listings, the suspects and a last line. ``by_word_only``: clouds that we cannot list past SkyPilot."""
    grid = Grid(columns("PROVIDER", "LISTING", Column("READ", keep=4), Column("SHOWN", right=True), "MATCH"))
    for s in survey.sources:
        state = Text("complete", style="green") if s.complete else Text("not usable", style="red")
        match = f"{s.matched} of {s.shown}" if s.complete else UNKNOWN
        grid.add(s.name, state, instant(s.read_at), str(s.shown) if s.complete else UNKNOWN, match)
    parts: list[RenderableType] = [grid.laid_out(width)]
    parts += [line((f"{s.name}: ", "bold"), s.trouble) for s in survey.sources if s.trouble]
    if by_word_only:
        clouds = ", ".join(by_word_only)
        words = f"{clouds}: only SkyPilot's own word; what it has lost track of there is not seen here."
        parts.append(line((words, "yellow")))
    if survey.orphans:
        parts += [Text(""), _table(survey.orphans, width)]
    parts.append(Text(""))
    if survey.twins:
        parts.append(twins(survey))
    elif survey.restored_epoch is not None:
        parts.append(restored(survey.restored_epoch))
    parts.append(line(_summary(survey)))
    return Group(*parts)


def twins(survey: OrphanSurvey) -> Text:
    """Say that two databases act as one deployment, and what to do first."""
    words = f"Another database acts as this deployment, {survey.deployment_uid}: it launched {', '.join(survey.twins)}."
    return line((words, "red"), " Stop the controller of one of them: ", ("greenctl controller stop", "bold"))


def restored(epoch: int) -> Text:
    """Say that the database was set back, what that stops, and how it goes on."""
    words = f"{BRAKE} Turn {epoch} is newer than its records; what runs since then may be in none of them. Look: "
    return line((words, "red"), ("greenctl doctor --orphans", "bold"), "; go on from it: ", (ACCEPT, "bold"))


def answer(verdicts: Sequence[ReapVerdict], *, width: int) -> RenderableType:
    """Return what became of each name that somebody asked to reap."""
    grid = Grid(columns("INSTANCE", "ANSWER", Column("WHY NOT", wrap=True)))
    for v in verdicts:
        word = Text("is being ended", style="green") if v.allowed else Text("held back", style="yellow")
        grid.add(v.name, word, v.held_because)
    return grid.laid_out(width)


def suspects_line(suspects: Sequence[Suspect], known: Restored) -> Text | None:
    """Return one line for the status page, ``None`` when there is nothing to say."""
    if known.holds:
        return restored(known.seen_epoch)
    count = sum(s.kind is SuspectKind.STRANGER for s in suspects)
    if not count:
        return None
    words = "instance carries" if count == 1 else "instances carry"
    look = ("greenctl doctor --orphans", "bold")
    return line((f"{count} {words} our mark and no record knows {'it' if count == 1 else 'them'}: ", "yellow"), look)


def _table(orphans: Sequence[OrphanView], width: int) -> RenderableType:
    grid = Grid(
        columns(
            "INSTANCE",
            "WHAT",
            Column("REGION", keep=6),
            Column("SERVICE", keep=3),
            Column("FOR", right=True, keep=7),
            Column("$/h", right=True, keep=5),
            Column("WORK", keep=4),
            Column("MAY BE REAPED", wrap=True),
        )
    )
    for o in orphans:
        word, style = KINDS[o.kind]
        grid.add(
            o.name,
            Text(word, style=style),
            o.region or UNKNOWN,
            o.service or UNKNOWN,
            UNKNOWN if o.suspected_seconds is None else age(o.suspected_seconds),
            usd(o.usd_per_hour).removeprefix("$"),
            o.work,
            "yes" if o.reapable else f"no: {o.why}",
        )
    return grid.laid_out(width)


def _summary(survey: OrphanSurvey) -> str:
    unusable = sum(not s.complete for s in survey.sources)
    if unusable:
        return f"{unusable} of {len(survey.sources)} listings cannot be used: orphans there would not be seen."
    count = len(survey.unowned)
    if not count:
        return f"No orphans: {survey.fleet} shown, all accounted for."
    reapable = sum(o.reapable for o in survey.orphans)
    return (
        f"{count} of {survey.fleet} shown have no owner; {reapable} may be reaped now, at most {survey.share} an hour."
    )
