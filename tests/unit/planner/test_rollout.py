"""The next safe step of every replica: make before break, and back one step when something fails."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from orchestrator.domain.counters import FIRST_TOKEN_CLASSES, UpstreamStatus, first_token_class
from orchestrator.domain.replica import ENDED, NEXT_STATES, Replica, ReplicaState
from orchestrator.domain.service import MigrationRules, ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.planner.rollout import Observation, RolloutView, Step, StepKind, next_steps, weight_of
from tests.builders import MINUTE, NOON, SECOND, candidate, replica, service_spec

PL = candidate("aws/pl", 700.0)
SE = candidate("aws/se", 30.0)
HERE = "http://127.0.0.1:9000"
WELL = Observation(exists=True, endpoint=HERE, serves=True, routed_away=False, in_flight=0)
AWAY = Observation(exists=True, endpoint=HERE, routed_away=True, in_flight=0, engine_busy=0)
GONE = Observation(exists=False)
UNKNOWN = Observation(exists=None)


def steps(
    replicas: list[Replica],
    seen: Mapping[str, Observation],
    now: Instant = NOON,
    spec: ServiceSpec | None = None,
    traffic: Mapping[str, UpstreamStatus] | None = None,
    clock_rate: float = 1.0,
) -> list[Step]:
    """Ask for the next steps."""
    view = RolloutView(spec or service_spec(), tuple(replicas), seen, traffic or {}, clock_rate)
    return list(next_steps(view, now))


def step(one: Replica, seen: Observation, now: Instant = NOON, clock_rate: float = 1.0) -> Step | None:
    """Ask for the next step of a replica that is alone."""
    found = steps([one], {one.name: seen}, now, clock_rate=clock_rate)
    assert len(found) <= 1
    return found[0] if found else None


def kind(one: Replica, seen: Observation, now: Instant = NOON) -> StepKind | None:
    """Name the next step of a replica that is alone."""
    found = step(one, seen, now)
    return None if found is None else found.kind


def starting(state: ReplicaState, ago: timedelta = MINUTE) -> Replica:
    """Make a replica on its way up."""
    return replica(SE, 0, state, up_for=ago)


class TestComingUp:
    def test_a_pending_one_is_asked_for(self) -> None:
        """Whatever is seen under its name: the provider call is idempotent."""
        for seen in (UNKNOWN, GONE, WELL):
            assert kind(starting(ReplicaState.PENDING), seen) is StepKind.ISSUE

    def test_one_that_never_showed_up_is_asked_for_again_under_its_name(self) -> None:
        """Our call may have been interrupted; the same name cannot buy twice."""
        assert kind(starting(ReplicaState.PROVISIONING), GONE) is StepKind.ISSUE

    def test_asking_again_has_an_end(self) -> None:
        """A launch that leaves no trace until the startup deadline has failed: nothing is pending for ever."""
        assert kind(starting(ReplicaState.PROVISIONING, 20 * MINUTE), GONE) is StepKind.ISSUE
        late = step(starting(ReplicaState.PROVISIONING, 20 * MINUTE + SECOND), GONE)
        assert late is not None
        assert late.kind is StepKind.FAIL
        assert late.reason == "launch_timed_out: not ready within 1200 s"

    def test_one_that_is_seen_is_starting(self) -> None:
        """The provider shows it: what vanishes from now on is lost, not forgotten."""
        assert kind(starting(ReplicaState.PROVISIONING), Observation(exists=True)) is StepKind.SEEN
        assert kind(starting(ReplicaState.STARTING), GONE) is StepKind.LOST

    @pytest.mark.parametrize(
        "seen",
        [
            Observation(exists=True, endpoint=HERE),
            Observation(exists=True, endpoint=HERE, serves=False),
            Observation(exists=True, serves=True),
            UNKNOWN,
        ],
        ids=["healthy", "health-but-no-completion", "no-endpoint", "unknown"],
    )
    def test_only_a_real_completion_makes_it_ready(self, seen: Observation) -> None:
        """A health route that answers proves nothing."""
        assert kind(starting(ReplicaState.STARTING), seen) is None
        assert kind(starting(ReplicaState.STARTING), WELL) is StepKind.READY

    def test_it_never_skips_a_state(self) -> None:
        """Even when it serves at the first look, it is seen first and ready at the next look."""
        assert kind(starting(ReplicaState.PROVISIONING), WELL) is StepKind.SEEN

    @pytest.mark.parametrize("state", [ReplicaState.PROVISIONING, ReplicaState.STARTING])
    def test_an_engine_that_died_has_failed_with_its_last_words(self, state: ReplicaState) -> None:
        """The provider's words are the reason."""
        found = step(starting(state), Observation(exists=True, failed=True, exit_detail="CUDA out of memory"))
        assert found is not None
        assert (found.kind, found.reason) == (StepKind.FAIL, "engine_died: CUDA out of memory")

    @pytest.mark.parametrize("state", [ReplicaState.PROVISIONING, ReplicaState.STARTING, ReplicaState.READY])
    def test_one_that_runs_elsewhere_is_none(self, state: ReplicaState) -> None:
        """Neither its laws nor its grid are those that were planned for, whatever else is seen of it."""
        found = step(starting(state), Observation(exists=True, elsewhere="sky/us"))
        assert found is not None
        assert found.kind is (StepKind.LOST if state is ReplicaState.READY else StepKind.FAIL)
        assert found.reason.startswith("wrong_region: it runs in sky/us, and was asked for in ")

    @pytest.mark.parametrize("seen", [UNKNOWN, Observation(exists=True)], ids=["unknown", "there"])
    @pytest.mark.parametrize("state", [ReplicaState.PROVISIONING, ReplicaState.STARTING])
    def test_one_that_takes_too_long_has_failed(self, state: ReplicaState, seen: Observation) -> None:
        """From the request on, in physical time, and only past the limit."""
        assert kind(starting(state, 20 * MINUTE), seen) is not StepKind.FAIL
        assert kind(starting(state, 20 * MINUTE + SECOND), seen) is StepKind.FAIL

    def test_one_that_serves_is_never_too_late(self) -> None:
        """A controller that was away for an hour finds it ready: it is taken, not thrown away."""
        assert kind(starting(ReplicaState.STARTING, 60 * MINUTE), WELL) is StepKind.READY
        assert kind(starting(ReplicaState.PROVISIONING, 60 * MINUTE), WELL) is StepKind.SEEN

    def test_the_deadline_counts_from_what_was_done_not_from_what_was_written(self) -> None:
        """Asked for a minute ago, although the wish is an hour old: it has its time."""
        asked_late = replace(starting(ReplicaState.PROVISIONING, 60 * MINUTE), state_since=NOON - MINUTE)
        assert kind(asked_late, Observation(exists=True)) is StepKind.SEEN
        assert kind(replace(asked_late, state=ReplicaState.STARTING), Observation(exists=True)) is None

    def test_the_deadline_is_physical(self) -> None:
        """On a grid replayed 60 times faster, twenty minutes are twenty hours of grid time."""
        one = starting(ReplicaState.STARTING, 19 * 60 * MINUTE)
        assert step(one, Observation(exists=True), clock_rate=60.0) is None


