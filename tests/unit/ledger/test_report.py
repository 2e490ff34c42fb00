"""Totals of a service beside honest rivals."""

from dataclasses import replace

import pytest

from orchestrator.domain.carbon import Kind
from orchestrator.domain.energy import EnergyMethod, EnergySample, grams_from
from orchestrator.domain.time import HOUR, Window
from orchestrator.ledger.report import Alternative, IntensityAt, Place, Report, period_of, report
from tests.builders import MINUTE, NOON

DAY = Window.starting(NOON, 24 * HOUR)


def sample(
    number: int = 0, joules: float = 3.6e6, grams_per_kwh: float | None = 30.0, **changes: object
) -> EnergySample:
    """Make the sample of one minute with so many IT joules at PUE 1.2, costing a cent, with ten output tokens."""
    facility = joules * 1.2
    made = EnergySample(
        service="chat",
        replica="gc-a",
        region="aws/se",
        zone="SE",
        window=Window.starting(NOON + number * MINUTE, MINUTE),
        engine_seconds=60.0,
        mean_batch=4.0,
        watts=joules / 60,
        it_joules=joules,
        pue=1.2,
        facility_joules=facility,
        grams_per_kwh=grams_per_kwh,
        intensity_kind=None if grams_per_kwh is None else Kind.MEASURED,
        intensity_source="" if grams_per_kwh is None else "test",
        grams=None if grams_per_kwh is None else grams_from(facility, grams_per_kwh),
        usd=0.01,
        prompt_tokens=100,
        output_tokens=10,
        method=EnergyMethod.MODELLED,
        method_detail="saturating",
        uncertainty_fraction=0.3,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def rival(*places: Place) -> Alternative:
    """Make a rival that always stands in these places; in Poland unless told otherwise."""
    chosen = places or (place(),)
    return Alternative("home", "aws/pl", "where it would have been", lambda _window: chosen)


def place(zone: str = "PL", pue: float = 1.1, usd_per_hour: float | None = 0.3) -> Place:
    """Make a place."""
    return Place(f"aws/{zone.lower()}", zone, pue, usd_per_hour)


def poland(grams: float | None = 700.0) -> IntensityAt:
    """Return what Poland emits at any time."""
    return lambda zone, window: grams if zone == "PL" and window.length > 0 * MINUTE else None


def totals(*samples: EnergySample, grid: IntensityAt | None = None, against: Alternative | None = None) -> Report:
    """Report on samples against one rival."""
    return report("chat", DAY, samples, [against or rival()], grid or poland())


class TestTotals:
    def test_they_are_sums(self) -> None:
        """Energy with and without the PUE, grams, dollars, tokens, time."""
        found = totals(sample(0), sample(1))
        assert found.it_joules == pytest.approx(7.2e6)
        assert found.kwh == pytest.approx(2.4)
        assert found.grams == pytest.approx(72.0)
        assert found.usd == pytest.approx(0.02)
        assert (found.prompt_tokens, found.output_tokens) == (200, 20)
        assert (found.engine_seconds, found.clock_rate) == (120.0, 1.0)

    def test_intensity_per_thousand_tokens(self) -> None:
        """The operational part of SCI, and joules per token."""
        found = totals(sample())
        assert found.grams_per_1000_output_tokens == pytest.approx(36.0 / 10 * 1000)
        assert found.joules_per_output_token == pytest.approx(4.32e6 / 10)

    def test_unknown_grams_stand_apart(self) -> None:
        """Their joules are in the energy and not in the grams, and how much is known is said."""
        found = totals(sample(0), sample(1, grams_per_kwh=None))
        assert found.grams == pytest.approx(36.0)
        assert found.joules == pytest.approx(2 * 4.32e6)
        assert found.known_joules == pytest.approx(4.32e6)

    def test_tokens_of_unknown_grams_do_not_dilute_the_known_ones(self) -> None:
        """Grams per token: both of the same samples. Otherwise a dark hour would look clean."""
        lit, half_dark = totals(sample(0)), totals(sample(0), sample(1, grams_per_kwh=None))
        assert half_dark.grams_per_1000_output_tokens == lit.grams_per_1000_output_tokens

    def test_nothing_known_is_no_zero(self) -> None:
        """Without any intensity: no grams, no grams per token, no kind."""
        found = totals(sample(grams_per_kwh=None), sample(1, grams_per_kwh=None, usd=None))
        assert found.grams is found.grams_per_1000_output_tokens is None
        assert found.intensity_kind is None
        assert found.usd == pytest.approx(0.01)
        assert totals(sample(usd=None)).usd is None

    def test_no_tokens_is_no_division(self) -> None:
        """An idle service emits without serving; per token there is no number."""
        found = totals(sample(output_tokens=0))
        assert found.grams_per_1000_output_tokens is found.joules_per_output_token is None

    def test_nothing_at_all(self) -> None:
        """A service that never ran has an empty report, not a broken one."""
        found = totals()
        assert found.grams is found.usd is found.uncertainty_fraction is None
        assert found.method is None
        assert (found.joules, found.output_tokens, found.regions) == (0, 0, ())
        assert found.clock_rate == 1.0
        assert found.rivals[0].grams is None

    def test_the_weakest_method_and_kind_name_the_whole(self) -> None:
        """One modelled minute makes it modelled, one synthetic hour synthetic; the largest uncertainty holds."""
        found = totals(
            sample(0, method=EnergyMethod.MEASURED, uncertainty_fraction=0.05, method_detail="meter"),
            sample(1, intensity_kind=Kind.SYNTHETIC),
        )
        assert found.method is EnergyMethod.MODELLED
        assert found.intensity_kind is Kind.SYNTHETIC
        assert found.uncertainty_fraction == 0.3
        assert found.method_details == ("meter", "saturating")
        assert totals(sample(method=EnergyMethod.MEASURED)).method is EnergyMethod.MEASURED

    def test_a_replayed_grid_says_how_fast_it_ran(self) -> None:
        """Grid time over engine time."""
        assert totals(sample(engine_seconds=1.0)).clock_rate == pytest.approx(60.0)


class TestRegions:
    def test_each_has_its_line(self) -> None:
        """By name, with its own mean intensity over what is known there."""
        found = totals(
            sample(0),
            sample(1, region="aws/pl", zone="PL", grams_per_kwh=700.0),
            sample(2, grams_per_kwh=None),
        )
        poland_line, sweden_line = found.regions
        assert (poland_line.region, sweden_line.region) == ("aws/pl", "aws/se")
        assert sweden_line.mean_grams_per_kwh == pytest.approx(30.0)
        assert poland_line.mean_grams_per_kwh == pytest.approx(700.0)
        assert sweden_line.replica_hours == pytest.approx(2 / 60)

    def test_they_add_up_to_the_total(self) -> None:
        """Energy, grams, dollars and tokens."""
        found = totals(sample(0), sample(1, region="aws/pl"), sample(2, region="aws/fr"))
        assert sum(line.kwh for line in found.regions) == pytest.approx(found.kwh)
        assert sum(line.grams or 0 for line in found.regions) == pytest.approx(found.grams)
        assert sum(line.usd or 0 for line in found.regions) == pytest.approx(found.usd)
        assert sum(line.output_tokens for line in found.regions) == found.output_tokens

    def test_a_dark_region_has_no_grams(self) -> None:
        """No line is zero for want of a number."""
        (line,) = totals(sample(grams_per_kwh=None)).regions
        assert line.grams is line.mean_grams_per_kwh is None
        assert line.kwh > 0

    def test_hours_without_a_price_are_counted_beside_the_dollars(self) -> None:
        """A sum that covers one of two minutes says that it does."""
        (line,) = totals(sample(0), sample(1, usd=None)).regions
        assert line.usd == pytest.approx(0.01)
        assert line.unpriced_hours == pytest.approx(line.replica_hours / 2)


class TestEmbodied:
    def test_hours_of_known_hardware_are_counted_and_the_rest_is_named(self) -> None:
        """A replica of hardware about which nothing is published is no zero in the sum."""
        hour = sample(0).engine_seconds / 3600
        known = report("chat", DAY, [sample(0), sample(1)], [], poland(), {"gc-a": "1xH100"}).embodied
        assert known.known_hours == pytest.approx(2 * hour)
        assert known.low_grams == pytest.approx(2 * hour * (164 + 2500 / 8) * 1000 / (6 * 8760))
        assert known.unknown_hours == 0
        assert known.low_sci is not None
        assert known.high_sci is not None
        assert known.low_sci < known.high_sci

        dark = report("chat", DAY, [sample(0)], [], poland(), {"gc-a": "1xL4"}).embodied
        assert (dark.low_grams, dark.unknown_shapes) == (0.0, ("1xL4",))
        assert dark.unknown_hours == pytest.approx(hour)
        assert dark.low_sci is None

    def test_the_whole_sci_needs_every_gram(self) -> None:
        """With an hour whose grid was unknown, O is not whole, and then O + M is not either."""
        found = report("chat", DAY, [sample(0), sample(1, grams_per_kwh=None)], [], poland(), {"gc-a": "1xH100"})
        assert found.embodied.low_grams > 0
        assert found.embodied.low_sci is None

    def test_it_is_in_no_sum_and_in_no_comparison(self) -> None:
        """Operational grams and rivals are the same with and without it."""
        without, having = (report("chat", DAY, [sample(0)], [rival()], poland(), s) for s in ({}, {"gc-a": "1xH100"}))
        assert (without.grams, without.rivals, without.regions) == (having.grams, having.rivals, having.regions)


class TestRivals:
    def test_the_same_computing_elsewhere(self) -> None:
        """IT joules are the same, PUE and grid are the rival's."""
        (found,) = totals(sample(0), sample(1)).rivals
        assert found.grams == pytest.approx(2 * 1.1 * 700)
        assert found.known_fraction == 1.0

    def test_both_sides_cover_the_same_joules(self) -> None:
        """What is dark here is not held against the rival either."""
        lit, half_dark = totals(sample(0)), totals(sample(0), sample(1, grams_per_kwh=None))
        assert half_dark.rivals[0].grams == lit.rivals[0].grams

    def test_both_sides_cover_the_same_hours_in_money(self) -> None:
        """What has no price here costs nothing there."""
        priced, half_priced = totals(sample(0)), totals(sample(0), sample(1, usd=None))
        assert half_priced.rivals[0].usd == priced.rivals[0].usd == pytest.approx(0.3 / 60)

    def test_a_rival_with_a_dark_minute_has_no_total(self) -> None:
        """A sum with a hole would make the rival look better than it was; how much is known is said."""
        second_minute_dark: IntensityAt = lambda _zone, window: None if window.start > NOON else 700.0  # noqa: E731
        (found,) = totals(sample(0), sample(1), grid=second_minute_dark).rivals
        assert found.grams is None
        assert found.known_fraction == 0.5

    def test_an_unpriced_rival_has_no_dollars(self) -> None:
        """Unknown, not free."""
        (found,) = totals(sample(), against=rival(place(usd_per_hour=None))).rivals
        assert found.usd is None

    def test_a_rival_in_two_places_shares_the_energy(self) -> None:
        """Half of it in each, at its own PUE, grid and price."""
        grid = {"PL": 700.0, "DE": 300.0}
        both = rival(place("PL", 1.0, 0.3), place("DE", 2.0, 0.6))
        (found,) = totals(sample(), grid=lambda zone, _window: grid[zone], against=both).rivals
        assert found.grams == pytest.approx(0.5 * 700 + 0.5 * 2 * 300)
        assert found.usd == pytest.approx(0.45 / 60)

    def test_one_dark_place_of_two_makes_the_minute_unknown(self) -> None:
        """The other half is not the whole."""
        both = rival(place("PL"), place("DE"))
        (found,) = totals(sample(), against=both).rivals
        assert found.grams is None

    def test_a_rival_that_stands_nowhere_is_unknown(self) -> None:
        """No place in a window means that nothing is known of it: not that it emits nothing."""
        nowhere = Alternative("oracle", "any", "", lambda _window: ())
        (found,) = totals(sample(), against=nowhere).rivals
        assert found.grams is found.usd is None
        assert found.known_fraction == 0.0

    def test_a_rival_may_move_every_hour(self) -> None:
        """Each window is priced where the rival stands then."""
        grid = {"PL": 700.0, "DE": 300.0}
        mover = Alternative("oracle", "any", "", lambda w: (place("PL" if w.start == NOON else "DE", 1.0),))
        (found,) = totals(sample(0), sample(1), grid=lambda zone, _window: grid[zone], against=mover).rivals
        assert found.grams == pytest.approx(1000.0)

    def test_a_rival_on_a_grid_at_zero_emits_nothing(self) -> None:
        """Zero is a number."""
        (found,) = totals(sample(), grid=poland(0.0)).rivals
        assert found.grams == 0.0


class TestPeriod:
    def test_it_spans_the_samples(self) -> None:
        """From the first start to the last end, in any order."""
        assert period_of([sample(3), sample(1)], NOON) == Window(NOON + MINUTE, NOON + 4 * MINUTE)

    def test_without_samples_it_is_empty(self) -> None:
        """At the fallback."""
        assert period_of([], NOON) == Window(NOON, NOON)
