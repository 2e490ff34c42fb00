"""Expressions: what is taken, what is refused and where, and what unknown does to them."""

from __future__ import annotations

import inspect
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.expression import (
    MAX_CHARACTERS,
    MAX_NESTING,
    MAX_VALUES,
    BadExpression,
    Expression,
    expression,
)
from orchestrator.policy.variables import PURE, VARIABLES, Sort, Value, inverse, product, spoken, unit_of

KNOWN: dict[str, Value] = {
    **{name: 2.0 for name, v in VARIABLES.items() if v.sort is Sort.NUMBER},
    "region": "aws/eu-north-1",
    "provider": "aws",
    "zone": "SE",
    "market": "spot",
    "shape": "1xL4",
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("grams_per_kwh <= 2", True),
        ("grams_per_kwh < 2.0", False),
        ("market == 'spot' && usd_per_hour > 1", True),
        ("market != 'spot' || !(usd_per_hour > 1)", False),
        ("region in ['aws/eu-north-1', 'aws/eu-west-1']", True),
        ("zone in ['DE']", False),
        ("provider == 'aws' ? true : false", True),
        ("usd_per_hour + 3", 5.0),
        ("usd_per_hour - 3", -1.0),
        ("-usd_per_hour", -2.0),
        ("3 * usd_per_hour / 4", 1.5),
        ("grams_per_kwh * kwh_per_hour - grams_per_hour", 2.0),
        ("market == 'spot' ? usd_per_hour : 2 * usd_per_hour", 2.0),
        ("1 + 1 == 2", True),
        ("(usd_per_hour +\n usd_per_hour) * 0.5 // halved", 2.0),
    ],
)
def test_what_is_taken_means_what_cel_says(text: str, result: bool | float) -> None:
    """Whole numbers and others are the same numbers here."""
    assert expression(text).result(KNOWN) == result


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("usd_per_hour + grams_per_hour", 1, 1, "USD/h cannot be added to g/h"),
        ("usd_per_hour < grams_per_kwh", 1, 1, "USD/h cannot be compared with g/kWh"),
        ("market == 'spot' ? usd_per_hour : rtt_ms", 1, 1, "USD/h cannot be the same as ms"),
        ("pue > 1 &&\n  rtt_ms < usd_per_hour", 2, 3, "ms cannot be compared with USD/h"),
        ("usd_per_hour == 'spot'", 1, 1, "a number is compared with text"),
        ("region < 'b'", 1, 1, "neither more nor less"),
        ("usd_per_hour && true", 1, 1, "join what is true or false"),
        ("!usd_per_hour", 1, 1, "turns what is true or false around"),
        ("region + 'x'", 1, 1, "arithmetic is for numbers"),
        ("usd_per_hour ? 1 : 2", 1, 1, "stands before ?"),
        ("true ? 1 : 'x'", 1, 8, "both ends"),
        ("usd_per_hour % 2", 1, 1, "% is not known here"),
        ("usd_per_hour in [1, 2]", 1, 1, "in asks whether a text is in a list"),
        ("region in ['a', 1]", 1, 17, "texts only"),
        ("region", 1, 1, "this is text"),
        ("grams", 1, 1, "there is no grams"),
        ("os > 1", 1, 1, "there is no os"),
        ("grams_per_kwh == null", 1, 18, "null is not compared"),
        ("1u < usd_per_hour", 1, 1, "numbers are written like"),
        ("0x10 < usd_per_hour", 1, 1, "numbers are written like"),
        ("1e999 < usd_per_hour", 1, 1, "too large"),
        ("[1, 2].all(x, x > 1)", 1, 1, "loops are not taken"),
        ("[1].exists(x, true)", 1, 1, "loops are not taken"),
        ("region.matches('(a+)+$')", 1, 1, "no functions"),
        ("true && size(region) > 1", 1, 9, "no functions"),
        ("has(region.x)", 1, 1, "no functions"),
        ("region.__class__ == 'x'", 1, 1, "nothing inside them"),
        ("region[0] == 'a'", 1, 1, "nothing inside them"),
        ("{'a': 1} == {'a': 1}", 1, 1, "no maps"),
        ("__import__('os')", 1, 1, "no functions"),
        ("usd_per_hour >", 1, 14, "not an expression from here on"),
        ("usd_per_hour > 1 pue", 1, 18, "not an expression from here on"),
        ("", 1, 1, "not an expression"),
        ("'open", 1, 1, "not an expression"),
        ("(" * 6 + "1" + ")" * 6, 1, 6, "nested more than 5 deep"),
        ("!" * 6 + "true", 1, 1, "signs in a row"),
        ("1 / 0", 1, 1, "divides by zero"),
        ("usd_per_hour < 1 / 0", 1, 16, "divides by zero"),
        ("usd_per_hour /\n  (2 - 2.0)", 1, 1, "divides by zero"),
        ("pue > 1 &&\n  usd_per_hour * (1e200 * 1e200) > 1", 2, 19, "too large"),
        ("usd_per_hour > -1e308 - 1e308", 1, 16, "too large"),
        ("true ? 1 / 0 : 1", 1, 8, "divides by zero"),
        ("1 / (true ? 0 : 1)", 1, 1, "no finite result"),
        ("1 + " * 75 + "1", 1, 1, "301 characters are more than 300"),
    ],
)
def test_what_is_not_taken_is_refused_with_its_place(text: str, line: int, column: int, said: str) -> None:
    """Before anything is evaluated."""
    with pytest.raises(BadExpression) as caught:
        expression(text)
    assert said in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


