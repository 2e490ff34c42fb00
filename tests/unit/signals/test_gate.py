"""Which statements are believed."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.carbon import Accounting, Basis, Factors, Kind
from orchestrator.domain.time import HOUR, Window, parse_instant
from orchestrator.signals import gate
from orchestrator.signals.statement import Statement

NOW = parse_instant("2031-03-01T12:10Z")
LIFECYCLE = Basis()
DIRECT = Basis(Accounting.AVERAGE, Factors.DIRECT)
DAY = [300.0 + 5 * (n % 24) for n in range(24)]

levels = st.floats(1, 1500)


def statement(**changes: object) -> Statement:
    """Make one that is right but for what is named."""
    values = {
        "zone": "DE",
        "basis": LIFECYCLE,
        "interval": Window.starting(NOW.replace(minute=0), HOUR),
        "grams_per_kwh": 300.0,
        "kind": Kind.MEASURED,
        "source": "test",
    } | changes
    return Statement(**values)  # type: ignore[arg-type]


def test_an_answer_to_another_question_is_said_to_be_one() -> None:
    """Zone and basis are compared, and the reason names both."""
    assert gate.misdirected(statement(), "DE", LIFECYCLE) == ""
    assert "FR" in gate.misdirected(statement(zone="FR"), "DE", LIFECYCLE)
    assert gate.misdirected(statement(basis=DIRECT), "DE", LIFECYCLE)


def test_the_future_is_only_for_forecasts() -> None:
    """An observation of a time to come is misdated; a clock that is minutes ahead is not."""
    ahead = statement(interval=Window.starting(NOW + HOUR, HOUR))
    assert gate.misdated(ahead, NOW)
    assert gate.misdated(ahead, NOW, forecast=True) == ""
    assert gate.misdated(statement(interval=Window.starting(NOW + timedelta(minutes=4), HOUR)), NOW) == ""
    assert gate.misdated(statement(issued_at=NOW + HOUR), NOW, forecast=True)
    assert gate.misdated(statement(interval=Window(NOW, NOW)), NOW)
    assert "24 hours" in gate.misdated(statement(interval=Window.starting(NOW - 24 * HOUR, 24 * HOUR)), NOW)


@pytest.mark.parametrize("grams", [-1.0, -0.001, 2000.1, 1e6, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("basis", [LIFECYCLE, DIRECT], ids=["lifecycle", "direct"])
def test_no_grid_has_these(grams: float, basis: Basis) -> None:
    """Negative, enormous and no numbers."""
    assert gate.impossible(grams, basis)


def test_zero_is_possible_for_the_stack_alone() -> None:
    """Building power stations emits, so life-cycle intensity is never 0."""
    assert gate.impossible(0.0, LIFECYCLE)
    assert gate.impossible(0.0, DIRECT) == ""


@given(st.lists(levels, min_size=24, max_size=60))
def test_what_was_seen_before_is_never_out_of_range(past: list[float]) -> None:
    """Every value of the past is believed again."""
    assert all(gate.out_of_range(value, past, ()) == "" for value in past)


@given(levels, st.lists(levels, min_size=24, max_size=60))
def test_a_wider_past_never_doubts_more(value: float, past: list[float]) -> None:
    """Knowing one more value of the zone can only make others more believable."""
    if gate.out_of_range(value, past, ()) == "":
        assert gate.out_of_range(value, [*past, 1.0, 1500.0], ()) == ""


@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_a_unit_error_is_out_of_range(factor: float) -> None:
    """Grams for kilograms, per MWh for per kWh."""
    assert gate.out_of_range(DAY[0] * factor, DAY, ())


def test_a_record_low_has_to_be_near_the_last_one() -> None:
    """A fifth below all of the past may be; further below it is not believed, however plausible for a grid."""
    assert gate.out_of_range(300.0 / 1.25, DAY * 3, ()) == ""
    assert "300..415" in gate.out_of_range(300.0 / 1.3, DAY * 3, ())


def test_a_zero_counts_where_the_zone_has_been_at_zero() -> None:
    """A missing number is often written as 0, and in the cleanest grids 0 is near enough to the truth to attract."""
    clean = [0.7, 0.9, 1.1] * 40
    assert gate.out_of_range(0.1, clean, ()) == ""
    assert gate.out_of_range(0.0, clean, ())
    assert gate.out_of_range(0.0, [0.0, *clean], ()) == ""
    assert gate.out_of_range(0.0, clean, [0.0] * 48) == ""


def test_a_zone_does_not_get_low_step_by_step() -> None:
    """Lows of the last two days do not widen the band: each of these is near the one before."""
    past = [*DAY * 3, 260.0, 220.0]
    assert gate.out_of_range(190.0, past, ())
    assert gate.out_of_range(190.0, [*past, *DAY * 2], ()) == ""


def test_two_watched_days_of_a_new_level_are_believed() -> None:
    """Two days of statements that agree make the next one believable; one statement fewer does not."""
    new = [1800.0] * 48
    assert gate.out_of_range(1800.0, DAY, new) == ""
    assert gate.out_of_range(1800.0, DAY, new[1:])
    assert gate.out_of_range(20.0, DAY, new)


@given(levels, levels)
def test_a_step_is_the_same_both_ways(one: float, other: float) -> None:
    """Up or down is as far, and nowhere is no way."""
    assert gate.step(one, other) == pytest.approx(gate.step(other, one))
    assert gate.step(one, one) == 0


@given(levels, levels, st.floats(0, 3))
def test_a_zone_that_moves_more_jumps_less(one: float, other: float, largest: float) -> None:
    """What is no jump for a calm zone is none for a livelier one, and small changes are none for anybody."""
    size = gate.step(one, other)
    if not gate.is_jump(size, largest):
        assert not gate.is_jump(size, largest + 1)
    assert not gate.is_jump(0.2, 0.0)
    assert gate.is_jump(gate.step(300, 300 / 2.2046), 0.3)


def test_without_a_past_the_year_is_the_yardstick() -> None:
    """Less than a day says nothing; the packaged mean catches a wrong unit, for its own basis only."""
    assert gate.out_of_range(9.0, DAY[:23], ()) == ""
    assert gate.far_from_year(0.3, LIFECYCLE, 300.0)
    assert gate.far_from_year(100.0, LIFECYCLE, 300.0) == ""
    assert gate.far_from_year(0.3, DIRECT, 300.0) == ""
    assert gate.far_from_year(0.3, LIFECYCLE, None) == ""


def test_a_standstill_is_noticed_where_the_grid_moves() -> None:
    """Four hours of the same number on a grid that never did that are a frozen feed."""
    moving = DAY * 14
    assert gate.stands_still(350.0, [*moving, *[350.0] * 2]) == ""
    assert "4 h" in gate.stands_still(350.0, [*moving, *[350.0] * 3])


def test_a_standstill_has_to_be_twice_as_long_as_ever() -> None:
    """A grid that was the same for five hours once may be so for nine."""
    before = [*DAY * 7, *[350.0] * 5, *DAY * 7]
    assert gate.stands_still(350.0, [*before, *[350.0] * 8]) == ""
    assert "10 h" in gate.stands_still(350.0, [*before, *[350.0] * 9])


def test_grids_that_stand_still_by_nature_are_let_be() -> None:
    """Clean grids for a day, very clean ones for ever; a grid that hardly ever moves, or too short a past, also."""
    assert gate.stands_still(16.0, [16.0 + n % 12 for n in range(300)] + [16.0] * 40) == ""
    assert gate.stands_still(40.0, [40.0 + n % 12 for n in range(300)] + [40.0] * 22) == ""
    assert "24 h" in gate.stands_still(40.0, [40.0 + n % 12 for n in range(300)] + [40.0] * 23)
    assert gate.stands_still(28.0, [28.0] * 400) == ""
    assert gate.stands_still(350.0, [*DAY * 6, *[350.0] * 40]) == ""


def test_to_take_back_a_day_at_once_is_noticed() -> None:
    """Most of at least six hours by more than 10 %; a few corrections, small ones, and unchanged hours are ordinary."""
    halved = [(grams, grams / 2) for grams in DAY]
    assert "24 of 24" in gate.takes_back(halved)
    assert "13 of 24" in gate.takes_back([*halved[:13], *((g, g) for g in DAY[13:])])
    assert gate.takes_back([*halved[:12], *((g, g) for g in DAY[12:])]) == ""
    assert gate.takes_back(halved[:5]) == ""
    assert gate.takes_back([(grams, grams * 1.09) for grams in DAY]) == ""
