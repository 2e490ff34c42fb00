"""What a replica runs, as a digest: when it changes, running replicas are rolled over to the new one."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from orchestrator.domain.service import ServiceSpec

_LENGTH = 12
_COUNTED_ELSEWHERE = frozenset({"name", "service", "resources"})
"""Keys of the SkyPilot task that say where and how many, or whose hardware request the spec holds in typed form."""


def workload_digest(spec: ServiceSpec) -> str:
    """Digest the model, its engine, arguments, scripts and hardware request.

    Placement, policy and the number of replicas do not change a workload.
    """
    hardware = spec.resources
    parts = (
        repr(spec.model),
        repr(hardware.accelerators),
        repr(hardware.min_vcpus),
        repr(hardware.min_memory_gib),
        _task(spec.passthrough_json),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_LENGTH]


@lru_cache(maxsize=256)
def _task(passthrough_json: str) -> str:
    """Reduce the SkyPilot task to what it runs: scripts, environment, files, image."""
    task = json.loads(passthrough_json)
    resources = task.get("resources") or {}
    runs = {key: value for key, value in task.items() if key not in _COUNTED_ELSEWHERE}
    return json.dumps([runs, resources.get("image_id")], sort_keys=True)