class TestServing:
    def test_a_first_replica_gets_all_the_weight_at_once(self) -> None:
        """There is nobody to shift it from."""
        fresh = replica(SE, 0, weight_percent=0)
        found = step(fresh, WELL)
        assert found is not None
        assert (found.kind, found.weight_percent) == (StepKind.WEIGHT, 100)
        assert step(replica(SE, 0), WELL) is None

    @pytest.mark.parametrize("seen", [GONE, Observation(exists=True, failed=True)], ids=["gone", "failed"])
    def test_one_whose_process_is_gone_is_lost(self, seen: Observation) -> None:
        """At once: nothing of it can serve."""
        assert kind(replica(SE, 0), seen) is StepKind.LOST

    @pytest.mark.parametrize(("times", "lost"), [(0, False), (2, False), (3, True), (9, True)])
    def test_one_that_stays_unhealthy_is_lost(self, times: int, lost: bool) -> None:
        """Three times in a row: one slow answer is no death."""
        seen = Observation(exists=True, endpoint=HERE, unhealthy_times=times)
        assert (kind(replica(SE, 0), seen) is StepKind.LOST) is lost

    @pytest.mark.parametrize(("rounds", "lost"), [(2, False), (3, True)])
    def test_one_that_fails_its_clients_is_lost_however_much_silence_is_borne(self, rounds: int, lost: bool) -> None:
        """Three rounds: one request that breaks an engine's answer is no death. The reason names them."""
        seen = Observation(exists=True, endpoint=HERE, unhealthy_times=1, failed_rounds=rounds)
        found = step(replica(SE, 0), seen)
        assert (found is not None) is lost
        assert found is None or "failed clients at 3 looks" in found.reason

    def test_a_provider_that_does_not_answer_changes_nothing(self) -> None:
        """No news is no news: a listing that failed proves nothing about the replica."""
        assert step(replica(SE, 0), UNKNOWN) is None
        assert steps([replica(SE, 0)], {}) == []


