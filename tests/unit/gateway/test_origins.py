"""Rows of weights by origin: in the table, over both directions of version skew, and in who gets a request."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.routing import OriginWeights, RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.wire import InvalidRouting
from orchestrator.gateway.client import SocketGateway
from orchestrator.gateway.instance import url_of
from orchestrator.gateway.node import GatewayNode
from orchestrator.gateway.options import Options, parse
from orchestrator.gateway.sockets import gateway_folder
from tests.unit.gateway.conftest import ISSUED, Gateway, older_gateway, upstream
from tests.unit.gateway.scripted import scripted

ROWS = (OriginWeights("eu", (("a", 100), ("b", 0))), OriginWeights("us-east", (("a", 25), ("b", 75))))


def up(name: str) -> Upstream:
    return Upstream(name, f"http://127.0.0.1:1/{''}".rstrip("/"), 50, draining=False, region="local/a", zone=None)


ROUTES = ServiceRoutes("chat", "tiny", (up("a"), up("b")), rows=ROWS)
TABLE = RoutingTable(3, ISSUED, (ROUTES,))


def node(folder: Path, **changes: str) -> GatewayNode:
    return GatewayNode(gateway_folder(folder), mode="plain", keyless_allowed=True, **changes)  # type: ignore[arg-type]


def picked(gateway: GatewayNode, origin: str, count: int = 100) -> Counter[str]:
    found = [gateway.pick(ROUTES, (), origin) for _ in range(count)]
    return Counter(u.replica for u in found if u is not None)


class TestTable:
    def test_rows_survive_the_way_through_json(self) -> None:
        """What the gateway boots from is what was published."""
        assert RoutingTable.from_json(TABLE.to_json()) == TABLE

    def test_a_table_without_rows_is_what_it_was_before_there_were_any(self) -> None:
        """A controller of before writes none, and a gateway of before reads one that has none."""
        document = json.loads(TABLE.without_rows().to_json())
        assert "rows" not in document["services"][0]
        assert RoutingTable.from_json(json.dumps(document)) == TABLE.without_rows()
        assert TABLE.without_rows().services[0].upstreams == ROUTES.upstreams

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            ({"origin": "eu", "weights": [{"replica": "a", "weight": 101}]}, "weight of a"),
            ({"origin": "eu", "weights": [{"replica": "a", "weight": True}]}, "whole number"),
            ({"origin": "e u", "weights": []}, "origin"),
            ({"origin": "eu", "weights": [{"replica": "a", "weight": 1}] * 2}, "appears twice"),
            ({"origin": "us-east", "weights": []}, "appears twice"),
            ({"origin": "eu"}, "missing"),
            ({"origin": "eu", "weights": [], "note": 1}, "unknown key"),
        ],
    )
    def test_a_row_that_cannot_be_is_refused(self, row: dict[str, object], why: str) -> None:
        """Strictly, as the rest of a table: whoever boots from one has nobody to ask."""
        document = json.loads(TABLE.to_json())
        document["services"][0]["rows"][0] = row
        with pytest.raises(InvalidRouting, match=why):
            RoutingTable.from_json(json.dumps(document))


class TestWho:
    def test_a_request_goes_by_the_row_of_its_origin(self, tmp_path: Path) -> None:
        """Exactly as often as the weights of that row say."""
        gateway = node(tmp_path)
        assert picked(gateway, "eu") == {"a": 100}
        assert picked(gateway, "us-east") == {"a": 25, "b": 75}

    @pytest.mark.parametrize("origin", ["", "mars", "EU", "eu\n", "x" * 10_000])
    def test_whoever_is_of_no_known_origin_goes_by_the_one_split(self, tmp_path: Path, origin: str) -> None:
        """And what somebody says of themselves is kept nowhere."""
        gateway = node(tmp_path)
        assert picked(gateway, origin) == {"a": 50, "b": 50}
        assert list(gateway._numbers) == [("chat", "", 0)]  # that nothing of it grows

    def test_one_that_its_row_leaves_out_still_stands_by(self, tmp_path: Path) -> None:
        """Weight 0 is standby: used when nobody with a weight is left."""
        found = node(tmp_path).pick(ROUTES, ("a",), "eu")
        assert found is not None
        assert found.replica == "b"

    def test_the_proxy_goes_before_our_own_origin(self, tmp_path: Path) -> None:
        """What it says counts even where it is unknown; where it is silent, our own does."""
        gateway = node(tmp_path, origin="eu", origin_header="X-Client-Area")
        assert gateway.origin_of(None) == "eu"
        assert gateway.origin_of("us-east") == "us-east"
        assert gateway.origin_of("mars") == "mars"


async def test_the_header_counts_only_where_it_is_configured(gateway: Gateway) -> None:
    """Without --origin-header a client cannot choose its row; with it, the named header does."""
    async with scripted("a") as a, scripted("b") as b:
        rows = (OriginWeights("eu", (("r-a", 0), ("r-b", 100))), OriginWeights("us", (("r-a", 100), ("r-b", 0))))
        await gateway.use(upstream(a), upstream(b, weight=0), rows=rows)
        async with gateway.post(headers={"X-Client-Area": "eu"}) as reply:
            assert reply.headers["x-greenctl-region"] == "local/a"
        gateway.node.origin_header = b"x-client-area"
        for said, region in (("eu", "local/b"), ("us", "local/a"), ("mars", "local/a")):
            async with gateway.post(headers={"X-Client-Area": said}) as reply:
                assert reply.headers["x-greenctl-region"] == region
        page = gateway.node.metrics.page().decode()
        assert "mars" not in page


@pytest.fixture
async def older(tmp_path: Path) -> AsyncIterator[list[dict[str, Any]]]:
    """A gateway of before there were rows, which refuses keys that it does not know."""
    async with older_gateway(tmp_path, lambda services: "rows" * any("rows" in s for s in services)) as taken:
        yield taken


async def test_an_older_gateway_gets_the_table_without_rows(tmp_path: Path, older: list[dict[str, Any]]) -> None:
    """It outlives controllers: a new one serves all by the one split there, and goes on."""
    await SocketGateway(tmp_path).publish(TABLE)
    assert [RoutingTable.from_json(json.dumps(document)) for document in older] == [TABLE.without_rows()]


class TestOptions:
    def test_an_origin_is_told_on_the_command_line(self, tmp_path: Path) -> None:
        """What is written is read back, and nothing is said where nothing is set."""
        options = Options(tmp_path, plain=True, origin="us-east", origin_header="X-Client-Area")
        assert parse(options.arguments()) == options
        assert "--origin" not in Options(tmp_path).arguments()

    @pytest.mark.parametrize("words", [["--origin", "US East"], ["--origin-header", "Authorization"]])
    def test_what_is_no_origin_is_refused(self, tmp_path: Path, words: list[str]) -> None:
        """No credential's header, and no name that slo.clients could not have."""
        with pytest.raises(SystemExit):
            parse(["--state-dir", str(tmp_path), *words])


def test_an_ipv6_address_stands_in_brackets() -> None:
    """RFC 3986: else its last group would be read as the port."""
    assert url_of("::1", 8080) == "http://[::1]:8080"
    assert url_of("127.0.0.1", 8080) == "http://127.0.0.1:8080"


async def test_requests_keep_their_row_across_a_retry(gateway: Gateway) -> None:
    """A replica that its row prefers and that is gone: the standby of the row answers."""
    async with scripted("a") as a, scripted("b") as b:
        gateway.node.origin_header = b"x-client-area"
        rows = (OriginWeights("eu", (("r-a", 100), ("r-b", 0))), OriginWeights("us", (("r-a", 0), ("r-b", 100))))
        await gateway.use(upstream(a, url="http://127.0.0.1:9"), upstream(b, weight=0), rows=rows)
        async with asyncio.timeout(5), gateway.post(headers={"X-Client-Area": "eu"}) as reply:
            assert reply.status == 200
            assert reply.headers["x-greenctl-region"] == "local/b"
