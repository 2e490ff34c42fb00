"""One region: a Slurm cluster with its login node and its nodes, brought up and taken down."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from infra.lab import files
from infra.lab.config import LabConfig, LabError, Place
from infra.lab.processes import below, end, of_user, run, wait_for
from infra.lab.runtime import node_runtime, uv_binary

SLURMD = 'hostname "$1"; mount --bind "$2" /etc/hosts; exec slurmd -N "$1"'
"""In namespaces of its own. The words arrive as arguments, so nothing is pasted into the script."""

FOLDERS = ("bin", "etc", "home", "home/.ssh", "log", "run", "state", "tmp")


def is_up(place: Place) -> bool:
    """Whether every node is ready for jobs (or busy with them), and the login node listens."""
    try:
        states = run(["sinfo", "-h", "-N", "-o", "%T"], env=environment(place), seconds=5).split()
    except LabError:
        return False
    well = {"idle", "allocated", "mixed", "completing"}
    return len(states) == len(place.nodes) and set(states) <= well and bool(_sshd(place))


def bring_up(lab: LabConfig, place: Place, public_key: str) -> None:
    """Start whatever is not there."""
    for folder in FOLDERS:
        (place.directory / folder).mkdir(parents=True, exist_ok=True)
    for open_to_all in (lab.root, place.directory):
        open_to_all.chmod(0o755)
    (place.directory / "tmp").chmod(0o1777)
    _make_user(place)
    _write_files(lab, place, public_key)
    conf = environment(place)
    run(["slurmctld", "-c", "-f", place.slurm_conf], env=conf)
    for name in place.nodes:
        argv: list[str | Path] = [
            "unshare",
            "--uts",
            "--mount",
            "sh",
            "-c",
            SLURMD,
            "_",
            name,
            place.directory / "etc/hosts",
        ]
        run(argv, env=conf)
    Path("/run/sshd").mkdir(exist_ok=True)
    run(["/usr/sbin/sshd", "-f", place.sshd_config, "-E", place.directory / "log/sshd.log"])
    wait_for(lambda: is_up(place), f"the nodes of {place.region.name} are idle; see {place.directory}/log")


def take_down(place: Place) -> None:
    """End its jobs, its daemons and everything that its user still runs, and forget the user."""
    with contextlib.suppress(LabError):
        run(["scancel", "--user", place.user], env=environment(place), seconds=10)
    with contextlib.suppress(LabError):
        # Engines first: once slurmd is gone, nobody turns a TERM that was not heard into a KILL.
        wait_for(lambda: not [p for p in of_user(place.user) if _name(p) != "sshd"], "the jobs ended", 5)
    end(of_user(place.user))
    end(_daemons(place))
    end([*below(place.directory), *of_user(place.user)])
    with contextlib.suppress(LabError):
        run(["userdel", place.user])
    _unmount(place.directory)
    shutil.rmtree(place.directory, ignore_errors=True)


def environment(place: Place) -> dict[str, str]:
    """What Slurm's commands and daemons of this cluster are started with."""
    return {
        "PATH": f"{place.directory}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "SLURM_CONF": str(place.slurm_conf),
        "HOME": str(place.directory / "home"),
        "LANG": "C.UTF-8",
    }


def _make_user(place: Place) -> None:
    home = place.directory / "home"
    try:
        run(["id", place.user])
        run(["usermod", "--home", home, place.user])
    except LabError:
        # Not locked: sshd without PAM refuses locked accounts. No password fits '*'.
        run(["useradd", "--password", "*", "--no-create-home", "--home-dir", home, "--shell", "/bin/bash", place.user])


def _write_files(lab: LabConfig, place: Place, public_key: str) -> None:
    etc, home = place.directory / "etc", place.directory / "home"
    place.slurm_conf.write_text(files.slurm_conf(lab, place))
    place.sshd_config.write_text(files.sshd_config(place))
    (etc / "hosts").write_text(files.hosts(place))
    (etc / "prolog").write_text(files.prolog(lab, place, node_runtime(lab)))
    (etc / "prolog").chmod(0o755)
    if not (etc / "hostkey").exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", etc / "hostkey"])
    shutil.copyfile(uv_binary(), place.directory / "bin/uv")
    (place.directory / "bin/uv").chmod(0o755)
    (home / ".bashrc").write_text(files.bashrc(place))
    (home / ".bash_profile").write_text(". ~/.bashrc\n")
    (home / ".ssh/authorized_keys").write_text(public_key)
    run(["chown", "-R", f"{place.user}:", home])
    (home / ".ssh").chmod(0o700)


def _sshd(place: Place) -> list[psutil.Process]:
    return [p for p in below(place.directory) if _name(p) == "sshd"]


def _daemons(place: Place) -> Iterator[psutil.Process]:
    """The daemons as their pid files name them, and all that belongs to them by command line or environment."""
    for file in (place.directory / "run").glob("*.pid"):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            yield psutil.Process(int(file.read_text()))
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_CONF") == str(place.slurm_conf) and process.pid != os.getpid():
                yield process


def _unmount(directory: Path) -> None:
    """Nothing is mounted outside the nodes' namespaces; a foreign mount below must not be deleted through."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    inside = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{directory}/")]
    if inside:
        raise LabError(f"something is mounted below {directory}: {', '.join(inside)}", "unmount it and try again")


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""