class TestShifting:
    """A replacement takes the traffic over in steps, each held for a while."""

    OLD = replica(PL, 0, name="old")

    def fresh(self, weight: int, ago: timedelta = MINUTE) -> Replica:
        """Make a ready replacement with so much weight since then."""
        return replica(SE, 0, name="new", replaces="old", weight_percent=weight, up_for=ago)

    def next(
        self, fresh: Replica, seen: Observation = WELL, traffic: UpstreamStatus | None = None
    ) -> list[tuple[StepKind, str, int]]:
        """Ask for the next steps of both; the gateway knows of the new one's weight since it has it."""
        counted = {} if traffic is None else {"new": traffic}
        told = replace(seen, told_weight=fresh.weight_percent, told_for=NOON - (fresh.weight_since or NOON))
        found = steps([self.OLD, fresh], {"old": WELL, "new": told}, traffic=counted)
        return [(s.kind, s.replica, s.weight_percent) for s in found]

    def test_the_steps_are_those_of_the_spec(self) -> None:
        """10, 50, 100 percent, then the old one drains."""
        assert self.next(self.fresh(0)) == [(StepKind.WEIGHT, "new", 10)]
        assert self.next(self.fresh(10)) == [(StepKind.WEIGHT, "new", 50)]
        assert self.next(self.fresh(50)) == [(StepKind.WEIGHT, "new", 100)]
        assert self.next(self.fresh(100)) == [(StepKind.DRAIN, "old", 0)]

    def test_each_step_is_held(self) -> None:
        """Five seconds by default: time for errors to show, also at the last step."""
        assert self.next(self.fresh(10, 4 * SECOND)) == []
        assert self.next(self.fresh(100, 4 * SECOND)) == []
        assert self.next(self.fresh(10, 5 * SECOND)) == [(StepKind.WEIGHT, "new", 50)]

    @pytest.mark.parametrize("weight", [0, 10, 50, 100])
    @pytest.mark.parametrize("told", [None, 5, 99], ids=["silent", "behind", "ahead"])
    def test_no_step_before_the_gateway_has_confirmed_the_one_before(self, weight: int, told: int | None) -> None:
        """A gateway that was not told cannot have tried the new one, and must not be left without the old one."""
        seen = replace(WELL, told_weight=told, told_for=MINUTE)
        assert steps([self.OLD, self.fresh(weight)], {"old": WELL, "new": seen}) == []

    def test_a_step_is_held_from_the_moment_at_which_the_gateway_knew(self) -> None:
        """Time in which nobody could be told is no trial."""
        seen = replace(WELL, told_weight=10, told_for=4 * SECOND)
        assert steps([self.OLD, self.fresh(10, 60 * MINUTE)], {"old": WELL, "new": seen}) == []

    def test_what_is_seen_of_the_old_one_counts_more_than_what_is_planned_for_it(self) -> None:
        """It dies in the very look in which it was to be drained: it is lost, and the look goes on."""
        seen = replace(WELL, told_weight=100, told_for=MINUTE)
        found = steps([self.OLD, self.fresh(100)], {"old": GONE, "new": seen})
        assert [(s.kind, s.replica) for s in found] == [(StepKind.LOST, "old")]

    def test_the_old_one_never_leaves_before_all_the_weight_has_moved(self) -> None:
        """At no weight below 100 is it drained."""
        for weight in range(100):
            assert (StepKind.DRAIN, "old", 0) not in self.next(self.fresh(weight))

    @pytest.mark.parametrize("weight", [0, 10, 50, 100])
    @pytest.mark.parametrize(
        "seen",
        [UNKNOWN, Observation(exists=True, endpoint=HERE, unhealthy_times=1)],
        ids=["no-news", "one-failed-health-check"],
    )
    def test_no_step_forward_on_no_or_bad_news(self, weight: int, seen: Observation) -> None:
        """More traffic, or the end of the old one, only with the new one seen alive and healthy."""
        assert self.next(self.fresh(weight), seen) == []

    @pytest.mark.parametrize(
        "trouble",
        [
            UpstreamStatus("new", failed=1),
            UpstreamStatus("new", ok=98, failed=1),
            UpstreamStatus("new", ok=50, truncated=1),
            UpstreamStatus("new", ok=50, resumed=1),
        ],
        ids=["only-errors", "just-too-many", "truncated", "resumed"],
    )
    @pytest.mark.parametrize("weight", [10, 50, 100])
    def test_errors_send_it_back(self, weight: int, trouble: UpstreamStatus) -> None:
        """More than one percent of what it answered: the replacement drains, the old one stays."""
        assert self.next(self.fresh(weight), traffic=trouble) == [(StepKind.DRAIN, "new", 0)]

    SLOW = MigrationRules(abort_ttft_p95=timedelta(milliseconds=1200))

    @pytest.mark.parametrize("weight", [10, 50, 100])
    def test_first_tokens_that_come_late_send_it_back(self, weight: int) -> None:
        """More than a twentieth of the streams, by the gateway's own count; where nothing was asked, nothing."""
        late = UpstreamStatus("new", ok=40, first_tokens=_first_tokens(fast=37, slow=3))
        (found,) = self._steps(self.fresh(weight), late)
        assert (found.kind, found.replica) == (StepKind.DRAIN, "new")
        assert found.reason == "aborted: 3 of 40 first tokens on it came later than 1200 ms"
        assert self.next(self.fresh(10), traffic=late) == [(StepKind.WEIGHT, "new", 50)]
        in_time = UpstreamStatus("new", ok=40, first_tokens=_first_tokens(fast=38, slow=2))
        assert all(s.replica != "new" or s.kind is StepKind.WEIGHT for s in self._steps(self.fresh(weight), in_time))

    @pytest.mark.parametrize("known", [UpstreamStatus("new"), UpstreamStatus("new", ok=500), None])
    def test_what_is_not_known_gives_no_move_up_and_is_said(self, known: UpstreamStatus | None) -> None:
        """A gateway of before, answers that were no streams, or none yet: errors alone decide."""
        (on,) = self._steps(self.fresh(10), known)
        assert (on.kind, on.weight_percent) == (StepKind.WEIGHT, 50)
        assert on.reason == "abort_if.ttft_p95 was not judged: 0 of the 20 streams that it takes"
        (end,) = self._steps(self.fresh(100), known)
        assert end.reason == f"replaced by new; {on.reason}"

    def test_few_streams_judge_nothing(self) -> None:
        """Nineteen late ones are nineteen, and the twentieth judges."""
        few = UpstreamStatus("new", ok=19, first_tokens=_first_tokens(slow=19))
        assert [s.kind for s in self._steps(self.fresh(10), few)] == [StepKind.WEIGHT]
        enough = UpstreamStatus("new", ok=20, first_tokens=_first_tokens(slow=20))
        assert [s.kind for s in self._steps(self.fresh(10), enough)] == [StepKind.DRAIN]

    def _steps(self, new: Replica, traffic: UpstreamStatus | None) -> list[Step]:
        return list(
            next_steps(
                RolloutView(
                    service_spec(migration=self.SLOW),
                    (self.OLD, new),
                    {"new": replace(WELL, told_weight=new.weight_percent, told_for=timedelta(hours=1)), "old": WELL},
                    {} if traffic is None else {"new": traffic},
                    1.0,
                ),
                NOON,
            )
        )

    @pytest.mark.parametrize(
        "fine",
        [
            UpstreamStatus("new", ok=99, failed=1),
            UpstreamStatus("new", ok=5, cancelled=40, in_flight=9),
            UpstreamStatus("new"),
        ],
        ids=["just-few-enough", "clients-left", "no-traffic"],
    )
    def test_a_client_that_left_is_no_error(self, fine: UpstreamStatus) -> None:
        """One percent is tolerated, cancellations are not counted."""
        assert self.next(self.fresh(10), traffic=fine) == [(StepKind.WEIGHT, "new", 50)]

    def test_a_replacement_that_dies_is_lost_and_the_old_one_stays(self) -> None:
        """Back one step: nothing happens to the old one."""
        assert self.next(self.fresh(50), GONE) == [(StepKind.LOST, "new", 0)]

    def test_when_the_old_one_is_gone_the_new_one_takes_it_all(self) -> None:
        """No canary against nobody."""
        for state in (ReplicaState.LOST, ReplicaState.DRAINING, ReplicaState.TERMINATED):
            gone = replace(self.OLD, state=state, cleaned_up=True)
            found = steps([gone, self.fresh(10, SECOND)], {"new": WELL})
            assert (StepKind.WEIGHT, "new", 100) in [(s.kind, s.replica, s.weight_percent) for s in found]

    @pytest.mark.parametrize("percent", [(100,), (1, 2, 3, 100), (50, 100)])
    def test_any_list_of_steps_ends_with_the_old_one_draining(self, percent: tuple[int, ...]) -> None:
        """Each weight once, in order."""
        spec = service_spec(migration=MigrationRules(canary_percent=percent))
        weight, seen = 0, []
        for _ in range(9):
            told = replace(WELL, told_weight=weight, told_for=MINUTE)
            (found,) = steps([self.OLD, self.fresh(weight)], {"old": WELL, "new": told}, spec=spec)
            seen.append(found)
            weight = found.weight_percent
            if found.kind is StepKind.DRAIN:
                break
        assert [s.weight_percent for s in seen[:-1]] == list(percent)
        assert (seen[-1].kind, seen[-1].replica) == (StepKind.DRAIN, "old")


