"""Expressions of policies: CEL, checked before it is ever evaluated.

The language is the Common Expression Language, read and evaluated by ``cel-python`` (decision 0015). Of it we take the
names of :mod:`orchestrator.policy.variables`, numbers, texts, comparisons, arithmetic, ``&& || !``, ``? :`` and ``in``
a list of texts. Nothing loops, calls, or reaches into a value, so that every expression ends after as many steps as it
has signs. Types and units are checked beforehand: whoever compares grams with dollars is told so, with line and column.

Null has no value here. An expression that uses something unknown has no result, and its owner says what that means. Nor
has one whose arithmetic comes to no finite number: CEL makes infinity of a division by zero, and infinity passes
whatever asks for more than something.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.policy.variables import (
    PURE,
    VARIABLES,
    Sort,
    Unit,
    Value,
    Variable,
    inverse,
    product,
    spoken,
    unit_of,
)

if TYPE_CHECKING:
    from celpy import Runner
    from celpy.evaluation import CELFunction, Result
    from lark import Tree

MAX_CHARACTERS = 300
MAX_NESTING = 5
MAX_VALUES = 25
"""Names and literals in one expression. With the nesting it bounds the recursion of whoever walks the tree: the deepest
expression that is taken needs some 500 frames, half of what Python allows by default."""

DIVISION_BY_ZERO = "division by zero"
TOO_LARGE = "too large a number"

_SIGNS: Mapping[str, Callable[[float, float], float]] = {
    "_+_": operator.add,
    "_-_": operator.sub,
    "_*_": operator.mul,
    "_/_": operator.truediv,
}
_LOOPS = frozenset({"all", "exists", "exists_one", "filter", "map", "min", "reduce"})
_PASSED = frozenset(
    {"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary", "member", "primary"}
) | {"paren_expr"}


class BadExpression(ValueError):
    """An expression that is not taken: what is wrong, and where (1-based, within the expression)."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class _Type:
    """``unit`` is ``None`` for a bare number, which fits every unit beside which it stands.

    ``constant``: what a number is that no variable can change; ``None`` where that is not known.
    """

    sort: Sort
    unit: Unit | None = PURE
    constant: float | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. ``uses``: its variables, sorted. ``unit``: of its result, ``None`` for bare numbers."""

    text: str
    sort: Sort
    unit: Unit | None
    uses: tuple[str, ...]
    _runner: Runner

    @property
    def may_be_unknown(self) -> bool:
        """Whether a variable that it uses may be."""
        return any(VARIABLES[name].may_be_unknown for name in self.uses)

    def unknown_in(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Return the variables that it uses and whose value is unknown."""
        return tuple(name for name in self.uses if values[name] is None)

    def result(self, values: Mapping[str, Value]) -> bool | float | None:
        """Evaluate; ``None`` where a variable is unknown, or where the arithmetic has no finite result.

        A part that has no result does not matter where ``&&``, ``||`` or ``? :`` do without it.
        """
        if self.text in VARIABLES:
            return values[self.text]  # type: ignore[return-value]  # the most frequent term of all; texts are refused
        if self.unknown_in(values):
            return None
        found = _evaluated(self.text, tuple(values[name] for name in self.uses))
        return None if isinstance(found, str) else found

    def trouble_in(self, values: Mapping[str, Value]) -> str:
        """Return why the arithmetic has no result though everything is known; empty where it has, or not all is."""
        if self.text in VARIABLES or self.unknown_in(values):
            return ""
        found = _evaluated(self.text, tuple(values[name] for name in self.uses))
        return found if isinstance(found, str) else ""

    def evaluate(self, values: tuple[Value, ...]) -> bool | float | str:
        """Let the library compute; ``values``: known ones, in the order of :attr:`uses`. Text says why not."""
        from celpy import celtypes  # noqa: PLC0415  # only policies with expressions pay for it
        from celpy.evaluation import CELEvalError  # noqa: PLC0415

        types: Mapping[bool, Callable[[Any], Any]] = {True: celtypes.StringType, False: celtypes.DoubleType}
        context = {n: types[isinstance(v, str)](v) for n, v in zip(self.uses, values, strict=True)}
        try:
            found = self._runner.evaluate(context)
        except CELEvalError as error:  # of our arithmetic, within or not within others'; types have been checked
            return DIVISION_BY_ZERO if DIVISION_BY_ZERO in str(error) else TOO_LARGE
        if self.sort is Sort.TRUTH:
            return bool(found)
        return float(found)  # type: ignore[arg-type]  # the checker says that it is a number


