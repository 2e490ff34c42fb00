"""Plan, ask, apply, watch."""

import json
import shlex
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.cli.session import Session
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.errors import EngineDied, EngineMissing
from tests.unit.cli.world import SPEC, World


def test_a_plan_changes_nothing(world: World) -> None:
    """It can be asked for at any time: no service, no request, no controller comes of it."""
    result = world.run("plan", world.spec_file())

    assert result.exit_code == 0
    assert "1 to add, 0 to move, 0 to remove" in result.stdout
    assert not world.store.services()
    assert not world.controller_runs
    assert not world.provisioner.launches


def test_a_plan_names_the_command_that_applies_exactly_it(world: World) -> None:
    """The last line can be copied as it is, whatever the file is called."""
    folder = world.folder / "my files"
    folder.mkdir()
    spec = folder / "it's.yaml"
    spec.write_text(SPEC)

    digest = world.document("plan", spec)["plan"]["digest"]

    quoted = str(spec).replace("'", "'\"'\"'")
    assert world.run("plan", spec).stdout.splitlines()[-1].endswith(f"greenctl deploy '{quoted}' --digest {digest}")


def test_pending_changes_have_an_exit_status_of_their_own(world: World) -> None:
    """With --exit-code a script learns whether a deploy would change anything, without reading."""
    spec = world.spec_file()

    assert world.run("plan", spec, "--exit-code").exit_code == 10
    world.deploy()
    assert world.run("plan", spec, "--exit-code").exit_code == 0


NO_REPLICA_CHANGES = SPEC.replace("placement:", "migration: {min_dwell: 0s}\nplacement:")


def test_clients_are_sent_to_the_gateway_that_runs(world: World) -> None:
    """It was started by a shell with another port: that one is shown, with what differs, and never the one here."""
    world.gateway_runs, world.gateway_listens_on = True, 9001

    deployed = world.run("deploy", world.spec_file(), "--yes")
    seen = world.run("status")

    assert "http://127.0.0.1:9001/v1" in deployed.stdout
    assert "http://127.0.0.1:9001" in seen.stdout
    assert "8080" not in deployed.stdout + seen.stdout
    for said in (deployed.stderr, seen.stderr):
        assert "the gateway runs on http://127.0.0.1:9001, and the settings here say http://127.0.0.1:8080" in said


def test_a_file_that_only_says_something_new_is_a_change(world: World) -> None:
    """Who runs ``plan --exit-code || deploy`` after each commit has a new rule deployed, though no replica moves."""
    world.deploy()
    spec = world.spec_file(NO_REPLICA_CHANGES)

    result = world.run("plan", spec, "--exit-code")

    assert result.exit_code == 10
    assert "No replica changes; the new file would be recorded." in result.stdout
    command = result.stdout.splitlines()[-1].partition("exactly this: greenctl ")[2]
    document = world.document("plan", spec)
    assert (document["plan"]["actions"], document["would_change"], document["file_is_recorded"]) == ([], True, False)
    assert world.run(*shlex.split(command), "--yes").exit_code == 0
    assert "Nothing to change." in world.run("plan", spec, "--exit-code").stdout
    assert world.document("plan", spec)["file_is_recorded"]


def test_a_plan_can_be_kept_in_a_file(world: World) -> None:
    """--out writes the same document that --json prints."""
    out = world.folder / "plan.json"

    document = world.document("plan", world.spec_file(), "--out", out)

    assert json.loads(out.read_text()) == document


def test_a_plan_that_cannot_be_written_is_a_usage_error(world: World) -> None:
    """The folder's absence is said in words, and before the providers are asked."""
    result = world.run("plan", "not-read.yaml", "--out", world.folder / "nowhere" / "plan.json")

    assert result.exit_code == 2
    assert "No such file or directory" in result.stderr


def test_a_deploy_asks_and_then_watches_until_the_service_serves(world: World) -> None:
    """A yes starts the controller and ends with the endpoint, its key and a first request."""
    result = world.run("deploy", world.spec_file(), answers=["y"])

    assert result.exit_code == 0
    assert "Spend up to $0.0900/h (about $2.16 a day)? [y/N]:" in result.stderr
    assert "r0 local/se: ready" in result.stderr
    assert result.stdout.startswith("Live at http://127.0.0.1:8080/v1   model chat   key in ")
    assert "curl http://127.0.0.1:8080/v1/chat/completions" in result.stdout
    assert [r.state for r in world.store.replicas("chat")] == [ReplicaState.READY]


@pytest.mark.parametrize("answer", ["n", "", "yes please", "Y es"])
def test_anything_but_a_yes_is_a_no(world: World, answer: str) -> None:
    """Nothing is started, and the exit status says that a person declined."""
    result = world.run("deploy", world.spec_file(), answers=[answer])

    assert result.exit_code == 8
    assert "error[declined]" in result.stderr
    assert not world.store.services()
    assert not world.controller_runs


def test_where_nobody_can_be_asked_the_yes_must_be_given(world: World) -> None:
    """A pipeline without --yes is refused as wrong usage, and told what to add."""
    result = world.run("deploy", world.spec_file())

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert not world.store.services()


