"""Launchers that are killed at any moment, and several of them at once.

A helper process enumerates the moments: an audit hook sees every file, directory, lock and process operation of a
launch, and kills the helper's child before the n-th one, for every n until a launch comes through.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.ports import Phase
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.provisioners.local import keeper
from orchestrator.provisioners.local.processes import Marks, Part
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from tests.provisioner_bench import (
    NO_GRACE,
    ArgvLauncher,
    Bench,
    keeper_of,
    kill_main,
    main_of,
    processes_of,
    swept,
    text_of,
    unique,
    wait_until,
)

HELPER = Path(__file__).with_name("crashing_launcher.py")
ROOT = Path(__file__).parents[3]

FULL = 17
"""Exit status of a helper that heard ``NoCapacity``."""

FEWEST_MOMENTS = 12
"""A launch that has fewer crash points than that is not being observed properly."""


def helper(*arguments: str) -> subprocess.Popen[str]:
    """Start the helper."""
    command = (sys.executable, str(HELPER), *arguments)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def answers(started: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Read what the helper reports, line by line, until its end."""
    with started:
        assert started.stdout is not None
        for line in started.stdout:
            yield json.loads(line)
    assert started.returncode == 0


def living_engines(name: str) -> list[int]:
    """Return the main processes of everything that runs under that name."""
    return [p.pid for p in processes_of(name) if p.leads_session and p.marks and p.marks.part.value == "engine"]