def _finite(compute: Callable[[float, float], float]) -> CELFunction:
    """Return an operator for the library that gives finite numbers only. What has no result has none with others."""
    from celpy import celtypes  # noqa: PLC0415  # as above
    from celpy.evaluation import CELEvalError  # noqa: PLC0415

    def computed(one: Result, other: Result) -> Result:
        for side in (one, other):
            if isinstance(side, CELEvalError):
                return side
        try:
            number = compute(float(one), float(other))  # type: ignore[arg-type]  # the checker says so of both
        except ZeroDivisionError as error:
            raise ZeroDivisionError(DIVISION_BY_ZERO) from error
        if not math.isfinite(number):
            raise OverflowError(TOO_LARGE)
        return celtypes.DoubleType(number)

    return computed


def _chosen(condition: Result, one: Result, other: Result) -> Result:
    """Choose as the library does, but let a condition without a result say why it has none."""
    from celpy.evaluation import CELEvalError  # noqa: PLC0415  # as above

    if isinstance(condition, CELEvalError):
        return condition
    return one if condition else other


@lru_cache(maxsize=1 << 14)
def _evaluated(text: str, values: tuple[Value, ...]) -> bool | float | str:
    """Remember results: the offers of a region share its grid, and an evaluation takes about 0.2 ms."""
    return expression(text).evaluate(values)


@lru_cache(maxsize=512)
def expression(text: str) -> Expression:
    """Read and check an expression. Raises ``BadExpression``."""
    from celpy import Environment, InterpretedRunner  # noqa: PLC0415  # as above
    from celpy.celparser import CELParseError  # noqa: PLC0415

    _check_size(text)
    frames = sys.getrecursionlimit()
    environment = Environment(runner_class=InterpretedRunner)
    sys.setrecursionlimit(frames)  # which the library raises for the whole process; what we take does not need it
    try:
        tree = environment.compile(text)
    except CELParseError as error:
        line, column = max(1, error.line or 1), max(1, error.column or 1)
        raise BadExpression("this is not an expression from here on", line, column) from error
    checker = _Checker()
    found = checker.type_of(tree)
    if found.sort is Sort.TEXT:
        raise BadExpression("this is text; a rule is true or false, a term is a number")
    functions = {**{sign: _finite(compute) for sign, compute in _SIGNS.items()}, "_?_:_": _chosen}
    made = Expression(text, found.sort, found.unit, tuple(sorted(checker.uses)), environment.program(tree, functions))
    if not made.uses and isinstance(made.evaluate(()), str):
        raise BadExpression("this has no finite result")
    return made


def _check_size(text: str) -> None:
    """Refuse what is too long or too deep before anybody walks it."""
    if len(text) > MAX_CHARACTERS:
        raise BadExpression(f"{len(text)} characters are more than {MAX_CHARACTERS}")
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth > MAX_NESTING:
            before = text[:position]
            column = position - (before.rfind("\n") + 1) + 1
            raise BadExpression(f"brackets are nested more than {MAX_NESTING} deep", before.count("\n") + 1, column)
    if any(sign * (MAX_NESTING + 1) in "".join(text.split()) for sign in "!-"):
        raise BadExpression(f"more than {MAX_NESTING} signs in a row")


