"""The brakes of the reaper, the most dangerous part that we have: which orphans may be ended now, and why not.

Somebody's word starts it, and even then every brake is asked about every name. Two reads of the same world give the
same verdicts, and nothing here ends anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.domain.decision import Verdict
from orchestrator.domain.orphans import Reap, ReapVerdict, Suspect, SuspectKind, Work
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.orphans import LEAST_SIGHTINGS

SHARE = 0.10
"""Of all instances that are shown, how much may be ended per physical hour without naming each: a tenth, at least one.
Karpenter's default disruption budget is the same tenth (karpenter.sh/docs/concepts/disruption)."""

RESTORED = "this database looks restored from a backup"
UNKNOWN_WORK = "nobody can say whether it serves, so it is taken to; end it at its provider"


@dataclass(frozen=True, slots=True)
class ReapView:
    """What the brakes look at.

    ``prefix``: what the names of our own instances begin with. ``suspects``: after the newest listings.
    ``complete``: the sources of those that were complete. ``fleet``: how many instances these show. ``recent``: how
    many were reaped in the last physical hour. ``grace`` and ``idle`` are physical.
    """

    uid: str
    prefix: str
    suspects: tuple[Suspect, ...]
    complete: frozenset[str]
    fleet: int
    recent: int
    held: bool
    grace: timedelta
    idle: timedelta
    now: Instant
    rate: float

    @property
    def share(self) -> int:
        """How many may be ended per hour without naming each."""
        return max(1, int(self.fleet * SHARE))


def weigh(view: ReapView, names: Collection[str], confirmed: Collection[str] = ()) -> tuple[ReapVerdict, ...]:
    """Return the verdict on each name, the longest suspected first. ``confirmed``: those that were named one by one.

    Naming lifts the hourly share, and stands in for a deployment's mark that cannot be read; it lifts nothing else.
    """
    strangers = {s.name: s for s in view.suspects if s.kind is SuspectKind.STRANGER}
    known = sorted((strangers[n] for n in {*names} if n in strangers), key=lambda s: (s.first_seen_at, s.name))
    named = {s.name for s in known if s.name in confirmed}
    found: dict[str, ReapVerdict] = {}
    spent = view.recent
    for suspect in [s for s in known if s.name in named] + [s for s in known if s.name not in named]:
        brakes = _brakes(suspect, view, named=suspect.name in named)
        brakes += (_share(view, spent, named=suspect.name in named),)
        found[suspect.name] = ReapVerdict(suspect.name, brakes)
        spent += found[suspect.name].allowed
    unknown = [ReapVerdict(n, (_not_suspected(n),)) for n in sorted({*names} - strangers.keys())]
    return (*(found[s.name] for s in known), *unknown)


def still_allowed(suspect: Suspect, view: ReapView, *, asked: bool) -> ReapVerdict:
    """Look again before its provider is asked (again) to end what was decided earlier.

    Once it was ``asked``, an engine that no longer answers is taken to be on its way out, and no longer to serve.
    """
    serving = _serving(suspect, view)
    if asked and suspect.work is Work.UNKNOWN:
        serving = Verdict("serving", passed=True, text="it no longer answers")
    return ReapVerdict(
        suspect.name, (_backup(view), _listing(suspect, view), _mark(suspect, view, named=True), serving)
    )


def reaped_lately(reaps: Iterable[tuple[Reap, timedelta]]) -> int:
    """Count the instances that were decided upon within the last physical hour, whatever became of them.

    With each comes how long ago that was, in physical time.
    """
    return len({reap.name for reap, ago in reaps if ago < HOUR})


def _brakes(suspect: Suspect, view: ReapView, *, named: bool) -> tuple[Verdict, ...]:
    return (
        _backup(view),
        _listing(suspect, view),
        _mark(suspect, view, named=named),
        _grace(suspect, view),
        _serving(suspect, view),
    )


def _backup(view: ReapView) -> Verdict:
    return Verdict("backup", not view.held, RESTORED if view.held else "this database is the newest that is known")


def _listing(suspect: Suspect, view: ReapView) -> Verdict:
    shown = suspect.source in view.complete
    text = "its provider shows it now" if shown else f"{suspect.source} could not be listed whole just now"
    return Verdict("listing", shown, text)


def _mark(suspect: Suspect, view: ReapView, *, named: bool) -> Verdict:
    if suspect.deployment_uid not in {"", view.uid} or not suspect.name.startswith(view.prefix):
        return Verdict("mark", passed=False, text="it belongs to another deployment")
    if suspect.deployment_uid == view.uid:
        return Verdict("mark", passed=True, text="it carries our deployment's mark")
    text = "only its name says that it is ours" + ("" if named else ": name it with --confirm")
    return Verdict("mark", named, text)


def _grace(suspect: Suspect, view: ReapView) -> Verdict:
    age, limit = suspect.age(view.now, view.rate), view.grace
    passed = age >= limit and suspect.sightings >= LEAST_SIGHTINGS
    minutes, wanted = age / timedelta(minutes=1), limit / timedelta(minutes=1)
    text = f"suspected for {minutes:.0f} of {wanted:.0f} min"
    if suspect.sightings < LEAST_SIGHTINGS:
        text += ", in one listing only"
    return Verdict("grace", passed, text, value=minutes, limit=wanted, unit="min")


def _serving(suspect: Suspect, view: ReapView) -> Verdict:
    """Whatever is not known to serve nobody is taken to serve; what the provider says has ended cannot."""
    if suspect.work is Work.ENDED:
        return Verdict("serving", passed=True, text="its engine has ended")
    wanted = view.idle / timedelta(minutes=1)
    idle = suspect.idle_for(view.now, view.rate)
    if idle is None:
        text = "it serves now" if suspect.work is Work.BUSY else UNKNOWN_WORK
        return Verdict("serving", passed=False, text=text, limit=wanted, unit="min")
    minutes = idle / timedelta(minutes=1)
    text = f"known to serve nobody for {minutes:.0f} of {wanted:.0f} min"
    return Verdict("serving", idle >= view.idle, text, value=minutes, limit=wanted, unit="min")


def _share(view: ReapView, spent: int, *, named: bool) -> Verdict:
    if named:
        return Verdict("share", passed=True, text="named by somebody")
    text = f"{spent} reaped within the hour, at most {view.share} of {view.fleet}: wait, or name it with --confirm"
    return Verdict("share", spent < view.share, text, value=float(spent), limit=float(view.share))


def _not_suspected(name: str) -> Verdict:
    return Verdict("stranger", passed=False, text=f"no listing shows {name} without a record")
