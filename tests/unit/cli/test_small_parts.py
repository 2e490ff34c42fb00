"""The parts that have a file of their own: remembered plans, origins of settings, log files, lengths, the endpoint."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import typer
from rich.console import Console

from orchestrator.cli import log_file, plan_memory
from orchestrator.cli.endpoint import Endpoint
from orchestrator.cli.frame import _without_file
from orchestrator.cli.origins import database_shown, hide_password, setting_lines
from orchestrator.cli.outside import Outside
from orchestrator.cli.parameters import parse_length
from orchestrator.cli.render.numbers import Marks
from orchestrator.cli.render.offers import offers_table
from orchestrator.cli.session import Session
from orchestrator.domain.decision import Verdict
from orchestrator.domain.plan import Plan
from orchestrator.errors import InvalidSettings, ProviderError
from orchestrator.settings import GatewaySettings, Settings, load_settings
from tests.unit.cli.samples import PLAN, assessment
from tests.unit.cli.world import World

needs_a_full_file = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no file that is always full"
)

# ── remembered plans ─────────────────────────────────────────────────────────────────────────────────


def test_a_plan_is_recalled_by_its_digest(tmp_path: Path) -> None:
    """What was shown can be set beside what would be done now."""
    plan_memory.remember(tmp_path, PLAN)

    assert plan_memory.recall(tmp_path, PLAN.digest) == PLAN
    assert plan_memory.recall(tmp_path, "0" * 12) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"service": 1}', "\x00"])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: str) -> None:
    """It is a cache: whatever is wrong with it, there is just nothing to compare."""
    plan_memory.remember(tmp_path, PLAN)
    (tmp_path / "plans" / f"{PLAN.digest}.json").write_text(content)

    assert plan_memory.recall(tmp_path, PLAN.digest) is None


def test_a_memory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """A plan is shown all the same."""
    (tmp_path / "plans").write_text("a file where the folder should be")

    plan_memory.remember(tmp_path, PLAN)

    assert plan_memory.recall(tmp_path, PLAN.digest) is None


def test_only_the_latest_plans_are_kept(tmp_path: Path) -> None:
    """The oldest go first, so the folder does not grow for ever."""
    for number in range(plan_memory.KEPT + 3):
        one = replace(PLAN, spec_digest=f"spec-{number}")
        plan_memory.remember(tmp_path, one)
        os.utime(tmp_path / "plans" / f"{one.digest}.json", (number, number))

    assert len(list((tmp_path / "plans").iterdir())) == plan_memory.KEPT
    assert plan_memory.recall(tmp_path, replace(PLAN, spec_digest="spec-0").digest) is None


def test_what_a_digest_binds_is_what_is_compared() -> None:
    """Every difference between two digests is named: service, file, place, price, replica."""
    launch = PLAN.actions[0]

    def changed(**fields: object) -> Plan:
        return replace(PLAN, actions=(replace(launch, **fields), *PLAN.actions[1:]))  # type: ignore[arg-type]

    for other in (
        replace(PLAN, service="other"),
        replace(PLAN, spec_digest="other"),
        replace(PLAN, actions=PLAN.actions[1:]),
        changed(offer_id="local/de:1xL4:spot"),
        changed(usd_per_hour=0.28),
        changed(usd_per_hour=None),
        changed(slot=7),
    ):
        assert other.digest != PLAN.digest
        assert plan_memory.differences(PLAN, other)
    assert plan_memory.differences(PLAN, replace(PLAN, keep=())) == []


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────


def test_each_setting_knows_where_it_comes_from(tmp_path: Path) -> None:
    """The environment in any case, then the stronger file, then the weaker, then the default."""
    project, user = tmp_path / "greenctl.toml", tmp_path / "config.toml"
    project.write_text("[gateway]\nport = 1\n")
    user.write_text("[gateway]\nport = 2\nhost = '::1'\n")
    lines = setting_lines(
        Settings(gateway=GatewaySettings(port=9000)),
        {"greenctl.toml": project, "the user's": user, "missing": tmp_path / "none.toml"},
        {"greenctl_gateway__mode": "plain", "PATH": "/bin"},
    )
    origins = {one.name: one.origin for one in lines}

    assert origins["gateway.mode"] == "greenctl_gateway__mode"
    assert origins["gateway.port"] == "greenctl.toml"
    assert origins["gateway.host"] == "the user's"
    assert origins["gateway.replicas"] == "default"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ada:s3cret@db.example:5432/green", "postgresql://ada:***@db.example:5432/green"),
        ("postgresql://:s3cret@db/green", "postgresql://:***@db/green"),
        ("postgresql://ada@db/green", "postgresql://ada@db/green"),
        (
            "postgresql://ada@db/green?sslmode=require&password=s3cret&sslpassword=t0psecret",
            "postgresql://ada@db/green?sslmode=require&password=***&sslpassword=***",
        ),
        ("postgresql://ada:s3cret@db/green?password=other", "postgresql://ada:***@db/green?password=***"),
        ("sqlite:////var/lib/greenctl.db", "sqlite:////var/lib/greenctl.db"),
        ("postgresql://ada:s3cret@[db/green", "***"),
    ],
)
def test_the_password_of_an_address_is_never_shown(address: str, shown: str) -> None:
    """An address that cannot be read is hidden whole."""
    assert hide_password(address) == shown
    lines = setting_lines(Settings(database_url=address), {}, {})
    assert {one.name: one.value for one in lines}["database_url"] == shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ada:s3#cret@db/green", "postgresql://ada:***@db/green"),
        ("postgresql://ada:s3/cret@db:5432/green", "postgresql://ada:***@db:5432/green"),
        ("postgresql://ada:s3?cret@db/green", "postgresql://ada:***@db/green"),
        ("postgresql://ada:s3@5/cret@db/green", "***"),
        ("sqlite:////home/ada@work/greenctl.db", "sqlite:////home/ada@work/greenctl.db"),
    ],
)
def test_a_password_of_any_signs_is_never_shown(address: str, shown: str) -> None:
    """What ends the host of another address may stand in a database's password."""
    lines = setting_lines(Settings(database_url=address), {}, {})
    assert {one.name: one.value for one in lines}["database_url"] == shown
    assert database_shown(address) == shown
    assert "cret" not in hide_password(address)