class _Checker:
    """Walks a tree once: only known forms pass, each with its type."""

    def __init__(self) -> None:
        self.uses: set[str] = set()
        self._values = 0

    def type_of(self, tree: Tree[Any]) -> _Type:
        """Return what an expression gives. Raises ``BadExpression``."""
        children = [child for child in tree.children if child is not None]
        form = str(tree.data)
        if form in _PASSED and len(children) == 1:
            return self.type_of(children[0])
        forms: dict[str, Callable[[Tree[Any], list[Any]], _Type]] = {
            "expr": self._choice,
            "conditionalor": self._both_true,
            "conditionaland": self._both_true,
            "relation": self._relation,
            "addition": self._sum,
            "multiplication": self._product,
            "unary": self._sign,
            "literal": self._literal,
            "ident": self._name,
        }
        if form not in forms:
            raise _refused(tree, form, children)
        return forms[form](tree, children)

    # ── values ───────────────────────────────────────────────────────────────────────────────────────

    def _count(self, tree: Tree[Any]) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _at(tree, f"more than {MAX_VALUES} names and numbers")

    def _literal(self, tree: Tree[Any], children: list[Any]) -> _Type:
        self._count(tree)
        token = children[0]
        if token.type == "INT_LIT" and "x" not in token:
            # CEL does not multiply whole numbers with others: every number here is a double.
            tree.children[0] = token = token.update(type="FLOAT_LIT", value=f"{token}.0")
        sorts = {"FLOAT_LIT": Sort.NUMBER, "STRING_LIT": Sort.TEXT, "BOOL_LIT": Sort.TRUTH}
        if token.type == "NULL_LIT":
            raise _at(tree, "null is not compared. if_unknown says what holds where something is unknown")
        if token.type not in sorts:
            raise _at(tree, "numbers are written like 400 or 0.5, texts like 'spot'")
        if token.type == "FLOAT_LIT" and not math.isfinite(float(token)):
            raise _at(tree, "too large a number")
        if token.type == "FLOAT_LIT":
            return _Type(Sort.NUMBER, None, float(token))
        return _Type(sorts[token.type])

    def _name(self, tree: Tree[Any], children: list[Any]) -> _Type:
        self._count(tree)
        variable: Variable | None = VARIABLES.get(str(children[0]))
        if variable is None:
            raise _at(tree, f"there is no {children[0]}. Known here: {', '.join(sorted(VARIABLES))}")
        self.uses.add(variable.name)
        return _Type(variable.sort, unit_of(variable.unit) if variable.sort is Sort.NUMBER else PURE)

    # ── operators ────────────────────────────────────────────────────────────────────────────────────

    def _choice(self, tree: Tree[Any], children: list[Any]) -> _Type:
        condition, one, other = (self.type_of(child) for child in children)
        if condition.sort is not Sort.TRUTH:
            raise _at(tree, f"what stands before ? is {condition.sort.value}, not true or false")
        if one.sort is not other.sort:
            raise _at(tree, f"either {one.sort.value} or {other.sort.value}: both ends of ? : must be the same")
        return _Type(one.sort, self._common(tree, one, other, "?:"))

    def _both_true(self, _tree: Tree[Any], children: list[Any]) -> _Type:
        for child in children:
            found = self.type_of(child)
            if found.sort is not Sort.TRUTH:
                raise _at(child, f"&& and || join what is true or false, and this is {found.sort.value}")
        return _Type(Sort.TRUTH)

    def _relation(self, tree: Tree[Any], children: list[Any]) -> _Type:
        sign, left, right = _binary(children)
        if sign == "relation_in":
            return self._member(tree, left, right)
        one, other = self.type_of(left), self.type_of(right)
        if one.sort is not other.sort:
            raise _at(tree, f"{one.sort.value} is compared with {other.sort.value}")
        if one.sort is not Sort.NUMBER and sign not in {"relation_eq", "relation_ne"}:
            raise _at(tree, f"{one.sort.value} is neither more nor less than another; use == or !=")
        self._common(tree, one, other, "compare")
        return _Type(Sort.TRUTH)

    def _member(self, tree: Tree[Any], left: Tree[Any], right: Tree[Any]) -> _Type:
        listed = _inner(right)
        if str(listed.data) != "list_lit" or self.type_of(left).sort is not Sort.TEXT:
            raise _at(tree, "in asks whether a text is in a list, like region in ['aws/eu-north-1', 'aws/eu-west-1']")
        for entries in (child for child in listed.children if child is not None):
            for entry in entries.children:
                if self.type_of(entry).sort is not Sort.TEXT:
                    raise _at(entry, "the list may hold texts only")
        return _Type(Sort.TRUTH)

    def _sum(self, tree: Tree[Any], children: list[Any]) -> _Type:
        name, left, right = _binary(children)
        one, other = self._number(left), self._number(right)
        unit = self._common(tree, one, other, "add")
        return _Type(Sort.NUMBER, unit, _constant(tree, name, one.constant, other.constant))

    def _product(self, tree: Tree[Any], children: list[Any]) -> _Type:
        sign, left, right = _binary(children)
        if sign == "multiplication_mod":
            raise _at(tree, "% is not known here")
        first, second = self._number(left), self._number(right)
        number = _constant(tree, sign, first.constant, second.constant)
        one, other = first.unit, second.unit
        if one is None and other is None:
            return _Type(Sort.NUMBER, None, number)
        right_unit = other or PURE
        unit = product(one or PURE, right_unit if sign == "multiplication_mul" else inverse(right_unit))
        return _Type(Sort.NUMBER, unit, number)

    def _sign(self, tree: Tree[Any], children: list[Any]) -> _Type:
        if str(children[0].data) == "unary_neg":
            number = self._number(children[1])
            return replace(number, constant=None if number.constant is None else -number.constant)
        found = self.type_of(children[1])
        if found.sort is not Sort.TRUTH:
            raise _at(tree, f"! turns what is true or false around, and this is {found.sort.value}")
        return found

    def _number(self, tree: Tree[Any]) -> _Type:
        found = self.type_of(tree)
        if found.sort is not Sort.NUMBER:
            raise _at(tree, f"this is {found.sort.value}; arithmetic is for numbers")
        return found

    def _common(self, tree: Tree[Any], one: _Type, other: _Type, verb: str) -> Unit | None:
        """Return the unit that two sides share; a bare number takes the other's."""
        if one.unit is None or other.unit is None:
            return other.unit if one.unit is None else one.unit
        if one.unit != other.unit:
            what = {"add": "added to", "compare": "compared with"}.get(verb, "the same as")
            raise _at(tree, f"{spoken(one.unit)} cannot be {what} {spoken(other.unit)}")
        return one.unit


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "addition_add": operator.add,
    "addition_sub": operator.sub,
    "multiplication_mul": operator.mul,
    "multiplication_div": operator.truediv,
}


