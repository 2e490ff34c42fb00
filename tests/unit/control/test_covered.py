"""A controller does not start where it cannot reach what it would have to look after."""

import shlex

import pytest

from orchestrator.controller.covered import require_covered
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import InvalidSettings
from orchestrator.settings import load_settings
from tests.builders import candidate, replica

AWS, HERE = candidate("aws/se", 30.0), candidate("local/se", 30.0)


def test_what_runs_on_a_cloud_that_is_not_configured_is_named_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be replaced here, paid for there, and ended by nobody. What the hint says to set is understood."""
    lost = [replica(AWS, 0, name="gc-a"), replica(AWS, 1, ReplicaState.DRAINING, name="gc-b"), replica(HERE, 2)]
    with pytest.raises(
        InvalidSettings, match=r"2 replicas, gc-a of .*, may run on aws, which is not configured"
    ) as found:
        require_covered(lost, {"local", "slurm"})

    said = next(word for word in shlex.split(found.value.hint().partition(" as when")[0]) if "=" in word)
    monkeypatch.setenv(*said.split("=", 1))
    assert load_settings().skypilot.clouds == ("aws", "slurm")


@pytest.mark.parametrize("clean", [True, False])
def test_only_what_may_still_run_counts(*, clean: bool) -> None:
    """An ended record of which nothing is left asks for nobody."""
    ended = replica(AWS, 0, ReplicaState.LOST, cleaned_up=clean)
    if clean:
        require_covered([ended, replica(HERE, 1)], {"local"})
    else:
        with pytest.raises(InvalidSettings, match="may run on aws"):
            require_covered([ended], {"local"})
