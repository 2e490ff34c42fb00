"""The SkyPilot provisioner under a SkyPilot that behaves as badly as the real one can."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.bench.scale.measure import Size, fleet
from orchestrator.control.controller import Controller
from orchestrator.control.ports import Instance, LaunchRequest, Phase
from orchestrator.domain.hardware import Shape
from orchestrator.domain.price import Market
from orchestrator.domain.records import OperationState, ServiceState
from orchestrator.domain.replica import ReplicaState as S
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import (
    CredentialsMissing,
    EngineMissing,
    NoCapacity,
    ProviderError,
    ProviderUnavailable,
    UnsupportedByProvider,
)
from orchestrator.logs import LOG_LIMIT_BYTES
from orchestrator.provisioners.skypilot.fake import FakeSky
from orchestrator.provisioners.skypilot.files import ENDED_KEPT, RECORD, Folders, Record
from orchestrator.provisioners.skypilot.provisioner import SkyPilotProvisioner
from orchestrator.provisioners.skypilot.sky_api import Cluster, LaunchCall, SkyFailure
from orchestrator.provisioners.skypilot.slurm import Allocation
from orchestrator.provisioners.skypilot.view import MOST_JOBS_ASKED, View
from orchestrator.store.memory import MemoryStore
from tests.builders import offer
from tests.store_samples import NOW, SERVICE, a_launch, a_spec, an_operation

UID = "0123456789abcdef"
NAME = "gc-01234567-chat-aaaaaaaaaa"
GRACE = timedelta(seconds=0)


@dataclass
class Ground:
    """Slurm queues in memory. ``failure``: how ``slurm/eu`` is silent."""

    jobs: list[Allocation] = field(default_factory=list)
    failure: ProviderError | None = None

    async def allocations(self, prefix: str, region: str = "") -> list[Allocation]:
        if self.failure is not None and region in {"", "slurm/eu"}:
            raise self.failure
        return [job for job in self.jobs if job.cluster.startswith(prefix) and region in {"", job.region}]

    async def end(self, allocation: Allocation) -> None:
        self.jobs.remove(allocation)


@dataclass
class World:
    """A provisioner with all that it talks to. ``again`` makes another one on the same files, as after a crash."""

    folder: Path
    moment: list[float] = field(default_factory=lambda: [0.0])
    ground: Ground = field(default_factory=Ground)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    answer_seconds: float = 20.0
    secrets: dict[str, str] = field(default_factory=lambda: {"HF_TOKEN": "hf_canary_value"})
    renewing: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(202)

    def __post_init__(self) -> None:
        self.sky = FakeSky(lambda: self.moment[0])
        self.provisioner = self.again()

    def engine(self, request: httpx.Request) -> httpx.Response:
        """Answer as an engine that stops when it is told to with its key."""
        self.asked.append((request.method, request.url.path, request.headers.get("authorization", "")))
        if request.url.path == "/greenctl/renew":
            return self.renewing(request)
        if request.url.path == "/greenctl/stop":
            return httpx.Response(202)
        raise httpx.ConnectError("it has stopped")

    def again(self) -> SkyPilotProvisioner:
        self.provisioner = SkyPilotProvisioner(
            self.folder,
            self.sky,
            {"slurm", "aws"},
            ground=self.ground,
            refresh_seconds=0.0,
            job_every_seconds=0.0,
            secrets=self.secrets,
            answer_seconds=self.answer_seconds,
            now=lambda: self.moment[0],
            transport=httpx.MockTransport(self.engine),
        )
        return self.provisioner

    def request(self, name: str = NAME, region: str = "slurm/eu", **changes: object) -> LaunchRequest:
        values = {"model": ModelSpec("org/model"), "epoch": 3} | changes
        return LaunchRequest(name, UID, "chat", "aaaaaaaaaa", offer(region), **values)  # type: ignore[arg-type]

    async def until(
        self,
        phase: Phase,
        name: str = NAME,
        holds: Callable[[Instance], bool] = bool,
        of: SkyPilotProvisioner | None = None,
    ) -> Instance:
        for _ in range(200):
            seen = await (of or self.provisioner).describe(name)
            if seen.phase is phase and holds(seen):
                return seen
            self.moment[0] += 0.5
            await asyncio.sleep(0)
        raise AssertionError(f"still {seen}")


def private_text(path: str) -> str:
    """Read a file that nobody else may read."""
    assert Path(path).stat().st_mode & 0o777 == 0o600
    return Path(path).read_text(encoding="utf-8").strip()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world of its own for each test."""
    return World(tmp_path)


async def test_a_controller_that_died_after_posting_does_not_post_again(world: World) -> None:
    """SkyPilot remembers the request of that cluster name: one launch, one job, however often it is asked."""
    await world.provisioner.launch(world.request())
    record = next(world.folder.glob("skypilot/*/instance.json"))
    record.unlink()  # as if it had died before it wrote down the request
    await world.again().launch(world.request())
    await world.until(Phase.RUNNING)
    await world.again().launch(world.request())

    assert world.sky.jobs_submitted == {NAME: 1}