class TestWeights:
    @pytest.mark.parametrize("weight", range(0, 101, 10))
    def test_both_sides_of_a_move_add_up_to_one_replica(self, weight: int) -> None:
        """What the new one has is what the old one lacks."""
        old = replica(PL, 0, name="old")
        new = replica(SE, 0, name="new", replaces="old", weight_percent=weight)
        assert weight_of(old, [old, new]) + weight_of(new, [old, new]) == 100
        assert weight_of(new, [old, new]) == weight

    @pytest.mark.parametrize(
        "state", [s for s in ReplicaState if s is not ReplicaState.READY], ids=lambda state: state.value
    )
    def test_a_replacement_that_does_not_serve_takes_nothing(self, state: ReplicaState) -> None:
        """Starting, aborted, lost: all the traffic is the old one's, at once."""
        old = replica(PL, 0, name="old")
        new = replica(SE, 0, state, name="new", replaces="old", weight_percent=50)
        assert weight_of(old, [new, old]) == 100
        assert weight_of(new, [new, old]) == 0

    def test_without_a_successor_it_has_its_own_weight(self) -> None:
        """Another slot's replacement is none of its business."""
        one, other = replica(PL, 0, name="a"), replica(SE, 1, name="b", weight_percent=30)
        assert weight_of(one, [one, other]) == 100
        assert weight_of(other, [one, other]) == 30


