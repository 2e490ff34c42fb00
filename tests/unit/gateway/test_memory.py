"""What a gateway process remembers: failures, counts, its table."""

from __future__ import annotations

import asyncio
import json
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.counters import ServiceCounts
from orchestrator.domain.routing import RoutingTable, ServiceRoutes, Upstream
from orchestrator.domain.wire import InvalidRouting
from orchestrator.gateway.cooldown import ALLOWED_FAILS, Cooldowns
from orchestrator.gateway.node import GatewayNode, OlderTableError
from orchestrator.gateway.table import FILE_NAME, TableFile
from orchestrator.gateway.tally import Outcome, Tally
from tests.unit.gateway.conftest import ISSUED


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def up(name: str = "a", url: str = "http://127.0.0.1:1") -> Upstream:
    return Upstream(name, url, 100, draining=False, region="local/a", zone=None)


def table(version: int, *upstreams: Upstream) -> RoutingTable:
    return RoutingTable(version, ISSUED, (ServiceRoutes("chat", "tiny", upstreams),))


class TestCooldowns:
    def test_one_that_is_gone_rests_at_once(self) -> None:
        """A refused connection is proof enough; the rest ends with its time."""
        clock = Clock()
        cooldowns = Cooldowns(clock)
        assert cooldowns.failed(up(), 30, gone=True)
        assert cooldowns.resting([up()]) == {"a"}
        clock.now += 30
        assert cooldowns.resting([up()]) == frozenset()

    def test_one_that_answers_badly_gets_some_chances(self) -> None:
        """A 503 may be one bad moment; several in a row are not."""
        cooldowns = Cooldowns(Clock())
        results = [cooldowns.failed(up(), 30, gone=False) for _ in range(ALLOWED_FAILS)]
        assert results == [False] * (ALLOWED_FAILS - 1) + [True]
        assert cooldowns.resting([up()]) == {"a"}

    def test_who_answers_badly_is_not_gone(self) -> None:
        """It is told apart for as long as it rests, by its last failure."""
        clock = Clock()
        cooldowns = Cooldowns(clock)
        cooldowns.failed(up(), 30, gone=True)
        assert cooldowns.gone([up()]) == {"a"}
        cooldowns.failed(up(), 30, gone=False)
        assert (cooldowns.gone([up()]), cooldowns.resting([up()])) == (frozenset(), {"a"})
        cooldowns.failed(up(), 30, gone=True)
        clock.now += 30
        assert cooldowns.gone([up()]) == frozenset()

    def test_a_success_in_between_clears_the_count(self) -> None:
        """Only failures in a row add up."""
        cooldowns = Cooldowns(Clock())
        for _ in range(10):
            assert not cooldowns.failed(up(), 30, gone=False)
            cooldowns.worked(up())
        assert cooldowns.resting([up()]) == frozenset()

    def test_after_the_rest_one_request_tries_first(self) -> None:
        """While the trial runs the others keep away; its success opens the door, its failure shuts it again."""
        clock = Clock()
        cooldowns = Cooldowns(clock)
        cooldowns.failed(up(), 30, gone=True)
        clock.now += 31
        assert cooldowns.resting([up()]) == frozenset()
        cooldowns.trying(up(), 30)
        assert cooldowns.resting([up()]) == {"a"}
        cooldowns.worked(up())
        assert cooldowns.resting([up()]) == frozenset()

    def test_a_new_address_starts_afresh(self) -> None:
        """A replica that comes back elsewhere is not punished for its past."""
        cooldowns = Cooldowns(Clock())
        cooldowns.failed(up(), 30, gone=True)
        assert cooldowns.resting([up(url="http://127.0.0.1:2")]) == frozenset()

    def test_the_forgotten_are_forgotten(self) -> None:
        """What no table names takes no memory."""
        cooldowns = Cooldowns(Clock())
        cooldowns.failed(up(), 30, gone=True)
        cooldowns.forget_all_but([])
        assert cooldowns.resting([up()]) == frozenset()


