"""Prices of the moment laid over a list, and who is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.domain.time import Instant, parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.fake import FakeOffers
from orchestrator.prices.held import REST, HeldQuotes
from orchestrator.prices.quotes import Quote, QuotedOffers, Wanted
from orchestrator.prices.shapes import ShapeCatalogue

NOW = parse_instant("2031-03-01T12:00Z")
NORTH, SOUTH = Region("aws/north", "SE", 1.1, "test"), Region("aws/south", "PL", 1.1, "test")
L4 = ResourceRequest(accelerators=(Accelerators("L4", 1),))
SHAPE = ShapeCatalogue.packaged().accelerated("L4", 1, 4, 16)


class Saying:
    """A source that says what it was told; ``asked`` has each question."""

    def __init__(self, *quotes: Quote, name: str = "said") -> None:
        self.name = name
        self.said = list(quotes)
        self.asked: list[Wanted] = []
        self.down = ""
        self.troubles: dict[str, str] = {}

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Return everything about the machines."""
        del now
        self.asked.append(wanted)
        if self.down:
            raise PriceUnavailable(self.down)
        return [q for q in self.said if q.instance_type in wanted.machines.get(q.region, ())]


def quote(usd: float | None, region: str = "aws/north", zone: str = "a", **changes: object) -> Quote:
    """Make a spot quote of an hour ago."""
    values = {
        "region": region,
        "zone": zone,
        "instance_type": "g6.xlarge",
        "market": Market.SPOT,
        "usd_per_hour": usd,
        "as_of": NOW - timedelta(hours=1),
        "source": "said",
        "kind": Kind.MEASURED,
    } | changes
    return Quote(**values)  # type: ignore[arg-type]


def listed() -> FakeOffers:
    """Sell one machine in two regions on both markets."""
    fake = FakeOffers()
    for region in (NORTH, SOUTH):
        for market, usd in ((Market.ON_DEMAND, 0.80), (Market.SPOT, 0.30)):
            fake.put(Offer(region, SHAPE, market, Price(usd, "list", Kind.RECORDED, NOW), "g6.xlarge"))
    return fake


async def spot_of(source: QuotedOffers, region: Region = NORTH, now: Instant = NOW) -> Offer:
    """Return the spot offer of a region."""
    return next(o for o in await source.offers(L4, now) if o.region is region and o.market is Market.SPOT)


async def test_a_quote_takes_the_place_of_the_lists_price() -> None:
    """With its own source, kind and time; where nobody quotes the list stands."""
    source = QuotedOffers(listed(), [Saying(quote(0.25))])
    offer = await spot_of(source)

    assert offer.price == Price(0.25, "said: g6.xlarge in a", Kind.MEASURED, NOW - timedelta(hours=1))
    assert (await spot_of(source, SOUTH)).price == Price(0.30, "list", Kind.RECORDED, NOW)


async def test_a_source_that_cannot_tell_a_price_takes_none_away() -> None:
    """The list stands, another source is heard, and where nobody knows the reason is shown."""
    silent = Saying(quote(None, unknown="no sum of parts: it has disks"), name="parts")
    offers = listed()
    offers.put(Offer(SOUTH, SHAPE, Market.SPOT, None, "g6.xlarge"))
    only_silent = QuotedOffers(offers, [silent, Saying(quote(None, "aws/south", unknown="no sum of parts: disks"))])
    with_other = QuotedOffers(offers, [silent, Saying(quote(0.25))])

    assert (await spot_of(only_silent)).price == Price(0.30, "list", Kind.RECORDED, NOW)
    unknown = [o for o in await only_silent.offers(L4, NOW) if o.price is None]
    assert [o.price_note for o in unknown] == ["said: no sum of parts: disks"]
    heard = await spot_of(with_other)
    assert heard.price is not None
    assert heard.price.usd_per_hour == 0.25


async def test_of_several_zones_the_cheapest_counts_and_of_several_sources_the_first() -> None:
    """A later source is heard only about what earlier ones do not know."""
    first = Saying(quote(0.28, zone="a"), quote(0.26, zone="b"), name="one")
    second = Saying(quote(0.10), quote(0.22, region="aws/south"), name="two")
    source = QuotedOffers(listed(), [first, second])
    north, south = await spot_of(source), await spot_of(source, SOUTH)

    assert north.price is not None
    assert (north.price.usd_per_hour, north.price.source) == (0.26, "said: g6.xlarge in b")
    assert south.price is not None
    assert south.price.usd_per_hour == 0.22


@pytest.mark.parametrize("usd", [0.001, 0.0, -1.0, 0.0299, 3.01, 1e6, float("nan"), float("inf")])
async def test_a_price_that_nobody_charges_is_not_believed(usd: float) -> None:
    """It would win every comparison; the offer stays, without a price, and says why."""
    offer = await spot_of(QuotedOffers(listed(), [Saying(quote(usd))]))

    assert offer.price is None
    assert offer.price_note.startswith("said: ")


async def test_a_poisoned_zone_does_not_hide_the_others() -> None:
    """The cheapest believed zone counts."""
    offer = await spot_of(QuotedOffers(listed(), [Saying(quote(0.001, zone="a"), quote(0.27, zone="b"))]))

    assert offer.price is not None
    assert offer.price.usd_per_hour == 0.27


async def test_what_is_not_sold_any_longer_has_no_price() -> None:
    """Gone in one zone is not gone in all."""
    gone = await spot_of(QuotedOffers(listed(), [Saying(quote(None))]))
    assert (gone.price, gone.price_note) == (None, "said: not sold in a since 2031-03-01")

    still = await spot_of(QuotedOffers(listed(), [Saying(quote(None, zone="a"), quote(0.3, zone="b"))]))
    assert still.price is not None


