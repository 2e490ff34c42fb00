"""A failure of SkyPilot becomes the error of ours that says what to do."""

from __future__ import annotations

import pytest

from orchestrator.errors import (
    CredentialsMissing,
    InstanceGone,
    NoCapacity,
    ProviderError,
    ProviderUnavailable,
    QuotaExceeded,
    UnsupportedByProvider,
)
from orchestrator.provisioners.skypilot.meaning import in_short, meaning_of
from orchestrator.provisioners.skypilot.sky_api import SkyFailure

FULL = "Failed to provision all possible launchable resources. Relax the task's resource requirements: 1x Slurm(2CPU)"


@pytest.mark.parametrize(
    ("kind", "message", "history", "expected"),
    [
        ("ResourcesUnavailableError", FULL, (), NoCapacity),
        ("ResourcesUnavailableError", FULL, ("InsufficientInstanceCapacity in us-east-1a",), NoCapacity),
        ("ResourcesUnavailableError", FULL, ("VcpuLimitExceeded: You have requested more vCPU",), QuotaExceeded),
        ("ResourcesUnavailableError", "QUOTA_EXCEEDED: Quota 'NVIDIA_H100_GPUS' exceeded", (), QuotaExceeded),
        ("ResourcesUnavailableError", FULL, ("UnauthorizedOperation: You are not authorized",), CredentialsMissing),
        ("NoCloudAccessError", "No cloud access available.", (), CredentialsMissing),
        ("CloudUserIdentityError", "expired token", (), CredentialsMissing),
        ("NotSupportedError", "Spot instances are not supported in Slurm.", (), UnsupportedByProvider),
        ("ValueError", "Invalid region 'mars'", (), UnsupportedByProvider),
        ("ClusterDoesNotExist", "Cluster 'x' does not exist.", (), InstanceGone),
        ("ApiServerConnectionError", "Could not connect to SkyPilot API server", (), ProviderUnavailable),
        ("ClusterStatusFetchingError", "Failed to query the cloud", (), ProviderUnavailable),
        ("WorkerDied", "see worker.log", (), ProviderUnavailable),
        ("SomethingNew", "who knows", (), ProviderError),
    ],
)
def test_each_failure_has_a_meaning(
    kind: str, message: str, history: tuple[str, ...], expected: type[ProviderError]
) -> None:
    """By its class first; where SkyPilot has one class for several causes, by what the provider said."""
    assert type(meaning_of(SkyFailure(kind, message, history))) is expected


def test_the_classes_are_skypilots() -> None:
    """Every name that is looked for exists in the SkyPilot that is pinned, or is not SkyPilot's to begin with."""
    exceptions = pytest.importorskip("sky.exceptions")
    from orchestrator.provisioners.skypilot import meaning  # noqa: PLC0415 - its private tables, for this test alone

    others = {"ConnectTimeout", "ConnectionError", "ReadTimeout", "ValueError", "WorkerDied"}
    named = meaning._UNAVAILABLE | meaning._CREDENTIALS | meaning._UNSUPPORTED | meaning._GONE | meaning._NO_ROOM
    assert {name for name in named - others if not hasattr(exceptions, name)} == set()


def test_its_words_are_one_clean_line() -> None:
    """Colours, line breaks and secrets do not travel into records and onto terminals."""
    said = in_short(SkyFailure("X", "\x1b[31mno\x1b[0m\n  api_key=supersecret123 \x07" + "y" * 900))
    assert said.startswith("no api_key=*** ")
    assert "\x1b" not in said
    assert len(said) <= 400
