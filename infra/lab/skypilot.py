"""The SkyPilot side of a lab: a home of its own, and an API server of its own on its own port."""

from __future__ import annotations

import os

import psutil

from infra.env.setup import ORCHESTRATOR
from infra.lab import files
from infra.lab.config import QUEUE_PORT_AFTER_API_PORT, LabConfig, LabError
from infra.lab.processes import (
    end,
    family,
    has_open,
    is_listening,
    name_of,
    others,
    run,
    variable_of,
    wait_for,
    words_of,
)

SERVER = "sky.server.server"
START_SECONDS = 300.0
"""Ten to thirteen on an idle machine, fifty beside two engines under load."""
ITS_PROGRAMS = ("python", "sky", "SkyPilot", "ssh", "rsync")
"""What may be ended for having the lab's home as ``HOME``; a person's shell or editor may not."""

ROUNDS = 3
GRACE_SECONDS = 1.0
"""Its executors never listen to TERM, and what they know is removed, or was lost with their server."""

CATALOGS = ".sky/catalogs/v8"


def make_home(lab: LabConfig) -> str:
    """Make the home of the SkyPilot side; returns the public key that opens the login nodes."""
    home = lab.home
    for folder in (".ssh", ".slurm", ".sky", "tmp", f"{CATALOGS}/common"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    for private in (home, home / ".ssh", home / "tmp"):
        private.chmod(0o700)
    key = home / ".ssh/sky-slurm"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    (home / ".slurm/config").write_text("".join(files.ssh_host(lab, place) for place in lab.places))
    (home / ".sky/config.yaml").write_text(files.sky_config(lab))
    for name, text in files.CATALOGS.items():
        (home / CATALOGS / name).write_text(text)
    return key.with_suffix(".pub").read_text()


def environment(lab: LabConfig) -> dict[str, str]:
    """What SkyPilot's processes of this lab are started with; byte code is written, or each import takes 10 s."""
    dropped = {"PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "PYTHONPATH"}
    kept = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith(("SKYPILOT_", "GREENCTL_"))}
    return {
        **kept,
        "HOME": str(lab.home),
        "PATH": f"{ORCHESTRATOR.folder}/bin:{kept.get('PATH', '/usr/bin:/bin')}",
        "TMPDIR": str(lab.home / "tmp"),
        "SKYPILOT_API_SERVER_LOCAL_PORT": str(lab.api_port),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }


def is_up(lab: LabConfig) -> bool:
    """Whether the lab's own API server listens; somebody else's on that port is not ours."""
    return bool(_servers(lab)) and is_listening("127.0.0.1", lab.api_port)


def start(lab: LabConfig) -> None:
    """Start the API server, unless it is up. Raises ``LabError``."""
    if is_up(lab):
        return
    stop(lab)  # what a server that was killed has left behind holds its queue's port
    for port in (lab.api_port, lab.api_port + QUEUE_PORT_AFTER_API_PORT):
        if is_listening("127.0.0.1", port):
            raise LabError(f"port {port} of the SkyPilot API server is taken", "another lab of this number? --number")
    run([ORCHESTRATOR.folder / "bin/sky", "api", "start"], env=environment(lab), seconds=START_SECONDS)
    wait_for(lambda: is_up(lab), f"the SkyPilot API server listens on {lab.api_port}")


def stop(lab: LabConfig) -> None:
    """End the API server and everything that it has started, also what outlived it.

    Its standing ssh connections end with the login nodes; their sockets lie in a folder that all labs of this machine
    share with its other SkyPilots, so they are not touched here. Not by ``sky api stop``: that takes seconds to import
    SkyPilot, does not see orphans, and first waits for requests that nobody is going to read.
    """
    for _ in range(ROUNDS):  # who is started while others are ended is found in the next round
        left = _all(lab)
        if not left:
            break
        end(left, grace_seconds=GRACE_SECONDS)


def _all(lab: LabConfig) -> list[psutil.Process]:
    found = {p.pid: p for server in _servers(lab) for p in family(server)}
    for process in others():
        name, home = name_of(process), variable_of(process, "HOME")
        titled = name.startswith("SkyPilot") or any(word.startswith("SkyPilot:") for word in words_of(process))
        if (name.startswith(ITS_PROGRAMS) and home == str(lab.home)) or (titled and has_open(process, lab.home)):
            found[process.pid] = process
    return list(found.values())


def _servers(lab: LabConfig) -> list[psutil.Process]:
    return [p for p in others() if SERVER in words_of(p) and variable_of(p, "HOME") == str(lab.home)]
