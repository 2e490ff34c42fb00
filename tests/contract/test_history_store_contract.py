"""What every store promises about decisions, energy, events and counters: in memory, SQLite, and a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.control.ports import Journal, Store
from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.energy import EnergySample, EnergySoFar
from orchestrator.domain.records import (
    EventKind,
)
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.time import Window, floor_day
from orchestrator.ledger.hourly import hourly
from orchestrator.store import mappers
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore
from tests.postgres import every_store, postgres_server, settled_journal  # noqa: F401  # fixtures
from tests.store_samples import (
    NOW,
    READINGS,
    SERVICE,
    a_decision,
    a_launch,
    a_sample,
    a_spec,
    an_operation,
    at_rest,
    later,
)

S = ReplicaState


def test_a_decision_comes_back_bit_for_bit(store: MemoryStore | SqlStore, journal: Journal) -> None:
    """Every number, unknown, verdict, term and reading of it, infinities and tiny numbers included."""
    decision = a_decision()

    journal.record_decision(decision, READINGS)

    found = store.decision("d-1")
    assert found == decision
    assert repr(found) == repr(decision)  # tells -0.0 from 0.0, and 1 from 1.0 or True
    assert tuple(store.signals_used("d-1")) == READINGS
    assert not store.signals_used("d-2")


def test_a_decision_is_kept_once(store: MemoryStore | SqlStore, journal: Journal) -> None:
    """The id decides: whoever repeats it changes neither the decision nor its signals."""
    journal.record_decision(a_decision(), READINGS)

    journal.record_decision(a_decision(summary="another"), ())

    assert list(store.decisions(SERVICE)) == [a_decision()]
    assert tuple(store.signals_used("d-1")) == READINGS


def test_decisions_are_listed_newest_first(store: Store, journal: Journal) -> None:
    """In the order in which they were made, whatever the replayed clock said; as many as asked for."""
    store.submit_deploy(a_spec("other"), an_operation("op-b", "other"))
    for number, seconds in enumerate([0, 20, 10]):
        journal.record_decision(a_decision(f"d-{number}", at=later(seconds), assessments=(), comparisons=()), ())
    journal.record_decision(a_decision("d-other", service="other"), ())

    assert [d.id for d in store.decisions(SERVICE)] == ["d-2", "d-1", "d-0"]
    assert [d.id for d in store.decisions(SERVICE, limit=2)] == ["d-2", "d-1"]
    assert not store.decisions(SERVICE, limit=0)


def test_decisions_of_a_kind_and_a_time_can_be_asked_for(store: Store, journal: Journal) -> None:
    """Newest first, as many as asked for of those that fit."""
    kinds = [DecisionKind.MOVE, DecisionKind.STAY, DecisionKind.MOVE, DecisionKind.MOVE]
    for number, kind in enumerate(kinds):
        made = a_decision(f"d-{number}", at=later(10 * number), kind=kind, assessments=(), comparisons=())
        journal.record_decision(made, ())

    def found(**asked: Any) -> list[str]:
        return [d.id for d in store.decisions(SERVICE, **asked)]

    assert found(kind=DecisionKind.MOVE) == ["d-3", "d-2", "d-0"]
    assert found(kind=DecisionKind.MOVE, limit=1) == ["d-3"]
    assert found(since=later(20)) == ["d-3", "d-2"]
    assert found(kind=DecisionKind.MOVE, since=later(1)) == ["d-3", "d-2"]
    assert found(kind=DecisionKind.PLACE) == []


def test_unknown_energy_stays_unknown(store: Store, journal: Journal) -> None:
    """No intensity is not zero grams, and zero dollars are not unknown."""
    journal.start_replica(*a_launch())
    unknown = a_sample(zone=None)
    known = a_sample(start=later(60), grams_per_kwh=0.0, grams=0.0, usd=None)

    journal.record_energy([unknown, known])

    assert list(store.energy(SERVICE)) == [unknown, known]
    assert [repr(s) for s in store.energy(SERVICE)] == [repr(unknown), repr(known)]


def test_a_stretch_of_energy_is_counted_once(store: Store, journal: Journal) -> None:
    """A sample written twice, after a crash or within one batch, is the first one."""
    journal.start_replica(*a_launch())
    journal.record_energy([a_sample()])

    journal.record_energy([a_sample(watts=1.0), a_sample(start=later(60)), a_sample(start=later(60), watts=2.0)])
    journal.record_energy([])

    assert list(store.energy(SERVICE)) == [a_sample(), a_sample(start=later(60))]


def test_energy_is_found_by_the_start_of_its_window(store: Store, journal: Journal) -> None:
    """Half-open, oldest first, then by name, of one service."""
    for name in ("b", "a", "B"):
        journal.start_replica(*a_launch(name))
    samples = [a_sample(name, later(60 * minute)) for minute in (2, 0, 1) for name in ("b", "a", "B")]
    journal.record_energy(samples)

    inside = store.energy(SERVICE, Window(later(60), later(120)))

    assert [(s.replica, s.window.start) for s in inside] == [(name, later(60)) for name in ("B", "a", "b")]
    assert [s.window.start for s in store.energy(SERVICE)] == sorted(s.window.start for s in samples)
    assert not store.energy("other")


def test_energy_of_one_replica_is_found_without_that_of_the_others(store: Store, journal: Journal) -> None:
    """In a window or from the beginning, samples and hours alike; of its own service alone."""
    store.submit_deploy(a_spec("other"), an_operation("op-b", "other"))
    for name in ("a", "b"):
        journal.start_replica(*a_launch(name))
    samples = {name: [a_sample(name, later(60 * m)) for m in (0, 58, 60, 119)] for name in ("a", "b")}
    journal.record_energy([*samples["a"], *samples["b"]])

    assert list(store.energy(SERVICE, replica="a")) == samples["a"]
    assert list(store.energy(SERVICE, Window(later(3480), later(7000)), replica="b")) == samples["b"][1:3]
    assert not store.energy("other", replica="a")
    assert not store.energy(SERVICE, replica="nobody")

    assert journal.compact_energy(later(7200))
    assert store.energy(SERVICE, replica="b") == [s for s in store.energy(SERVICE) if s.replica == "b"]


def test_written_tokens_are_added_up_where_they_are(store: Store, journal: Journal) -> None:
    """Of the samples that start in a window, half-open; hours count as their samples did, and nothing is zero."""
    for name in ("a", "b"):
        journal.start_replica(*a_launch(name))
    journal.record_energy([a_sample(n, later(60 * m), output_tokens=2**m) for m in range(3) for n in ("a", "b")])

    assert store.output_tokens(SERVICE, Window(later(60), later(120))) == 4
    assert store.output_tokens(SERVICE, Window(later(0), later(180))) == 14
    assert store.output_tokens(SERVICE, Window(later(180), later(240))) == 0
    assert store.output_tokens("other", Window(later(0), later(180))) == 0

    assert journal.compact_energy(later(7200))
    assert store.output_tokens(SERVICE, Window(later(0), later(180))) == 14


def test_how_far_a_replica_is_counted_takes_one_sample_to_say(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latest end, sums and the sample that starts last, of its own service alone; hours count as samples did."""
    store.submit_deploy(a_spec("other"), an_operation("op-b", "other"))
    for name in ("a", "b", "idle"):
        journal.start_replica(*a_launch(name))
    minutes = range(180)
    own = [a_sample("a", later(60 * m), prompt_tokens=3, output_tokens=m, mean_batch=m / 8) for m in minutes]
    longest = replace(own[170], window=Window(later(10200), later(11000)))
    own[170] = longest
    journal.record_energy([*reversed(own), a_sample("b", later(90_000))])
    made: list[EnergySample] = []
    read = mappers.energy_from

    def noted(row: mappers.Values) -> EnergySample:
        made.append(read(row))
        return made[-1]

    monkeypatch.setattr(mappers, "energy_from", noted)

    expected = EnergySoFar(longest.window.end, 3 * 180, sum(minutes), own[-1])
    assert store.energy_so_far(SERVICE, "a") == expected
    assert store.energy_so_far("other", "a") is None
    assert store.energy_so_far(SERVICE, "idle") is None
    assert len(made) <= 1

    assert journal.compact_energy(later(3600), 1)
    assert store.energy_so_far(SERVICE, "a") == expected


