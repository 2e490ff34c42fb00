"""Azure's retail prices, on demand and spot: a public list, without a key.

Paths and fields are those of "Azure Retail Prices" (Microsoft Learn, REST API reference). The traps:

* values in a filter are case-sensitive, and an answer has at most 1,000 items: ``NextPageLink`` leads on. It is
  followed only to the very address that was asked;
* one machine has many meters: with Windows, "Low Priority" (a batch service), reservations, and others by the month.
  Only consumption by the hour counts; "Spot" at the end of ``skuName`` makes it a spot price;
* other currencies are for reference only, so anything but USD is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant, parse_instant
from orchestrator.errors import PriceUnavailable, SignalUnavailable
from orchestrator.prices.fetcher import Fetcher
from orchestrator.prices.quotes import Quote, Wanted

URL: Final = "https://prices.azure.com/api/retail/prices"
PROVIDER: Final = "azure"
EVERY: Final = timedelta(hours=6)
"""List prices change by the month, spot prices by the day."""

MOST_PAGES: Final = 20
MOST_MACHINES: Final = 15
"""Names in one filter: the address has to stay below 8 KiB."""

_HOUR: Final = "1 Hour"


class AzureRetail:
    """A :class:`~orchestrator.prices.quotes.QuoteSource` of the regions ``azure/*``."""

    def __init__(self, fetch: Fetcher, url: str = URL) -> None:
        """Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)

    @property
    def name(self) -> str:
        """Short name that travels with each price."""
        return "azure-retail"

    @property
    def troubles(self) -> Mapping[str, str]:
        """None of single regions: it fails as a whole."""
        return {}

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Return list and spot prices of Linux machines. Raises ``PriceUnavailable``."""
        found: list[Quote] = []
        for region, machines in sorted(wanted.machines.items()):
            provider, _, place = region.partition("/")
            names = sorted(machines)
            for first in range(0, len(names) if provider == PROVIDER else 0, MOST_MACHINES):
                try:
                    found += await self._of(region, place, names[first : first + MOST_MACHINES], now)
                except SignalUnavailable as error:
                    raise PriceUnavailable(error.message) from error
        return found

    async def _of(self, region: str, place: str, names: Sequence[str], now: Instant) -> list[Quote]:
        any_of = " or ".join(f"armSkuName eq '{_quoted(name)}'" for name in names)
        query = {
            "currencyCode": "USD",
            "$filter": f"serviceName eq 'Virtual Machines' and priceType eq 'Consumption' "
            f"and armRegionName eq '{_quoted(place)}' and ({any_of})",
        }
        found: list[Quote] = []
        for _ in range(MOST_PAGES):
            answer = await self._fetch.get(self._url, query)
            body = answer.json() if answer.is_ok else None
            if not isinstance(body, dict) or not isinstance(body.get("Items"), list):
                raise PriceUnavailable(f"{answer.where} does not answer with a list of prices")
            found += [q for q in (_quote(item, region, names, now, answer.where) for item in body["Items"]) if q]
            link = body.get("NextPageLink")
            if not link:
                return found
            query = self._next(str(link), answer.where)
        raise PriceUnavailable(f"{self._url} has more than {MOST_PAGES} pages about {region}")

    def _next(self, link: str, where: str) -> dict[str, str]:
        """Return the query of the next page; a link that leads elsewhere is not followed."""
        own, next_ = urlsplit(self._url), urlsplit(link)
        ports = {"https": 443, "http": 80}
        same = [(p.scheme, p.hostname, p.port or ports.get(p.scheme), p.path.rstrip("/")) for p in (own, next_)]
        if same[0] != same[1]:
            raise PriceUnavailable(f"{where} leads on to another address, which is not followed")
        return dict(parse_qsl(next_.query))


def _quote(item: object, region: str, names: Sequence[str], now: Instant, where: str) -> Quote | None:
    """Read an item; ``None`` for a meter that is not the price of a Linux machine by the hour."""
    if not isinstance(item, dict):
        raise PriceUnavailable(f"{where}: an item is no object")
    machine, sku = str(item.get("armSkuName")), str(item.get("skuName"))
    place = region.partition("/")[2]
    if item.get("armRegionName") != place or machine not in names:
        raise PriceUnavailable(f"{where}: asked about {place}, answered about {str(item.get('armRegionName'))[:40]}")
    if item.get("currencyCode") != "USD":
        raise PriceUnavailable(f"{where}: asked for USD, answered {str(item.get('currencyCode'))[:10]}")
    is_other = item.get("type") != "Consumption" or item.get("unitOfMeasure") != _HOUR
    if is_other or "Windows" in str(item.get("productName")) or sku.endswith("Low Priority"):
        return None
    usd = item.get("retailPrice")
    if isinstance(usd, bool) or not isinstance(usd, int | float):
        return None
    try:
        since = parse_instant(str(item.get("effectiveStartDate")))
    except ValueError as error:
        raise PriceUnavailable(f"{where}: effectiveStartDate: {error}") from error
    market = Market.SPOT if sku.endswith("Spot") else Market.ON_DEMAND
    # The list was read now, and holds now; a price that begins later does not hold yet.
    return Quote(region, "", machine, market, float(usd), max(now, since), "azure-retail", Kind.MEASURED)


def _quoted(text: str) -> str:
    """Write a string inside of an OData literal."""
    return text.replace("'", "''")
