"""A lab of Slurm regions, up, used through SkyPilot, broken, repaired, and down without a trace."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.env.setup import ENGINE, ORCHESTRATOR
from infra.lab import Job, Lab, LabConfig, LabError, NodeState, RegionConfig, down, skypilot, up
from infra.lab import region as regions
from infra.lab.lab import refuse_what_cannot_be, status
from infra.lab.processes import words_of
from infra.lab.runtime import engine, node_runtime
from orchestrator.provisioners.local import tiny_model

pytestmark = [pytest.mark.slurm, pytest.mark.engine]

EU, US = "eu-north", "us-east"
PATIENCE_SECONDS = 420.0
"""An engine on a node takes 25 s from the launch; ten times that on a machine that is busy with others."""

WEB = """\
resources: {infra: slurm/REGION, cpus: 2, memory: 4}
run: exec python3 -m http.server 8000 --bind "$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"
"""
VLLM = """\
resources: {infra: slurm/REGION, cpus: 2, memory: 4}
file_mounts: {~/model: MODEL}
run: |
  address=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)
  export VLLM_TARGET_DEVICE=cpu VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_HOST_IP=$address HF_HUB_OFFLINE=1
  export VLLM_NO_USAGE_STATS=1 VLLM_CACHE_ROOT=$HOME/.cache/vllm HF_HOME=$HOME/.cache/hf
  exec ENGINE serve ~/model --host "$address" --port 8000 --served-model-name tiny --dtype bfloat16 \
    --max-model-len 512 --enforce-eager --kv-cache-memory-bytes 67108864
