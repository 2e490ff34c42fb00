"""What the controller takes for the load of a service: counted, not guessed, and forgotten when it says nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.clocks import VirtualClock
from orchestrator.control.load import (
    LEAST_SECONDS,
    STEADY_SECONDS,
    WINDOW_SECONDS,
    LoadWatch,
    capacity_of,
    in_force,
    number_in_force,
)
from orchestrator.control.observe import Watch
from orchestrator.control.ports import EngineLoad
from orchestrator.control.runtime import Runtime
from orchestrator.domain.counters import GatewayStatus, ServiceCounts
from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Offer
from orchestrator.domain.records import ServiceRecord, ServiceState
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import Engine, ModelSpec, Scaling, ServiceSpec
from orchestrator.planner.sizing.capacity import DEFAULT_PLACES
from orchestrator.planner.sizing.replica_model import Knowledge
from tests.builders import NOON, offer, replica
from tests.scenario.world import World

SPEC = ServiceSpec("chat", ModelSpec("org/model"), scaling=Scaling(1, 6, 2.0, downscale_delay=timedelta(seconds=60)))
OFFER = offer("sky/se")


class Bench:
    """A watch on one service, with counters that a test sets."""

    def __init__(self, spec: ServiceSpec = SPEC, offered: Offer = OFFER) -> None:
        self.offer = offered
        self.written = 0.0
        self.world = World()
        self.clock: VirtualClock = self.world.clock
        self.runtime: Runtime = self.world.runtime
        self.loads = LoadWatch(self.runtime)
        self.watch = Watch()
        self.spec = spec
        self.state = ServiceState.ACTIVE
        self.accepted = 0
        self.in_flight = 0
        self.boot = "one"
        self.number = WantedReplicas(1, 1, 6)
        self.replicas: list[Replica] = [replace(replica(offered), state=ReplicaState.READY)]

    def look(self, seconds: float, per_second: float, *, silent: bool = False) -> WantedReplicas:
        """Let time pass under a load, look, and return what is wanted then."""
        self.clock.advance(timedelta(seconds=seconds))
        self.accepted += round(seconds * per_second)
        counts = ServiceCounts("chat", self.accepted, self.in_flight, 0, float(self.accepted))
        status = None if silent else GatewayStatus(1, self.boot, (), services=(counts,))
        record = ServiceRecord("chat", 1, self.spec, "digest", self.state, NOON, NOON)
        self.loads.look(record, self.replicas, {self.offer.id: self.offer}, status, self.watch)
        found = self.loads.wanted(self.spec, self.number)
        assert found is not None
        self.number = found
        return found


def test_a_rate_needs_two_looks_some_time_apart() -> None:
    """The first request after a start is not a rate."""
    bench = Bench()
    assert bench.look(1.0, 100.0).needed is None
    assert bench.look(LEAST_SECONDS - 1, 100.0).needed is None
    assert bench.look(1.0, 100.0).needed == 50


def test_a_gateway_that_began_again_is_counted_anew() -> None:
    """Counters that fell are not a negative load, and not the load of before either."""
    bench = Bench()
    for _ in range(5):
        bench.look(5.0, 8.0)
    assert bench.number.replicas == 4
    bench.boot, bench.accepted = "two", 0
    assert bench.look(1.0, 0.0).needed is None
    assert bench.number.replicas == 4


def test_a_gateway_that_is_silent_takes_nothing_away() -> None:
    """Unknown is not zero, however long it lasts; when it answers again, its integral covers the silence."""
    bench = Bench()
    for _ in range(5):
        bench.look(5.0, 8.0)
    for _ in range(60):
        bench.look(10.0, 0.0, silent=True)
    assert bench.number.replicas == 4
    for _ in range(40):
        bench.look(10.0, 0.0)
    assert bench.number.replicas == 1


def test_where_replicas_stand_follows_minutes_and_not_a_moment() -> None:
    """A rate that swings is a mean for whoever places; what nobody has watched for a minute is not known yet."""
    bench = Bench()
    bench.look(5.0, 4.0)
    bench.look(30.0, 4.0)
    assert bench.loads.seen("chat") is not None
    assert bench.loads.steady("chat") is None
    for rate in (0.0, 8.0) * 30:
        bench.look(10.0, rate)
    now, steady = bench.loads.seen("chat"), bench.loads.steady("chat")
    assert now is not None
    assert steady is not None
    assert steady.requests_per_second == pytest.approx(4.0, rel=0.05)
    assert 590.0 <= steady.seconds <= STEADY_SECONDS + 2 * WINDOW_SECONDS
    bench.look(5.0, 4.0, silent=True)
    assert bench.loads.steady("chat") is None
    bench.boot = "two"
    bench.look(5.0, 4.0)
    bench.look(30.0, 4.0)
    assert bench.loads.steady("chat") is None, "counters that began again tell nothing of before"


def test_other_rules_begin_a_new_trail() -> None:
    """What was enough by another target is not known to be enough by this one."""
    bench = Bench()
    for _ in range(30):
        bench.look(5.0, 8.0)
    bench.spec = replace(SPEC, scaling=replace(SPEC.scaling, target_qps_per_replica=8.0))
    assert bench.look(5.0, 8.0).replicas == 4
    for _ in range(11):
        bench.look(5.0, 8.0)
    assert bench.number.replicas == 4
    for _ in range(60):
        bench.look(5.0, 7.0)
    assert bench.number.replicas == 1


def test_while_a_request_is_under_way_the_number_holds() -> None:
    """A deploy that was confirmed for one replica starts one."""
    bench = Bench()
    for _ in range(5):
        bench.look(5.0, 8.0)
    held = bench.loads.wanted(SPEC, WantedReplicas(1, 1, 6), fixed=True)
    assert held is not None
    assert held.replicas == 1


def test_a_service_that_is_not_scaled_is_not_watched() -> None:
    """One of a fixed size, and one that goes down."""
    fixed = replace(SPEC, scaling=Scaling(2, 2))
    assert number_in_force(fixed, WantedReplicas(5, 1, 6)) is None
    assert in_force(fixed, None) is fixed
    bench = Bench()
    bench.look(5.0, 8.0)
    bench.state = ServiceState.GOING_DOWN
    assert bench.look(5.0, 8.0).needed is None


def test_the_last_number_is_held_to_the_bounds_of_today() -> None:
    """A deploy that narrows them is obeyed at once."""
    found = number_in_force(SPEC, WantedReplicas(9, 1, 12, 9, "much load"))
    assert found is not None
    assert (found.replicas, found.least, found.most, found.because) == (6, 1, 6, "much load")
    assert in_force(SPEC, found).scaling.min_replicas == 6


class TestCapacity:
    H100 = Shape("1xH100", "H100", 1, 8.0, 64.0, None)
    QWEN = replace(SPEC, model=ModelSpec("Qwen/Qwen3-8B"))

    def test_the_model_of_the_shape_is_found(self) -> None:
        """What was measured counts, with the engine's own places and room for KV."""
        spec = replace(SPEC, model=ModelSpec("Qwen/Qwen3-8B", args=(("max_num_seqs", 64),)))
        capacity = capacity_of(spec, [self.H100, self.H100], [EngineLoad(0, 0, 0, 0, 0.1, 5000), None])
        (model,) = capacity.models
        assert (capacity.places, model.kv_tokens, model.knowledge) == (64, 5000, Knowledge.FITTED)

    @pytest.mark.parametrize("shapes", [[], [None], [H100, None], [H100, replace(H100, accelerator="Abacus")]])
    def test_one_shape_without_a_model_leaves_places(self, shapes: list[Shape | None]) -> None:
        """Half a fleet that is understood is not understood."""
        capacity = capacity_of(self.QWEN, shapes, [])
        assert (capacity.places, capacity.models) == (DEFAULT_PLACES, ())

    def test_an_engine_without_a_model_has_none(self) -> None:
        """The builtin engine answers at once, whatever the name that it goes by."""
        spec = replace(SPEC, model=ModelSpec("Qwen/Qwen3-8B", Engine.BUILTIN))
        assert capacity_of(spec, [self.H100], []).models == ()


