"""An installation of greenctl whose replicas live on the lab's Slurm clusters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.lab import Lab
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import format_instant
from tests.e2e.carbon import Level, record
from tests.e2e.deployment import Deployment, make, until

EU, US = "slurm/eu-north", "slurm/us-east"
START = datetime(2023, 6, 1, tzinfo=UTC)
RATE = 60.0
"""An hour of grid time per minute."""

PATIENCE_SECONDS = 600.0
"""A start of vLLM took 60-85 s on two cores, and 240 s while four streams kept both of them busy."""


def install(lab: Lab, folder: Path, *, change_after: timedelta = timedelta(hours=1)) -> Deployment:
    """Make an installation on the lab whose American grid turns dirty some hours (of its own time) after the start."""
    levels = {"SE": Level(40.0, 40.0), "US-MIDA-PJM": Level(42.0, 600.0)}
    record(folder, START, START + change_after, levels)
    made = make(
        **lab.environment(),
        GREENCTL_SIGNALS__RECORDED=str(folder),
        GREENCTL_SIGNALS__PROFILE="false",
        GREENCTL_WORLD__START=format_instant(START),
        GREENCTL_WORLD__RATE=str(RATE),
    )
    made.patience_seconds = PATIENCE_SECONDS
    return made


def serving(made: Deployment, service: str) -> list[Replica]:
    """Replicas that are ready, by slot."""
    return [r for r in made.records().replicas(service) if r.state is ReplicaState.READY]


def regions(made: Deployment, service: str) -> list[str]:
    """Where they are."""
    return sorted(r.region for r in serving(made, service))


def of(made: Deployment, lab: Lab, region: str) -> list[str]:
    """Names of the replicas that Slurm itself runs or holds for this installation in a region."""
    prefix = f"gc-{made.records().deployment_uid()[:8]}-"
    return sorted(job.name for job in lab.squeue(region.partition("/")[2]) if job.name.startswith(prefix))


def jobs(made: Deployment, lab: Lab) -> list[str]:
    """Of all regions."""
    return [name for region in (EU, US) for name in of(made, lab, region)]


def is_job_of(job: str, replica: str) -> bool:
    """Whether a Slurm job is that replica's: SkyPilot appends eight hex digits of its user."""
    return job.startswith(f"{replica}-")


def settled(made: Deployment, service: str, wanted: int) -> None:
    """Wait until the wanted number serves, and nothing is asked for or under way."""

    def holds() -> bool:
        records = made.records()
        there = records.replicas(service)
        return (
            len(there) == wanted
            and all(r.state is ReplicaState.READY and r.weight_percent == 100 for r in there)
            and not records.operations(service)
        )

    until(holds, f"{wanted} replicas of {service} serve and nothing is under way", PATIENCE_SECONDS)


def last_operation_is_done(made: Deployment, service: str) -> None:
    """The newest request ended well."""
    newest = made.records().operations(service, open_only=False)[-1]
    assert newest.state is OperationState.DONE, f"{newest.error_code}: {newest.error}"
