"""Round trips from distance: an estimate, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.places import Region
from orchestrator.domain.service import ClientArea
from orchestrator.policy.latency import AREAS, RTT_BY_DISTANCE_KM, distance_km, estimated_rtt_ms, rtt_at
from orchestrator.regions.catalogue import RegionCatalogue


def region(latitude: float | None, longitude: float | None) -> Region:
    """A place on the map, or one that nobody has found."""
    return Region("x/y", "SE", 1.1, "test", latitude=latitude, longitude=longitude)


def test_known_distances() -> None:
    """London to New York is 5,570 km; a quarter of a meridian is 10,008 km on a sphere of that radius."""
    assert distance_km((51.5074, -0.1278), (40.7128, -74.0060)) == pytest.approx(5570, abs=5)
    assert distance_km((0, 0), (90, 0)) == pytest.approx(10007.6, abs=0.5)
    assert distance_km((10, 20), (10, 20)) == 0


@pytest.mark.parametrize(("km", "ms"), RTT_BY_DISTANCE_KM)
def test_the_curve_goes_through_the_measured_medians(km: float, ms: float) -> None:
    """And straight on in between."""
    assert rtt_at(km) == pytest.approx(ms)


@given(st.floats(0, 20_100), st.floats(0, 20_100))
def test_farther_is_never_quicker(one: float, other: float) -> None:
    """Ranking is what it is for."""
    near, far = sorted((one, other))
    assert rtt_at(near) <= rtt_at(far) + 1e-9


def test_clients_count_by_their_weights() -> None:
    """Nine of ten in Europe: Stockholm is nearer than Virginia."""
    clients = (ClientArea("eu", 0.9), ClientArea("us-east", 0.1))
    packaged = RegionCatalogue.packaged()
    north, east = (estimated_rtt_ms(clients, packaged.get(r)) for r in ("aws/eu-north-1", "aws/us-east-1"))
    assert north is not None
    assert east is not None
    assert 20 < north < 50 < east
    alone = estimated_rtt_ms((ClientArea("us-east", 1.0),), packaged.get("aws/us-east-1"))
    assert alone == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("clients", "place"),
    [
        ((), region(50.0, 8.0)),
        ((ClientArea("eu", 1.0),), region(None, 8.0)),
        ((ClientArea("eu", 0.5), ClientArea("mars", 0.5)), region(50.0, 8.0)),
    ],
    ids=["no clients", "no coordinates", "an area that nobody knows"],
)
def test_what_cannot_be_told_is_unknown(clients: tuple[ClientArea, ...], place: Region) -> None:
    """Never zero, and never the mean of the others."""
    assert estimated_rtt_ms(clients, place) is None


def test_every_area_is_near_a_region_of_the_catalogue() -> None:
    """Within 300 km: a slip of a sign would put it into a sea."""
    known = [(r.latitude, r.longitude) for r in RegionCatalogue.packaged().all() if r.latitude and r.longitude]
    for place in AREAS.values():
        assert min(distance_km(place, there) for there in known) < 300
