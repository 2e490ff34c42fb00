"""A YAML file as plain data that knows where everything stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.errors import Problem
from orchestrator.spec.words import Path, dotted, show
from orchestrator.spec.yaml_nodes import HIDDEN, Node, Place, compose, named, refuse
from orchestrator.spec.yaml_scalars import NULLS, BadScalar, Scalar, resolve

BROKEN = object()
"""Stands where a value could not be read; it has its problem already."""

Data = Scalar | dict[str, "Data"] | list["Data"]


@dataclass(slots=True)
class Document:
    """A file's content as plain data, and where each key and value stands.

    ``broken``: values that could not be read; ``left_out``: values that were read and found wrong. Both have their
    problems already, and nothing further is said about them.
    """

    data: dict[str, Data]
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    broken: set[Path] = field(default_factory=set)
    left_out: set[Path] = field(default_factory=set)

    def problem(self, path: Path, message: str, suggestion: str | None = None, *, at_key: bool = False) -> Problem:
        """Make a problem that points at a value, or at its key, or at the nearest block that has a place."""
        place = self._place(path, at_key=at_key)
        line, column = (place.line, place.column) if place else (None, None)
        return Problem(dotted(path), message, line, column, suggestion)

    def is_broken(self, path: Path) -> bool:
        """Whether the value, or the block that holds it, could not be read."""
        return any(path[:length] in self.broken for length in range(len(path) + 1))

    def has_its_problem(self, path: Path) -> bool:
        """Whether the value, a block that holds it or a value inside it has a problem of its own already."""
        return self.is_broken(path) or any(
            path[: len(lost)] == lost or lost[: len(path)] == path for lost in self.left_out
        )

    def _place(self, path: Path, *, at_key: bool) -> Place | None:
        for length in range(len(path), 0, -1):
            here = path[:length]
            whole = length == len(path)
            found = self.keys.get(here) if at_key or not whole else self.values.get(here)
            found = found or self.keys.get(here) or self.values.get(here)
            if found:
                return found
        return self.values.get(())


def read(text: str, file: str, skypilot_keys: frozenset[str] = frozenset()) -> Document:
    """Read one document; values under ``skypilot_keys`` follow YAML 1.1 (see :mod:`orchestrator.spec.yaml_scalars`).

    Problems that leave the rest readable (duplicate keys, odd numbers, a second document) are in its ``problems``.
    Raises ``InvalidSpec`` when there is nothing to read or nothing safe to go on with.
    """
    root, problems = compose(text, file)
    if root is None or (root.is_word and root.plain and root.text in NULLS):
        raise refuse(file, "the file is empty", Place(1, 1))
    if not isinstance(root.pairs, list):
        raise refuse(file, "the top level must be keys with values, like name: chat", root.place)
    document = Document({}, problems)
    document.values[()] = root.place
    document.data = _Unfolder(document, skypilot_keys).mapping(root, ())
    return document


class _Unfolder:
    """Follows aliases, resolves words, and writes down where everything stands."""

    def __init__(self, document: Document, skypilot_keys: frozenset[str]) -> None:
        self._document = document
        self._skypilot_keys = skypilot_keys

    def mapping(self, node: Node, path: Path) -> dict[str, Data]:
        """Return a block as a dictionary, in the order of the file."""
        data: dict[str, Data] = {}
        for key, place, value in node.pairs or ():
            here = (*path, key)
            self._document.keys[here] = place
            data[key] = self._value(value, here)
        return data

    def _value(self, node: Node, path: Path) -> Data:
        self._document.values[path] = node.place
        if node.pairs is not None:
            return self.mapping(node, path)
        if node.items is not None:
            return [self._value(item, (*path, index)) for index, item in enumerate(node.items)]
        try:
            value = resolve(node.text, as_skypilot=path[0] in self._skypilot_keys) if node.plain else node.text
        except BadScalar as error:
            return self._broken(path, f"{show(node.text)}: {error}")
        if isinstance(value, str) and (found := HIDDEN.search(value)):
            return self._broken(path, f"character {named(found[0])} does not belong in a value")
        return value

    def _broken(self, path: Path, message: str) -> Data:
        self._document.problems.append(self._document.problem(path, message))
        self._document.broken.add(path)
        return BROKEN  # type: ignore[return-value]  # a mark that no later reader can mistake for a value
