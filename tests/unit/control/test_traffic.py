"""The routing table as a function of what is recorded and seen."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.control.ports import Instance, Phase
from orchestrator.control.traffic import routes_for, same_routes, table_of, weights_in, with_unseen
from orchestrator.domain.carbon import Gap, Reading
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.service import GatewayRules, ModelSpec
from tests.builders import MINUTE, NOON, candidate, intensity, record, replica, service_spec

SE, PL = candidate("aws/se", 30.0), candidate("aws/pl", 700.0)
GRID: dict[str, Reading] = {"SE": intensity("SE", 30.0), "PL": intensity("PL", 700.0)}


def routes(replicas: Sequence[Replica], grid: dict[str, Reading] | None = None) -> ServiceRoutes:
    """Route to replicas, all of which have an instance with a key file."""
    instances = {
        r.name: Instance(r.name, "chat", Phase.RUNNING, r.endpoint, Path(f"/run/keys/{r.name}")) for r in replicas
    }
    return routes_for(record(), replicas, instances, GRID if grid is None else grid, ("a" * 64,))


def only(found: ServiceRoutes) -> Upstream:
    """Return the one upstream."""
    (upstream,) = found.upstreams
    return upstream


class TestWhoIsInIt:
    def test_a_ready_replica_with_everything_that_the_gateway_needs(self) -> None:
        """Where it is, its weight, its key's file, and the grid that feeds it."""
        upstream = only(routes([replica(SE)]))
        assert upstream == Upstream(
            replica="gc-test-chat-0",
            url="http://127.0.0.1:9000",
            weight=100,
            draining=False,
            region="aws/se",
            zone="SE",
            grams_per_kwh=30.0,
            intensity_kind="measured",
            api_key_file="/run/keys/gc-test-chat-0",
        )

    def test_a_draining_one_stays_so_that_its_counters_live_on(self) -> None:
        """Without weight and marked: it finishes what it has and gets nothing new."""
        upstream = only(routes([replica(SE, 0, ReplicaState.DRAINING)]))
        assert upstream.draining
        assert upstream.weight == 0

    @pytest.mark.parametrize("state", [s for s in ReplicaState if s not in {ReplicaState.READY, ReplicaState.DRAINING}])
    def test_nobody_else(self, state: ReplicaState) -> None:
        """Neither one that starts nor one that is lost."""
        assert routes([replica(SE, 0, state, endpoint="http://127.0.0.1:9000")]).upstreams == ()

    def test_nobody_who_never_served(self) -> None:
        """A launch that is called off drains without ever having had an address, or having been ready."""
        leaving = replica(SE, 0, ReplicaState.DRAINING)
        assert routes([replace(leaving, endpoint=None)]).upstreams == ()
        assert routes([replace(leaving, ready_at=None)]).upstreams == ()

    def test_both_sides_of_a_move_share_a_whole(self) -> None:
        """The weights are those of the canary."""
        old = replica(PL, 0, name="old")
        new = replica(SE, 0, name="new", replaces="old", weight_percent=10, up_for=MINUTE)
        assert [(u.replica, u.weight) for u in routes([new, old]).upstreams] == [("old", 90), ("new", 10)]

    def test_a_canary_step_is_a_part_of_its_slots_share(self) -> None:
        """Where a slot has a tenth of the weight, a canary of a tenth gets a hundredth, and never nothing."""
        old = replica(PL, 0, name="old")
        new = replica(SE, 0, name="new", replaces="old", weight_percent=10, up_for=MINUTE)
        instances: dict[str, Instance] = {}
        found = routes_for(record(), [old, new, replica(SE, 1)], instances, GRID, (), {"old": 10, "new": 10})
        assert [u.weight for u in found.upstreams] == [9, 1, 100]
        tiny = routes_for(record(), [old, replace(new, weight_percent=1)], instances, GRID, (), {"old": 1, "new": 1})
        assert [u.weight for u in tiny.upstreams] == [1, 1]

    def test_the_order_is_that_of_slots_and_age(self) -> None:
        """The same table whatever order the records are read in, so that nothing is published for nothing."""
        three = [replica(SE, 2), replica(PL, 0), replica(SE, 1)]
        assert routes(three) == routes(three[::-1])
        assert [u.replica for u in routes(three).upstreams] == ["gc-test-chat-0", "gc-test-chat-1", "gc-test-chat-2"]


