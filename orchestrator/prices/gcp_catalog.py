"""Google's list prices, on demand and spot, by the Cloud Billing Catalog API: public prices, but a key is wanted.

``GET /v1/services/6F81-5844-456A/skus`` ("Cloud Billing Catalog API"; the fields are those of ``ListSkusResponse`` in
``google.cloud.billing_v1``) lists every SKU of Compute Engine, some ten thousands, in pages. There is no filter, so all
are read, once a day. Which of them make a machine is said in :mod:`orchestrator.prices.gcp_parts`. The traps:

* amounts are ``units`` (int64, hence text) and ``nanos``; a field that is zero may be missing;
* ``pricingInfo`` is a timeline whose last entries may lie ahead; one that has tiers is not a price by the hour;
* the same part may be listed twice in a region. If the two disagree, neither counts, and no machine with that part;
* the key goes into a header (``X-Goog-Api-Key``), for addresses end up in logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant, parse_instant
from orchestrator.errors import PriceUnavailable, SignalUnavailable
from orchestrator.prices.fetcher import Answer, Fetcher
from orchestrator.prices.gcp_parts import MACHINES, Part, contradiction, part_of, why_no_sum
from orchestrator.prices.quotes import Quote, Wanted

SOURCE: Final = "gcp-catalog"
URL: Final = "https://cloudbilling.googleapis.com/v1"
PROVIDER: Final = "gcp"
COMPUTE_ENGINE: Final = "6F81-5844-456A"
EVERY: Final = timedelta(hours=24)
"""Spot prices change at most once a day ("Spot VMs"), the others by the month."""

HELD_FOR: Final = timedelta(hours=1)
"""How long sums are served on without a look at the list, which may be nearly ``EVERY`` old when they are made."""

SECONDS: Final = 20.0
"""For one page: about a megabyte of those fields that are asked for."""

MOST_SECONDS: Final = 60.0
"""For all pages together: plans wait for it, and what is not read by then is asked for again later."""

PAGE_SKUS: Final = 2000
MOST_PAGES: Final = 60
FIELDS: Final = (
    "nextPageToken,skus(description,category(resourceGroup,usageType),serviceRegions,"
    "pricingInfo(effectiveTime,pricingExpression(usageUnit,tieredRates(startUsageAmount,unitPrice))))"
)
_NANO: Final = 1e-9
_HINT: Final = "Check GREENCTL_PRICES__GCP__KEY, and that its project has the Cloud Billing API enabled."

_Key = tuple[str, Part, Market]
"""Region as Google calls it, part, market."""


class GcpCatalog:
    """A :class:`~orchestrator.prices.quotes.QuoteSource` of the regions ``gcp/*``.

    ``most_seconds``: how long the whole list may take, beside the bound that ``fetch`` has for each page.
    """

    def __init__(self, fetch: Fetcher, key: str, url: str = URL, *, most_seconds: float = MOST_SECONDS) -> None:
        """Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._key = key
        self._most_seconds = most_seconds
        self._url = f"{fetch.check(url)}/services/{COMPUTE_ENGINE}/skus"
        self._read: tuple[Instant, Mapping[_Key, float | str]] | None = None

    @property
    def name(self) -> str:
        """Short name that travels with each price."""
        return SOURCE

    @property
    def troubles(self) -> Mapping[str, str]:
        """None of single regions: it fails as a whole."""
        return {}

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Return the sums of parts; for a machine whose price is not one, why. Raises ``PriceUnavailable``.

        The list is read once a day: what it said is served in between.
        """
        mine = [
            (region, machine)
            for region, machines in sorted(wanted.machines.items())
            for machine in sorted(machines)
            if region.startswith(f"{PROVIDER}/")
        ]
        if not mine:
            return []
        if self._read is None or not self._read[0] <= now < self._read[0] + EVERY:
            try:
                async with asyncio.timeout(self._most_seconds):
                    self._read = (now, await self._usd_per_hour(now))
            except TimeoutError as error:
                message = f"{self._url}: the whole list takes longer than {self._most_seconds:g} s"
                raise PriceUnavailable(message) from error
            except SignalUnavailable as error:
                raise PriceUnavailable(error.message) from error
        read_at, usd = self._read
        return [quote for region, machine in mine for quote in _of(region, machine, usd, read_at)]

    async def _usd_per_hour(self, now: Instant) -> Mapping[_Key, float | str]:
        """Read the whole list: the price of each part per hour, or why it has none."""
        found: dict[_Key, float | str] = {}
        token, tokens = "", {""}
        for _ in range(MOST_PAGES):
            query = {"currencyCode": "USD", "pageSize": str(PAGE_SKUS), "fields": FIELDS}
            answer = await self._fetch.get(
                self._url, query | ({"pageToken": token} if token else {}), {"X-Goog-Api-Key": self._key}
            )
            body = _body(answer)
            for sku in _rows(body.get("skus", []), answer.where):
                for key, usd in _priced(sku, now, answer.where):
                    if found.setdefault(key, usd) != usd:
                        found[key] = f"{key[1]} is listed twice, at different prices"
            token = str(body.get("nextPageToken") or "")
            if not token:
                if not found:
                    raise PriceUnavailable(f"{answer.where} lists no part of a machine that is known here")
                return found
            if token in tokens:
                raise PriceUnavailable(f"{answer.where} goes round in circles: it names a page twice")
            tokens.add(token)
        raise PriceUnavailable(f"{self._url} has more than {MOST_PAGES} pages")


def _of(region: str, machine: str, usd: Mapping[_Key, float | str], now: Instant) -> Iterator[Quote]:
    """Yield what is known of a machine, for both markets; nothing of a market where a part is not sold at all."""
    parts: Mapping[Part, int] = MACHINES.get(machine, {})
    reason = why_no_sum(machine)
    if not parts and not reason:
        return
    place = region.partition("/")[2]
    for market in Market:
        prices = {part: usd.get((place, part, market)) for part in parts}
        note = reason or next((p for p in prices.values() if isinstance(p, str)), "")
        if note:
            yield Quote(region, "", machine, market, None, now, SOURCE, Kind.MEASURED, note)
            continue
        known = {part: price for part, price in prices.items() if isinstance(price, float)}
        if len(known) == len(parts):
            # Amounts are whole billionths of a dollar; adding binary fractions must not show.
            total = round(sum(count * known[part] for part, count in parts.items()), 9)
            yield Quote(region, "", machine, market, total, now, SOURCE, Kind.MEASURED)


def _body(answer: Answer) -> Mapping[str, object]:
    if not answer.is_ok:
        raise PriceUnavailable(f"{answer.where} answers {answer.status}: {answer.words()}", hint=_HINT)
    body = answer.json()
    if not isinstance(body, dict) or not isinstance(body.get("skus", []), list) or "error" in body:
        raise PriceUnavailable(f"{answer.where} does not answer with a list of SKUs")
    return body


def _rows(value: object, where: str) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise PriceUnavailable(f"{where}: a list holds something that is no object")
    return value


def _priced(sku: Mapping[str, object], now: Instant, where: str) -> Iterator[tuple[_Key, float | str]]:
    """Yield the SKU's price in each of its regions, or why it has none; nothing if it is no part known here."""
    named, regions = part_of(str(sku.get("description"))), sku.get("serviceRegions")
    if named is None or not isinstance(regions, list):
        return
    category = _object(sku.get("category"))
    expression = _object(_in_force(_rows(sku.get("pricingInfo", []), where), now, where).get("pricingExpression"))
    # A contradictory one takes the place of the part that it calls itself, so that no sum is made with another.
    usd: float | str = contradiction(
        *named,
        resource_group=str(category.get("resourceGroup")),
        usage_type=str(category.get("usageType")),
        usage_unit=str(expression.get("usageUnit")),
    ) or _usd(named[0], expression, where)
    for region in regions:
        yield (str(region), *named), usd


def _in_force(lines: Sequence[Mapping[str, object]], now: Instant, where: str) -> Mapping[str, object]:
    begun = []
    for line in lines:
        try:
            since = parse_instant(str(line.get("effectiveTime")))
        except ValueError as error:
            raise PriceUnavailable(f"{where}: effectiveTime: {error}") from error
        if since <= now:
            begun.append((since, line))
    return max(begun, key=lambda b: b[0])[1] if begun else {}


def _usd(part: Part, expression: Mapping[str, object], where: str) -> float | str:
    """Return the price per hour, or say why there is none."""
    rates = _rows(expression.get("tieredRates", []), where)
    if len(rates) != 1 or rates[0].get("startUsageAmount", 0) != 0:
        return f"{part} has {len(rates)} rates, not one"
    price = _object(rates[0].get("unitPrice"))
    if price.get("currencyCode") != "USD":
        raise PriceUnavailable(f"{where}: asked for USD, answered {str(price.get('currencyCode'))[:10]}")
    try:
        usd = int(str(price.get("units", 0))) + int(str(price.get("nanos", 0))) * _NANO
    except ValueError:
        return f"{part} has a price that is no number"
    return usd if usd > 0 else f"{part} has no price above zero"


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
