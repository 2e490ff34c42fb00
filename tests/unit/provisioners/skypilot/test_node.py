"""The program on the machine: starts an engine, keeps its secrets, ends it in order, leaves nothing behind.

The engine here is a script that writes down how it was called and then does what a test wants of it.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from orchestrator.provisioners.skypilot import node

PROGRAMS = Path(node.__file__).parent
PATIENCE_SECONDS = 30.0

ENGINE = """\
#!{python}
import json, os, signal, subprocess, sys, time
from pathlib import Path
here = Path({here!r})
(here / "draft").write_text(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid()}}))
(here / "draft").rename(here / "called.json")
{body}
"""

QUICK = "sys.exit(0)"
DIES = "sys.exit(7)"
SERVES = """\
def finish(*_):
    (here / "told").touch()
    time.sleep(0.5)
    (here / "finished").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
(here / "ready").touch()
while True:
    time.sleep(0.05)
"""
STUBBORN = """\
signal.signal(signal.SIGTERM, signal.SIG_IGN)
loop = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
inside = subprocess.Popen([sys.executable, "-c", loop])
outside = subprocess.Popen([sys.executable, "-c", loop], start_new_session=True)
(here / "children.json").write_text(json.dumps([inside.pid, outside.pid]))
(here / "ready").touch()
while True:
    time.sleep(0.05)
"""


@dataclass
class Machine:
    """A home with our programs in it, and the processes that were started there."""

    home: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where our files are."""
        return self.home / ".greenctl"

    def launch(self, body: str, *words: str, **extra: Any) -> None:
        """Write what is to be started: an engine with that body, and its words."""
        engine = self.home / "vllm"
        engine.write_text(ENGINE.format(python=sys.executable, here=str(self.home), body=body))
        engine.chmod(0o755)
        known = {"argv": [str(engine), *words], "env": {}, "grace_seconds": 10, "packages": [], "setup": []}
        (self.folder / "launch.json").write_text(json.dumps({**known, **extra}))

    def start(self, *words: str, output: int | IO[bytes] = subprocess.PIPE, **env: str) -> subprocess.Popen[str]:
        """Start our program as the task does. ``output``: its log."""
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], **env}
        command = [sys.executable, str(self.folder / "replica.py"), *words]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)
        self.started.append(process)
        return process

    def run(self, *words: str, **env: str) -> tuple[int, str]:
        """Run it to its end; returns status and log."""
        process = self.start(*words, **env)
        log, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, log

    def called(self) -> dict[str, Any]:
        """How the engine was called."""
        until((self.home / "called.json").exists)
        found: dict[str, Any] = json.loads((self.home / "called.json").read_text())
        return found


def until(true: Callable[[], bool]) -> None:
    """Wait for something that a process does."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which nothing runs afterwards."""
    made = Machine(tmp_path)
    made.folder.mkdir()
    for name in ("replica.py", "greenctl_guard.py"):
        (made.folder / name).write_text((PROGRAMS / name).read_text())
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("name", ["replica.py", "greenctl_guard.py"])
def test_programs_are_read_by_old_pythons(name: str) -> None:
    """Machines bring the Python that they have; 3.8 reads these files."""
    ast.parse((PROGRAMS / name).read_text(), feature_version=(3, 8))


def test_words_and_variables_arrive_as_they_are(machine: Machine) -> None:
    """No shell is on the way: blanks, quotes, dollars and line ends are ordinary letters."""
    odd = "a b '\"$HOME `id` \\ ; \n é"
    machine.launch(QUICK, odd, "--flag=" + odd, env={"ODD": odd})
    machine.run()
    called = machine.called()

    assert called["argv"] == [odd, "--flag=" + odd]
    assert called["env"]["ODD"] == odd


