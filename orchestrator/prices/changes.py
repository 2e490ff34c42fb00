"""Recorded prices, replayed as they could have been known then: files of change points.

Layout of the folder, each file plain or gzip'd, any number of each kind:

* ``aws_spot_price_changes_*.csv``: ``observed_at_utc, instance_type, az_id, region, spot_price_usd_per_hour``;
* ``aws_ondemand_price_changes_*.csv``: ``observed_at_utc, instance_type, region, price_usd_per_hour``;
* ``gcp_price_changes_*.csv``: ``observed_date, machine_type, region, ondemand_usd_per_hour, spot_usd_per_hour``.

A price holds until the next row of the same machine and zone; an empty one means that it is not sold any longer. Rows
need not be in order. A row that cannot be read makes every price of the file doubtful, and is an error with its line.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant, parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.files import text_of
from orchestrator.prices.quotes import Quote, Wanted

FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "aws_spot_price_changes_": ("observed_at_utc", "instance_type", "az_id", "region", "spot_price_usd_per_hour"),
    "aws_ondemand_price_changes_": ("observed_at_utc", "instance_type", "region", "price_usd_per_hour"),
    "gcp_price_changes_": (
        "observed_date",
        "machine_type",
        "region",
        "ondemand_usd_per_hour",
        "spot_usd_per_hour",
    ),
}

_Key = tuple[str, str, Market, str]
"""Region id, machine, market, zone."""

_Change = tuple[Instant, float | None, str]
"""Since when, US dollars per hour or not sold, file."""


class RecordedQuotes:
    """A :class:`~orchestrator.prices.quotes.QuoteSource` over such a folder, read when first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """Short name that travels with each price."""
        return "recorded"

    @property
    def troubles(self) -> Mapping[str, str]:
        """None of single regions: it fails as a whole."""
        return {}

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Return the prices that held at ``now``. Raises ``PriceUnavailable`` with file and line."""
        found = []
        for region, machines in sorted(wanted.machines.items()):
            for machine in sorted(machines):
                for market, zone in self._zones.get((region, machine), ()):
                    changes = self._changes[region, machine, market, zone]
                    at = bisect_right(changes, now, key=lambda change: change[0])
                    if at:
                        since, usd, file = changes[at - 1]
                        found.append(Quote(region, zone, machine, market, usd, since, file, Kind.RECORDED))
        return found

    @cached_property
    def _zones(self) -> Mapping[tuple[str, str], Sequence[tuple[Market, str]]]:
        zones: dict[tuple[str, str], list[tuple[Market, str]]] = {}
        for region, machine, market, zone in sorted(self._changes):
            zones.setdefault((region, machine), []).append((market, zone))
        return zones

    @cached_property
    def _changes(self) -> Mapping[_Key, Sequence[_Change]]:
        changes: dict[_Key, list[_Change]] = {}
        files = _files(self._folder)
        if not files:
            message = f"{self._folder} has no files of price changes"
            raise PriceUnavailable(message, hint=f"Expected are {', '.join(f'{prefix}*.csv' for prefix in FILES)}.")
        for path, prefix in files:
            for key, change in _read(path, prefix):
                changes.setdefault(key, []).append(change)
        for series in changes.values():
            series.sort(key=lambda change: change[0])
        return changes


def _files(folder: Path) -> list[tuple[Path, str]]:
    return [
        (path, prefix)
        for prefix in FILES
        for path in sorted([*folder.glob(f"{prefix}*.csv"), *folder.glob(f"{prefix}*.csv.gz")])
        # With both, the plain one counts: it is the one that people edit.
        if path.suffix != ".gz" or not path.with_suffix("").exists()
    ]


def _read(path: Path, prefix: str) -> Iterator[tuple[_Key, _Change]]:
    columns = FILES[prefix]
    reader = csv.reader(text_of(path, path.name).splitlines())
    header = next(reader, [])
    missing = [c for c in columns if c not in header]
    if missing:
        raise PriceUnavailable(f"{path.name}:1: no column {', '.join(missing)}")
    places = [header.index(c) for c in columns]
    rows_of = _ROWS[prefix]
    for row in reader:
        try:
            yield from rows_of([row[place] for place in places], path.name)
        except (ValueError, IndexError) as error:
            raise PriceUnavailable(f"{path.name}:{reader.line_num}: {error}") from error


def _aws_spot(cells: Sequence[str], file: str) -> Iterator[tuple[_Key, _Change]]:
    at, machine, zone, region, usd = cells
    yield (f"aws/{region}", machine, Market.SPOT, zone), (_moment(at), _amount(usd), file)


def _aws_on_demand(cells: Sequence[str], file: str) -> Iterator[tuple[_Key, _Change]]:
    at, machine, region, usd = cells
    yield (f"aws/{region}", machine, Market.ON_DEMAND, ""), (_moment(at), _amount(usd), file)


def _gcp(cells: Sequence[str], file: str) -> Iterator[tuple[_Key, _Change]]:
    day, machine, region, on_demand, spot = cells
    since = _moment(f"{day}T00:00Z")
    yield (f"gcp/{region}", machine, Market.ON_DEMAND, ""), (since, _amount(on_demand), file)
    yield (f"gcp/{region}", machine, Market.SPOT, ""), (since, _amount(spot), file)


_ROWS: Final[Mapping[str, Callable[[Sequence[str], str], Iterator[tuple[_Key, _Change]]]]] = {
    "aws_spot_price_changes_": _aws_spot,
    "aws_ondemand_price_changes_": _aws_on_demand,
    "gcp_price_changes_": _gcp,
}


@lru_cache(maxsize=8192)
def _moment(text: str) -> Instant:
    """Read a time. A list is sampled at a few thousand moments, and each has a hundred rows."""
    return parse_instant(text)


def _amount(text: str) -> float | None:
    if not text:
        return None
    usd = float(text)
    if not math.isfinite(usd) or usd < 0:
        message = f"{text!r} is no amount"
        raise ValueError(message)
    return usd