class TestLeaving:
    LEAVING = replica(SE, 0, ReplicaState.DRAINING, up_for=MINUTE)

    def test_it_ends_when_nothing_can_reach_it_and_nothing_is_in_flight(self) -> None:
        """The gateway has confirmed both, and the engine is idle."""
        assert kind(self.LEAVING, AWAY) is StepKind.TERMINATE
        assert kind(self.LEAVING, replace(AWAY, engine_busy=None)) is StepKind.TERMINATE

    @pytest.mark.parametrize(
        "seen",
        [
            replace(AWAY, in_flight=1),
            replace(AWAY, in_flight=None),
            replace(AWAY, engine_busy=1),
            replace(AWAY, exists=None, in_flight=3),
        ],
        ids=["in-flight", "nobody-counts", "engine-busy", "provider-silent"],
    )
    def test_until_then_it_has_its_time(self, seen: Observation) -> None:
        """Not a second before the drain limit, and right after it, from when the gateway sent nothing new."""
        limit = service_spec().migration.drain
        long_ago = replace(self.LEAVING, state_since=NOON - 10 * limit)
        assert kind(long_ago, replace(seen, told_for=limit)) is None
        assert kind(long_ago, replace(seen, told_for=limit + SECOND)) is StepKind.TERMINATE

    @pytest.mark.parametrize("in_flight", [0, 3, None])
    def test_while_the_gateway_may_send_more_it_stays(self, in_flight: int | None) -> None:
        """A gateway that cannot be told anything may know of nobody else."""
        ages_ago = replace(self.LEAVING, state_since=NOON - 60 * MINUTE)
        assert kind(ages_ago, replace(AWAY, routed_away=False, in_flight=in_flight)) is None

    def test_the_end_of_the_service_waits_for_no_gateway(self) -> None:
        """Nobody shall serve any more: past the drain limit what is left is ended, whoever knows of it."""
        limit, silent = service_spec().migration.drain, replace(AWAY, routed_away=False, in_flight=None)
        view = RolloutView(service_spec(), (), {self.LEAVING.name: silent}, {}, 1.0, taking_down=True)
        at_limit = replace(self.LEAVING, state_since=NOON - limit)
        over_limit = replace(self.LEAVING, state_since=NOON - limit - SECOND)
        assert next_steps(replace(view, replicas=(at_limit,)), NOON) == ()
        assert [s.kind for s in next_steps(replace(view, replicas=(over_limit,)), NOON)] == [StepKind.TERMINATE]

    def test_one_that_never_served_waits_for_nobody(self) -> None:
        """No request can be on it."""
        never = replace(self.LEAVING, ready_at=None)
        assert kind(never, replace(AWAY, routed_away=False, in_flight=None)) is StepKind.TERMINATE

    @pytest.mark.parametrize("state", [ReplicaState.DRAINING, ReplicaState.FAILED, ReplicaState.LOST])
    def test_what_the_gateway_counts_outweighs_a_record_that_knows_of_no_service(self, state: ReplicaState) -> None:
        """The database was set back, and its launch is recorded a second time: whoever answers requests is drained."""
        never = replica(SE, 0, state, up_for=60 * MINUTE, ready_at=None)
        assert kind(never, replace(AWAY, routed_away=False, in_flight=1)) is None
        assert kind(never, replace(AWAY, in_flight=1, told_for=MINUTE)) is None
        assert kind(never, replace(AWAY, in_flight=0)) is StepKind.TERMINATE
        assert kind(never, replace(AWAY, in_flight=1, told_for=10 * MINUTE)) is StepKind.TERMINATE

    def test_what_is_cut_off_is_counted(self) -> None:
        """The reason says how many requests a drain limit cost, or that nobody knows."""
        for in_flight, words in ((4, "with 4 requests"), (None, "an unknown number of requests")):
            found = step(self.LEAVING, replace(AWAY, in_flight=in_flight, told_for=10 * MINUTE))
            assert found is not None
            assert words in found.reason

    def test_one_that_died_meanwhile_needs_no_time(self) -> None:
        """Whatever it had in flight is gone with it."""
        assert kind(self.LEAVING, replace(AWAY, failed=True, in_flight=3)) is StepKind.TERMINATE

    def test_it_has_ended_when_the_provider_shows_nothing(self) -> None:
        """And only then, with the reason for which it left."""
        found = step(replace(self.LEAVING, reason="replaced by new"), GONE)
        assert found is not None
        assert (found.kind, found.reason) == (StepKind.ENDED, "replaced by new")

    def test_no_news_is_no_end(self) -> None:
        """A provider that does not answer has not confirmed anything."""
        assert kind(self.LEAVING, UNKNOWN) is None


