"""Whatever happens to machines, provider and gateway: every step is safe, and in the end all is as it should be."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tests.hypothesis_profiles
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import MigrationRules, ModelSpec, PlacementRules, Scaling
from orchestrator.errors import GreenctlError
from orchestrator.planner.plan import plan_migration
from tests.builders import GREEN, candidate, service_spec
from tests.rollout_world import READY, Machine, World

OFFERS = (candidate("aws/se", 30.0), candidate("aws/fr", 60.0), candidate("gcp/fi", 90.0))
RULES = MigrationRules(canary_percent=(10, 50, 100), canary_hold=timedelta(seconds=5), drain=timedelta(seconds=60))
LOOKS_UNTIL_SETTLED = 600


def world(count: int = 1, clock_rate: float = 1.0) -> World:
    """Make a world in which nothing runs yet."""
    return World(OFFERS, service_spec(count, migration=RULES), clock_rate)


def settle(one: World, looks: int = LOOKS_UNTIL_SETTLED) -> list[str]:
    """Let everything be well, clients finish, and the controller look until nothing is wrong any more."""
    one.provider_answers = one.gateway_answers = True
    one.sold_out.clear()
    for machine in one.machines.values():
        machine.ill = False
    quiet = 0
    for _ in range(looks):
        one.counters.clear()
        one.answer(well=True)
        one.counters.clear()
        quiet = 0 if one.look() or one.problems() else quiet + 1
        if quiet > 1:
            return []
        one.wait(30.0)
    return one.problems()


class Rollouts(RuleBasedStateMachine):
    """Everything that can happen, in any order."""

    world: World

    @initialize(count=st.integers(1, 3), clock_rate=st.sampled_from([1.0, 60.0]), ready=st.booleans())
    def begin(self, count: int, clock_rate: float, ready: bool) -> None:
        """Start with nothing, or with a service that has settled."""
        self.world = world(count, clock_rate)
        if ready:
            assert settle(self.world) == []

    # ── the controller and time ──────────────────────────────────────────────────────────────────────

    @rule(looks=st.integers(1, 4), seconds=st.sampled_from([0.0, 1.0, 6.0]))
    def look(self, looks: int, seconds: float) -> None:
        """Look a few times."""
        for _ in range(looks):
            self.world.look()
            self.world.wait(seconds)

    @rule(seconds=st.sampled_from([1.0, 5.0, 20.0, 61.0, 1201.0]))
    def wait(self, seconds: float) -> None:
        """Nobody looks for a while."""
        self.world.wait(seconds)

    # ── clients ──────────────────────────────────────────────────────────────────────────────────────

    @rule(requests=st.integers(1, 6))
    def ask(self, requests: int) -> None:
        """Clients send requests."""
        self.world.ask(requests)

    @rule(well=st.sampled_from([True, True, True, False]))
    def answer(self, well: bool) -> None:
        """Every request in flight ends."""
        self.world.answer(well=well)

    # ── machines ─────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.world.machines)
    @rule(which=st.integers(0, 5), what=st.sampled_from(["crash", "vanish", "fall ill", "recover", "be slow"]))
    def befall(self, which: int, what: str) -> None:
        """Something happens to one machine."""
        name = sorted(self.world.machines)[which % len(self.world.machines)]
        machine = self.world.machines[name]
        actions: dict[str, Callable[[], object]] = {
            "crash": lambda: setattr(machine, "failed", True),
            "vanish": lambda: self.world.machines.pop(name),
            "fall ill": lambda: setattr(machine, "ill", True),
            "recover": lambda: setattr(machine, "ill", False),
            "be slow": lambda: setattr(machine, "boots_until", max(machine.boots_until, self.world.elapsed) + 400.0),
        }
        if what != "be slow" or self.world.replicas[name].state is not READY:
            actions[what]()

    @rule(answers=st.booleans())
    def provider(self, answers: bool) -> None:
        """The provider's API goes away or comes back."""
        self.world.provider_answers = answers

    @rule(answers=st.booleans())
    def gateway(self, answers: bool) -> None:
        """The gateway's control socket goes away or comes back; it serves on."""
        self.world.gateway_answers = answers

    @rule(which=st.integers(0, 2), out=st.booleans())
    def capacity(self, which: int, out: bool) -> None:
        """A place is sold out or has room again."""
        (self.world.sold_out.add if out else self.world.sold_out.discard)(OFFERS[which].offer.id)

    # ── people ───────────────────────────────────────────────────────────────────────────────────────

    @rule(to=st.sampled_from([None, "aws/se", "aws/fr", "gcp/fi"]))
    def migrate(self, to: str | None) -> None:
        """Somebody asks for a move."""
        try:
            made = plan_migration(
                self.world.world(), GREEN, self.world.now, replica=None, to_region=to, actor="ada", reason="because"
            )
        except GreenctlError:
            return
        event("a move was asked for")
        self.world.carry_out(made)

    @rule(model=st.sampled_from(["org/one", "org/two"]))
    def deploy(self, model: str) -> None:
        """Another model is deployed."""
        self.world.spec = replace(self.world.spec, model=ModelSpec(model))

    @rule(count=st.integers(1, 3))
    def scale(self, count: int) -> None:
        """Another number of replicas is wanted."""
        self.world.spec = replace(self.world.spec, scaling=Scaling(count, count))

    @rule(deny=st.sampled_from([(), ("aws/se",), ("aws/fr", "gcp/*")]))
    def forbid(self, deny: tuple[str, ...]) -> None:
        """A rule about places changes."""
        self.world.spec = replace(self.world.spec, placement=PlacementRules(deny=deny))

    @rule(chance=st.integers(0, 7))
    def take_down(self, chance: int) -> None:
        """Rarely, the service is to end."""
        self.world.taking_down = self.world.taking_down or chance == 7

    # ── promises ─────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def nothing_is_bought_twice(self) -> None:
        """One machine per name, and every machine has its record."""
        assert set(self.world.machines) <= set(self.world.replicas)

    def teardown(self) -> None:
        """In the end, everything settles: exactly what is wanted serves, and nothing else is left."""
        if not hasattr(self, "world"):
            return
        event(f"{len(self.world.replicas)} replicas")
        assert settle(self.world) == []
        self.world.spec = replace(self.world.spec, migration=replace(RULES, enabled=False))
        for _ in range(3):
            self.world.wait(600.0)
            assert self.world.look() == 0


