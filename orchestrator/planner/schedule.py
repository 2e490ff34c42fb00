"""What a migration schedule says of one moment, and the rule that follows from it. Pure.

Which windows are open is worked out by the shell, because time zones are tables on a disk; here are plain instants.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.decision import Verdict
from orchestrator.domain.time import Instant, Window, format_instant

SCHEDULE_RULE = "migration.schedule"

FREEZE = "freeze"
BLACKOUT = "blackout"


@dataclass(frozen=True, slots=True)
class Opening:
    """One window on one day. ``local``: its beginning on the schedule's own clock, for people."""

    window: Window
    name: str
    local: str = ""


@dataclass(frozen=True, slots=True)
class Closure:
    """A blackout or a freeze that holds now."""

    kind: str
    until: Instant
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule at one moment.

    ``has_windows``: voluntary moves are bound to windows. ``openings``: those open now. ``ended``: those that closed
    lately, the earliest end first. ``next_opening``: ``None`` when none is to come. ``next_change``: before it,
    nothing above becomes different, ``None`` when nothing ever does.
    """

    has_windows: bool
    openings: tuple[Opening, ...] = ()
    closure: Closure | None = None
    next_opening: Opening | None = None
    next_change: Instant | None = None
    ended: tuple[Opening, ...] = ()

    @property
    def lets_move(self) -> bool:
        """Whether a voluntary move may begin now."""
        return self.closure is None and (bool(self.openings) or not self.has_windows)


def schedule_verdict(timetable: Timetable | None) -> Verdict | None:
    """Judge whether a voluntary move may begin now; ``None`` without a schedule."""
    if timetable is None:
        return None
    return Verdict(SCHEDULE_RULE, timetable.lets_move, words(timetable))


def may_begin(timetable: Timetable | None, moment: Instant) -> bool:
    """Whether a voluntary move might begin at a later moment, as far as the windows now open and the next one tell."""
    if timetable is None or not timetable.has_windows:
        return True
    coming = () if timetable.next_opening is None else (timetable.next_opening,)
    return any(moment in opening.window for opening in (*timetable.openings, *coming))


def words(timetable: Timetable) -> str:
    """Say what is open, or what is waited for."""
    closure = timetable.closure
    if closure is not None:
        reason = f" ({closure.reason})" if closure.reason else ""
        return f"{closure.kind}{reason} until {format_instant(closure.until)}{_then(timetable)}"
    if timetable.openings:
        last = max(timetable.openings, key=lambda o: (o.window.end, o.name))
        return f"window {last.name} is open until {format_instant(last.window.end)}"
    if not timetable.has_windows:
        return "no window is asked for, and nothing is closed"
    return _next(timetable)


def _then(timetable: Timetable) -> str:
    return f", {_next(timetable)}" if timetable.has_windows else ""


def _next(timetable: Timetable) -> str:
    coming = timetable.next_opening
    if coming is None:
        return "no further window"
    local = f" ({coming.local})" if coming.local else ""
    return f"next window at {format_instant(coming.window.start)}{local}"
