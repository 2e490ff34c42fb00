"""What failed lately is not tried again at once; what works again is trusted again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.capacity import LONGEST_PAUSE, MEMORY, avoidance_of, avoided
from tests.builders import MINUTE, NOON, candidate, replica

SE = candidate("aws/se", 30.0)
PL = candidate("aws/pl", 700.0)
OFFER = SE.offer.id


def failure(ago: timedelta, reason: str = "no_capacity: sold out", name: str = "") -> Replica:
    """Make a launch that failed that long ago."""
    unique = name or f"gc-failed-{ago.total_seconds():.6f}"
    return replica(SE, 0, ReplicaState.FAILED, up_for=ago, name=unique, reason=reason)


def pause(replicas: list[Replica], now: Instant = NOON, clock_rate: float = 1.0) -> timedelta | None:
    """Return how long the Swedish offer is avoided from now on, ``None`` when it is not."""
    found = avoidance_of(OFFER, avoided(replicas, now, clock_rate))
    return None if found is None else found.until - now


class TestBackOff:
    def test_one_failure_costs_two_minutes(self) -> None:
        """From the moment of the failure."""
        assert pause([failure(timedelta(0))]) == 2 * MINUTE
        assert pause([failure(90 * timedelta(seconds=1))]) == timedelta(seconds=30)
        assert pause([failure(2 * MINUTE)]) is None

    @pytest.mark.parametrize(("failures", "minutes"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 64)])
    def test_each_further_one_doubles_it(self, failures: int, minutes: int) -> None:
        """Two, four, eight: exponential, from the last of them."""
        row = [failure(n * timedelta(milliseconds=1)) for n in range(failures)]
        assert pause(row) == minutes * MINUTE

    @pytest.mark.parametrize("failures", [7, 20, 60, 400])
    def test_it_is_bounded(self, failures: int) -> None:
        """Two hours at most, however many replicas failed together."""
        assert pause([failure(n * timedelta(milliseconds=1)) for n in range(failures)]) == LONGEST_PAUSE

    def test_yesterday_is_forgotten(self) -> None:
        """Failures older than a day say nothing about today."""
        old = [failure(MEMORY + n * MINUTE) for n in range(1, 9)]
        assert pause([failure(timedelta(0)), *old]) == 2 * MINUTE

    def test_what_comes_later_is_not_known(self) -> None:
        """Looking back, neither a failure counts that was still to come, nor a start that worked only after that."""
        assert pause([failure(-MINUTE)]) is None
        later = replace(replica(SE, 1, ReplicaState.READY, up_for=timedelta(0)), ready_at=NOON + MINUTE)
        assert pause([failure(MINUTE), later]) == MINUTE

    def test_who_fails_later_had_worked_until_then(self) -> None:
        """A replica that served at the time wiped the slate, although it was taken away since."""
        market = Market.SPOT
        taken = replace(
            replica(SE, 1, ReplicaState.LOST, up_for=-HOUR),
            market=market,
            created_at=NOON - MINUTE,
            ready_at=NOON - 30 * timedelta(seconds=1),
        )
        assert pause([failure(90 * timedelta(seconds=1)), taken]) is None

    def test_another_offer_is_not_blamed(self) -> None:
        """A sold-out region says nothing about its neighbour."""
        assert set(avoided([failure(timedelta(0))], NOON, 1.0)) == {OFFER}

    def test_minutes_are_physical(self) -> None:
        """On a grid replayed 60 times faster, two minutes of outside work are two hours of grid time."""
        assert pause([failure(timedelta(0))], clock_rate=60.0) == 2 * HOUR


class TestSuccess:
    def test_a_start_that_worked_wipes_the_slate(self) -> None:
        """A replica that became ready after the last failure: no back-off at all."""
        good = replica(SE, 0, up_for=MINUTE, ready_at=NOON)
        assert pause([*(failure(n * MINUTE) for n in range(1, 6)), good]) is None

    def test_only_failures_after_it_count(self) -> None:
        """The next failure starts again at two minutes."""
        good = replica(SE, 0, up_for=30 * MINUTE)
        assert pause([*(failure(n * MINUTE) for n in range(40, 50)), good, failure(timedelta(0))]) == 2 * MINUTE

    def test_a_success_elsewhere_does_not_help(self) -> None:
        """Each offer has its own slate."""
        assert pause([failure(timedelta(0)), replica(PL, 0, up_for=timedelta(0))]) == 2 * MINUTE


class TestWhatCounts:
    def test_an_aborted_replacement_is_a_failure_although_it_was_ready(self) -> None:
        """It served errors: going there again at once would repeat them."""
        aborted = replica(
            SE,
            0,
            ReplicaState.TERMINATED,
            up_for=MINUTE,
            ready_at=NOON - MINUTE,
            reason="aborted: 3 of 9 requests failed",
        )
        assert pause([aborted]) == MINUTE

    def test_one_that_vanished_before_it_was_ready_is_a_failure(self) -> None:
        """Taken away while it started: buying the same again every few seconds would never end."""
        assert pause([replica(SE, 0, ReplicaState.LOST, up_for=timedelta(0))]) == 2 * MINUTE

    def test_one_that_was_lost_after_it_served_is_none(self) -> None:
        """The place works; the replacement may stand there again."""
        assert pause([replica(SE, 0, ReplicaState.LOST, up_for=timedelta(0), ready_at=NOON - HOUR)]) is None

    @pytest.mark.parametrize("state", [s for s in ReplicaState if s not in {ReplicaState.FAILED, ReplicaState.LOST}])
    def test_nothing_else_does(self, state: ReplicaState) -> None:
        """Starting, serving, draining or retired on purpose."""
        assert pause([replica(SE, 0, state, up_for=timedelta(0))]) is None


class TestReason:
    def test_it_is_the_last_failures_first_line(self) -> None:
        """Short enough for a table, with how often it happened."""
        row = [
            failure(MINUTE, "no_capacity: none"),
            failure(timedelta(0), "engine_died: boom\ntraceback\n" + "x" * 999),
        ]
        assert avoided(row, NOON, 1.0)[OFFER].reason == "failed 2x: engine_died: boom"

    def test_without_one_it_still_says_something(self) -> None:
        """An empty reason becomes words."""
        assert avoided([failure(timedelta(0), "")], NOON, 1.0)[OFFER].reason == "failed 1x: a launch failed"

    def test_it_does_not_depend_on_the_order_of_the_records(self) -> None:
        """Two failures of the same instant: the same one is named every time."""
        twins = [failure(timedelta(0), f"no_capacity: {n}", name=f"gc-{n}") for n in range(2)]
        assert avoided(twins, NOON, 1.0) == avoided(twins[::-1], NOON, 1.0)


class TestWhatAFailureTeaches:
    @pytest.mark.parametrize(
        ("reason", "minutes"),
        [
            ("no_capacity: sold out", 2),
            ("quota_exceeded: 0 of 8 vCPUs", 30),
            ("unsupported_by_provider: no such machine", 6 * 60),
            ("price_moved: 3 USD now", 0.5),
            ("launch_timed_out: not ready", 2),
            ("provider_unavailable: nobody answered", None),
            ("engine_died: boom", 2),
        ],
    )
    def test_each_kind_has_its_own_pause(self, reason: str, minutes: float | None) -> None:
        """A quota takes longer than a stock-out; a price that moved is known by now, and nobody away is no news."""
        expected = None if minutes is None else minutes * MINUTE
        assert pause([failure(timedelta(0), reason)]) == expected

    def test_missing_credentials_speak_for_the_whole_provider(self) -> None:
        """No region of a cloud that does not let us in is tried."""
        known = avoided([failure(timedelta(0), "credentials_missing: no keys")], NOON, 1.0)
        assert set(known) == {"aws/*"}
        assert avoidance_of(PL.offer.id, known) == known["aws/*"]
        assert avoidance_of("gcp/fi:1xL4:on_demand", known) is None

    def test_a_stock_out_counts_for_every_service(self) -> None:
        """A region that is full is full for all; an engine that died died of itself."""
        sold_out, died = failure(timedelta(0)), failure(timedelta(0), "engine_died: boom")
        assert OFFER in avoided([sold_out], NOON, 1.0, "another workload")
        assert avoided([died], NOON, 1.0, "another workload") == {}
        assert OFFER in avoided([died], NOON, 1.0, died.workload_digest)

    def test_a_preemption_is_remembered_and_fades(self) -> None:
        """A spot replica that was taken away after it had served: the next one tries elsewhere for five minutes."""
        lost = replica(SE, 0, ReplicaState.LOST, up_for=timedelta(0), name="gc-taken")
        taken = replace(lost, market=Market.SPOT, ready_at=lost.created_at)
        assert pause([taken]) == 5 * MINUTE
        assert pause([replace(taken, state_since=NOON - 5 * MINUTE)]) is None
        assert pause([replace(taken, market=Market.ON_DEMAND)]) is None

    def test_a_quota_speaks_for_every_size_of_the_accelerator_on_its_market(self) -> None:
        """Two L4 count against the same quota as one; on spot, or of another kind, they have a quota of their own."""
        known = avoided([failure(timedelta(0), "quota_exceeded: 0 of 8")], NOON, 1.0)
        assert avoidance_of("aws/se:8xL4:on_demand", known) == avoidance_of(OFFER, known)
        assert avoidance_of(OFFER, known) is not None
        for other in ("aws/se:1xL4:spot", "aws/se:1xL40S:on_demand", "aws/no:1xL4:on_demand"):
            assert avoidance_of(other, known) is None

    def test_machines_without_accelerators_speak_for_themselves(self) -> None:
        """Their names have no size to leave out."""
        plain = replace(failure(timedelta(0), "quota_exceeded: 0"), offer_id="local/se:2vCPU-4GB:on_demand")
        assert set(avoided([plain], NOON, 1.0)) == {"local/se:2vCPU-4GB:on_demand"}

    def test_of_several_reasons_the_longest_pause_counts(self) -> None:
        """A stock-out for two minutes and a quota for thirty: nobody asks in three."""
        both = [failure(timedelta(0)), failure(timedelta(seconds=1), "quota_exceeded: none left")]
        assert pause(both) == 30 * MINUTE - timedelta(seconds=1)

    def test_another_workloads_success_is_no_alibi_for_an_engine_that_dies(self) -> None:
        """It proves that there is room, not that this engine starts there."""
        died = failure(MINUTE, "engine_died: boom")
        full = failure(MINUTE, name="gc-full")
        theirs = replica(SE, 1, up_for=timedelta(0), workload_digest="theirs")
        ours = replica(SE, 1, up_for=timedelta(0))
        digest = died.workload_digest
        assert avoided([full, theirs], NOON, 1.0, digest) == {}
        assert OFFER in avoided([died, theirs], NOON, 1.0, digest)
        assert avoided([died, ours], NOON, 1.0, digest) == {}


class TestEvents:
    """What happens together is one thing that happened; what happened long ago counts less."""

    @pytest.mark.parametrize(("hours", "minutes"), [(6, 2 * 2**0.5), (12, 2 * 2**0.25), (18, 2 * 2**0.125)])
    def test_a_failure_counts_half_after_its_half_life(self, hours: int, minutes: float) -> None:
        """One now and one six hours ago are one and a half: the pause is the one between."""
        found = pause([failure(timedelta(0)), failure(hours * HOUR)])
        assert found is not None
        assert found.total_seconds() == pytest.approx(minutes * 60, abs=0.5)

    def test_many_starts_that_meet_one_full_region_are_one_failure(self) -> None:
        """They were all under way when the first one failed: the region was full once."""
        met = [replace(failure(timedelta(seconds=n), name=f"gc-{n}"), created_at=NOON - 10 * MINUTE) for n in range(8)]
        assert pause(met) == 2 * MINUTE

    def test_a_wave_of_preemptions_is_one(self) -> None:
        """Eight replicas of one market within three minutes, and one an hour later that is another."""
        wave = [taken(n * timedelta(seconds=20), f"gc-{n}") for n in range(8)]
        assert pause(wave) == 5 * MINUTE
        later = [*(replace(r, state_since=r.state_since - HOUR) for r in wave), taken(timedelta(0), "gc-later")]
        found = pause(later)
        assert found is not None
        assert 5 * MINUTE < found < 10 * MINUTE

    def test_one_that_ran_for_days_is_remembered_from_its_end(self) -> None:
        """What counts is when it was taken, not when it was bought."""
        old = replace(taken(timedelta(0), "gc-old"), created_at=NOON - 99 * HOUR, ready_at=NOON - 99 * HOUR)
        assert pause([old]) == 5 * MINUTE

    def test_a_place_that_is_taken_again_and_again_is_left_for_longer(self) -> None:
        """Up to an hour, however often; a spot market that swings every ten minutes is not followed."""
        swings = [
            replace(taken(n * 10 * MINUTE, f"gc-{n}"), created_at=NOON - (n * 10 + 4) * MINUTE) for n in range(30)
        ]
        assert pause(swings) == HOUR
        assert pause(swings[:1]) == 5 * MINUTE


def taken(ago: timedelta, name: str) -> Replica:
    """Make a spot replica of the Swedish offer's place that served for a day and was taken away that long ago."""
    lost = replica(SE, 0, ReplicaState.LOST, name=name, ready_at=NOON - 23 * HOUR, market=Market.SPOT)
    return replace(lost, state_since=NOON - ago)