def test_secrets_and_key_are_in_the_engines_environment_alone(machine: Machine) -> None:
    """No word of a command line holds them, the files are for their owner, and our own variables win."""
    machine.launch(QUICK, "serve", env={"VLLM_API_KEY": "theirs", "PYTHONPATH": "/theirs"})
    (machine.folder / "key").write_text("the-key\n")
    (machine.folder / "secrets.json").write_text(json.dumps({"HF_TOKEN": "the $secret"}))
    for name in ("key", "secrets.json"):
        (machine.folder / name).chmod(0o644)
    _, log = machine.run()
    called = machine.called()

    assert called["env"]["VLLM_API_KEY"] == "the-key"
    assert called["env"]["HF_TOKEN"] == "the $secret"
    assert called["env"]["PYTHONPATH"] == str(machine.folder)
    assert "the-key" not in log + " ".join(called["argv"])
    assert "the $secret" not in log + " ".join(called["argv"])
    assert [oct((machine.folder / n).stat().st_mode & 0o777) for n in ("key", "secrets.json")] == ["0o600", "0o600"]
    assert oct(machine.folder.stat().st_mode & 0o777) == "0o700"


def test_what_only_the_machine_knows_is_filled_in(machine: Machine) -> None:
    """Its address, the model that travelled along, the engine that was installed; a mark inside a word stays."""
    machine.launch(QUICK, "@HERE@/model", "--host=@ADDRESS@", "x@HERE@/model", "--name=@ENGINE@")
    machine.run(SKYPILOT_NODE_IPS="10.0.0.7\n10.0.0.8")
    called = machine.called()

    assert called["argv"] == [str(machine.folder / "model"), "--host=10.0.0.7", "x@HERE@/model", "--name=@ENGINE@"]
    assert called["env"]["VLLM_HOST_IP"] == "10.0.0.7"


def test_the_engine_of_the_image_is_found(machine: Machine) -> None:
    """A container brings its engine along; where nothing was installed it is taken from the PATH."""
    machine.launch(QUICK)
    known = json.loads((machine.folder / "launch.json").read_text())
    (machine.folder / "launch.json").write_text(json.dumps({**known, "argv": ["@ENGINE@", "serve"]}))
    machine.run(PATH=f"{machine.home}:{os.environ['PATH']}")

    assert machine.called()["argv"] == ["serve"]


@pytest.mark.parametrize("way", ["SIGTERM", "stop file"])
def test_the_engine_finishes_what_it_is_saying(machine: Machine, way: str) -> None:
    """Told to end, it gets its SIGTERM and its time, and the job has succeeded."""
    machine.launch(SERVES)
    process = machine.start()
    until((machine.home / "ready").exists)
    if way == "SIGTERM":
        process.terminate()
    else:
        (machine.folder / "stop").touch()
    log, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, log
    assert (machine.home / "finished").exists()


def test_whom_nobody_renews_ends_in_order(machine: Machine) -> None:
    """Its lease over, the engine finishes what it is saying and the job has succeeded: the machine is idle then."""
    machine.launch(SERVES, lease_seconds=0.8)
    log, _ = machine.start().communicate(timeout=PATIENCE_SECONDS)

    assert machine.started[0].returncode == 0, log
    assert (machine.home / "finished").exists()
    assert "the lease is over" in log


def test_who_is_renewed_goes_on_and_a_new_length_counts(machine: Machine) -> None:
    """Touching the file renews the lease, writing it changes its length, nonsense in it does neither harm nor good."""
    machine.launch(SERVES, lease_seconds=1)
    process = machine.start()
    until((machine.home / "ready").exists)
    lease = machine.folder / "lease"
    for text in (None, "soon", None, "nan", None, "1"):
        if text is None:
            lease.touch()
        else:
            lease.write_text(text)
        time.sleep(0.5)
        assert process.poll() is None
        assert not (machine.home / "told").exists()
    lease.write_text("0.1")
    process.communicate(timeout=PATIENCE_SECONDS)

    assert (machine.home / "finished").exists()


