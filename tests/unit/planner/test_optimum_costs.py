from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.planner.optimum.costs import DEARER_THAN_ANY, TAIL_HOURS, Physics, charge
from orchestrator.planner.optimum.problem import Weights

MONEY, GRAMS = Weights(1.0, 0.0), Weights(0.0, 1.0)


def two_regions() -> Physics:
    """A dear clean region and a cheap dirty one, the same machine in both, two steps of one and two hours."""
    return Physics(
        step_hours=np.array([1.0, 2.0]),
        region_of=np.array([0, 1]),
        capacity=np.array([100.0, 100.0]),
        idle_kw=np.array([0.5, 0.5]),
        full_kw=np.array([1.5, 1.5]),
        price=np.array([[4.0, 4.0], [3.0, 3.0]]),
        pue=np.array([1.1, 1.4]),
        intensity=np.array([[50.0, 60.0], [500.0, 400.0]]),
        cold_start_hours=np.array([0.2, 0.2]),
        drain_hours=0.1,
        weights_gb=100.0,
        egress_usd_per_gb=np.array([0.02, 0.05]),
        transfer_kwh_per_gb=0.03,
    )


def test_a_step_pays_for_its_hours_and_its_facility() -> None:
    """Rent is price times hours; grams are idle energy times PUE times intensity, and nothing for the hardware."""
    charges = charge(two_regions(), MONEY)

    assert charges.rent_usd.tolist() == [[4.0, 8.0], [3.0, 6.0]]
    assert charges.rent_grams[1] == pytest.approx([0.5 * 1.4 * 500, 2 * (0.5 * 1.4 * 400)])


def test_traffic_pays_for_what_it_adds() -> None:
    """A fully loaded replica emits what full power does, idle and traffic together."""
    charges = charge(two_regions(), GRAMS)

    full = charges.rent_grams[0, 0] + 100.0 * charges.traffic_grams[0, 0]
    assert full == pytest.approx(1.5 * 1.1 * 50)


def test_a_start_pays_for_loading_draining_and_the_copy() -> None:
    """Both replicas' rent while they overlap, egress, 70 % of full power while loading, and the network's energy."""
    charges = charge(two_regions(), MONEY)

    assert charges.start_usd[1, 0] == pytest.approx(3.0 * 0.3 + 0.05 * 100)
    energy = 0.7 * 1.5 * 0.2 + 1.0 * 0.1 + 0.03 * 100
    assert charges.start_grams[1, 0] == pytest.approx(energy * 1.4 * 500)


def test_the_end_charges_what_going_on_costs_more_than_the_best() -> None:
    """The best offer's end is free; another's is a week of the difference, at most the start that would end it."""
    by_usd = charge(two_regions(), MONEY)
    assert by_usd.end_usd[1] == 0.0
    assert by_usd.end_usd[0] == pytest.approx(min(TAIL_HOURS * 1.0, 3.0 * 0.3 + 5.0))

    cheap_starts = replace(two_regions(), price=np.array([[3.01, 3.01], [3.0, 3.0]]))
    assert charge(cheap_starts, MONEY).end_usd[0] == pytest.approx(TAIL_HOURS * 0.01)


def test_leaving_demand_over_is_dearer_than_anything_on_sale() -> None:
    """The penalty is above rent and start of the dearest token/s in every step, and counts only what is sold."""
    charges = charge(two_regions(), MONEY)
    dearest = ((charges.rent_usd + charges.start_usd) / 100.0).max(axis=0)

    assert charges.shortfall.tolist() == pytest.approx((DEARER_THAN_ANY * dearest).tolist())
    assert (charges.exposure < charges.shortfall).all()
    cheap_only = charge(two_regions(), GRAMS, sold=np.array([True, False]))
    assert (cheap_only.shortfall < charge(two_regions(), GRAMS).shortfall).all()
