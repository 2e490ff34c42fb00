"""Comparing one listing with the journal: the corners."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.orphans import Sighting, Suspect, SuspectKind, Work
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.planner.orphans import (
    Look,
    long_absent,
    missing_too_much,
    restored_epoch,
    suspects_of,
    to_tell,
    twins_of,
)
from tests.store_samples import NOW, a_replica, later

S = ReplicaState
SEEN = Sighting("gc-1", "aws", service="chat", intent_id="i-1", epoch=5, deployment_uid="uid", work=Work.IDLE)
GRACE = timedelta(minutes=10)


def look(*shown: Sighting, recorded: tuple[Replica, ...] = (), intents: tuple[str, ...] = ()) -> Look:
    """Make a look."""
    return Look("aws", shown, {r.name: r for r in recorded}, dict.fromkeys(intents, 5))


@pytest.mark.parametrize(
    ("known", "missing", "doubted"), [(0, 0, 0), (1, 1, 0), (2, 1, 0), (2, 2, 1), (3, 2, 1), (4, 2, 0), (5, 3, 1)]
)
def test_more_than_half_is_too_much(known: int, missing: int, doubted: int) -> None:
    """Half is not yet too much, and one machine alone never is."""
    records = [a_replica(f"gc-{n}", state=S.READY) for n in range(known)]
    shown = {r.name for r in records[missing:]}

    assert bool(missing_too_much(shown, records)) == bool(doubted)


@pytest.mark.parametrize(
    ("known", "missing", "unmarked", "doubted"),
    [(3, 2, 1, 0), (3, 3, 1, 1), (3, 3, 2, 0), (5, 4, 2, 1), (5, 3, 2, 0), (4, 3, 4, 0)],
)
def test_who_has_lost_its_mark_is_missed_in_no_listing(known: int, missing: int, unmarked: int, doubted: int) -> None:
    """It counts neither among the missing nor among those that a listing should show."""
    records = [a_replica(f"gc-{n}", state=S.READY) for n in range(known)]
    shown = {r.name for r in records[missing:]}

    assert bool(missing_too_much(shown, records, {f"gc-{n}" for n in range(unmarked)})) == bool(doubted)


def test_only_people_who_were_told_can_know_of_somebody_absent() -> None:
    """Whoever is missing for a moment only, or is a stranger, has not lost its mark for all that is known."""
    (absent,) = suspects_of(look(recorded=(a_replica("gc-1", state=S.READY),)), NOW)
    (stranger,) = suspects_of(look(SEEN), NOW)

    assert long_absent([absent, replace(stranger, told=True)]) == []
    assert long_absent([replace(absent, told=True), stranger]) == ["gc-1"]


@pytest.mark.parametrize("state", [S.PENDING, S.PROVISIONING, S.DRAINING, S.LOST, S.TERMINATED, S.FAILED])
def test_what_need_not_be_shown_raises_no_doubt(state: ReplicaState) -> None:
    """A launch behind a late listing, or an end under way, is no reason not to believe it."""
    assert not missing_too_much(set(), [a_replica(f"gc-{n}", state=state) for n in range(4)])


@pytest.mark.parametrize(
    ("turn", "accepted", "sign"),
    [
        (None, 0, None),
        (0, 0, None),
        (1, 0, 1),
        (5, 0, 5),
        (6, 0, 6),
        (7, 0, 7),
        (7, 7, None),
        (7, 6, 7),
        (6, 6, None),
    ],
)
def test_turns_that_prove_that_rows_are_missing(turn: int | None, accepted: int, sign: int | None) -> None:
    """In turn 6: a launch of any turn whose intent is not here; not one without a turn, nor an accepted one."""
    seen = look(replace(SEEN, epoch=turn))

    assert restored_epoch(seen, epoch=6, accepted_epoch=accepted) == sign


def test_a_known_launch_proves_nothing_unless_its_turn_never_was() -> None:
    """By record or by intent; but a turn that was never given out is a sign whatever else is known."""
    by_record = look(SEEN, recorded=(a_replica("gc-1"),))
    by_intent = look(SEEN, intents=("i-1",))
    for known in (by_record, by_intent):
        assert restored_epoch(known, epoch=5, accepted_epoch=0) is None
        assert restored_epoch(known, epoch=4, accepted_epoch=0) == 5


@pytest.mark.parametrize(("turn", "sign"), [(4, None), (3, None), (2, 2), (1, 1), (0, None), (None, None)])
def test_a_launch_before_its_intent_was_committed_proves_that_rows_were_missing(
    turn: int | None, sign: int | None
) -> None:
    """The request that wanted it is carried out a second time, under the same name; a later turn may ask again."""
    shown = replace(SEEN, epoch=turn)
    twice = Look("aws", (shown,), {"gc-1": a_replica("gc-1")}, {"i-1": 3})

    assert restored_epoch(twice, epoch=6, accepted_epoch=0) == sign
    assert restored_epoch(twice, epoch=6, accepted_epoch=2) is None


def test_a_suspicion_begins_anew_after_a_listing_without_it() -> None:
    """It counts looks in a row; whoever was not shown is forgotten."""
    first = suspects_of(look(SEEN), NOW)
    second = suspects_of(replace(look(SEEN), before=first), later(60))
    gone = suspects_of(replace(look(), before=second), later(120))
    again = suspects_of(replace(look(SEEN), before=gone), later(180))

    assert (second[0].first_seen_at, second[0].sightings) == (NOW, 2)
    assert gone == ()
    assert (again[0].first_seen_at, again[0].sightings) == (later(180), 1)


def test_a_look_that_is_not_believed_proves_nothing_by_what_it_lacks() -> None:
    """A stranger that it shows is suspected, and told of in the end; nobody is absent for it, and nobody is gone."""
    here = tuple(a_replica(f"gc-r{n}", state=S.READY) for n in range(2))
    other = replace(SEEN, name="gc-2")
    before = suspects_of(look(other, recorded=here[:1]), NOW)
    seen = replace(look(SEEN, recorded=here), before=before)
    first = suspects_of(seen, later(60), is_believed=False)
    second = suspects_of(replace(seen, before=first), later(660), is_believed=False)

    assert {s.name: (s.kind, s.sightings, s.first_seen_at) for s in second} == {
        "gc-1": (SuspectKind.STRANGER, 2, later(60)),
        "gc-2": (SuspectKind.STRANGER, 1, NOW),
        "gc-r0": (SuspectKind.ABSENT, 1, NOW),
    }
    assert [s.name for s in to_tell(second, later(660), 1.0, GRACE)] == ["gc-1"]


def test_what_is_answered_meanwhile_is_suspected_no_longer() -> None:
    """Also by a look that is not believed: it shows who was absent, or a record has ended, or knows a stranger."""
    there, gone = a_replica("gc-r0", state=S.READY), a_replica("gc-r1", state=S.READY)
    before = suspects_of(look(SEEN, recorded=(there, gone)), NOW)
    records = (there, replace(gone, state=S.LOST), a_replica("gc-1", state=S.READY))
    seen = replace(look(replace(SEEN, name="gc-r0"), recorded=records), before=before)

    assert len(before) == 3
    assert suspects_of(seen, later(60), is_believed=False) == ()


def test_idle_time_ends_with_every_request_and_every_silence() -> None:
    """Only looks that found it idle, with the same counters, in a row, add up."""
    idle = replace(SEEN, counters="1/1/0")
    first = suspects_of(look(idle), NOW)
    second = suspects_of(replace(look(idle), before=first), later(60))
    assert second[0].idle_since == NOW

    moved = suspects_of(replace(look(replace(idle, counters="1/2/0")), before=second), later(120))
    assert moved[0].idle_since == later(120)
    for work in (Work.BUSY, Work.UNKNOWN):
        assert suspects_of(replace(look(replace(idle, work=work)), before=second), later(120))[0].idle_since is None


def test_it_is_told_of_after_the_grace_and_not_by_one_listing_alone() -> None:
    """Grace is physical: on a grid that runs sixty times as fast, ten minutes are ten hours of it."""
    first = suspects_of(look(SEEN), NOW)
    second = suspects_of(replace(look(SEEN), before=first), later(600))

    assert to_tell(first, later(6000), 1.0, GRACE) == []
    assert to_tell(second, later(599), 1.0, GRACE) == []
    assert to_tell(second, later(600), 60.0, GRACE) == []
    assert to_tell(second, later(600), 1.0, GRACE) == list(second)
    assert to_tell([replace(second[0], told=True)], later(600), 1.0, GRACE) == []


@pytest.mark.parametrize("state", [S.PROVISIONING, S.STARTING, S.READY, S.DRAINING])
def test_what_is_recorded_as_there_and_not_shown_is_absent(state: ReplicaState) -> None:
    """And nothing else is: neither what was never asked for, nor what has ended."""
    others = (a_replica("gc-2", state=S.PENDING), a_replica("gc-3", state=S.LOST))
    (absent,) = suspects_of(look(recorded=(a_replica("gc-1", state=state), *others)), NOW)

    assert (absent.name, absent.kind) == ("gc-1", SuspectKind.ABSENT)


def test_only_what_ended_and_was_cleaned_up_can_outlive_its_record() -> None:
    """What is still being ended is already looked after."""
    ended = a_replica("gc-1", state=S.TERMINATED, cleaned_up=True)

    assert look(SEEN, recorded=(ended,)).outlived == ["gc-1"]
    assert look(SEEN, recorded=(replace(ended, cleaned_up=False),)).outlived == []
    assert look(SEEN, recorded=(replace(ended, state=S.READY, cleaned_up=False),)).outlived == []


def test_what_shows_up_late_in_our_turn_and_was_never_intended_is_of_another_database() -> None:
    """Our mark, an intent that is not here, more than one listing, and an hour after our turn began; all four."""
    (first,) = suspects_of(look(SEEN), NOW)
    twin = replace(first, sightings=2)

    def found(suspect: Suspect, *, intents: tuple[str, ...] = (), hours: float = 2.0, rate: float = 1.0) -> bool:
        """Half an hour of grid time after it was first seen, ``hours`` after our turn began."""
        turn_for, now = timedelta(hours=hours), later(1800)
        return bool(twins_of([suspect], intents, uid="uid", turn_for=turn_for, now=now, rate=rate))

    assert found(twin)
    assert not found(twin, hours=1.25), "a launch that hangs can succeed so late"
    assert found(twin, hours=1.25, rate=60.0), "half a grid minute ago"
    assert not found(twin, intents=("i-1",))
    assert not found(first)
    for change in (
        {"deployment_uid": ""},
        {"deployment_uid": "other"},
        {"intent_id": ""},
        {"kind": SuspectKind.ABSENT},
    ):
        assert not found(replace(twin, **change))