async def test_why_a_launch_failed_is_told_until_it_is_ended(world: World) -> None:
    """With the code that the planner learns from; and whatever it has left behind is ended, too."""
    world.sky.leave_cluster_behind = True
    await world.provisioner.launch(world.request())
    world.sky.fail_launch(NAME, SkyFailure("ResourcesUnavailableError", "no", ("VcpuLimitExceeded",)))
    failed = await world.until(Phase.FAILED)
    assert failed.error_code == "quota_exceeded"
    assert (await world.again().describe(NAME)).phase is Phase.FAILED
    assert world.sky.existing() == {NAME}

    await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)
    assert world.sky.existing() == frozenset()


async def test_an_end_during_the_launch_cancels_it_and_leaves_nothing(world: World) -> None:
    """The request is cancelled first, and the cluster that it had made by then is taken down all the same."""
    world.sky.launch_seconds = 1000.0
    await world.provisioner.launch(world.request())
    await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)

    methods = [method for method, _ in world.sky.calls]
    assert methods.index("cancel") < methods.index("down")
    assert world.sky.existing() == frozenset()


async def test_a_preempted_replica_is_gone(world: World) -> None:
    """What SkyPilot lists no longer after it has asked the provider does not exist."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    world.sky.vanish(NAME)
    assert (await world.until(Phase.GONE)).endpoint is None


async def test_a_machine_that_was_stopped_has_failed(world: World) -> None:
    """By hand, or by a cloud that keeps the disks of what it takes back: it does not start by itself, and costs."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    world.sky.change(NAME, state="STOPPED", address=None)
    failed = await world.until(Phase.FAILED)
    assert (failed.exit_detail, failed.endpoint) == ("its machine was stopped", None)

    await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)
    assert world.sky.existing() == frozenset()


async def test_a_machine_that_skypilot_is_unsure_of_keeps_its_address(world: World) -> None:
    """It cannot log in there just now; whether the engine answers is seen by asking the engine."""
    await world.provisioner.launch(world.request())
    running = await world.until(Phase.RUNNING)
    world.sky.change(NAME, state="INIT")
    unsure = await world.until(Phase.STARTING)
    assert (unsure.endpoint, unsure.api_key_file) == (running.endpoint, running.api_key_file)

    world.sky.change(NAME, state="UP")
    assert await world.until(Phase.RUNNING) == running


async def test_a_machine_that_is_being_made_has_no_address_yet(world: World) -> None:
    """What stands there may be another's still: its launch is not done."""
    world.sky.launch_seconds = 1000.0
    await world.provisioner.launch(world.request())
    world.sky.change(NAME, state="INIT")
    assert (await world.until(Phase.STARTING)).endpoint is None


@pytest.mark.parametrize(
    ("state", "address", "has_machine"),
    [("INIT", None, False), ("INIT", "10.0.0.9", True), ("UP", None, True)],
)
async def test_a_machine_is_there_once_skypilot_has_found_it(
    world: World, state: str, address: str | None, has_machine: bool
) -> None:
    """What it lists while it launches may be a name alone."""
    world.sky.launch_seconds = 1000.0
    await world.provisioner.launch(world.request())
    world.sky.change(NAME, state=state, address=address)
    assert (await world.until(Phase.STARTING)).has_machine is has_machine


async def test_a_machine_that_was_there_is_no_launch_again(world: World) -> None:
    """SkyPilot cannot log in to it and says neither that it is up nor where it is: it goes on drawing power."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    world.sky.change(NAME, state="INIT", address=None)
    assert (await world.until(Phase.STARTING)).has_machine

    world.sky.change(NAME, state="STOPPED")
    assert not (await world.until(Phase.FAILED)).has_machine


@pytest.mark.parametrize(("state", "has_machine"), [("PENDING", False), ("RUNNING", True)])
async def test_a_job_that_waits_in_a_queue_holds_no_node(world: World, state: str, has_machine: bool) -> None:
    """Only Slurm knows of it; what is queued is there to be ended, and draws nothing."""
    world.ground.jobs.append(Allocation(NAME, "slurm/eu", "17", state))
    (found,) = await world.provisioner.inventory(UID)
    assert found.has_machine is has_machine


async def test_nothing_is_concluded_from_silence(world: World) -> None:
    """While SkyPilot cannot be asked, old news are old news, and then there are none."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    for _ in range(100):
        world.sky.fail_next("launches", SkyFailure("ApiServerConnectionError", "refused"))
    world.sky.vanish(NAME)
    world.moment[0] += 120.0
    with pytest.raises(ProviderUnavailable):
        await world.provisioner.describe(NAME)
    with pytest.raises(ProviderUnavailable):
        await world.provisioner.inventory(UID)


