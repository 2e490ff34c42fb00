"""What is shown of a dead engine's log."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.provisioners.last_words import MAX_CHARACTERS, describe_end, last_words, presentable

KEY = "0123456789abcdef" * 4


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give a place for a log."""
    return tmp_path / "engine.log"


def test_the_root_cause_comes_before_its_consequence(log: Path) -> None:
    """Of a chain of errors the first and the last are told; repetition is not."""
    log.write_text(
        "INFO loading\n"
        "ValueError: max_model_len is too large\n"
        '  File "x.py", line 3\n'
        "RuntimeError: worker failed\n"
        "RuntimeError: engine core failed\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
        "INFO bye\n",
        encoding="utf-8",
    )

    assert last_words(log) == (
        "ValueError: max_model_len is too large | RuntimeError: worker failed"
        " | RuntimeError: Engine core initialization failed. See root cause above."
    )


def test_a_message_that_goes_on_in_the_next_line_is_told_whole(log: Path) -> None:
    """Validation errors explain themselves one line further down; warnings that quote an error are no cause."""
    log.write_text(
        "WARNING limits could cause OSError: too many open files\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in y\n'
        "ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, max_model_len (1000000) is too large\n"
        "    For further information ...\n"
        "OSError: gone\n"
        '  File "z.py", line 2\n',
        encoding="utf-8",
    )

    assert last_words(log) == (
        "ValidationError: 1 validation error for ModelConfig Value error, max_model_len (1000000) is too large"
        " | OSError: gone"
    )


def test_without_a_cause_the_last_line_is_told(log: Path) -> None:
    """Something is better than nothing."""
    log.write_text("starting\nloading weights\n\n", encoding="utf-8")

    assert describe_end(3, log) == "exit status 3: loading weights"


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (-9, "killed by SIGKILL"), (-64, "killed by SIGRTMAX"), (-99, "killed by signal 99")],
)
def test_the_end_is_told_without_a_log(log: Path, status: int, words: str) -> None:
    """A missing log leaves the status."""
    assert describe_end(status, log) == words


def test_an_end_that_nobody_saw_is_told_as_such(log: Path) -> None:
    """Unknown is not zero."""
    assert describe_end(None, log).startswith("ended unseen")


@pytest.mark.parametrize(
    "line",
    [
        f"ValueError: bad key {KEY}",
        f"Error: Authorization: Bearer {KEY}",
        "error: api_key=['sk-verysecretvalue']",
        "error: token: hf_abcdefghijklmnop",
        "OSError: HF_TOKEN='hf_abcdefghijklmnop' refused",
        "error: password=hunter2hunter2",
        "error: AWS_SECRET_ACCESS_KEY=abcdefghijklmnop",
        "error: DB_PASSWORD: 'hunter2hunter2'",
        "error: OPENAI_API_KEY = abcdefghijklmnop",
        "error: postgresql://app:hunter2hunter2@db.example/greenctl",
        "error: {'wandb_token': 'abcdefghijklmnop'}",
        "error: unrecognized arguments: --api-key hunter2hunter2 --hf-token abcdefghijklmnop",
    ],
)
def test_secrets_are_masked(log: Path, line: str) -> None:
    """Neither the engine's own key nor anything that looks like a key is shown."""
    log.write_text(line + "\n", encoding="utf-8")
    words = describe_end(1, log, [KEY])

    assert "***" in words
    for secret in (KEY, "verysecret", "abcdefgh", "hunter2"):
        assert secret not in words


@pytest.mark.parametrize(
    "line",
    [
        "error: max_tokens: 40960",
        "error: tokenizer=Qwen/Qwen3",
        "error: token_ids: 17011",
        "error at http://h:80/a",
        "error: --tokenizer Qwen/Qwen3 and --api-key --port 80",
    ],
)
def test_counts_and_names_are_no_secrets(log: Path, line: str) -> None:
    """What explains an error stays readable."""
    log.write_text(line + "\n", encoding="utf-8")

    assert describe_end(1, log) == f"exit status 1: {line}"


def test_masking_takes_no_longer_than_reading(log: Path) -> None:
    """A line made to be slow to search: the pattern looks at a bounded stretch from each place."""
    log.write_text("Error: " + "token" * 12_000 + "\n", encoding="utf-8")

    assert last_words(log).startswith("Error: tokentoken")


def test_terminal_sequences_do_not_reach_the_terminal(log: Path) -> None:
    """Colours and titles are dropped, every other control character is written out."""
    log.write_text("\x1b[31mError: red\x1b[0m \x1b]0;owned\x07 \x08 \u202e right to left\n", encoding="utf-8")

    assert last_words(log) == r"Error: red  \x08 \u202e right to left"


@given(st.text())
def test_whatever_was_logged_becomes_printable(line: str) -> None:
    """No control character survives, and no line break."""
    assert presentable(line).isprintable()


def test_a_huge_log_is_read_from_its_end(log: Path) -> None:
    """Only the tail counts, and the answer is short."""
    log.write_bytes(b"Error: old\n" + b"x" * 300_000 + b"\nError: new" + b"!" * 5000 + b"\n")
    words = last_words(log)

    assert words.startswith("Error: new")
    assert len(words) == MAX_CHARACTERS
