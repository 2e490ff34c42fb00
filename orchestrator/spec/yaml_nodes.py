"""Hostile YAML text in, a tree of nodes with positions out.

A strict subset of YAML: one document, text keys, no tags, no directives, few aliases, little depth. Limits are checked
while the parser's events arrive, so that a small file which would unfold into a large one is refused before it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from orchestrator.errors import InvalidSpec, Problem
from orchestrator.spec.words import nearest, printable, show
from orchestrator.spec.yaml_scalars import BadScalar, resolve

MAX_BYTES = 256 * 1024
MAX_LINES = 10_000
MAX_LINE = 32 * 1024
"""Characters in a line. The parser looks far ahead inside a line; these two keep the worst file below a second."""
MAX_DEPTH = 20
MAX_ALIASES = 20
"""Aliases and merge keys, each. Real files use a handful."""
MAX_VALUES = 3000
"""Keys and values after aliases have been followed; a long service file has some hundreds."""
MAX_UNFOLDED = 2 * MAX_BYTES
"""Characters of all keys and values after aliases have been followed."""

_DEEP = re.compile(rf"(?:[\[{{][ \t\r\n]*){{{MAX_DEPTH + 1}}}")
"""That many opening brackets in a row: found in microseconds, where the parser would take them for a key first."""
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, line separators and direction marks: text that is not what a reader sees, and lone surrogates."""

_PARSER_FAULTS = (YAMLError, ValueError, OverflowError, LookupError, TypeError, AttributeError, AssertionError)
"""What the YAML library raises on hostile text; not all of it on purpose (an escape beyond Unicode is a ValueError)."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A 1-based position in the text."""

    line: int
    column: int


