"""What a replica runs, as a digest: when it changes, running replicas are rolled over to the new one."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from orchestrator.domain.service import ModelSpec, ServiceSpec

_LENGTH = 12
_COUNTED_ELSEWHERE = frozenset({"name", "service", "resources"})
"""Keys of the SkyPilot task that say where and how many, or whose hardware request the spec holds in typed form."""


def workload_digest(spec: ServiceSpec) -> str:
    """Digest the model, its engine, arguments, scripts and hardware request.

    Placement, policy and the number of replicas do not change a workload.
    """
    return model_digest(spec, spec.model)


def model_digest(spec: ServiceSpec, model: ModelSpec) -> str:
    """Digest the same with another model in the place of the main one: what a variant's replicas run."""
    hardware = spec.resources
    needs = (repr(hardware.accelerators), repr(hardware.min_vcpus), repr(hardware.min_memory_gib))
    return _digest((repr(model), *needs), spec.passthrough_json)


@lru_cache(maxsize=1024)
def _digest(parts: tuple[str, ...], passthrough_json: str) -> str:
    """Remember it by the words themselves: ``1`` and ``True`` are equal, and not the same argument."""
    return hashlib.sha256("\n".join((*parts, _task(passthrough_json))).encode()).hexdigest()[:_LENGTH]


@lru_cache(maxsize=256)
def _task(passthrough_json: str) -> str:
    """Reduce the SkyPilot task to what it runs: scripts, environment, files, image."""
    task = json.loads(passthrough_json)
    resources = task.get("resources") or {}
    runs = {key: value for key, value in task.items() if key not in _COUNTED_ELSEWHERE}
    return json.dumps([runs, resources.get("image_id")], sort_keys=True)
