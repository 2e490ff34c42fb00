"""What ``greenctl doctor`` looks at in the ground that everything stands on: packages, clocks, turns, pauses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Final

from orchestrator.cli.frame import APP
from orchestrator.cli.render import money
from orchestrator.cli.render.checks import Check, Outcome
from orchestrator.cli.render.numbers import age, instant
from orchestrator.cli.session import Session
from orchestrator.control.edits import words as in_short
from orchestrator.control.pausing import in_words
from orchestrator.domain.replica import PAID
from orchestrator.signals.server_clocks import ServerClocks

if TYPE_CHECKING:
    from packaging.requirements import Requirement

MOST_SKEW: Final = timedelta(seconds=5)
"""Between our clock and the database's. Turns and order never follow clocks; what people read does."""

MOST_AHEAD: Final = timedelta(minutes=1)
"""History that is further in the future than this was written by another clock, or ours was set back."""

TOLD_LATELY: Final = timedelta(days=1)
"""What a server said longer ago says little about our clock of today."""

_LEASE_HINT: Final = "Less than half of it is left: a running controller renews it. greenctl controller start"
_CLOCK_HINT: Final = "Let the machines follow one time service: timedatectl set-ntp true."


def packages() -> Iterator[Check]:
    """Compare what is installed with what this version was made for."""
    from orchestrator.store.schema import HEAD  # noqa: PLC0415  # SQLAlchemy, which not every command needs

    wrong = [words for r in _required() if (words := _trouble_with(r))]
    words = f"schema {HEAD}, SQLite {sqlite3.sqlite_version}"
    if wrong:
        yield Check("packages", Outcome.WARNING, "; ".join(wrong), "Install greenctl anew: what it needs comes along.")
    else:
        yield Check("packages", Outcome.OK, f"{words}; every package is of a version that this one was made for")


def _required() -> list[Requirement]:
    from packaging.requirements import Requirement  # noqa: PLC0415  # only doctor needs it

    try:
        lines = metadata.requires(APP) or []
    except metadata.PackageNotFoundError:
        return []
    found = [Requirement(text) for text in lines]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def _trouble_with(required: Requirement) -> str:
    try:
        version = metadata.version(required.name)
    except metadata.PackageNotFoundError:
        return f"{required.name} is not installed"
    if required.specifier.contains(version, prereleases=True):
        return ""
    return f"{required.name} is {version}, and {required.specifier} is needed"


def clocks(session: Session) -> Iterator[Check]:
    """Compare our clock with the database's, and with the newest line of history."""
    store, clock = session.runtime.store, session.runtime.clock
    before = clock.wall()
    theirs = store.database_time()
    after = clock.wall()
    if theirs is not None:
        skew = theirs - (before + (after - before) / 2)
        ahead = "ahead of" if skew > timedelta(0) else "behind"
        words = f"the database's clock is {abs(skew).total_seconds():.1f} s {ahead} ours"
        off = abs(skew) > MOST_SKEW + (after - before)
        yield Check("clock skew", Outcome.WARNING if off else Outcome.OK, words, _CLOCK_HINT if off else "")
    newest = [e for name in ("", *(s.name for s in store.services())) if (e := store.last_event(name)) is not None]
    future = max((e.wall_at for e in newest), default=after) - after
    if future > MOST_AHEAD:
        words = f"the newest line of history was written {age(future)} from now: our clock was set back"
        yield Check("clock steps", Outcome.WARNING, words, _CLOCK_HINT)


def server_clocks(session: Session) -> Iterator[Check]:
    """Compare our clock with what signal servers said in answers that were asked for anyway.

    One server may be wrong, so the one that is nearest to us counts.
    """
    from orchestrator.wiring import SIGNALS_FILE  # noqa: PLC0415  # all adapters, which are built by now

    now = session.runtime.clock.wall()
    told = ServerClocks(session.settings.state_dir / SIGNALS_FILE).told(since=now - TOLD_LATELY)
    if not told:
        return
    nearest = min(told, key=lambda t: (t.least_skew, t.host))
    ahead = "ahead of" if nearest.skew > timedelta(0) else "behind"
    others = f", of {len(told)} servers the nearest" if len(told) > 1 else ""
    words = f"the clock of {nearest.host} is {abs(nearest.skew).total_seconds():.1f} s {ahead} ours{others}"
    off = nearest.least_skew > MOST_SKEW
    yield Check("server clocks", Outcome.WARNING if off else Outcome.OK, words, _CLOCK_HINT if off else "")


def leases(session: Session) -> Iterator[Check]:
    """Say of every replica that is paid for until when it goes on by itself."""
    store, clock = session.runtime.store, session.runtime.clock
    now = clock.now()
    for service in store.services():
        ends = store.leases(service.name)
        for replica in sorted(store.replicas(service.name), key=lambda r: (r.slot, r.name)):
            if replica.state not in PAID:
                continue
            at = ends.get(replica.name)
            label = f"r{replica.slot} {replica.region}"
            (words,) = money.leases({label: at}, now, clock.rate)
            left = None if at is None else (at - now) / clock.rate
            low = left is not None and left < service.spec.lease / 2
            until = "" if at is None else f" ({instant(at)})"
            outcome = Outcome.NOTE if at is None else Outcome.WARNING if low else Outcome.OK
            yield Check(f"lease {service.name}", outcome, f"{words}{until}", _LEASE_HINT if low else "")


def turns(session: Session) -> Iterator[Check]:
    """Compare the turn of the controller that runs here with the newest one on record."""
    info = session.outside.controller().info(session.settings)
    newest = session.runtime.store.newest_epoch()
    if info is None or info.epoch == newest:
        return
    if info.epoch < newest:
        words = f"the controller here has turn {info.epoch}, and turn {newest} has begun: it can write no more"
        hint = "Two controllers share one database. Stop one of them: greenctl controller stop."
    else:
        words = f"the controller here has turn {info.epoch}, and the database knows of none after {newest}"
        hint = "The database was set back, or another one is configured: greenctl config show --origin."
    yield Check("turns", Outcome.FAILED, words, hint)


def journal(session: Session) -> Iterator[Check]:
    """Compare the journal with its chain: rows that were changed by hand."""
    report = session.runtime.store.check_journal()
    if report.is_whole:
        words = f"{report.rows:,} rows are as they were written, by {report.links:,} links; head {report.head[:16]}"
        yield Check("journal", Outcome.OK, words if report.links else "nothing is written yet")
        return
    first, more = report.findings[0], len(report.findings) - 1
    words = f"not as it was written: {in_short(first)}{f', and {more:,} more' if more else ''}"
    yield Check("journal", Outcome.FAILED, words, "greenctl journal check")


def pauses(session: Session) -> Iterator[Check]:
    """Say what is held back on purpose."""
    for word in session.runtime.store.pauses():
        yield Check("paused", Outcome.NOTE, in_words(word), f"greenctl resume {word.service}".rstrip())
