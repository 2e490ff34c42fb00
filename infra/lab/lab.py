"""The whole lab: regions, what SkyPilot needs to see them, and what tests do to them."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.env.setup import ORCHESTRATOR
from infra.lab import files
from infra.lab.config import PARTITION, LabConfig, LabError, Place
from infra.lab.processes import below, end, run, wait_for
from infra.lab.region import bring_up, environment, is_up, take_down
from infra.lab.runtime import engine, make_runtimes

COMMANDS = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sinfo": "slurm-wlm",
    "/usr/sbin/sshd": "openssh-server",
    "rsync": "rsync",
    "unshare": "util-linux",
}
"""What must be there, and the Debian package that brings it."""

API_START_SECONDS = 120.0
SHARED_BELOW_ROOT = ("home", "offers.csv", "greenctl.env", "lab.json")


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a Slurm queue."""

    job_id: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up."""

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

    def squeue(self, region: str) -> list[Job]:
        """Everything that a region's Slurm has, whether it runs or waits."""
        said = run(["squeue", "-h", "-o", "%i|%T|%j"], env=environment(self.config.place(region)))
        rows = [line.strip().split("|", 2) for line in said.splitlines() if line.strip()]
        return [Job(job_id, name, state) for job_id, state, name in rows]

    def scancel(self, region: str, job_id: str) -> None:
        """End one job, as a preemption does; no error when it is gone."""
        run(["scancel", job_id], env=environment(self.config.place(region)))

    def fill(self, region: str) -> list[str]:
        """Take every node of a region that is free, and every one that becomes free; returns the jobs that do."""
        place = self.config.place(region)
        argv = [
            "sbatch",
            "--parsable",
            "--exclusive",
            "-N1",
            "-J",
            "blocker",
            "-o",
            "/dev/null",
            "--wrap",
            "sleep 86400",
        ]
        argv += ["--chdir", str(place.directory / "tmp"), "--uid", place.user]
        jobs = [run(argv, env=environment(place)).strip() for _ in place.nodes]
        wait_for(lambda: "idle" not in self._node_states(place), f"no node of {region} is idle")
        return jobs

    def _node_states(self, place: Place) -> set[str]:
        return set(run(["sinfo", "-h", "-N", "-p", PARTITION, "-o", "%T"], env=environment(place)).split())


def up(config: LabConfig) -> Lab:
    """Bring up what is not up; does nothing to what is. Raises ``LabError``."""
    refuse_what_cannot_be()
    config.root.mkdir(parents=True, exist_ok=True)
    make_runtimes(config)
    public_key = _sky_home(config)
    for place in config.places:
        if not is_up(place):
            if place.directory.exists():
                take_down(place)
            _require_free(place)
            bring_up(config, place, public_key)
    lab = Lab(config)
    (config.root / "offers.csv").write_text(files.offers(config))
    text = "".join(f"export {name}='{value}'\n" for name, value in lab.environment().items())
    (config.root / "greenctl.env").write_text(text)
    _start_api(config)
    return lab


def down(lab: Lab, *, keep_runtimes: bool = True) -> None:
    """End everything; leaves nothing below the root but, if wanted, the runtimes, which take longest to make."""
    config = lab.config
    if api_is_up(config):
        _sky(config, "api", "stop")
    end(below(config.home))
    for place in config.places:
        take_down(place)
    for name in SHARED_BELOW_ROOT:
        target = config.root / name
        shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)
    if not keep_runtimes:
        shutil.rmtree(config.root, ignore_errors=True)


def status(config: LabConfig) -> dict[str, bool]:
    """What is up, by name."""
    regions = {place.region.name: is_up(place) for place in config.places}
    return {**regions, "SkyPilot API server": api_is_up(config)}


def refuse_what_cannot_be() -> None:
    """Raises ``LabError`` where no lab can be made, with what to do."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: each region is a user, each node a namespace", "run it with sudo")
    missing = sorted({package for command, package in COMMANDS.items() if shutil.which(command) is None})
    if missing:
        raise LabError(f"missing: {', '.join(missing)}", f"apt-get install {' '.join(missing)}")
    try:
        run(["unshare", "--uts", "--mount", "true"])
    except LabError as error:
        raise LabError("this machine lets nobody make namespaces (CAP_SYS_ADMIN)", "use a virtual machine") from error


def api_is_up(config: LabConfig) -> bool:
    """Whether somebody listens on the lab's API port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", config.api_port)) == 0


def sky_environment(config: LabConfig) -> dict[str, str]:
    """What SkyPilot's own processes of this lab are started with."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PYTHONPATH"}
    kept = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("SKYPILOT_")}
    return {
        **kept,
        "HOME": str(config.home),
        "PATH": f"{ORCHESTRATOR.folder}/bin:{kept.get('PATH', '/usr/bin:/bin')}",
        "SKYPILOT_API_SERVER_LOCAL_PORT": str(config.api_port),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }


def _sky_home(config: LabConfig) -> str:
    """Make the home of the SkyPilot side; returns the public key that opens the login nodes."""
    home = config.home
    for folder in (".ssh", ".slurm", ".sky"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / ".ssh").chmod(0o700)
    key = home / ".ssh/sky-slurm"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    (home / ".slurm/config").write_text("".join(files.ssh_host(config, place) for place in config.places))
    (home / ".sky/config.yaml").write_text(files.sky_config(config))
    return key.with_suffix(".pub").read_text()


def _start_api(config: LabConfig) -> None:
    if not api_is_up(config):
        _sky(config, "api", "start")


def _sky(config: LabConfig, *words: str) -> None:
    argv: Sequence[str | Path] = [ORCHESTRATOR.folder / "bin/sky", *words]
    environ: Mapping[str, str] = sky_environment(config)
    run(argv, env=environ, seconds=API_START_SECONDS)


def _require_free(place: Place) -> None:
    wanted = {place.controller_port: "0.0.0.0", place.ssh_port: "127.0.0.1"}  # noqa: S104 - asked, not opened
    for port, address in wanted.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                raise LabError(
                    f"port {port} for {place.region.name} is taken", "another lab of this number? use --number"
                ) from error