THOROUGH = tests.hypothesis_profiles.PROFILE == "thorough"
TestRollouts = pytest.mark.filterwarnings("ignore:Generating overly large repr")(Rollouts.TestCase)
TestRollouts.settings = settings(max_examples=1500 if THOROUGH else 60, stateful_step_count=60 if THOROUGH else 30)


class TestStories:
    """The same world, told as stories."""

    def test_a_service_comes_up(self) -> None:
        """From nothing to serving, with one purchase per slot."""
        one = world(3)
        assert settle(one) == []
        assert one.bought == 3
        assert {r.offer_id for r in one.replicas.values()} == {OFFERS[0].offer.id}

    def test_a_move_leaves_no_moment_without_a_server(self) -> None:
        """At each look during the move somebody has weight, and every request of a client finds a machine."""
        one = world()
        settle(one)
        one.spec = replace(one.spec, model=ModelSpec("org/newer"))
        for _ in range(60):
            one.ask(1)
            assert sum(m.in_flight for m in one.machines.values()) == 1
            one.answer(well=True)
            one.look()
            one.wait(2.0)
        assert one.problems() == []
        assert one.bought == 2

    @pytest.mark.parametrize("moment", range(0, 60, 3))
    @pytest.mark.parametrize("fate", ["crash", "vanish"])
    def test_a_replacement_that_dies_at_any_moment_gives_everything_back(self, moment: int, fate: str) -> None:
        """Starting, at ten percent, at a hundred: the old one serves on, unless it had left already."""
        one = world()
        settle(one)
        (old,) = one.replicas
        one.spec = replace(one.spec, model=ModelSpec("org/newer"))
        for _ in range(moment):
            one.look()
            one.wait(1.0)
        heirs = [n for n in one.machines if n != old]
        for name in heirs:
            if fate == "crash":
                one.machines[name].failed = True
            else:
                del one.machines[name]
        one.look()
        if heirs and one.replicas[old].state is READY:
            one.look()
            assert one.routes[old].weight == 100
        assert settle(one) == []

    def test_errors_on_the_replacement_send_the_traffic_back_and_keep_it_away(self) -> None:
        """Aborted: the old one has all the weight again, and the place that failed is in back-off."""
        one = world()
        settle(one)
        (old,) = one.replicas
        one.spec = replace(one.spec, model=ModelSpec("org/newer"))
        while len([r for r in one.replicas.values() if r.state is READY and r.weight_percent]) < 2:
            one.look()
            one.wait(1.0)
        one.ask(8)
        one.answer(well=False)
        one.look()
        (aborted,) = [r for r in one.replicas.values() if r.reason.startswith("aborted: ")]
        assert aborted.state is ReplicaState.DRAINING
        assert one.routes[old].weight == 100
        (next_try,) = [r for r in one.replicas.values() if r.state is ReplicaState.PENDING]
        assert next_try.offer_id != aborted.offer_id

    def test_a_stream_that_never_ends_is_cut_off_at_the_drain_limit_and_not_before(self) -> None:
        """A minute of draining here: at 60 s it still runs, shortly after it is told to stop."""
        one = world()
        settle(one)
        (old,) = one.replicas
        one.machines[old].in_flight = 1
        one.spec = replace(one.spec, model=ModelSpec("org/newer"))
        while one.replicas[old].state is READY:
            one.look()
            one.wait(1.0)
        one.look()
        drained = one.elapsed
        while one.machines[old].stops_at is None:
            one.look()
            one.wait(1.0)
        assert 60 < one.elapsed - drained < 65

    def test_a_gateway_that_cannot_be_told_keeps_what_it_knows(self) -> None:
        """While its control socket is away, the replica that it sends requests to is not ended."""
        one = world()
        settle(one)
        (old,) = one.replicas
        one.spec = replace(one.spec, model=ModelSpec("org/newer"))
        one.gateway_answers = False
        for _ in range(200):
            one.look()
            one.wait(10.0)
        assert one.replicas[old].state is READY
        assert old in one.machines
        assert settle(one) == []

    def test_a_service_goes_down_completely_in_the_middle_of_a_move(self) -> None:
        """Both sides, whoever still serves."""
        one = world(2)
        settle(one)
        one.spec = replace(one.spec, model=ModelSpec("org/newer"))
        for _ in range(25):
            one.look()
            one.wait(1.0)
        one.taking_down = True
        assert settle(one) == []
        assert one.machines == {}

    def test_a_machine_that_never_boots_is_given_up_and_another_place_is_tried(self) -> None:
        """After the startup deadline, elsewhere."""
        one = world()
        one.look()
        one.look()
        one.machines["gc-1"] = Machine(boots_until=1e9)
        for _ in range(60):
            one.look()
            one.wait(30.0)
        assert one.replicas["gc-1"].state is ReplicaState.FAILED
        assert one.replicas["gc-1"].reason.startswith("launch_timed_out")
        assert one.problems() == []