def test_without_a_lease_it_runs_on(machine: Machine) -> None:
    """Launched without one, a file of an earlier launch on the same machine ends nothing."""
    (machine.folder / "lease").write_text("0.1")
    machine.launch(SERVES, lease_seconds=None)
    process = machine.start()
    until((machine.home / "ready").exists)
    time.sleep(0.8)

    assert process.poll() is None
    assert not (machine.folder / "lease").exists()


def test_a_stop_of_before_is_not_a_stop_of_now(machine: Machine) -> None:
    """A job that is run again on the same machine is not told to end by what its predecessor was told."""
    (machine.folder / "stop").touch()
    machine.launch(DIES)

    assert machine.run()[0] == 7
    assert not (machine.home / "told").exists()


def test_who_does_not_end_is_killed_with_all_that_it_started(machine: Machine) -> None:
    """After its grace nothing of it lives, not even what left its session."""
    machine.launch(STUBBORN, grace_seconds=1)
    process = machine.start()
    until((machine.home / "ready").exists)
    pids = [machine.called()["pid"], *json.loads((machine.home / "children.json").read_text())]
    assert all(is_alive(pid) for pid in pids)
    process.terminate()
    log, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0
    assert "the grace is over" in log
    assert [pid for pid in pids if is_alive(pid)] == []


def test_an_engine_that_dies_takes_the_rest_with_it(machine: Machine) -> None:
    """The job fails with the engine's own status, whatever children were still there."""
    body = STUBBORN.replace("while True:\n    time.sleep(0.05)", "sys.exit(3)")
    machine.launch(body)
    status, log = machine.run()

    assert status == 3, log
    assert [pid for pid in json.loads((machine.home / "children.json").read_text()) if is_alive(pid)] == []


def test_an_engine_that_ends_by_itself_has_failed(machine: Machine) -> None:
    """Nobody told it to end, so a replica is missing, whatever status it gave."""
    machine.launch(QUICK)

    assert machine.run()[0] == 1


def test_the_engine_dies_with_a_supervisor_that_is_killed(machine: Machine) -> None:
    """A KILL from outside leaves no engine that nobody watches."""
    machine.launch(SERVES)
    process = machine.start()
    pid = machine.called()["pid"]
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE_SECONDS)

    until(lambda: not is_alive(pid))


def test_an_engine_that_is_missing_is_said_so(machine: Machine) -> None:
    """The log names it."""
    machine.launch(QUICK)
    (machine.home / "vllm").unlink()
    status, log = machine.run()

    assert status == 127
    assert f"cannot start {machine.home}/vllm" in log


@pytest.mark.parametrize("home", ["short", "l" + "o" * 90 + "ng"])
def test_temporary_files_go_with_the_engine(machine: Machine, home: str, tmp_path: Path) -> None:
    """A socket's path is at most 107 bytes long, so a deep home is not where they are; they are removed either way."""
    moved = Machine(tmp_path / home)
    moved.home.mkdir()
    machine.folder.rename(moved.folder)
    moved.launch("(Path(os.environ['TMPDIR']) / 'left').touch()")
    moved.run()
    folder = Path(moved.called()["env"]["TMPDIR"])

    assert len(str(folder)) < 107 - 40
    assert not folder.exists()


def test_caches_are_inside_our_folder(machine: Machine) -> None:
    """They go when the machine's home goes; a file's own choice is kept."""
    machine.launch(QUICK, env={"HF_HOME": "/shared/hub"})
    machine.run(VLLM_CACHE_ROOT="/elsewhere")
    env = machine.called()["env"]

    assert env["HF_HOME"] == "/shared/hub"
    assert env["VLLM_CACHE_ROOT"].startswith(str(machine.folder))