class TestTally:
    def test_request_seconds_are_the_integral_of_concurrency(self) -> None:
        """Two requests for three seconds and one for two more are eight request-seconds, also while they run."""
        clock = Clock()
        tally = Tally(clock)
        with tally.attempt("r") as first, tally.attempt("r") as second:
            clock.now += 3
            first.settle(Outcome.OK)
            clock.now += 2
            status = tally.status(applied_version=1, boot_id="b", mode="plain").upstream("r")
            assert (status.in_flight, status.request_seconds) == (1, 8.0)
            second.settle(Outcome.OK)
        clock.now += 100
        assert tally.status(applied_version=1, boot_id="b", mode="plain").upstream("r").request_seconds == 8.0

    def test_settling_twice_counts_once(self) -> None:
        """In-flight cannot go below zero, however often an end is reported."""
        tally = Tally(Clock())
        with tally.attempt("r") as attempt:
            attempt.settle(Outcome.OK)
            attempt.settle(Outcome.FAILED)
        counts = tally.status(applied_version=1, boot_id="b", mode="plain").upstream("r")
        assert (counts.in_flight, counts.ok, counts.failed) == (0, 1, 0)

    def test_whatever_is_not_settled_ends_by_what_happened(self) -> None:
        """A cancellation is a cancellation; any other way out is a failure."""
        tally = Tally(Clock())
        with pytest.raises(asyncio.CancelledError), tally.request("chat"):
            raise asyncio.CancelledError
        with pytest.raises(ZeroDivisionError), tally.request("chat"):
            raise ZeroDivisionError
        status = tally.status(applied_version=1, boot_id="b", mode="plain")
        assert (status.accepted, status.cancelled, status.failed) == (2, 1, 1)

    def test_a_request_is_counted_once_for_its_service(self) -> None:
        """However many replicas are tried: what is asked for is what scaling goes by, not what was attempted."""
        clock = Clock()
        tally = Tally(clock)
        with tally.request("chat") as request:
            for name in ("r1", "r2"):
                with tally.attempt(name) as attempt:
                    attempt.settle(Outcome.FAILED)
            clock.now += 2
            counts = tally.status(applied_version=1, boot_id="b", mode="plain").of_service("chat")
            assert counts == ServiceCounts("chat", accepted=1, in_flight=1, failed=0, request_seconds=2.0)
            request.settle(Outcome.FAILED)
        counts = tally.status(applied_version=1, boot_id="b", mode="plain").of_service("chat")
        assert counts == ServiceCounts("chat", accepted=1, in_flight=0, failed=1, request_seconds=2.0)

    def test_pruning_keeps_what_is_in_flight(self) -> None:
        """A replica that left the table is remembered as long as it works."""
        tally = Tally(Clock())
        with tally.attempt("gone"):
            tally.prune(keep=())
            assert tally.status(applied_version=1, boot_id="b", mode="plain").upstream("gone").in_flight == 1
        tally.prune(keep=())
        assert tally.status(applied_version=1, boot_id="b", mode="plain").upstreams == ()