def test_energy_of_one_bad_sample_is_refused_as_a_whole(store: Store, journal: Journal) -> None:
    """All or none: a batch is one transaction."""
    journal.start_replica(*a_launch())

    with pytest.raises(ValueError, match="nobody"):
        journal.record_energy([a_sample(), a_sample("nobody")])

    assert not store.energy(SERVICE)


def test_old_energy_becomes_rows_of_an_hour(store: Store, journal: Journal) -> None:
    """Oldest first, whole clock hours alone; what touches is one row, a gap stays one, and nothing else changes."""
    for name in ("chat-1", "chat-2"):
        journal.start_replica(*a_launch(name))
    minutes = (0, 1, 3, 58, 59, 60, 119, 120)  # from noon and a fraction of a second on: 12:00, ..., 14:00
    samples = [a_sample(name, later(60 * m)) for m in minutes for name in ("chat-1", "chat-2")]
    journal.record_energy(samples)
    before = store.energy(SERVICE)

    steps = [journal.compact_energy(later(7200), 1) for _ in range(5)]
    after = [s for s in store.energy(SERVICE) if s.replica == "chat-1"]

    assert steps == [5, 5, 2, 2, 0]
    assert [(s.window.start, s.window.end) for s in after] == [
        (later(60 * a), later(60 * b)) for a, b in ((0, 2), (3, 4), (58, 60), (60, 61), (119, 120), (120, 121))
    ]
    assert hourly(store.energy(SERVICE)) == hourly(before)


