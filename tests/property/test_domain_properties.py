"""What the values themselves keep to."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.control.naming import intent_id, replica_name
from orchestrator.domain.carbon import WEAKNESS, CarbonSeries, Kind, weakest
from orchestrator.domain.energy import grams_from
from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.plan import Action, ActionKind
from orchestrator.domain.time import HOUR, Window, as_utc, floor_hour, format_instant, parse_instant
from orchestrator.domain.units import GRAMS_PER_POUND, joules_to_kwh, pounds_per_mwh_to_grams_per_kwh
from orchestrator.planner.plan import plan
from tests.builders import GREEN, NOON, candidate, intensity, snapshot

instants = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001  # Hypothesis adds the zone
    datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60)),
)
grams = st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=12)


class TestTime:
    @given(instants)
    def test_an_instant_is_read_back_as_written(self, moment: datetime) -> None:
        """To the microsecond, from any zone, as UTC."""
        assert parse_instant(format_instant(moment)) == moment
        assert parse_instant(format_instant(moment)).tzinfo is UTC

    @given(instants)
    def test_the_floor_of_an_hour_is_at_most_an_hour_away(self, moment: datetime) -> None:
        """It lies on the clock's hour, and its own floor is itself."""
        utc = as_utc(moment)
        floor = floor_hour(utc)
        assert utc - HOUR < floor <= utc
        assert floor_hour(floor) == floor

    @given(instants, st.timedeltas(timedelta(0), timedelta(days=2)), st.timedeltas(timedelta(0), timedelta(days=2)))
    def test_every_instant_belongs_to_one_of_two_neighbours(
        self, moment: datetime, length: timedelta, offset: timedelta
    ) -> None:
        """Half-open windows side by side: exactly one of them, if any."""
        one = Window.starting(as_utc(moment), length)
        two = Window.starting(one.end, length)
        inside = as_utc(moment) + offset
        assert (inside in one) + (inside in two) == (offset < 2 * length)


class TestCarbon:
    @given(grams)
    def test_a_mean_lies_between_the_extremes(self, values: list[float]) -> None:
        """Whatever the values and their lengths."""
        mean = row(values).mean_grams_per_kwh()
        assert mean is not None
        assert min(values) - 1e-9 <= mean <= max(values) + 1e-9

    @given(grams, st.data())
    def test_cutting_a_point_in_two_changes_no_mean(self, values: list[float], data: st.DataObject) -> None:
        """Half-hourly and hourly numbers of the same grid say the same."""
        whole = row(values)
        number = data.draw(st.integers(0, len(values) - 1))
        point = whole.points[number]
        middle = point.interval.start + point.interval.length * data.draw(st.floats(0.01, 0.99))
        halves = tuple(
            replace(point, interval=part)
            for part in (Window(point.interval.start, middle), Window(middle, point.interval.end))
        )
        finer = CarbonSeries("SE", (*whole.points[:number], *halves, *whole.points[number + 1 :]))
        assert finer.mean_grams_per_kwh() == pytest.approx(whole.mean_grams_per_kwh(), rel=1e-9, abs=1e-9)
        assert finer.at(middle) == halves[1]

    @given(st.lists(st.sampled_from(Kind), min_size=1))
    def test_the_weakest_kind_is_one_of_them_and_none_is_weaker(self, kinds: list[Kind]) -> None:
        """In whatever order they come."""
        found = weakest(kinds)
        assert found in kinds
        assert WEAKNESS.index(found) == max(WEAKNESS.index(k) for k in kinds)
        assert weakest(kinds[::-1]) is found

    @given(st.floats(0.0, 1e12), st.floats(0.0, 2000.0))
    def test_emissions_are_linear(self, joules: float, intensity_grams: float) -> None:
        """Twice the energy or twice the intensity, twice the grams."""
        one = grams_from(joules, intensity_grams)
        assert one >= 0
        assert grams_from(2 * joules, intensity_grams) == pytest.approx(2 * one)
        assert one == pytest.approx(joules_to_kwh(joules) * intensity_grams)

    @given(st.floats(0.0, 4000.0))
    def test_pounds_come_back_as_pounds(self, pounds: float) -> None:
        """The conversion is exact to rounding."""
        assert pounds_per_mwh_to_grams_per_kwh(pounds) * 1000 / GRAMS_PER_POUND == pytest.approx(pounds)


class TestPower:
    @given(
        st.floats(0.0, 500.0), st.floats(0.0, 900.0), st.floats(0.01, 64.0), st.floats(-4.0, 1e4), st.floats(0.0, 1e4)
    )
    def test_it_rises_with_load_between_idle_and_full(
        self, idle: float, rise: float, knee: float, batch: float, more: float
    ) -> None:
        """Never below idle, never above full, never less for more."""
        model = PowerModel(idle, idle + rise, knee, "saturating", 0.3, "test")
        watts = model.watts(batch)
        assert model.idle_watts <= watts <= model.full_watts + 1e-9
        assert model.watts(batch + more) >= watts - 1e-9


class TestNames:
    @given(
        st.uuids(),
        st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True),
        st.lists(st.tuples(st.text(max_size=20), st.integers(0, 99)), unique=True, max_size=6),
    )
    def test_different_launches_have_different_names_that_a_cloud_accepts(
        self, uid: object, service: str, causes: list[tuple[str, int]]
    ) -> None:
        """Whatever the request is called."""
        names = [replica_name(str(uid), service, intent_id(cause, slot)) for cause, slot in causes]
        assert len(set(names)) == len(names)
        assert all(len(name) <= 63 and name.strip("-") == name and "--gc" not in name for name in names)


class TestDigest:
    @given(st.permutations(range(4)), st.floats(0.01, 100.0), st.integers(0, 3))
    def test_it_knows_no_order_and_every_price(self, order: Sequence[int], usd: float, which: int) -> None:
        """The same actions in any order are the same purchase; another price is not."""
        empty = plan(snapshot([candidate("aws/se", 30.0)], taking_down=True), GREEN, NOON)
        actions = tuple(
            Action(ActionKind.LAUNCH, slot, "", "aws/se:1xL4:on_demand", usd_per_hour=1.0) for slot in range(4)
        )
        made = replace(empty, actions=actions)
        shuffled = replace(empty, actions=tuple(actions[n] for n in order))
        dearer = replace(
            empty, actions=tuple(replace(a, usd_per_hour=1.0 + usd) if a.slot == which else a for a in actions)
        )
        assert made.digest == shuffled.digest
        assert made.digest != dearer.digest


def row(values: Sequence[float]) -> CarbonSeries:
    """Put values one after the other, each a little longer than the one before."""
    points, start = [], NOON
    for number, value in enumerate(values):
        point = intensity("SE", value, start, hours=0.5 + number / 4)
        points.append(point)
        start = point.interval.end
    return CarbonSeries("SE", tuple(points))
