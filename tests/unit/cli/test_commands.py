"""The commands that look and the commands that operate, each against the world in memory."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len

from orchestrator import __version__
from orchestrator.control.ports import LaunchRequest
from orchestrator.control.ports.store import DECISIONS_LEFT
from orchestrator.domain.carbon import Accounting, Basis, CarbonSeries, Factors, Kind
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.records import EventKind, ServiceState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.service import ModelSpec, ResourceRequest
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.errors import EngineDied, ExitStatus, StoreUnavailable
from orchestrator.signals.fake import FakeCarbon
from orchestrator.signals.server_clocks import ServerClocks, Told
from orchestrator.wiring import SIGNALS_FILE
from tests.unit.cli.world import SPEC, World

# ── files ────────────────────────────────────────────────────────────────────────────────────────────


def test_init_writes_a_file_that_validates_and_says_what_comes_next(world: World) -> None:
    """The first two commands of a first-time user go together."""
    folder = world.folder / "my chat"

    made = world.run("init", folder, "--name", "chat")

    assert made.exit_code == 0
    assert f"Next: greenctl plan '{folder}/service.yaml'" in made.stderr
    assert world.run("validate", folder / "service.yaml").exit_code == 0


def test_init_leaves_what_is_there_alone(world: World) -> None:
    """A second init is refused and names the way out."""
    world.run("init", world.folder / "chat")

    again = world.run("init", world.folder / "chat")

    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert world.run("init", world.folder / "chat", "--force").exit_code == 0


def test_validate_lists_every_problem_of_every_file_with_its_place(world: World) -> None:
    """All files are looked at, good ones too; the status says that something is wrong."""
    good = world.spec_file()
    bad = world.folder / "bad.yaml"
    bad.write_text("name: chat\nmodle: {id: x}\ncarbon: {max_age: soon}\n")

    result = world.run("validate", good, bad)

    assert result.exit_code == 2
    assert f"✓ {good}: chat" in result.stdout
    assert f"{bad}:2:1  modle: unknown key" in result.stdout
    assert f"{bad}:3:19  carbon.max_age" in result.stdout
    assert "Nothing was contacted." in result.stderr


def test_validate_prints_one_document_for_all_files(world: World) -> None:
    """Problems are data: path, line, column, message, suggestion."""
    bad = world.folder / "bad.yaml"
    bad.write_text("name: chat\nmodle: {id: x}\n")

    document = world.document("validate", world.spec_file(), bad)

    assert [f["valid"] for f in document["files"]] == [True, False]
    (typo,) = [p for p in document["files"][1]["problems"] if p["path"] == "modle"]
    assert (typo["line"], typo["column"], typo["suggestion"]) == (2, 1, "model")


def test_validate_knows_policy_files(world: World) -> None:
    """A policy file is checked as one, beside service files, with all its problems."""
    good, bad = world.folder / "good.yaml", world.folder / "worse.yaml"
    good.write_text("apiVersion: greenctl/v1\nkind: Policy\nname: mine\nobjective: greenest\nmax_extra_cost: 10%\n")
    bad.write_text("apiVersion: greenctl/v1\nkind: Policy\nname: mine\nobjective: dirtiest\n")

    assert "policy mine" in world.run("validate", good).output
    document = world.document("validate", good, bad)

    assert [f["valid"] for f in document["files"]] == [True, False]
    assert document["files"][1]["problems"][0]["path"] == "objective"


def test_a_file_that_is_not_there_is_said_in_words(world: World) -> None:
    """No traceback, status 2."""
    for command in ("plan", "deploy", "validate"):
        result = world.run(command, world.folder / "nowhere.yaml")
        assert result.exit_code == 2
        assert "nowhere.yaml" in result.output


def test_the_schema_is_a_schema(world: World) -> None:
    """Piped into a file, it is what an editor wants; with --json it is inside our document."""
    schema = json.loads(world.run("schema").stdout)

    assert schema["$schema"].endswith("2020-12/schema")
    assert world.document("schema")["schema"] == schema


def test_the_version_is_the_package_s(world: World) -> None:
    """By command, by flag, and as data."""
    assert world.run("version").stdout == f"greenctl {__version__}\n"
    assert world.run("--version").stdout == f"greenctl {__version__}\n"
    assert world.document("version")["version"] == __version__


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────


def test_status_of_nothing_says_how_to_start(world: World) -> None:
    """An empty list is no error."""
    result = world.run("status")

    assert result.exit_code == 0
    assert "greenctl init" in result.stdout


def test_status_shows_the_service_and_on_request_its_replicas(world: World) -> None:
    """One row each; what is not measured yet is a question mark with its reason."""
    world.deploy()

    result = world.run("status", "chat")

    assert "healthy" in result.stdout
    assert "local/se" in result.stdout
    assert "has not been measured yet" in result.stdout
    assert world.document("status")["services"][0]["replicas"][0]["replica"]["state"] == "ready"


@pytest.mark.parametrize(
    "words",
    [
        ("status", "nope"),
        ("explain", "nope"),
        ("history", "nope"),
        ("report", "nope"),
        ("down", "nope"),
        ("migrate", "nope"),
        ("logs", "nope"),
        ("rollout", "status", "nope"),
        ("rollout", "status", "nope", "--watch"),
        ("rollout", "history", "nope"),
        ("rollout", "pause", "nope"),
        ("rollout", "resume", "nope"),
    ],
    ids=" ".join,
)
def test_a_service_that_nobody_knows_is_the_same_error_everywhere(world: World, words: tuple[str, ...]) -> None:
    """Status 2, code unknown_service, and where to find the names."""
    result = world.run(*words)

    assert result.exit_code == 2
    assert "error[unknown_service]" in result.stderr
    assert "greenctl status" in result.stderr
    assert result.stdout == ""


def test_explain_prints_the_newest_decision_or_the_one_asked_for(world: World) -> None:
    """Ids come from the history; --why-not shows every rule of a region."""
    world.deploy()

    decisions = world.document("history", "chat")["history"]["decisions"]
    first = min(decisions, key=lambda d: d["at"])
    result = world.run("explain", "chat", "--decision", first["id"], "--why-not", "local/de")

    assert first["kind"] == "place"
    assert world.document("explain", "chat")["decision"]["id"] == decisions[0]["id"]
    assert f"decision {first['id']}" in result.stdout
    assert "Why not local/de" in result.stdout
    assert "✓ placement.allow" in result.stdout


def test_a_decision_that_does_not_exist_is_said(world: World) -> None:
    """The hint names where ids are listed."""
    world.deploy()

    result = world.run("explain", "chat", "--decision", "d-none")

    assert result.exit_code == 2
    assert "greenctl history chat" in result.stderr


def test_a_decision_that_is_no_longer_kept_whole_is_said(world: World) -> None:
    """With what is left of it, in the history as well: how many of that day said so, and the last words."""
    world.deploy()
    journal = world.store.claim("another", world.clock.now())
    for n in range(DECISIONS_LEFT + 3):
        at = world.clock.now() + timedelta(seconds=n)
        stay = Decision(f"old-{n}", "chat", at, DecisionKind.STAY, "policy", "green-first", "stay where it is clean")
        journal.record_decision(stay, ())
    assert journal.compact_decisions(world.clock.now() + timedelta(days=3)) >= 3

    result = world.run("explain", "chat", "--decision", "old-0")

    assert result.exit_code == 2
    told = " ".join(result.stderr.split())
    assert "old-0 is no longer kept whole" in told
    assert "stay where it is clean" in told
    assert "controller.keep_decisions_days" in told
    assert "no longer kept whole" in world.run("history", "chat").stdout
    assert "old-0" in world.document("history", "chat")["history"]["resting_days"][0]["ids"]


def test_history_tells_the_story_in_order(world: World) -> None:
    """Decision, placement and states of the first deploy, oldest first."""
    world.deploy()

    lines = world.run("history", "chat").stdout.splitlines()

    text = "\n".join(lines)
    assert text.index("launch r0 in local/se") < text.index("r0 local/se: ready") < text.index("deploy done")
    assert "All: --limit 0" in world.run("history", "chat", "-n", "2").stdout


def test_history_from_the_beginning_is_from_the_beginning(world: World) -> None:
    """As a page with --limit 0, and always as a document."""
    world.deploy()
    first = world.store.decisions("chat")[-1]
    journal = world.store.claim("test", world.clock.now())
    for number in range(1100):
        journal.record_decision(replace(first, id=f"d-{number:010x}", at=first.at + number * HOUR), ())

    recorded = len(world.store.decisions("chat", limit=9999))
    assert recorded > 1100
    assert len(world.document("history", "chat")["history"]["decisions"]) == recorded
    page = world.run("history", "chat", "--limit", "0").stdout
    assert "(×1099, last" in page
    assert "(×2, last" in page


def test_report_has_joules_grams_dollars_and_both_rivals(world: World) -> None:
    """After some traffic the totals stand beside home and B3."""
    world.deploy()
    for _ in range(10):
        asyncio.run(world.clock.sleep(10))

    document = world.document("report", "chat")["report"]
    page = world.run("report", "chat").stdout

    assert document["joules"] > 0
    assert document["grams"] > 0
    assert {r["name"] for r in document["rivals"]} >= {"home", "B3"}
    assert "CO2e, as published figures differ" in page
    assert "in no sum of grams" in page
    assert "B3" in page


def test_a_report_up_to_a_day_begins_with_the_first_sample(world: World) -> None:
    """--to alone is not all of time; where nothing was measured before it, the report is an empty one."""
    world.deploy()
    for _ in range(10):
        asyncio.run(world.clock.sleep(10))
    begun = world.document("report", "chat")["report"]["period"]["start"]

    until = world.document("report", "chat", "--to", "2023-06-02T00:00Z")["report"]["period"]
    assert until == {"start": begun, "end": "2023-06-02T00:00:00Z"}
    assert world.run("report", "chat", "--to", "2023-01-01T00:00Z").exit_code == 0
    assert world.run("report", "nope", "--to", "2023-01-01T00:00Z").exit_code == 2


def test_a_report_of_an_empty_period_says_so(world: World) -> None:
    """No samples is not zero emissions."""
    world.deploy()

    result = world.run("report", "chat", "--from", "2023-01-01T00:00Z", "--to", "2023-01-02T00:00Z")

    assert result.exit_code == 0
    assert "no energy samples" in result.stdout
    assert world.run("report", "chat", "--from", "2023-01-02T00:00Z", "--to", "2023-01-01T00:00Z").exit_code == 2
    assert "write 2023-06-01T12:00Z" in world.run("report", "chat", "--from", "yesterday").stderr


class ListeningCarbon(FakeCarbon):
    """Remembers which windows were asked for."""

    windows: tuple[Window, ...] = ()

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Answer as ever."""
        self.windows += (window,)
        return await super().history(zone, basis, window, now)


