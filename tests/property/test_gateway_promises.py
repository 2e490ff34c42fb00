"""I13 to I15, D7 and D8 of the real gateway, whatever replicas, clients and the controller do; and their mutants."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from tests.gateway_promises import broken
from tests.gateway_world import Act, Client, Ending, GatewayWorld
from tests.sim.mutants import Change, applied

ISSUED = datetime(2026, 1, 2, tzinfo=UTC)
NAMES = st.sampled_from("abc")

ACTS = st.builds(
    Act,
    ending=st.sampled_from(Ending),
    after=st.integers(0, 7),
    torn=st.sampled_from([0, 1, 9, 40]),
    pause=st.sampled_from([0.0, 0.0, 0.5, 20.0, 45.0]),
    status=st.sampled_from([200] * 20 + [400, 429, 500, 502, 503, 401, 302]),
)

REQUESTS = st.fixed_dictionaries(
    {"model": st.just("tiny"), "stream": st.sampled_from([True, True, True, False])},
    optional={"max_tokens": st.integers(1, 8), "n": st.just(2)},
)


@st.composite
def services(draw: st.DrawFn, urls: dict[str, str]) -> tuple[ServiceRoutes, ...]:
    """At most one service, as a controller may write it at any moment of a rollout."""
    if not draw(st.integers(0, 9)):
        return ()
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    upstreams = tuple(
        Upstream(
            n, urls[n], draw(st.sampled_from([0, 10, 100])), draw(st.sampled_from([False, False, True])), "x", None
        )
        for n in names
    )
    return (
        ServiceRoutes(
            "chat",
            "tiny",
            upstreams,
            resume_streams=draw(st.booleans()),
            retries=draw(st.integers(0, 3)),
            cooldown_seconds=draw(st.sampled_from([0.0, 30.0])),
            hold_seconds=draw(st.sampled_from([0.0, 20.0])),
            max_held=2,
        ),
    )


class Gateways(RuleBasedStateMachine):
    """A controller, replicas and clients that do as they please; the promises are read once all is at rest."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = GatewayWorld(Path(self.folder.name))
        self.version = 0

    @initialize(resumes=st.booleans())
    def begins(self, *, resumes: bool) -> None:
        ups = tuple(Upstream(n, self.world.urls[n], 100, False, "x", None) for n in "abc")
        self._publish((ServiceRoutes("chat", "tiny", ups, resume_streams=resumes),))

    @rule(data=st.data())
    def the_controller_publishes(self, data: st.DataObject) -> None:
        self._publish(data.draw(services(self.world.urls)))

    @rule(name=NAMES, acts=st.lists(ACTS, min_size=1, max_size=3))
    def a_replica_will(self, name: str, acts: list[Act]) -> None:
        self.world.engines[name].acts.extend(acts)

    @rule(name=NAMES, how=st.sampled_from(["die", "vanish", "come_back"]))
    def a_replica_goes_or_comes(self, name: str, how: str) -> None:
        getattr(self.world.engines[name], how)()
        self.world.passes(0.0)

    @rule(
        body=REQUESTS,
        is_chat=st.booleans(),
        is_slow=st.sampled_from([False, False, False, True]),
        sends_all=st.sampled_from([True] * 9 + [False]),
        times=st.sampled_from([1, 1, 1, 4]),
        acts=st.lists(ACTS, max_size=3),
    )
    def clients_ask(
        self, body: dict[str, Any], *, is_chat: bool, is_slow: bool, sends_all: bool, times: int, acts: list[Act]
    ) -> None:
        """Two replicas of three act so next, whichever of them is asked first; the third does what it was going to."""
        for name in "ab":
            self.world.engines[name].acts.extend(acts)
        said = {"messages": [{"role": "user", "content": "hi"}]} if is_chat else {"prompt": "hi "}
        path = "/v1/chat/completions" if is_chat else "/v1/completions"
        for _ in range(times):
            self.world.ask(path, {**body, **said}, is_slow=is_slow, sends_all=sends_all)

    @precondition(lambda self: self.world.open)
    @rule(data=st.data())
    def a_client_leaves(self, data: st.DataObject) -> None:
        self.world.leave(self.world.open[data.draw(st.integers(0, len(self.world.open) - 1))])

    @precondition(lambda self: self.world.open)
    @rule()
    def all_clients_leave(self) -> None:
        for client in self.world.open:
            self.world.leave(client)

    @rule()
    def slow_clients_read_on(self) -> None:
        for client in self.world.open:
            client.read_on()
        self.world.passes(0.0)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 15.0, 40.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.passes(seconds)

    @rule()
    def the_gateway_restarts_alone(self) -> None:
        self.world.rest()
        self.world.restart()

    def teardown(self) -> None:
        self.world.rest()
        found = broken(self.world.history)
        self.world.close()
        self.folder.cleanup()
        assert not found, "\n".join(map(str, found))

    def _publish(self, chosen: tuple[ServiceRoutes, ...]) -> None:
        self.version += 1
        self.world.publish(RoutingTable(self.version, ISSUED, chosen))


