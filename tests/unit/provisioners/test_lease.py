"""A local replica's lease: when it is over, what renews it, and what happens then."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control.ports import Phase
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.provisioners.local.engines.builtin import BuiltinLauncher
from orchestrator.provisioners.local.keeper import COUNTS_PER_LEASE, Lease
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from tests.provisioner_bench import Bench, keeper_of, kill_main, processes_of, swept, wait_until

DAY = timedelta(days=1)


class Paper:
    """A lease file whose every writing is another one, whatever the file system's clock can tell apart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._moment_ns = 0

    def write(self, text: str) -> None:
        """Write it, as a renewal does."""
        self._moment_ns += 1_000_000_000
        self.path.write_text(text, encoding="ascii")
        os.utime(self.path, ns=(self._moment_ns, self._moment_ns))


def nobody() -> int | None:
    """Know nothing of the traffic."""
    return None


@pytest.fixture
def paper(tmp_path: Path) -> Paper:
    """Give a lease of a hundred seconds."""
    made = Paper(tmp_path / "lease")
    made.write("100")
    return made


class TestTheCountdown:
    """When it is over."""

    def test_without_a_file_there_is_none(self, tmp_path: Path) -> None:
        """A replica that was started without a lease, by an older version too, is never ended by one."""
        lease = Lease(tmp_path / "lease")

        assert not any(lease.is_over(now, nobody) for now in (0.0, 1e6, 1e12))

    def test_it_ends_when_nobody_is_heard_of(self, paper: Paper) -> None:
        """It is over that long after it was first seen, by the keeper's own clock, and not before."""
        lease = Lease(paper.path)

        assert not lease.is_over(1000.0, nobody)
        assert not lease.is_over(1099.9, nobody)
        assert lease.is_over(1100.0, nobody)

    def test_writing_it_again_renews_it(self, paper: Paper) -> None:
        """From then on it runs for as long as the new text says."""
        lease = Lease(paper.path)
        lease.is_over(0.0, nobody)
        paper.write("50")

        assert not lease.is_over(90.0, nobody)
        assert not lease.is_over(139.9, nobody)
        assert lease.is_over(140.0, nobody)

    @pytest.mark.parametrize("nonsense", ["", "nan", "-1", "0", "inf", "soon"])
    def test_nonsense_renews_it_for_as_long_as_before(self, paper: Paper, nonsense: str) -> None:
        """Somebody was there, whatever he wrote: neither an end at once nor a lease for ever follows."""
        lease = Lease(paper.path)
        lease.is_over(0.0, nobody)
        paper.write(nonsense)

        assert not lease.is_over(60.0, nobody)
        assert not lease.is_over(159.9, nobody)
        assert lease.is_over(160.0, nobody)

    def test_a_file_that_is_lost_renews_nothing(self, paper: Paper) -> None:
        """Whoever removes the directory does not make a replica run for ever."""
        lease = Lease(paper.path)
        lease.is_over(0.0, nobody)
        paper.path.unlink()

        assert not lease.is_over(99.9, nobody)
        assert lease.is_over(100.0, nobody)

    def test_a_pause_never_outlasts_the_lease(self, paper: Paper) -> None:
        """The keeper wakes up in time, and soon enough to look at the traffic."""
        lease = Lease(paper.path)
        lease.is_over(0.0, nobody)

        assert 0.0 <= lease.pause(0.0) <= 100.0 / COUNTS_PER_LEASE
        assert lease.pause(1e9) == 0.0


