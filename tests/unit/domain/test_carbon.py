"""Carbon intensity: a number that knows where it comes from, or an honest gap."""

from datetime import timedelta

import pytest

from orchestrator.domain.carbon import (
    MARKS,
    WEAKNESS,
    Accounting,
    Basis,
    CarbonIntensity,
    CarbonSeries,
    Factors,
    Kind,
    weakest,
)
from orchestrator.domain.time import HOUR, Instant, Window
from tests.builders import MINUTE, NOON, intensity, series


class TestOneNumber:
    @pytest.mark.parametrize("grams", [-0.001, 2000.1, 41_000.0, float("nan"), float("inf"), float("-inf")])
    def test_what_no_grid_can_have_is_refused(self, grams: float) -> None:
        """A unit error (t, lb or mg for g) must fail loudly where it enters and never steer a placement."""
        with pytest.raises(ValueError, match="SE"):
            intensity("SE", grams)

    @pytest.mark.parametrize("grams", [0.0, 12.5, 1100.0, 2000.0])
    def test_what_grids_do_have_is_taken(self, grams: float) -> None:
        """Zero is a number too: a windy hour may have it. It only never stands for "unknown"."""
        assert intensity("SE", grams).grams_per_kwh == grams

    def test_it_does_not_age_while_the_hour_lasts(self) -> None:
        """Age counts from the end of what the number describes, not from when we asked."""
        value = intensity("SE", 30.0)
        assert value.age(NOON) == timedelta(0)
        assert value.age(NOON + 59 * MINUTE) == timedelta(0)
        assert value.age(NOON + 100 * MINUTE) == 40 * MINUTE

    def test_reading_it_again_later_does_not_make_it_young(self) -> None:
        """A cached or re-fetched old value is still old."""
        old = CarbonIntensity(
            "SE", 30.0, Window.starting(NOON - 9 * HOUR, HOUR), Kind.MEASURED, "api", NOON - 8 * HOUR, fetched_at=NOON
        )
        assert old.age(NOON) == 8 * HOUR


class TestSeries:
    def test_another_zones_point_is_refused(self) -> None:
        """A series that mixes zones would average two grids into one that does not exist."""
        with pytest.raises(ValueError, match="another zone"):
            CarbonSeries("SE", (intensity("PL", 700.0),))

    def test_mixed_accounting_is_refused(self) -> None:
        """Average and marginal, life-cycle and direct: different questions, never one sum."""
        average = intensity("SE", 30.0)
        marginal = CarbonIntensity(
            "SE",
            300.0,
            Window.starting(NOON + HOUR, HOUR),
            Kind.MEASURED,
            "api",
            NOON,
            NOON,
            Basis(Accounting.MARGINAL, Factors.DIRECT),
        )
        with pytest.raises(ValueError, match="mixes accounting"):
            CarbonSeries("SE", (average, marginal))

    @pytest.mark.parametrize(
        "starts",
        [(NOON + HOUR, NOON), (NOON, NOON), (NOON, NOON + 30 * MINUTE)],
        ids=["backwards", "twice", "overlapping"],
    )
    def test_what_would_count_an_hour_twice_is_refused(self, starts: tuple[Instant, ...]) -> None:
        """Points are in order and disjoint, so that a mean over them means something."""
        with pytest.raises(ValueError, match="not in order"):
            CarbonSeries("SE", tuple(intensity("SE", 30.0, start) for start in starts))

    def test_a_hole_stays_a_hole(self) -> None:
        """Between two known hours nothing is interpolated."""
        holed = series("SE", [10.0, None, 30.0])
        assert holed.at(NOON + 90 * MINUTE) is None
        assert holed.at(NOON - MINUTE) is None
        assert holed.at(NOON + 3 * HOUR) is None
        found = holed.at(NOON + 2 * HOUR)
        assert found is not None
        assert found.grams_per_kwh == 30.0

    def test_the_mean_weighs_by_time(self) -> None:
        """A quarter of an hour counts a quarter of an hour, whatever the resolution of the source."""
        mixed = CarbonSeries("GB", (intensity("GB", 100.0, hours=1), intensity("GB", 500.0, NOON + HOUR, hours=0.25)))
        assert mixed.mean_grams_per_kwh() == pytest.approx((100.0 + 500.0 * 0.25) / 1.25)

    def test_the_mean_of_nothing_is_unknown(self) -> None:
        """No points: no mean, no kind. Not zero."""
        empty = CarbonSeries("SE", ())
        assert empty.mean_grams_per_kwh() is None
        assert empty.kind is None

    def test_it_is_as_good_as_its_weakest_point(self) -> None:
        """One synthetic hour among measured ones makes the series synthetic: averaging hides nothing."""
        points = (
            intensity("SE", 30.0),
            intensity("SE", 30.0, NOON + HOUR, kind=Kind.SYNTHETIC),
            intensity("SE", 30.0, NOON + 2 * HOUR, kind=Kind.ESTIMATED),
        )
        assert CarbonSeries("SE", points).kind is Kind.SYNTHETIC


class TestKinds:
    def test_every_kind_has_a_rank_and_a_mark(self) -> None:
        """A new kind must say how weak it is and how tables mark it; no two look alike."""
        assert set(WEAKNESS) == set(Kind)
        assert len(WEAKNESS) == len(Kind)
        assert set(MARKS) == set(Kind)
        assert len(set(MARKS.values())) == len(MARKS)

    def test_measured_beats_everything_and_synthetic_nothing(self) -> None:
        """What was measured is named only when everything was; what was made up always shows."""
        assert weakest(list(Kind)) is Kind.SYNTHETIC
        assert weakest([Kind.MEASURED, Kind.MEASURED]) is Kind.MEASURED
        assert weakest([Kind.MEASURED, Kind.FORECAST]) is Kind.FORECAST


def test_the_phases_of_a_series_are_those_of_the_edges_that_are_still_to_come() -> None:
    """A point from 12:00 to 13:00 has two edges of one phase; what is over has none."""
    hourly = series("SE", [30.0, None, 40.0])

    assert hourly.phases_after(NOON) == {HOUR}
    assert hourly.phases_after(NOON + 20 * MINUTE) == {40 * MINUTE}
    assert hourly.phases_after(NOON + 3 * HOUR) == frozenset()
    odd = CarbonSeries("SE", (intensity("SE", 30.0, NOON), intensity("SE", 40.0, NOON + 90 * MINUTE)))
    assert odd.phases_after(NOON + 20 * MINUTE) == {40 * MINUTE, 10 * MINUTE}
