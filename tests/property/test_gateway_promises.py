"""I13 to I15, D7, D8 and R1 of the real gateway, whatever replicas, clients and the controller do; and mutants."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from tests.gateway_mistakes import ISSUED, MISTAKES, Mistake
from tests.gateway_promises import broken
from tests.gateway_world import Act, Ending, GatewayWorld
from tests.sim.mutants import Change, applied

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
    {"model": st.just("chat"), "stream": st.sampled_from([True, True, True, False])},
    optional={"max_tokens": st.integers(1, 8), "n": st.just(2)},
)


@st.composite
def services(draw: st.DrawFn, world: GatewayWorld) -> tuple[ServiceRoutes, ...]:
    """At most one service, as a controller may write it at any moment of a rollout."""
    model = draw(st.sampled_from(["tiny", "huge"]))
    if not draw(st.integers(0, 9)):
        return ()
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    upstreams = tuple(
        upstream(
            world, n, model, draw(st.sampled_from([0, 10, 100])), draining=draw(st.sampled_from([False, False, True]))
        )
        for n in names
    )
    return (
        ServiceRoutes(
            "chat",
            model,
            upstreams,
            resume_streams=draw(st.booleans()),
            retries=draw(st.integers(0, 3)),
            cooldown_seconds=draw(st.sampled_from([0.0, 30.0])),
            hold_seconds=draw(st.sampled_from([0.0, 20.0])),
            max_held=2,
        ),
    )


def upstream(world: GatewayWorld, name: str, model: str, weight: int = 100, *, draining: bool = False) -> Upstream:
    """Write a replica of a service with that model as a controller does: with its own name for it, if that differs."""
    own = world.engines[name].model
    return Upstream(name, world.urls[name], weight, draining, "x", None, model=None if own == model else own)


class Gateways(RuleBasedStateMachine):
    """A controller, replicas and clients that do as they please; the promises are read once all is at rest."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = GatewayWorld(Path(self.folder.name))
        self.version = 0

    @initialize(resumes=st.booleans(), huge=st.sampled_from(["", "", "c", "bc"]))
    def begins(self, *, resumes: bool, huge: str) -> None:
        for name in huge:
            self.world.engines[name].model = "huge"
        ups = tuple(upstream(self.world, n, "tiny") for n in "abc")
        self._publish((ServiceRoutes("chat", "tiny", ups, resume_streams=resumes),))

    @rule(data=st.data())
    def the_controller_publishes(self, data: st.DataObject) -> None:
        self._publish(data.draw(services(self.world)))

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


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_caught(world: GatewayWorld, mistake: Mistake) -> None:
    """Each promise can be broken, and whoever reads the history sees which."""
    story, act = mistake.story

    with applied((Change(*mistake.change),)):
        story(world, act)

    assert mistake.promise in {v.invariant for v in broken(world.history)}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_without_the_mistake_the_same_story_breaks_nothing(world: GatewayWorld, mistake: Mistake) -> None:
    """So it was the mistake that was caught, not the story."""
    story, act = mistake.story
    story(world, act)

    assert broken(world.history) == []
    assert world.history.exchanges
