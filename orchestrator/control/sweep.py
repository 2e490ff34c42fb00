"""Sweep: whatever providers show with our mark is ours to look after, or ours to end.

A create can succeed long after it was given up, and a machine can outlive the answer that it is gone. What a record
knows is opened again and ended by the same steps as everything else. What no record knows is told of and left alone:
a database that was set back would call every living replica a stranger.
"""

from __future__ import annotations

from orchestrator.control.apply import Applier
from orchestrator.control.ports import Instance, Journal, Phase
from orchestrator.control.runtime import Runtime
from orchestrator.domain.records import EventKind
from orchestrator.errors import ProviderError


class Sweeper:
    """Compares listings with records. Remembers which strangers it has told of."""

    def __init__(self, runtime: Runtime, journal: Journal, applier: Applier) -> None:
        self._runtime = runtime
        self._journal = journal
        self._applier = applier
        self._told: set[str] = set()

    async def sweep(self) -> None:
        """Look at every provider's listing once. One that fails proves nothing and is read again at the next sweep."""
        uid = self._journal.deployment_uid()
        for _, provisioner in sorted(self._runtime.provisioners.items()):
            try:
                shown = await provisioner.inventory(uid)
            except ProviderError:
                continue
            watched = {r.name for r in self._journal.replicas()}
            for instance in shown:
                if instance.name not in watched and instance.phase is not Phase.GONE:
                    self._unwatched(instance)

    def _unwatched(self, instance: Instance) -> None:
        # Reads the service's whole history, which is why it is asked last: listings hold such an instance rarely.
        known = {r.name for r in self._journal.replicas(instance.service, ended=True)}
        if instance.name in known:
            self._journal.update_replica(instance.name, cleaned_up=False, now=self._runtime.clock.now())
            text = f"{instance.name} had ended and is still there ({instance.phase.value}): it is ended again"
            self._applier.event(EventKind.WARNING, text, instance.service, instance.name)
        elif instance.name not in self._told:
            self._told.add(instance.name)
            text = f"{instance.name} carries our mark but is in no record: it is left alone, end it if nobody needs it"
            self._applier.event(EventKind.WARNING, text, instance.service, instance.name)