async def test_a_listing_that_fails_does_not_make_the_last_one_younger(world: World) -> None:
    """SkyPilot answers from its memory all the while, and of the machines nothing is known any more."""
    await world.provisioner.launch(world.request())
    view = View(world.sky, Folders(world.folder / "skypilot"), refresh_seconds=30.0, now=lambda: world.moment[0])
    assert NAME in (await view.fresh("gc-")).clusters
    world.sky.vanish(NAME)
    for _ in range(100):
        world.sky.fail_next("clusters", SkyFailure("ServerTemporarilyUnavailableError", "not now"))

    async def look_on() -> None:
        for _ in range(100):
            world.moment[0] += 1.0
            await view.newest("gc-")
            await asyncio.sleep(0)

    with pytest.raises(ProviderUnavailable):
        await look_on()
    assert world.moment[0] > 60.0


async def test_one_machine_that_cannot_be_asked_hides_no_other(world: World) -> None:
    """Its job's state is what it was; the listing, and what the others' jobs do, count."""
    other = NAME + "b"
    for name in (NAME, other):
        await world.provisioner.launch(world.request(name))
        await world.until(Phase.RUNNING, name)
    asked = world.sky.job_state

    async def cut_off(cluster: str) -> str:
        if cluster == NAME:
            raise SkyFailure("CommandError", "ssh: no route to host")
        return await asked(cluster)

    world.sky.job_state = cut_off  # type: ignore[method-assign]
    world.sky.die(other)

    await world.until(Phase.FAILED, other)
    assert (await world.provisioner.describe(NAME)).phase is Phase.RUNNING


async def test_one_machine_that_hangs_hides_no_other(world: World) -> None:
    """Its login never answers. What becomes of the others is seen, launches are posted, and it is asked once."""
    other, third = NAME + "b", NAME + "c"
    for name in (NAME, other):
        await world.provisioner.launch(world.request(name))
        await world.until(Phase.RUNNING, name)
    asked = world.sky.job_state
    hanging: list[str] = []

    async def hang(cluster: str) -> str:
        if cluster == NAME:
            hanging.append(cluster)
            await asyncio.Event().wait()
        return await asked(cluster)

    world.sky.job_state = hang  # type: ignore[method-assign]
    world.sky.vanish(other)
    await world.until(Phase.GONE, other)
    await world.provisioner.launch(world.request(third))
    await world.until(Phase.RUNNING, third)
    world.sky.die(third)
    await world.until(Phase.FAILED, third)

    assert (await world.provisioner.describe(NAME)).phase is Phase.RUNNING
    assert hanging == [NAME]
    await world.provisioner.close()


async def test_many_machines_that_hang_leave_a_turn_to_the_others(world: World) -> None:
    """They are asked a few at a time, for SkyPilot waits for each; who was asked longest ago is next."""
    names = [f"{NAME}{number:02}" for number in range(MOST_JOBS_ASKED + 1)]
    for name in names:
        await world.provisioner.launch(world.request(name))
        await world.until(Phase.RUNNING, name)
    await world.provisioner.close()
    world.again()
    asked = world.sky.job_state
    hanging: list[str] = []
    most: list[int] = []
    given_up = asyncio.Event()

    async def hang(cluster: str) -> str:
        if cluster == names[-1]:
            return await asked(cluster)
        hanging.append(cluster)
        most.append(len(hanging))
        await given_up.wait()
        hanging.remove(cluster)
        raise SkyFailure("ReadTimeout", "no answer to job_state")

    world.sky.job_state = hang  # type: ignore[method-assign]
    world.sky.die(names[-1])
    for _ in range(20):
        assert (await world.provisioner.describe(names[-1])).phase is Phase.RUNNING
        world.moment[0] += 5.0
        await asyncio.sleep(0)
    given_up.set()

    await world.until(Phase.FAILED, names[-1])
    assert max(most) == MOST_JOBS_ASKED
    await world.provisioner.close()


