"""What a failure of SkyPilot means to us. Pure.

Class names are those of ``sky.exceptions`` 0.14; the words are what providers say inside them.
"""

from __future__ import annotations

import re

from orchestrator.errors import (
    CredentialsMissing,
    InstanceGone,
    NoCapacity,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    UnsupportedByProvider,
)
from orchestrator.provisioners.masking import masked
from orchestrator.provisioners.skypilot.sky_api import SkyFailure

_UNAVAILABLE = frozenset(
    {
        "APIVersionMismatchError",
        "ApiServerAuthenticationError",
        "ApiServerConnectionError",
        "ClusterStatusFetchingError",
        "ConcurrentWorkerExhaustedError",
        "ConnectTimeout",
        "ConnectionError",
        "ExecutionPoolFullError",
        "ExecutionRetryableError",
        "NetworkError",
        "ReadTimeout",
        "RequestInterruptedError",
        "ServerTemporarilyUnavailableError",
        "WorkerDied",
    }
)
"""Nobody answered, or not now. The names without an exception of SkyPilot's are those of ``requests``, and our own."""

_CREDENTIALS = frozenset(
    {"CloudUserIdentityError", "InvalidCloudCredentials", "NoCloudAccessError", "NoWorkspaceAccessError"}
    | {"ClusterOwnerIdentityMismatchError", "InvalidCloudConfigs", "PermissionDeniedError"}
)
_UNSUPPORTED = frozenset(
    {"NotSupportedError", "ProvisionUnsupportedError", "ResourcesMismatchError", "UserRequestRejectedByPolicy"}
    | {"ValueError"}  # SkyPilot's own for resources that no cloud, region or machine type can have
)
_GONE = frozenset({"ClusterDoesNotExist", "ClusterNotUpError", "FetchClusterInfoError"})
_NO_ROOM = frozenset({"ProvisionPrechecksError", "ResourcesUnavailableError"})

_QUOTA = re.compile(
    r"quota|VcpuLimitExceeded|LimitExceeded|limit exceeded|InstanceLimitExceeded|OperationNotAllowed", re.IGNORECASE
)
_DENIED = re.compile(
    r"UnauthorizedOperation|AccessDenied|credential|not authorized|permission denied|\b403\b|\b401\b", re.IGNORECASE
)
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
LONGEST = 400


def meaning_of(failure: SkyFailure) -> ProviderError:
    """Return the error of our tree that says it."""
    words = in_short(failure)
    said = " ".join((failure.message, *failure.history))
    if failure.kind in _UNAVAILABLE:
        return ProviderUnavailable(f"SkyPilot cannot be asked: {words}")
    if failure.kind in _NO_ROOM:
        if _QUOTA.search(said):
            return QuotaExceeded(words)
        return CredentialsMissing(words) if _DENIED.search(said) else NoCapacity(words)
    if failure.kind in _CREDENTIALS:
        return CredentialsMissing(words)
    if failure.kind in _UNSUPPORTED:
        return UnsupportedByProvider(words)
    if failure.kind in _GONE:
        return InstanceGone(words)
    return ProviderError(f"SkyPilot: {words}")


def in_short(failure: SkyFailure) -> str:
    """Return its words in one printable line, without secrets and colours."""
    text = _ESCAPES.sub("", failure.message or failure.kind)
    line = " ".join(masked(text).split())
    return "".join(c for c in line if c.isprintable())[:LONGEST]
