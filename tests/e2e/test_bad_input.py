"""What a person or a machine can do wrong: a clear error with a code, and nothing changed or left running."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from orchestrator.domain.records import ServiceState
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import ExitStatus
from tests.e2e.deployment import Deployment, make, until

GOOD = """
apiVersion: greenctl/v1
name: shop
model: {id: greenctl/tiny, engine: builtin}
service: {replicas: 2}
placement: {allow: [local/*], max_per_region: 1}
migration: {enabled: false, canary: [100%], canary_hold: 1s, drain: 20s}
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """An installation in which nothing runs yet."""
    made = make(GREENCTL_GATEWAY__MODE="plain")
    try:
        yield made
    finally:
        made.end()


def refused(deployment: Deployment, *words: str) -> dict[str, str]:
    """Run a command that has to fail, and return its error document."""
    done = deployment.run(*words, "--json", check=False)
    document = json.loads(done.stdout or done.stderr)
    error = document["error"]
    assert isinstance(error, dict)
    return {**error, "status": str(done.returncode)}


def nothing_runs(deployment: Deployment) -> bool:
    """Whether there is no engine and no controller."""
    return not deployment.engines() and deployment.controller_pid() is None


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        (("replicas: 2", "replicas: two"), "invalid_spec", ExitStatus.INVALID),
        (("name: shop", "name: shop\n\tbroken: [yaml"), "invalid_spec", ExitStatus.INVALID),
        (("allow: [local/*]", "allow: [local/atlantis]"), "invalid_spec", ExitStatus.INVALID),
        (("replicas: 2", "replicas: 9"), "no_feasible_placement", ExitStatus.REFUSED),
        (
            ("replicas: 2", "replicas: 2}\npolicy: {set: {price_cap: 0.001}"),
            "no_feasible_placement",
            ExitStatus.REFUSED,
        ),
    ],
    ids=["wrong-value", "broken-yaml", "unknown-region", "too-few-regions", "price-cap"],
)
def test_a_spec_that_cannot_be_placed_changes_nothing(
    deployment: Deployment, change: tuple[str, str], code: str, status: ExitStatus
) -> None:
    """A wrong or impossible spec is refused by its code before anything is stored or started."""
    spec = deployment.spec(GOOD.replace(*change))

    error = refused(deployment, "deploy", spec, "--yes")

    assert (error["code"], error["status"]) == (code, str(int(status)))
    assert error["hint"]
    assert nothing_runs(deployment)
    assert not deployment.records().services()


def test_a_missing_engine_is_named_before_anything_starts(deployment: Deployment) -> None:
    """Without vLLM the plan says so, says how to get it, and nothing is started."""
    deployment.extra["GREENCTL_LOCAL__VLLM"] = str(deployment.root / "no-such-vllm")
    spec = deployment.spec(GOOD.replace("engine: builtin", "engine: vllm"))

    error = refused(deployment, "deploy", spec, "--yes")

    assert (error["code"], error["status"]) == ("engine_missing", str(int(ExitStatus.PROVIDER)))
    assert nothing_runs(deployment)


def test_a_busy_gateway_port_is_named_before_anything_starts(deployment: Deployment) -> None:
    """Somebody else's program on the gateway's port is left alone, and nothing of ours is started."""
    with socket.create_server(("127.0.0.1", deployment.port)):
        error = refused(deployment, "deploy", deployment.spec(GOOD), "--yes")

    assert (error["code"], error["status"]) == ("port_busy", str(int(ExitStatus.PROVIDER)))
    assert str(deployment.port) in error["message"]
    assert nothing_runs(deployment)


def test_a_database_of_a_later_version_is_named_by_every_command(deployment: Deployment) -> None:
    """Code, versions and what to do; the same error and status whichever command meets it, and nothing is started."""
    deployment.records().deployment_uid()
    with closing(sqlite3.connect(deployment.state_dir / "greenctl.db")) as database, database:
        database.execute("UPDATE greenctl_schema SET version_num = '9999'")

    found = [refused(deployment, *words) for words in (("status",), ("controller", "start"))]

    for error in found:
        assert (error["code"], error["status"]) == ("store_incompatible", str(int(ExitStatus.PROVIDER)))
        assert "has schema 9999" in error["message"]
        assert error["hint"]
        assert "{" not in error["message"]
    assert nothing_runs(deployment)


def test_a_full_disk_is_named_before_anything_starts(deployment: Deployment) -> None:
    """When the disk has less room than is asked for, nothing is started."""
    deployment.extra["GREENCTL_LOCAL__MIN_FREE_DISK_MIB"] = str(10**9)

    error = refused(deployment, "deploy", deployment.spec(GOOD), "--yes")

    assert (error["code"], error["status"]) == ("disk_full", str(int(ExitStatus.PROVIDER)))
    assert nothing_runs(deployment)


def test_an_engine_that_dies_at_start_fails_the_deploy_and_leaves_nothing(deployment: Deployment) -> None:
    """The deploy ends with the engine's own words, the service is down again, and no process is left."""
    deployment.extra["GREENCTL_BUILTIN_FAULTS"] = '{"exit_at_start": 3}'

    error = refused(deployment, "deploy", deployment.spec(GOOD), "--yes")

    assert (error["code"], error["status"]) == ("engine_died", str(int(ExitStatus.PROVIDER)))
    records = deployment.records()
    until(lambda: [s.state for s in records.services()] == [ServiceState.DOWN], "the service is down", 30)
    assert not deployment.engines()
    assert all(r.cleaned_up for r in records.replicas(ended=True))


def test_a_bad_new_version_leaves_the_old_one_serving(deployment: Deployment) -> None:
    """When the new workload cannot start, the old replicas go on and the old revision is current again."""
    deployment.run("deploy", deployment.spec(GOOD), "--yes")
    records = deployment.records()
    before = {r.name for r in records.replicas("shop") if r.state is ReplicaState.READY}
    deployment.run("controller", "stop")
    deployment.extra["GREENCTL_BUILTIN_FAULTS"] = '{"exit_at_start": 3}'
    worse = deployment.spec(GOOD.replace("engine: builtin", "engine: builtin, served_name: worse"), "worse.yaml")

    error = refused(deployment, "deploy", worse, "--yes")

    assert error["code"] == "engine_died"
    assert {r.name for r in records.replicas("shop") if r.state is ReplicaState.READY} == before
    service = records.service("shop")
    assert service is not None
    assert (service.state, service.revision) == (ServiceState.ACTIVE, 1)
    until(lambda: {p.environ()["GREENCTL_REPLICA"] for p in deployment.engines()} == before, "only the old ones", 30)


def test_two_deploys_of_one_name_at_once_are_one_deploy_and_one_conflict(deployment: Deployment) -> None:
    """Whoever comes second is told so, and exactly the wanted number of replicas starts."""
    spec = deployment.spec(GOOD)
    deployment.run("controller", "start")
    rivals = [deployment.start("deploy", spec, "--yes") for _ in range(2)]
    statuses = sorted(r.wait(120) for r in rivals)

    records = deployment.records()
    ready = [r for r in records.replicas("shop") if r.state is ReplicaState.READY]
    assert len(ready) == 2
    assert len(records.replicas("shop", ended=True)) == 2
    assert statuses[0] == 0
    assert statuses[1] in {0, int(ExitStatus.OUT_OF_DATE)}


def test_a_stale_digest_is_refused_with_what_changed(deployment: Deployment) -> None:
    """A digest of another plan starts nothing; the digest of the plan that was shown does."""
    spec = deployment.spec(GOOD)

    error = refused(deployment, "deploy", spec, "--digest", "000000000000", "--yes")

    assert (error["code"], error["status"]) == ("stale_plan", str(int(ExitStatus.OUT_OF_DATE)))
    assert nothing_runs(deployment)
    digest = deployment.json("plan", spec)["plan"]["digest"]  # type: ignore[index]
    deployment.run("deploy", spec, "--digest", str(digest), "--yes")
    assert deployment.run("plan", spec, "--exit-code").returncode == 0


def test_a_plan_with_changes_pending_says_so_by_its_status(deployment: Deployment) -> None:
    """``plan --exit-code`` is 10 while something would change, and touches nothing."""
    done = deployment.run("plan", deployment.spec(GOOD), "--exit-code", check=False)

    assert done.returncode == int(ExitStatus.CHANGES_PENDING)
    assert nothing_runs(deployment)
    assert not deployment.records().services()


def test_a_deploy_without_a_yes_and_without_a_terminal_is_refused(deployment: Deployment) -> None:
    """Nothing that spends money runs without a plan on screen and a yes."""
    error = refused(deployment, "deploy", deployment.spec(GOOD))

    assert error["status"] == str(int(ExitStatus.INVALID))
    assert nothing_runs(deployment)
