"""Each replica is asked for the model by its own name; what clients may call it; and adapters."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.routing import OriginWeights, RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.wire import InvalidRouting
from orchestrator.gateway.client import SocketGateway
from tests.unit.gateway.conftest import ISSUED, Gateway, older_gateway, spoken, upstream
from tests.unit.gateway.scripted import Act, ScriptedEngine

OLD, NEW = "org/model-a", "org/model-b"


def up(name: str, weight: int = 100, **changes: Any) -> Upstream:
    return Upstream(name, f"http://{name}:1", weight, changes.pop("draining", False), "local/a", None, **changes)


def table(*upstreams: Upstream, **changes: Any) -> RoutingTable:
    return RoutingTable(3, ISSUED, (ServiceRoutes("chat", NEW, upstreams, **changes),))


class TestTable:
    def test_names_and_adapters_survive_the_way_through_json(self) -> None:
        """What the gateway boots from is what was published."""
        written = table(up("a", model=OLD, adapters=("sql",)), up("b"), adapters=("chess", "sql"))
        assert RoutingTable.from_json(written.to_json()) == written

    def test_where_all_serve_alike_it_is_written_as_before(self) -> None:
        """A gateway of before there were such names reads it, and one of today reads what was written before."""
        document = json.loads(table(up("a")).to_json())
        assert {"model", "adapters"}.isdisjoint(document["services"][0]["upstreams"][0])
        assert "adapters" not in document["services"][0]
        assert list(table(up("a")).older_forms()) == []

    @pytest.mark.parametrize(
        ("key", "value"), [("model", 3), ("model", "a b"), ("adapters", "sql"), ("adapters", ["a", "a"])]
    )
    def test_what_cannot_be_a_name_is_refused(self, key: str, value: object) -> None:
        """Strictly, as the rest of a table."""
        document = json.loads(table(up("a")).to_json())
        document["services"][0]["upstreams"][0][key] = value
        with pytest.raises(InvalidRouting, match=key.removesuffix("s")):
            RoutingTable.from_json(json.dumps(document))

    def test_older_gateways_get_the_name_by_which_most_is_served(self) -> None:
        """Whoever serves another name gets nothing new there, and is waited for; rows go last."""
        rows = (OriginWeights("eu", (("a", 100), ("b", 0))),)
        mixed = table(up("a", 90, model=OLD), up("b", 10, adapters=("sql",)), rows=rows, adapters=("sql",))
        alike = ServiceRoutes("chat", OLD, (up("a", 90), up("b", 0, draining=True)), rows=rows)
        first, last = mixed.older_forms()
        assert first.services == (alike,)
        assert last == first.without_rows()
        later = table(up("a", 10, model=OLD), up("b", 90))
        (form,) = later.older_forms()
        assert form.services == (ServiceRoutes("chat", NEW, (up("a", 0, draining=True), up("b", 90))),)


@pytest.fixture
async def older(tmp_path: Path) -> AsyncIterator[list[dict[str, Any]]]:
    """A gateway of before replicas had names of their own, which refuses keys that it does not know."""

    def refused(services: list[dict[str, Any]]) -> str:
        new = any("adapters" in s or {"model", "adapters"} & u.keys() for s in services for u in s["upstreams"])
        return "upstreams[0].model" * new

    async with older_gateway(tmp_path, refused) as taken:
        yield taken


async def test_an_older_gateway_keeps_serving_and_keeps_its_rows(tmp_path: Path, older: list[dict[str, Any]]) -> None:
    """It outlives controllers: a deploy that changes the model's name is no outage there either."""
    rows = (OriginWeights("eu", (("a", 100), ("b", 0))),)
    mixed = table(up("a", 90, model=OLD), up("b", 10), rows=rows)
    await SocketGateway(tmp_path).publish(mixed)
    (taken,) = [RoutingTable.from_json(json.dumps(document)) for document in older]
    assert taken == next(mixed.older_forms())
    assert taken.services[0].rows == rows


