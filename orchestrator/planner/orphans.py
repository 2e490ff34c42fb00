"""Compare a complete listing with the journal, in both directions. Decides nothing about ending anything by itself.

A listing that failed never comes here: it proves nothing. One that suddenly lacks most of what is known to run is not
believed either in what it lacks; whoever it does show is there. See decision 0094.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.orphans import Sighting, Suspect, SuspectKind, Work
from orchestrator.domain.replica import ENDED, PAID, Replica, ReplicaState
from orchestrator.domain.time import Instant

SEEN_BEFORE = frozenset({ReplicaState.STARTING, ReplicaState.READY})
"""States that a replica only reaches once its provider has shown it, and in which nobody has asked to end it."""

LEAST_SIGHTINGS = 2
"""A single listing is never enough, however long ago it was."""

LEAST_MISSING = 2
"""One machine that is gone is no reason to doubt a listing: that happens every day."""


LATE = timedelta(hours=1)
"""Physical. Launches have been seen to hang for 40 minutes before they succeeded (skypilot #312); what first shows up
later than this in a turn was not begun before it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One complete listing beside the journal, which was read after it.

    ``recorded``: the records of all that is shown and of all that lives at this source, by name. ``intents``: which of
    the shown intents the journal knows, and in which turn each was committed. ``before``: the suspects of this source
    so far.
    """

    source: str
    shown: tuple[Sighting, ...]
    recorded: Mapping[str, Replica]
    intents: Mapping[str, int]
    before: tuple[Suspect, ...] = ()

    @property
    def strangers(self) -> list[Sighting]:
        """What no record knows."""
        return [s for s in self.shown if s.name not in self.recorded]

    @property
    def absent(self) -> list[Replica]:
        """What is recorded as there and is not shown."""
        shown = {s.name for s in self.shown}
        return [r for r in self.recorded.values() if r.state in PAID and r.name not in shown]

    @property
    def outlived(self) -> list[str]:
        """What is recorded as ended and cleaned up, and is shown all the same."""
        done = {r.name for r in self.recorded.values() if r.state in ENDED and r.cleaned_up}
        return [s.name for s in self.shown if s.name in done]


def missing_too_much(shown: Collection[str], recorded: Iterable[Replica], unmarked: Collection[str] = ()) -> str:
    """Say so in words when more than half of what has been seen there is suddenly missing; empty when it is not.

    A true mass loss is found by asking about each replica: then their records say so, and the next listing fits.
    ``unmarked``: those that no listing is expected to show any more.
    """
    known = sorted(r.name for r in recorded if r.state in SEEN_BEFORE and r.name not in unmarked)
    missing = [name for name in known if name not in shown]
    if len(missing) < LEAST_MISSING or 2 * len(missing) <= len(known):
        return ""
    return f"lacks {len(missing)} of {len(known)} replicas that were there a moment ago"


def long_absent(suspects: Iterable[Suspect]) -> list[str]:
    """Return who was missing in listings that were believed, for so long that people were told of it."""
    return sorted(s.name for s in suspects if s.kind is SuspectKind.ABSENT and s.told)


def restored_epoch(look: Look, *, epoch: int, accepted_epoch: int) -> int | None:
    """Return the newest turn on an instance which proves that rows are missing here; ``None`` without such a sign.

    Three signs count: a turn that this database has never given out (``epoch`` is its newest), a launch of any turn
    whose intent is not here, although an intent is committed before every launch and none is ever taken away, and a
    launch of an earlier turn than its intent was committed in: that request is carried out a second time. What somebody
    has accepted is no sign any more, and what carries no turn never was one. See decisions 0051 and 0065.
    """
    found = []
    for one in look.shown:
        turn = one.epoch or 0
        unknown = one.name not in look.recorded and one.intent_id not in look.intents
        repeated = look.intents.get(one.intent_id, turn) > turn
        if turn > accepted_epoch and (turn > epoch or unknown or repeated):
            found.append(turn)
    return max(found, default=None)


def twins_of(
    suspects: Iterable[Suspect],
    intents: Collection[str],
    *,
    uid: str,
    turn_for: timedelta,
    now: Instant,
    rate: float,
) -> tuple[Suspect, ...]:
    """Return what another database has launched as this deployment, while ours was in force.

    Each carries our uid and an intent that is not here (``intents``: those that are), and was first seen when our turn
    (``turn_for``, physical) had gone on for longer than a late create takes. A database that was set back explains only
    what is there when its first turn begins: this one has committed every intent of its own since.
    """
    return tuple(
        s
        for s in suspects
        if s.kind is SuspectKind.STRANGER
        and s.deployment_uid == uid
        and s.intent_id
        and s.intent_id not in intents
        and s.sightings >= LEAST_SIGHTINGS
        and turn_for - s.age(now, rate) >= LATE
    )


def suspects_of(look: Look, now: Instant, *, is_believed: bool = True) -> tuple[Suspect, ...]:
    """Return who is suspected after this look: an earlier suspicion goes on only where this look repeats it.

    What a look that is not believed does not show is as it was: nobody is absent for it, and no stranger gone.
    """
    before = {(s.name, s.kind): s for s in look.before}
    found = [_stranger(s, now, before.get((s.name, SuspectKind.STRANGER))) for s in look.strangers]
    if is_believed:
        found += [_absent(r, look.source, now, before.get((r.name, SuspectKind.ABSENT))) for r in look.absent]
    else:
        found += _unseen(look)
    return tuple(sorted(found, key=lambda s: s.name))


def past_grace(suspect: Suspect, now: Instant, rate: float, grace: timedelta) -> bool:
    """Whether it has been suspected for long enough (``grace`` is physical) and by more than one listing."""
    return suspect.age(now, rate) >= grace and suspect.sightings >= LEAST_SIGHTINGS


def to_tell(suspects: Sequence[Suspect], now: Instant, rate: float, grace: timedelta) -> list[Suspect]:
    """Return those that people have not been told of and should be."""
    return [s for s in suspects if not s.told and past_grace(s, now, rate, grace)]


def _stranger(seen: Sighting, now: Instant, before: Suspect | None) -> Suspect:
    return Suspect(
        name=seen.name,
        kind=SuspectKind.STRANGER,
        source=seen.source,
        service=seen.service,
        region=seen.region,
        intent_id=seen.intent_id,
        epoch=seen.epoch,
        deployment_uid=seen.deployment_uid,
        first_seen_at=now if before is None else before.first_seen_at,
        last_seen_at=now,
        sightings=1 if before is None else before.sightings + 1,
        work=seen.work,
        counters=seen.counters,
        idle_since=_idle_since(seen, now, before),
        told=before is not None and before.told,
    )


def _idle_since(seen: Sighting, now: Instant, before: Suspect | None) -> Instant | None:
    """Count on only while nothing has been done since the look before; what is not known to be idle is at work."""
    if seen.work not in {Work.IDLE, Work.ENDED}:
        return None
    if before is None or before.idle_since is None or before.counters != seen.counters:
        return now
    return before.idle_since


def _unseen(look: Look) -> list[Suspect]:
    """Return the suspects so far that this look does not show and that the journal has not answered since."""
    shown, absent = {s.name for s in look.shown}, {r.name for r in look.absent}
    return [
        s
        for s in look.before
        if (s.name in absent if s.kind is SuspectKind.ABSENT else s.name not in shown | look.recorded.keys())
    ]


def _absent(record: Replica, source: str, now: Instant, before: Suspect | None) -> Suspect:
    if before is not None:
        return replace(before, last_seen_at=now, sightings=before.sightings + 1)
    return Suspect(
        name=record.name,
        kind=SuspectKind.ABSENT,
        source=source,
        service=record.service,
        region=record.region,
        intent_id=record.intent_id,
        epoch=None,
        deployment_uid="",
        first_seen_at=now,
        last_seen_at=now,
    )
