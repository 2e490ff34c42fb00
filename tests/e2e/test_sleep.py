"""A real gateway keeps the door of a service that has no process: a request waits for one and is answered."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from orchestrator.domain.decision import DecisionKind
from tests.e2e.deployment import Deployment, make, until

SPEC = """
apiVersion: greenctl/v1
name: doze
model: {id: greenctl/tiny, engine: builtin}
service:
  replica_policy: {min_replicas: 0, max_replicas: 1, target_qps_per_replica: 5, downscale_delay_seconds: 5}
placement: {allow: [local/*]}
migration: {enabled: false, drain: 10s}
gateway: {hold: 8s, max_held: 4}
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A service that has gone to sleep, behind a gateway."""
    made = make(GREENCTL_GATEWAY__MODE="plain")
    try:
        made.run("deploy", made.spec(SPEC), "--yes")
        asleep(made)
        yield made
    finally:
        made.end()


def asleep(deployment: Deployment) -> None:
    """Wait until nothing of the service runs."""
    until(lambda: not deployment.records().replicas("doze"), "the last replica went")
    assert deployment.engines() == []


def ask(deployment: Deployment) -> tuple[int, dict[str, object], str | None]:
    """Send one request; return its status, its body and when to come again."""
    body = json.dumps({"model": "doze", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4})
    headers = {"content-type": "application/json", "authorization": f"Bearer {deployment.key}"}
    request = urllib.request.Request(  # noqa: S310  # our own gateway
        f"{deployment.url}/v1/chat/completions", body.encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=150) as response:  # noqa: S310  # as above
            return response.status, json.load(response), None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers["retry-after"]


def test_it_sleeps_wakes_for_a_request_and_says_so(deployment: Deployment) -> None:
    """Nothing runs and nobody wakes it: a clear refusal. Then somebody does, and whoever comes again is answered."""
    (status,) = deployment.json("status", "doze")["services"]  # type: ignore[misc]
    assert (status["wanted"], status["ready"]) == (0, 0)
    last = deployment.records().decisions("doze", kind=DecisionKind.SCALE, limit=1)[0]
    assert last.sizing is not None
    assert last.sizing.because.startswith("no request for")
    assert "0 replicas" in deployment.run("explain", "doze").stdout

    deployment.kill_controller()
    code, answer, again = ask(deployment)
    assert (code, answer["error"]["code"], again) == (503, "no_replica_in_time", "30")  # type: ignore[index]

    deployment.run("controller", "start")
    until(lambda: ask(deployment)[0] == 200, "somebody who came again was served")
    woken = deployment.records().decisions("doze", kind=DecisionKind.SCALE, limit=1)[0]
    assert woken.sizing is not None
    assert woken.sizing.replicas == 1