def test_a_report_of_a_century_reads_the_grid_of_the_days_with_samples(tmp_path: Path) -> None:
    """It says the same as one of those days, and does not take minutes."""
    carbon = ListeningCarbon(kind=Kind.RECORDED)
    world = World(tmp_path, carbon=carbon)
    world.deploy()
    for _ in range(10):
        asyncio.run(world.clock.sleep(10))
    day = world.document("report", "chat", "--from", "2023-06-01T00:00Z", "--to", "2023-06-02T00:00Z")["report"]
    carbon.windows = ()

    century = world.document("report", "chat", "--from", "1990-01-01T00:00Z", "--to", "2100-01-01T00:00Z")["report"]

    assert (century["joules"], century["grams"], century["usd"]) == (day["joules"], day["grams"], day["usd"])
    assert max(window.end - window.start for window in carbon.windows) < timedelta(days=60)


@pytest.mark.parametrize("when", ["0001-01-01T00:00Z", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-01:00"])
@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_report_of_no_year_of_ours_is_a_usage_error(world: World, option: str, when: str) -> None:
    """The ends of the calendar are typed by mistake, or by a script that wants all there is: it says nothing then."""
    world.deploy()

    result = world.run("report", "chat", option, when)

    assert result.exit_code == 2
    assert when in result.stderr


def test_carbon_shows_the_zones_in_which_replicas_can_run(world: World) -> None:
    """The cleanest first, each with its regions and age."""
    lines = world.run("carbon").stdout.splitlines()

    assert lines[1].split()[:3] == ["ZONE", "REGIONS", "NOW"]
    assert [text.split()[0] for text in lines[2:4]] == ["SE", "DE"]


def test_carbon_takes_zones_and_regions(world: World) -> None:
    """A zone that is named stands alone; a region stands for its zone; an unknown one is said."""
    assert [z["zone"] for z in world.document("carbon", "--zone", "DE")["zones"]] == ["DE"]
    assert [z["zone"] for z in world.document("carbon", "--region", "local/s*")["zones"]] == ["SE"]
    assert world.run("carbon", "--region", "aws/*").exit_code == 2


def test_zones_without_any_number_are_an_error_with_the_reasons(world: World) -> None:
    """Status 5; the reason stands on the page, and no number does."""
    result = world.run("carbon", "--zone", "XX")

    assert result.exit_code == 5
    assert "error[signal_unavailable]" in result.stderr
    assert "XX: nothing is known of zone 'XX'" in result.stdout
    assert " 0 " not in result.stdout


def test_a_window_longer_than_the_outlook_is_refused(world: World) -> None:
    """It could never be found."""
    assert world.run("carbon", "--hours", "3", "--window", "4").exit_code == 2


# ── changing ─────────────────────────────────────────────────────────────────────────────────────────


def test_migrate_moves_a_replica_after_showing_what_it_costs(world: World) -> None:
    """The new one serves before the old one goes, and the page says what the policy thinks of it."""
    world.deploy()

    result = world.run("migrate", "chat", "--replica", "r0", "--to", "local/de", answers=["y"])

    assert result.exit_code == 0
    assert "The move itself" in result.stderr
    assert "✗ migration.min_dwell" in result.stderr
    assert "Done: r0 moved from local/se to local/de." in result.stdout
    assert [r.region for r in world.store.replicas("chat")] == ["local/de"]


def test_a_move_needs_a_yes(world: World) -> None:
    """No answer, no move."""
    world.deploy()

    assert world.run("migrate", "chat", answers=["n"]).exit_code == 8
    assert world.run("migrate", "chat").exit_code == 2
    assert [r.region for r in world.store.replicas("chat")] == ["local/se"]


def test_a_move_to_nowhere_is_refused(world: World) -> None:
    """A region without offers is named as such."""
    world.deploy()

    result = world.run("migrate", "chat", "--to", "mars/base", "--yes")

    assert result.exit_code == 2
    assert "error[unknown_region]" in result.stderr


def test_a_move_prints_one_document(world: World) -> None:
    """With the plan that was carried out."""
    world.deploy()

    document = world.document("migrate", "chat", "--yes", "--reason", "exercise")["migration"]

    assert document["state"] == "done"
    assert document["plan"]["actions"][0]["reason"] == "exercise"


def test_down_wants_the_name(world: World) -> None:
    """A yes is not enough to destroy; the name is. The history stays."""
    world.deploy()

    assert world.run("down", "chat", answers=["y"]).exit_code == 8
    assert world.run("down", "chat").exit_code == 2
    result = world.run("down", "chat", answers=["chat"])

    assert result.exit_code == 0
    assert "greenctl report chat" in result.stdout
    assert not world.store.replicas("chat")
    record = world.store.service("chat")
    assert record is not None
    assert record.state is ServiceState.DOWN
    assert world.run("history", "chat").exit_code == 0


def test_a_service_that_is_down_is_not_forgotten(world: World) -> None:
    """The status lists what is up, and names what is kept of what is not."""
    world.deploy()
    world.run("down", "chat", "--yes")

    assert "No service is up. Down, with their history kept: chat." in world.run("status").stdout


def test_taking_down_what_is_down_does_nothing(world: World) -> None:
    """The second time it is said, and not asked."""
    world.deploy()
    world.run("down", "chat", "--yes")

    result = world.run("down", "chat")

    assert result.exit_code == 0
    assert "already down" in result.stdout
    assert world.document("down", "chat")["down"]["state"] == "unchanged"


def test_voluntary_moves_can_be_held_and_allowed_again(world: World) -> None:
    """The word of the status says so in between."""
    world.deploy()

    assert "held" in world.run("rollout", "pause", "chat").stdout
    assert "paused" in world.run("status").stdout
    assert world.document("rollout", "resume", "chat")["rollout"]["paused"] is False
    assert "healthy" in world.run("status").stdout


def test_a_pause_names_who_what_and_why_wherever_one_looks(world: World) -> None:
    """In its answer, in status, in history, and in the refusal of what it holds."""
    world.deploy()

    answer = world.run("pause", "chat", "--reason", "incident 42")

    assert "chat is paused by ada (incident 42)" in answer.stdout
    assert "greenctl resume chat" in answer.stdout
    assert "paused by ada (incident 42)" in world.run("status").stdout
    assert "chat by ada: incident 42" in world.run("history", "chat").stdout
    refusal = world.run("migrate", "chat", "--yes")
    assert refusal.exit_code == ExitStatus.OUT_OF_DATE
    assert "paused by ada" in refusal.stderr
    more = SPEC + "resources: {}\nservice: {replicas: 2}\n"
    assert world.document("deploy", world.spec_file(more), "--yes")["error"]["code"] == "paused"


def test_the_history_of_actors_says_who_did_what_and_why(world: World) -> None:
    """Of one service or of all; without a name the plain history asks for one."""
    world.deploy()
    world.run("pause", "--reason", "incident 42")

    page = world.run("history", "chat", "--actors").stdout
    found = world.document("history", "--actors")["actions"]

    assert "incident 42" in page
    assert [(a["actor"], a["action"]) for a in found] == [("ada", "deploy"), ("ada", "launch"), ("ada", "pause")]
    assert found[1]["cause"] == f"deploy {found[0]['ref']}"
    assert "last 1 of 3" in world.run("history", "--actors", "--limit", "1").stdout
    assert world.run("history").exit_code == ExitStatus.INVALID


def test_pausing_twice_is_pausing_once(world: World) -> None:
    """The older word stays, and so does its reason; what is not paused is resumed without complaint."""
    world.deploy()
    world.run("pause", "chat", "--reason", "first")

    again = world.document("pause", "chat", "--reason", "second")["pause"]

    assert (again["paused"], again["changed"]) == (True, False)
    assert [p["reason"] for p in again["in_force"]] == ["first"]
    assert world.document("resume", "chat")["pause"]["changed"] is True
    assert world.document("resume", "chat")["pause"]["changed"] is False
    assert "no pause of everything" in world.run("resume").stdout


def test_everything_can_be_paused_before_there_is_anything(world: World) -> None:
    """The word holds what is deployed later; resuming one service says what still holds it."""
    assert "everything is paused by ada" in world.run("pause").stdout
    assert world.document("deploy", world.spec_file(), "--yes")["error"]["code"] == "paused"
    assert "everything is paused by ada" in world.run("status").stdout

    world.run("resume")
    world.deploy()
    world.run("pause")
    still = world.run("resume", "chat")

    assert "Still held" in still.stdout
    assert world.document("resume", "chat")["pause"]["paused"] is True
    assert world.document("resume")["pause"] == {"service": None, "paused": False, "changed": True, "in_force": []}


@pytest.mark.parametrize("word", ["pause", "resume"])
def test_a_name_that_is_not_there_is_not_paused(world: World, word: str) -> None:
    """The names that are there are in the answer."""
    world.deploy()

    result = world.run(word, "caht")

    assert result.exit_code == ExitStatus.INVALID
    assert "known: chat" in result.stderr
    assert world.store.pauses(in_force=False) == []


def test_a_rollout_can_be_watched_to_its_end(world: World) -> None:
    """Coming back to a detached deploy ends when every replica serves."""
    world.run("deploy", world.spec_file(), "--yes", "--detach")

    result = world.run("rollout", "status", "chat", "--watch")

    assert result.exit_code == 0
    assert "deploy done" in result.stderr
    assert "Settled." in result.stdout
    assert world.document("rollout", "status", "chat")["rollout"]["settled"] is True


def test_a_rollout_that_failed_before_it_was_watched_says_so(world: World) -> None:
    """A script that comes back late to a detached deploy gets the same status as one that watched it fail."""
    for _ in range(10):
        world.provisioner.fail_next("launch", EngineDied("no such model"))
    world.run("deploy", world.spec_file(), "--yes", "--detach")
    watched = world.run("rollout", "status", "chat", "--watch")
    late = world.run("rollout", "status", "chat", "--watch")

    assert watched.exit_code == late.exit_code != 0
    assert "no such model" in late.stderr


def test_watching_a_rollout_has_an_end(world: World) -> None:
    """Status 6 while a replica is still on its way."""
    world.probe.is_mute = True
    world.run("deploy", world.spec_file(), "--yes", "--detach")

    assert world.run("rollout", "status", "chat", "--watch", "--timeout", "0s").exit_code == 6


def test_a_replica_that_was_lost_is_waited_for_too(world: World) -> None:
    """A replacement is nobody's request; the watch waits for it all the same."""
    world.deploy()
    (replica,) = world.store.replicas("chat")
    world.provisioner.vanish(replica.name)
    world.probe.is_mute = True
    world.probe.silence(replica.endpoint or "")
    while [r.name for r in world.store.replicas("chat")] in ([replica.name], []):
        asyncio.run(world.clock.sleep(1))
    world.probe.is_mute = False

    assert "Not settled" in world.run("rollout", "status", "chat").stdout
    assert world.run("rollout", "status", "chat", "--watch", "--timeout", "0s").exit_code == 6
    assert world.run("rollout", "status", "chat", "--watch").exit_code == 0
    assert [r.state for r in world.store.replicas("chat")] == [ReplicaState.READY]


def test_the_history_of_requests_names_who_asked(world: World) -> None:
    """With the plan's digest and the result."""
    world.deploy()

    result = world.run("rollout", "history", "chat")

    assert "deploy" in result.stdout
    assert "ada" in result.stdout
    assert world.document("rollout", "history", "chat")["operations"][0]["state"] == "done"


# ── operating ────────────────────────────────────────────────────────────────────────────────────────


def test_the_controller_is_started_found_and_stopped(world: World) -> None:
    """Without one, the status is an error that says how to start it."""
    without = world.run("controller", "status")
    started = world.run("controller", "start")
    document = world.document("controller", "status")["controller"]
    stopped = world.run("controller", "stop")

    assert without.exit_code == 4
    assert "greenctl controller start" in without.stderr
    assert "pid 4711" in started.stdout
    assert document["running"] is True
    assert "replicas go on serving" in stopped.stdout
    assert "No controller was running." in world.run("controller", "stop").stdout


def test_a_controller_of_another_host_is_found(world: World) -> None:
    """Where it is, for how long, and that it lives; stopping is for its own host."""
    world.hear_elsewhere()

    status = world.run("controller", "status")
    document = world.document("controller", "status")["controller"]
    stopped = world.run("controller", "stop")

    assert status.exit_code == 0
    assert "runs elsewhere: build2 (/srv/greenctl, pid 12), for 1h 00m" in status.stdout
    assert document["running"] is True
    assert document["elsewhere"]["claimant"]["host"] == "build2"
    assert "No controller was running." in stopped.stdout
    assert "Stop it there" in stopped.stderr
    assert world.document("status")["controller_runs"] is True


def test_a_controller_of_another_host_that_is_silent_is_none(world: World) -> None:
    """It is said when it was heard of last; whoever knows that it is dead can have its turn at once."""
    world.deploy()
    world.run("controller", "stop")
    world.hear_elsewhere(silent_for=HOUR)

    status = world.run("controller", "status")
    there = next(c for c in world.document("doctor")["checks"] if c["name"] == "controller")

    assert status.exit_code == 4
    assert "build2 (/srv/greenctl, pid 12), was heard of 1h 00m ago" in " ".join(status.stderr.split())
    assert "was heard of 1h 00m ago" in " ".join(world.run("status").stdout.split())
    assert (there["outcome"], "was heard of 1h 00m ago" in there["found"]) == ("warning", True)
    world.run("controller", "start", "--take-over")
    assert world.said[-1] == "controller start --take-over"


def test_a_controller_is_looked_for_where_the_database_cannot_be_asked(world: World) -> None:
    """Whether one runs here can be said without it."""
    world.store.fail_next("turn", StoreUnavailable("the database is away"))
    world.store.fail_next("turn", StoreUnavailable("the database is away"))
    status = world.run("controller", "status")
    world.store.fail_next("turn", StoreUnavailable("the database is away"))

    assert status.exit_code == 4
    assert "no controller runs" in status.stderr
    assert "No controller was running." in world.run("controller", "stop").stdout


def test_what_is_asked_for_is_carried_out_where_the_controller_is(world: World) -> None:
    """None is started beside one of another host; deploy, migrate and down follow what that one does."""
    world.hear_elsewhere()

    deployed = world.run("deploy", world.spec_file(), "--yes")
    moved = world.run("migrate", "chat", "--to", "local/de", "--yes")
    doctor = next(c for c in world.document("doctor")["checks"] if c["name"] == "controller")
    ended = world.run("down", "chat", "--yes")

    assert [r.exit_code for r in (deployed, moved, ended)] == [0, 0, 0], deployed.output + moved.output + ended.output
    assert all("carried out by the controller of build2" in r.stderr for r in (deployed, moved, ended))
    assert "the gateway runs beside the controller of build2" in " ".join(deployed.stderr.split())
    assert doctor["outcome"] == "ok"
    assert "build2 (/srv/greenctl, pid 12)" in doctor["found"]
    assert "controller start" not in world.said


def test_the_gateway_is_started_found_and_stopped(world: World) -> None:
    """Its counters are shown while it runs; stopping it under a controller is warned about."""
    assert world.run("gateway", "status").exit_code == 4
    assert "http://127.0.0.1:8080" in world.run("gateway", "start").stdout
    world.deploy()
    assert "accepted" in world.run("gateway", "status").stdout

    stopped = world.run("gateway", "stop")

    assert "will start the gateway again" in stopped.stderr
    assert "has stopped" in stopped.stdout
    assert "No gateway was running." in world.run("gateway", "stop").stdout


def test_a_log_is_shown_line_by_line_and_cannot_move_the_cursor(world: World) -> None:
    """Foreign lines are escaped, in the table of the terminal and in the document."""
    log = world.folder / "state" / "controller.log"
    log.parent.mkdir()
    log.write_bytes(b"one\n\x1b[32mtwo\x1b[0m\x1b[2J\nthree \xff\n")

    result = world.run("controller", "logs", "-n", "2")
    document = world.document("controller", "logs", "-n", "0")["log"]

    assert result.stdout == "two\\x1b[2J\nthree \ufffd\n"
    assert len(document["lines"]) == 3
    assert world.run("controller", "logs", "-f", "--json").exit_code == 2


def test_a_log_that_is_not_there_is_said(world: World) -> None:
    """Before the first start there is none."""
    result = world.run("controller", "logs")

    assert result.exit_code == 4
    assert "controller.log: No such file or directory" in result.stderr
    assert "hint: greenctl controller start" in result.stderr


def test_logs_of_a_replica_name_the_provider_that_has_them(world: World) -> None:
    """A replica elsewhere has no log here."""
    world.deploy()

    result = world.run("logs", "chat")

    assert result.exit_code == 4
    assert "local/se" in result.stderr


def test_config_says_where_each_value_comes_from(world: World) -> None:
    """Environment before file before default; passwords in addresses are hidden."""
    (world.folder / "greenctl.toml").write_text("[gateway]\nreplicas = 1\n")

    document = world.document("config", "show", "--origin", GREENCTL_GATEWAY__PORT="9123")["settings"]

    assert document["gateway.port"] == {"value": 9123, "from": "GREENCTL_GATEWAY__PORT"}
    assert document["gateway.replicas"]["from"] == "greenctl.toml"
    assert document["gateway.host"]["from"] == "default"
    assert "FROM" in world.run("config", "show", "--origin").stdout
    assert "FROM" not in world.run("config", "show").stdout


def test_doctor_is_content_with_a_world_that_works(world: World) -> None:
    """Every line is good, and the status is 0."""
    world.deploy()
    world.run("gateway", "start")

    result = world.run("doctor")

    assert result.exit_code == 0, result.stdout
    assert "All is well." in result.stdout
    assert {c["outcome"] for c in world.document("doctor")["checks"]} <= {"ok", "note"}


def test_doctor_asks_for_what_the_services_go_by(world: World) -> None:
    """Where all of them count direct emissions, nobody needs life-cycle numbers; one zone's error hides no other."""
    direct = Basis(Accounting.AVERAGE, Factors.DIRECT)
    world.carbon._held.clear()
    for zone in ("DE", "SE", "US-MIDA-PJM"):
        world.carbon.hold(zone, 100.0, basis=direct)
    world.deploy(SPEC + "carbon: {factors: direct}\n")
    world.run("gateway", "start")

    found = {c["name"]: c["outcome"] for c in world.document("doctor")["checks"] if c["name"].startswith("signal")}
    assert set(found.values()) == {"ok"}
    assert "signal SE average direct" in found

    world.carbon.fail("nobody answers")
    failed = [c for c in json.loads(world.run("doctor", "--json").stdout)["checks"] if c["name"].startswith("signal")]
    assert {c["outcome"] for c in failed} == {"failed"}
    assert {c["name"] for c in failed} == set(found)


def test_doctor_finds_a_controller_whose_turn_is_over(world: World) -> None:
    """Another one has claimed the database since; and one whose turn the database has never heard of."""
    world.deploy()
    world.store.claim("somebody else", world.clock.now())

    turns = next(c for c in world.document("doctor")["checks"] if c["name"] == "turns")

    assert turns["outcome"] == "failed"
    assert "turn 2 has begun" in turns["found"]
    assert "controller stop" in turns["hint"]


def test_doctor_finds_a_clock_that_was_set_back(world: World) -> None:
    """The history is ahead of the machine; where it is not, nothing is said."""
    world.deploy()
    assert not [c for c in world.document("doctor")["checks"] if c["name"] == "clock steps"]
    late = world.clock.wall() + HOUR
    journal = world.store.claim("one", world.clock.now())
    journal.record_event(EventKind.WARNING, "from the future", service="chat", at=world.clock.now(), wall_at=late)

    steps = next(c for c in world.document("doctor")["checks"] if c["name"] == "clock steps")

    assert steps["outcome"] == "warning"
    assert "set back" in steps["found"]


def test_doctor_compares_the_databases_clock_with_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few seconds are nothing; minutes are told, with the direction."""
    for ahead, outcome, words in ((HOUR / 3600, "ok", "1.0 s ahead"), (-HOUR / 30, "warning", "120.0 s behind")):
        monkeypatch.setattr(world.store, "database_time", lambda a=ahead: world.clock.wall() + a)

        skew = next(c for c in world.document("doctor")["checks"] if c["name"] == "clock skew")

        assert (skew["outcome"], words in skew["found"]) == (outcome, True)


@pytest.mark.parametrize(
    ("skews", "outcome", "words"),
    [
        ((1.0,), "ok", "the clock of host-0 is 1.0 s ahead of ours"),
        ((-120.0,), "warning", "the clock of host-0 is 120.0 s behind ours"),
        ((120.0, -2.0), "ok", "the clock of host-1 is 2.0 s behind ours, of 2 servers the nearest"),
        ((120.0, 121.0), "warning", "the clock of host-0 is 120.0 s ahead of ours, of 2 servers the nearest"),
    ],
)
def test_doctor_compares_our_clock_with_what_signal_servers_said(
    world: World, skews: tuple[float, ...], outcome: str, words: str
) -> None:
    """One server may be wrong; when none of them agrees with us, it is us. What was said days ago does not count."""
    clocks = ServerClocks(world.settings().state_dir / SIGNALS_FILE)
    now, second = world.clock.wall(), HOUR / 3600
    clocks.note(Told("old", now - 48 * HOUR, 0 * second, second))
    assert "server clocks" not in {c["name"] for c in world.document("doctor")["checks"]}
    for number, skew in enumerate(skews):
        clocks.note(Told(f"host-{number}", now, skew * second, second))

    check = next(c for c in world.document("doctor")["checks"] if c["name"] == "server clocks")

    assert (check["outcome"], check["found"]) == (outcome, words)
    assert ("timedatectl" in check["hint"]) == (outcome == "warning")


def test_doctor_says_until_when_each_replica_goes_on(world: World) -> None:
    """Good while more than half of the lease is left, a warning after that, a note where nothing counts it down."""
    world.deploy()

    def lease() -> tuple[str, str]:
        check = next(c for c in world.document("doctor")["checks"] if c["name"] == "lease chat")
        return check["outcome"], check["found"]

    replica = world.store.replicas("chat")[0].name
    journal = world.store.claim("test", world.clock.now())
    journal.renew_lease(replica, world.clock.now() + 23 * HOUR)
    assert lease() == (
        "ok",
        "r0 local/se: ends by itself in 23h 00m unless its lease is renewed or it is used (2023-06-02 11:20 UTC)",
    )
    journal.renew_lease(replica, world.clock.now() + 11 * HOUR)
    assert lease()[0] == "warning"
    journal.renew_lease(replica, world.clock.now() - HOUR)
    assert "its lease was over" in lease()[1]
    world.store._state.leases.clear()
    assert lease() == ("note", "r0 local/se: no lease, nothing ends it by itself")


def test_doctor_names_packages_of_a_wrong_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too old, one that is not there; what an extra needs does not count."""
    needs = ["typer>=9999", "no-such-package>=1", "rich>=1", "another-one>=1; extra == 'dev'"]
    monkeypatch.setattr("orchestrator.cli.soundness.metadata.requires", lambda _name: needs)

    packages = next(c for c in world.document("doctor")["checks"] if c["name"] == "packages")

    assert packages["outcome"] == "warning"
    assert "typer is" in packages["found"]
    assert "no-such-package is not installed" in packages["found"]
    assert "rich" not in packages["found"]
    assert "another-one" not in packages["found"]


def test_doctor_says_what_is_paused(world: World) -> None:
    """As a note, with the way out: it is on purpose."""
    world.deploy()
    world.run("pause", "--reason", "incident 42")

    paused = next(c for c in world.document("doctor")["checks"] if c["name"] == "paused")

    assert (paused["outcome"], paused["hint"]) == ("note", "greenctl resume")
    assert "incident 42" in paused["found"]


def test_doctor_finds_what_nobody_owns(world: World) -> None:
    """An instance with our mark and without a record is the worst finding: status 4, by name."""
    offer = asyncio.run(world.offers.offers(ResourceRequest(), world.clock.now()))[0]
    stray = LaunchRequest("gc-stray", world.store.deployment_uid(), "chat", "i-1", offer, ModelSpec("org/model"))
    asyncio.run(world.provisioner.launch(stray))

    result = world.run("doctor")

    assert result.exit_code == 4
    assert "without a record: gc-stray" in result.stdout


def test_doctor_finds_what_has_vanished(world: World) -> None:
    """A record without an instance is something to look at."""
    world.deploy()
    (replica,) = world.store.replicas("chat")
    world.provisioner.vanish(replica.name)

    checks = {c["name"]: c for c in world.document("doctor")["checks"]}

    assert checks["replicas local"]["outcome"] == "warning"
    assert replica.name in checks["replicas local"]["found"]


def test_doctor_goes_on_after_a_failure(world: World) -> None:
    """A missing engine, a mute source and an old number are findings beside each other."""
    world.vllm_is_here = False
    world.carbon.gap("DE", "the feed is down")
    world.pass_time(5 * HOUR)

    result = world.run("doctor")

    assert result.exit_code == 4
    assert "✗  engine vllm" in result.stdout
    assert "✗  signal DE" in result.stdout
    assert "the feed is down" in result.stdout
    assert "✓  database" in result.stdout


def test_doctor_without_a_database_says_what_it_did_not_look_at(world: World) -> None:
    """The cause stands first; the rest is not guessed."""
    for _ in range(5):
        world.store.fail_next("deployment_uid", StoreUnavailable("the database is locked"))

    result = world.run("doctor")

    assert result.exit_code == 4
    assert "the database is locked" in result.stdout
    assert "not looked at" in result.stdout


# ── on a terminal ────────────────────────────────────────────────────────────────────────────────────


def test_on_a_terminal_the_progress_is_redrawn(world: World) -> None:
    """The picture replaces itself, ends with every replica ready, and gives the cursor back."""
    result = world.run("deploy", world.spec_file(), "--yes", FORCE_COLOR="1")

    last = result.stderr.rpartition("\x1b[2K")[2]
    assert result.exit_code == 0
    assert "pending ▸ provisioning ▸ starting ▸" in last
    assert "deploy done" in last
    assert result.stderr.rstrip().endswith("\x1b[?25h")


def test_a_status_can_be_watched_until_it_is_interrupted(world: World) -> None:
    """It is redrawn every two seconds; Ctrl-C ends it with status 130. Without a terminal it is refused."""
    world.deploy()
    looks = iter(range(3))

    async def look() -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    world.clock.while_asleep = look
    result = world.run("status", "--watch", FORCE_COLOR="1")

    assert result.exit_code == 130
    assert result.stdout.count("SERVICE") >= 4
    assert world.run("status", "--watch").exit_code == 2
    assert world.run("status", "--watch", "--json", FORCE_COLOR="1").exit_code == 2


def test_no_color_means_no_escape_sequence_at_all(world: World) -> None:
    """The flag and NO_COLOR keep results plain, even where colours are forced."""
    world.deploy()

    assert "\x1b[3" in world.run("status", FORCE_COLOR="1", NO_COLOR="").stdout
    assert "\x1b" not in world.run("status", "--no-color", FORCE_COLOR="1", NO_COLOR="").stdout
    assert "\x1b[3" not in world.run("status", FORCE_COLOR="1").stdout


# ── every command ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["status", "history chat", "down chat", "rollout pause chat", "logs chat"])
def test_a_dead_database_is_the_same_error_everywhere(world: World, command: str) -> None:
    """Status 4 and what to check, never a traceback."""
    for method in ("services", "service"):
        world.store.fail_next(method, StoreUnavailable("the database cannot be read"))

    result = world.run(*command.split())

    assert result.exit_code == 4
    assert result.stderr.startswith("error[store_unavailable]: the database cannot be read\nhint: ")


def test_pages_fit_a_terminal_of_eighty_columns(world: World) -> None:
    """What real commands print fits, lines to copy excepted."""
    world.deploy(SPEC)

    for words in (("status", "chat"), ("explain", "chat"), ("history", "chat"), ("carbon",), ("doctor",)):
        lines = world.run(*words, COLUMNS="80").stdout.splitlines()
        assert [text for text in lines if cell_len(text) > 80] == [], words


def test_advise_answers_with_the_numbers_behind_it(world: World) -> None:
    """The answer, the best move with its break-even and hindsight, what limits cost, what would change it."""
    world.deploy()
    page = world.run("advise", "chat")
    assert page.exit_code == 0, page.output
    document = world.document("advise", "chat")["advice"]

    assert document["answer"] in {"stay", "move_now", "change_the_constraint"}
    assert document["because"].split("(")[0] in page.stdout
    replica = document["best"]["comparison"]["replica"]
    assert replica in document["because"]
    assert replica not in page.stdout, "people read short names"
    assert "What would change it" in page.stdout or "No price and no grid" in page.stdout
    assert {"comparison", "carbon_hours", "money_hours", "usd_per_tonne", "hindsight"} <= set(document["best"])


def test_what_would_change_a_decision_stands_alone(world: World) -> None:
    """It is about now; an old decision or another question beside it is a usage error."""
    world.deploy()
    assert "flips" in world.document("explain", "chat", "--what-would-change")
    refused = world.run("explain", "chat", "--what-would-change", "--all")
    assert refused.exit_code == ExitStatus.INVALID


def test_advice_about_nothing_is_refused(world: World) -> None:
    """By the name that is not known."""
    assert "nobody" in world.run("advise", "nobody").stderr