async def test_until_a_price_begins_the_list_counts() -> None:
    """One that is announced holds for nobody yet, and takes what is charged today from nobody; a word of now counts."""
    begins_later = quote(0.25, as_of=NOW + timedelta(hours=1))
    offer = await spot_of(QuotedOffers(listed(), [Saying(begins_later)]))
    beside_another = await spot_of(QuotedOffers(listed(), [Saying(begins_later, quote(0.28, zone="b"))]))
    unlisted = FakeOffers()
    unlisted.put(Offer(NORTH, SHAPE, Market.SPOT, None, "g6.xlarge"))
    nowhere = await spot_of(QuotedOffers(unlisted, [Saying(begins_later)]))

    assert offer.price == Price(0.30, "list", Kind.RECORDED, NOW)
    assert beside_another.price is not None
    assert beside_another.price.usd_per_hour == 0.28
    assert (nowhere.price, nowhere.price_note) == (None, "said: its price begins on 2031-03-01")


async def test_a_source_that_is_down_hides_nothing() -> None:
    """The list's prices stand, and the shelf tells of it until it is back."""
    saying = Saying(quote(0.25))
    source = QuotedOffers(listed(), [saying])
    saying.down = "connection refused"
    offer = await spot_of(source)
    assert offer.price is not None
    assert offer.price.source == "list"
    assert (await source.shelf()).troubles == ("said: connection refused",)

    saying.down = ""
    await spot_of(source)
    assert (await source.shelf()).troubles == ()


async def test_an_api_is_asked_about_each_machine_once_in_a_while() -> None:
    """What was quoted is served on in between, and is asked for again when it is time to."""
    saying = Saying(quote(0.25))
    held = HeldQuotes(saying, timedelta(minutes=10))
    wanted = Wanted({"aws/north": frozenset({"g6.xlarge"})})
    for minutes in (0, 1, 9):
        assert await held.quotes(wanted, NOW + timedelta(minutes=minutes)) == [quote(0.25)]
    assert len(saying.asked) == 1
    more = Wanted({"aws/north": frozenset({"g6.xlarge", "p4d.24xlarge"})})
    await held.quotes(more, NOW + timedelta(minutes=9))
    assert saying.asked[-1] == Wanted({"aws/north": frozenset({"p4d.24xlarge"})})

    await held.quotes(wanted, NOW + timedelta(minutes=10))
    assert len(saying.asked) == 3


async def test_an_api_that_is_down_is_left_alone_and_what_it_said_stands() -> None:
    """Old quotes say how old they are; without any, there is the reason."""
    saying = Saying(quote(0.25))
    held = HeldQuotes(saying, timedelta(minutes=10))
    wanted = Wanted({"aws/north": frozenset({"g6.xlarge"})})
    saying.down = "connection refused"
    for seconds in (0, 1, 60):
        with pytest.raises(PriceUnavailable, match="connection refused"):
            await held.quotes(wanted, NOW + timedelta(seconds=seconds))
    assert len(saying.asked) == 1

    saying.down = ""
    assert await held.quotes(wanted, NOW + REST) == [quote(0.25)]
    saying.down = "gone again"
    assert await held.quotes(wanted, NOW + timedelta(hours=5)) == [quote(0.25)]


async def test_a_region_that_refuses_hides_no_other_and_keeps_what_it_said() -> None:
    """What was quoted of it stands, it is asked again soon, and the shelf says why, until it answers."""
    source = Saying(quote(0.25), quote(0.20, region="aws/south"))
    offers = QuotedOffers(listed(), [HeldQuotes(source, timedelta(minutes=10))])
    await spot_of(offers)

    source.said, source.troubles = [quote(0.26)], {"aws/south": "AWS does not tell of south: refused"}
    later = NOW + timedelta(minutes=10)
    north, south = await spot_of(offers, NORTH, later), await spot_of(offers, SOUTH, later)
    assert north.price is not None
    assert south.price is not None
    assert (north.price.usd_per_hour, south.price.usd_per_hour) == (0.26, 0.20)
    assert (await offers.shelf()).troubles == ("said: AWS does not tell of south: refused",)

    source.said, source.troubles = [quote(0.21, region="aws/south")], {}
    south = await spot_of(offers, SOUTH, later + REST)
    assert south.price is not None
    assert south.price.usd_per_hour == 0.21
    assert (await offers.shelf()).troubles == ()


class ListedEverywhere(FakeOffers):
    """A list that has each of its offers in every zone."""

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return them, whatever zone was asked for."""
        return await super().offers(replace(request, infra=None), now)


async def test_a_zone_that_was_asked_for_is_not_quoted_at_anothers_price() -> None:
    """By the account's name of it or the id that all share; where nobody quotes that zone, the list stands."""
    quotes = [
        quote(0.28, zone="use1-az2", zone_name="north-b"),
        quote(0.62, zone="use1-az1", zone_name="north-a"),
    ]
    sold = await listed().offers(L4, NOW)
    zonal = ListedEverywhere(o for o in sold if o.region is NORTH)
    offers = QuotedOffers(zonal, [Saying(*quotes)])

    async def spot_in(zone: str) -> float:
        found = await offers.offers(replace(L4, infra=f"aws/north/{zone}"), NOW)
        (price,) = (o.price for o in found if o.market is Market.SPOT)
        assert price is not None
        return price.usd_per_hour

    assert [await spot_in(zone) for zone in ("*", "north-a", "use1-az1", "north-c")] == [0.28, 0.62, 0.62, 0.30]
