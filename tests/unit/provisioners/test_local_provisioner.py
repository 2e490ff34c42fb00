"""The local provisioner: what it refuses, what it enforces, and what it never touches."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from orchestrator.control.ports import Phase
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import DiskFull, EngineMissing, PortBusy, ProviderError
from orchestrator.provisioners.local import provisioner as module
from orchestrator.provisioners.local.engines.builtin import BuiltinLauncher
from orchestrator.provisioners.local.files import StateDirectory
from orchestrator.provisioners.local.processes import OsProcess, Part, PsutilTable
from orchestrator.provisioners.local.provisioner import KEEPER_LATE_SECONDS, LocalProvisioner
from tests.provisioner_bench import (
    NO_GRACE,
    ArgvLauncher,
    Bench,
    FakeTable,
    keeper_of,
    kill_main,
    main_of,
    marks,
    process,
    processes_of,
    swept,
    text_of,
    unique,
    wait_until,
)

MODEL = ModelSpec("any", Engine.BUILTIN)
NAME = "chat-1"


def files_containing(text: str, folder: Path) -> list[Path]:
    """Search a folder."""
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_text(encoding="utf-8")]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that is none of ours."""
    with subprocess.Popen(["/bin/sleep", "600"]) as made:
        yield made
        made.kill()