class TestAfterTheEnd:
    def test_what_is_left_of_a_failed_start_is_terminated(self) -> None:
        """It never served: there is nothing to wait for."""
        failed = replica(SE, 0, ReplicaState.FAILED, up_for=SECOND)
        assert kind(failed, Observation(exists=True, in_flight=None)) is StepKind.TERMINATE

    def test_what_appears_after_its_launch_was_refused_is_told_with_its_address(self) -> None:
        """An earlier try of the same launch went through: then it was there, and has cost what machines cost."""
        refused = replica(SE, 0, ReplicaState.FAILED, up_for=SECOND, endpoint=None, reason="price_moved: dearer now")
        found = step(refused, Observation(exists=True, endpoint=HERE, in_flight=0))
        assert found is not None
        assert (found.kind, found.endpoint) == (StepKind.TERMINATE, HERE)

    def test_a_lost_one_may_still_hold_streams(self) -> None:
        """Lost by its health route alone: it gets the time of a drain."""
        lost = replica(SE, 0, ReplicaState.LOST, up_for=MINUTE, ready_at=NOON - 30 * MINUTE)
        away = Observation(exists=True, routed_away=True)
        assert kind(lost, replace(away, in_flight=2)) is None
        assert kind(lost, replace(away, in_flight=None)) is None
        assert kind(lost, replace(away, in_flight=0)) is StepKind.TERMINATE
        assert kind(lost, replace(away, in_flight=2, failed=True)) is StepKind.TERMINATE
        assert kind(lost, replace(away, in_flight=2, told_for=3 * MINUTE)) is StepKind.TERMINATE

    def test_a_lost_one_stays_while_the_gateway_may_send_more(self) -> None:
        """Nothing in flight now says nothing about the next second."""
        lost = replica(SE, 0, ReplicaState.LOST, up_for=60 * MINUTE, ready_at=NOON - 90 * MINUTE)
        assert kind(lost, Observation(exists=True, in_flight=0)) is None

    @pytest.mark.parametrize("state", sorted(ENDED), ids=lambda state: str(state.value))
    def test_it_is_done_with_when_nothing_is_left(self, state: ReplicaState) -> None:
        """Confirmed once, and never looked at again."""
        ended = replica(SE, 0, state)
        assert kind(ended, GONE) is StepKind.CLEAN_UP
        assert kind(ended, UNKNOWN) is None
        for seen in (GONE, UNKNOWN, WELL):
            assert kind(replace(ended, cleaned_up=True), seen) is None


