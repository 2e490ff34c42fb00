"""AWS's spot prices of the moment, by ``DescribeSpotPriceHistory``, which changes nothing and costs nothing.

Needs the optional extra ``aws`` (boto3) and the right ``ec2:DescribeSpotPriceHistory``. With a start time of now the
answer holds, for each zone, the last change before it: the price that is in force. The traps:

* the answer comes in pages, of which any but the last may be empty;
* zone names are those of the account; the id is what all accounts share, where the answer has it;
* prices are text; there are several products, and only ``Linux/UNIX`` is compared with other clouds.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from orchestrator.aside import aside
from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant, as_utc
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.quotes import Quote, Wanted

PROVIDER: Final = "aws"
PRODUCT: Final = "Linux/UNIX"
EVERY: Final = timedelta(minutes=10)
MOST_RESULTS: Final = 1000
MOST_PAGES: Final = 20
SECONDS: Final = 10
MOST_SILENT: Final = 2
"""Regions that do not answer until the others are not asked: each costs its time-outs, and the controller waits. Those
that did not are asked last the next time, or they would hide whoever comes after them while they are silent."""

ClientFor = Callable[[str], Any]
"""Makes an EC2 client for a region, as boto3 does."""


class AwsSpot:
    """A :class:`~orchestrator.prices.quotes.QuoteSource` of spot prices in the regions ``aws/*``."""

    def __init__(self, client_for: ClientFor | None = None) -> None:
        self._client_for = client_for or _client_for
        self._clients: dict[str, Any] = {}
        self._troubles: dict[str, str] = {}
        self._silent: dict[str, None] = {}
        """Regions that did not answer when they were asked last, those first that were asked longest ago."""

    @property
    def name(self) -> str:
        """Short name that travels with each price."""
        return "aws-spot"

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why some regions could not be asked about the last time: an account need not have opted in to each."""
        return self._troubles

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Return the spot prices in force, of the regions that answer.

        Raises ``PriceUnavailable`` when none does, also without boto3 or without credentials.
        """
        found: dict[str, list[Quote]] = {}
        failures: dict[str, PriceUnavailable] = {}
        asked = {r: sorted(m) for r, m in sorted(wanted.machines.items()) if r.startswith(f"{PROVIDER}/") and m}
        last = [region for region in self._silent if region in asked]
        silent = 0
        for region in (*(r for r in asked if r not in self._silent), *last):
            if silent == MOST_SILENT:
                failures[region] = PriceUnavailable(f"{region} is not asked: the others do not answer")
                continue
            self._silent.pop(region, None)
            place, machines = region.partition("/")[2], asked[region]
            try:
                # boto3 blocks: a look of the controller must not wait with it.
                found[region] = await aside(partial(self._of, region, place, machines, now))
            except PriceUnavailable as error:
                failures[region] = error
                if not _is_refusal(error):
                    self._silent[region] = None
                    silent += 1
        if failures and len(failures) == len(asked):
            raise next(iter(failures.values()))
        self._troubles = {region: error.message for region, error in failures.items()}
        return [quote for region in sorted(found) for quote in found[region]]

    def _of(self, region: str, place: str, machines: Sequence[str], now: Instant) -> list[Quote]:
        found: dict[tuple[str, str], Quote] = {}
        token = ""
        for _ in range(MOST_PAGES):
            page = self._page(place, machines, now, token)
            for row in page.get("SpotPriceHistory", []):
                quote = _quote(row, region, machines)
                if quote is None:
                    continue
                before = found.get((quote.instance_type, quote.zone))
                if quote.as_of <= now and (before is None or quote.as_of > before.as_of):
                    found[quote.instance_type, quote.zone] = quote
            token = str(page.get("NextToken") or "")
            if not token:
                return [found[key] for key in sorted(found)]
        raise PriceUnavailable(f"AWS has more than {MOST_PAGES} pages of spot prices in {place}")

    def _page(self, place: str, machines: Sequence[str], now: Instant, token: str) -> dict[str, Any]:
        try:
            if place not in self._clients:
                self._clients[place] = self._client_for(place)
            page = self._clients[place].describe_spot_price_history(
                InstanceTypes=list(machines),
                ProductDescriptions=[PRODUCT],
                StartTime=now,
                MaxResults=MOST_RESULTS,
                **({"NextToken": token} if token else {}),
            )
        except PriceUnavailable:
            raise
        except Exception as error:
            # botocore's errors have no common base below Exception; none of them is ours to handle.
            message = f"AWS does not tell spot prices of {place}: {type(error).__name__}: {str(error)[:160]}"
            raise PriceUnavailable(message, hint="Check the credentials: aws sts get-caller-identity.") from error
        if not isinstance(page, dict):
            raise PriceUnavailable(f"AWS answers about {place} with {type(page).__name__}")
        return page


def _is_refusal(error: PriceUnavailable) -> bool:
    """Whether AWS answered, if not what was asked: botocore's errors of that kind carry the response."""
    return isinstance(getattr(error.__cause__, "response", None), dict)


def _quote(row: dict[str, Any], region: str, machines: Sequence[str]) -> Quote | None:
    """Read a row; ``None`` for another product, and for a price that cannot be read."""
    machine, since = row.get("InstanceType"), row.get("Timestamp")
    if row.get("ProductDescription") != PRODUCT or machine not in machines or not isinstance(since, datetime):
        return None
    try:
        usd = float(str(row.get("SpotPrice")))
    except ValueError:
        return None
    name = str(row.get("AvailabilityZone") or "")
    zone = str(row.get("AvailabilityZoneId") or name)
    if not math.isfinite(usd):
        return None
    return Quote(region, zone, str(machine), Market.SPOT, usd, as_utc(since), "aws-spot", Kind.MEASURED, zone_name=name)


def _client_for(place: str) -> Any:  # noqa: ANN401 - boto3 makes its clients at run time and has no types for them
    try:
        boto3, config = importlib.import_module("boto3"), importlib.import_module("botocore.config")
    except ImportError as error:
        message = "AWS's spot prices need boto3, which is not installed"
        raise PriceUnavailable(message, hint='Install it: pip install "greenctl[aws]".') from error
    bounds = config.Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"max_attempts": 2})
    return boto3.client("ec2", region_name=place, config=bounds)