def test_the_plan_is_on_the_screen_before_the_question_even_when_quiet(world: World) -> None:
    """Nobody is asked to pay for what was not shown."""
    result = world.run("deploy", world.spec_file(), "--quiet", answers=["n"])

    assert result.stderr.index("1 to add") < result.stderr.index("Spend up to")


def test_a_quiet_deploy_that_may_not_ask_only_prints_the_result(world: World) -> None:
    """With --yes and --quiet nothing but the endpoint is printed."""
    result = world.run("deploy", world.spec_file(), "--yes", "--quiet")

    assert result.stderr == ""
    assert result.stdout.startswith("Live at")


def test_a_deploy_of_the_shown_digest_goes_through(world: World) -> None:
    """The digest of a plan applies that plan."""
    digest = world.document("plan", world.spec_file())["plan"]["digest"]

    assert world.run("deploy", world.spec_file(), "--digest", digest, "--yes").exit_code == 0


def test_a_plan_that_is_out_of_date_is_refused_and_set_beside_the_new_one(world: World) -> None:
    """A price or file that changed since the plan was read is named; nothing is started."""
    digest = world.document("plan", world.spec_file())["plan"]["digest"]
    changed = world.spec_file(SPEC.replace("allow: ['local/*']", "allow: ['local/de']"))

    result = world.run("deploy", changed, "--digest", digest, "--yes")

    assert result.exit_code == 7
    assert "error[stale_plan]" in result.stderr
    assert "the service file has changed" in result.stderr
    assert "no longer: launch r0 local/se:2vCPU-4GB:on_demand at $0.090000/h" in result.stderr
    assert "now: launch r0 local/de:2vCPU-4GB:on_demand at $0.085000/h" in result.stderr
    assert not world.store.services()


@pytest.mark.parametrize("digest", ["000000000000", "../../etc/passwd", "", "\x1b[2J"])
def test_a_digest_that_nobody_printed_is_just_out_of_date(world: World, digest: str) -> None:
    """It is compared and never used as a path."""
    result = world.run("deploy", world.spec_file(), "--digest", digest, "--yes")

    assert result.exit_code == 7
    assert "\x1b" not in result.output


def test_deploying_the_same_file_again_does_nothing(world: World) -> None:
    """What already runs as the file says is left alone, and the endpoint is printed again."""
    world.deploy()
    before = len(world.store.operations("chat", open_only=False))

    result = world.run("deploy", world.spec_file())

    assert result.exit_code == 0
    assert "Nothing to do" in result.stderr
    assert "Live at" in result.stdout
    assert len(world.store.operations("chat", open_only=False)) == before


def test_after_a_reboot_deploying_the_same_file_starts_the_controller(world: World) -> None:
    """Nothing is to be changed, and nobody was there to keep it so: what is said to be live is looked after again."""
    world.deploy()
    world.run("controller", "stop")

    result = world.run("deploy", world.spec_file())

    assert result.exit_code == 0
    assert "Nothing to do" in result.stderr
    assert world.controller_runs


def test_a_file_that_changes_no_placement_is_recorded_after_asking(world: World) -> None:
    """A rule that moves nothing today still is a new revision."""
    world.deploy()
    changed = world.spec_file(SPEC + "migration: {min_dwell: 3h}\n")

    result = world.run("deploy", changed, answers=["y"])

    assert result.exit_code == 0
    assert "Nothing is bought or removed; record the new file? [y/N]:" in result.stderr
    record = world.store.service("chat")
    assert record is not None
    assert record.revision == 2


def test_a_detached_deploy_returns_with_the_work_handed_over(world: World) -> None:
    """The request is durable; how to watch it is said."""
    result = world.run("deploy", world.spec_file(), "--yes", "--detach")

    assert result.exit_code == 0
    assert "greenctl rollout status chat --watch" in result.stderr
    assert [o.state for o in world.store.operations("chat")] == [OperationState.QUEUED]


def test_a_second_change_waits_for_the_first(world: World) -> None:
    """While a request is open another one is a conflict, and the hint says what to look at."""
    world.run("deploy", world.spec_file(), "--yes", "--detach")

    result = world.run("deploy", world.spec_file(), "--yes")

    assert result.exit_code == 7
    assert "error[conflict]" in result.stderr


def test_waiting_has_an_end_and_the_work_has_not(world: World) -> None:
    """--timeout ends with status 6 and the way back; the request stays open."""
    world.probe.is_mute = True

    result = world.run("deploy", world.spec_file(), "--yes", "--timeout", "0s")

    assert result.exit_code == 6
    assert "error[timed_out]" in result.stderr
    assert "greenctl rollout status chat --watch" in result.stderr
    assert len(world.store.operations("chat", open_only=True)) == 1