class TestTableFile:
    def test_what_is_saved_is_loaded(self, tmp_path: Path) -> None:
        """Another process, or the same after a restart, reads the same table; nobody else can."""
        TableFile(tmp_path).save(table(3, up()))
        assert TableFile(tmp_path).load() == table(3, up())
        assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600

    def test_no_file_is_no_table(self, tmp_path: Path) -> None:
        """The first start has nothing to load, which is no error."""
        assert TableFile(tmp_path).load() is None

    def test_a_newer_table_on_disk_stays(self, tmp_path: Path) -> None:
        """A slow process cannot turn the file back."""
        TableFile(tmp_path).save(table(5))
        TableFile(tmp_path).save(table(4))
        assert TableFile(tmp_path).load() == table(5)

    def test_a_useless_file_is_named_and_can_be_replaced(self, tmp_path: Path) -> None:
        """Broken text is refused with the file's name, and does not block the next table."""
        (tmp_path / FILE_NAME).write_text("{")
        with pytest.raises(InvalidRouting, match=FILE_NAME):
            TableFile(tmp_path).load()
        TableFile(tmp_path).save(table(1))
        assert TableFile(tmp_path).load() == table(1)

    def test_a_failed_save_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A full disk costs the new table, never the last good one, and leaves no draft behind."""
        file = TableFile(tmp_path)
        file.save(table(1))

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.save(table(2))
        assert file.load() == table(1)
        assert {p.name for p in tmp_path.iterdir()} == {FILE_NAME, "routes.lock"}


class TestNode:
    def node(self, folder: Path) -> GatewayNode:
        return GatewayNode(folder, mode="plain", keyless_allowed=True)

    async def test_boots_from_the_last_table(self, tmp_path: Path) -> None:
        """With nothing else up, a new process routes by what the last one was told."""
        await self.node(tmp_path).apply(table(3, up()))
        fresh = self.node(tmp_path)
        await fresh.load_table()
        assert fresh.table == table(3, up())

    async def test_refuses_to_go_back(self, tmp_path: Path) -> None:
        """An older table changes nothing; the same one again is fine."""
        node = self.node(tmp_path)
        await node.apply(table(3, up()))
        with pytest.raises(OlderTableError):
            await node.apply(table(2))
        await node.apply(table(3, up()))
        assert node.table == table(3, up())

    async def test_a_bad_file_is_reported_and_the_next_table_heals_it(self, tmp_path: Path) -> None:
        """The gateway comes up, says what is wrong, and waits."""
        (tmp_path / FILE_NAME).write_text(json.dumps({"format": 1}))
        node = self.node(tmp_path)
        await node.load_table()
        assert node.table is None
        assert "version: missing" in node.table_error
        await node.apply(table(1))
        assert node.table_error == ""

    async def test_a_table_that_cannot_be_kept_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What runs is what a restart would run."""
        node = self.node(tmp_path)
        await node.apply(table(1))

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            await node.apply(table(2))
        assert node.applied_version == 1

    @pytest.mark.parametrize("weights", [(50, 50), (90, 10), (100, 100, 100), (20, 20, 10, 10)])
    @pytest.mark.parametrize("failing", ["first", "last"])
    def test_who_fails_gets_no_more_first_attempts_than_its_weight(
        self, tmp_path: Path, weights: tuple[int, ...], failing: str
    ) -> None:
        """A request has one number, however often it is tried: its retries do not move the split of the others."""
        upstreams = tuple(replace(up(f"r{n}"), weight=w) for n, w in enumerate(weights))
        service = ServiceRoutes("chat", "tiny", upstreams, retries=2)
        bad = upstreams[0 if failing == "first" else -1].replica
        node = self.node(tmp_path)
        firsts: Counter[str] = Counter()
        seconds: Counter[str] = Counter()
        for _ in range(10 * sum(weights)):
            chosen = node.pick(service, [])
            assert chosen is not None
            firsts[chosen.replica] += 1
            if chosen.replica == bad:
                instead = node.pick(service, [bad])
                assert instead is not None
                seconds[instead.replica] += 1

        assert firsts == {u.replica: 10 * u.weight for u in upstreams}
        others = sum(u.weight for u in upstreams if u.replica != bad)
        for other in (u for u in upstreams if u.replica != bad):
            assert seconds[other.replica] == pytest.approx(firsts[bad] * other.weight / others, abs=2)

    async def test_a_removed_replica_is_reported_once_more(self, tmp_path: Path) -> None:
        """The controller can read final counts after it has taken a replica out, and not for ever."""
        node = self.node(tmp_path)
        await node.apply(table(1, up("old")))
        with node.tally.attempt("old") as attempt:
            attempt.settle(Outcome.OK)
        await node.apply(table(2, up("new")))
        assert node.status().upstream("old").ok == 1
        await node.apply(table(3, up("new")))
        assert [u.replica for u in node.status().upstreams] == ["new"]
