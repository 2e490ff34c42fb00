"""Recorded prices: read, held, by the hour, for the controller and its rivals alike."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import OfferRule, Policy, ResourceRequest
from orchestrator.errors import SignalFormatError
from orchestrator.sim.costs import is_exact
from orchestrator.sim.layout import board_of, setting_of
from orchestrator.sim.prices import Change, PriceChanges, prices_of, read_prices
from orchestrator.sim.runs import Row
from orchestrator.sim.simulate import simulate
from orchestrator.sim.world import ListedOffers
from tests.unit.sim.sample_world import PAST_DAYS, START, carbon, offers, period, request, rows, spec, wait

MACHINE = "g6.xlarge"
HEAD = "observed_at_utc,instance_type,az_id,region,spot_price_usd_per_hour"


def sold(markets: tuple[Market, ...] = (Market.SPOT,)) -> tuple[Offer, ...]:
    """Make offers whose machine has a name."""
    return tuple(replace(o, instance_type=MACHINE) for o in offers(markets))


def written(folder: Path, *lines: str, head: str = HEAD, name: str = "sky_spot_price_changes_2023.csv") -> Path:
    """Write a recording of price changes."""
    (folder / "spot").mkdir(parents=True, exist_ok=True)
    (folder / "spot" / name).write_text("\n".join([head, *lines]) + "\n")
    return folder


def at(hours: float) -> str:
    """Write an instant, so many hours into the period."""
    return f"{START + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def test_the_cheapest_zone_of_each_hour_is_the_price(tmp_path: Path) -> None:
    """List price before the first change, then the cheaper zone; nothing while no zone has any."""
    folder = written(
        tmp_path,
        f"{at(1.5)},{MACHINE},z1,de,0.5",
        f"{at(3)},{MACHINE},z2,de,0.2",
        f"{at(5)},{MACHINE},z2,de,",
        f"{at(6)},{MACHINE},z1,de,",
        f"{at(7)},other,z1,de,0.01",
    )
    found = prices_of(sold(), period(1), read_prices(folder, sold()))

    (german,) = [o for o in sold() if o.region.id == "sky/de"]
    assert german.price is not None
    listed = german.price.usd_per_hour
    assert [found.at(german, h) for h in range(8)] == [listed, listed, 0.5, 0.2, 0.2, 0.5, None, None]
    assert [o for o in sold() if o.id in found.usd_per_hour] == [german]
    later = found.priced(german, 2, period(1))
    assert later.price is not None
    assert (later.price.usd_per_hour, later.price.as_of) == (0.5, START + timedelta(hours=2))
    assert found.priced(german, 6, period(1)).price is None


def test_the_second_layout_has_both_markets_and_dates(tmp_path: Path) -> None:
    """``observed_date`` and ``machine_type``; an empty on-demand price is none."""
    head = "observed_date,machine_type,region,ondemand_usd_per_hour,spot_usd_per_hour"
    both = sold((Market.ON_DEMAND, Market.SPOT))
    folder = written(tmp_path, f"2023-02-01,{MACHINE},fr,1.25,0.4", head=head, name="sky_price_changes_2023.csv")

    found = prices_of(both, period(1), read_prices(folder, both))

    french = {o.market: found.at(o, 0) for o in both if o.region.id == "sky/fr"}
    assert french == {Market.ON_DEMAND: 1.25, Market.SPOT: 0.4}


def test_a_recording_that_ends_early_is_held_and_said_to_be() -> None:
    """Its last price holds on, and a note names the day."""
    long = period(60)
    (german,) = [o for o in sold() if o.region.id == "sky/de"]
    last = START.timestamp() + 86400
    changes = PriceChanges({("sky/de", MACHINE, Market.SPOT): (Change(last, "z1", 0.7),)}, {("sky", Market.SPOT): last})

    found = prices_of([german], long, changes)

    assert found.at(german, 59 * 24) == 0.7
    assert found.notes == (
        f"sky: spot prices are recorded until {datetime.fromtimestamp(last, UTC):%Y-%m-%d}; the last ones are held",
    )


def test_controller_and_rivals_see_the_prices_of_the_hour() -> None:
    """The offers that the real controller is shown cost what the rivals' table says."""
    keys = {o.region.id: (o.region.id, MACHINE, Market.SPOT) for o in sold()}
    day = START.timestamp() + 86400
    changes = PriceChanges({keys["sky/se"]: (Change(day, "", 0.05), Change(day + 7200, "", math.nan))})
    wanted = spec(1, resources=replace(spec().resources, use_spot=True))
    asked = request(spec=wanted, offers=sold((Market.ON_DEMAND, Market.SPOT)), prices=changes, period=period(2))
    setting = wait(setting_of(asked))
    board = wait(board_of(asked, setting, wanted))
    shown = ListedOffers(setting.offers, setting.prices, asked.period)

    for hour in (0, 23, 24, 25, 26, 40):
        listed = wait(shown.offers(wanted.resources, START + timedelta(hours=hour)))
        for number, offer in enumerate(board.offers):
            (same,) = [o for o in listed if o.id == offer.id]
            usd = math.inf if same.price is None else same.price.usd_per_hour
            assert board.usd(hour)[number] == usd
    assert not board.sold(26).all()
    assert board.price_lists[-1] == 2


