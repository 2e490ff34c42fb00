"""What every provisioner promises, in memory or with real processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from orchestrator.control.ports import Phase
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import NoCapacity
from orchestrator.provisioners.fake import FakeProvisioner
from orchestrator.provisioners.local.engines.builtin import BuiltinLauncher
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from orchestrator.provisioners.skypilot.fake import FakeSky
from orchestrator.provisioners.skypilot.provisioner import SkyPilotProvisioner
from tests.provisioner_bench import NO_GRACE, Bench, kill_main, swept, unique, vllm_bench

SMALL = "local/small"
ROOM = {SMALL: 1}
"""Replicas that fit into the region ``local/small``."""

GRACE = timedelta(seconds=20)

ALIVE = (Phase.STARTING, Phase.RUNNING)

FAR_MACHINES = pytest.mark.parametrize("bench", ["fake", "skypilot-fake"], indirect=True)
"""Those whose machines have to be looked for: processes of this one are there at once."""


def fake_bench() -> Bench:
    """Make a fake whose time only passes when somebody waits."""
    moment = [0.0]
    provisioner = FakeProvisioner(
        lambda: moment[0], providers=frozenset({"local"}), start_seconds=1.0, max_replicas=ROOM, stop_at_once=False
    )

    def pause() -> None:
        moment[0] += 0.5

    return Bench(provisioner, ModelSpec("any"), pause, provisioner.die, search=provisioner.search_at_next_launch)


def builtin_bench(state_dir: Path) -> Bench:
    """Make real processes of the builtin engine."""
    provisioner = LocalProvisioner(state_dir, {Engine.BUILTIN: BuiltinLauncher()}, max_replicas=ROOM)
    return Bench(provisioner, ModelSpec("any", Engine.BUILTIN), lambda: time.sleep(0.02), kill_main)


def nobody_answers(request: httpx.Request) -> httpx.Response:
    """There are no engines on a fake cloud, but for the word that a lease is renewed."""
    if request.url.path == "/greenctl/renew":
        return httpx.Response(202)
    raise httpx.ConnectError(f"nobody at {request.url.host}")


def sky_bench(state_dir: Path) -> Bench:
    """Make the clouds behind SkyPilot, without SkyPilot: what it would say is scripted."""
    moment = [0.0]
    sky = FakeSky(lambda: moment[0], max_clusters={"slurm/small": 1})
    provisioner = SkyPilotProvisioner(
        state_dir,
        sky,
        {"slurm"},
        refresh_seconds=0.0,
        job_every_seconds=0.0,
        now=lambda: moment[0],
        transport=httpx.MockTransport(nobody_answers),
    )

    def pause() -> None:
        moment[0] += 0.5

    def search(seconds: float) -> None:
        sky.search_seconds = seconds

    return Bench(provisioner, ModelSpec("org/model"), pause, sky.die, provider="slurm", search=search)


@pytest.fixture(params=["fake", "skypilot-fake", "local-builtin"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """Give each implementation in turn."""
    made = sky_bench(tmp_path) if request.param == "skypilot-fake" else simple_bench(request.param, tmp_path)
    with swept(made.uid):
        yield made


def simple_bench(which: str, tmp_path: Path) -> Bench:
    """Make one of the two that need nothing."""
    return fake_bench() if which == "fake" else builtin_bench(tmp_path)


@pytest.fixture(params=["fake", "skypilot-fake", "local-builtin", pytest.param("local-vllm", marks=pytest.mark.engine)])
async def any_bench(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    """Give each implementation in turn, the one that is slow to start included."""
    if request.param == "local-vllm":
        made = vllm_bench(tmp_path, tmp_path_factory.mktemp("models"), max_replicas=ROOM)
    else:
        made = sky_bench(tmp_path) if request.param == "skypilot-fake" else simple_bench(request.param, tmp_path)
    with swept(made.uid):
        yield made


async def test_a_whole_life(any_bench: Bench) -> None:
    """A replica is launched once whatever is repeated, seen by name and by deployment, ended, and then gone."""
    bench = any_bench
    await bench.provisioner.preflight(bench.model)
    request = bench.request()
    await bench.provisioner.launch(request)
    running = await bench.until(request.name, Phase.RUNNING)

    assert running.service == "chat"
    assert running.has_machine
    assert running.endpoint is not None
    assert running.endpoint.startswith("http://")
    assert running.runs_in in {"", request.offer.region.id}
    assert await bench.provisioner.inventory(bench.uid) == [running]

    await bench.provisioner.launch(request)

    assert await bench.provisioner.inventory(bench.uid) == [running]

    await bench.provisioner.terminate(request.name, GRACE)
    gone = await bench.until(request.name, Phase.GONE)

    assert gone.endpoint is None
    assert not gone.has_machine
    assert await bench.names() == []


async def test_what_was_never_launched_is_gone(bench: Bench) -> None:
    """An unknown name is described as gone, and ending it is no error."""
    name = bench.name()
    never = await bench.provisioner.describe(name)

    assert never.phase is Phase.GONE
    assert not never.has_machine
    await bench.provisioner.terminate(name, GRACE)
    assert (await bench.provisioner.describe(name)).phase is Phase.GONE
    assert bench.provisioner.log_path(name) is None


async def test_launching_one_name_many_times_at_once_buys_once(bench: Bench) -> None:
    """Concurrent launches of one name make one instance, and none of them fails."""
    request = bench.request()
    await asyncio.gather(*(bench.provisioner.launch(request) for _ in range(5)))

    assert (await bench.until(request.name, Phase.RUNNING)).name == request.name
    assert await bench.names() == [request.name]


async def test_an_ended_name_is_used_up(bench: Bench) -> None:
    """A launch that is repeated after its instance was ended starts nothing: the end is the newer wish."""
    request = bench.request()
    await bench.provisioner.launch(request)
    await bench.provisioner.terminate(request.name, NO_GRACE)
    await bench.until(request.name, Phase.GONE)

    await bench.provisioner.launch(request)

    assert (await bench.provisioner.describe(request.name)).phase is Phase.GONE
    assert await bench.names() == []


async def test_ending_twice_is_ending_once(bench: Bench) -> None:
    """A second terminate changes nothing and raises nothing, before and after the end."""
    request = bench.request()
    await bench.provisioner.launch(request)
    await bench.until(request.name, Phase.RUNNING)
    await bench.provisioner.terminate(request.name, GRACE)
    await bench.provisioner.terminate(request.name, GRACE)

    assert (await bench.provisioner.describe(request.name)).phase in {Phase.STOPPING, Phase.GONE}
    await bench.until(request.name, Phase.GONE)
    await bench.provisioner.terminate(request.name, GRACE)
    assert (await bench.provisioner.describe(request.name)).phase is Phase.GONE


async def test_an_instance_that_dies_is_failed_until_it_is_terminated(bench: Bench) -> None:
    """A death that nobody asked for is told with its cause, is not counted as living, and can be cleaned up."""
    request = bench.request()
    await bench.provisioner.launch(request)
    await bench.until(request.name, Phase.RUNNING)
    bench.kill(request.name)
    failed = await bench.until(request.name, Phase.FAILED)

    assert "SIGKILL" in failed.exit_detail
    assert failed.endpoint is None

    await bench.provisioner.launch(request)
    assert (await bench.provisioner.describe(request.name)).phase is Phase.FAILED

    await bench.provisioner.terminate(request.name, GRACE)
    await bench.until(request.name, Phase.GONE)
    assert await bench.names() == []


async def test_an_instance_says_whose_it_is_and_in_which_turn_it_was_asked_for(bench: Bench) -> None:
    """By this a database that was set back is recognised, and an instance finds its row in the journal."""
    request = replace(bench.request(), epoch=17)
    await bench.provisioner.launch(request)
    await bench.until(request.name, Phase.RUNNING)
    (shown,) = await bench.provisioner.inventory(request.deployment_uid)

    assert (shown.epoch, shown.intent_id) == (17, request.intent_id)
    assert (shown.region, shown.deployment_uid) == (request.offer.region.id, request.deployment_uid)


async def test_a_lease_is_renewed_where_there_is_one(bench: Bench) -> None:
    """Who runs with a lease takes a new one; what never was, and what has ended, has none to renew."""
    request = bench.request(lease=timedelta(hours=6))
    await bench.provisioner.launch(request)
    await bench.until(request.name, Phase.RUNNING)

    assert await bench.provisioner.renew(request.name, timedelta(hours=24)) is True
    assert await bench.provisioner.renew(bench.name(), timedelta(hours=24)) is False


@FAR_MACHINES
async def test_what_its_provider_looks_for_has_no_machine_yet(bench: Bench) -> None:
    """A launch that is tried or queued is shown, so that nobody repeats it; it draws nothing until it has a machine."""
    bench.search(3.0)
    request = bench.request()
    await bench.provisioner.launch(request)
    looks = []
    while not looks or looks[-1].phase is not Phase.RUNNING:
        looks.append(await bench.provisioner.describe(request.name))
        bench.pause()
    there = [look.has_machine for look in looks]

    assert not there[0]
    assert there == sorted(there), "once it is there it stays"
    assert there[-1]
    assert all(look.phase is Phase.STARTING and look.endpoint is None for look in looks if not look.has_machine)


@FAR_MACHINES
async def test_what_is_ended_before_it_has_a_machine_never_had_one(bench: Bench) -> None:
    """Its end is asked for like any other, and leaves nothing."""
    bench.search(1000.0)
    request = bench.request()
    await bench.provisioner.launch(request)
    await bench.provisioner.terminate(request.name, NO_GRACE)
    ending = await bench.provisioner.describe(request.name)
    await bench.until(request.name, Phase.GONE)

    assert not ending.has_machine
    assert await bench.names() == []


async def test_deployments_do_not_see_each_other(bench: Bench) -> None:
    """The inventory of a deployment holds its own instances alone, in the order of their names."""
    names = sorted(bench.name() for _ in range(2))
    for name in reversed(names):
        await bench.provisioner.launch(bench.request(name))
    other = replace(bench.request(), deployment_uid=unique("other"))
    with swept(other.deployment_uid):
        await bench.provisioner.launch(other)
        for name in names:
            await bench.until(name, *ALIVE)

        assert await bench.names() == names


async def test_a_full_region_says_so_and_starts_nothing(bench: Bench) -> None:
    """A stock-out is an error of its own kind, leaves nothing behind, and ends when room is made."""
    first, second = bench.request(region=SMALL), bench.request(region=SMALL)
    await bench.provisioner.launch(first)
    try:
        await bench.provisioner.launch(second)
    except NoCapacity as error:
        assert "/small is full" in error.message  # noqa: PT017 - some know at once, and some only later
    else:
        assert not (await bench.provisioner.describe(second.name)).has_machine, "it is tried, and nothing is there"
        failed = await bench.until(second.name, Phase.FAILED)
        assert (failed.error_code, failed.exit_detail) == (NoCapacity.code, "slurm/small is full")
        assert not failed.has_machine
        await bench.provisioner.terminate(second.name, NO_GRACE)
        await bench.until(second.name, Phase.GONE)

    assert await bench.names() == [first.name]
    assert (await bench.provisioner.describe(second.name)).phase is Phase.GONE

    await bench.provisioner.terminate(first.name, NO_GRACE)
    await bench.until(first.name, Phase.GONE)
    third = bench.request(region=SMALL)
    await bench.provisioner.launch(third)
    assert (await bench.until(third.name, *ALIVE)).name == third.name
    assert await bench.names() == [third.name]


async def test_the_preflight_starts_nothing(bench: Bench) -> None:
    """Looking whether a model could run buys nothing."""
    await bench.provisioner.preflight(bench.model)

    assert await bench.names() == []


async def test_the_provider_is_that_of_its_regions(bench: Bench) -> None:
    """The controller finds a replica's provisioner by the first part of its region."""
    assert bench.request().offer.region.provider in bench.provisioner.providers
