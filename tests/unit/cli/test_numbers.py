"""How numbers read."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.render import numbers
from orchestrator.cli.render.numbers import Marks
from orchestrator.domain.carbon import Kind

FORMATS = (numbers.number, numbers.exact, numbers.six, numbers.grams, numbers.kwh, numbers.watts, numbers.usd)


@pytest.mark.parametrize("write", [*FORMATS, numbers.percent, numbers.duration], ids=lambda f: f.__name__)
def test_the_unknown_is_a_question_mark_and_never_zero(write: object) -> None:
    """Missing and impossible numbers print as "?", whatever the format."""
    for value in (None, math.nan, math.inf, -math.inf):
        assert write(value) == "?"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00231, "0.00231"),
        (3.5, "3.50"),
        (22.64, "22.6"),
        (129, "129"),
        (999.6, "1,000"),
        (1488, "1,488"),
        (0.9996, "1.00"),
        (9.996, "10.0"),
        (-29.55, "-29.6"),
        (1234567.8, "1,234,568"),
        (1e-7, "0.000000100"),
    ],
)
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    """Small numbers keep their digits, large ones all before the point: nothing real rounds to zero."""
    assert numbers.number(value) == text


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_no_number_that_is_not_zero_reads_as_zero(value: float) -> None:
    """A milligram is not nothing."""
    for write in FORMATS:
        digits = [c for c in write(value).split("e")[0] if c.isdigit()]
        assert any(c != "0" for c in digits), write.__name__


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_three_digits_are_true_to_half_a_per_cent(value: float) -> None:
    """What is printed is what was computed, rounded once."""
    assert float(numbers.number(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


@given(st.floats(min_value=-1e9, max_value=1e9).filter(lambda v: abs(v) > 1e-9))
def test_exact_numbers_can_be_computed_with(value: float) -> None:
    """Eight significant digits come back from the text."""
    assert float(numbers.exact(value)) == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (numbers.grams, 331, "331 g"),
        (numbers.grams, 18_400, "18.4 kg"),
        (numbers.grams, 0.0021, "2.10 mg"),
        (numbers.grams, 0, "0 g"),
        (numbers.kwh, 0.0495, "49.5 Wh"),
        (numbers.kwh, 368, "368 kWh"),
        (numbers.watts, 0.0, "0 W"),
        (numbers.watts, 1500, "1.50 kW"),
        (numbers.usd, 0.27, "$0.27"),
        (numbers.usd, 372.9, "$372.90"),
        (numbers.usd, 0.0043, "$0.00430"),
        (numbers.usd, 0, "$0"),
        (numbers.usd, -1.5, "−$1.50"),
        (numbers.percent, 0.15, "15 %"),
        (numbers.percent, 0.051, "5.1 %"),
    ],
)
def test_a_quantity_has_its_unit(write: object, value: float, text: str) -> None:
    """The unit gives the number a readable size and always stands beside it."""
    assert write(value) == text  # type: ignore[operator]


@pytest.mark.parametrize(("fraction", "text"), [(-0.56, "−56 %"), (0.05, "+5.0 %"), (0.0, "±0 %"), (16.12, "+1612 %")])
def test_a_difference_shows_its_sign(fraction: float, text: str) -> None:
    """Less and more are told apart without colour."""
    assert numbers.percent(fraction, signed=True) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.9986, "99.8 %"), (0.99999, "99.9 %"), (0.996, "99.6 %"), (1.0, "100 %"), (-0.9996, "−99.9 %"), (0.994, "99 %")],
)
def test_what_is_not_all_of_it_is_not_100_percent(fraction: float, text: str) -> None:
    """An hour that is missing is seen, and something saved is not everything."""
    assert numbers.percent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (8.73, "8.7 s"),
        (59, "59 s"),
        (90, "1m 30s"),
        (420, "7 min"),
        (1500, "25 min"),
        (6480, "1h 48m"),
        (183_600, "2d 3h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float, text: str) -> None:
    """Nobody counts 6480 seconds."""
    assert numbers.duration(seconds) == text
    assert numbers.age(timedelta(seconds=seconds)) == text


def test_an_instant_is_printed_in_utc() -> None:
    """Whatever the offset it came with."""
    moment = datetime(2023, 6, 1, 14, 20, tzinfo=timezone(timedelta(hours=2)))

    assert numbers.instant(moment) == "2023-06-01 12:20 UTC"
    assert numbers.clock_time(moment.astimezone(UTC)) == "12:20:00"
    assert numbers.instant(None) == "?"


def test_the_legend_explains_the_marks_that_were_used_and_no_others() -> None:
    """Each mark on a page is explained on it."""
    marks = Marks()
    marks.write("19", Kind.MEASURED)
    assert not marks.legend()

    assert marks.write("21", Kind.FORECAST) == "21 ƒ"
    assert marks.write("261", Kind.ESTIMATED, stale=True) == "261 ~!"
    marks.write("?", None)

    assert marks.legend() == "~ estimated   ƒ forecast   ! older than allowed   ? unknown"


def test_marked_and_unmarked_numbers_are_equally_wide() -> None:
    """Otherwise a column of numbers would not stand straight."""
    marks = Marks()

    assert len(marks.write("19", Kind.MEASURED)) == len(marks.write("21", Kind.FORECAST)) == len("21 ƒ")
