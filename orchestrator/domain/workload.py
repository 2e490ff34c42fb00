"""What a replica runs, as a digest: when it changes, running replicas are rolled over to the new one."""

from __future__ import annotations

import hashlib

from orchestrator.domain.service import ServiceSpec

_LENGTH = 12


def workload_digest(spec: ServiceSpec) -> str:
    """Digest the model, its engine, arguments and hardware request; placement and policy do not change a workload."""
    parts = (repr(spec.model), repr(spec.resources.accelerators), repr(spec.resources.min_vcpus))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_LENGTH]