def bench_with(state_dir: Path, launcher: ArgvLauncher | BuiltinLauncher | None = None, **options: object) -> Bench:
    """Make a provisioner that starts ``sleep`` unless told otherwise."""
    engines = {Engine.BUILTIN: launcher or ArgvLauncher()}
    provisioner = LocalProvisioner(state_dir, engines, **options)  # type: ignore[arg-type]
    return Bench(provisioner, MODEL, lambda: time.sleep(0.02), kill_main)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give real processes."""
    made = bench_with(tmp_path)
    with swept(made.uid):
        yield made


class TestStarting:
    """What launch does, and when it does nothing."""

    async def test_an_unknown_engine_is_missing(self, tmp_path: Path) -> None:
        """An engine that nobody can start here is told before anything is written."""
        provisioner = LocalProvisioner(tmp_path / "state", {})
        with pytest.raises(EngineMissing, match="cannot start the engine builtin"):
            await provisioner.launch(Bench(provisioner, MODEL, lambda: None, kill_main).request())

        assert not list((tmp_path / "state").glob("replicas/*"))

    async def test_a_full_disk_is_refused_before_anything_starts(self, tmp_path: Path) -> None:
        """Below the threshold neither preflight nor launch goes on."""
        bench = bench_with(tmp_path / "state", min_free_disk_mib=10**9)
        with pytest.raises(DiskFull, match="MiB left"):
            await bench.provisioner.preflight(MODEL)
        with pytest.raises(DiskFull):
            await bench.provisioner.launch(bench.request())

        assert not list((tmp_path / "state").glob("replicas/*"))

    async def test_looking_at_a_launch_that_is_under_way_breaks_nothing(self, bench: Bench, tmp_path: Path) -> None:
        """Somebody else is between the key and the keeper: nothing exists yet, and the key is left alone."""
        request = bench.request()
        directory = StateDirectory(tmp_path).replica(request.name)
        directory.create()
        key = text_of(directory.ensure_api_key())

        assert (await bench.provisioner.describe(request.name)).phase is Phase.GONE
        await bench.provisioner.launch(request)
        running = await bench.until(request.name, Phase.RUNNING)
        assert text_of(running.api_key_file) == key

    async def test_the_key_travels_in_the_environment_alone(self, bench: Bench, tmp_path: Path) -> None:
        """The engine has its key, nobody can read it from the arguments, the log or the record."""
        request = bench.request()
        await bench.provisioner.launch(request)
        instance = await bench.until(request.name, Phase.RUNNING)
        assert instance.api_key_file is not None
        key = text_of(instance.api_key_file)
        engine = main_of(request.name)
        assert engine is not None

        assert stat.S_IMODE(instance.api_key_file.stat().st_mode) == 0o600
        assert psutil.Process(engine.pid).environ()["VLLM_API_KEY"] == key
        for other in processes_of(request.name):
            assert key not in " ".join(psutil.Process(other.pid).cmdline())
        assert files_containing(key, tmp_path) == [instance.api_key_file]

    async def test_two_replicas_have_different_ports_and_keys(self, bench: Bench) -> None:
        """Nothing is shared between replicas."""
        found = []
        for _ in range(2):
            request = bench.request()
            await bench.provisioner.launch(request)
            found.append(await bench.until(request.name, Phase.RUNNING))
        first, second = found

        assert first.endpoint != second.endpoint
        assert text_of(first.api_key_file) != text_of(second.api_key_file)

    def test_a_port_that_somebody_listens_on_is_not_chosen(self) -> None:
        """The search goes on past ports that are taken."""
        first = module._free_port([], NAME)
        with socket.create_server((module.HOST, first)):
            second = module._free_port([], NAME)

        assert first in module.PORTS
        assert second == first + 1

    def test_no_port_at_all_is_said(self) -> None:
        """A machine without a free port gives an error of its own kind."""
        everyone = [OsProcess(port, 1.0, 1, port, marks(f"r{port}", port=port)) for port in module.PORTS]

        with pytest.raises(PortBusy, match="20000 to 29999"):
            module._free_port(everyone, NAME)

    async def test_an_engine_that_cannot_be_executed_fails_with_words(self, tmp_path: Path) -> None:
        """A program that is not there is told by name."""
        bench = bench_with(tmp_path, ArgvLauncher(("/no/such/engine",)))
        request = bench.request()
        await bench.provisioner.launch(request)
        failed = await bench.until(request.name, Phase.FAILED)

        assert failed.exit_detail == "cannot start /no/such/engine: No such file or directory"

    async def test_an_engine_that_dies_at_start_tells_why(self, tmp_path: Path) -> None:
        """Exit status and the line that names the cause."""
        launcher = BuiltinLauncher(environment=os.environ | {"GREENCTL_BUILTIN_FAULTS": '{"exit_at_start": 3}'})
        bench = bench_with(tmp_path, launcher)
        request = bench.request()
        await bench.provisioner.launch(request)
        failed = await bench.until(request.name, Phase.FAILED)

        assert failed.exit_detail.startswith("exit status 3: ")
        assert "RuntimeError: fault on demand: cannot start" in failed.exit_detail
        assert failed.api_key_file is not None  # only the end of the replica removes it

    async def test_preparation_comes_first_and_its_failure_ends_it(self, tmp_path: Path) -> None:
        """The engine starts after the preparation, in the same directory and log; not at all when that fails."""
        steps = (("/bin/sh", "-c", "echo ready > prepared"),)
        good = bench_with(tmp_path / "good", ArgvLauncher(("/bin/sh", "-c", "cat prepared; sleep 600"), steps))
        bad = bench_with(tmp_path / "bad", ArgvLauncher(prepare=(("/bin/sh", "-c", "echo Error: no; exit 7"),)))
        with swept(good.uid):
            request = good.request()
            await good.provisioner.launch(request)
            await good.until(request.name, Phase.RUNNING)
            wait_until(lambda: "ready" in text_of(good.provisioner.log_path(request.name)), "the engine's output")

        request = bad.request()
        await bad.provisioner.launch(request)
        failed = await bad.until(request.name, Phase.FAILED)

        assert failed.exit_detail == "exit status 7: Error: no"

    async def test_the_engine_sees_no_credentials_of_ours(self, tmp_path: Path) -> None:
        """What the controller's environment holds for clouds and databases stays there."""
        secret = {"AWS_SECRET_ACCESS_KEY": "x", "GREENCTL_DATABASE_URL": "x", "HF_TOKEN": "x", "PATH": "/usr/bin:/bin"}
        bench = bench_with(tmp_path, BuiltinLauncher(environment=secret))
        with swept(bench.uid):
            request = bench.request()
            await bench.provisioner.launch(request)
            await bench.until(request.name, Phase.RUNNING)
            for ours in processes_of(request.name):
                environment = psutil.Process(ours.pid).environ()
                assert environment["PATH"] == "/usr/bin:/bin"
                assert not set(environment) & {"AWS_SECRET_ACCESS_KEY", "GREENCTL_DATABASE_URL", "HF_TOKEN"}


