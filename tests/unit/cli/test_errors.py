"""Errors become words, documents and exit statuses in one place."""

import json
from collections.abc import Iterator

import pytest

from orchestrator import errors
from orchestrator.errors import ExitStatus, GreenctlError, InvalidSpec, Problem, StoreUnavailable
from tests.unit.cli.samples import HOSTILE
from tests.unit.cli.world import World


def all_errors(base: type[GreenctlError] = GreenctlError) -> Iterator[type[GreenctlError]]:
    """The whole tree."""
    yield base
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from all_errors(child)


ERRORS = tuple(all_errors())


def raised(kind: type[GreenctlError], words: str = "what happened") -> GreenctlError:
    """One error of that class."""
    if kind is InvalidSpec:
        return InvalidSpec("service.yaml", (Problem("name", words, 1, 1, "chat"),))
    return kind(words)


@pytest.mark.parametrize("kind", ERRORS, ids=[e.code for e in ERRORS])
def test_each_error_has_its_code_its_hint_and_its_exit_status(world: World, kind: type[GreenctlError]) -> None:
    """The status is the error's own; what happened and what to try next stand on stderr, nothing on stdout."""
    error = raised(kind)
    world.store.fail_next("services", error)

    result = world.run("status")

    assert result.exit_code == kind.exit_status
    assert result.stdout == ""
    first, *_, last = result.stderr.splitlines()
    assert first == f"error[{kind.code}]: {error.message}"
    assert last == f"hint: {error.hint()}"
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("kind", ERRORS, ids=[e.code for e in ERRORS])
def test_with_json_an_error_is_the_one_document(world: World, kind: type[GreenctlError]) -> None:
    """Scripts read the code and the hint; people still read stderr."""
    world.store.fail_next("services", raised(kind))

    result = world.run("status", "--json")

    document = json.loads(result.stdout)
    assert document["format_version"] == 1
    assert document["error"]["code"] == kind.code
    assert document["error"]["exit_status"] == result.exit_code == kind.exit_status
    assert document["error"]["hint"] == raised(kind).hint()
    assert f"error[{kind.code}]" in result.stderr


def test_exit_statuses_never_change_their_meaning() -> None:
    """They are part of the contract with scripts."""
    assert {s.name: int(s) for s in ExitStatus} == {
        "DONE": 0,
        "UNEXPECTED": 1,
        "INVALID": 2,
        "REFUSED": 3,
        "PROVIDER": 4,
        "SIGNALS": 5,
        "TIMED_OUT": 6,
        "OUT_OF_DATE": 7,
        "DECLINED": 8,
        "CHANGES_PENDING": 10,
        "INTERRUPTED": 130,
    }


def test_what_nobody_expected_is_a_sentence_and_status_1(world: World) -> None:
    """A bug of ours does not throw a traceback at people; --debug does, on request."""
    world.store.fail_next("services", ZeroDivisionError("division by zero"))
    plain = world.run("status")
    world.store.fail_next("services", ZeroDivisionError("division by zero"))
    debugged = world.run("status", "--debug")

    assert plain.exit_code == debugged.exit_code == 1
    assert plain.stderr.splitlines()[0] == "error[internal_error]: ZeroDivisionError: division by zero"
    assert "Traceback" not in plain.stderr
    assert "--debug" in plain.stderr
    assert "Traceback (most recent call last):" in debugged.stderr


def test_the_cause_is_told_to_those_who_ask(world: World) -> None:
    """With -v the error behind the error has its line."""
    error = StoreUnavailable("the database cannot be read")
    error.__cause__ = OSError("No space left on device")
    world.store.fail_next("services", error)

    assert "because of OSError: No space left on device" in world.run("status", "-v").stderr


@pytest.mark.parametrize("flags", [(), ("--json",), ("--debug",), ("-v",)], ids=["plain", "json", "debug", "verbose"])
def test_an_error_s_text_cannot_move_the_cursor_or_forge_a_line(world: World, flags: tuple[str, ...]) -> None:
    """Errors quote engines and files: all of it is escaped, on both streams."""
    error = StoreUnavailable(HOSTILE)
    error.__cause__ = OSError(HOSTILE)
    world.store.fail_next("services", error)

    result = world.run("status", *flags)

    assert all(c == "\n" or c.isprintable() for c in result.output)
    assert result.stderr.count("\nerror[") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plna", "x"), "No such command 'plna'. Did you mean 'plan'"),
        (("plan",), "Missing argument 'SPEC'"),
        (("plan", "x", "--frobnicate"), "No such option: --frobnicate"),
        (("plan", "x", "--offers", "many"), "Invalid value for '--offers'"),
        (("deploy", "x", "--timeout", "soon"), "'soon' is not a length of time: write 90s, 15m or 2h"),
        (("carbon", "--hours", "0"), "greater than or equal to 1"),
        (("rollout", "stauts"), "No such command 'stauts'"),
        (("status", "a", "b"), "Got unexpected extra argument(s) (b)"),
    ],
    ids=["command", "argument", "option", "number", "length", "range", "subcommand", "extra"],
)
def test_wrong_words_are_usage_errors_that_name_the_help(world: World, words: tuple[str, ...], said: str) -> None:
    """Status 2, what was wrong, and which --help to read; as a document, too."""
    result = world.run(*words)
    document = json.loads(world.run(*words, "--json").stdout)

    assert result.exit_code == 2
    assert said.lower() in result.stderr.lower()
    assert "--help" in result.stderr
    assert document["error"]["code"] == "usage"


def test_words_that_are_hostile_are_quoted_harmlessly(world: World) -> None:
    """A command name from a script may hold anything."""
    result = world.run(HOSTILE)

    assert result.exit_code == 2
    assert all(c == "\n" or c.isprintable() for c in result.output)


def test_a_flag_of_ours_may_stand_anywhere(world: World) -> None:
    """Before the command and behind it, --json means the same; behind "--" it is just a word."""
    assert json.loads(world.run("--json", "status").stdout)["services"] == []
    assert json.loads(world.run("status", "--json").stdout)["services"] == []
    assert world.run("status", "--", "--json").stderr.startswith("error[unknown_service]: no service '--json'")