def test_energy_that_stands_in_an_hour_is_not_counted_again(store: Store, journal: Journal) -> None:
    """A write that is repeated after the samples were merged changes nothing; what nobody wrote yet is taken."""
    journal.start_replica(*a_launch())
    samples = [a_sample(start=later(60 * m)) for m in range(3)]
    journal.record_energy(samples)
    assert journal.compact_energy(later(7200)) == len(samples)
    merged = list(store.energy(SERVICE))

    journal.record_energy(samples[1:])
    assert list(store.energy(SERVICE)) == merged
    assert store.check_journal().is_whole

    journal.record_energy([samples[2], a_sample(start=later(180))])
    assert list(store.energy(SERVICE)) == [*merged, a_sample(start=later(180))]


def test_old_decisions_that_changed_nothing_become_days(store: Store, journal: Journal) -> None:
    """The oldest day first, whole days alone; what is left says how many there were, which, and what the last said."""
    kinds = {30: DecisionKind.HOLD, 31: DecisionKind.HOLD}
    for n in range(60 + DECISIONS_LEFT):
        journal.record_decision(at_rest(n, kind=kinds.get(n, DecisionKind.STAY)), READINGS)

    steps = [journal.compact_decisions(later(3600 * 48)) for _ in range(3)]

    days = store.resting_days(SERVICE)
    assert NOW.hour == 12
    assert steps == [12, 24, 0]
    assert [(d.kind, len(d.ids), d.summary) for d in days] == [
        (DecisionKind.STAY, 12, "stay 11"),
        (DecisionKind.STAY, 22, "stay 35"),
        (DecisionKind.HOLD, 2, "stay 31"),
    ]
    assert [d.day for d in days] == [floor_day(NOW), *[floor_day(NOW) + timedelta(days=1)] * 2]
    assert (days[0].first_at, days[0].last_at, days[0].ids[:2]) == (NOW, later(11 * 3600), ("h-0", "h-1"))
    assert store.decision("h-0") is None
    assert not store.signals_used("h-0")
    assert len(store.decisions(SERVICE, limit=1000)) == 60 + DECISIONS_LEFT - 36
    assert not store.resting_days("other")
    assert store.check_journal().is_whole


