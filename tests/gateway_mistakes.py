"""Mistakes in the code of the gateway, and for each a story in which a promise breaks by it.

The numbers of published bugs are those of ``tests.sim.mutants``, which hunts these beside its own.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.bench.sim.checks import Violation
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from tests.gateway_promises import broken
from tests.gateway_world import Act, Client, Ending, GatewayWorld

ISSUED = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Mistake:
    """``change``: module and name of a function, text in it, and other text. ``story``: what happens, and by which act.

    ``promise``: the one that breaks.
    """

    promise: str
    change: tuple[str, str, str]
    story: tuple[Callable[[GatewayWorld, Act], None], Act]


def told(mistake: Mistake) -> list[Violation]:
    """Tell the story in a world of its own; return what it broke, by whatever code there is now."""
    logging.getLogger("orchestrator.gateway").addHandler(logging.NullHandler())  # who hunts wants one line of each
    with tempfile.TemporaryDirectory() as folder:
        world = GatewayWorld(Path(folder))
        try:
            story, act = mistake.story
            story(world, act)
            return broken(world.history)
        finally:
            world.close()


def routes(world: GatewayWorld, version: int, names: str = "a", drains: str = "", **changes: Any) -> None:
    """Publish the replicas of these names, of which some drain; each with its model, where that is another one."""
    model = changes.get("model", "tiny")
    own = {n: None if world.engines[n].model == model else world.engines[n].model for n in names}
    upstreams = tuple(Upstream(n, world.urls[n], 100, n in drains, "x", None, model=own[n]) for n in names)
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


def renamed(world: GatewayWorld, _act: Act) -> None:
    """A deploy has changed the model's name. One of two replicas is of before it; later, the table forgets that one."""
    world.engines["a"].model = "old"
    routes(world, 1, "ab")
    for _ in range(4):
        world.ask("/v1/completions", {"model": "chat", "prompt": "hi "})
    world.passes(60.0)
    routes(world, 2, "a", model="old")
    routes(world, 3, "")
    world.ask("/v1/completions", {"model": "chat", "prompt": "hi "})
    world.rest()


def renamed_amid_streams(world: GatewayWorld, act: Act) -> None:
    """As above; whoever is asked first breaks, and only the other one is left."""
    world.engines["a"].model = "old"
    routes(world, 1, "ab", resume_streams=True, retries=2)
    for name in "ab":
        world.engines[name].acts.append(act)
    for _ in range(2):
        world.ask("/v1/completions", {"model": "chat", "prompt": "hi ", "stream": True})
    world.rest()


def one_keeps_failing(world: GatewayWorld, act: Act) -> None:
    """Of two, for two minutes of requests that come one by one."""
    routes(world, 1, "ab")
    world.engines["a"].acts.extend([act] * 12)
    for _ in range(12):
        ask(world)
        world.passes(10.0)
    world.rest()


CUT = Act(Ending.CUT, after=2)
SLOW = Act(pause=20.0)
FORWARD, UPSTREAMS, TALLY = (f"orchestrator.gateway.{m}:" for m in ("forward", "upstreams", "tally"))
GIVE_UP = FORWARD + "_StreamRelay._give_up"
RELAY = FORWARD + "_StreamRelay._relay_to_its_end"
COOLDOWN = "orchestrator.gateway.cooldown:"
KEPT = "orchestrator.gateway.kept:"
CHOOSE = "orchestrator.gateway.routing:choose"

