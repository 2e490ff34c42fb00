"""Cutting running time into energy samples: no joule and no token is lost or doubled."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries, Kind
from orchestrator.domain.energy import EnergyMethod, EnergySample
from orchestrator.domain.time import HOUR, Window
from orchestrator.ledger.sampling import IntensityIn, Load, counted_until, cut, known_or_latest, samples_for, settle
from tests.builders import L4, MINUTE, NOON, SECOND, candidate, intensity, replica

SE = candidate("aws/se", 30.0, usd=3.6)
BUSY = Load(mean_batch=4.0, prompt_tokens=600, output_tokens=61)


def constant(grams: float, kind: Kind = Kind.MEASURED, source: str = "test") -> IntensityIn:
    """Return a grid that has always had this intensity."""
    return lambda zone, window: intensity(zone, grams, window.start, kind=kind, source=source)


def dark(_zone: str, _window: Window) -> CarbonIntensity | None:
    """Know nothing."""
    return None


def sampled(
    window: Window, load: Load = BUSY, grid: IntensityIn | None = None, clock_rate: float = 1.0, **changes: object
) -> tuple[EnergySample, ...]:
    """Sample a replica in Sweden over a window."""
    one = replace(replica(SE), **changes)  # type: ignore[arg-type]
    return samples_for(one, window, load, L4, 1.1, grid or constant(30.0), clock_rate)


class TestCutting:
    def test_minutes(self) -> None:
        """Two and a half minutes are two minutes and a half."""
        pieces = list(cut(Window.starting(NOON, 150 * SECOND), 1.0))
        assert [p.length for p in pieces] == [MINUTE, MINUTE, 30 * SECOND]

    def test_never_across_an_hour(self) -> None:
        """Intensities change on the hour, so samples end there."""
        pieces = list(cut(Window(NOON - 30 * SECOND, NOON + 30 * SECOND), 1.0))
        assert pieces == [Window(NOON - 30 * SECOND, NOON), Window(NOON, NOON + 30 * SECOND)]

    def test_a_minute_is_one_of_the_engine(self) -> None:
        """On a grid replayed 60 times faster an hour passes in a minute; at 3600 the hour is the limit."""
        assert len(list(cut(Window.starting(NOON, 2 * HOUR), 60.0))) == 2
        assert len(list(cut(Window.starting(NOON, 2 * HOUR), 3600.0))) == 2
        assert len(list(cut(Window.starting(NOON, HOUR), 30.0))) == 2

    def test_nothing_is_nothing(self) -> None:
        """An empty window has no samples."""
        assert list(cut(Window(NOON, NOON), 1.0)) == []
        assert sampled(Window(NOON, NOON)) == ()


class TestOneSample:
    def test_its_numbers_follow_from_one_another(self) -> None:
        """Watts times seconds are joules, with the PUE at the facility's meter, with the intensity grams."""
        (one,) = sampled(Window.starting(NOON, MINUTE))
        assert one.watts == L4.watts(4.0)
        assert one.engine_seconds == 60.0
        assert one.it_joules == pytest.approx(one.watts * 60)
        assert one.facility_joules == pytest.approx(one.it_joules * 1.1)
        assert one.grams == pytest.approx(one.facility_joules / 3.6e6 * 30)
        assert one.usd == pytest.approx(3.6 * 60 / 3600)

    def test_it_says_how_it_was_made(self) -> None:
        """Modelled, by which model, with which uncertainty; the intensity with its kind and source."""
        (one,) = sampled(Window.starting(NOON, MINUTE), replace(BUSY, note="nobody looked in between"))
        assert one.method is EnergyMethod.MODELLED
        assert one.method_detail == "saturating; nobody looked in between"
        assert one.uncertainty_fraction == L4.uncertainty_fraction
        assert (one.grams_per_kwh, one.intensity_kind, one.intensity_source) == (30.0, Kind.MEASURED, "test")

    def test_reading_prompts_takes_full_power(self) -> None:
        """For the part of the time that it takes; the sample says so, and the joules follow."""
        (one,) = sampled(Window.starting(NOON, MINUTE), replace(BUSY, reading=0.25))
        assert one.watts == pytest.approx(0.25 * L4.full_watts + 0.75 * L4.watts(4.0))
        assert one.it_joules == pytest.approx(one.watts * 60)
        assert one.method_detail == "saturating, full power while it reads prompts"

    def test_joules_are_physical(self) -> None:
        """A replayed hour in which the engine ran for a minute draws a minute's joules."""
        (real,) = sampled(Window.starting(NOON, MINUTE))
        (replayed,) = sampled(Window.starting(NOON, HOUR), clock_rate=60.0)
        assert replayed.engine_seconds == pytest.approx(real.engine_seconds)
        assert replayed.facility_joules == pytest.approx(real.facility_joules)
        assert replayed.usd == pytest.approx(real.usd)

    def test_an_unknown_intensity_is_no_zero(self) -> None:
        """The joules are there, the grams are not."""
        (one,) = sampled(Window.starting(NOON, MINUTE), grid=dark)
        assert one.facility_joules > 0
        assert one.grams is one.grams_per_kwh is None
        assert one.intensity_kind is None

    def test_a_region_without_a_zone_has_no_grams(self) -> None:
        """Nobody is asked for the intensity of nowhere."""
        (one,) = sampled(Window.starting(NOON, MINUTE), zone=None)
        assert one.grams is None

    def test_a_clean_grid_is_no_gap(self) -> None:
        """At 0 g/kWh the grams are known to be zero."""
        (one,) = sampled(Window.starting(NOON, MINUTE), grid=constant(0.0))
        assert one.grams == 0.0

    def test_an_unpriced_replica_has_no_dollars(self) -> None:
        """Not free: unknown."""
        (one,) = sampled(Window.starting(NOON, MINUTE), usd_per_hour=None)
        assert one.usd is None

    def test_each_piece_has_the_intensity_of_its_hour(self) -> None:
        """Across the hour the number changes."""
        grid = {NOON - HOUR: 100.0, NOON: 300.0}
        found = sampled(
            Window(NOON - MINUTE, NOON + MINUTE),
            grid=lambda zone, w: intensity(zone, grid[w.start.replace(minute=0)], w.start),
        )
        assert [s.grams_per_kwh for s in found] == [100.0, 300.0]