def test_a_command_of_its_own_keeps_its_own_environment(machine: Machine) -> None:
    """Where the service brings its server itself, its modules and caches are where the machine has them."""
    machine.launch(QUICK, guarded=False)
    machine.run(PYTHONPATH="/theirs", HF_HOME="/theirs/hub")
    env = machine.called()["env"]

    assert (env["PYTHONPATH"], env["HF_HOME"]) == ("/theirs", "/theirs/hub")


def test_the_services_own_setup_runs_with_its_secrets(machine: Machine) -> None:
    """A script of its own is a file that bash reads; its end decides whether the engine may start."""
    script = 'test "$HF_TOKEN" = "a b" && test "$NAME" = x && touch "$HOME/was-set-up" && exit "$STATUS"'
    (machine.folder / "setup.sh").write_text(script)
    (machine.folder / "secrets.json").write_text(json.dumps({"HF_TOKEN": "a b"}))
    machine.launch(QUICK, setup=["bash", "@HERE@/setup.sh"], env={"NAME": "x"})

    assert machine.run("prepare", STATUS="0")[0] == 0
    assert (machine.home / "was-set-up").exists()
    assert machine.run("prepare", STATUS="4")[0] == 4
    assert not (machine.home / "called.json").exists()


def test_packages_are_installed_once(machine: Machine) -> None:
    """With uv where it is; a second look changes nothing, and a job without setup installs them itself."""
    uv = machine.home / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\necho "$@" >> {machine.home}/uv.log\nmkdir -p {machine.folder}/engine/bin\n')
    uv.chmod(0o755)
    machine.launch(QUICK, packages=["vllm==0.32.0"])
    path = f"{uv.parent}:{os.environ['PATH']}"

    assert machine.run("prepare", PATH=path)[0] == 0
    assert machine.run("prepare", PATH=path)[0] == 0
    machine.run(PATH=path)
    engine = machine.folder / "engine"
    assert (machine.home / "uv.log").read_text().splitlines() == [
        f"venv --quiet --clear --python 3.12 {engine}",
        f"pip install --quiet --python {engine}/bin/python vllm==0.32.0",
    ]


def test_an_installation_that_fails_ends_the_job(machine: Machine) -> None:
    """With the installer's own status, and without an engine."""
    uv = machine.home / "uv"
    uv.write_text("#!/bin/sh\nexit 5\n")
    uv.chmod(0o755)
    machine.launch(QUICK, packages=["vllm==0.32.0"])
    status, log = machine.run(PATH=f"{machine.home}:{os.environ['PATH']}")

    assert status == 5
    assert "installing vllm==0.32.0 failed" in log
    assert not (machine.home / "called.json").exists()


@pytest.mark.parametrize(("allows", "said"), [(True, "power limit: 300 W"), (False, "300 W was refused")])
def test_a_power_limit_is_set_or_said_to_be_refused(machine: Machine, allows: bool, said: str) -> None:
    """Where the machine does not let us, the engine runs without."""
    tools = machine.home / "bin"
    tools.mkdir()
    for name in ("sudo", "nvidia-smi"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $@" >> {machine.home}/smi.log\nexit {0 if allows else 1}\n')
        (tools / name).chmod(0o755)
    machine.launch(QUICK, power_limit_watts=300)
    _, log = machine.run(PATH=f"{tools}:{os.environ['PATH']}")

    assert said in log
    assert machine.called()["argv"] == []
    asked = (machine.home / "smi.log").read_text().splitlines()
    assert asked == ["sudo -n nvidia-smi --power-limit=300", "nvidia-smi --power-limit=300"][: 1 if allows else 2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is always full")
def test_a_full_disk_keeps_nobody_from_serving_and_ending(machine: Machine) -> None:
    """The job's log cannot take what the program says; the engine runs, and is ended in order, all the same."""
    machine.launch(SERVES)
    with Path("/dev/full").open("wb") as full:
        process = machine.start(output=full)
    until((machine.home / "ready").exists)
    process.terminate()

    process.wait(timeout=PATIENCE_SECONDS)
    assert (machine.home / "finished").exists()