TestGateways = Gateways.TestCase
# Without shrinking: it takes minutes, and a story of twenty steps can be read as it is.
TestGateways.settings = settings(stateful_step_count=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def routes(world: GatewayWorld, version: int, names: str = "a", drains: str = "", **changes: Any) -> None:
    """Publish the replicas of these names, of which some drain."""
    upstreams = tuple(Upstream(n, world.urls[n], 100, n in drains, "x", None) for n in names)
    service = ServiceRoutes(**{"service": "chat", "model": "tiny", "upstreams": upstreams, "retries": 0, **changes})
    world.publish(RoutingTable(version, ISSUED, (service,)))


def ask(world: GatewayWorld, *, stream: bool = True) -> Client:
    return world.ask("/v1/completions", {"model": "tiny", "prompt": "hi ", "stream": stream})


def one_stream(world: GatewayWorld, act: Act) -> None:
    """One replica, which acts so, and nobody else to turn to."""
    routes(world, 1)
    world.engines["a"].acts.append(act)
    ask(world)
    world.rest()


def one_answer(world: GatewayWorld, act: Act) -> None:
    """The same, not streamed."""
    routes(world, 1)
    world.engines["a"].acts.append(act)
    ask(world, stream=False)
    world.rest()


def two_replicas(world: GatewayWorld, act: Act) -> None:
    """Whoever is asked first acts so, the other goes on where it was."""
    routes(world, 1, "ab", resume_streams=True, retries=2)
    world.engines["a"].acts.append(act)
    world.engines["b"].acts.append(act)
    for _ in range(2):
        ask(world)
    world.rest()


def somebody_leaves(world: GatewayWorld, act: Act) -> None:
    """Amid a slow stream."""
    routes(world, 1)
    world.engines["a"].acts.append(act)
    client = ask(world)
    world.passes(50.0)
    world.passes(5.0)
    world.leave(client)
    world.rest()


def alone(world: GatewayWorld, act: Act) -> None:
    """The gateway starts anew, and the controller is away."""
    one_stream(world, act)
    world.restart()
    ask(world)
    world.rest()


def everybody_rests(world: GatewayWorld, act: Act) -> None:
    """The only replica died and is back; it rests for what it did."""
    routes(world, 1)
    world.engines["a"].die()
    ask(world)
    world.engines["a"].come_back()
    world.engines["a"].acts.append(act)
    ask(world)
    world.rest()


def one_drains(world: GatewayWorld, _act: Act) -> None:
    """And requests go on coming."""
    routes(world, 1, "ab", drains="a")
    world.passes(60.0)
    for _ in range(4):
        ask(world)
    world.rest()


def forgotten(world: GatewayWorld, _act: Act) -> None:
    """The controller has another memory than before, and says so of everybody; then one is back."""
    routes(world, 1, "abc")
    world.publish(RoutingTable(2, ISSUED, ()))
    for _ in range(3):
        ask(world)
    world.rest()
    world.restart()
    ask(world)
    routes(world, 3, "a")
    ask(world)
    world.rest()


def shrinking(world: GatewayWorld, _act: Act) -> None:
    """It loses one after the other; the last one is dead indeed."""
    for version, names in enumerate(("abc", "bc", "c"), start=1):
        routes(world, version, names)
        world.passes(60.0)
    world.engines["c"].die()
    routes(world, 4, "")
    for _ in range(3):
        ask(world)
    world.rest()


def one_is_lost(world: GatewayWorld, _act: Act) -> None:
    """Of three, and it would still answer."""
    routes(world, 1, "abc")
    routes(world, 2, "bc")
    world.passes(60.0)
    for _ in range(6):
        ask(world)
    world.rest()


CUT = Act(Ending.CUT, after=2)
SLOW = Act(pause=20.0)
FORWARD, UPSTREAMS, TALLY = (f"orchestrator.gateway.{m}:" for m in ("forward", "upstreams", "tally"))
GIVE_UP = FORWARD + "_StreamRelay._give_up"
RELAY = FORWARD + "_StreamRelay._relay"
KEPT = "orchestrator.gateway.kept:"
CHOOSE = "orchestrator.gateway.routing:choose"

MISTAKES = {
    "a broken stream just stops": (
        "I13",
        Change(GIVE_UP, "self._last_words or data_event(upstream_lost().body())", "b''"),
        (one_stream, CUT),
    ),
    "a marker is believed": (
        "I13",
        Change(
            "orchestrator.gateway.transcript:Transcript.read",
            "return Step.END if self.is_complete else Step.ABORTED",
            "return Step.END",
        ),
        (one_stream, Act(Ending.DROPPED, after=2)),
    ),
    "a stream that ends early is marked as whole": (
        "I13",
        Change(RELAY, 'raise UpstreamFailure("ended_early", is_gone=True)', "pass"),
        (one_stream, Act(Ending.ENDED, after=2)),
    ),
    "an aborted answer is passed on": (
        "I13",
        Change(UPSTREAMS + "_require_usable", "is_aborted(bytes(body))", "False"),
        (one_answer, Act(Ending.ABORTED, after=2)),
    ),
    "a silent replica is waited for without end (B20)": (
        "I13",
        Change(UPSTREAMS + "LiveStream.read", "asyncio.timeout(self._wait)", "asyncio.timeout(None)"),
        (one_stream, Act(Ending.STALLED, after=2)),
    ),
    "a resumed stream begins anew": (
        "I13",
        Change("orchestrator.gateway.resume:continuation", "    if text:", "    if False:"),
        (two_replicas, CUT),
    ),
    "nothing is settled on an error (B7)": (
        "I14",
        Change(TALLY + "Counted.__exit__", "self.settle(", "(lambda _: None)("),
        (one_answer, Act(status=503)),
    ),
    "a thing is settled twice": (
        "I14",
        Change(TALLY + "Counted.settle", "if self.outcome is None:", "if True:"),
        (one_stream, Act()),
    ),
    "who left counts as served": (
        "I14",
        Change(TALLY + "Counted.__exit__", "Outcome.CANCELLED if", "Outcome.OK if"),
        (somebody_leaves, SLOW),
    ),
    "who was cut off counts as served": (
        "I14",
        Change(GIVE_UP, "return Outcome.TRUNCATED", "return Outcome.OK"),
        (one_stream, CUT),
    ),
    "nobody notices that the client left (B20)": (
        "I15",
        Change("orchestrator.gateway.asgi:while_client_stays", "task.cancel()", "pass"),
        (somebody_leaves, SLOW),
    ),
    "the connection of a stream is kept": (
        "I15",
        Change(UPSTREAMS + "UpstreamClient.stream", "response.close()", "self.kept = response"),
        (somebody_leaves, SLOW),
    ),
    "the table is not read at the start": (
        "D7",
        Change("orchestrator.gateway.node:GatewayNode.load_table", "table = self._file.load()", "table = None"),
        (alone, Act()),
    ),
    "when everybody rests nobody is asked": (
        "D7",
        Change(CHOOSE, "not in excluded]", "not in excluded and u.replica not in cooling]"),
        (everybody_rests, Act()),
    ),
    "an empty table is believed": (
        "D7",
        Change(KEPT + "doubtful", "> left.get(m.routes.service, 0)", "> 1000"),
        (forgotten, Act()),
    ),
    "a table that shrinks step by step is believed": (
        "D7",
        Change(KEPT + "missed_in", "*(old.routes.upstreams if old is not None else ())", ""),
        (shrinking, Act()),
    ),
    "who is kept is forgotten at a restart": (
        "D7",
        Change("orchestrator.gateway.node:GatewayNode.load_table", "self._file.load_kept(table.version)", "()"),
        (forgotten, Act()),
    ),
    "whoever is missed is kept": (
        "D8",
        Change(KEPT + "doubtful", "> left.get(m.routes.service, 0)", "> 0"),
        (one_is_lost, Act()),
    ),
    "who drains is chosen": ("D8", Change(CHOOSE, "not u.draining and ", ""), (one_drains, Act())),
    "a stream counts as over at its first word": (
        "D8",
        Change(RELAY, "attempt.note_first_token()", "attempt.settle(Outcome.OK)"),
        (somebody_leaves, SLOW),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught(world: GatewayWorld, name: str) -> None:
    """Each promise can be broken, and whoever reads the history sees which."""
    invariant, change, (story, act) = MISTAKES[name]

    with applied((change,)):
        story(world, act)

    assert invariant in {v.invariant for v in broken(world.history)}


@pytest.mark.parametrize("name", MISTAKES)
def test_without_the_mistake_the_same_story_breaks_nothing(world: GatewayWorld, name: str) -> None:
    """So it was the mistake that was caught, not the story."""
    _, _, (story, act) = MISTAKES[name]
    story(world, act)

    assert broken(world.history) == []
    assert world.history.exchanges
