"""Settings in, a provisioner out: clouds that do not exist are refused before anything is built."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidSettings
from orchestrator.settings import Settings, SkyPilotSettings
from orchestrator.wiring import skypilot_provisioner


@pytest.mark.parametrize(("cloud", "hint"), [("gpc", "Did you mean gcp"), ("nowhere", "It knows aws, azure")])
def test_a_cloud_that_skypilot_does_not_know_is_refused(cloud: str, hint: str) -> None:
    """By name, with the nearest one or all of them."""
    with pytest.raises(InvalidSettings, match=f"no cloud '{cloud}'") as refused:
        skypilot_provisioner(Settings(skypilot=SkyPilotSettings(clouds=("aws", cloud))))
    assert hint in refused.value.hint()


def test_without_clouds_there_is_none() -> None:
    """And SkyPilot is never contacted."""
    assert skypilot_provisioner(Settings()) is None
