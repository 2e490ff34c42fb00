"""What a replica's energy is counted by once its offer is sold no longer: never nothing, and never a guess."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.control.metering import AS_LAST_SAMPLED, facts_of
from tests.builders import candidate, replica
from tests.store_samples import a_sample

DE = candidate("aws/de", 300.0, usd=1.5)
FR = candidate("aws/fr", 40.0, usd=1.6)
MINE = replica(DE)


def test_its_own_offer_counts_where_there_is_one() -> None:
    """Shape and region of the offer, whatever was sampled before."""
    found = facts_of(MINE, {DE.offer.id: DE.offer, FR.offer.id: FR.offer}, a_sample())

    assert found is not None
    assert (found.power, found.pue, found.shape) == (DE.offer.shape.power, DE.offer.region.pue, DE.offer.shape)


def test_other_offers_tell_of_the_shape_and_the_last_sample_of_the_place() -> None:
    """The same machine is sold elsewhere still, and the PUE of the place is in the ledger."""
    found = facts_of(MINE, {FR.offer.id: FR.offer}, a_sample(pue=1.37))

    assert found is not None
    assert (found.power, found.pue, found.shape) == (FR.offer.shape.power, 1.37, FR.offer.shape)


def test_a_machine_that_nobody_sells_draws_what_it_drew() -> None:
    """As in the last sample, at any load, and said so."""
    found = facts_of(replace(MINE, shape="9xODD"), {FR.offer.id: FR.offer}, a_sample(watts=301.7, pue=1.37))

    assert found is not None
    assert (found.power.watts(0.0), found.power.watts(64.0), found.pue) == (301.7, 301.7, 1.37)
    assert (found.power.method, found.shape) == (AS_LAST_SAMPLED, None)


def test_what_was_never_known_stays_unknown() -> None:
    """No sample and no offer of its place: there is no PUE, so there is no energy. Nor with an offer that has none."""
    blank = replace(DE.offer, region=replace(DE.offer.region, pue=None))

    assert facts_of(MINE, {FR.offer.id: FR.offer}, None) is None
    assert facts_of(MINE, {blank.id: blank}, a_sample()) is None