async def test_the_engine_is_told_to_finish_before_its_machine_goes(world: World) -> None:
    """With its own key; and only then SkyPilot takes the cluster down."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    key = private_text(world.sky.mounts[NAME]["~/.greenctl/key"])
    await world.provisioner.terminate(NAME, timedelta(seconds=30))
    await world.until(Phase.GONE)

    assert world.asked == [("POST", "/greenctl/stop", f"Bearer {key}"), ("GET", "/health", "")]
    assert world.sky.calls[-1][0] != "launch"


async def test_what_was_secret_goes_with_the_replica(world: World) -> None:
    """Once it has ended, neither its key nor what was carried to it lies on this machine; its log stays."""
    await world.provisioner.launch(world.request(secrets=("HF_TOKEN",)))
    await world.until(Phase.RUNNING)
    key = private_text(world.sky.mounts[NAME]["~/.greenctl/key"])
    assert "hf_canary_value" in private_text(world.sky.mounts[NAME]["~/.greenctl/secrets.json"])
    await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)

    left = [path.read_text(encoding="utf-8") for path in world.folder.rglob("*") if path.is_file()]
    assert left
    assert not [text for text in left if "hf_canary_value" in text or key in text]


async def test_what_was_secret_goes_with_whoever_vanishes(world: World) -> None:
    """A preemption: nobody is asked to end what is no more. Two listings say so, and SkyPilot is asked no longer."""
    await world.provisioner.launch(world.request(secrets=("HF_TOKEN",)))
    await world.until(Phase.RUNNING)
    world.sky.vanish(NAME)
    await world.until(Phase.GONE)
    assert await world.provisioner.inventory(UID) == []
    kept = list(world.folder.rglob("secrets.json"))
    assert await world.provisioner.inventory(UID) == []
    world.sky.calls.clear()
    assert await world.provisioner.inventory(UID) == []

    assert kept
    assert not [*world.folder.rglob("secrets.json"), *world.folder.rglob("api-key")]
    assert ("launches", NAME) not in world.sky.calls
    assert (await world.provisioner.describe(NAME)).phase is Phase.GONE


async def test_who_was_forgotten_before_it_came_can_be_asked_for_again(world: World) -> None:
    """The hand-over failed, and its next try is later than two listings: its name is not used up by them."""
    world.sky.fail_next("launch", SkyFailure("ServerTemporarilyUnavailableError", "not now"))
    with pytest.raises(ProviderUnavailable, match="not now"):
        await world.provisioner.launch(world.request(secrets=("HF_TOKEN",)))
    for _ in range(3):
        assert await world.provisioner.inventory(UID) == []
    assert not [*world.folder.rglob("secrets.json"), *world.folder.rglob("api-key")]

    await world.provisioner.launch(world.request(secrets=("HF_TOKEN",)))
    seen = await world.until(Phase.RUNNING)
    assert seen.api_key_file is not None
    assert seen.api_key_file.exists()
    assert "hf_canary_value" in private_text(world.sky.mounts[NAME]["~/.greenctl/secrets.json"])


async def test_a_log_does_not_keep_the_secrets_that_an_engine_said(world: World) -> None:
    """A value of the service's own, which looks like nothing, is in no last word and in no file of ours."""
    world.secrets["HF_TOKEN"] = "plainwords"
    await world.provisioner.launch(world.request(secrets=("HF_TOKEN",)))
    await world.until(Phase.RUNNING)
    world.sky.die(NAME, "login with plainwords failed")
    seen = await world.until(Phase.FAILED)

    assert seen.exit_detail is not None
    assert "login with *** failed" in seen.exit_detail
    log = world.provisioner.log_path(NAME)
    assert log is not None
    assert "plainwords" not in log.read_text(encoding="utf-8")


async def test_the_end_of_a_log_is_asked_for_once(world: World) -> None:
    """What has failed may stand for weeks before somebody ends it: its log does not grow with each look."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    world.sky.die(NAME, "RuntimeError: out of memory")
    first = await world.until(Phase.FAILED)
    log = world.provisioner.log_path(NAME)
    assert log is not None
    said = log.read_text(encoding="utf-8")
    for _ in range(5):
        assert (await world.provisioner.inventory(UID))[0].exit_detail == first.exit_detail
        world.moment[0] += 60.0

    assert "out of memory" in (first.exit_detail or "")
    assert log.read_text(encoding="utf-8") == said


async def test_a_log_that_does_not_come_holds_nobody_up(world: World) -> None:
    """That the job has ended is told without its words, at each look; they are asked for once, and told once there."""
    world.answer_seconds = 0.0
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    hasty = world.again()
    world.sky.die(NAME, "RuntimeError: out of memory")
    read, comes, asked = world.sky.job_log, asyncio.Event(), []

    async def slowly(cluster: str) -> str:
        asked.append(cluster)
        await comes.wait()
        return await read(cluster)

    world.sky.job_log = slowly  # type: ignore[method-assign]
    with contextlib.suppress(ProviderUnavailable):
        await hasty.describe(NAME)  # begins to ask
    for _ in range(20):
        await asyncio.sleep(0)
    for _ in range(3):
        seen = await world.until(Phase.FAILED, of=hasty)
        assert seen.exit_detail == "its job ended: FAILED"
    comes.set()

    seen = await world.until(Phase.FAILED, holds=lambda seen: "out of memory" in str(seen.exit_detail), of=hasty)
    assert seen.exit_detail.startswith("its job ended: FAILED: ")
    assert asked == [NAME]


async def test_a_log_that_comes_after_the_end_is_not_kept(world: World) -> None:
    """What its secrets were is forgotten by then, so nobody could hide them in it."""
    await world.provisioner.launch(world.request(secrets=("HF_TOKEN",)))
    await world.until(Phase.RUNNING)
    world.answer_seconds = 0.0
    hasty = world.again()
    world.sky.die(NAME, "login with hf_canary_value failed")
    read, comes = world.sky.job_log, asyncio.Event()

    async def slowly(cluster: str) -> str:
        said = await read(cluster)
        await comes.wait()
        return said

    world.sky.job_log = slowly  # type: ignore[method-assign]
    with contextlib.suppress(ProviderUnavailable):
        await hasty.describe(NAME)
    for _ in range(20):
        await asyncio.sleep(0)
    await world.until(Phase.FAILED, of=hasty)
    await hasty.terminate(NAME, GRACE)
    await world.until(Phase.GONE, of=hasty)
    comes.set()
    for _ in range(20):
        await asyncio.sleep(0)

    log = hasty.log_path(NAME)
    assert log is not None
    assert "login with" not in log.read_text(encoding="utf-8")


async def test_logs_stay_within_two_files(world: World) -> None:
    """Of each replica, and of the worker that asks SkyPilot: a year of warnings does not fill the disk."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    worker, mine = world.folder / "skypilot" / "worker.log", Folders(world.folder / "skypilot").of(NAME).log
    for log in (worker, mine):
        log.write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))
    await world.provisioner.inventory(UID)

    for log in (worker, mine):
        assert log.stat().st_size == 0
        assert log.with_suffix(".log.1").stat().st_size == LOG_LIMIT_BYTES + 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
