"""What each offer cost in each hour of the period, as recorded; the price list's own number where nothing was.

Layout of the folder: ``spot/*_price_changes_*.csv[.gz]``, the provider's name first in the file's. Each row is a change
that holds until the next of the same machine and place: ``observed_at_utc`` (or ``observed_date``), ``instance_type``
(or ``machine_type``), ``region``, where there is one ``az_id``, and prices in US dollars per hour:
``spot_price_usd_per_hour`` (or ``spot_usd_per_hour``), ``price_usd_per_hour`` (or ``ondemand_usd_per_hour``). An empty
price: no longer offered there. The zones of a region are one offer, at the cheapest of them. A price that changed
within an hour counts from the next.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from orchestrator.domain.carbon import Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market, Price
from orchestrator.domain.time import HOUR, Window
from orchestrator.errors import SignalFormatError
from orchestrator.sim.grid import Floats

PATTERN = "*_price_changes_*.csv*"
_MOMENTS = ("observed_at_utc", "observed_date")
_MACHINES = ("instance_type", "machine_type")
_PRICES = {
    Market.SPOT: ("spot_price_usd_per_hour", "spot_usd_per_hour"),
    Market.ON_DEMAND: ("price_usd_per_hour", "ondemand_usd_per_hour"),
}

Key = tuple[str, str, Market]
"""(region id, the provider's name of the machine, market)."""

_QUIET = timedelta(days=30)
"""A recording that ends so long before the period does is said to: its last prices are held."""


@dataclass(frozen=True, slots=True)
class Change:
    """From an instant on (seconds since 1970) something costs that much in a zone of its region; NaN: not offered."""

    at: float
    zone: str
    usd_per_hour: float


@dataclass(frozen=True)
class PriceChanges:
    """Recorded changes by what is sold, oldest first. ``ends``: the last moment that a market of a provider has."""

    changes: Mapping[Key, tuple[Change, ...]] = field(default_factory=dict)
    ends: Mapping[tuple[str, Market], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prices:
    """US dollars per hour by offer id, one number per hour of the period, NaN while it is not offered.

    An offer that is not named keeps the price of its list. ``notes``: what had to be assumed.
    """

    usd_per_hour: Mapping[str, Floats] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def at(self, offer: Offer, hour: int) -> float | None:
        """Return what it costs in an hour of the period, at its edges the nearest one's; ``None`` where unknown."""
        known = self.usd_per_hour.get(offer.id)
        if known is None:
            return None if offer.price is None else offer.price.usd_per_hour
        usd = float(known[min(max(hour, 0), len(known) - 1)])
        return None if math.isnan(usd) else usd

    def priced(self, offer: Offer, hour: int, period: Window) -> Offer:
        """Return the offer as it is sold in an hour of the period; itself where nothing was recorded of it."""
        if offer.id not in self.usd_per_hour:
            return offer
        usd = self.at(offer, hour)
        if usd is None:
            return replace(offer, price=None, price_note="not offered in this hour of the recording")
        if offer.price is not None and offer.price.usd_per_hour == usd:
            return offer
        return replace(offer, price=Price(usd, "recorded changes", Kind.RECORDED, period.start + hour * HOUR))


def prices_of(offers: Sequence[Offer], period: Window, recorded: PriceChanges) -> Prices:
    """Return the prices of offers over a period. Before the first change of a machine its list's price holds."""
    hours = round(period.hours)
    found: dict[str, Floats] = {}
    for offer in sorted(offers, key=lambda o: o.id):
        changes = recorded.changes.get((offer.region.id, offer.instance_type, offer.market))
        if changes is not None:
            listed = math.nan if offer.price is None else offer.price.usd_per_hour
            found[offer.id] = _hourly(changes, period, hours, listed)
    notes = []
    for (provider, market), last in sorted(recorded.ends.items()):
        is_used = any(o.region.provider == provider and o.market is market and o.id in found for o in offers)
        end = datetime.fromtimestamp(last, UTC)
        if is_used and end + _QUIET < period.end:
            words = market.value.replace("_", " ")
            notes.append(f"{provider}: {words} prices are recorded until {end:%Y-%m-%d}; the last ones are held")
    return Prices(found, tuple(notes))


def read_prices(folder: Path, offers: Sequence[Offer]) -> PriceChanges:
    """Read the changes that concern some offers; none where the folder has no such file.

    Raises ``SignalFormatError`` with file and line.
    """
    wanted = {(o.region.id, o.instance_type, o.market) for o in offers if o.instance_type}
    providers = {region.partition("/")[0] for region, _, _ in wanted}
    found: dict[Key, list[Change]] = {}
    ends: dict[tuple[str, Market], float] = {}
    for path in sorted((folder / "spot").glob(PATTERN)):
        provider = path.name.partition("_")[0]
        if provider not in providers:
            continue
        for key, change in _changes(path, provider, wanted, ends):
            found.setdefault(key, []).append(change)
    ordered = {key: tuple(sorted(each, key=lambda c: (c.at, c.zone))) for key, each in sorted(found.items())}
    return PriceChanges(ordered, ends)


def _hourly(changes: Sequence[Change], period: Window, hours: int, listed: float) -> Floats:
    """Return the cheapest zone's price when each hour begins."""
    usd = np.full(hours, math.nan)
    zones: dict[str, float] = {}
    begin, position, now = period.start.timestamp(), 0, listed
    for hour in range(hours):
        moment = begin + hour * HOUR.total_seconds()
        while position < len(changes) and changes[position].at <= moment:
            zones[changes[position].zone] = changes[position].usd_per_hour
            position += 1
            now = min((z for z in zones.values() if not math.isnan(z)), default=math.nan)
        usd[hour] = now
    return usd


def _changes(
    path: Path, provider: str, wanted: AbstractSet[Key], ends: dict[tuple[str, Market], float]
) -> Iterator[tuple[Key, Change]]:
    """Yield the wanted changes of a file, and note when each of its markets ends. Rows are read only where wanted."""
    reader = csv.reader(io.StringIO(_text(path)))
    head = next(reader, [])
    moment, machine, region = (_column(path, head, names) for names in (_MOMENTS, _MACHINES, ("region",)))
    prices = [(m, head.index(name)) for m, names in _PRICES.items() for name in names if name in head]
    if not prices:
        names = ", ".join(name for names in _PRICES.values() for name in names)
        raise SignalFormatError(f"{path.name}:1: it has no column of prices; known are {names}")
    zone = head.index("az_id") if "az_id" in head else None
    last, end = "", 1
    for line, row in enumerate(reader, start=2):
        try:
            if row[moment] > last:
                last, end = row[moment], line
            for market, column in prices:
                key = (f"{provider}/{row[region]}", row[machine], market)
                if key in wanted:
                    yield key, Change(_seconds(row[moment]), "" if zone is None else row[zone], _usd(row[column]))
        except (ValueError, IndexError) as error:
            raise SignalFormatError(f"{path.name}:{line}: {error}") from error
    if last:
        try:
            ended = _seconds(last)
        except ValueError as error:
            raise SignalFormatError(f"{path.name}:{end}: {error}") from error
        for market, _ in prices:
            ends[provider, market] = max(ends.get((provider, market), ended), ended)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SignalFormatError(f"{path.name} is damaged: {error}") from error


def _seconds(text: str) -> float:
    """Read an instant as seconds since 1970; without a zone it is UTC. Raises ``ValueError``."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _usd(cell: str) -> float:
    """Read a price; NaN where there is none. Raises ``ValueError``."""
    if not cell:
        return math.nan
    usd = float(cell)
    if not (math.isfinite(usd) and usd >= 0):
        raise ValueError(f"{cell} is no price")
    return usd


def _column(path: Path, head: Sequence[str], names: Sequence[str]) -> int:
    found = next((head.index(name) for name in names if name in head), None)
    if found is None:
        raise SignalFormatError(f"{path.name}:1: there is no column {names[0]!r}")
    return found