def _constant(tree: Tree[Any], name: str, one: float | None, other: float | None) -> float | None:
    """Compute what no variable can change. Raises ``BadExpression`` where that has no result, whatever is known."""
    if name == "multiplication_div" and other == 0:
        raise _at(tree, "this divides by zero")
    if one is None or other is None:
        return None
    found = _ARITHMETIC[name](one, other)
    if not math.isfinite(found):
        raise _at(tree, "this is too large a number")
    return found


def _binary(children: list[Any]) -> tuple[str, Any, Any]:
    """Take an operator's tree apart: its name, its left side (which it holds) and its right side."""
    return str(children[0].data), children[0].children[0], children[1]


def _inner(tree: Tree[Any]) -> Tree[Any]:
    """Unwrap what only passes on."""
    children = [child for child in tree.children if child is not None]
    while str(tree.data) in _PASSED and len(children) == 1:
        tree = children[0]
        children = [child for child in tree.children if child is not None]
    return tree


def _refused(tree: Tree[Any], form: str, children: list[Any]) -> BadExpression:
    if form == "member_dot_arg":
        word = str(children[1])
        kind = "loops are not taken" if word in _LOOPS else "there are no functions here"
        return _at(tree, f".{word}(…): {kind}")
    if form in {"ident_arg", "dot_ident_arg"}:
        return _at(tree, f"{children[0]}(…): there are no functions here")
    if form in {"member_dot", "member_index", "member_object", "dot_ident"}:
        return _at(tree, "names stand for themselves; nothing inside them is to be had")
    return _at(tree, "lists are for in alone, and there are no maps")


def _at(tree: Tree[Any], message: str) -> BadExpression:
    """Point at a tree; the parser gives some words no place, then at the first part of it that has one."""
    parts = tree.iter_subtrees_topdown()  # type: ignore[no-untyped-call]  # lark types most of itself
    places = (part.meta for part in parts if not part.meta.empty)
    line, column = next(((m.line, m.column) for m in places if m.line is not None), (1, 1))
    return BadExpression(message, line, column)