def test_who_consolidates_follows_a_price_that_falls() -> None:
    """On demand in Sweden becomes the cheapest on the second day: karpenter goes there, and pays that."""
    key = ("sky/se", MACHINE, Market.ON_DEMAND)
    changes = PriceChanges({key: (Change(START.timestamp() + 86400, "", 0.1),)})
    asked = request(
        spec=spec(1, resources=ResourceRequest(accelerators=spec().resources.accelerators)),
        offers=sold((Market.ON_DEMAND,)),
        prices=changes,
        period=period(2),
        rules=("karpenter", "cheapest-static"),
    )

    found = rows(asked)

    assert found["karpenter"].by_region["sky/se"] == pytest.approx(24, abs=0.1)
    assert found["cheapest-static"].by_region == {"sky/de": 48.0}
    assert found["karpenter"].usd == pytest.approx(24 * 1.0 + 24 * 0.1, rel=0.02)


def test_rivals_obey_the_rules_on_prices_of_each_hour() -> None:
    """Sweden is cleanest: too dear above the cheapest on the first day, not on the second, and kept on the third."""
    key = ("sky/se", MACHINE, Market.ON_DEMAND)
    day = START.timestamp() + 86400
    changes = PriceChanges({key: (Change(day - 86400, "", 2.0), Change(day, "", 1.1), Change(day + 86400, "", 2.0))})
    hours = (PAST_DAYS + 3) * 24
    levels = {"DE": 400.0, "FR": 300.0, "SE": 30.0}
    policy = Policy("near-cheapest", max_extra_cost_fraction=0.15)
    asked = request(
        spec=spec(1, policy=policy),
        offers=sold((Market.ON_DEMAND,)),
        prices=changes,
        period=period(3),
        carbon=carbon({zone: [level] * hours for zone, level in levels.items()}, 3),
        rules=("greedy",),
        policies={"ours": policy},
        with_oracle=True,
    )

    found = rows(asked)

    for name in ("greedy", "ours"):
        assert found[name].by_region["sky/fr"] == pytest.approx(24, abs=0.1), name
        assert found[name].by_region["sky/se"] == pytest.approx(48, abs=0.1), name
    assert found["oracle"].by_region == {"sky/se": 72.0}


def test_rules_that_change_with_the_hour_bind_no_rival_and_that_is_said() -> None:
    """A rule on grams kept Sweden out of the first hour; one on a name keeps France out of all of them."""
    hours = (PAST_DAYS + 2) * 24
    values = {"DE": [400.0] * hours, "FR": [20.0] * hours, "SE": [500.0] * (PAST_DAYS * 24 + 6) + [30.0] * 42}
    rules = (OfferRule("clean", "grams_per_kwh < 450.0"), OfferRule("elsewhere", "region != 'sky/fr'"))
    policy = Policy("own-rules", max_extra_cost_fraction=None, rules=rules)
    asked = request(spec=spec(1, policy=policy), period=period(2), carbon=carbon(values, 2), with_oracle=True)
    notes: list[str] = []

    async def live() -> dict[str, Row]:
        wanted = replace(asked, rules=("greedy",), policies={"ours": policy})
        return {row.policy: row async for row in simulate(wanted, lambda _name, _fraction: None, notes.append)}

    found = wait(live())

    assert {"sky/de", "sky/se"} == {*found["greedy"].by_region} == {*found["ours"].by_region}
    assert all(row.grams >= found["oracle"].grams * (1 - 1e-9) for row in found.values())
    (said,) = [n for n in notes if "own-rules" in n]
    assert said.startswith("what clean of policy own-rules allows changes with the hour, so rivals and the oracle")


@pytest.mark.parametrize(
    ("head", "line", "said"),
    [
        (HEAD, "yesterday,g6.xlarge,z1,de,1", ":2: Invalid isoformat"),
        (HEAD, f"2023-01-01,{MACHINE},z1,de,-1", ":2: -1 is no price"),
        (HEAD, f"2023-01-01,{MACHINE},z1,de,nan", ":2: nan is no price"),
        (HEAD, f"2023-01-01,{MACHINE}", ":2: list index out of range"),
        ("observed_at_utc,instance_type,region", f"2023-01-01,{MACHINE},de", "no column of prices"),
        ("instance_type,region,price_usd_per_hour", f"{MACHINE},de,1", "no column 'observed_at_utc'"),
    ],
)
def test_a_damaged_recording_is_refused_with_its_line(tmp_path: Path, head: str, line: str, said: str) -> None:
    """What, and where; never a price that was made up."""
    with pytest.raises(SignalFormatError, match=r"sky_spot_price_changes_2023\.csv") as refused:
        read_prices(written(tmp_path, line, head=head), sold())
    assert said in refused.value.message


def test_without_a_recording_lists_hold(tmp_path: Path) -> None:
    """No file, no machine names: nothing to read."""
    assert read_prices(tmp_path, sold()) == PriceChanges()
    assert read_prices(written(tmp_path, "nonsense"), offers()) == PriceChanges()


def test_the_limit_above_the_cheapest_is_known_where_one_shape_is_sold() -> None:
    """Of several, ours may take one that is dearer than the cheapest: it is measured by those that carry the load."""
    policy = Policy("near-cheapest", max_extra_cost_fraction=0.15)
    assert is_exact(policy, promises=False, shortages=False, shapes=1)
    assert not is_exact(policy, promises=False, shortages=False, shapes=2)
