"""Names that a retry arrives at again: functions of the deployment, the request and the slot, nothing else."""

from __future__ import annotations

import hashlib

_INTENT_LENGTH = 10
_SERVICE_LENGTH = 24


def intent_id(cause: str, slot: int) -> str:
    """Name the launch that a cause (an operation or a decision) asks for in a slot: the same cause, the same intent."""
    return hashlib.sha256(f"{cause}/{slot}".encode()).hexdigest()[:_INTENT_LENGTH]


def termination_id(launch_intent: str) -> str:
    """Name the one termination that belongs to a launch."""
    return f"{launch_intent}-end"


def name_prefix(deployment_uid: str) -> str:
    """Return what the names of all instances of a deployment begin with."""
    return f"gc-{deployment_uid[:8]}-"


def replica_name(deployment_uid: str, service: str, intent: str) -> str:
    """Name the instance at the provider: it collides with itself on a retry, and with nothing of anybody else."""
    return f"{name_prefix(deployment_uid)}{service[:_SERVICE_LENGTH].rstrip('-')}-{intent}"