def compose(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    """Return the only document's root, ``None`` when there is none, and the problems that leave the rest readable.

    Raises ``InvalidSpec`` when there is nothing safe to go on with.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise refuse(file, f"larger than {MAX_BYTES // 1024} KiB")
    if found := _UNPRINTABLE.search(text):
        raise refuse(file, f"character {named(found[0])} does not belong in text", _place_of(text, found.start()))
    if found := _DEEP.search(text):
        raise refuse(file, f"nested more than {MAX_DEPTH} levels deep", _place_of(text, found.end() - 1))
    _check_lines(text, file)
    composer = _Composer(file)
    return composer.compose(text), composer.problems


def _check_lines(text: str, file: str) -> None:
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise refuse(file, f"more than {MAX_LINES} lines", Place(MAX_LINES + 1, 1))
    long = next((number for number, line in enumerate(lines, 1) if len(line) > MAX_LINE), None)
    if long is not None:
        raise refuse(file, f"a line of more than {MAX_LINE} characters", Place(long, MAX_LINE + 1))


@dataclass(slots=True)
class Node:
    """One value: a word, a list or a block. ``size`` (characters) and ``count`` include what is inside."""

    place: Place
    text: str = ""
    plain: bool = False
    items: list[Node] | None = None
    pairs: list[tuple[str, Place, Node]] | None = None
    size: int = 0
    count: int = 1

    @property
    def is_word(self) -> bool:
        """Whether it is a scalar."""
        return self.items is None and self.pairs is None


class _Composer:
    """Builds nodes from events and refuses what unfolds too far."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._events: Iterator[Event] = iter(())
        self._anchors: dict[str, Node] = {}
        self._open_anchors: set[str] = set()
        self._aliases = 0
        self._merges = 0
        self._count = 0
        self._size = 0

    def compose(self, text: str) -> Node | None:
        """Return the first document's node, ``None`` without a document."""
        root = None
        try:
            self._events = iter(YAML(typ="safe", pure=True).parse(text))
            for event in self._events:
                if isinstance(event, DocumentStartEvent):
                    if root is not None:
                        self._add(_place(event), "a second document starts here. Write one per file")
                        break
                    if event.tags or (event.version and text.lstrip().startswith("%")):
                        raise refuse(self._file, "directives (%…) are not read. Remove them", Place(1, 1))
                    root = self._node(next(self._events), 1)
        except _PARSER_FAULTS as error:
            raise refuse(self._file, _syntax_words(error), _mark_of(error)) from error
        except RecursionError as error:  # the parser's own stack; ours is bounded by MAX_DEPTH
            raise refuse(self._file, f"nested more than {MAX_DEPTH} levels deep") from error
        return root

    def _node(self, event: Event, depth: int) -> Node:
        place = _place(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, place)
        if depth > MAX_DEPTH:
            raise refuse(self._file, f"nested more than {MAX_DEPTH} levels deep", place)
        self._check_tag(event)
        anchor = event.anchor if isinstance(event, NodeEvent) else None
        if anchor:
            self._open_anchors.add(anchor)
        if isinstance(event, ScalarEvent):
            node = Node(place, event.value, plain=event.style is None, size=len(event.value))
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(place, depth)
        else:
            node = self._mapping(place, depth)
        self._grow(1, node.size if node.is_word else 0, place)
        if anchor:
            self._open_anchors.discard(anchor)
            self._anchors[anchor] = node
        return node

    def _sequence(self, place: Place, depth: int) -> Node:
        node = Node(place, items=[])
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            item = self._node(event, depth + 1)
            node.items.append(item)  # type: ignore[union-attr]  # set two lines above
            node.size += item.size
            node.count += item.count
        return node

    def _mapping(self, place: Place, depth: int) -> Node:
        pairs: dict[str, tuple[str, Place, Node]] = {}
        merged: list[Node] = []
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if key.plain and key.text == "<<":
                merged += self._merge(value, key.place)
                continue
            word = self._key(key)
            if word is None:
                continue
            if word in pairs:
                first = pairs[word][1]
                self._add(key.place, f"key {show(word)} is here twice; first in line {first.line}")
            pairs[word] = (word, key.place, value)
        for source in merged:
            for pair in source.pairs or ():
                if pairs.setdefault(pair[0], pair) is pair:
                    self._grow(pair[2].count, pair[2].size, place)
        node = Node(place, pairs=list(pairs.values()))
        node.size = sum(len(word) + value.size for word, _, value in pairs.values())
        node.count += sum(1 + value.count for _, _, value in pairs.values())
        return node

    def _merge(self, value: Node, place: Place) -> list[Node]:
        self._merges += 1
        if self._merges > MAX_ALIASES:
            raise refuse(self._file, f"more than {MAX_ALIASES} merge keys (<<)", place)
        sources = [value] if value.pairs is not None else value.items
        if sources is None or any(s.pairs is None for s in sources):
            self._add(place, "<< merges blocks of keys only")
            return []
        return sources

    def _key(self, key: Node) -> str | None:
        """Return the key's word, ``None`` (with a problem noted) when it is none."""
        wrong = ""
        if not key.is_word:
            wrong = "a key must be a word, not a list or a block"
        elif found := HIDDEN.search(key.text):
            wrong = f"character {named(found[0])} does not belong in a key"
        elif "\n" in key.text:
            wrong = "a key must stay on one line"
        elif key.plain and not _is_text(key.text):
            wrong = f"key {show(key.text)} is not text. Put it in quotes"
        if wrong:
            self._add(key.place, wrong)
            return None
        return key.text

    def _alias(self, event: AliasEvent, place: Place) -> Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise refuse(self._file, f"more than {MAX_ALIASES} aliases (*name)", place)
        name = str(event.anchor)
        if name in self._open_anchors:
            raise refuse(self._file, f"alias *{printable(name)} stands inside what it names", place)
        if name not in self._anchors:
            guess = nearest(name, self._anchors)
            raise InvalidSpec(
                self._file, (Problem("", f"alias *{printable(name)} names nothing", place.line, place.column, guess),)
            )
        node = self._anchors[name]
        self._grow(node.count, node.size, place)
        return node

    def _check_tag(self, event: Event) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            word = printable(str(tag))
            raise refuse(self._file, f"tags ({word}) are not read. Remove it, or put the text in quotes", _place(event))

    def _grow(self, count: int, size: int, place: Place) -> None:
        self._count += count
        self._size += size
        if self._count > MAX_VALUES:
            raise refuse(self._file, f"more than {MAX_VALUES} values once its aliases are followed", place)
        if self._size > MAX_UNFOLDED:
            limit = MAX_UNFOLDED // 1024
            raise refuse(self._file, f"more than {limit} KiB of text once its aliases are followed", place)

    def _add(self, place: Place, message: str) -> None:
        self.problems.append(Problem("", message, place.line, place.column))


def refuse(file: str, message: str, place: Place | None = None) -> InvalidSpec:
    """Make the error of a file that has one problem, which ends the reading."""
    line, column = (place.line, place.column) if place else (None, None)
    return InvalidSpec(file, (Problem("", message, line, column),))


def _place(event: Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1)


def _place_of(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _mark_of(error: BaseException) -> Place | None:
    mark = (error.problem_mark or error.context_mark) if isinstance(error, MarkedYAMLError) else None
    return Place(mark.line + 1, mark.column + 1) if isinstance(mark, StringMark) else None


def _syntax_words(error: BaseException) -> str:
    if not isinstance(error, MarkedYAMLError):
        return "not YAML"
    problem = printable(" ".join(str(error.problem or "").split()))
    if "'\\t'" in problem:
        return "a tab stands where YAML wants spaces"
    context = printable(" ".join(str(error.context or "").split()))
    return f"not YAML: {problem}" + (f" ({context})" if context else "")


def named(character: str) -> str:
    """Name a character that should not be shown."""
    return f"U+{ord(character):04X}"


def _is_text(word: str) -> bool:
    try:
        return isinstance(resolve(word, as_skypilot=False), str)
    except BadScalar:
        return False