def test_the_newest_decisions_are_left_and_their_day_is_added_to_later(store: Store, journal: Journal) -> None:
    """However old they are: a controller that starts reads them. A day of which a part was left grows later."""
    for n in range(DECISIONS_LEFT + 5):
        journal.record_decision(at_rest(n, at=later(n)), READINGS)
    much_later = later(86_400 * 30)

    assert [journal.compact_decisions(much_later) for _ in range(2)] == [5, 0]
    for n in range(100, 103):
        journal.record_decision(at_rest(n), READINGS)
    assert [journal.compact_decisions(much_later) for _ in range(2)] == [3, 0]

    (day,) = store.resting_days(SERVICE)
    assert day.ids == tuple(f"h-{n}" for n in range(8))
    assert (day.first_at, day.last_at, day.summary) == (NOW, later(7), "stay 7")
    assert len(store.decisions(SERVICE, limit=1000)) == DECISIONS_LEFT
    assert store.check_journal().is_whole


def test_decisions_that_acted_are_kept(store: Store, journal: Journal) -> None:
    """And those that a person made, and those that a launch follows from: they say why."""
    replica, intent, placement = a_launch()
    journal.start_replica(replica, intent, replace(placement, decision_id="h-2"))
    journal.record_decision(at_rest(0, kind=DecisionKind.MOVE), READINGS)
    journal.record_decision(at_rest(1, actor="ada"), READINGS)
    for n in range(2, 5 + DECISIONS_LEFT):
        journal.record_decision(at_rest(n, at=later(n)), READINGS)

    while journal.compact_decisions(later(86_400 * 30)):
        pass

    kept = {d.id for d in store.decisions(SERVICE, limit=1000)}
    assert {"h-0", "h-1", "h-2"} < kept
    assert not {"h-3", "h-4"} & kept
    assert list(store.signals_used("h-2")) == list(READINGS)


def test_events_are_read_on_from_where_one_was(store: Store, journal: Journal) -> None:
    """Ids grow with time; a reader that keeps the last one misses nothing and sees nothing twice."""
    for number in range(5):
        journal.record_event(
            EventKind.WARNING,
            f"event {number}",
            service=SERVICE if number % 2 == 0 else "",
            at=later(-number),
            wall_at=later(number),
            replica="chat-1",
            detail_json='{"n": 1}',
        )

    everything = store.events()

    assert [e.text for e in everything] == [f"event {n}" for n in range(5)]
    assert [e.id for e in everything] == sorted({e.id for e in everything})
    assert list(store.events(after_id=everything[1].id, limit=2)) == list(everything[2:4])
    assert [e.text for e in store.events(SERVICE)] == ["event 0", "event 2", "event 4"]
    assert not store.events(after_id=everything[-1].id)
    assert not store.events(limit=0)
    assert (store.last_event(SERVICE), store.last_event("nobody")) == (everything[4], None)
    last = everything[4]
    assert (last.kind, last.at, last.wall_at) == (EventKind.WARNING, later(-4), later(4))
    assert (last.service, last.replica, last.detail_json) == (SERVICE, "chat-1", '{"n": 1}')


def test_routing_versions_only_grow(store: Store, journal: Journal) -> None:
    """Over turns as well: a gateway never takes an old table for a new one."""
    versions = [journal.next_routing_version() for _ in range(3)]
    versions.append(store.claim("second", later(1)).next_routing_version())

    assert versions == sorted(set(versions))
    assert versions[0] > 0
