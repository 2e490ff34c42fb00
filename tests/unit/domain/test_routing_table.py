from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.counters import (
    FIRST_TOKEN_CLASSES,
    GatewayStatus,
    UpstreamStatus,
    first_token_class,
    first_token_from_seconds,
    sum_statuses,
)
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.wire import InvalidRouting

ISSUED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def upstream(replica: str = "r1", **changes: Any) -> Upstream:
    given = {"replica": replica, "url": "http://127.0.0.1:8101", "weight": 90, "draining": False}
    return Upstream(**{**given, "region": "local/se", "zone": "SE-SE3", **changes})


def table(**changes: Any) -> RoutingTable:
    known = upstream(grams_per_kwh=27.5, intensity_kind="measured", api_key_file="/keys/r1")
    service = ServiceRoutes(
        "chat", "org/model-8b", (known, upstream("r2")), resume_streams=True, retries=3, allowed_keys_sha256=("0" * 64,)
    )
    return RoutingTable(**{"version": 7, "issued_at": ISSUED, "services": (service,), **changes})


class TestTable:
    def test_survives_the_way_through_json(self) -> None:
        """What the gateway boots from is exactly what was published, unknown intensities included."""
        assert RoutingTable.from_json(table().to_json()) == table()

    @pytest.mark.parametrize(
        ("path", "value", "place"),
        [
            (["version"], "7", "version: not a whole number"),
            (["version"], True, "version: not a whole number"),
            (["version"], 0, "version: 0"),
            (["format"], 2, "format: 2"),
            (["issued_at"], "yesterday", "issued_at:"),
            (["issued_at"], "2026-01-02T03:04:05", "issued_at:"),
            (["surprise"], 1, "surprise: unknown key"),
            (["services"], {}, "services: not a list"),
            (["services", 0], 3, "services[0]: not an object"),
            (["services", 0, "retries"], -1, "services[0].retries: -1"),
            (["services", 0, "cooldown_seconds"], float("inf"), "services[0].cooldown_seconds: inf"),
            (["services", 0, "allowed_keys_sha256"], ["abc"], "services[0].allowed_keys_sha256:"),
            (["services", 0, "allowed_keys_sha256"], [1], "services[0].allowed_keys_sha256: an entry is not text"),
            (["services", 0, "upstreams", 1, "weight"], 101, "services[0].upstreams[1].weight: 101"),
            (["services", 0, "upstreams", 1, "weight"], 1.5, "services[0].upstreams[1].weight: not a whole number"),
            (["services", 0, "upstreams", 1, "draining"], 0, "services[0].upstreams[1].draining: not true or false"),
            (["services", 0, "upstreams", 1, "replica"], "r1", "replica: 'r1' appears twice"),
            (["services", 0, "upstreams", 1, "replica"], "a\r\nb", "services[0].upstreams[1].replica:"),
            (["services", 0, "upstreams", 1, "region"], "", "services[0].upstreams[1].region:"),
            (["services", 0, "upstreams", 1, "grams_per_kwh"], 5, "services[0].upstreams[1].grams_per_kwh:"),
            (["services", 0, "upstreams", 0, "grams_per_kwh"], -1, "services[0].upstreams[0].grams_per_kwh:"),
            (["services", 0, "upstreams", 0, "grams_per_kwh"], float("nan"), "services[0].upstreams[0].grams_per_kwh:"),
            (["services", 0, "upstreams", 0, "intensity_kind"], "guess", "services[0].upstreams[0].intensity_kind:"),
            (["services", 0, "upstreams", 0, "api_key_file"], "keys/r1", "services[0].upstreams[0].api_key_file:"),
        ],
    )
    def test_names_the_place_that_is_wrong(self, path: list[Any], value: object, place: str) -> None:
        """A file that nobody can be asked about is refused as a whole, and the error leads to the spot."""
        document = json.loads(table().to_json())
        target = document
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

        with pytest.raises(InvalidRouting) as refused:
            RoutingTable.from_json(json.dumps(document))
        assert str(refused.value).startswith(place)

    @pytest.mark.parametrize("key", ["version", "issued_at", "services", "format"])
    def test_a_missing_key_is_not_a_default(self, key: str) -> None:
        """Absent is not zero: a truncated document is refused."""
        document = json.loads(table().to_json())
        del document[key]

        with pytest.raises(InvalidRouting, match=f"{key}: missing"):
            RoutingTable.from_json(json.dumps(document))

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, b"\xff"])
    def test_anything_else_is_refused_too(self, text: str | bytes) -> None:
        """Garbage in the file is one clear error, never a crash."""
        with pytest.raises(InvalidRouting):
            RoutingTable.from_json(text)

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://host:1",
            "http://",
            "http://host:0",
            "http://host:99999",
            "http://host/path",
            "http://user:pw@host",
            "http://host?x=1",
            "http://host#x",
            "http://ho st",
            "//host",
            "host:80",
            "http://[::1",
        ],
    )
    def test_an_upstream_is_a_bare_http_address(self, url: str) -> None:
        """No path, credentials or query can be smuggled behind the gateway's own paths."""
        with pytest.raises(InvalidRouting, match="url:"):
            upstream(url=url)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:8101", "https://replica.example", "http://[::1]:8101/"])
    def test_plain_addresses_are_accepted(self, url: str) -> None:
        """IPv6 and TLS addresses work."""
        assert upstream(url=url).url == url

    def test_two_services_cannot_share_a_name(self) -> None:
        """Clients choose by name, so it must lead to one service."""
        service = ServiceRoutes("chat", "m", ())
        with pytest.raises(InvalidRouting, match="service: 'chat' appears twice"):
            table(services=(service, service))