class TestUnreadEngines:
    """Engines that do not tell their load for a while, behind a gateway that counts on: ten requests a second."""

    PROMPT, OUTPUT, PER_SECOND = 500, 200, 10

    def bench(self) -> Bench:
        h100 = offer("sky/se", on=TestCapacity.H100)
        bench = Bench(replace(SPEC, model=ModelSpec("Qwen/Qwen3-8B"), scaling=Scaling(1, 50)), h100)
        bench.number = WantedReplicas(2, 1, 50)
        bench.replicas = [replace(replica(h100, slot=n, name=f"chat-{n}"), state=ReplicaState.READY) for n in range(2)]
        return bench

    def pass_time(
        self, bench: Bench, seconds: int, *unread: str, tokens: float = 1.0, silent: bool = False
    ) -> set[int]:
        """Look every 5 s, at all engines but some; return which numbers were wanted."""
        found = set()
        for _ in range(seconds // 5):
            bench.written += 5 * self.PER_SECOND * tokens / len(bench.replicas)
            for r in bench.replicas:
                (bench.watch.unread.add if r.name in unread else bench.watch.unread.discard)(r.name)
                if r.name not in unread:
                    prompt, output = int(bench.written * self.PROMPT), int(bench.written * self.OUTPUT)
                    bench.watch.loads[r.name] = EngineLoad(8, 0, prompt, output, 0.1)
            found.add(bench.look(5.0, self.PER_SECOND, silent=silent).replicas)
        return found

    def lengths(self, bench: Bench) -> list[tuple[float | None, float | None]]:
        seen = [bench.loads.seen("chat"), bench.loads.steady("chat")]
        return [(s.prompt_tokens, s.output_tokens) for s in seen if s is not None]

    @pytest.mark.parametrize("unread", [("chat-0", "chat-1"), ("chat-0",)], ids=["all", "one of them"])
    @pytest.mark.parametrize("seconds", [60, 600, 1800])
    def test_what_was_written_meanwhile_is_no_load_of_now(self, seconds: int, unread: tuple[str, ...]) -> None:
        """All of it comes at one look; divided by the answers of half a minute it would buy all that may be bought."""
        bench = self.bench()
        self.pass_time(bench, 900)
        assert self.lengths(bench) == [(500.0, 200.0)] * 2
        assert self.pass_time(bench, seconds, *unread) == {2}
        assert self.lengths(bench) == [(500.0, 200.0)] * 2, "requests are as long as they last were"
        for _ in range(200):
            assert self.pass_time(bench, 5) == {2}
            assert self.lengths(bench) == [(500.0, 200.0)] * 2

    def test_a_gateway_that_is_silent_as_well_changes_nothing(self) -> None:
        """What a controller sees that was cut off from everything."""
        bench = self.bench()
        self.pass_time(bench, 900)
        self.pass_time(bench, 600, "chat-0", "chat-1", silent=True)
        assert self.pass_time(bench, 900) == {2}
        assert self.lengths(bench) == [(500.0, 200.0)] * 2

    def test_longer_requests_are_seen_as_soon_as_engines_tell_again(self) -> None:
        """The lengths of before hold until there are new ones, and no longer."""
        bench = self.bench()
        self.pass_time(bench, 900)
        self.pass_time(bench, 600, "chat-0", "chat-1", tokens=4.0)
        self.pass_time(bench, 60, tokens=4.0)
        assert self.lengths(bench)[0] == (2000.0, 800.0)
        assert bench.number.replicas > 2

    def test_a_rate_goes_up_while_engines_are_not_read(self) -> None:
        """By what requests last were: the gateway counts them, whoever tells or not."""
        bench = self.bench()
        self.pass_time(bench, 900)
        bench.watch.unread.update(r.name for r in bench.replicas)
        for _ in range(12):
            bench.look(5.0, 10.0 * self.PER_SECOND)
        assert bench.number.replicas >= 5

    def test_lengths_that_nobody_told_stay_unknown(self) -> None:
        """A controller that begins while engines are dark goes by the requests that are under way."""
        bench = self.bench()
        self.pass_time(bench, 60, "chat-0", "chat-1")
        assert self.lengths(bench) == [(None, None)]
        assert "requests under way" in bench.number.because


class TestSleep:
    """What the controller takes for idle: counted by the gateway, never on silence, never while anything runs."""

    RULES = Scaling(0, 2, 2.0, downscale_delay=timedelta(seconds=60))

    def bench(self) -> Bench:
        bench = Bench(replace(SPEC, scaling=self.RULES))
        bench.number = WantedReplicas(1, 0, 2)
        return bench

    def test_it_goes_after_the_delay_and_the_break_even(self) -> None:
        """The start of 90 s that is assumed draws what several minutes of idling do."""
        bench = self.bench()
        waited = 0
        while bench.look(5.0, 0.0).replicas == 1:
            waited += 5
            assert waited < 3600
        assert waited > 60
        assert bench.number.because.startswith("no request for")

    @pytest.mark.parametrize("beside", [1, 2])
    def test_those_that_stand_beside_the_last_one_go_with_it(self, beside: int) -> None:
        """A spare, or one near to the clients of another area: alike ones pay off a start as soon as one does."""
        alone, several = self.bench(), self.bench()
        several.replicas = [replace(replica(OFFER, slot=n), state=ReplicaState.READY) for n in range(1 + beside)]
        waited = 0
        while alone.look(5.0, 0.0).replicas == 1:
            assert several.look(5.0, 0.0).replicas == 1
            waited += 5
            assert waited < 3600
        assert several.look(5.0, 0.0).replicas == 0

    def test_whoever_stays_up_is_told_why(self) -> None:
        """While nobody serves yet, and while requests are under way, the word about zero is said as well."""
        bench = self.bench()
        bench.in_flight = 1
        assert "not to zero: requests are under way" in bench.look(10.0, 0.0).because
        bench.in_flight, bench.replicas = 0, []
        assert "not to zero: nobody serves yet" in bench.look(10.0, 0.0).because

    def test_requests_in_flight_keep_it(self) -> None:
        """However long ago they came."""
        bench = self.bench()
        bench.in_flight = 1
        for _ in range(300):
            assert bench.look(10.0, 0.0).replicas == 1

    def test_what_a_silent_gateway_may_have_keeps_it(self) -> None:
        """Not while it is silent; afterwards its integral says that nothing came."""
        bench = self.bench()
        bench.look(5.0, 0.0)
        for _ in range(300):
            assert bench.look(10.0, 0.0, silent=True).replicas == 1
        assert bench.look(10.0, 0.0).replicas == 0

    def test_a_gateway_that_began_again_is_watched_anew(self) -> None:
        """Its counters tell nothing of the time before."""
        bench = self.bench()
        for _ in range(10):
            bench.look(5.0, 0.0)
        bench.boot = "two"
        for _ in range(12):
            assert bench.look(5.0, 0.0).replicas == 1

    def test_a_replica_that_has_just_come_is_given_its_time(self) -> None:
        """While it starts the service is not idle: whoever woke it may have given up, and will come again."""
        bench = self.bench()
        ready, bench.replicas = bench.replicas, []
        for _ in range(200):
            assert bench.look(10.0, 0.0).replicas == 1
        bench.replicas = ready
        assert bench.look(10.0, 0.0).replicas == 1

    def test_gaps_that_were_long_are_remembered(self) -> None:
        """After some long nights it goes as soon as the delay is over."""
        bench = self.bench()
        for _ in range(3):
            bench.look(5.0, 1.0)
            bench.look(20_000.0, 0.0)
            bench.number = WantedReplicas(1, 0, 2)
        bench.look(5.0, 1.0)
        bench.number = WantedReplicas(1, 0, 2)
        waited = 0
        while bench.look(5.0, 0.0).replicas == 1:
            waited += 5
        assert waited <= 65
        assert "by past gaps" in bench.number.because

    def test_who_waits_wakes_it(self) -> None:
        """One request in flight while nobody serves, at the first look of a controller."""
        bench = self.bench()
        bench.number, bench.replicas, bench.in_flight, bench.accepted = WantedReplicas(0, 0, 2), [], 1, 1
        assert bench.look(1.0, 0.0).replicas == 1
        assert bench.number.because == "1 request waits while nobody serves"

    def test_who_was_refused_wakes_it_too(self) -> None:
        """It came and went between two looks: it will come again."""
        bench = self.bench()
        bench.number, bench.replicas = WantedReplicas(0, 0, 2), []
        assert bench.look(5.0, 0.0).replicas == 0
        assert bench.look(5.0, 0.2).replicas == 1

    def test_old_counts_wake_nobody(self) -> None:
        """A controller that starts anew reads counters of requests that were answered long ago."""
        bench = self.bench()
        bench.number, bench.replicas, bench.accepted = WantedReplicas(0, 0, 2), [], 1000
        for _ in range(20):
            assert bench.look(5.0, 0.0).replicas == 0

    def test_beside_none_there_is_no_spare(self) -> None:
        """Spares of a service that sleeps would keep it awake."""
        spec = replace(SPEC, scaling=replace(self.RULES, num_overprovision=2))
        assert in_force(spec, WantedReplicas(0, 0, 2)).scaling.num_overprovision == 0
        assert in_force(spec, WantedReplicas(1, 0, 2)).scaling.num_overprovision == 2

    def test_the_first_deploy_starts_one(self) -> None:
        """A service shows that it can serve before it sleeps."""
        first = number_in_force(replace(SPEC, scaling=self.RULES), None)
        assert first is not None
        assert (first.replicas, first.least) == (1, 0)