# ── every state, every observation ───────────────────────────────────────────────────────────────────

LEADS_TO = {
    StepKind.SEEN: ReplicaState.STARTING,
    StepKind.READY: ReplicaState.READY,
    StepKind.LOST: ReplicaState.LOST,
    StepKind.FAIL: ReplicaState.FAILED,
    StepKind.DRAIN: ReplicaState.DRAINING,
    StepKind.ENDED: ReplicaState.TERMINATED,
}
"""The state that each step leads to; the others change no state, but ISSUE of a pending one."""


TOLD = (
    (None, False, SECOND),
    (100, False, SECOND),
    (100, False, MINUTE),
    (None, True, SECOND),
    (None, True, 9 * MINUTE),
)
"""What the gateway has confirmed: its weight, whether nothing new reaches it, and for how long."""


def everything_seen() -> Iterator[Observation]:
    """Yield every combination of what can be observed."""
    answers = ((HERE, True), (HERE, None), (None, None))
    for exists, failed, (endpoint, serves), unhealthy, (weight, away, told_for), in_flight, busy in product(
        (True, False, None), (True, False), answers, (0, 3), TOLD, (0, 2, None), (0, 1, None)
    ):
        yield Observation(
            exists,
            failed,
            endpoint,
            serves,
            unhealthy,
            routed_away=away,
            in_flight=in_flight,
            engine_busy=busy,
            told_weight=weight,
            told_for=told_for,
        )


OTHERS = (None, ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.LOST)