class TestStatus:
    def test_survives_the_way_through_json(self) -> None:
        """The controller reads what the gateway counted."""
        status = GatewayStatus(3, "boot", (UpstreamStatus("r1", 1, 2.5, 3, 4, 5, 6, 7),), 8, 9, 10, 11, 12, 13, "serve")
        assert GatewayStatus.from_json(status.to_json()) == status

    def test_adds_up_over_processes(self) -> None:
        """The sum is what one process would have counted, at the oldest version that still routes."""
        one = GatewayStatus(3, "b", (UpstreamStatus("r1", 1, 2.0, ok=5),), accepted=6, ok=5)
        two = GatewayStatus(
            4, "a", (UpstreamStatus("r1", ok=1), UpstreamStatus("r2", failed=2)), accepted=3, ok=1, failed=2
        )

        both = sum_statuses([one, two])

        assert both.applied_version == 3
        assert both.boot_id == "a+b"
        assert both.processes == 2
        assert (both.accepted, both.ok, both.failed) == (9, 6, 2)
        assert both.upstream("r1") == UpstreamStatus("r1", 1, 2.0, ok=6)
        assert both.upstream("r2") == UpstreamStatus("r2", failed=2)

    def test_a_replica_that_got_nothing_has_zero_counts(self) -> None:
        """Asking for a replica never fails: nothing was sent to it."""
        assert GatewayStatus(1, "b", ()).upstream("r9") == UpstreamStatus("r9")

    def test_nobody_adds_up_to_nothing(self) -> None:
        """No process is not a process with zero requests."""
        with pytest.raises(ValueError, match="no gateway process"):
            sum_statuses([])


@given(st.floats(0.0, 2000.0))
def test_a_first_token_is_counted_in_the_class_that_holds_it(seconds: float) -> None:
    """From where a class begins to where the next one does; the last has no end."""
    number = first_token_class(seconds)
    assert 0 <= number < FIRST_TOKEN_CLASSES
    assert first_token_from_seconds(number) <= seconds * (1 + 1e-9)
    assert number == FIRST_TOKEN_CLASSES - 1 or seconds < first_token_from_seconds(number + 1) * (1 + 1e-9)
    one = UpstreamStatus("a", first_tokens=(*[0] * number, 1))
    assert one.later_than(seconds * 1.3 + 0.01) == 0
    assert number == 0 or seconds > 600.0 or one.later_than(seconds / 1.3) == 1


def test_counts_of_first_tokens_go_and_come_back_and_add_up() -> None:
    """A gateway that counts none writes what it always wrote; entries that are no counts are refused by name."""
    status = GatewayStatus(1, "b", (UpstreamStatus("a", first_tokens=(0, 2)), UpstreamStatus("b")))
    assert GatewayStatus.from_json(status.to_json()) == status
    assert "first_tokens" not in GatewayStatus(1, "b", (UpstreamStatus("b"),)).to_json()
    other = GatewayStatus(1, "c", (UpstreamStatus("a", first_tokens=(1, 0, 4)),))
    assert sum_statuses([status, other]).upstream("a").first_tokens == (1, 2, 4)
    with pytest.raises(InvalidRouting, match="first_tokens"):
        GatewayStatus.from_json(status.to_json().replace("[0, 2]", "[0, -2]"))