def test_a_key_beside_a_misspelt_name_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the error nor its cause, which --verbose prints, repeats what was typed."""
    monkeypatch.setenv("GREENCTL_SIGNALS__ELECTRICITY_MAPS__KYE", "s3cret")
    with pytest.raises(InvalidSettings, match=r"electricity_maps\.kye") as caught:
        load_settings()
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"


def test_debugging_repeats_no_query() -> None:
    """Some APIs want their key in the query, and the libraries below us write down each of theirs."""
    loud = ("urllib3.connectionpool", "botocore.endpoint")
    before = structlog.get_config()
    try:
        Outside().configure_logs(verbose=True, debug=True)
        assert not any(logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in loud)
    finally:
        structlog.configure(**before)


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_a_log_is_read_without_reading_all_of_it(tmp_path: Path) -> None:
    """The last lines are the last lines, across blocks, with or without a final line end."""
    log = tmp_path / "engine.log"
    lines = [f"line {number} " + "x" * 100 for number in range(3000)]
    for text in ("\n".join(lines), "\n".join(lines) + "\n"):
        log.write_text(text)

        assert log_file.last_lines(log, 1, hint="") == lines[-1:]
        assert log_file.last_lines(log, 1500, hint="") == lines[-1500:]
        assert log_file.last_lines(log, 0, hint="") == lines
        assert log_file.last_lines(log, 9999, hint="") == lines


def test_a_log_that_is_not_there_has_a_hint(tmp_path: Path) -> None:
    """The caller knows when there will be one."""
    with pytest.raises(ProviderError) as caught:
        log_file.last_lines(tmp_path / "none.log", 5, hint="Start it.")

    assert caught.value.hint() == "Start it."


def test_a_followed_log_gives_whole_lines_as_they_come(tmp_path: Path) -> None:
    """What was there before is not repeated, and half a line waits for its other half."""
    log = tmp_path / "engine.log"
    log.write_text("old\n")
    lines = log_file.follow(log)

    with log.open("a") as file:
        file.write("one\ntw")
        file.flush()
        first = next(lines)
        file.write("o\n")
        file.flush()
        second = next(lines)

    assert (first, second) == ("one", "two")
    lines.close()  # type: ignore[attr-defined]


def test_nothing_is_lost_between_the_end_of_a_log_and_what_follows(tmp_path: Path) -> None:
    """What is written after the end was read comes first of what is added, also into a new file."""
    log = tmp_path / "engine.log"
    log.write_text("one\ntwo\nthree\n")
    found, more = log_file.last_lines_and_more(log, 2, hint="")
    with log.open("a") as file:
        file.write("four\n")
    log.rename(tmp_path / "engine.log.1")
    log.write_text("five\n")

    assert (found, next(more), next(more)) == (["two", "three"], "four", "five")


def test_a_log_that_is_emptied_is_followed_on(tmp_path: Path) -> None:
    """A keeper empties an engine's log at its largest size; what is written after that is shown."""
    log = tmp_path / "engine.log"
    log.write_text("old\n" * 1000)
    lines = log_file.follow(log)

    with log.open("a") as file:
        file.write("before\n")
        file.flush()
        first = next(lines)
        os.truncate(log, 0)
        file.write("after\n")
        file.flush()
        second = next(lines)

    assert (first, second) == ("before", "after")
    lines.close()  # type: ignore[attr-defined]


