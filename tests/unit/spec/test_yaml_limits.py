"""Hostile YAML is refused in words, at once and in little memory."""

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from orchestrator.errors import InvalidSpec
from orchestrator.spec.files import read_text
from orchestrator.spec.yaml_tree import Document, read

MAX_CALLS = 1_500_000
"""About a tenth of a second of one core of the 2020s; the worst document here makes 860,000."""

MAX_MEMORY = 50 * 2**20


def problem(text: str) -> str:
    """The only problem of a text that cannot be read."""
    with pytest.raises(InvalidSpec) as caught:
        read(text, "f.yaml")
    assert len(caught.value.problems) == 1
    return caught.value.problems[0].message


def notes(document: Document) -> list[str]:
    """What is wrong with a text that can be read."""
    return [p.message for p in document.problems]


def lists_of_the_one_before(levels: int, width: int) -> str:
    """Billion laughs: each line names the one before several times."""
    lines = ["a0: &a0 [lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def blocks_of_the_one_before(levels: int) -> str:
    """The same with merge keys."""
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(400)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: *a{n - 1}, n{n}: *a{n - 1}}}" for n in range(1, levels)]
    return "\n".join(lines)


BOMBS = {
    "billion-laughs": (lists_of_the_one_before(9, 9), "aliases"),
    "few-aliases-that-double": ("a: &a0 [" + "x, " * 300 + "x]\n" + lists_of_the_one_before(10, 2), "values"),
    "long-text-many-times": ("a: &a " + "x" * 30_000 + "\nb: [" + ", ".join(["*a"] * 19) + "]", "KiB"),
    "merge-keys-that-double": (blocks_of_the_one_before(10), "values"),
    "many-merge-keys": ("a: &a {x: 1}\nb: {" + "<<: {y: 1}, " * 30 + "}", "merge keys"),
    "many-aliases": ("a: &a 1\nb: [" + "*a," * 5000 + "]", "aliases"),
    "deep-lists": ("[" * 100_000, "deep"),
    "deep-blocks": ("{a: " * 8000, "deep"),
    "deep-mixture": ("[1,{a: " * 4000, "deep"),
    "deep-dashes": ("- " * 8000, "deep"),
    "deep-indentation": ("\n".join(" " * n + "a:" for n in range(500)), "deep"),
    "too-long": ("a: b\n" * 60_000, "larger than 256 KiB"),
    "many-lines": ("#\n" * 100_000, "10000 lines"),
    "long-line": ("a: " + "b " * 20_000, "line of more than"),
    "many-values": ("\n".join(f"k{n}: 1" for n in range(9000)), "3000 values"),
    "itself": ("a: &a [*a]", "inside what it names"),
}


def _calls_of(work: Callable[[], object]) -> int:
    """Count the function calls that some work makes."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(("text", "word"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_fast_and_small(text: str, word: str) -> None:
    """A bomb never costs more than a bounded number of calls nor 50 MB; counted, not timed, so it holds anywhere."""
    assert word in problem(text)

    calls = _calls_of(lambda: problem(text))
    tracemalloc.start()
    try:
        problem(text)
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert calls < MAX_CALLS
    assert memory < MAX_MEMORY


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("\n\n# only a comment\n", "empty"),
        ("---\n...\n", "empty"),
        ("~", "empty"),
        ("just text", "top level"),
        ("[a, list]", "top level"),
        ("a: !!python/object/apply:os.system [id]", "tags"),
        ("a: !include /etc/passwd", "tags"),
        ("!!map {a: 1}", "tags"),
        ("%YAML 1.1\n---\na: 1", "directives"),
        ("%TAG ! tag:x,2000:\n---\na: 1", "directives"),
        ("a: *nothing", "names nothing"),
        ("a: 'open", "not YAML"),
        ("a: [1", "not YAML"),
        ("a: b: c", "not YAML"),
        ("a:\n\t- b", "tab"),
        ('a: "\\U00110000"', "not YAML"),
        ("a: \x07", "U+0007"),
        ("a: \x00", "U+0000"),
        ("a: \ufffe", "U+FFFE"),
        ("a: \ud800", "U+D800"),
    ],
)
def test_what_is_not_a_file_of_ours_is_refused_in_words(text: str, word: str) -> None:
    """Each way of not being a single plain document has a sentence of its own."""
    assert word in problem(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1\na: 2", "twice"),
        ("a: {b: 1, b: 2}", "twice"),
        ("a: 1\n---\nb: 2", "second document"),
        ("1: one", "not text"),
        ("true: yes", "not text"),
        ("null: x", "not text"),
        ("[a]: x", "not a list"),
        ('"a\\nb": x', "one line"),
        ('"a\\eb": x', "U+001B"),
        ("a: .nan", "not a finite"),
        ("a: -.INF", "not a finite"),
        ("a: 1e999", "not a finite"),
        ("a: " + "9" * 5000, "digits"),
        ('a: "\\e[2J"', "U+001B"),
        ('a: "\\u202e"', "U+202E"),
        ('a: "\\ud800"', "U+D800"),
        ("a: {<<: 7}", "blocks of keys only"),
    ],
)
def test_what_spoils_one_value_leaves_the_rest_readable(text: str, word: str) -> None:
    """A slip inside a readable file is noted, so that the other problems can be told in the same run."""
    document = read(text + "\nlast: here", "f.yaml") if "---" not in text else read(text, "f.yaml")

    assert any(word in note for note in notes(document))
    assert "---" in text or document.data["last"] == "here"


def test_aliases_and_merge_keys_within_limits_work() -> None:
    """People share parts of a file; the merged block's own keys win, then the first source."""
    document = read("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 9}\nd: *b", "f.yaml")

    assert document.data["c"] == {"x": 9, "y": 1, "z": 2}
    assert document.data["d"] == {"y": 2, "z": 2}
    assert not document.problems


def test_bytes_that_are_not_utf8_are_refused_with_their_place(tmp_path: Path) -> None:
    """Latin-1 is a common slip; the message leads to the byte."""
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"name: chat\nlabel: caf\xe9\n")

    with pytest.raises(InvalidSpec) as caught:
        read_text(file, "latin.yaml")

    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (2, 11)
    assert "0xe9" in caught.value.problems[0].message


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    """Editors of other systems write them."""
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: chat\r\nreport: {labels: {a: b}}\r\n")

    assert read(read_text(file, "f"), "f").data == {"name": "chat", "report": {"labels": {"a": "b"}}}


@pytest.mark.parametrize("what", ["missing", "folder", "endless"])
def test_what_cannot_be_read_is_said_without_a_traceback(tmp_path: Path, what: str) -> None:
    """A wrong path, a folder and an endless device are refused, each in words."""
    path = {"missing": tmp_path / "no.yaml", "folder": tmp_path, "endless": Path("/dev/zero")}[what]

    with pytest.raises(InvalidSpec) as caught:
        read_text(path, str(path))

    words = {"missing": "no such file", "folder": "folder", "endless": "larger"}[what]
    assert words in caught.value.problems[0].message