MISTAKES: dict[str, Mistake] = {
    "a broken stream just stops": Mistake(
        "I13",
        (GIVE_UP, "self._last_words or data_event(upstream_lost().body())", "b''"),
        (one_stream, CUT),
    ),
    "a marker is believed": Mistake(
        "I13",
        (
            "orchestrator.gateway.transcript:Transcript.read",
            "return Step.END if self.is_complete else Step.ABORTED",
            "return Step.END",
        ),
        (one_stream, Act(Ending.DROPPED, after=2)),
    ),
    "a stream that ends early is marked as whole": Mistake(
        "I13",
        (RELAY, 'raise UpstreamFailure("ended_early", is_gone=True)', "pass"),
        (one_stream, Act(Ending.ENDED, after=2)),
    ),
    "an aborted answer is passed on": Mistake(
        "I13",
        (UPSTREAMS + "_require_usable", "is_aborted(bytes(body))", "False"),
        (one_answer, Act(Ending.ABORTED, after=2)),
    ),
    "a silent replica is waited for without end (B20)": Mistake(
        "I13",
        (UPSTREAMS + "LiveStream.read", "asyncio.timeout(self._wait)", "asyncio.timeout(None)"),
        (one_stream, Act(Ending.STALLED, after=2)),
    ),
    "a resumed stream begins anew": Mistake(
        "I13",
        ("orchestrator.gateway.resume:continuation", "    if text:", "    if False:"),
        (two_replicas, CUT),
    ),
    "nothing is settled on an error (B7)": Mistake(
        "I14",
        (TALLY + "Counted.__exit__", "self.settle(", "(lambda _: None)("),
        (one_answer, Act(status=503)),
    ),
    "a thing is settled twice": Mistake(
        "I14",
        (TALLY + "Counted.settle", "if self.outcome is None:", "if True:"),
        (one_stream, Act()),
    ),
    "who left counts as served": Mistake(
        "I14",
        (TALLY + "Counted.__exit__", "Outcome.CANCELLED if", "Outcome.OK if"),
        (somebody_leaves, SLOW),
    ),
    "who was cut off counts as served": Mistake(
        "I14",
        (GIVE_UP, "return Outcome.TRUNCATED", "return Outcome.OK"),
        (one_stream, CUT),
    ),
    "nobody notices that the client left (B20)": Mistake(
        "I15",
        ("orchestrator.gateway.asgi:while_client_stays", "task.cancel()", "pass"),
        (somebody_leaves, SLOW),
    ),
    "the connection of a stream is kept": Mistake(
        "I15",
        (UPSTREAMS + "UpstreamClient.stream", "response.close()", "self.kept = response"),
        (somebody_leaves, SLOW),
    ),
    "the table is not read at the start": Mistake(
        "D7",
        ("orchestrator.gateway.node:GatewayNode.load_table", "table = self._file.load()", "table = None"),
        (alone, Act()),
    ),
    "when everybody rests nobody is asked": Mistake(
        "D7",
        (CHOOSE, "not in excluded]", "not in excluded and u.replica not in cooling]"),
        (everybody_rests, Act()),
    ),
    "an empty table is believed": Mistake(
        "D7",
        (KEPT + "doubtful", "> left.get(m.routes.service, 0)", "> 1000"),
        (forgotten, Act()),
    ),
    "a table that shrinks step by step is believed": Mistake(
        "D7",
        (KEPT + "missed_in", "*(old.routes.named_for(routes.model) if old is not None else ())", ""),
        (shrinking, Act()),
    ),
    "who is kept is forgotten at a restart": Mistake(
        "D7",
        ("orchestrator.gateway.node:GatewayNode.load_table", "self._file.load_kept(table.version)", "()"),
        (forgotten, Act()),
    ),
    "whoever is missed is kept": Mistake(
        "D8",
        (KEPT + "doubtful", "> left.get(m.routes.service, 0)", "> 0"),
        (one_is_lost, Act()),
    ),
    "all are asked for the newest name": Mistake(
        "N1", (FORWARD + "_Hunt.next", "routes.name_at(upstream)", "routes.model"), (renamed, Act())
    ),
    "who is kept is asked for the newest name": Mistake(
        "N1", (KEPT + "with_kept", ".named_for(s.model)", ".upstreams"), (renamed, Act())
    ),
    "a stream goes on as another model": Mistake(
        "N1",
        (FORWARD + "_StreamRelay.run", "self._hunt.next(self._model)", "self._hunt.next()"),
        (renamed_amid_streams, Act(Ending.CUT, after=2, pause=0.5)),
    ),
    "who drains is chosen": Mistake("D8", (CHOOSE, "not u.draining and ", ""), (one_drains, Act())),
    "a 500 is a good answer": Mistake(
        "R1",
        (FORWARD + "_Hunt.answered", "answer.status < _SERVER_ERROR or", "True or"),
        (one_keeps_failing, Act(status=500)),
    ),
    "the beginning of a stream is a good answer": Mistake(
        "R1",
        (
            FORWARD + "_StreamRelay._relay",
            "heard = self._transcript",
            "heard = self._node.worked(upstream) or self._transcript",
        ),
        (one_keeps_failing, Act(Ending.ERRED, after=1)),
    ),
    "who says that it is overloaded never rests": Mistake(
        "R1",
        (COOLDOWN + "Cooldowns.failed", "record.fails < ALLOWED_FAILS", "True"),
        (one_keeps_failing, Act(status=503)),
    ),
    "a rest is over at once": Mistake(
        "R1",
        (COOLDOWN + "Cooldowns.failed", "self._clock() + cooldown_seconds", "self._clock()"),
        (one_keeps_failing, Act(status=500)),
    ),
    "one that rests makes all of them be asked": Mistake(
        "R1",
        (CHOOSE, "2 * len(rested) < len(candidates)", "len(rested) < len(candidates)"),
        (one_keeps_failing, Act(status=500)),
    ),
    "a stream counts as over at its first word": Mistake(
        "D8",
        (RELAY, "attempt.note_first_token()", "attempt.settle(Outcome.OK)"),
        (somebody_leaves, SLOW),
    ),
}