async def pair(engines: Any) -> tuple[ScriptedEngine, ScriptedEngine]:
    """An engine of before a deploy that changed the model's name, and one of after it."""
    old, new = await engines("a"), await engines("b")
    old.serves, new.serves = frozenset({OLD}), frozenset({NEW})
    return old, new


class TestRenamed:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("name", ["chat", OLD, NEW])
    async def test_each_replica_is_asked_by_its_own_name(
        self, gateway: Gateway, engines: Any, name: str, *, stream: bool
    ) -> None:
        """Whichever of its names the client uses, and whichever replica has its turn."""
        old, new = await pair(engines)
        await gateway.use(upstream(old, model=OLD), upstream(new), model=NEW)
        for _ in range(6):
            async with gateway.post(model=name, stream=stream) as response:
                assert response.status == 200
                await response.read()
        assert {(s.body["model"]) for s in old.completions} == {OLD}
        assert {(s.body["model"]) for s in new.completions} == {NEW}
        assert len(old.completions) == len(new.completions) == 3

    async def test_a_retry_is_written_anew_for_who_gets_it(self, gateway: Gateway, engines: Any) -> None:
        """The first one is full; the other has another name for it, and the same request otherwise."""
        old, new = await pair(engines)
        old.then(Act(status=503))
        await gateway.use(upstream(old, model=OLD), upstream(new, weight=0), model=NEW)
        async with gateway.post(model=OLD, max_tokens=1) as response:
            assert response.status == 200
        (seen,) = new.completions
        assert seen.body == {"model": NEW, "prompt": "hello ", "max_tokens": 1}

    async def test_the_same_bytes_go_to_who_has_the_name_that_was_sent(self, gateway: Gateway, engines: Any) -> None:
        """Nothing is written anew without need."""
        old, _ = await pair(engines)
        await gateway.use(upstream(old, model=OLD), model=NEW)
        raw = b'{ "model":"%s",  "prompt": "hello " }' % OLD.encode()
        async with gateway.session.post(f"{gateway.url}/v1/completions", data=raw) as response:
            assert response.status == 200
        assert old.completions[0].raw == raw

    async def test_a_stream_does_not_go_on_as_another_model(self, gateway: Gateway, engines: Any) -> None:
        """It ends with an error instead: nobody gets one answer from two models without having asked for it."""
        old, new = await pair(engines)
        old.then(Act(cut_after=3))
        await gateway.use(upstream(old, model=OLD), upstream(new, weight=0), model=NEW, resume_streams=True)
        async with gateway.post(model="chat", stream=True) as response:
            text = await response.text()
        assert spoken(text) == "w0 w1 w2 "
        assert '"code": "upstream_lost"' in text
        assert new.completions == []

    async def test_a_stream_goes_on_where_the_name_is_the_same(self, gateway: Gateway, engines: Any) -> None:
        """Past one of another name, which nobody asks; tokens are counted by that name, too."""
        old, new = await pair(engines)
        twin = await engines("c")
        twin.serves = frozenset({OLD})
        old.then(Act(cut_after=3))
        others = upstream(new, weight=0), upstream(twin, weight=0, model=OLD)
        await gateway.use(upstream(old, model=OLD), *others, model=NEW, resume_streams=True)
        async with gateway.post(model="chat", stream=True) as response:
            text = await response.text()
        assert spoken(text).split() == [f"w{n}" for n in range(8)]
        assert {s.body["model"] for s in twin.seen} == {OLD}
        assert new.completions == []

    async def test_the_old_name_is_found_as_long_as_somebody_serves_it(self, gateway: Gateway, engines: Any) -> None:
        """And is listed. Who drains gets nothing new, so its name is gone, and the answer says what there is."""
        old, new = await pair(engines)
        await gateway.use(upstream(old, model=OLD), upstream(new), model=NEW)
        async with gateway.get("/v1/models") as response:
            assert [m["id"] for m in (await response.json())["data"]] == ["chat", NEW, OLD]
        await gateway.use(upstream(old, model=OLD, draining=True), upstream(new), model=NEW)
        async with gateway.post(model=OLD) as response:
            assert response.status == 404
            assert "Available: chat, org/model-b." in await response.text()

    async def test_what_a_service_is_called_today_goes_before_what_another_was_called(
        self, gateway: Gateway, engines: Any
    ) -> None:
        """A model that moves from one service to another is not in doubt meanwhile."""
        old, new = await pair(engines)
        await gateway.use_services(
            ServiceRoutes("first", NEW, (upstream(new, model=OLD),)), ServiceRoutes("second", OLD, (upstream(old),))
        )
        async with gateway.post(model=OLD) as response:
            assert response.headers["x-greenctl-replica"] == "r-a"