class TestWhatItSays:
    @pytest.mark.parametrize("grid", [{}, {"SE": Gap("SE", "no data", "api")}], ids=["not-asked", "gap"])
    def test_an_unknown_intensity_is_not_disclosed_as_a_number(self, grid: dict[str, Reading]) -> None:
        """Clients are told nothing in place of zero."""
        upstream = only(routes([replica(SE)], grid))
        assert upstream.grams_per_kwh is None
        assert upstream.intensity_kind is None

    def test_without_a_key_there_is_no_key_file(self) -> None:
        """Also while the instance has not been seen since a restart."""
        assert only(routes_for(record(), [replica(SE)], {}, GRID, ())).api_key_file is None

    def test_the_services_rules_travel_with_it(self) -> None:
        """Model name, retries, cool-down, resuming, client keys."""
        spec = replace(
            service_spec(gateway=GatewayRules(retries=5, cooldown=MINUTE, resume_streams=True)),
            model=ModelSpec("org/model", served_name="nice-name"),
        )
        found = routes_for(record(spec), [], {}, {}, ("b" * 64,))
        assert (found.service, found.model) == ("chat", "nice-name")
        assert (found.retries, found.cooldown_seconds, found.resume_streams) == (5, 60.0, True)
        assert found.allowed_keys_sha256 == ("b" * 64,)


class TestWhoWasNotSeen:
    def test_keeps_the_address_and_the_key_that_the_gateway_has_and_gets_its_weight_of_today(self) -> None:
        """What is recorded goes on; only what the provider would say is as it was."""
        had = routes([replica(SE, 0), replica(SE, 1)])
        elsewhere = replica(SE, 0, weight_percent=50, endpoint="http://127.0.0.1:9999")
        made = routes_for(record(), [elsewhere, replica(SE, 1)], {}, GRID, ())
        first, second = with_unseen(made, {"gc-test-chat-0"}, [had]).upstreams
        assert first == replace(had.upstreams[0], weight=50)
        assert second == made.upstreams[1], "of one that was seen nothing is taken over"

    def test_is_left_out_where_the_gateway_does_not_know_it(self) -> None:
        """Its key is nobody's to tell; another service's routes say nothing of it."""
        made = routes_for(record(), [replica(SE, 0), replica(SE, 1)], {}, GRID, ())
        other = replace(made, service="other")
        assert with_unseen(made, {"gc-test-chat-0"}, [other]).upstreams == made.upstreams[1:]
        assert with_unseen(made, set(), []) == made


class TestTables:
    def table(self, *replicas: Replica) -> RoutingTable:
        """Publish a service."""
        return table_of((routes(replicas),), 7, NOON)

    def test_nothing_new_is_not_published(self) -> None:
        """The version alone is no news; before the first table everything is."""
        table = self.table(replica(SE))
        assert same_routes(table, (routes([replica(SE)]),))
        assert not same_routes(table, (routes([replica(SE, weight_percent=50)]),))
        assert not same_routes(None, ())

    def test_a_replica_is_routed_away_when_no_new_request_can_reach_it(self) -> None:
        """Marked as draining, or no longer in the table at all."""
        table = self.table(replica(SE, 0), replica(SE, 1, ReplicaState.DRAINING))
        assert weights_in(table) == {"gc-test-chat-0": 100}

    def test_a_standby_can_be_reached(self) -> None:
        """Weight zero is used when nobody else is left: that is a weight, not none."""
        assert weights_in(self.table(replica(SE, 0, weight_percent=0))) == {"gc-test-chat-0": 0}
