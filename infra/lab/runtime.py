"""What jobs run with: Pythons that a region's user may read, made from the environments of this checkout.

The environments may lie below a private home, and rest on an interpreter that does. So the lab has skeletons of its own
on the system's Python, filled with hard links (or copies, over file systems) of the packages.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from infra.env.setup import ENGINE, ORCHESTRATOR, Environment
from infra.lab.config import LabConfig, LabError
from infra.lab.processes import run

SYSTEM_PYTHON = Path("/usr/bin/python3")
FAST_START = Path(__file__).resolve().parents[2] / "orchestrator/provisioners/local/engines/vllm_start.py"
LAUNCHER = """\
#!{python}
import runpy, sys
if __name__ == "__main__":  # its processes may be spawned, which reads this file again
    runpy.run_path({start!r}, run_name="__main__")
"""


def make_runtimes(lab: LabConfig) -> None:
    """Make both, unless they are what the environments are now."""
    _check_versions()
    skeleton(ORCHESTRATOR, node_runtime(lab))
    skeleton(ENGINE, engine_runtime(lab))
    start = engine_runtime(lab) / "start.py"
    shutil.copyfile(FAST_START, start)
    launcher = engine(lab)
    launcher.write_text(LAUNCHER.format(python=engine_runtime(lab) / "bin/python", start=str(start)))
    for path, mode in ((start, 0o644), (launcher, 0o755)):
        path.chmod(mode)


def node_runtime(lab: LabConfig) -> Path:
    """The Python with SkyPilot that its node side uses."""
    return lab.root / "runtime"


def engine_runtime(lab: LabConfig) -> Path:
    """The Python with vLLM."""
    return lab.root / "vllm"


def engine(lab: LabConfig) -> Path:
    """The vLLM executable of the nodes."""
    return engine_runtime(lab) / "bin/vllm"


def uv_binary() -> Path:
    """The uv of our environment; not one from PATH, which may be a shim that only its owner can run."""
    return ORCHESTRATOR.folder / "bin/uv"


def skeleton(environment: Environment, target: Path) -> None:
    """Make a readable twin of an environment, unless there is one. Raises ``LabError`` without the environment.

    Links share their mode with what they link to, so the packages in the environment become readable, too; who may
    reach them there is up to the folders above.
    """
    if not environment.stamp.exists():
        raise LabError(f"{environment.folder.name} is not there", f"run `{environment.remake}`")
    stamp = target / environment.stamp.name
    if stamp.exists() and stamp.read_bytes() == environment.stamp.read_bytes():
        return
    shutil.rmtree(target, ignore_errors=True)
    run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", target])
    ours = _site_packages(environment.folder)
    theirs = _site_packages(target)
    shutil.rmtree(theirs)
    shutil.copytree(ours, theirs, symlinks=True, copy_function=_link_or_copy)
    _open_to_all(target)
    shutil.copyfile(environment.stamp, stamp)  # last: a twin that has it is whole


def _check_versions() -> None:
    said = run([SYSTEM_PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if said != ours:
        raise LabError(
            f"{SYSTEM_PYTHON} is Python {said}, and .venv is Python {ours}",
            f"make .venv with Python {said}: `make env PYTHON=python{said}`",
        )


def _site_packages(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or too many links
        shutil.copy2(source, target)


def _open_to_all(folder: Path) -> None:
    """Let everybody read: what X in ``chmod a+rX`` means, for files and folders alike."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            execute = 0o111 if path.is_dir() or mode & 0o100 else 0
            if mode & (0o444 | execute) != 0o444 | execute:
                path.chmod(mode | 0o444 | execute)
