"""What a service was to be at any time: the specs of its deploys, and when each was in force.

The records of requests have it all, for as long as there is a service: nothing else is kept for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.control.operations import revision_to_restore
from orchestrator.control.ports import Records
from orchestrator.domain.carbon import Basis
from orchestrator.domain.records import OperationKind, OperationState, ServiceRecord
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.domain.variants import workloads_of


@dataclass(frozen=True, slots=True)
class Deployed:
    """``specs``: by revision. ``bases``: which basis counted from when on, oldest first; neighbours differ."""

    specs: Mapping[int, ServiceSpec]
    bases: tuple[tuple[Instant, Basis], ...]

    def basis_at(self, moment: Instant) -> Basis:
        """Return what counted then; before the first deploy that of the first."""
        following = bisect_right(self.bases, moment, key=lambda b: b[0])
        return self.bases[max(0, following - 1)][1]

    def basis_before(self, moment: Instant) -> Basis | None:
        """Return what counted until then, ``None`` before the first deploy."""
        return next((basis for since, basis in reversed(self.bases) if since < moment), None)

    def wanted_another(self, old: Replica, new: Replica) -> bool:
        """Whether ``new`` replaced ``old`` because the file wanted something else to run, wherever that was."""
        spec = self.specs.get(new.revision)
        return old.workload_digest not in ({new.workload_digest} if spec is None else workloads_of(spec))


def deployed(records: Records, record: ServiceRecord) -> Deployed:
    """Read what was deployed. A deploy that failed was in force until it was taken back."""
    requests = records.operations(record.name, open_only=False)
    specs: dict[int, ServiceSpec] = {}
    in_force: list[tuple[Instant, ServiceSpec]] = []
    deploys = [r for r in requests if r.kind is OperationKind.DEPLOY]
    for revision, deploy in enumerate(deploys, start=1):
        spec = records.deployed_spec(record.name, deploy.id)
        if spec is None:
            continue
        specs[revision] = spec
        in_force.append((deploy.created_at, spec))
        good = revision_to_restore(deploy, requests) if deploy.state is OperationState.FAILED else None
        if good is not None and good in specs:
            in_force.append((deploy.updated_at, specs[good]))
    bases: list[tuple[Instant, Basis]] = []
    for since, spec in in_force:
        if not bases or bases[-1][1] != spec.carbon.basis:
            bases.append((since, spec.carbon.basis))
    return Deployed(specs, tuple(bases) or ((record.created_at, record.spec.carbon.basis),))