class TestTraffic:
    """What serves is nobody's orphan."""

    def test_what_serves_goes_on(self, paper: Paper) -> None:
        """As long as the engine's counters grow, it is not over: no service ends because we are down over night."""
        lease = Lease(paper.path)

        assert not any(lease.is_over(float(now), lambda now=now: now) for now in range(0, 2000, 5))  # type: ignore[misc]

    def test_it_ends_once_nobody_is_served(self, paper: Paper) -> None:
        """At the latest that long after the last request, and not before the lease itself."""
        lease = Lease(paper.path)
        over = [now for now in range(0, 1000, 5) if lease.is_over(float(now), lambda now=now: min(now, 300))]  # type: ignore[misc]

        assert 300 < over[0] <= 400

    def test_an_engine_that_does_not_say_is_not_one_that_serves(self, paper: Paper) -> None:
        """Unknown renews nothing; one answer alone says nothing about growth."""
        lease = Lease(paper.path)
        answers = iter([None, 7, None, None, 7, 7])
        over = [now for now in range(0, 400, 5) if lease.is_over(float(now), lambda: next(answers, None))]

        assert over[0] == 100

    @given(
        served=st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=80),
        renewals=st.sets(st.integers(0, 79), max_size=5),
    )
    def test_nothing_outlives_its_last_sign_by_more_than_a_lease(
        self, served: list[int | None], renewals: set[int], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """It never ends within a lease of the last renewal, and never goes on for longer after the last sign."""
        paper = Paper(tmp_path_factory.mktemp("lease") / "lease")
        paper.write("100")
        lease, total, last_renewal, last_sign = Lease(paper.path), 0, 0.0, 0.0
        for step, count in enumerate(served):
            now = step * 10.0
            if step in renewals:
                paper.write("100")
                last_renewal = last_sign = now
            if count:
                total, last_sign = total + count, now
            over = lease.is_over(now, lambda count=count, total=total: None if count is None else total)  # type: ignore[misc]
            if over:
                assert now >= last_renewal + 100.0
                return
            assert now < last_sign + 100.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give real processes of the builtin engine whose lease is a second, whatever is asked for."""
    provisioner = LocalProvisioner(tmp_path, {Engine.BUILTIN: BuiltinLauncher()}, keeper_words=("--lease-seconds", "1"))
    made = Bench(provisioner, ModelSpec("any", Engine.BUILTIN), lambda: time.sleep(0.02), kill_main)
    with swept(made.uid):
        yield made


class TestRealProcesses:
    """With a keeper and an engine."""

    async def test_whom_nobody_renews_ends_itself(self, bench: Bench) -> None:
        """Nobody is there to end it: the keeper does, nothing is left running, and whoever comes back reads why."""
        request = bench.request(lease=DAY)
        await bench.provisioner.launch(request)
        await bench.until(request.name, Phase.RUNNING)
        wait_until(lambda: not processes_of(request.name), "the end of its lease")
        found = await bench.provisioner.describe(request.name)

        assert found.phase is Phase.FAILED
        assert "its lease was over" in found.exit_detail
        assert not await bench.provisioner.renew(request.name, DAY), "what has ended is not renewed"

    async def test_who_is_renewed_goes_on(self, bench: Bench) -> None:
        """As long as somebody renews it, it runs for longer than any lease."""
        request = bench.request(lease=DAY)
        await bench.provisioner.launch(request)
        keeper = keeper_of(request.name)
        began = time.monotonic()
        while time.monotonic() < began + 2.2:
            assert await bench.provisioner.renew(request.name, DAY)
            time.sleep(0.2)  # noqa: ASYNC251 - real time is what a lease is about

        assert (await bench.provisioner.describe(request.name)).phase is Phase.RUNNING
        assert keeper_of(request.name) == keeper

    async def test_who_serves_goes_on(self, bench: Bench) -> None:
        """A controller that is down over night ends nobody's service: requests renew the lease, too."""
        request = bench.request(lease=DAY)
        await bench.provisioner.launch(request)
        running = await bench.until(request.name, Phase.RUNNING)
        key = running.api_key_file.read_text(encoding="ascii").strip() if running.api_key_file else ""
        wait_until(lambda: answers(f"{running.endpoint}/health"), "the engine")
        began = time.monotonic()
        while time.monotonic() < began + 2.2:
            body = json.dumps({"model": "any", "prompt": "hello", "max_tokens": 1}).encode()
            headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
            asked = urllib.request.Request(f"{running.endpoint}/v1/completions", data=body, headers=headers)  # noqa: S310
            with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310, ASYNC210 - our own engine
                assert answer.status == 200
            time.sleep(0.1)  # noqa: ASYNC251 - as above

        assert (await bench.provisioner.describe(request.name)).phase is Phase.RUNNING
        wait_until(lambda: not processes_of(request.name), "the end, once nobody asks any more")


def answers(url: str) -> bool:
    """Whether somebody does."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own engine
            return bool(answer.status == 200)
    except OSError:
        return False
