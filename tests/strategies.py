"""Worlds for Hypothesis: offers with holes in what is known, specs with rules, replicas anywhere in their lives.

Names are few so that rules hit often; numbers are moderate so that a failure is about the logic and not about floats.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from hypothesis import strategies as st

from orchestrator.domain.carbon import Gap
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Candidate
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import (
    CarbonRules,
    MigrationRules,
    Objective,
    PlacementRules,
    Policy,
    ServiceSpec,
    Survives,
    WhenStale,
)
from orchestrator.domain.time import HOUR
from orchestrator.planner.snapshot import Snapshot
from tests.builders import MINUTE, NOON, candidate, offer, replica, service_spec, shape, snapshot, stale

REGIONS = ("aws/se", "aws/fr", "aws/pl", "gcp/se", "gcp/fi", "local/de", "azure/nl")
"""Azure has no provisioner in these worlds."""

RESIDENCIES = (("EU", "EEA"), ("EU", "EEA", "SE"), ("US",))
T = TypeVar("T")
GONE = offer("aws/gone")
"""Nobody sells it any more."""

grams = st.floats(1.0, 700.0)
prices = st.floats(0.01, 20.0)
fractions = st.sampled_from([0.0, 0.05, 0.15, 0.5])
ages = st.sampled_from([timedelta(0), 30 * MINUTE, 90 * MINUTE, 91 * MINUTE, 6 * HOUR])
shapes = st.sampled_from([shape(), shape("2xL4", PowerModel(120.0, 600.0, 8.0, "saturating", 0.3, "test bench"))])
powerless: Shape = shape("odd", None)


def zone_of(region: str) -> str:
    """Return the grid of a region; two providers share the Swedish one."""
    return region.partition("/")[2].upper()


COURSES: tuple[tuple[float | None, ...], ...] = (
    (1.0,) * 26,
    (1.0, 0.9, 0.8, 0.7, 0.6, 0.5) * 4,
    (0.5, 1.0, 1.5, 2.0) * 6,
    (1.0,) + (0.3,) * 24,
    (0.3,) + (1.9,) * 24,
    (1.0, 3.0, *(0.2,) * 20),
    (1.0, 1.0, None, *(0.5,) * 22),
    (None, *(1.0,) * 24),
    (1.0,),
)
"""How a grid goes on from its present value, hour by hour; ``None`` is a hole."""


@st.composite
def known_candidates(draw: st.DrawFn, region: str, market: Market = Market.ON_DEMAND) -> Candidate:
    """Make an offer of which everything is known: fresh, priced, with a full forecast."""
    now = draw(grams)
    course = draw(st.sampled_from(COURSES))
    ahead = [None if factor is None else min(factor * now, 2000.0) for factor in course]
    return candidate(
        region,
        now,
        ahead=ahead,
        usd=draw(prices),
        market=market,
        pue=draw(st.floats(1.0, 2.0)),
        on=draw(shapes),
        residency=draw(st.sampled_from(RESIDENCIES)),
        trailing=draw(st.none() | grams),
    )


def often(*usual: T, rarely: tuple[T, ...] = ()) -> st.SearchStrategy[T]:
    """Draw the usual three times as often as the rest."""
    return st.sampled_from((*usual * (3 * max(1, len(rarely)) // len(usual) + 1), *rarely))


FLAWS = ("price", "power", "pue", "zone", "gap", "stale", "old", "back-off", "back-off over", "other market")


@st.composite
def candidates_of(draw: st.DrawFn, region: str, market: Market) -> Candidate:
    """Make an offer that is usually sound; otherwise something about it is unknown, old, or in back-off."""
    one = draw(known_candidates(region, market))
    sold, zone = one.offer, zone_of(region)
    for flaw in draw(often((), rarely=((FLAWS[0], FLAWS[4]), *((f,) for f in FLAWS)))):
        match flaw:
            case "price":
                sold = replace(sold, price=None)
            case "power":
                sold = replace(sold, shape=powerless)
            case "pue":
                sold = replace(sold, region=replace(sold.region, pue=None))
            case "zone":
                sold = replace(sold, region=replace(sold.region, zone=None))
            case "gap":
                one = replace(one, now=Gap(zone, "no data", "api"))
            case "stale" | "old":
                one = replace(one, now=stale(zone, draw(grams), draw(ages)))
            case "back-off" | "back-off over":
                until = NOON + HOUR if flaw == "back-off" else NOON
                one = replace(one, avoid_until=until, avoid_reason="no_capacity: sold out")
            case _:
                sold = replace(sold, market=Market.SPOT if market is Market.ON_DEMAND else Market.ON_DEMAND)
    return replace(one, offer=sold)


@st.composite
def offer_lists(draw: st.DrawFn, *, known: bool = False, min_size: int = 0) -> tuple[Candidate, ...]:
    """Make a list of offers with unique ids, mostly of one market."""
    reachable = [region for region in REGIONS if not region.startswith("azure")]
    places = draw(
        st.lists(st.sampled_from(reachable if known else REGIONS), unique=True, min_size=min_size, max_size=4)
    )
    if known:
        return tuple(draw(known_candidates(region)) for region in places)
    market = draw(st.sampled_from(Market))
    return tuple(draw(candidates_of(region, market)) for region in places)


placements = st.builds(
    PlacementRules,
    residency=often((), ("EU",), rarely=(("US",), ("US", "EU"), ("EEA",))),
    allow=often((), rarely=(("aws/*",), ("gcp/*", "*/se"), ("local/de", "aws/fr"))),
    deny=often((), rarely=(("aws/pl",), ("*/fr",), ("gcp/*", "aws/se"))),
    max_per_region=often(None, 1, 2, 3),
)
policies = st.builds(
    Policy,
    objective=st.sampled_from([Objective.GREENEST, Objective.CHEAPEST]),
    max_extra_cost_fraction=often(None, 0.15, 0.5, rarely=(0.0, 0.05)),
    price_cap_usd_per_hour=often(None, rarely=(5.0, 1.0)),
    horizon=st.sampled_from([HOUR, 6 * HOUR, 24 * HOUR]),
)
migrations = st.builds(
    MigrationRules,
    enabled=often(True, rarely=(False,)),
    min_dwell=often(timedelta(0), 2 * HOUR, rarely=(30 * HOUR,)),
    min_improvement_fraction=fractions,
    max_moves_per_day=often(3, rarely=(0, 1)),
)


@st.composite
def specs(draw: st.DrawFn, market: Market = Market.ON_DEMAND) -> ServiceSpec:
    """Make a spec of up to four replicas with any rules."""
    return service_spec(
        draw(often(1, 2, 3, rarely=(0, 4))),
        placement=draw(placements),
        carbon=CarbonRules(when_stale=draw(st.sampled_from(WhenStale))),
        migration=draw(migrations),
        spot=market is Market.SPOT,
        survives=draw(often(None, rarely=(Survives.REGION,))),
    )


@st.composite
def replicas_on(draw: st.DrawFn, offers: tuple[Candidate, ...]) -> tuple[Replica, ...]:
    """Make records of replicas, mostly settled ones in slots of their own, anywhere in their lives otherwise.

    They stand on offers of the list, or on one that is no longer sold.
    """
    here = tuple(c.offer for c in offers if c.offer.region.zone is not None) or (GONE,)
    found: list[Replica] = []
    for number in range(draw(st.integers(0, 4))):
        slot = draw(often(number, rarely=(0, 1)))
        older = tuple(r.name for r in found if r.slot == slot)
        found.append(
            replica(
                draw(often(*here, rarely=(GONE,))),
                slot,
                draw(often(ReplicaState.READY, rarely=tuple(ReplicaState))),
                name=f"gc-{number}",
                up_for=draw(often(24 * HOUR, rarely=(MINUTE, HOUR))),
                replaces=draw(st.sampled_from((None, *older))) if older else None,
                workload_digest=draw(often(snapshot([]).workload_digest, rarely=("older",))),
            )
        )
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Snapshot, Policy]:
    """Make a whole world and the policy to decide it by."""
    offers = draw(offer_lists())
    markets = [c.offer.market for c in offers]
    usual = max(markets, key=markets.count) if markets else Market.ON_DEMAND
    world = snapshot(
        offers,
        draw(replicas_on(offers)),
        draw(specs(usual)),
        batch=draw(st.sampled_from([0.0, 1.0, 4.0, 64.0])),
        cold_start_seconds=draw(st.sampled_from([0.0, 90.0, 3600.0])),
        overlap_seconds=draw(st.sampled_from([0.0, 25.0, 600.0])),
        moves=tuple(NOON - h * HOUR for h in range(draw(often(0, 1, rarely=(3, 4))))),
        clock_rate=draw(often(1.0, rarely=(60.0, 3600.0))),
        paused=draw(often(False, rarely=(True,))),
        taking_down=draw(st.integers(0, 11)) == 11,
    )
    return world, draw(policies)


@st.composite
def settled_worlds(draw: st.DrawFn) -> tuple[Snapshot, Policy]:
    """Make a world in which every wanted replica serves, so that moves are weighed."""
    offers = draw(offer_lists(known=True, min_size=2))
    first, *others = offers
    dark = draw(often(None, rarely=("gap", "stale")))
    if dark is not None:
        zone, reading = zone_of(first.offer.region.id), first.forecast.points[0].grams_per_kwh
        first = replace(first, now=Gap(zone, "no data", "api") if dark == "gap" else stale(zone, reading))
    offers = (first, *others)
    spec = service_spec(
        draw(st.integers(1, 3)),
        placement=PlacementRules(max_per_region=draw(often(None, 3, rarely=(1,)))),
        carbon=CarbonRules(when_stale=draw(st.sampled_from(WhenStale))),
        migration=draw(migrations),
    )
    standing = [
        replica(
            draw(st.sampled_from(offers)),
            slot,
            name=f"gc-{slot}",
            up_for=draw(often(24 * HOUR, rarely=(HOUR,))),
        )
        for slot in range(spec.scaling.min_replicas)
    ]
    world = snapshot(
        offers,
        standing,
        spec,
        batch=draw(st.sampled_from([0.0, 4.0])),
        cold_start_seconds=draw(st.sampled_from([0.0, 90.0, 3600.0])),
        overlap_seconds=draw(st.sampled_from([0.0, 25.0, 600.0])),
        moves=tuple(NOON - h * HOUR for h in range(draw(often(0, 1, rarely=(3,))))),
        clock_rate=draw(often(1.0, rarely=(60.0,))),
        paused=draw(often(False, rarely=(True,))),
    )
    return world, replace(draw(policies), price_cap_usd_per_hour=None)