@pytest.mark.parametrize(("place", "code"), [("/dev/full", "disk_full"), ("/", "provider_error")])
async def test_an_end_that_cannot_be_written_down_is_told_and_asked_for_again(
    world: World, place: str, code: str
) -> None:
    """Of the system's own errors a look would end, and all the others wait with it; of ours it goes on."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    in_the_way = Folders(world.folder / "skypilot").of(NAME).path / f".{RECORD}.{os.getpid()}"
    in_the_way.symlink_to(place)
    with pytest.raises(ProviderError) as caught:
        await world.provisioner.terminate(NAME, GRACE)
    assert caught.value.code == code

    in_the_way.unlink()
    await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)
    assert world.sky.existing() == frozenset()


async def test_only_the_newest_of_those_that_ended_are_remembered(world: World) -> None:
    """A year of moves does not fill the disk, and each look does not read a year of files."""
    folders = Folders(world.folder / "skypilot")
    living = Record("gc-living", UID, "chat", "i", "slurm/eu", 1, 0, has_key=False)
    folders.of(living.name).write(living)
    for number in range(ENDED_KEPT + 5):
        name = f"gc-ended-{number:03}"
        folders.of(name).write(replace(living, name=name, ended=True))
        os.utime(folders.of(name).path, (number, number))
    folders.prune()

    left = [r.name for r in folders.records()]
    assert left == [f"gc-ended-{n:03}" for n in range(5, ENDED_KEPT + 5)] + ["gc-living"]


@dataclass
class Slow:
    """Makes SkyPilot take a launch when it is told to, and not before; ``taken`` counts those that it took."""

    world: World
    may_go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        take = self.world.sky.launch

        async def slowly(cluster: str, task: Mapping[str, Any], mounts: Mapping[str, str]) -> str:
            if cluster == NAME:
                await self.may_go.wait()
            return await take(cluster, task, mounts)

        self.world.sky.launch = slowly  # type: ignore[method-assign]
        self.world.answer_seconds = 0.0
        self.hasty = self.world.again()
        self.world.answer_seconds = 20.0

    async def look(self) -> None:
        """Let a picture come that nobody waits for."""
        with pytest.raises(ProviderUnavailable, match="has not answered"):
            await self.hasty.describe(NAME)
        for _ in range(20):
            await asyncio.sleep(0)

    async def let_go(self) -> None:
        """Let it be taken, and whatever follows from that."""
        self.may_go.set()
        for _ in range(20):
            await asyncio.sleep(0)


async def test_replicas_that_share_a_node_do_not_share_a_port(world: World) -> None:
    """Slurm may put two of them on one node. The file's own port stands, and its owner's command knows no other."""
    asked = {
        "aaaaaaaaaa": world.request(),
        "bbbbbbbbbb": world.request("gc-01234567-chat-bbbbbbbbbb"),
        "dddddddddd": world.request("gc-01234567-chat-dddddddddd", task_json='{"service": {"ports": 9000}}'),
        "eeeeeeeeee": world.request(
            "gc-01234567-chat-eeeeeeeeee", model=ModelSpec("x", Engine.COMMAND), task_json='{"run": "serve"}'
        ),
        "ffffffffff": world.request("gc-01234567-chat-ffffffffff", region="aws/eu-north-1"),
    }
    ports = {}
    for key, request in asked.items():
        await world.provisioner.launch(request)
        seen = await world.until(Phase.RUNNING, request.name)
        ports[key] = int(str(seen.endpoint).rpartition(":")[2])

    assert (ports["dddddddddd"], ports["eeeeeeeeee"], ports["ffffffffff"]) == (9000, 8000, 8000)
    assert len({ports["aaaaaaaaaa"], ports["bbbbbbbbbb"]} | set(ports.values())) == 4
    argv = json.loads(private_text(world.sky.mounts[NAME]["~/.greenctl/launch.json"]))["argv"]
    assert f"--port={ports['aaaaaaaaaa']}" in argv
    assert (await world.again().describe(NAME)).endpoint == f"http://10.0.0.1:{ports['aaaaaaaaaa']}"


async def test_a_launch_that_takes_minutes_to_hand_over_holds_nobody_up(world: World) -> None:
    """Its files are carried meanwhile: whoever asks again hears so at once, and it is handed over once."""
    slow = Slow(world)
    for _ in range(3):
        with pytest.raises(ProviderUnavailable, match="has not taken it yet"):
            await slow.hasty.launch(world.request())
    await slow.let_go()
    await slow.hasty.launch(world.request())
    await slow.let_go()
    with contextlib.suppress(ProviderUnavailable):  # in no hurry any more: it looks whether it was asked already
        await slow.hasty.launch(world.request())
    await slow.let_go()

    assert world.sky.jobs_submitted == {NAME: 1}


async def test_what_became_of_a_slow_launch_is_told_to_who_asks_next(world: World) -> None:
    """The first one to ask had gone by then."""
    slow = Slow(world)
    world.sky.fail_next("launch", SkyFailure("ResourcesUnavailableError", "the region is full"))
    with pytest.raises(ProviderUnavailable, match="has not taken it yet"):
        await slow.hasty.launch(world.request())
    await slow.let_go()

    await slow.look()
    assert (await slow.hasty.describe(NAME)).phase is Phase.GONE  # so it is asked for again
    with pytest.raises(NoCapacity, match="the region is full"):
        await slow.hasty.launch(world.request())


async def test_a_launch_that_is_being_handed_over_is_not_gone(world: World) -> None:
    """Who heard so would take its end for confirmed, and its machine would come afterwards."""
    slow = Slow(world)
    with pytest.raises(ProviderUnavailable, match="has not taken it yet"):
        await slow.hasty.launch(world.request())
    await slow.look()
    with pytest.raises(ProviderUnavailable, match="has not taken it yet"):
        await slow.hasty.describe(NAME)

    await slow.let_go()
    assert (await world.until(Phase.RUNNING, of=slow.hasty)).endpoint is not None


async def test_the_end_of_a_launch_that_is_being_handed_over_waits_for_it(world: World) -> None:
    """Or it would be launched after its end, and be nobody's."""
    slow = Slow(world)
    with pytest.raises(ProviderUnavailable, match="has not taken it yet"):
        await slow.hasty.launch(world.request())
    await slow.hasty.terminate(NAME, timedelta(0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert ("down", NAME) not in world.sky.calls

    for _ in range(3):  # it is asked again, as at every look
        await slow.let_go()
        with contextlib.suppress(ProviderUnavailable):
            await slow.hasty.terminate(NAME, timedelta(0))

    assert ("launch", NAME) in world.sky.calls
    assert world.sky.calls.index(("down", NAME)) > world.sky.calls.index(("launch", NAME))
    assert not world.sky.existing()


async def test_a_silent_skypilot_holds_nobody_up(world: World) -> None:
    """Each question is refused once its time is over, none is put behind it, and the first answer mends it."""
    world.answer_seconds = 0.0
    silenced = world.again()
    world.answer_seconds = 20.0
    world.again()
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    answers = asyncio.Event()
    known = world.sky.launches

    async def slowly(cluster: str) -> Sequence[LaunchCall]:
        await answers.wait()
        return await known(cluster)

    world.sky.launches = slowly  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(ProviderUnavailable, match="has not answered"):
            await silenced.describe(NAME)
    with pytest.raises(ProviderUnavailable, match="has not answered"):
        await silenced.launch(world.request("gc-01234567-chat-bbbbbbbbbb"))

    answers.set()
    for _ in range(20):
        await asyncio.sleep(0)  # the question that is open is answered
    assert (await silenced.describe(NAME)).phase is Phase.RUNNING


async def test_a_slow_listing_is_waited_for_where_nobody_is_held_up(world: World) -> None:
    """A look goes on without it; the end of a machine, which goes on beside looks, takes the time that it takes."""
    answers, known = asyncio.Event(), world.sky.clusters

    async def slowly(prefix: str) -> Sequence[Cluster]:
        await answers.wait()
        return await known(prefix)

    world.sky.clusters = slowly  # type: ignore[method-assign]
    view = View(world.sky, Folders(world.folder / "skypilot"), refresh_seconds=0.0)
    with pytest.raises(ProviderUnavailable, match="has not answered"):
        await view.fresh("gc-", 0.0)
    patient = asyncio.create_task(view.fresh("gc-", None))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not patient.done()

    answers.set()
    assert (await patient).clusters == {}


async def test_a_clock_that_was_set_back_gives_no_more_time(world: World) -> None:
    """What was noted as the end lies an hour ahead now; the engine has the time that it was given, not the hour."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    Folders(world.folder / "skypilot").of(NAME).change(stop_by=time.time() + 3600)
    await world.again().terminate(NAME, GRACE)
    await world.until(Phase.GONE)

    assert [path for _, path, _ in world.asked] == ["/greenctl/stop"]


LEASE = timedelta(hours=24)


async def test_a_replica_is_told_itself_to_go_on(world: World) -> None:
    """With its own key, over nothing but the way to it; the task carries the lease from the start."""
    await world.provisioner.launch(world.request(lease=LEASE))
    await world.until(Phase.RUNNING)

    assert json.loads(private_text(world.sky.mounts[NAME]["~/.greenctl/launch.json"]))["lease_seconds"] == 86400
    assert await world.provisioner.renew(NAME, LEASE)
    key = private_text(world.sky.mounts[NAME]["~/.greenctl/key"])
    assert world.asked == [("POST", "/greenctl/renew", f"Bearer {key}")]


async def test_an_older_replica_has_no_lease(world: World) -> None:
    """Its guard does not know the question; nobody takes that for a lease that was renewed."""
    world.renewing = lambda _: httpx.Response(404)
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)

    assert not await world.provisioner.renew(NAME, LEASE)
    assert not await world.provisioner.renew("gc-01234567-chat-unknown", LEASE)


async def test_a_renewal_that_did_not_arrive_is_no_renewal(world: World) -> None:
    """An unreachable replica, one without an address and one that refuses are told apart from one without a lease."""
    await world.provisioner.launch(world.request(lease=LEASE))
    await world.until(Phase.RUNNING)
    world.renewing = lambda _: httpx.Response(500)
    with pytest.raises(ProviderError, match="did not take its lease"):
        await world.provisioner.renew(NAME, LEASE)

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no way")

    world.renewing = refuse
    with pytest.raises(ProviderUnavailable, match="could not be told"):
        await world.provisioner.renew(NAME, LEASE)
    world.sky.vanish(NAME)
    await world.until(Phase.GONE)
    with pytest.raises(ProviderUnavailable, match="no address"):
        await world.provisioner.renew(NAME, LEASE)


async def test_nothing_is_sent_to_a_machine_in_another_region(world: World) -> None:
    """Neither with its lease nor with its end, for its key goes with both; it is taken down all the same."""
    await world.provisioner.launch(world.request(lease=LEASE))
    await world.until(Phase.RUNNING)
    world.sky.change(NAME, region="us")
    await world.until(Phase.RUNNING, holds=lambda seen: seen.runs_in == "slurm/us")
    with pytest.raises(ProviderError, match="runs in slurm/us: nothing is sent there"):
        await world.provisioner.renew(NAME, LEASE)
    await world.provisioner.terminate(NAME, timedelta(seconds=30))
    await world.until(Phase.GONE)

    assert world.asked == []
    assert world.sky.existing() == frozenset()


async def test_a_machine_whose_job_has_ended_ends_itself(world: World) -> None:
    """Nobody is there to take it down: SkyPilot's own autodown does, ten minutes after the lease has ended the job."""
    await world.provisioner.launch(world.request(lease=LEASE))
    await world.until(Phase.RUNNING)
    world.sky.lapse(NAME)
    failed = await world.until(Phase.FAILED)
    assert "the lease is over" in failed.exit_detail
    left = world.sky.existing()
    world.moment[0] += 600.0

    assert left == {NAME}
    assert world.sky.existing() == frozenset()


async def test_a_down_that_lies_is_repeated(world: World) -> None:
    """Until SkyPilot lists it no longer, it is not gone."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    world.sky.lie_at_next_down()
    await world.provisioner.terminate(NAME, GRACE)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (await world.provisioner.describe(NAME)).phase is Phase.STOPPING
    with pytest.raises(ProviderError, match="still lists it"):
        await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)
    assert world.sky.existing() == frozenset()


async def test_a_job_that_skypilot_forgot_is_found_and_ended(world: World) -> None:
    """The cluster's own queue is the last word; an inventory without it is none."""
    lost = Allocation(NAME, "slurm/eu", "17", "RUNNING")
    world.ground.jobs.append(lost)
    (found,) = await world.provisioner.inventory(UID)
    assert (found.name, found.phase, found.region) == (NAME, Phase.RUNNING, "slurm/eu")

    world.ground.failure = ProviderUnavailable("slurm/eu did not answer")
    with pytest.raises(ProviderUnavailable):
        await world.provisioner.inventory(UID)

    world.ground.failure = None
    await world.provisioner.terminate(NAME, GRACE)
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.ground.jobs == []


async def test_what_the_listing_showed_is_there_for_who_asks_by_name(world: World) -> None:
    """SkyPilot has lost it: it is gone once, so that it is replaced, and then there until it is ended or not listed."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    world.sky.vanish(NAME)
    job = Allocation(NAME, "slurm/eu", "17", "RUNNING")
    world.ground.jobs.append(job)
    await world.until(Phase.GONE)
    world.moment[0] += 60
    assert [i.phase for i in await world.provisioner.inventory(UID)] == [Phase.RUNNING]
    seen = await world.provisioner.describe(NAME)
    assert (seen.phase, seen.endpoint) == (Phase.RUNNING, None)
    assert "job 17" in seen.exit_detail

    world.ground.jobs.clear()
    assert list(await world.provisioner.inventory(UID)) == []
    assert (await world.provisioner.describe(NAME)).phase is Phase.GONE

    world.ground.jobs.append(job)
    world.again()
    assert [i.phase for i in await world.provisioner.inventory(UID)] == [Phase.RUNNING]
    phases = [(await world.provisioner.describe(NAME)).phase for _ in range(2)]
    assert phases == [Phase.GONE, Phase.RUNNING]
    await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)
    assert world.ground.jobs == []


async def test_a_job_that_outlived_its_record_is_ended_by_the_controller(world: World) -> None:
    """It was taken for gone, and its record is closed: after two sweeps nothing of it is left, and it is told once."""
    await world.provisioner.launch(world.request(epoch=1))
    await world.until(Phase.RUNNING)
    world.sky.vanish(NAME)
    world.ground.jobs.append(Allocation(NAME, "slurm/eu", "17", "RUNNING"))
    store = MemoryStore(UID)
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("me", NOW)
    journal.set_operation("op-1", OperationState.DONE, NOW)
    journal.set_service_state(SERVICE, ServiceState.DOWN, NOW)
    journal.start_replica(*a_launch(NAME, region="slurm/eu"))
    for state in (S.PROVISIONING, S.STARTING, S.READY, S.LOST):
        journal.move_replica(NAME, state, NOW, "its process is gone")
    journal.update_replica(NAME, cleaned_up=True, now=NOW)
    clock, _, runtime = fleet(Size(1, 1, 1), store)
    clock.advance(NOW - clock.now())
    controller = Controller(replace(runtime, provisioners={"slurm": world.provisioner}), journal)

    for _ in range(30):
        clock.advance(timedelta(seconds=5))
        world.moment[0] += 5.0
        await controller.tick()
        for _ in range(20):
            await asyncio.sleep(0)

    assert world.ground.jobs == []
    found = store.replica(NAME)
    assert found is not None
    assert found.cleaned_up
    assert len([e for e in store.events(SERVICE) if "is still there" in e.text]) == 1


@pytest.mark.parametrize("region", ["aws/eu-north-1", "slurm/us"])
async def test_a_silent_slurm_region_keeps_no_end_open_elsewhere(world: World, region: str) -> None:
    """What ran on another cloud, or on another cluster, cannot stand in its queue."""
    await world.provisioner.launch(world.request(region=region))
    await world.until(Phase.RUNNING)
    world.ground.failure = ProviderUnavailable("slurm/eu did not answer")
    await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)


async def test_a_silent_slurm_region_keeps_its_own_ends_open(world: World) -> None:
    """Whether a job of it is left nobody knows."""
    await world.provisioner.launch(world.request())
    await world.until(Phase.RUNNING)
    world.ground.failure = ProviderUnavailable("slurm/eu did not answer")
    await world.provisioner.terminate(NAME, GRACE)
    for _ in range(50):
        await asyncio.sleep(0)
    assert (await world.provisioner.describe(NAME)).phase is Phase.STOPPING

    world.ground.failure = None
    with pytest.raises(ProviderUnavailable, match="did not answer"):
        await world.provisioner.terminate(NAME, GRACE)
    await world.until(Phase.GONE)


async def test_keys_and_secrets_travel_as_private_files(world: World) -> None:
    """Neither stands in the task, and both files are ours alone; a secret that is not there is missed by name."""
    await world.provisioner.launch(world.request(secrets=("HF_TOKEN",)))
    mounts = world.sky.mounts[NAME]
    said = str(world.sky.tasks[NAME])
    assert "hf_canary_value" not in said
    assert private_text(mounts["~/.greenctl/key"]) not in said
    assert "hf_canary_value" in private_text(mounts["~/.greenctl/secrets.json"])

    with pytest.raises(CredentialsMissing, match="OTHER"):
        await world.provisioner.launch(world.request(name=NAME + "b", secrets=("OTHER",)))


async def test_the_preflight_names_what_is_missing(world: World, tmp_path: Path) -> None:
    """Engine, model, spot and access are looked at before anything is bought."""
    preflight = world.provisioner.preflight
    with pytest.raises(UnsupportedByProvider):
        await preflight(ModelSpec("x", Engine.BUILTIN))
    with pytest.raises(EngineMissing, match="no model folder"):
        await preflight(ModelSpec(str(tmp_path / "nowhere")))
    with pytest.raises(UnsupportedByProvider, match="no spot"):
        await preflight(ModelSpec("org/m"), [offer("slurm/eu", market=Market.SPOT)])
    with pytest.raises(UnsupportedByProvider, match="published as another one"):
        await preflight(ModelSpec("org/m"), [offer("runpod/se")])
    with pytest.raises(CredentialsMissing, match="azure"):
        await preflight(ModelSpec("org/m"), [offer("azure/eastus")])
    world.sky.fail_next("ensure_server", SkyFailure("ApiServerConnectionError", "refused"))
    with pytest.raises(ProviderUnavailable):
        await preflight(ModelSpec("org/m"), [offer("slurm/eu")])
    assert world.sky.existing() == frozenset()


async def test_hardware_that_no_template_knows_is_refused_by_name(world: World) -> None:
    """Before anything is posted, with what would work."""
    odd = offer("aws/one", on=Shape("1xAbacus", "Abacus", 1, 4, 16, None))
    with pytest.raises(UnsupportedByProvider, match="Abacus"):
        await world.provisioner.launch(LaunchRequest(NAME, UID, "chat", "aaaaaaaaaa", odd, ModelSpec("org/model")))
    assert world.sky.existing() == frozenset()