class TestTokens:
    def test_they_are_spread_by_time(self) -> None:
        """Also when there are fewer tokens than pieces: none of them gathers at the end."""
        found = sampled(Window.starting(NOON, 100 * MINUTE), Load(1.0, 0, 40))
        for count in range(1, 101):
            assert sum(s.output_tokens for s in found[:count]) == pytest.approx(40 * count / 100, abs=0.51)

    def test_short_pieces_get_short_shares(self) -> None:
        """By their length, not by their number."""
        found = sampled(Window(NOON - 20 * SECOND, NOON + 40 * SECOND), Load(1.0, 300, 30))
        assert [(s.prompt_tokens, s.output_tokens) for s in found] == [(100, 10), (200, 20)]


class TestSettling:
    def test_it_takes_the_final_number(self) -> None:
        """An hour's intensity is often published after the hour; nothing but the grams changes."""
        provisional = sampled(Window.starting(NOON, 3 * MINUTE), grid=constant(30.0, Kind.FORECAST))
        final = settle(provisional, constant(60.0))
        for before, after in zip(provisional, final, strict=True):
            assert after.grams == pytest.approx(2 * (before.grams or 0))
            assert after.intensity_kind is Kind.MEASURED
            priced = {"grams", "grams_per_kwh", "intensity_kind", "intensity_source"}
            kept = {f: getattr(before, f) for f in EnergySample.__slots__ if f not in priced}
            assert kept == {f: getattr(after, f) for f in kept}

    def test_it_lights_what_was_dark(self) -> None:
        """A gap that was filled later gets its grams."""
        (settled,) = settle(sampled(Window.starting(NOON, MINUTE), grid=dark), constant(60.0))
        assert settled.grams is not None

    def test_it_never_forgets(self) -> None:
        """What is still unknown keeps the number that it was stored with."""
        provisional = sampled(Window.starting(NOON, MINUTE))
        assert settle(provisional, dark) == provisional

    def test_another_source_that_knows_less_is_no_news(self) -> None:
        """A profile's likeness of an hour does not take the place of what was measured, once the meter forgets it."""
        measured = sampled(Window.starting(NOON, MINUTE))
        for kind in (Kind.ESTIMATED, Kind.DERIVED, Kind.SYNTHETIC):
            assert settle(measured, constant(300.0, kind, source="profile")) == measured

    def test_another_source_that_knows_as_much_is_heard(self) -> None:
        """Or more; and whatever it is, where nothing was known."""
        derived = sampled(Window.starting(NOON, MINUTE), grid=constant(30.0, Kind.DERIVED))
        for kind in (Kind.MEASURED, Kind.DERIVED):
            (found,) = settle(derived, constant(60.0, kind, source="another"))
            assert (found.grams_per_kwh, found.intensity_source) == (60.0, "another")
        (lit,) = settle(sampled(Window.starting(NOON, MINUTE), grid=dark), constant(300.0, Kind.SYNTHETIC))
        assert lit.intensity_kind is Kind.SYNTHETIC

    def test_a_source_may_correct_itself(self) -> None:
        """What it gave out as measured for want of anything better may turn out to be an estimate."""
        (found,) = settle(sampled(Window.starting(NOON, MINUTE)), constant(60.0, Kind.ESTIMATED))
        assert (found.grams_per_kwh, found.intensity_kind) == (60.0, Kind.ESTIMATED)

    def test_twice_is_once(self) -> None:
        """Settling what is settled changes nothing."""
        once = settle(sampled(Window.starting(NOON, 3 * MINUTE)), constant(60.0))
        assert settle(once, constant(60.0)) == once

    def test_nowhere_stays_dark(self) -> None:
        """A sample without a zone cannot be settled."""
        found = sampled(Window.starting(NOON, MINUTE), zone=None)
        assert settle(found, constant(60.0)) == found


