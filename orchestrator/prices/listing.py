"""One price list: rows of instance types with their prices, checked before anybody plans with them.

Layout, CSV, plain or gzip'd: ``cloud, region, zone, instance_type, accelerator, accelerator_count, vcpus, memory_gib,
ondemand_usd_per_hour, spot_usd_per_hour, as_of, note`` and optionally ``kind`` (``recorded`` unless it says
``synthetic``). An empty price is unknown. Lines that begin with ``#`` before the header are comments.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.domain.time import Instant, parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.files import text_of

COLUMNS = (
    "cloud",
    "region",
    "zone",
    "instance_type",
    "accelerator",
    "accelerator_count",
    "vcpus",
    "memory_gib",
    "ondemand_usd_per_hour",
    "spot_usd_per_hour",
    "as_of",
    "note",
)

USD_PER_ACCELERATOR_HOUR = (0.02, 40.0)
"""Sanity band. Listed accelerators lie between 0.027 (Inferentia on spot) and 23 USD/h (H100 in Johannesburg)."""

USD_PER_VCPU_HOUR = (0.001, 1.0)
"""Sanity band. Listed vCPUs lie between 0.004 (spot) and 0.1 USD/h."""

_CHIPS_IN_NAME = re.compile(r"tpu-.*-(\d+)")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row, or a price of it, that is not used. ``line`` is 1-based; 0 for a whole list that cannot be read."""

    line: int
    what: str
    reason: str
    file: str = ""

    @property
    def is_whole_list(self) -> bool:
        """Whether the list itself is missing or broken."""
        return self.line == 0


@dataclass(frozen=True, slots=True)
class Listed:
    """One row. ``region`` is a region id, or ``provider/*`` for every region without rows of its own.

    ``zone_name``: what an account calls the zone, where ``zone`` is what all accounts share. ``disbelieved``: why a
    price that the list does have was taken away.
    """

    line: int
    region: str
    zone: str
    instance_type: str
    accelerator: str | None
    accelerator_count: int
    vcpus: float | None
    memory_gib: float | None
    usd_per_hour: Mapping[Market, float | None]
    as_of: Instant
    note: str
    kind: Kind
    file: str
    disbelieved: Mapping[Market, str] = field(default_factory=dict)
    zone_name: str = ""

    def without_price(self, market: Market, why: str) -> Listed:
        """Return the row without its price on a market, which is not believed."""
        return replace(self, usd_per_hour={**self.usd_per_hour, market: None}, disbelieved={market: why})


def read_listing(path: Path) -> tuple[tuple[Listed, ...], tuple[Rejected, ...]]:
    """Read a list. Raises ``PriceUnavailable`` when it cannot be read or has not the columns; odd rows are rejected."""
    text = text_of(path, f"price list {path.name}")
    lines = text.splitlines()
    comments = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    reader = csv.DictReader(lines[comments:], restval="")
    missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
    if missing:
        raise PriceUnavailable(f"{path.name}:{comments + 1}: no column {', '.join(missing)}")
    listed: list[Listed] = []
    rejected: list[Rejected] = []
    for row in _rows(reader, path.name, comments):
        line = comments + reader.line_num
        what = f"{row['cloud']}/{row['region']} {row['instance_type']}"
        try:
            listed.append(_listed(row, line, path.name))
        except ValueError as error:
            rejected.append(Rejected(line, what, str(error), path.name))
    return tuple(listed), tuple(rejected)


def _rows(reader: csv.DictReader[str], name: str, comments: int) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise PriceUnavailable(f"{name}:{comments + reader.line_num}: {error}") from error


def _listed(row: Mapping[str, str], line: int, file: str) -> Listed:
    accelerator = row["accelerator"] or None
    count = number(row, "accelerator_count") or 0
    if accelerator is not None and (count < 1 or count != int(count)):
        message = f"{row['accelerator_count'] or 'no'} {accelerator}: parts of an accelerator are not offered"
        raise ValueError(message)
    listed = Listed(
        line=line,
        region=f"{row['cloud']}/{row['region']}",
        zone=row["zone"],
        instance_type=row["instance_type"],
        accelerator=accelerator,
        accelerator_count=int(count) if accelerator else 0,
        vcpus=number(row, "vcpus"),
        memory_gib=number(row, "memory_gib"),
        usd_per_hour={
            Market.ON_DEMAND: number(row, "ondemand_usd_per_hour"),
            Market.SPOT: number(row, "spot_usd_per_hour"),
        },
        as_of=parse_instant(f"{row['as_of']}T00:00Z"),
        note=row["note"],
        kind=Kind(row.get("kind") or Kind.RECORDED),
        file=file,
    )
    check(listed)
    return listed


def check(listed: Listed) -> None:
    """Raise ``ValueError`` for a row that says nothing, or a price that nobody charges."""
    if listed.accelerator is None and (listed.vcpus is None or listed.memory_gib is None):
        message = "neither an accelerator nor vCPUs and memory"
        raise ValueError(message)
    for complaint in _absurd_prices(listed):
        raise ValueError(complaint)


def _absurd_prices(listed: Listed) -> Iterator[str]:
    if listed.accelerator is not None:
        match = _CHIPS_IN_NAME.fullmatch(listed.accelerator)
        units = float(listed.accelerator_count * (int(match[1]) if match else 1))
        (low, high), unit = USD_PER_ACCELERATOR_HOUR, "accelerator"
    else:
        units, (low, high), unit = listed.vcpus or 1.0, USD_PER_VCPU_HOUR, "vCPU"
    for market, usd in listed.usd_per_hour.items():
        if usd is not None and not low <= usd / units <= high:
            yield f"{market} {usd:g} USD/h is {usd / units:g} per {unit}, outside {low:g}..{high:g}"


def number(row: Mapping[str, str], column: str) -> float | None:
    """Read an amount; an empty one is unknown. Raises ``ValueError``."""
    text = row[column]
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        message = f"{column}: {text!r} is no amount"
        raise ValueError(message)
    return number