def test_a_log_that_begins_anew_under_its_name_is_followed_on(tmp_path: Path) -> None:
    """A gateway's log is put aside at its largest size: the end of the old one is shown, then the new one."""
    log = tmp_path / "gateway.log"
    log.write_text("old\n")
    lines = log_file.follow(log)

    with log.open("a") as file:
        file.write("first\n")
        file.flush()
        seen = [next(lines)]
        file.write("last\n")
    log.replace(log.with_suffix(".log.1"))
    log.write_text("new\n")
    seen += [next(lines), next(lines)]

    assert seen == ["first", "last", "new"]
    lines.close()  # type: ignore[attr-defined]


# ── lengths, endpoint, session ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("250ms", 0.25), ("1.5h", 5400)]
)
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    """The units of the service file, on the command line."""
    assert parse_length(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "90", "s", "-5s", "1h30m", "1e9d", "9" * 30 + "d", "∞"])
def test_what_is_no_length_is_refused(text: str) -> None:
    """With the words that would be right."""
    with pytest.raises(typer.BadParameter):
        parse_length(text)


def test_the_first_request_survives_any_path() -> None:
    """Quotes and blanks in the key's path are the shell's data, not its code."""
    curl = Endpoint("http://127.0.0.1:8080", "chat", Path("/home/o'neil/$(reboot)/key")).curl()

    assert "$(cat '/home/o'\"'\"'neil/$(reboot)/key')" in curl
    assert Endpoint("http://127.0.0.1:8080", "chat", None).curl().count("authorization") == 0


