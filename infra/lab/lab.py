"""The whole lab: regions, what SkyPilot needs to see them, and what tests do to them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.lab import files, region, skypilot
from infra.lab.config import LabConfig, LabError, Place
from infra.lab.processes import others, run, variable_of, wait_for, words_of
from infra.lab.region import NodeState
from infra.lab.runtime import engine, engine_runtime, make_runtimes, node_runtime

COMMANDS = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sinfo": "slurm-wlm",
    "/usr/sbin/sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
    "unshare": "util-linux",
    "useradd": "passwd",
}
"""What must be there, and the Debian package that brings it."""

MARK = ".greenctl-lab"
"""A folder without it is nobody's lab, and nothing in it is removed."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a Slurm queue.

    ``state`` is Slurm's word: PENDING, RUNNING, COMPLETING... ``node`` is empty while it waits for one.
    """

    job_id: str
    name: str
    state: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up. All of its methods raise ``LabError`` for a region that it does not have."""

    config: LabConfig

    def environment(self) -> dict[str, str]:
        """Settings with which greenctl uses this lab."""
        lab = self.config
        regions = {
            f"slurm/{place.region.name}": {
                "zone": place.region.zone,
                "pue": place.region.pue,
                "pue_source": "assumed for a small server room",
                "residency": place.region.residency,
                "location": f"this machine as {place.region.name}",
            }
            for place in lab.places
        }
        return {
            "GREENCTL_SKYPILOT__CLOUDS": json.dumps(["slurm"]),
            "GREENCTL_SKYPILOT__HOME": str(lab.home),
            "GREENCTL_SKYPILOT__API_PORT": str(lab.api_port),
            "GREENCTL_SKYPILOT__ENGINE": str(engine(lab)),
            "GREENCTL_SKYPILOT__REGIONS": json.dumps(regions),
            "GREENCTL_PRICES__CATALOGUE": str(lab.root / "offers.csv"),
        }

    def squeue(self, region_name: str) -> list[Job]:
        """Everything that a region's Slurm has, whether it runs or waits."""
        said = run(["squeue", "-h", "-o", "%i|%T|%N|%j"], env=region.environment(self.config.place(region_name)))
        rows = [line.strip().split("|", 3) for line in said.splitlines() if line.strip()]
        return [Job(job_id, name, state, node) for job_id, state, node, name in rows]

    def scancel(self, region_name: str, job_id: str) -> None:
        """End one job, as a preemption does; no error when it is gone."""
        run(["scancel", job_id], env=region.environment(self.config.place(region_name)))

    def fill(self, region_name: str) -> list[str]:
        """Take every node of a region that is free, and every one that becomes free; returns the jobs that do."""
        place = self.config.place(region_name)
        argv = ["sbatch", "--parsable", "--exclusive", "--nodes", "1", "--job-name", "blocker"]
        argv += ["--output", "/dev/null", "--chdir", str(place.directory / "tmp"), "--uid", place.user]
        argv += ["--wrap", "exec sleep 86400"]
        jobs = [run(argv, env=region.environment(place)).strip() for _ in place.nodes]
        wait_for(lambda: "idle" not in region.node_states(place).values(), f"no node of {region_name} is idle")
        return jobs

    def address(self, region_name: str, node: str) -> str:
        """Where the jobs of a node listen; it can be reached from this machine. Raises ``LabError``."""
        place = self.config.place(region_name)
        if node not in place.nodes:
            raise LabError(f"{region_name} has no node {node!r}")
        return place.address(place.nodes.index(node) + 1)

    def nodes(self, region_name: str) -> dict[str, str]:
        """State of every node by name, in Slurm's words: idle, allocated, down, drained..."""
        return region.node_states(self.config.place(region_name))

    def set_node_state(self, region_name: str, node: str, state: NodeState) -> None:
        """Take a node away (``DOWN`` ends its jobs, ``DRAIN`` lets them end), or give it back (``RESUME``)."""
        region.set_node_state(self.config.place(region_name), node, state)


