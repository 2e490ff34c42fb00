"""One region: a Slurm cluster with its login node and its nodes, brought up and taken down."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
from enum import StrEnum
from pathlib import Path

import psutil

from infra.lab import files
from infra.lab.config import PARTITION, LabConfig, LabError, Place
from infra.lab.processes import end, is_listening, name_of, of_user, others, run, variable_of, wait_for, words_of
from infra.lab.runtime import node_runtime, uv_binary

SLURMD = """\
set -e
hostname "$1"
mount --bind "$2" /etc/hosts
mount --bind "$3" "$SLURM_CONF"
slurmd -N "$1"
umount "$SLURM_CONF"
"""
"""In namespaces of its own. The words arrive as arguments, so nothing is pasted into the script.

slurmd reads another configuration than its jobs, and would hand the path of its own down to them.
"""

NODES_CONF = "slurmd.conf"
FOLDERS = ("bin", "etc", "home", "home/.ssh", "log", "run", "state", "tmp")
WELL = frozenset({"idle", "allocated", "mixed", "completing"})
JOBS_END_SECONDS = 5.0
SHARED_TMP = Path("/tmp")
"""Where SkyPilot and engines of a region's user leave files behind."""


class NodeState(StrEnum):
    """What an administrator can make of a node. ``DOWN`` ends its jobs, ``DRAIN`` lets them end."""

    DOWN = "DOWN"
    DRAIN = "DRAIN"
    RESUME = "RESUME"


def node_states(place: Place) -> dict[str, str]:
    """State of every node by name, in Slurm's words. Raises ``LabError`` when Slurm does not answer."""
    if not place.slurm_conf.exists():
        raise LabError(f"{place.region.name} is not configured")  # sinfo would ask the network's name servers for it
    said = run(["sinfo", "-h", "-N", "-p", PARTITION, "-o", "%N %T"], env=environment(place), seconds=5)
    rows = (line.split() for line in said.splitlines() if line.strip())
    return {name: state for name, state in rows}  # noqa: C416 - mypy knows no pair in a list of words


def set_node_state(place: Place, node: str, state: NodeState) -> None:
    """Tell Slurm what a node is worth. Raises ``LabError`` for a node that is not the region's."""
    if node not in place.nodes:
        raise LabError(f"{place.region.name} has no node {node}")
    argv = ["scontrol", "update", f"NodeName={node}", f"State={state}", "Reason=lab"]
    run(argv, env=environment(place))


def is_up(place: Place) -> bool:
    """Whether every node is ready for jobs (or busy with them), and the login node listens."""
    try:
        states = node_states(place)
    except LabError:
        return False
    return set(states) == set(place.nodes) and set(states.values()) <= WELL and _login_listens(place)


def is_there(place: Place) -> bool:
    """Whether anything of it is: a folder, a user, a process."""
    return place.directory.exists() or _user_id(place) is not None or bool(_daemons(place))


def resume(place: Place) -> bool:
    """Put back nodes that Slurm has set aside, without touching their jobs; returns whether the region is well now."""
    try:
        states = node_states(place)
        for node, state in states.items():
            if state not in WELL:
                set_node_state(place, node, NodeState.RESUME)
        wait_for(lambda: is_up(place), f"the nodes of {place.region.name} come back", 3)
    except LabError:
        return False
    return True


def require_free(place: Place) -> None:
    """Raises ``LabError`` when somebody else listens where its daemons are to."""
    for address, port in place.listeners():
        if is_listening(address, port):
            raise LabError(
                f"port {port} for {place.region.name} is taken", "another lab of this number? choose one: --number 1"
            )


def bring_up(lab: LabConfig, place: Place, public_key: str) -> None:
    """Start all of it, where nothing of it is. Raises ``LabError``."""
    for folder in FOLDERS:
        (place.directory / folder).mkdir(parents=True, exist_ok=True)
    place.directory.chmod(0o755)
    (place.directory / "tmp").chmod(0o1777)
    _make_user(place)
    _write_files(lab, place, public_key)
    conf = environment(place)
    run(["slurmctld", "-c", "-f", place.slurm_conf], env=conf)
    etc = place.directory / "etc"
    for name in place.nodes:
        run(["unshare", "--uts", "--mount", "sh", "-c", SLURMD, "_", name, etc / "hosts", etc / NODES_CONF], env=conf)
    Path("/run/sshd").mkdir(exist_ok=True)
    run(["/usr/sbin/sshd", "-f", place.sshd_config, "-E", place.directory / "log/sshd.log"])
    wait_for(lambda: is_up(place), f"the nodes of {place.region.name} are idle; see {place.directory}/log")


def take_down(place: Place) -> None:
    """End its jobs, its daemons and everything that its user still runs, and forget the user and the files.

    Engines first: once slurmd is gone, nobody turns a TERM that was not heard into a KILL.
    """
    if _daemons(place):
        with contextlib.suppress(LabError):
            run(["scancel", "--user", place.user], env=environment(place), seconds=10)
        with contextlib.suppress(LabError):
            wait_for(lambda: not _jobs(place), "the jobs ended", JOBS_END_SECONDS)
    end(_jobs(place))
    end(_daemons(place))
    # Sessions of SkyPilot's standing ssh connections outlive sshd, and userdel refuses a user who runs something.
    end(of_user(place.user))
    user_id = _user_id(place)
    if user_id is not None:
        _sweep(SHARED_TMP, user_id)
        run(["userdel", place.user])
    _refuse_mounts(place.directory)
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
    # Not locked: sshd without PAM refuses locked accounts. No password fits '*'.
    home = place.directory / "home"
    run(["useradd", "--password", "*", "--no-create-home", "--home-dir", home, "--shell", "/bin/bash", place.user])


def _user_id(place: Place) -> int | None:
    try:
        return pwd.getpwnam(place.user).pw_uid
    except KeyError:
        return None


def _write_files(lab: LabConfig, place: Place, public_key: str) -> None:
    etc, home = place.directory / "etc", place.directory / "home"
    place.slurm_conf.write_text(files.slurm_conf(lab, place))
    (etc / NODES_CONF).write_text(files.slurm_conf(lab, place, for_nodes=True))
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


def _login_listens(place: Place) -> bool:
    return any(name_of(p) == "sshd" for p in _daemons(place))


def _jobs(place: Place) -> list[psutil.Process]:
    return [p for p in of_user(place.user) if name_of(p) != "sshd"]


def _daemons(place: Place) -> list[psutil.Process]:
    """Slurm's, by the configuration that they were started with, and the login node, by its own."""
    found = []
    for process in others():
        name = name_of(process)
        if name.startswith("slurm"):
            if variable_of(process, "SLURM_CONF") == str(place.slurm_conf):
                found.append(process)
        elif name == "sshd" and any(str(place.sshd_config) in word for word in words_of(process)):
            found.append(process)
    return found


def _sweep(folder: Path, user_id: int) -> None:
    """Remove what a user owns at the top of a folder that all share."""
    with os.scandir(folder) as entries:
        owned = [e for e in entries if e.stat(follow_symlinks=False).st_uid == user_id]
    for entry in owned:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


def _refuse_mounts(directory: Path) -> None:
    """Nothing is mounted outside the nodes' namespaces; a foreign mount below must not be deleted through."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    inside = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{directory}/")]
    if inside:
        raise LabError(f"something is mounted below {directory}: {', '.join(inside)}", "unmount it and try again")
