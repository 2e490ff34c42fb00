"""One lab for all stories: two Slurm clusters on this machine, that SkyPilot takes for regions."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.env.setup import ENGINE
from infra.lab import Lab, LabConfig, LabError, down, up
from infra.lab.lab import refuse_what_cannot_be
from orchestrator.provisioners.local import tiny_model
from tests.notes import phase

ROOT = Path("/var/lib/greenctl-lab-test")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Two regions of three nodes each, beside any lab that a person may have up."""
    try:
        refuse_what_cannot_be()
    except LabError as error:
        pytest.skip(str(error))
    config = LabConfig(number=7, root=ROOT, nodes=3)
    with phase("lab: up"):
        made = up(config)
    try:
        yield made
    finally:
        with phase("lab: down"):
            down(made)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few megabytes with random weights, in the layout of any other; it is carried to the nodes."""
    target = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([ENGINE.python, tiny_model.__file__, target], check=True)
    return target