class TestProvisional:
    HOURS = CarbonSeries("SE", tuple(intensity("SE", 30.0 + h, NOON + h * HOUR) for h in (0, 1, 5)))

    def at(self, hours: float) -> float | None:
        """Return what is taken so long after noon, where a value lasts for 90 minutes."""
        found = known_or_latest(self.HOURS, Window.starting(NOON + hours * HOUR, MINUTE), 90 * MINUTE)
        return None if found is None else found.grams_per_kwh

    def test_each_hour_has_its_own_value(self) -> None:
        """From its beginning on."""
        assert [self.at(h) for h in (0, 0.99, 1, 5, 5.99)] == [30.0, 30.0, 31.0, 35.0, 35.0]

    def test_the_last_one_stands_in_for_as_long_as_it_is_fresh(self) -> None:
        """To the end of that time, and no longer; never for what was before it."""
        assert [self.at(h) for h in (2, 3.5, 3.51, 4.99, 7.5, 7.51)] == [31.0, 31.0, None, None, 35.0, None]
        assert self.at(-0.01) is None


class TestGoingOn:
    def test_the_next_stretch_starts_where_the_last_one_ended(self) -> None:
        """A restarted controller neither doubles nor drops a second."""
        found = sampled(Window.starting(NOON, timedelta(seconds=95)))
        assert counted_until(found, NOON) == NOON + 95 * SECOND
        assert counted_until(found[::-1], NOON) == NOON + 95 * SECOND

    def test_a_new_replica_starts_at_its_beginning(self) -> None:
        """Without samples the fallback holds."""
        assert counted_until((), NOON) == NOON
