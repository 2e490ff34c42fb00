"""Who may take the turn, and for how long what was asked for before is left alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.turns import (
    LATE_CALL,
    LEASE,
    RENEW_EVERY,
    SURE_FOR,
    Claim,
    Claimant,
    Turn,
    elsewhere,
    may_claim,
    quiet_after,
)
from orchestrator.provisioners.skypilot.remote import PATIENCE_SECONDS

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HERE, THERE = Claimant("build1", "/srv/a", "0f3a", 11), Claimant("build2", "/srv/b", "9c1e", 12)
NONE, SECOND = timedelta(0), timedelta(seconds=1)


def turn(
    silent: timedelta = NONE, *, claimant: Claimant = THERE, is_over: bool = False, quiet: timedelta | None = None
) -> Turn:
    """A turn of an hour, of which nothing was heard for so long; ``quiet``: what was left then of its quiet."""
    return Turn(4, claimant, NOW - timedelta(hours=1), NOW, is_over, silent, None if quiet is None else NOW + quiet)


def test_the_bounds_fit_into_each_other() -> None:
    """A word or two may be lost; calls end before others may begin; and SkyPilot is not granted more than we wait."""
    assert 4 * RENEW_EVERY <= SURE_FOR < LEASE
    assert LATE_CALL.total_seconds() >= PATIENCE_SECONDS["launch"]


@pytest.mark.parametrize(
    ("before", "claim", "allowed"),
    [
        (None, Claim(HERE), True),
        (turn(), Claim(HERE), False),
        (turn(LEASE - SECOND), Claim(HERE), False),
        (turn(LEASE), Claim(HERE), True),
        (turn(-timedelta(hours=1)), Claim(HERE), False),
        (turn(is_over=True), Claim(HERE), True),
        (turn(), Claim(HERE, take_over=True), True),
        (turn(), Claim(HERE, is_alone=True), True),
        (turn(), Claim(replace(THERE, pid=99)), True),
        (turn(), Claim(replace(THERE, host="build1")), False),
        (turn(), Claim(replace(THERE, number="")), False),
    ],
)
def test_who_may_take_the_turn(before: Turn | None, claim: Claim, allowed: bool) -> None:
    """Nobody, while somebody else was heard of; a word from the future is one of now."""
    assert may_claim(before, claim) is allowed


@pytest.mark.parametrize(
    ("before", "claim", "quiet"),
    [
        (None, Claim(HERE), NONE),
        (turn(), Claim(THERE), NONE),
        (turn(timedelta(hours=1)), Claim(HERE, is_alone=True), NONE),
        (turn(), Claim(HERE, take_over=True), LEASE + LATE_CALL),
        (turn(20 * SECOND), Claim(HERE, take_over=True), 40 * SECOND + LATE_CALL),
        (turn(LEASE), Claim(HERE), LATE_CALL),
        (turn(timedelta(days=1)), Claim(HERE), LATE_CALL),
        (turn(-timedelta(hours=1)), Claim(HERE, take_over=True), LEASE + LATE_CALL),
        (turn(is_over=True), Claim(HERE), LATE_CALL),
        (turn(LATE_CALL - SECOND, is_over=True), Claim(HERE), SECOND),
        (turn(timedelta(days=1), is_over=True), Claim(HERE), NONE),
        (turn(is_over=True), Claim(THERE), NONE),
        (turn(quiet=20 * SECOND), Claim(THERE), 20 * SECOND),
        (turn(5 * SECOND, quiet=20 * SECOND), Claim(HERE, is_alone=True), 15 * SECOND),
        (turn(20 * SECOND, quiet=5 * SECOND), Claim(THERE), NONE),
        (turn(is_over=True, quiet=LATE_CALL + SECOND), Claim(HERE), LATE_CALL + SECOND),
        (turn(LEASE, quiet=LATE_CALL), Claim(HERE), LATE_CALL),
        (turn(-timedelta(hours=1), quiet=SECOND), Claim(THERE), LEASE + LATE_CALL),
    ],
)
def test_how_long_it_is_quiet(before: Turn | None, claim: Claim, quiet: timedelta) -> None:
    """The rest of the lease and a late call, for whoever may be at work still; nothing after one that is dead here.

    But never less than what is left of the quiet in which that one began.
    """
    assert quiet_after(before, claim) == quiet


def test_the_turn_of_another_place_is_elsewhere() -> None:
    """Ours is not, nor one that is over or not heard of."""
    assert elsewhere(turn(), HERE) == turn()
    for nobody in (None, turn(claimant=replace(HERE, pid=3)), turn(is_over=True), turn(LEASE)):
        assert elsewhere(nobody, HERE) is None


def test_how_long_a_turn_lasts_by_the_databases_clock() -> None:
    """From its begin to the moment in which it was read; never less than nothing."""
    assert turn(20 * SECOND).lasts == timedelta(hours=1) + 20 * SECOND
    assert turn(-timedelta(hours=2)).lasts == NONE
    assert str(THERE) == "build2 (/srv/b, pid 12)"