class TestEnding:
    """Who is told, who is killed, and when."""

    async def test_an_engine_that_ignores_the_request_is_killed_after_the_grace(self, tmp_path: Path) -> None:
        """SIGTERM first, SIGKILL when the grace is over, by the keeper alone."""
        launcher = BuiltinLauncher(environment=os.environ | {"GREENCTL_BUILTIN_FAULTS": '{"ignore_sigterm": true}'})
        bench = bench_with(tmp_path, launcher)
        with swept(bench.uid):
            request = bench.request()
            await bench.provisioner.launch(request)
            await bench.until(request.name, Phase.RUNNING)
            log = bench.provisioner.log_path(request.name)
            wait_until(lambda: "listening" in text_of(log), "the engine")
            await bench.provisioner.terminate(request.name, timedelta(seconds=0.3))
            assert (await bench.provisioner.describe(request.name)).phase is Phase.STOPPING

            wait_until(lambda: not processes_of(request.name), "the keeper to kill")
            assert "the grace is over" in text_of(log)

    async def test_a_second_call_can_hurry_but_not_delay(self, tmp_path: Path) -> None:
        """The earlier deadline holds."""
        bench = bench_with(tmp_path, ArgvLauncher(("/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")))
        with swept(bench.uid):
            request = bench.request()
            await bench.provisioner.launch(request)
            await bench.until(request.name, Phase.RUNNING)
            await bench.provisioner.terminate(request.name, timedelta(hours=1))
            first = json.loads((tmp_path / "replicas" / request.name / "stop.json").read_text())["deadline"]
            await bench.provisioner.terminate(request.name, timedelta(hours=2))
            assert json.loads((tmp_path / "replicas" / request.name / "stop.json").read_text())["deadline"] == first

            await bench.provisioner.terminate(request.name, NO_GRACE)
            await bench.until(request.name, Phase.GONE)

    async def test_an_engine_whose_directory_was_lost_can_be_found_and_ended(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        """The process table is the inventory; files are hints."""
        request = bench.request()
        await bench.provisioner.launch(request)
        running = await bench.until(request.name, Phase.RUNNING)
        shutil.rmtree(tmp_path / "replicas")

        (found,) = await bench.provisioner.inventory(bench.uid)
        assert (found.name, found.service, found.phase) == (request.name, "chat", Phase.RUNNING)
        assert found.endpoint == running.endpoint
        assert found.api_key_file is None

        await bench.provisioner.launch(request)
        assert len(processes_of(request.name)) == 2, "a keeper and its engine, and not two of each"

        await bench.provisioner.terminate(request.name, timedelta(seconds=5))
        await bench.until(request.name, Phase.GONE)
        assert processes_of(request.name) == []

    async def test_the_log_outlives_the_replica_and_the_key_does_not(self, tmp_path: Path) -> None:
        """After the end there is something to read and nothing to steal; old logs go when there are enough."""
        bench = bench_with(tmp_path, ArgvLauncher(("/bin/sh", "-c", "echo hello; exec sleep 600")), keep_ended=2)
        names = [unique(f"r{n}") for n in range(4)]
        with swept(bench.uid):
            for name in names:
                await bench.provisioner.launch(bench.request(name))
                await bench.until(name, Phase.RUNNING)
                wait_until(lambda name=name: "hello" in text_of(bench.provisioner.log_path(name)), "the log")
                await bench.provisioner.terminate(name, NO_GRACE)
                gone = await bench.until(name, Phase.GONE)
                assert gone.api_key_file is None
                assert not (tmp_path / "replicas" / name / "api-key").exists()
            last = bench.request()
            await bench.provisioner.launch(last)

            assert [bench.provisioner.log_path(name) is not None for name in names] == [False, False, True, True]

    async def test_sigterm_to_the_keeper_ends_its_engine(self, bench: Bench) -> None:
        """A machine that shuts down tells the keeper, not us: the engine ends, and nobody asked, so it failed."""
        request = bench.request()
        await bench.provisioner.launch(request)
        await bench.until(request.name, Phase.RUNNING)
        keeper = keeper_of(request.name)
        assert keeper is not None
        os.kill(keeper.pid, signal.SIGTERM)
        failed = await bench.until(request.name, Phase.FAILED)

        assert failed.exit_detail.startswith("killed by SIGTERM")
        wait_until(lambda: not processes_of(request.name), "the keeper's end")


class TestNothingSurvives:
    """Children of a dead engine."""

    async def test_children_of_a_killed_engine_are_cleaned_up(self, tmp_path: Path) -> None:
        """The keeper kills what the main process leaves behind, even in a session of its own and without marks."""
        launcher = BuiltinLauncher(environment=os.environ | {"GREENCTL_BUILTIN_FAULTS": '{"stray_child": true}'})
        bench = bench_with(tmp_path, launcher)
        with swept(bench.uid):
            request = bench.request()
            await bench.provisioner.launch(request)
            await bench.until(request.name, Phase.RUNNING)
            wait_until(lambda: len(processes_of(request.name)) == 3, "the stray child")
            engine = main_of(request.name)
            assert engine is not None
            (stray,) = psutil.Process(engine.pid).children()
            assert not carries_marks(stray)
            kill_main(request.name)
            failed = await bench.until(request.name, Phase.FAILED)

            assert "killed by SIGKILL" in failed.exit_detail
            await bench.provisioner.terminate(request.name, NO_GRACE)
            await bench.until(request.name, Phase.GONE)
            wait_until(lambda: not stray.is_running(), "the stray child's end")

    async def test_children_are_cleaned_up_when_the_keeper_was_killed_too(self, tmp_path: Path) -> None:
        """With keeper and engine gone, the marked children are still found, shown and ended."""
        bench = bench_with(tmp_path, ArgvLauncher(("/bin/sh", "-c", "sleep 600 & sleep 600 & wait")))
        with swept(bench.uid):
            request = bench.request()
            await bench.provisioner.launch(request)
            await bench.until(request.name, Phase.RUNNING)
            wait_until(lambda: len(processes_of(request.name)) == 4, "keeper, engine and two children")
            keeper = keeper_of(request.name)
            assert keeper is not None
            os.kill(keeper.pid, signal.SIGKILL)
            kill_main(request.name)
            failed = await bench.until(request.name, Phase.FAILED)

            assert "2 of its child processes are still there" in failed.exit_detail
            assert await bench.names() == [request.name]
            await bench.provisioner.terminate(request.name, timedelta(hours=1))
            wait_until(lambda: not processes_of(request.name), "the children's end")
            assert (await bench.provisioner.describe(request.name)).phase is Phase.GONE

    async def test_without_a_keeper_the_engine_is_told_and_later_killed(self, tmp_path: Path) -> None:
        """An engine that outlived its keeper runs on, and its end is enforced by whoever looks next."""
        bench = bench_with(tmp_path, ArgvLauncher(("/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")))
        with swept(bench.uid):
            request = bench.request()
            await bench.provisioner.launch(request)
            await bench.until(request.name, Phase.RUNNING)
            keeper = keeper_of(request.name)
            assert keeper is not None
            os.kill(keeper.pid, signal.SIGKILL)
            wait_until(lambda: keeper_of(request.name) is None, "the keeper's end")

            assert (await bench.provisioner.describe(request.name)).phase is Phase.RUNNING
            await bench.provisioner.terminate(request.name, timedelta(seconds=0.5))
            assert (await bench.provisioner.describe(request.name)).phase is Phase.STOPPING
            await bench.until(request.name, Phase.GONE)
            assert processes_of(request.name) == []


def carries_marks(process: psutil.Process) -> bool:
    """Whether a process carries our marks."""
    return any(name.startswith("GREENCTL_") for name in process.environ())


@dataclass
class Desk:
    """A provisioner over a process table and a clock that the test writes."""

    path: Path
    table: FakeTable
    seconds: list[float] = field(default_factory=lambda: [1000.0])
    provisioner: LocalProvisioner = field(init=False)

    def __post_init__(self) -> None:
        """Make the provisioner."""
        self.provisioner = LocalProvisioner(self.path, {}, processes=self.table, monotonic=lambda: self.seconds[0])


class TestEscalation:
    """Step by step, with time and processes in the test's hand."""

    @pytest.fixture
    def desk(self, tmp_path: Path) -> Callable[..., Desk]:
        """Give a way to make one."""
        return lambda *processes: Desk(tmp_path, FakeTable(*processes))

    async def test_the_keeper_is_told_and_the_engine_left_to_it(self, desk: Callable[..., Desk]) -> None:
        """One SIGTERM to the keeper; the engine hears from nobody else."""
        made = desk(process(10, NAME, Part.KEEPER), process(20, NAME, parent=10))
        await made.provisioner.terminate(NAME, timedelta(seconds=30))

        assert made.table.signals == [(10, signal.SIGTERM)]

    async def test_a_keeper_that_lets_the_deadline_pass_is_not_waited_for(self, desk: Callable[..., Desk]) -> None:
        """A keeper that is stopped or stuck is killed together with its engine."""
        made = desk(process(10, NAME, Part.KEEPER), process(20, NAME, parent=10))
        await made.provisioner.terminate(NAME, timedelta(seconds=30))
        made.seconds[0] += 30 + KEEPER_LATE_SECONDS - 0.1
        await made.provisioner.describe(NAME)
        assert {number for _, number in made.table.signals} == {signal.SIGTERM}

        made.seconds[0] += 0.2
        await made.provisioner.inventory("uid")
        assert {(10, signal.SIGKILL), (20, signal.SIGKILL)} <= set(made.table.signals)

    async def test_without_keeper_the_engine_is_told_once_and_killed_after_the_grace(
        self, desk: Callable[..., Desk]
    ) -> None:
        """A second SIGTERM would make some engines drop what they are finishing."""
        made = desk(process(20, NAME), process(21, NAME, parent=20, session=20))
        await made.provisioner.terminate(NAME, timedelta(seconds=30))
        await made.provisioner.terminate(NAME, timedelta(seconds=30))
        await made.provisioner.describe(NAME)
        assert made.table.signals == [(20, signal.SIGTERM)]

        made.seconds[0] += 31
        assert (await made.provisioner.describe(NAME)).phase is Phase.STOPPING
        assert set(made.table.signals[1:]) == {(20, signal.SIGKILL), (21, signal.SIGKILL)}

    async def test_orphans_get_no_grace(self, desk: Callable[..., Desk]) -> None:
        """Without a main process nobody can finish anything: its children are killed at once."""
        made = desk(process(21, NAME, parent=1, session=20))
        await made.provisioner.terminate(NAME, timedelta(hours=1))

        assert made.table.signals[0] == (21, signal.SIGKILL)

    async def test_a_child_forked_while_killing_is_killed_too(self, desk: Callable[..., Desk]) -> None:
        """The table is read again until nobody new turns up."""
        late = process(22, NAME, parent=21, session=20)
        made = desk(process(21, NAME, parent=1, session=20))

        def fork(victim: OsProcess, _: int) -> None:
            if victim.pid == 21:
                made.table.processes = [late]
            else:
                made.table.processes = []

        made.table.on_signal = fork
        await made.provisioner.terminate(NAME, NO_GRACE)

        assert made.table.signals == [(21, signal.SIGKILL), (22, signal.SIGKILL)]
        assert (await made.provisioner.describe(NAME)).phase is Phase.GONE

    async def test_other_replicas_and_strangers_are_left_alone(self, desk: Callable[..., Desk]) -> None:
        """Only the named replica's processes ever get a signal."""
        made = desk(process(20, NAME), process(30, "chat-2"), process(40), process(50, parent=40))
        await made.provisioner.terminate(NAME, NO_GRACE)
        made.seconds[0] += 100
        await made.provisioner.inventory("uid")

        assert {pid for pid, _ in made.table.signals} == {20}

    async def test_a_recorded_pid_is_never_believed(
        self, bench: Bench, tmp_path: Path, stranger: subprocess.Popen[bytes]
    ) -> None:
        """After a reboot a recorded pid is somebody else's: no file makes us signal a process without our mark."""
        request = bench.request()
        await bench.provisioner.launch(request)
        await bench.until(request.name, Phase.RUNNING)
        for ours in processes_of(request.name):
            PsutilTable().signal(ours, signal.SIGKILL)
        wait_until(lambda: not processes_of(request.name), "everybody's end")
        record = tmp_path / "replicas" / request.name / "instance.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"keeper_pid": stranger.pid}))
        failed = await bench.provisioner.describe(request.name)
        assert (failed.phase, failed.exit_detail.partition(" (")[0]) == (Phase.FAILED, "ended unseen")
        await bench.provisioner.terminate(request.name, NO_GRACE)

        assert (await bench.provisioner.describe(request.name)).phase is Phase.GONE
        assert stranger.poll() is None

    async def test_a_table_that_cannot_be_read_is_an_error_and_not_an_empty_list(self, tmp_path: Path) -> None:
        """An inventory is complete or not at all: nobody may conclude that everything is gone."""

        class Blind(FakeTable):
            def snapshot(self) -> list[OsProcess]:
                raise ProviderError("cannot list this machine's processes")

        provisioner = LocalProvisioner(tmp_path, {}, processes=Blind())
        with pytest.raises(ProviderError):
            await provisioner.inventory("uid")
        with pytest.raises(ProviderError):
            await provisioner.describe(NAME)
