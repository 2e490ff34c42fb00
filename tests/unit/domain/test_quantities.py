"""Power, prices, energy and units: the physics under every gram."""

import math

import pytest

from orchestrator.domain.carbon import Kind
from orchestrator.domain.energy import grams_from
from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.units import joules_to_kwh, pounds_per_mwh_to_grams_per_kwh, watts_to_kw
from tests.builders import L4, NOON, offer


class TestPower:
    def test_an_idle_replica_draws_its_idle_power(self) -> None:
        """Idle is never free."""
        assert L4.watts(0.0) == 60.0

    def test_a_negative_batch_is_no_source_of_energy(self) -> None:
        """Counters that ran backwards are taken as idle."""
        assert L4.watts(-5.0) == L4.watts(0.0)

    def test_the_curve_rises_steeply_and_then_saturates(self) -> None:
        """The first sequence costs more watts than the hundredth, and full power is never passed."""
        first, hundredth = L4.watts(1) - L4.watts(0), L4.watts(100) - L4.watts(99)
        assert first > hundredth >= 0
        assert L4.watts(10_000.0) == pytest.approx(300.0)

    def test_one_knee_is_63_percent_of_the_way(self) -> None:
        """The documented form: 1 - 1/e of the rise at the knee."""
        assert L4.watts(4.0) == pytest.approx(60 + 240 * (1 - 1 / math.e))

    @pytest.mark.parametrize(
        ("idle", "full", "knee"),
        [(-1.0, 300.0, 4.0), (300.0, 60.0, 4.0), (60.0, 300.0, 0.0), (float("nan"), 300.0, 4.0)],
        ids=["negative", "falling", "no-knee", "not-a-number"],
    )
    def test_a_curve_that_makes_no_sense_is_refused(self, idle: float, full: float, knee: float) -> None:
        """Power is neither negative nor falling with load."""
        with pytest.raises(ValueError, match="power model"):
            PowerModel(idle, full, knee, "broken", 0.3, "test")


class TestPrices:
    @pytest.mark.parametrize("usd", [-0.01, float("nan"), float("inf")])
    def test_what_nobody_charges_is_refused(self, usd: float) -> None:
        """A negative or unreadable price would win every comparison."""
        with pytest.raises(ValueError, match="not a price"):
            Price(usd, "list", Kind.RECORDED, NOON)

    def test_free_is_a_price(self) -> None:
        """This machine costs nothing by the hour, which is known, not unknown."""
        assert Price(0.0, "list", Kind.RECORDED, NOON).usd_per_hour == 0.0


class TestUnits:
    def test_a_kilowatt_hour_is_three_point_six_megajoules(self) -> None:
        """Joules are what meters count, kWh what grids publish."""
        assert joules_to_kwh(3_600_000.0) == 1.0
        assert watts_to_kw(1500.0) == 1.5

    def test_watttimes_unit_becomes_ours(self) -> None:
        """1 lb/MWh is 0.45359237 g/kWh by the definition of the pound."""
        assert pounds_per_mwh_to_grams_per_kwh(1000.0) == pytest.approx(453.59237)

    def test_emissions_are_energy_times_intensity(self) -> None:
        """One kWh at 400 g/kWh emits 400 g; no energy emits nothing."""
        assert grams_from(3_600_000.0, 400.0) == 400.0
        assert grams_from(0.0, 400.0) == 0.0


class TestNames:
    def test_an_offer_is_named_by_place_shape_and_market(self) -> None:
        """The same thing sold on spot is another offer."""
        assert offer("aws/eu-north-1").id == "aws/eu-north-1:1xL4:on_demand"
        assert offer("aws/eu-north-1", market=Market.SPOT).id == "aws/eu-north-1:1xL4:spot"

    def test_a_regions_provider_is_the_part_before_the_slash(self) -> None:
        """A region id without a slash has only that."""
        assert Region("gcp/europe-north1", "FI", 1.1, "test").provider == "gcp"
        assert Region("here", "FI", 1.1, "test").provider == "here"
