"""How a Python process of ours is started: our package runs, and nothing that lies in the working directory.

``python -m`` puts the working directory first among the places that modules come from, and that may be somebody else's
repository: a ``queue.py`` there would keep us from starting, a ``structlog.py`` would be executed with our rights.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orchestrator

NOWHERE: Final = "/"
"""The working directory of a process that starts Pythons which we do not write: it is always there, and root's."""


def own_module(module: str, *words: str) -> list[str]:
    """Return the command line of a module of ours."""
    return [sys.executable, "-P", "-m", module, *words]


def with_our_package(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which that module is found, installed or not.

    Where we are installed Python finds us by itself, and what the process starts in its turn, such as the tools of a
    cloud with a Python of their own, is not given our dependencies. Entries that the user has put there stay, but for
    empty ones, which mean the working directory.
    """
    root = Path(orchestrator.__file__).resolve().parents[1]
    ours = [] if root == Path(sysconfig.get_path("purelib")).resolve() else [str(root)]
    theirs = [str(Path(p).absolute()) for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
    found = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    path = os.pathsep.join(dict.fromkeys([*ours, *theirs]))
    return {**found, "PYTHONPATH": path} if path else found
