"""Whose turn it is to act on a database: who is heard of, who may take it, and when what was asked for may be repeated.

The turn's number (the epoch) keeps whoever lost it from writing. It keeps nobody from asking a provider for something a
moment after: what was on its way then arrives in the successor's turn. Hence the lease, and the quiet after it. Times
are the database's. Pure. See decision 0093.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from orchestrator.domain.time import Instant

LEASE: Final = timedelta(seconds=60)
"""So long after its last word a controller may still be at work."""

RENEW_EVERY: Final = timedelta(seconds=10)

SURE_FOR: Final = timedelta(seconds=50)
"""For so long after its last word a controller may begin to ask a provider; the rest is for clocks of other rates."""

LATE_CALL: Final = timedelta(minutes=15)
"""How long a launch may be on its way to a provider: SkyPilot carries files, and is granted that."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """A controller's process. ``number`` is that of its state directory, which copies share; empty: there is none yet.

    Of one host, one path and one number only one process at once can claim: it holds the lock of the directory.
    """

    host: str
    state_dir: str
    number: str = ""
    pid: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.host} ({self.state_dir}, pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody wants the turn. ``take_over``: a person says that whoever has it is dead.

    ``is_alone``: nobody else can have it and live, as the lock on the database's file is held.
    """

    claimant: Claimant
    take_over: bool = False
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """The newest turn. ``since``, ``heard_at``: by the database's clock; ``silent_for``: by the same, when it was read.

    ``is_over``: its holder has stopped in order. ``quiet_until``: what others had asked for before it is left alone for
    so long; ``None``: not at all.
    """

    epoch: int
    claimant: Claimant
    since: Instant
    heard_at: Instant
    is_over: bool = False
    silent_for: timedelta = timedelta(0)
    quiet_until: Instant | None = None

    @property
    def is_heard(self) -> bool:
        """Whether its holder may be at work. A word from the future is as good as one of now: a clock was set back."""
        return not self.is_over and self.silent_for < LEASE

    @property
    def lasts(self) -> timedelta:
        """For how long it has been theirs."""
        return max(timedelta(0), self._read_at - self.since)

    @property
    def quiet_for(self) -> timedelta:
        """What is left of its quiet; never more than all of one, if a clock was set back."""
        if self.quiet_until is None:
            return timedelta(0)
        return min(max(timedelta(0), self.quiet_until - self._read_at), LEASE + LATE_CALL)

    @property
    def _read_at(self) -> Instant:
        return self.heard_at + self.silent_for


def may_claim(turn: Turn | None, claim: Claim) -> bool:
    """Whether the turn may be taken now."""
    return turn is None or not turn.is_heard or claim.take_over or _has_followed(turn, claim)


def quiet_after(turn: Turn | None, claim: Claim) -> timedelta:
    """Return for how long after the claim nothing is asked for again that the holder before has asked for.

    Whoever is followed in its own place is dead, and its successor asks the same providers under the same names, by the
    same roads. Of anybody else the lease is waited for, and a call that was begun at its very end. Not less than that
    call, however long ago the last word was: a clock that was set forward makes every word old. Whoever has stopped in
    order begins none after that, and what it has handed over may be on its way still. What is left of a quiet is passed
    on: whoever is followed, a call of those before it may be on its way.
    """
    if turn is None:
        return timedelta(0)
    return max(turn.quiet_for, _quiet_after_it(turn, claim))


def elsewhere(turn: Turn | None, here: Claimant) -> Turn | None:
    """Return the turn of a controller that is heard of, and is not the one of this place."""
    return turn if turn is not None and turn.is_heard and turn.claimant != here else None


def _quiet_after_it(turn: Turn, claim: Claim) -> timedelta:
    """Return the same of its own calls."""
    if _has_followed(turn, claim):
        return timedelta(0)
    silent_for = max(timedelta(0), turn.silent_for)
    if turn.is_over:
        return max(timedelta(0), LATE_CALL - silent_for)
    return max(timedelta(0), LEASE - silent_for) + LATE_CALL


def _has_followed(turn: Turn, claim: Claim) -> bool:
    """Whether the process that had the turn cannot live any more: it would hold a lock that the claimant holds."""
    return claim.is_alone or turn.claimant == claim.claimant