def test_the_number_of_values_is_bounded() -> None:
    """What is allowed at most is evaluated without trouble, and one more is refused."""
    most = "+".join(["pue"] * MAX_VALUES)
    assert expression(most).result(KNOWN) == 2.0 * MAX_VALUES
    with pytest.raises(BadExpression, match="more than 25 names and numbers"):
        expression(most + "+pue")


def test_the_deepest_expression_leaves_room_on_the_stack() -> None:
    """Python's default is a thousand frames, nobody raises it, and the caller needs some."""
    before = sys.getrecursionlimit()
    deepest = "(" * MAX_NESTING + "-" * MAX_NESTING + "+".join(["pue"] * MAX_VALUES) + ")" * MAX_NESTING
    found = expression(deepest)
    assert sys.getrecursionlimit() == before
    here = len(inspect.stack(0))
    sys.setrecursionlimit(here + 600)
    try:
        assert found.result(KNOWN) == 2.0 * MAX_VALUES - 4.0
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("text", ["grams_per_kwh <= 400", "grams_per_kwh > 400", "grams_per_kwh == 0", "grams_per_kwh"])
def test_what_uses_something_unknown_has_no_result(text: str) -> None:
    """Neither true nor false, and not what it would be at zero."""
    found = expression(text)
    assert found.may_be_unknown
    assert found.result({**KNOWN, "grams_per_kwh": None}) is None
    assert found.unknown_in({**KNOWN, "grams_per_kwh": None}) == ("grams_per_kwh",)


def test_what_cannot_be_computed_is_unknown() -> None:
    """Division by zero has no finite result, whatever the language calls it."""
    assert expression("usd_per_hour / (pue - 2)").result(KNOWN) is None
    assert expression("(usd_per_hour - 2) / (pue - 2)").result(KNOWN) is None
    assert expression("usd_per_hour * 1e308 * 1e3").result(KNOWN) is None
    assert expression("1 / (true ? 2 : 1) < 1").result(KNOWN) is True


BY_ZERO = "usd_per_hour / (pue - 2)"


@pytest.mark.parametrize(
    "text",
    [
        f"{BY_ZERO} > 1",
        f"{BY_ZERO} < 1",
        f"{BY_ZERO} != 1",
        f"!({BY_ZERO} == 1)",
        f"-({BY_ZERO}) < 1",
        f"1 / ({BY_ZERO}) < 1",
        f"({BY_ZERO}) * 0 == 0",
        f"{BY_ZERO} > 1 || {BY_ZERO} < 1",
        f"{BY_ZERO} > 1 ? true : true",
        f"({BY_ZERO} > 1) == ({BY_ZERO} > 1)",
        f"true && {BY_ZERO} > 1",
        "usd_per_hour * 1e308 * 1e3 > 1",
        "usd_per_hour * 1e308 - -1e308 > 1",
    ],
)
def test_infinity_passes_nothing(text: str) -> None:
    """Neither a comparison nor its opposite: whoever divides by zero is told so, and knows nothing by it."""
    found = expression(text)
    assert found.result(KNOWN) is None
    assert found.trouble_in(KNOWN) == ("too large a number" if "1e308" in text else "division by zero")
    assert found.trouble_in({**KNOWN, "usd_per_hour": None}) == ""


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (f"pue > 2 && {BY_ZERO} > 1", False),
        (f"{BY_ZERO} > 1 && pue > 2", False),
        (f"pue == 2 || {BY_ZERO} > 1", True),
        (f"pue > 2 ? {BY_ZERO} : usd_per_hour", 2.0),
    ],
)
def test_who_asks_first_may_divide(text: str, result: bool | float) -> None:
    """A condition that settles the matter is enough, on whichever side it stands."""
    assert expression(text).result(KNOWN) == result
    assert expression(text).trouble_in(KNOWN) == ""


def test_an_expression_knows_its_unit_and_what_it_uses() -> None:
    """Products and quotients have units of their own."""
    found = expression("usd_per_hour / kwh_per_hour * grams_per_kwh")
    assert found.unit is not None
    assert spoken(found.unit) == "USD*g/kWh^2"
    assert found.uses == ("grams_per_kwh", "kwh_per_hour", "usd_per_hour")
    assert expression("2 * 3").unit is None
    assert expression("pue / pue").unit == PURE


def test_units_multiply_and_cancel() -> None:
    """The algebra under it."""
    assert product(unit_of("g/kWh"), unit_of("kWh/h")) == unit_of("g/h")
    assert product(unit_of("ms"), inverse(unit_of("ms"))) == PURE
    assert [spoken(unit_of(u)) for u in ("g/kWh", "ms", "")] == ["g/kWh", "ms", "a pure number"]
    assert spoken(inverse(unit_of("ms"))) == "1/ms"


SIGNS = [*"+-*/%<>!?:()[]{}.,", "==", "&&", "||", "1", "2.5", "'spot'", "true", "null", "size", "map", "x", "//", "é"]
PIECES = st.sampled_from([*VARIABLES, *SIGNS, " in ", "\n", "\\", '"', "\x00"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=MAX_CHARACTERS + 5), st.lists(PIECES, max_size=30).map("".join)))
def test_any_text_is_an_expression_or_is_refused_in_words(text: str) -> None:
    """Nothing else comes out, neither when it is read nor when it is evaluated."""
    found = _read(text)
    if isinstance(found, BadExpression):
        assert (bool(found.message), found.line >= 1, found.column >= 1) == (True, True, True)
        return
    result = found.result(KNOWN)
    assert result is None or isinstance(result, bool if found.sort is Sort.TRUTH else float)


def _read(text: str) -> Expression | BadExpression:
    """What comes of a text."""
    try:
        return expression(text)
    except BadExpression as refused:
        return refused
