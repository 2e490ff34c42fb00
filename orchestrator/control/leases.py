"""Renew the leases of the replicas that are ours: a replica that hears nothing of us ends itself one day.

Nothing but the way to the replica is needed for that. A renewal that did not arrive is tried again in a minute; the
lease is long enough for very many of those. Whom nobody wants any more is not renewed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from orchestrator.control.at_once import all_of
from orchestrator.control.ports import Ability, Instance, Journal, Phase
from orchestrator.control.runtime import Runtime
from orchestrator.domain.lease import renewed_every
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import Engine, ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.errors import ProviderError

AGAIN = timedelta(minutes=1)
"""When a renewal that did not arrive is tried again, physical time."""

RENEWED = frozenset({ReplicaState.PROVISIONING, ReplicaState.STARTING, ReplicaState.READY})


def ends_itself(spec: ServiceSpec, region: str, runtime: Runtime) -> bool:
    """Whether a replica of the service there ends by itself, machine included, when its lease is over.

    Beside a service's own command nobody counts a lease down.
    """
    provisioner = runtime.provisioners.get(region.partition("/")[0])
    if provisioner is None or spec.model.engine is Engine.COMMAND:
        return False
    return Ability.LEASE in provisioner.abilities(region)


class Renewals:
    """One controller's. ``warn`` tells of a trouble with a replica, once as long as it stays the same."""

    def __init__(self, runtime: Runtime, journal: Journal, warn: Callable[[Replica, str], None]) -> None:
        self._runtime = runtime
        self._journal = journal
        self._warn = warn
        self._due_at: dict[str, float] = {}

    async def look(
        self, service: ServiceRecord, replicas: Sequence[Replica], instances: Mapping[str, Instance]
    ) -> None:
        """Renew what is due, all at once, and record how long each goes on now. Raises ``LeaseHeld``."""
        now = self._runtime.clock.monotonic()
        due = [
            replica
            for replica in replicas
            if replica.state in RENEWED
            and now >= self._due_at.get(replica.name, now)
            and (seen := instances.get(replica.name)) is not None
            and (seen.phase is Phase.RUNNING or (seen.phase is Phase.STARTING and replica.state is ReplicaState.READY))
        ]
        if not due:
            return
        answers = await all_of([self._renew(replica, service.spec.lease) for replica in due])
        failed = any(isinstance(answer, ProviderError) for answer in answers)
        ends = self._journal.leases(service.name) if failed else {}
        for replica, answer in zip(due, answers, strict=True):
            self._note(replica, service.spec, answer, ends.get(replica.name))

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Drop what is remembered of replicas that are gone."""
        for name in set(self._due_at) - set(names):
            del self._due_at[name]

    async def _renew(self, replica: Replica, lease: timedelta) -> bool | ProviderError:
        provisioner = self._runtime.provisioners.get(replica.region.partition("/")[0])
        if provisioner is None:
            return False
        try:
            return await provisioner.renew(replica.name, lease)
        except ProviderError as error:
            return error

    def _note(
        self,
        replica: Replica,
        spec: ServiceSpec,
        answer: bool | ProviderError,  # noqa: FBT001
        ends_at: Instant | None,
    ) -> None:
        clock = self._runtime.clock
        every = renewed_every(spec.lease)
        if isinstance(answer, ProviderError):
            self._due_at[replica.name] = clock.monotonic() + min(AGAIN, every).total_seconds()
            self._warn_of(replica, spec, answer, ends_at)
            return
        self._due_at[replica.name] = clock.monotonic() + every.total_seconds()
        if answer and ends_itself(spec, replica.region, self._runtime):
            self._journal.renew_lease(replica.name, clock.now() + spec.lease * clock.rate)

    def _warn_of(self, replica: Replica, spec: ServiceSpec, error: ProviderError, ends_at: Instant | None) -> None:
        """Say so once half of the lease is gone: before that, the next try is all that is needed."""
        clock = self._runtime.clock
        if ends_at is not None and ends_at - clock.now() < spec.lease * clock.rate / 2:
            text = f"its lease could not be renewed and ends at {ends_at:%Y-%m-%d %H:%M} UTC unless it is used"
            self._warn(replica, f"{text}: {error.message}")