@pytest.mark.parametrize("age", [SECOND, 30 * MINUTE], ids=["young", "old"])
@pytest.mark.parametrize("old_state", OTHERS, ids=lambda state: str(state.value) if state else "alone")
@pytest.mark.parametrize("state", list(ReplicaState), ids=lambda state: str(state.value))
def test_every_step_follows_an_arrow(state: ReplicaState, old_state: ReplicaState | None, age: timedelta) -> None:
    """From any state, whatever is seen: at most one step per replica, and only along the arrows of its life.

    And whatever is seen, nothing that may have requests in flight is terminated before its drain limit, unless it is
    dead, and the old side of a move is only drained with a living replacement at full weight.
    """
    one = replica(SE, 0, state, name="new", replaces="old" if old_state else None, up_for=age)
    others = [] if old_state is None else [replica(PL, 0, old_state, name="old", up_for=40 * MINUTE)]
    by_name = {r.name: r for r in (one, *others)}
    drained: list[Step] = []
    for seen in everything_seen():
        found = steps([one, *others], {"new": seen, "old": WELL})
        assert len({s.replica for s in found}) == len(found)
        for each in found:
            before = by_name[each.replica]
            if each.kind in LEADS_TO:
                assert LEADS_TO[each.kind] in NEXT_STATES[before.state]
            if each.kind is StepKind.ISSUE:
                assert before.state in {ReplicaState.PENDING, ReplicaState.PROVISIONING}
            if each.kind is StepKind.WEIGHT:
                assert before.state is ReplicaState.READY
            if each.kind is StepKind.TERMINATE:
                assert before.state is ReplicaState.DRAINING or before.state in ENDED
                over = seen.routed_away and seen.told_for > service_spec().migration.drain
                assert before.ready_at is None or seen.failed or over or (seen.routed_away and seen.in_flight == 0)
            if each.kind is StepKind.DRAIN and each.replica == "old":
                assert one.state is ReplicaState.READY
                assert one.weight_percent == seen.told_weight == 100
                assert seen.exists
                assert not seen.unhealthy_times
                drained.append(each)
    both_ready = state is old_state is ReplicaState.READY
    assert bool(drained) is both_ready


def test_nothing_is_asked_for_when_the_service_is_taken_down() -> None:
    """Neither for the first time nor again."""
    for state in (ReplicaState.PENDING, ReplicaState.PROVISIONING):
        one = starting(state)
        view = RolloutView(service_spec(), (one,), {one.name: GONE}, {}, 1.0, taking_down=True)
        assert next_steps(view, NOON) == ()


class TestOneSlotWaitsForAnother:
    """Replicas of other slots: what serves is kept until enough do."""

    OLD, NEW = replica(PL, 0, name="old"), replica(SE, 0, name="new", replaces="old")
    TOLD = replace(WELL, told_weight=100, told_for=MINUTE)

    def after(self, other: Observation, traffic: UpstreamStatus | None = None) -> list[tuple[StepKind, str]]:
        """Ask for the next steps at the end of a move, with another slot that looks like that."""
        other_slot = replica(SE, 1, name="other")
        seen = {"old": WELL, "new": self.TOLD, "other": other}
        found = steps(
            [self.OLD, self.NEW, other_slot],
            seen,
            spec=service_spec(2),
            traffic={} if traffic is None else {"new": traffic},
        )
        return [(s.kind, s.replica) for s in found]

    def test_the_old_one_leaves_when_all_slots_serve(self) -> None:
        """As many as are wanted, without it."""
        assert self.after(WELL) == [(StepKind.DRAIN, "old")]

    @pytest.mark.parametrize("other", [GONE, Observation(exists=True, failed=True)], ids=["gone", "failed"])
    def test_the_old_one_stays_while_another_slot_is_lost(self, other: Observation) -> None:
        """In the very look in which it is lost, too."""
        assert self.after(other) == [(StepKind.LOST, "other")]

    def test_errors_do_not_end_the_last_one(self) -> None:
        """A replacement with errors is better than an old one that is gone."""
        found = steps(
            [self.OLD, self.NEW], {"old": GONE, "new": self.TOLD}, traffic={"new": UpstreamStatus("new", failed=9)}
        )
        assert [(s.kind, s.replica) for s in found] == [(StepKind.LOST, "old")]


def _first_tokens(*, fast: int = 0, slow: int = 0) -> tuple[int, ...]:
    """Count streams whose first token came after 0.2 s and after 2 s."""
    found = [0] * FIRST_TOKEN_CLASSES
    found[first_token_class(0.2)] += fast
    found[first_token_class(2.0)] += slow
    return tuple(found)
