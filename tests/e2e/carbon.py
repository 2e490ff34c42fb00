"""A recorded grid, written for a test: each zone has one intensity, until an hour at which it gets another."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

HOURS_OF_PAST = 24 * 29
"""Four weeks for the trailing mean, and a day for the forecast."""

HOURS_AHEAD = 24 * 3


@dataclass(frozen=True, slots=True)
class Level:
    """Grams per kWh of a zone: before and from a moment on."""

    before: float
    after: float


def record(folder: Path, start: datetime, change_at: datetime, levels: dict[str, Level]) -> None:
    """Write the hourly life-cycle table around ``start`` in the layout of recorded carbon data."""
    assert start.tzinfo is UTC, "grid time is UTC"
    assert start.minute == 0, "tables begin at a full hour"
    first = start - timedelta(hours=HOURS_OF_PAST)
    last = start + timedelta(hours=HOURS_AHEAD)
    assert first.year == last.year, "one table holds one year"
    lines = [",".join(["datetime_utc", *levels])]
    hour = first
    while hour < last:
        values = [level.before if hour < change_at else level.after for level in levels.values()]
        lines.append(",".join([f"{hour:%Y-%m-%dT%H:%M:%SZ}", *(f"{v:.1f}" for v in values)]))
        hour += timedelta(hours=1)
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / f"ci_lifecycle_{start.year}.csv.gz", "wt", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
