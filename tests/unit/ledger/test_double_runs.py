"""Which part of the ledger moves took, and what of it a rival is charged for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.energy import EnergySample
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.ledger.double_runs import DoubleRuns, double_runs, extra_in, without
from orchestrator.ledger.hourly import hourly
from orchestrator.ledger.report import Alternative, Place, Report, report
from orchestrator.ledger.sampling import Load, samples_for
from tests.builders import L4, MINUTE, NOON, candidate, intensity, replica

SE, DE = candidate("aws/se", 30.0, usd=1.0), candidate("aws/de", 300.0, usd=2.0)
NOW = NOON + 12 * HOUR
IDLE = {"old": L4.idle_watts, "new": L4.idle_watts}
BUSY, STARTING = Load(4.0, 0, 0), Load(0.0, 0, 0)


def at(minutes: float) -> Instant:
    """So many minutes after noon."""
    return NOON + minutes * MINUTE


def between(start: float, end: float) -> Window:
    """From so many minutes after noon to so many."""
    return Window(at(start), at(end))


def one(name: str, start: float, *, ready: float | None = None, gone: float | None = None, **changes: Any) -> Replica:
    """Make a replica by its life, in minutes after noon."""
    made = replica(SE if name == "old" else DE, name=name, created_at=at(start), state_since=at(start))
    ended = {} if gone is None else {"state": ReplicaState.TERMINATED, "ended_at": at(gone), "cleaned_up": True}
    return replace(made, ready_at=None if ready is None else at(ready), **(ended | changes))


def runs(*replicas: Replica, needed: bool = False, idle: dict[str, float] | None = None) -> DoubleRuns:
    """Find who ran for a move alone."""
    return double_runs(replicas, lambda _old, _new: needed, IDLE if idle is None else idle, NOW)


class TestWhen:
    def test_a_move(self) -> None:
        """The new one until it is ready, then the old one until it is gone."""
        found = runs(one("old", 0, ready=5, gone=75), one("new", 60, ready=70, replaces="old"))
        assert found.windows == {"new": (between(60, 70),), "old": (between(70, 75),)}
        assert found.moves == (between(60, 75),)

    def test_a_move_under_way(self) -> None:
        """What is there still is there until now."""
        found = runs(one("old", 0, ready=5), one("new", 60, replaces="old"))
        assert found.windows == {"new": (Window(at(60), NOW),)}

    def test_an_aborted_canary(self) -> None:
        """Whoever went first was there for nothing, ready or not."""
        found = runs(one("old", 0, ready=5), one("new", 60, ready=70, gone=80, replaces="old"))
        assert found.windows == {"new": (between(60, 80),)}

    def test_one_that_never_served(self) -> None:
        """It failed, and its machine was there until it was cleaned up."""
        failed = one("new", 60, gone=90, state=ReplicaState.FAILED, replaces="old")
        assert runs(one("old", 0, ready=5), failed).windows == {"new": (between(60, 90),)}

    def test_a_loss_in_the_middle(self) -> None:
        """From then on the new one stands in for what was lost, as it would have anywhere."""
        lost = one("old", 0, ready=5, gone=66, state=ReplicaState.LOST, state_since=at(64))
        found = runs(lost, one("new", 60, ready=70, replaces="old"))
        assert found.windows == {"new": (between(60, 64),)}

    def test_two_tries_are_counted_once(self) -> None:
        """The first is given up; the second takes over. Nothing of the old one is counted twice."""
        old, first = one("old", 0, ready=5, gone=95), one("first", 10, ready=20, gone=30, replaces="old")
        second = one("second", 80, ready=90, replaces="old")
        assert runs(old, first, second).windows == {
            "first": (between(10, 30),),
            "second": (between(80, 90),),
            "old": (between(90, 95),),
        }

    def test_what_is_no_move(self) -> None:
        """The first launch, one more, one in place of what was lost, and whatever a new workload takes."""
        lost = one("old", 0, ready=5, gone=66, state=ReplicaState.LOST, state_since=at(60))
        assert runs(lost, one("new", 61, ready=70), one("more", 65, ready=75)).windows == {}
        rolled = one("old", 0, ready=5, gone=75), one("new", 60, ready=70, replaces="old")
        assert runs(*rolled, needed=True).windows == {}

    def test_what_was_gone_before(self) -> None:
        """A replacement that was asked for as the old one went runs alone."""
        assert runs(one("old", 0, ready=5, gone=60), one("new", 60, ready=70, replaces="old")).moves == ()


def sampled(name: str, window: Window, load: Load) -> tuple[EnergySample, ...]:
    """Sample a replica; the old one in Sweden, the new one in Germany."""
    on = SE if name == "old" else DE
    grams = 30.0 if name == "old" else 300.0
    return samples_for(
        replica(on, name=name), window, load, L4, 1.1, lambda zone, w: intensity(zone, grams, w.start), 1.0
    )


A_MOVE = (one("old", 0, ready=5, gone=30), one("new", 10, ready=20, replaces="old"))
LEDGER = (
    *sampled("old", between(0, 20), BUSY),
    *sampled("new", between(10, 20), STARTING),
    *sampled("old", between(20, 25), BUSY),
    *sampled("old", between(25, 30), STARTING),
    *sampled("new", between(20, 60), BUSY),
)
"""A move at noon: the old one answers to the 25th minute, the new one from the 20th on."""

DRAWN = L4.idle_watts * 20 * 60.0
"""Joules of one idle replica while both run."""


def totals(samples: tuple[EnergySample, ...], found: DoubleRuns) -> Report:
    """Report on samples beside a rival in Sweden that pays as the old replica did."""
    stays = Alternative("home", "aws/se", "", lambda _window: (Place("aws/se", "SE", 1.1, 1.0),))
    return report("chat", between(0, 60), samples, [stays], lambda _zone, _window: 30.0, runs=found)


class TestHowMuch:
    @pytest.mark.parametrize("merge", [False, True])
    def test_a_rival_serves_the_traffic_with_one_replica(self, merge: bool) -> None:
        """Of the double run an idle replica is left out, in hours as in minutes: what was answered stays."""
        samples = hourly(LEDGER) if merge else LEDGER
        found = totals(samples, runs(*A_MOVE))
        (home,) = found.rivals
        joules = sum(s.it_joules for s in samples) - DRAWN

        assert home.grams == pytest.approx(joules * 1.1 / 3.6e6 * 30.0)
        assert home.usd == pytest.approx(1.0)
        assert found.moves is not None
        assert (found.moves.count, found.moves.engine_seconds) == (1, pytest.approx(1200.0))
        assert found.moves.joules == pytest.approx(DRAWN * 1.1)
        assert found.moves.grams == pytest.approx(DRAWN / 2 * 1.1 / 3.6e6 * (300.0 + 30.0))
        assert found.moves.usd == pytest.approx(10 / 60 * (1.0 + 2.0))

    def test_the_totals_keep_it(self) -> None:
        """It was drawn, emitted and paid for."""
        with_moves, without_them = totals(LEDGER, runs(*A_MOVE)), totals(LEDGER, runs())
        assert (with_moves.joules, with_moves.grams) == (without_them.joules, without_them.grams)
        assert (with_moves.usd, without_them.moves) == (without_them.usd, None)

    def test_where_idle_power_is_unknown_the_mean_counts(self) -> None:
        """Of a shape that is sold no longer only the ledger tells."""
        (row,) = hourly(sampled("new", between(0, 60), BUSY))
        extra = extra_in(row, DoubleRuns({"new": (between(0, 15),)}, {}))

        assert extra is not None
        assert extra.it_joules == pytest.approx(row.it_joules / 4)

    def test_nothing_is_left_of_a_start(self) -> None:
        """So nobody asks what a rival's grid was then, where only that was drawn."""
        (row,) = hourly(sampled("new", between(10, 20), STARTING))
        found = runs(*A_MOVE)
        assert without(row, extra_in(row, found)) is None

    def test_what_lies_outside_is_left_alone(self) -> None:
        """Samples before, after, and of others."""
        found = runs(*A_MOVE)
        for sample in (*sampled("old", between(0, 20), BUSY), *sampled("new", between(20, 60), BUSY)):
            assert extra_in(sample, found) is None
        (other,) = hourly(sampled("other", between(10, 20), BUSY))
        assert without(other, extra_in(other, found)) is other
        assert timedelta(0) < other.window.length
