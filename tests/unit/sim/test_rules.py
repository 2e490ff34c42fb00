"""The rivals: what each does where the answer is plain, and that none of them sees what has not happened."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from orchestrator.domain.places import Region
from orchestrator.domain.service import PlacementRules
from orchestrator.sim.bill import Stay, moves_in
from orchestrator.sim.fleet import Fleet
from orchestrator.sim.layout import board_of, setting_of
from orchestrator.sim.rules import RULES, rtt_ms
from orchestrator.sim.workload import constant
from tests.unit.sim.sample_world import PAST_DAYS, ZONES, carbon, period, request, spec, swinging, wait

PAST = PAST_DAYS * 24
COLD_SECONDS = 120.0
ONLINE = tuple(n for n in RULES if n not in {"B3*", "cheapest-spot"})


def played(name: str, values: dict[str, list[float]], days: int = 2, replicas: int = 1) -> tuple[Stay, ...]:
    """Let a rival live through a few days."""
    rules = PlacementRules(home="sky/de", max_per_region=1 if replicas > 1 else None)
    span, wanted = period(days), spec(replicas, placement=rules)
    asked = request(period=span, spec=wanted, carbon=carbon(values, days=days), load=constant(span, 0.4))
    board = wait(board_of(asked, wait(setting_of(asked)), wanted))
    return Fleet(board, RULES[name].make(board)).play()


def zones(stays: Sequence[Stay]) -> list[tuple[str, float]]:
    """Return where it went and when, in hours; the first entry is where it began."""
    return [(ZONES[s.offer], max(0.0, s.requested / 3600)) for s in stays]


def flat(**levels: float) -> dict[str, list[float]]:
    """Make constant intensities."""
    return {zone: [levels[zone]] * (PAST + 48) for zone in ZONES}


def stepped(levels: dict[str, float], zone: str, hour: int, level: float) -> dict[str, list[float]]:
    """Make constant intensities, one of which changes for good."""
    values = flat(**levels)
    values[zone][PAST + hour :] = [level] * (48 - hour)
    return values


LEVELS = {"DE": 300.0, "FR": 100.0, "SE": 200.0}


def test_home_stays_home() -> None:
    """Whatever is cleaner."""
    assert zones(played("home", flat(**LEVELS))) == [("DE", 0.0)]


def test_the_cheapest_is_by_price_alone() -> None:
    """The first region costs least."""
    assert zones(played("cheapest-static", flat(DE=900, FR=10, SE=20))) == [("DE", 0.0)]


def test_greedy_follows_the_last_hour_an_hour_late() -> None:
    """Hour 10 is over at 11: only then is it known."""
    assert zones(played("greedy", stepped(LEVELS, "SE", 10, 50))) == [("FR", 0.0), ("SE", 11.0)]


def test_hysteresis_needs_ten_percent() -> None:
    """It begins at home, leaves it for the cleanest, and does not leave that for nine percent."""
    assert zones(played("hysteresis", stepped(LEVELS, "SE", 10, 91))) == [("DE", 0.0), ("FR", 0.0)]
    assert zones(played("hysteresis", stepped(LEVELS, "SE", 10, 89)))[-1] == ("SE", 11.0)


def test_the_accumulator_pays_the_move_in_regret_first() -> None:
    """A small advantage takes hours to add up to what a move costs, a large one takes one."""
    costs = zones(played("regret", stepped({"DE": 100.0, "FR": 300.0, "SE": 300.0}, "SE", 10, 99)))
    fast = zones(played("regret", stepped({"DE": 100.0, "FR": 300.0, "SE": 300.0}, "SE", 10, 20)))

    assert fast == [("DE", 0.0), ("SE", 11.0)]
    assert costs[0] == ("DE", 0.0)
    assert len(costs) == 2
    assert costs[1][1] > fast[1][1]


def test_b3_looks_back_four_weeks_once_a_week() -> None:
    """Two days of another order change nothing."""
    assert zones(played("B3", stepped(LEVELS, "SE", 2, 10))) == [("FR", 0.0)]


@pytest.mark.parametrize("name", ["B3", "greedy", "casper", "hysteresis", "regret"])
def test_without_a_past_it_begins_at_home_and_leaves_once_something_is_known(name: str) -> None:
    """Home is not the first by name; an hour later everybody who goes by the hour knows better."""
    span, wanted = period(2), spec(placement=PlacementRules(home="sky/se"))
    values = {"DE": [400.0] * 48, "FR": [10.0] * 48, "SE": [300.0] * 48}
    asked = request(period=span, spec=wanted, carbon=carbon(values, days=2, past_days=0), load=constant(span, 0.4))
    board = wait(board_of(asked, wait(setting_of(asked)), wanted))

    went = zones(Fleet(board, RULES[name].make(board)).play())

    assert went[0] == ("SE", 0.0)
    assert went[1][0] == "FR"
    assert went[1][1] == pytest.approx(1.0, abs=0.1) or name == "regret"


def test_b3_star_knows_the_period() -> None:
    """In hindsight the other place was the better one."""
    assert zones(played("B3*", stepped(LEVELS, "SE", 2, 10))) == [("SE", 0.0)]


def test_the_sun_goes_west() -> None:
    """Noon comes to Sweden before eleven, to Germany before twelve, to France after it; then the east is next."""
    path = zones(played("follow-sun", flat(**LEVELS)))

    assert path[:5] == [("SE", 0.0), ("DE", 11.0), ("FR", 12.0), ("SE", 23.0), ("DE", 35.0)]


def test_a_limit_per_region_spreads() -> None:
    """Two replicas, one per region: the two cleanest."""
    stays = played("greedy", flat(**LEVELS), replicas=2)

    assert sorted(ZONES[s.offer] for s in stays) == ["FR", "SE"]


def test_a_place_that_becomes_the_cleanest_is_one_move() -> None:
    """Where all replicas would rather stand there is a seat for one: the dirtiest moves, and nobody else shifts up."""
    stays = played("greedy", stepped({"DE": 200.0, "FR": 100.0, "SE": 300.0}, "SE", 10, 50), replicas=2)

    assert moves_in(stays) == 1
    assert sorted(ZONES[s.offer] for s in stays if s.until == 48 * 3600) == ["FR", "SE"]


@pytest.mark.parametrize("name", ["greedy", "casper", "hysteresis", "regret"])
def test_there_are_as_many_moves_as_places_change(name: str) -> None:
    """Two replicas in three swinging zones, one in each: who stands where anybody is wanted stays."""
    stays = played(name, swinging(PAST + 48, 3), replicas=2)
    held = [Counter(s.offer for s in stays if s.requested <= h * 3600 < s.until - COLD_SECONDS) for h in range(48)]

    before = Counter(s.offer for s in stays if s.requested < 0)
    changes = sum((now - then).total() for then, now in pairwise([before, *held]))

    assert moves_in(stays) == changes > 0


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize("cut", [7, 30])
def test_nobody_sees_what_has_not_happened(name: str, cut: int) -> None:
    """Two futures that are the same up to an hour: so is everything that was done by then."""
    values = swinging(PAST + 48, 3)
    other = swinging(PAST + 48, 4)
    changed = {z: values[z][: PAST + cut] + other[z][PAST + cut :] for z in ZONES}

    one, two = played(name, values), played(name, changed)

    at = cut * 3600
    assert [z for z in zones(one) if z[1] * 3600 <= at] == [z for z in zones(two) if z[1] * 3600 <= at]


def test_latency_is_by_distance() -> None:
    """London to Frankfurt about ten milliseconds, to Sydney more than two hundred; unknown places are near."""
    london, frankfurt, sydney = (
        Region(name, None, None, "", latitude=lat, longitude=lon)
        for name, lat, lon in (("x/a", 51.5, 0.0), ("x/b", 50.1, 8.7), ("x/c", -33.9, 151.2))
    )

    assert rtt_ms(london, frankfurt) == pytest.approx(9.6, abs=1.0)
    assert rtt_ms(london, sydney) > 200
    assert rtt_ms(london, Region("x/d", None, None, "")) == 0.0
    assert np.isfinite(rtt_ms(sydney, frankfurt))
