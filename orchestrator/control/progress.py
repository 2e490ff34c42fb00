"""How far a request has come, by what was recorded since it was made."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.control.gather import history
from orchestrator.control.operations import Failure, failure_of, given_up, revision_of
from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime
from orchestrator.domain.records import Operation, OperationKind, ServiceRecord
from orchestrator.domain.replica import Replica


class Progress:
    """Reads what is recorded since a request, and remembers what it takes whole plans to find out."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal
        self._revisions: dict[str, int] = {}

    def replicas_since(self, operation: Operation) -> tuple[Replica, ...]:
        """Those that are there, and those that ended since the request or lately."""
        since = min(operation.created_at, self._runtime.clock.now() - history(self._runtime.clock.rate))
        return tuple(self._journal.replicas(operation.service, ended=True, ended_since=since))

    def failure_of(self, running: Operation, service: ServiceRecord, replicas: Sequence[Replica]) -> Failure | None:
        """Return why a request that has begun is beyond hope, if it is."""
        if running.kind is OperationKind.DEPLOY and (gone := given_up(service, self.revision_of(running), replicas)):
            return gone
        return failure_of(running, service, replicas)

    def revision_of(self, deploy: Operation) -> int:
        """Return the revision that a deploy made.

        Requests carry whole plans, so all of them are read once per deploy and not at every look.
        """
        if deploy.id not in self._revisions:
            requests = self._journal.operations(deploy.service, open_only=False)
            self._revisions[deploy.id] = revision_of(deploy, requests)
        return self._revisions[deploy.id]

    def forget(self, operation: Operation) -> None:
        """Drop what is remembered of a request that is closed."""
        self._revisions.pop(operation.id, None)