def test_a_request_that_nobody_works_on_waits_and_says_so(world: World) -> None:
    """Whose controller was killed reads what to do, once; as soon as one runs again the work goes on."""
    world.run("deploy", world.spec_file(), "--yes", "--detach")
    tick, world.controller_runs = world.clock.while_asleep, False
    assert tick is not None
    naps = 0

    async def nobody_works() -> None:
        nonlocal naps
        naps += 1
        if naps == 100:  # of a third of a second each
            world.controller_runs = True
        if world.controller_runs:
            await tick()

    world.clock.while_asleep = nobody_works
    assert "nothing is replaced, moved or begun" in world.run("status").stdout
    assert world.document("status")["controller_runs"] is False
    result = world.run("rollout", "status", "chat", "--watch")

    assert result.exit_code == 0
    said = " ".join(result.stderr.split())
    assert said.count(f"no controller runs on {world.folder}") == 1
    assert "greenctl controller start" in said
    assert "deploy done" in result.stderr
    assert "No controller runs" not in world.run("status").stdout


def test_a_request_that_a_restore_has_replaced_is_followed_no_further(world: World) -> None:
    """The database that it was in is another one now."""
    world.run("deploy", world.spec_file(), "--yes", "--detach")

    async def replace_the_database() -> None:
        (lost,) = world.store.operations("chat")
        world.store._state.operations.drop(lost.id)

    world.clock.while_asleep = replace_the_database
    result = world.run("rollout", "status", "chat", "--watch")

    assert result.exit_code == 2
    assert "is in the database no longer" in result.stderr


def test_an_engine_that_is_missing_is_said_before_anything_is_asked(world: World) -> None:
    """The preflight comes with the plan: no question, no request, status 4."""
    world.provisioner.fail_next("preflight", EngineMissing("vLLM is not installed"))

    result = world.run("deploy", world.spec_file(), answers=["y"])

    assert result.exit_code == 4
    assert "error[engine_missing]: vLLM is not installed" in result.stderr
    assert "Spend" not in result.stderr
    assert not world.store.services()


def test_a_deploy_that_fails_ends_with_the_failure_s_own_status(world: World) -> None:
    """An engine that dies is reported by its code, with what it said."""
    for _ in range(10):
        world.provisioner.fail_next("launch", EngineDied("the engine ended with status 1: no such model"))

    result = world.run("deploy", world.spec_file(), "--yes")

    assert result.exit_code == 4
    assert "error[engine_died]: the engine ended with status 1: no such model" in result.stderr


def test_ctrl_c_leaves_the_work_running_and_says_how_to_come_back(world: World) -> None:
    """Interrupting a wait is no way to stop a deploy."""
    start = world.start_controller

    def start_and_interrupt() -> None:
        start()

        async def interrupt() -> None:
            raise KeyboardInterrupt

        world.clock.while_asleep = interrupt

    world.start_controller = start_and_interrupt  # type: ignore[method-assign]
    result = world.run("deploy", world.spec_file(), "--yes")

    assert result.exit_code == 130
    assert "greenctl rollout status chat --watch" in result.stderr
    assert "Traceback" not in result.output
    assert len(world.store.operations("chat")) == 1


def test_a_deploy_prints_one_document(world: World) -> None:
    """With --json: what was decided, which request did it, where it answers; the talk stays on stderr."""
    document = world.document("deploy", world.spec_file(), "--yes")

    deploy = document["deploy"]
    assert set(document) == {"format_version", "deploy"}
    assert set(deploy) == {"service", "state", "operation", "plan", "worst_case_bill", "endpoint"}
    assert deploy["worst_case_bill"]["usd"] is not None
    assert len(deploy["worst_case_bill"]["lines"]) == 1
    assert deploy["state"] == "done"
    assert deploy["operation"].startswith("op-")
    assert deploy["endpoint"]["url"] == "http://127.0.0.1:8080"
    assert deploy["plan"]["actions"][0]["offer_id"] == "local/se:2vCPU-4GB:on_demand"


def test_what_a_file_says_and_nobody_acts_upon_is_mentioned(world: World) -> None:
    """A block that this version ignores is no error, but whoever deploys it is told."""
    result = world.run("plan", world.spec_file(SPEC + "gateway: {routing: least_busy}\n"))

    assert result.exit_code == 0
    assert "note: " in result.stderr
    assert "service.yaml:4:11  gateway.routing: kept" in result.stderr


def test_the_key_is_read_from_its_file_and_never_printed(world: World) -> None:
    """The first request names the file; the path is quoted for the shell."""
    world.folder.joinpath("state").mkdir()
    Path(world.folder, "state", "client-key").write_text("gk-secret")

    result = world.run("deploy", world.spec_file(), "--yes")

    assert "gk-secret" not in result.output
    assert '-H "authorization: Bearer $(cat ' in result.stdout


def test_a_session_shares_one_loop(world: World) -> None:
    """Connections that one step opens are usable in the next."""
    import asyncio  # noqa: PLC0415

    session = Session(world)

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert session.run(loop()) is session.run(loop())
    session.close()


def test_time_passes_in_the_test_world(world: World) -> None:
    """The world's clock moves when told to, and not by itself."""
    before = world.clock.now()
    world.pass_time(timedelta(hours=3))

    assert world.clock.now() - before == timedelta(hours=3)