def up(config: LabConfig, say: Say = lambda _: None) -> Lab:
    """Bring up what is not up, and repair what is half up; leaves alone what is well. Raises ``LabError``."""
    refuse_what_cannot_be()
    with _only_one(config):
        _refuse_another(config)
        _claim(config.root)
        config.record.write_text(config.to_json())
        with _timed("looking at what is there", say):
            wanting = _make_room(config)
        with _timed("runtimes", say):
            make_runtimes(config)
        public_key = skypilot.make_home(config)
        with _timed("regions", say):
            for place in wanting:
                region.bring_up(config, place, public_key)
        lab = Lab(config)
        (config.root / "offers.csv").write_text(files.offers(config))
        text = "".join(f"export {name}='{value}'\n" for name, value in lab.environment().items())
        (config.root / "greenctl.env").write_text(text)
        with _timed("SkyPilot API server", say):
            skypilot.start(config)
        return lab


def down(lab: Lab, *, keep_runtimes: bool = True) -> None:
    """End everything, whatever is left of it, and remove it.

    The runtimes stay below the root unless told otherwise: they take longest to make, and are links.
    """
    config = lab.config
    with _only_one(config):
        skypilot.stop(config)
        for place in config.places:
            region.take_down(place)
        if not (config.root / MARK).exists():
            return
        shutil.rmtree(config.home, ignore_errors=True)
        for name in ("offers.csv", "greenctl.env", config.record.name):
            (config.root / name).unlink(missing_ok=True)
        if not keep_runtimes:
            for runtime in (node_runtime(config), engine_runtime(config)):
                shutil.rmtree(runtime, ignore_errors=True)
            (config.root / MARK).unlink()
            with contextlib.suppress(OSError):  # somebody has put something there
                config.root.rmdir()


def recorded(root: Path) -> LabConfig | None:
    """What was brought up below a folder and not taken down."""
    record = LabConfig(root=root).record
    return LabConfig.from_json(record.read_text()) if record.exists() else None


def status(config: LabConfig) -> dict[str, bool]:
    """What is up, by name."""
    regions = {place.region.name: region.is_up(place) for place in config.places}
    return {**regions, "SkyPilot API server": skypilot.is_up(config)}


def still_using(config: LabConfig) -> list[str]:
    """Command lines of greenctl processes that were told to use this lab and will miss it."""
    home = str(config.home)
    using = (p for p in others() if variable_of(p, "GREENCTL_SKYPILOT__HOME") == home)
    lines = (" ".join(words_of(p)) for p in using)
    return [line for line in lines if "orchestrator" in line or "greenctl" in line]


def refuse_what_cannot_be(find: Callable[[str], str | None] = shutil.which) -> None:
    """Raises ``LabError`` where no lab can be made, with what to do."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: each region is a user, each node a namespace", "run it with sudo")
    missing = sorted({package for command, package in COMMANDS.items() if find(command) is None})
    if missing:
        raise LabError(f"missing: {', '.join(missing)}", f"apt-get install {' '.join(missing)}")
    try:
        run(["unshare", "--uts", "--mount", "true"])
    except LabError as error:
        raise LabError("this machine lets nobody make namespaces (CAP_SYS_ADMIN)", "use a virtual machine") from error


def _make_room(config: LabConfig) -> list[Place]:
    """Repair what can be repaired in place, clear away what cannot; returns the regions that are to be brought up.

    All ports are looked at before anything is started.
    """
    wanting = [place for place in config.places if not (region.is_up(place) or region.resume(place))]
    for place in wanting:
        if region.is_there(place):
            region.take_down(place)
    for place in wanting:
        region.require_free(place)
    return wanting


def _refuse_another(config: LabConfig) -> None:
    try:
        there = recorded(config.root)
    except LabError:
        return  # cut while it was written; what is there is repaired
    if there is not None and there != config:
        raise LabError(f"another lab is up in {config.root}", "take it down first: make lab-down")


def _claim(root: Path) -> None:
    if root.exists() and any(root.iterdir()) and not (root / MARK).exists():
        raise LabError(f"{root} holds something that is not a lab", "choose an empty folder: GREENCTL_LAB_ROOT=...")
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    (root / MARK).touch()
    closed = [folder for folder in root.parents if not folder.stat().st_mode & 0o001]
    if closed:
        raise LabError(
            f"the regions' users cannot pass {closed[0]}", f"choose another folder, or chmod a+x {closed[0]}"
        )


@contextlib.contextmanager
def _only_one(config: LabConfig) -> Iterator[None]:
    """One change at a time to the lab of a number, wherever it is kept; a second one waits."""
    path = Path(f"/run/greenctl-lab-{config.number}.lock")
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _timed(what: str, say: Say) -> Iterator[None]:
    started = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - started:.1f} s")