"""


@pytest.fixture(scope="module")
def possible() -> None:
    """Skip, with the reason, where no lab can be made."""
    try:
        refuse_what_cannot_be()
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def lab(possible: None) -> Iterator[Lab]:  # noqa: ARG001 - before anything is made
    """Two regions of two nodes, beside any lab that a person may have up."""
    made = up(LabConfig(number=8, root=Path("/var/lib/greenctl-lab-it"), nodes=2))
    try:
        yield made
    finally:
        down(made)


@pytest.fixture
def solo(possible: None) -> Iterator[Lab]:  # noqa: ARG001 - before anything is made
    """The smallest lab, for a test that takes it down; without runtimes of its own afterwards."""
    config = LabConfig(
        number=6, root=Path("/var/lib/greenctl-lab-solo"), regions=(RegionConfig("solo", "SE", ("SE",)),), nodes=1
    )
    made = up(config)
    try:
        yield made
    finally:
        down(made, keep_runtimes=False)


class TestUse:
    def test_a_task_in_each_region_answers_at_its_nodes_address(self, lab: Lab, tmp_path: Path) -> None:
        """SkyPilot launches in both at once; each allocation is seen, reached, and gone after its end."""
        launches = {name: _launch(lab, f"web-{name}", WEB.replace("REGION", name), tmp_path) for name in (EU, US)}
        for name, launch in launches.items():
            _finished(launch)
            job = _job_of(lab, name, f"web-{name}")
            url = f"http://{lab.address(name, job.node)}:8000/"
            _until(lambda url=url: _answers(url) == 200, f"{url} answers")
        for name in launches:
            _sky(lab, "down", "-y", f"web-{name}")
            _until(lambda name=name: lab.squeue(name) == [], "the allocation is gone")

    def test_the_engine_of_this_checkout_serves_on_a_node(self, lab: Lab, tmp_path: Path) -> None:
        """The region's user may run vLLM, whatever private folder it was installed in; nothing of it outlives it."""
        model = tmp_path / "tiny"
        subprocess.run([ENGINE.python, tiny_model.__file__, model], check=True)
        task = VLLM.replace("REGION", US).replace("MODEL", str(model)).replace("ENGINE", str(engine(lab.config)))
        _finished(_launch(lab, "vllm", task, tmp_path))
        url = f"http://{lab.address(US, _job_of(lab, US, 'vllm').node)}:8000"
        _until(lambda: _answers(f"{url}/health") == 200, "the engine is healthy")
        asked = json.dumps({"model": "tiny", "prompt": "hello", "max_tokens": 4, "ignore_eos": True}).encode()
        request = urllib.request.Request(  # noqa: S310 - the address of a node
            f"{url}/v1/completions", data=asked, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - as above
            assert json.load(answer)["usage"]["completion_tokens"] == 4
        _sky(lab, "down", "-y", "vllm")
        _until(lambda: not _engines_of(lab, US), "no process of the engine is left")

    def test_a_cancelled_job_is_gone_and_cancelling_it_again_is_no_error(self, lab: Lab) -> None:
        """`scancel` is how the tests take a replica away."""
        job_id = lab.fill(US)[0]
        lab.scancel(US, job_id)
        lab.scancel(US, job_id)
        _until(lambda: job_id not in [job.job_id for job in lab.squeue(US)], "the job is gone")
        _empty(lab, US)

    def test_a_full_region_has_no_free_node_until_its_jobs_end(self, lab: Lab) -> None:
        """Stock-outs are made by filling."""
        jobs = lab.fill(EU)
        assert "idle" not in lab.nodes(EU).values()
        assert {job.job_id for job in lab.squeue(EU)} == set(jobs)
        _empty(lab, EU)

    def test_a_node_can_be_taken_away_and_given_back(self, lab: Lab) -> None:
        """And a node that is no node of the region is refused."""
        lab.set_node_state(EU, f"{EU}-1", NodeState.DOWN)
        assert lab.nodes(EU)[f"{EU}-1"].startswith("down")
        lab.set_node_state(EU, f"{EU}-1", NodeState.RESUME)
        _until(lambda: lab.nodes(EU)[f"{EU}-1"] == "idle", "the node is back")
        with pytest.raises(LabError, match="no node elsewhere-1"):
            lab.set_node_state(EU, "elsewhere-1", NodeState.DOWN)


class TestUp:
    def test_a_second_time_starts_nothing(self, lab: Lab) -> None:
        """Every daemon is the same process as before."""
        before = _daemons(lab)
        assert before
        assert up(lab.config) == lab
        assert _daemons(lab) == before

    def test_what_is_broken_is_repaired_and_the_rest_left_alone(self, lab: Lab) -> None:
        """A killed controller, a node set aside, and a killed API server whose executors live on."""
        eu, us = lab.config.place(EU), lab.config.place(US)
        untouched = {p.pid for p in regions._daemons(us)}
        _kill(p for p in regions._daemons(eu) if p.name() == "slurmctld")
        lab.set_node_state(US, f"{US}-2", NodeState.DRAIN)
        _kill(skypilot._servers(lab.config))
        assert not any(status(lab.config).values())
        up(lab.config)
        assert all(status(lab.config).values())
        assert {p.pid for p in regions._daemons(us)} == untouched

    def test_other_wishes_for_a_lab_that_is_up_are_refused(self, lab: Lab) -> None:
        """More nodes would mean another slurm.conf under running jobs."""
        with pytest.raises(LabError, match="another lab is up"):
            up(replace(lab.config, nodes=3))

    def test_a_port_that_somebody_has_is_refused_before_anything_starts(self, lab: Lab) -> None:
        """A lab of the same number in another folder does not touch the first one."""
        before = _daemons(lab)
        elsewhere = replace(lab.config, root=Path("/var/lib/greenctl-lab-no"), regions=(RegionConfig("no", "SE", ()),))
        try:
            with pytest.raises(LabError, match=f"port {elsewhere.places[0].controller_port} for no is taken"):
                up(elsewhere)
            assert _daemons(lab) == before
        finally:
            down(Lab(elsewhere), keep_runtimes=False)
        assert _daemons(lab) == before
        assert not elsewhere.root.exists()

    def test_a_folder_of_somebody_else_is_neither_used_nor_emptied(self, lab: Lab) -> None:
        """Whatever the settings say, only what a lab has made is removed."""
        folder = lab.config.root / "tmp-somebody"
        folder.mkdir()
        (folder / "home").mkdir()
        other = LabConfig(number=5, root=folder)
        try:
            with pytest.raises(LabError, match="not a lab"):
                up(other)
            down(Lab(other), keep_runtimes=False)
            assert (folder / "home").is_dir()
        finally:
            shutil.rmtree(folder)

    def test_daemons_listen_on_loopback_only(self, lab: Lab) -> None:
        """Without authentication, who reaches a daemon is whom they say they are."""
        pids = _daemons(lab)
        bound = {c.laddr.ip for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in pids}
        assert bound
        assert all(address.startswith("127.") for address in bound), bound

    def test_the_node_runtime_is_this_checkouts_skypilot(self, lab: Lab) -> None:
        """Both sides speak the same protocol, and the region's users may run it."""
        ask = ["-c", "import importlib.metadata as m; print(m.version('skypilot'))"]
        ours = subprocess.run([ORCHESTRATOR.python, *ask], capture_output=True, text=True, check=True).stdout
        theirs = subprocess.run(
            [node_runtime(lab.config) / "bin/python", *ask],
            user=lab.config.place(EU).user,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert theirs == ours


class TestDown:
    def test_nothing_is_left_not_even_of_what_does_not_listen(self, solo: Lab) -> None:
        """A job that ignores TERM, executors whose server was killed, files in the shared folder for such: all go."""
        config = solo.config
        place = config.places[0]
        left = Path(f"/tmp/lab-left-{place.user}")  # noqa: S108 - a file in the folder that all share
        job = ["sbatch", "--parsable", "--chdir", "/tmp", "--output", "/dev/null", "--uid", place.user]  # noqa: S108
        job += ["--wrap", f"trap '' TERM; touch {left}; while :; do sleep 1; done"]
        subprocess.run(job, env=regions.environment(place), check=True, capture_output=True)
        _until(left.exists, "the job runs")
        orphans = skypilot._all(config)
        _kill(skypilot._servers(config))
        assert any(p.is_running() for p in orphans), "executors outlive their server"
        down(solo, keep_runtimes=False)
        assert [p for p in orphans if p.is_running()] == []
        assert not regions.is_there(place)
        assert not left.exists()
        assert not config.root.exists()
        with pytest.raises(KeyError):
            pwd.getpwnam(place.user)
        ports = {port for _, port in place.listeners()} | {config.api_port}
        assert not ports & {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        _until(lambda: not _connected(place.ssh_port), "SkyPilot's standing ssh connections end by themselves")
        down(solo, keep_runtimes=False)


def _launch(lab: Lab, cluster: str, task: str, folder: Path) -> subprocess.Popen[str]:
    path = folder / f"{cluster}.yaml"
    path.write_text(f"name: {cluster}\n{task}")
    argv = [ORCHESTRATOR.folder / "bin/sky", "launch", "-y", "-d", "-c", cluster, path]
    return subprocess.Popen(
        argv, env=skypilot.environment(lab.config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _finished(launch: subprocess.Popen[str]) -> None:
    said, _ = launch.communicate(timeout=PATIENCE_SECONDS)
    assert launch.returncode == 0, said[-3000:]


def _sky(lab: Lab, *words: str) -> None:
    argv = [ORCHESTRATOR.folder / "bin/sky", *words]
    done = subprocess.run(
        argv,
        env=skypilot.environment(lab.config),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _job_of(lab: Lab, region: str, cluster: str) -> Job:
    """SkyPilot names its allocations for the cluster and its own user."""
    (job,) = [job for job in lab.squeue(region) if job.name.startswith(f"{cluster}-")]
    return job


def _answers(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the address of a node
            return answer.status
    except (urllib.error.URLError, OSError):
        return 0


def _engines_of(lab: Lab, region: str) -> list[psutil.Process]:
    return [p for p in regions._jobs(lab.config.place(region)) if "vllm" in " ".join(words_of(p)).lower()]


def _connected(port: int) -> list[object]:
    """Whoever holds a connection to that port of this machine, or waits for its end."""
    return [c for c in psutil.net_connections("tcp") if c.pid and c.raddr and c.raddr.port == port]


def _empty(lab: Lab, region: str) -> None:
    for job in lab.squeue(region):
        lab.scancel(region, job.job_id)
    _until(lambda: set(lab.nodes(region).values()) == {"idle"}, "all nodes are free again")


def _daemons(lab: Lab) -> set[int]:
    slurm = {p.pid for place in lab.config.places for p in regions._daemons(place)}
    return slurm | {p.pid for p in skypilot._servers(lab.config)}


def _kill(processes: Iterator[psutil.Process] | list[psutil.Process]) -> None:
    victims = list(processes)
    assert victims
    for process in victims:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(victims, timeout=10)


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"it did not happen: {what}"
        time.sleep(0.2)