class TestAdapters:
    async def loaded(self, gateway: Gateway, engine: ScriptedEngine, **changes: Any) -> None:
        """Publish a service whose one replica has an adapter."""
        engine.serves = frozenset({"tiny", "sql"})
        await gateway.use(upstream(engine, adapters=("sql",)), adapters=("sql",), **changes)

    @pytest.mark.parametrize("name", ["sql", "chat:sql"])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_an_adapter_is_asked_for_by_its_name(
        self, gateway: Gateway, engine: ScriptedEngine, name: str, *, stream: bool
    ) -> None:
        """The engine knows it by that name, and nobody replaces it by the model's."""
        await self.loaded(gateway, engine)
        async with gateway.post(model=name, stream=stream) as response:
            assert response.status == 200
            await response.read()
        assert engine.completions[0].body["model"] == "sql"

    async def test_it_is_listed_with_the_model_that_it_adapts(self, gateway: Gateway, engine: ScriptedEngine) -> None:
        """As vLLM does, by both of its names."""
        await self.loaded(gateway, engine)
        async with gateway.get("/v1/models") as response:
            found = {m["id"]: (m["root"], m.get("parent")) for m in (await response.json())["data"]}
        assert found == {
            "chat": ("tiny", None),
            "tiny": ("tiny", None),
            "chat:sql": ("sql", "tiny"),
            "sql": ("sql", "tiny"),
        }

    async def test_one_name_in_two_services_takes_the_services_name(self, gateway: Gateway, engines: Any) -> None:
        """Which one is meant is not guessed; the refusal says what to write."""
        a, b = await engines("a"), await engines("b")
        await gateway.use_services(
            ServiceRoutes("one", "tiny", (upstream(a, adapters=("sql",)),), adapters=("sql",)),
            ServiceRoutes("two", "huge", (upstream(b, adapters=("sql",)),), adapters=("sql",)),
        )
        async with gateway.post(model="sql") as response:
            assert response.status == 400
            assert "name one of: one:sql, two:sql." in await response.text()
        async with gateway.post(model="two:sql") as response:
            assert response.headers["x-greenctl-replica"] == "r-b"
        async with gateway.get("/v1/models") as response:
            assert "sql" not in {m["id"] for m in (await response.json())["data"]}

    async def test_only_those_are_asked_that_have_it(self, gateway: Gateway, engines: Any) -> None:
        """A deploy that adds an adapter reaches one replica after the other; both share what asks for the model."""
        old, new = await engines("a"), await engines("b")
        old.serves, new.serves = frozenset({"tiny"}), frozenset({"tiny", "sql"})
        await gateway.use(upstream(old), upstream(new, weight=10, adapters=("sql",)), adapters=("sql",))
        for _ in range(11):
            for name in ("sql", "chat"):
                async with gateway.post(model=name) as response:
                    assert response.status == 200
        assert len(new.completions) == 12
        assert len(old.completions) == 10

    async def test_before_anybody_has_it_clients_are_asked_to_come_again(
        self, gateway: Gateway, engine: ScriptedEngine
    ) -> None:
        """It was deployed a moment ago: that is no wrong name."""
        await gateway.use(upstream(engine), adapters=("sql",))
        async with gateway.post(model="sql") as response:
            assert response.status == 503
            assert "retry-after" in response.headers
