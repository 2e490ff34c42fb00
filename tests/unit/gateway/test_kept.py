"""What the gateway does when a table takes away those who served: decision 0050."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.counters import GatewayStatus, sum_statuses
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.gateway.cooldown import ALLOWED_FAILS
from orchestrator.gateway.kept import KEPT_SECONDS, Missed, doubtful, missed_in, with_kept, without
from orchestrator.gateway.table import KEPT_FILE_NAME, TableFile
from tests.gateway_world import Act, Client, GatewayWorld
from tests.unit.gateway.conftest import ISSUED


def up(name: str, *, draining: bool = False, url: str = "") -> Upstream:
    return Upstream(name, url or f"http://10.0.0.{ord(name)}:1", 100, draining, f"local/{name}", None)


def table(version: int, names: str, drains: str = "", **more: Any) -> RoutingTable:
    upstreams = tuple(up(n, draining=n in drains) for n in names)
    return RoutingTable(version, ISSUED, (ServiceRoutes("chat", "tiny", upstreams, **more),))


NOTHING = RoutingTable(2, ISSUED, ())


def names_of(missed: list[Missed]) -> str:
    return "".join(u.replica for m in missed for u in m.routes.upstreams)


class TestWhoIsMissed:
    def test_who_is_gone_without_a_word(self) -> None:
        """Whether the service is still named or not."""
        assert names_of(missed_in(table(2, ""), table(1, "abc"), (), 0.0)) == "abc"
        assert names_of(missed_in(NOTHING, table(1, "abc"), (), 0.0)) == "abc"
        assert names_of(missed_in(table(2, "c"), table(1, "abc"), (), 0.0)) == "ab"

    def test_who_drained_said_goodbye(self) -> None:
        """A service that is taken down, scaled down or moved lets its replicas drain: nobody is missed."""
        assert missed_in(NOTHING, table(1, "ab", drains="ab"), (), 0.0) == []
        assert missed_in(table(2, "ab", drains="ab"), table(1, "ab"), (), 0.0) == []

    def test_an_address_with_another_name_is_another_s(self) -> None:
        """Ports and addresses are given again."""
        renamed = RoutingTable(2, ISSUED, (ServiceRoutes("chat", "tiny", (up("b", url=up("a").url),)),))
        assert missed_in(renamed, table(1, "a"), (), 0.0) == []

    def test_it_adds_up_over_tables_until_they_are_named_again(self) -> None:
        """One after the other is as suspicious as all at once; to be named or to drain ends it."""
        first = missed_in(table(2, "bc"), table(1, "abc"), (), 0.0)
        second = missed_in(table(3, "c"), table(2, "bc"), first, 10.0)
        assert names_of(second) == "ba"
        assert [m.since for m in second] == [0.0]
        assert names_of(missed_in(table(4, "ac"), table(3, "c"), second, 20.0)) == "b"
        assert names_of(missed_in(table(4, "bc", drains="b"), table(3, "c"), second, 20.0)) == "a"
        assert missed_in(table(4, "c", drains="c"), table(3, "c"), second, 20.0) == []
        assert names_of(missed_in(NOTHING, NOTHING, second, 20.0)) == "ba"

    def test_nobody_is_waited_for_longer_than_it_would_live_alone(self) -> None:
        """After the shortest lease it has ended by itself."""
        missed = missed_in(NOTHING, table(1, "a"), (), 100.0)
        assert missed_in(NOTHING, NOTHING, missed, 99.0 + KEPT_SECONDS) == missed
        assert missed_in(NOTHING, NOTHING, missed, 100.0 + KEPT_SECONDS) == []

    def test_few_are_believed_to_be_lost(self) -> None:
        """A controller that names as many as it lost can see; one that lost more than that may be blind."""
        for left, is_doubtful in (("", True), ("d", True), ("de", False), ("def", False)):
            missed = missed_in(table(2, left), table(1, "ab" + left), (), 0.0)
            assert bool(doubtful(missed, table(2, left))) is is_doubtful
        drains = table(2, "cde", drains="de")
        assert not doubtful(missed_in(drains, table(1, "acde"), (), 0.0), drains)
        assert doubtful(missed_in(drains, table(1, "abcde"), (), 0.0), drains)


class TestWhatIsServedBy:
    def test_the_table_s_own_words_come_first(self) -> None:
        """Keys and limits are the newest; only who serves is added. Nobody is added who was not in the last table."""
        new = table(2, "", retries=7, allowed_keys_sha256=("0" * 64,))
        missed = missed_in(new, table(1, "abc"), (), 0.0)
        (service,) = with_kept(new, missed, {"b"}).services
        assert (service.retries, service.allowed_keys_sha256) == (7, ("0" * 64,))
        assert service.upstreams == (up("b"),)
        assert with_kept(NOTHING, missed, {"b"}).services == (table(1, "b").services[0],)
        assert with_kept(new, missed, {"z"}) is new

    def test_who_is_given_up_is_missed_no_more(self) -> None:
        """And a service of which nobody is missed is not either."""
        missed = missed_in(NOTHING, table(1, "ab"), (), 0.0)
        assert names_of(without(missed, {"a"})) == "b"
        assert without(missed, {"a", "b"}) == []


class TestOnDisk:
    def test_the_last_words_lie_beside_the_table_that_lacks_them(self, tmp_path: Path) -> None:
        """They count for that table alone, and go when the next one lacks nobody."""
        file = TableFile(tmp_path)
        file.save(table(2, ""), table(1, "a").services)
        assert file.load_kept(2) == table(1, "a").services
        assert file.load_kept(3) == ()
        file.save(table(3, "a"))
        assert not (tmp_path / KEPT_FILE_NAME).exists()

    def test_a_damaged_file_is_nobody_s_words(self, tmp_path: Path) -> None:
        """The table itself is what counts."""
        (tmp_path / KEPT_FILE_NAME).write_text("{")
        assert TableFile(tmp_path).load_kept(1) == ()


def test_a_status_says_who_is_kept_and_nothing_where_nobody_is() -> None:
    """So that an older controller can read it for as long as nothing is the matter."""
    plain = GatewayStatus(1, "b", ())
    assert "kept" not in json.loads(plain.to_json())
    kept = GatewayStatus(1, "c", (), kept=("a",))
    assert GatewayStatus.from_json(kept.to_json()) == kept
    assert sum_statuses([plain, kept]).kept == ("a",)


# ── the real gateway ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def routes(world: GatewayWorld, version: int, names: str, drains: str = "", **more: Any) -> None:
    upstreams = tuple(Upstream(n, world.urls[n], 100, n in drains, f"local/{n}", None) for n in names)
    world.publish(RoutingTable(version, ISSUED, (ServiceRoutes("chat", "tiny", upstreams, **more),)))


def forget_all(world: GatewayWorld, version: int) -> None:
    world.publish(RoutingTable(version, ISSUED, ()))


def ask(world: GatewayWorld) -> Client:
    client = world.ask("/v1/completions", {"model": "tiny", "prompt": "hi "})
    world.passes(1.0)
    return client


def status_of(client: Client) -> int:
    status: int = client.exchange.heard[0][1]["status"]
    return status


def test_an_empty_table_does_not_turn_off_those_who_answer(
    world: GatewayWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """The controller came up with an empty database. Status, metrics and log say what is served by."""
    routes(world, 1, "abc")
    world.engines["c"].die()
    forget_all(world, 2)

    assert [status_of(ask(world)) for _ in range(4)] == [200] * 4
    status = world.node.status()
    assert (status.applied_version, status.kept) == (2, ("a", "b"))
    assert b'kept_upstreams{service="chat",worker="0"} 2.0' in world.node.metrics.page()
    assert "table 2 lost most of a service without a word; kept while they answer: a, b" in caplog.text


def test_whoever_answers_no_more_is_not_kept(world: GatewayWorld) -> None:
    """And not taken up again by coming back: by then somebody else may live there."""
    routes(world, 1, "a")
    forget_all(world, 2)
    assert status_of(ask(world)) == 200
    world.engines["a"].die()
    world.passes(60.0)
    world.engines["a"].come_back()
    world.passes(60.0)
    assert world.node.status().kept == ()
    assert status_of(ask(world)) == 404


def test_a_moment_of_silence_does_not_end_it(world: GatewayWorld) -> None:
    """Three looks in a row do."""
    routes(world, 1, "a")
    forget_all(world, 2)
    world.engines["a"].die()
    world.passes(20.0)
    assert world.node.status().kept == ()
    world.engines["a"].come_back()
    world.passes(20.0)
    assert world.node.status().kept == ("a",)


def test_an_engine_with_another_model_at_the_address_is_another_one(world: GatewayWorld) -> None:
    """Healthy is not enough."""
    routes(world, 1, "a")
    world.engines["a"].model = "huge"
    forget_all(world, 2)
    assert world.node.status().kept == ()
    assert status_of(ask(world)) == 404


@pytest.mark.parametrize(("wanted", "kept"), [("secret", ("a",)), ("another", ())])
def test_who_does_not_know_our_key_is_another_one(
    world: GatewayWorld, tmp_path: Path, wanted: str, kept: tuple[str, ...]
) -> None:
    """And a stranger at the address sees the key only once it says that it is well."""
    (tmp_path / "key").write_text("secret")
    world.engines["a"].key = wanted
    locked = Upstream("a", world.urls["a"], 100, False, "local/a", None, api_key_file=str(tmp_path / "key"))
    world.publish(RoutingTable(1, ISSUED, (ServiceRoutes("chat", "tiny", (locked,)),)))
    forget_all(world, 2)
    assert world.engines["a"].shown == [("/health", ""), ("/v1/models", "Bearer secret")]
    assert world.node.status().kept == kept


def test_those_who_replace_them_end_it(world: GatewayWorld) -> None:
    """As many as are missed are enough."""
    routes(world, 1, "a")
    routes(world, 2, "")
    assert world.node.status().kept == ("a",)
    routes(world, 3, "b")
    assert world.node.status().kept == ()
    work = [ask(world) for _ in range(4)]
    assert {status_of(w) for w in work} == {200}
    assert {g.replica for g in world.history.generations} == {"b"}


def test_down_is_down_at_once(world: GatewayWorld) -> None:
    """Its replicas drain, and may take their time to end."""
    routes(world, 1, "ab")
    routes(world, 2, "ab", drains="ab")
    forget_all(world, 3)
    assert world.node.status().kept == ()
    assert status_of(ask(world)) == 404


def test_a_service_that_was_forgotten_can_be_taken_down(world: GatewayWorld) -> None:
    """Deployed again and taken down, it is down: those that were kept before do not come up instead."""
    routes(world, 1, "a")
    forget_all(world, 2)
    assert world.node.status().kept == ("a",)
    routes(world, 3, "b")
    routes(world, 4, "b", drains="b")
    assert world.node.status().kept == ()
    forget_all(world, 5)
    assert status_of(ask(world)) == 404


def test_a_lost_replica_of_a_service_that_sleeps_lets_requests_wait(world: GatewayWorld) -> None:
    """Nobody answers, so nobody is kept, and the room is open."""
    routes(world, 1, "a", hold_seconds=30.0, max_held=2)
    world.engines["a"].die()
    routes(world, 2, "", hold_seconds=30.0, max_held=2)
    waits = ask(world)
    assert waits.exchange.heard == []
    routes(world, 3, "b", hold_seconds=30.0, max_held=2)
    world.passes(1.0)
    assert status_of(waits) == 200


def test_a_restart_asks_again_before_it_serves(world: GatewayWorld) -> None:
    """Whom the table on disk lacks is in a file beside it."""
    routes(world, 1, "ab")
    forget_all(world, 2)
    world.engines["b"].die()
    world.rest()
    world.restart()
    assert world.node.status().kept == ("a",)
    assert status_of(ask(world)) == 200


def test_when_most_answer_badly_all_are_asked_again(world: GatewayWorld) -> None:
    """Two of three were overloaded for a moment: the third carries everything until one of them is well, no longer."""
    routes(world, 1, "abc", retries=2, cooldown_seconds=300.0)
    for name in "ab":
        world.engines[name].acts.extend([Act(status=503)] * ALLOWED_FAILS)
    assert {status_of(ask(world)) for _ in range(3 * ALLOWED_FAILS)} == {200}
    tried = len(world.history.generations)
    for _ in range(3):
        ask(world)
    assert {g.replica for g in world.history.generations[tried:]} > {"c"}


def test_after_the_shortest_lease_the_table_is_believed(world: GatewayWorld) -> None:
    """The controller has said for hours that there is no such service."""
    routes(world, 1, "a")
    forget_all(world, 2)
    world.passes(KEPT_SECONDS - 60.0)
    assert status_of(ask(world)) == 200
    world.passes(120.0)
    assert status_of(ask(world)) == 404