def test_a_document_is_ascii_and_has_no_infinities(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """No byte of a document can move a cursor; what JSON cannot say is an error of ours, not a broken document."""
    session = Session(world)
    session.as_json = True
    session.emit(value="\x7f\x9b2J\u202e–")

    shown = capsys.readouterr().out
    assert shown.isascii()
    assert all(c == "\n" or c.isprintable() for c in shown)
    with pytest.raises(ValueError, match="Out of range"):
        session.write_document({"value": float("inf")})


def test_a_flag_that_does_not_exist_cannot_be_raised(world: World) -> None:
    """A misspelt flag is found where it is written."""
    with pytest.raises(ValueError, match="colour"):
        Session(world).raise_flag("colour")


class TestDocumentsInFiles:
    """``--json`` may name a file where a bench says so."""

    @pytest.mark.parametrize(
        ("words", "kept", "file"),
        [
            (["a", "--json", "out.json", "-q"], ["a", "-q"], "out.json"),
            (["--json=out.json", "a"], ["a"], "out.json"),
            (["a", "--json"], ["a", "--json"], None),
            (["--json", "-q", "a"], ["--json", "-q", "a"], None),
            (["a", "--", "--json", "out.json"], ["a", "--", "--json", "out.json"], None),
            (["--json", "./mine.yaml"], ["--json", "./mine.yaml"], None),
            (["--json=rows.txt", "a"], ["a"], "rows.txt"),
        ],
        ids=[
            "a word",
            "with a sign",
            "at the end",
            "a flag follows",
            "after the end of options",
            "what is to be read",
            "any name with a sign",
        ],
    )
    def test_the_file_is_taken_out_of_the_words(self, words: list[str], kept: list[str], file: str | None) -> None:
        """A word that ends in .json behind it is the file; any other word, a flag, or nothing: standard output."""
        assert _without_file(words) == (kept, file)

    def test_the_document_goes_there_and_the_page_stays(self, tmp_path: Path) -> None:
        """Both are wanted: the table for the person, the file for the program."""
        session = Session()
        session.write_json_to(str(tmp_path / "out.json"))
        session.emit(rows=[1, 2])
        assert not session.as_json
        assert json.loads((tmp_path / "out.json").read_text()) == {"format_version": 1, "rows": [1, 2]}

    @pytest.mark.parametrize("option", ["--json", "--html"])
    @pytest.mark.parametrize(
        ("place", "reason"),
        [("no/out.json", "No such file"), (".", "Is a directory"), ("a-file/out.json", "Not a directory")],
    )
    def test_a_place_that_cannot_be_written_is_named_before_the_work(
        self, world: World, option: str, place: str, reason: str
    ) -> None:
        """With the reason of the system, and before anything is read: a simulation may take an hour."""
        (world.folder / "a-file").touch()
        words = ("simulate", "not-read.yaml", "--from", "2023-01-01", "--to", "2023-01-02")

        result = world.run(*words, f"{option}={world.folder / place}")

        assert result.exit_code == 2
        assert f"{option} {world.folder / place}: {reason}" in result.stderr

    @needs_a_full_file
    def test_what_was_found_is_shown_where_its_document_has_no_room(self, world: World) -> None:
        """The page is all that is left of the work; the exit status says that the file is not there."""
        result = world.run("policy", "show", "--json=/dev/full")

        assert result.exit_code == 4
        assert result.stdout == world.run("policy", "show").stdout
        assert "error[disk_full]: --json /dev/full: No space left on device" in result.stderr

    def test_words_that_are_being_completed_are_not_refused(self, world: World) -> None:
        """A shell asks what could follow; the file may not be there yet."""
        result = world.run(
            _GREENCTL_COMPLETE="complete_bash",
            COMP_WORDS="greenctl simulate --json=no/out.json --tr",
            COMP_CWORD="3",
        )

        assert "--traffic" in result.stdout


def on_a_full_disk(words: str, *, unbuffered: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command line whose standard output has no room."""
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [sys.executable, *(["-u"] if unbuffered else []), "-m", "orchestrator", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200"},
        )


@needs_a_full_file
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", ["version --json", "version", "policy show", "--help"])
def test_a_full_disk_under_standard_output_is_said_in_a_sentence(words: str, unbuffered: bool) -> None:
    """And nothing is to be reported: what is missing is room."""
    done = on_a_full_disk(words, unbuffered=unbuffered)

    assert done.returncode == 4
    assert done.stderr.startswith("error[disk_full]: ")
    assert done.stderr.splitlines()[0].endswith(" be written: No space left on device")
    assert len(done.stderr.splitlines()) == 2, done.stderr


@needs_a_full_file
def test_an_error_stays_that_error_where_its_document_has_no_room() -> None:
    """The status is the one of the error, and its words are there."""
    done = on_a_full_disk("nonsense --json")

    assert done.returncode == 2
    assert done.stderr.startswith("error[usage]: No such command 'nonsense'")
    assert "Traceback" not in done.stderr


# ── offers ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_hole_in_the_coming_hours_is_named_below_the_offers() -> None:
    """Once for each zone, however many offers it has; nothing where all hours are known."""
    hole = Verdict("policy.horizon", passed=True, text="coming hours known for 9 of 24", value=9.0, unit="h")
    known = assessment("gcp/europe-west1", "BE", 129.0, 0.25)
    dark = [assessment(region, "SE", 19.0, 0.27, verdicts=(hole,)) for region in ("aws/eu-north-1", "gcp/eu-north1")]
    console = Console(width=160)
    with console.capture() as said:
        console.print(offers_table([known, *dark], Marks(), width=160))
    assert said.get().count("SE: coming hours known for 9 of 24.") == 1
    with console.capture() as said:
        console.print(offers_table([known], Marks(), width=160))
    assert "coming hours known" not in said.get()
