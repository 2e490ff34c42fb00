"""What Slurm's own queues say: a program in the place of ssh notes what is asked, and answers as a cluster does."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ProviderUnavailable
from orchestrator.provisioners.skypilot.slurm import Allocation, SlurmQueues

CLUSTER = "gc-0123abcd-chat-r0-1a2b"
OURS = f"71|RUNNING|{CLUSTER}-deadbeef\n72|PENDING|gc-0123abcd-talk-r0-3c4d-00c0ffee\n"
OTHERS = """\
73|RUNNING|gc-0123abcd/../../chat-deadbeef
74|RUNNING|gc-0123abcd-chat-r1-5e6f
75|RUNNING|gc-0123abcd-chat r1-deadbeef
76|RUNNING|gc-0123abcd-chat-r1-5e6f-deadbeef-
77|RUNNING|gc-0123abcd-chät-deadbeef
"""


@pytest.fixture
def queues(tmp_path: Path) -> SlurmQueues:
    """Two regions, on which the queue is the same."""
    (tmp_path / "queue").write_text(OURS + OTHERS, encoding="utf-8")
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/queue\n', encoding="utf-8")
    ssh.chmod(0o700)
    return SlurmQueues(tmp_path / "config", ["eu", "us"], {"PATH": f"{tmp_path}:/usr/bin:/bin"})


async def test_only_our_own_jobs_are_asked_for(queues: SlurmQueues, tmp_path: Path) -> None:
    """Somebody else's may be called like ours and cannot be ended: its replica would be "stopping" for ever."""
    await queues.allocations("gc-0123abcd", "slurm/eu")

    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith(" eu squeue --me --noheader '--format=%i|%T|%j'")


async def test_what_is_called_otherwise_than_by_skypilot_is_none_of_ours(queues: SlurmQueues) -> None:
    """Names become paths: of other characters than ours use none is listed."""
    found = await queues.allocations("gc-0123abcd")

    assert [(a.cluster, a.region, a.job_id, a.state) for a in found[:2]] == [
        (CLUSTER, "slurm/eu", "71", "RUNNING"),
        ("gc-0123abcd-talk-r0-3c4d", "slurm/eu", "72", "PENDING"),
    ]
    assert [a.region for a in found] == ["slurm/eu", "slurm/eu", "slurm/us", "slurm/us"]


async def test_only_a_number_is_cancelled(queues: SlurmQueues, tmp_path: Path) -> None:
    """It is what another program has printed."""
    await queues.end(Allocation(CLUSTER, "slurm/eu", "71", "RUNNING"))
    with pytest.raises(ProviderUnavailable, match="is no Slurm job"):
        await queues.end(Allocation(CLUSTER, "slurm/eu", "--me", "RUNNING"))

    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith(" eu scancel 71")