def recorded_port(state_dir: Path, name: str) -> int:
    """Return what the record says."""
    return int(json.loads((state_dir / "replicas" / name / "instance.json").read_text(encoding="utf-8"))["port"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give a provisioner over the state directory that the helper uses too."""
    provisioner = LocalProvisioner(tmp_path, {Engine.BUILTIN: ArgvLauncher()})
    made = Bench(provisioner, ModelSpec("any", Engine.BUILTIN), lambda: time.sleep(0.02), kill_main)
    with swept(made.uid):
        yield made


async def test_a_launch_that_was_killed_anywhere_can_be_repeated(bench: Bench, tmp_path: Path) -> None:
    """The same launch, by somebody else, ends with exactly one engine; ending it leaves nothing."""
    moments = list(answers(helper("crash", str(tmp_path), bench.uid)))
    assert len(moments) >= FEWEST_MOMENTS
    assert [moment["killed"] for moment in moments] == [*[True] * (len(moments) - 1), False]
    for moment in moments:
        name = moment["name"]
        await bench.provisioner.launch(bench.request(name))
        running = await bench.until(name, Phase.RUNNING)

        assert len(living_engines(name)) == 1, moment
        assert recorded_port(tmp_path, name) == int((running.endpoint or "").rpartition(":")[2]), moment
        await bench.provisioner.terminate(name, NO_GRACE)
    for moment in moments:
        await bench.until(moment["name"], Phase.GONE)
    assert await bench.names() == []


async def test_what_a_killed_launch_left_can_be_ended(bench: Bench, tmp_path: Path) -> None:
    """Inventory and terminate alone, without repeating the launch, leave no process and no running name."""
    moments = list(answers(helper("crash", str(tmp_path), bench.uid)))
    for moment in moments:
        await bench.provisioner.terminate(moment["name"], NO_GRACE)
    for moment in moments:
        await bench.until(moment["name"], Phase.GONE)
        wait_until(lambda name=moment["name"]: not processes_of(name), "the end of every process")

    assert await bench.names() == []


async def test_processes_that_launch_one_name_at_once_start_one_engine(bench: Bench, tmp_path: Path) -> None:
    """Eight launchers start at the same moment; one engine runs, and nobody failed."""
    name = unique()
    results = list(answers(helper("race", str(tmp_path), bench.uid, name, "8")))
    await bench.until(name, Phase.RUNNING)

    assert [result["status"] for result in results] == [0] * 8
    assert len(living_engines(name)) == 1
    assert await bench.names() == [name]


async def test_processes_that_launch_into_a_nearly_full_region_do_not_overfill_it(bench: Bench, tmp_path: Path) -> None:
    """Eight launchers of eight replicas, and room for one: one starts, the others hear that the region is full."""
    results = list(answers(helper("fill", str(tmp_path), bench.uid, "8")))

    assert sorted(result["status"] for result in results) == [0, *[FULL] * 7]
    assert len(await bench.names()) == 1


async def test_an_engine_outlives_its_launcher_and_is_found_again(bench: Bench, tmp_path: Path) -> None:
    """SIGKILL of the launcher leaves the engine running under another process's eyes."""
    name = unique()
    started = helper("launch", str(tmp_path), bench.uid, name)
    assert started.stdout is not None
    assert json.loads(started.stdout.readline()) == {"launched": name}
    started.kill()
    started.communicate()
    running = await bench.until(name, Phase.RUNNING)

    assert await bench.provisioner.inventory(bench.uid) == [running]
    assert running.api_key_file is not None
    engine = main_of(name)
    assert engine is not None
    assert engine.parent != started.pid


async def test_a_stop_is_enforced_although_its_caller_died(bench: Bench, tmp_path: Path) -> None:
    """Terminate returned and its caller was killed: the engine is killed after the grace all the same."""
    name = unique()
    started = helper("stop", str(tmp_path), bench.uid, name, "0.5")
    assert started.stdout is not None
    assert json.loads(started.stdout.readline()) == {"asked": name}
    started.kill()
    started.communicate()

    wait_until(lambda: not processes_of(name), "the keeper's kill")


async def test_a_launch_that_was_stopped_half_way_starts_nothing_after_the_end(bench: Bench, tmp_path: Path) -> None:
    """A launcher that sleeps through its replica's end, and then goes on, starts no engine."""
    name = unique()
    started = helper("pause", str(tmp_path), bench.uid, name)
    assert started.stdout is not None
    paused = json.loads(started.stdout.readline())["paused"]
    wait_until(lambda: Path(f"/proc/{paused}/stat").read_text().rpartition(")")[2].split()[0] == "T", "the pause")
    await bench.provisioner.terminate(name, timedelta(seconds=2))
    os.kill(paused, signal.SIGCONT)
    assert json.loads(started.stdout.readline()) == {"status": 0}
    started.communicate()

    wait_until(lambda: not processes_of(name), "the keeper's end")
    assert (await bench.provisioner.describe(name)).phase is Phase.GONE
    assert text_of(bench.provisioner.log_path(name)) == "greenctl: told to end before it began\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
def test_a_keeper_that_cannot_say_anything_ends_its_engine_all_the_same(tmp_path: Path) -> None:
    """The engine's log lies on the full disk: words are lost, a stop with its deadline is not."""
    uid, name = unique("uid"), unique()
    (tmp_path / "engine.log").symlink_to("/dev/full")
    is_deaf = tmp_path / "deaf"
    deaf = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(is_deaf)!r}, 'w').close()"
    deaf += "; time.sleep(600)"
    instance = {"secret_environment": {}, "steps": [[sys.executable, "-c", deaf]]}
    (tmp_path / "instance.json").write_text(json.dumps(instance), encoding="utf-8")
    marks = Marks(uid, name, "chat", "local/se", None, Part.KEEPER).as_environment()
    with swept(uid):
        command = [sys.executable, "-I", "-S", keeper.__file__, str(tmp_path)]
        subprocess.run(command, env=os.environ | marks, stdout=subprocess.DEVNULL, check=True)
        wait_until(lambda: bool(living_engines(name)) and is_deaf.exists(), "its engine, which hears no SIGTERM")
        (tmp_path / "stop.json").write_text(json.dumps({"deadline": time.monotonic()}), encoding="utf-8")
        kept = keeper_of(name)
        assert kept is not None
        os.kill(kept.pid, signal.SIGTERM)

        wait_until(lambda: not processes_of(name), "the end of all of it")
        assert json.loads((tmp_path / "exit.json").read_text(encoding="utf-8"))["status"] == -signal.SIGKILL
