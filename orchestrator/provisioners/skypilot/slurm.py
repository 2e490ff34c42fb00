"""What the Slurm clusters themselves say, past SkyPilot: by ssh, as SkyPilot reaches them.

SkyPilot's record of a cluster can be lost while its job runs on. It names the allocation ``<cluster>-<8 hex digits>``.
Jobs of other users may be called anything, so only those of the user that SkyPilot logs in as are listed.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.errors import ProviderUnavailable

PROVIDER = "slurm"
PATIENCE_SECONDS = 20.0
WAITING = "PENDING"
"""The state of a job that holds no nodes yet."""
_NAME = re.compile(r"(?P<cluster>[A-Za-z0-9][A-Za-z0-9._-]*)-[0-9a-f]{8}", re.ASCII)
_LIST = ("squeue", "--me", "--noheader", "--format=%i|%T|%j")
"""``--me``: squeue(1), since Slurm 20.02."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """A job that holds nodes, or waits for them."""

    cluster: str
    region: str
    job_id: str
    state: str


class GroundTruth(Protocol):
    """A provider's own listing."""

    async def allocations(self, prefix: str, region: str = "") -> Sequence[Allocation]:
        """Return what exists with names that begin so, complete or not at all (``ProviderUnavailable``).

        ``region``: the id of the only one that is asked; empty for all.
        """
        ...

    async def end(self, allocation: Allocation) -> None:
        """End it. Raises ``ProviderUnavailable``."""
        ...


class SlurmQueues:
    """The queues of all configured Slurm regions. ``config``: the ssh configuration that SkyPilot uses."""

    def __init__(self, config: Path, regions: Sequence[str], environment: Mapping[str, str]) -> None:
        self._config = config
        self._regions = tuple(regions)
        self._environment = dict(environment)

    async def allocations(self, prefix: str, region: str = "") -> Sequence[Allocation]:
        """Ask them side by side."""
        asked = [name for name in self._regions if region in {"", f"{PROVIDER}/{name}"}]
        listed = await asyncio.gather(*(self._ask(name, *_LIST) for name in asked))
        found = []
        for name, text in zip(asked, listed, strict=True):
            for line in text.splitlines():
                job_id, state, job = (*line.strip().split("|", 2), "", "")[:3]
                match = _NAME.fullmatch(job)
                if match and match["cluster"].startswith(prefix):
                    found.append(Allocation(match["cluster"], f"{PROVIDER}/{name}", job_id, state))
        return found

    async def end(self, allocation: Allocation) -> None:
        """Cancel the job."""
        if not allocation.job_id.isdecimal():
            raise ProviderUnavailable(f"{allocation.job_id!r} is no Slurm job")
        await self._ask(allocation.region.partition("/")[2], "scancel", allocation.job_id)

    async def _ask(self, region: str, *words: str) -> str:
        argv = ["ssh", "-F", str(self._config), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
        argv += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", region, shlex.join(words)]
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        try:
            said, complaint = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise ProviderUnavailable(f"{PROVIDER}/{region} did not answer within {PATIENCE_SECONDS:.0f} s") from error
        if process.returncode != 0:
            words_of_it = " ".join(complaint.decode(errors="replace").split())[:200]
            raise ProviderUnavailable(f"{PROVIDER}/{region} cannot be asked: {words_of_it or process.returncode}")
        return said.decode(errors="replace")
