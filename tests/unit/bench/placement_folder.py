"""A small placement year on disk: three grids with weather, four regions, two tracks."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

YEAR = 2023
HOURS = 8760
FIRST = HOURS - 240
ZONES = ("CLEAN", "SUNNY", "WINDY")
REGIONS = {
    "a:home": {"zone": "WINDY", "pue": 1.2},
    "b:same-grid": {"zone": "WINDY", "pue": 1.1},
    "c:sunny": {"zone": "SUNNY", "pue": 1.1},
    "d:clean": {"zone": "CLEAN", "pue": 1.3},
}


def intensities(hours: int = HOURS, seed: int = 5) -> np.ndarray:
    """Grams per kWh, (hours, zones), one decimal as in the files."""
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    weather = np.zeros((hours, len(ZONES)))
    noise = rng.normal(0, 8, (hours, len(ZONES)))
    for hour in range(1, hours):
        weather[hour] = 0.97 * weather[hour - 1] + noise[hour]
    sun = -120 * np.clip(np.sin(2 * np.pi * (t - 6) / 24), 0, None)
    mean = np.stack([np.full(hours, 180.0), 300 + sun, np.full(hours, 260.0)], axis=1)
    return np.round(np.clip(mean + weather, 5, 900), 1)


def instance(services: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """The document of an instance file."""
    document = {
        "benchmark": "placement-year",
        "version": 1,
        "year": YEAR,
        "hours_in_year": HOURS,
        "warmup_hours": FIRST,
        "scored_hours": HOURS - FIRST,
        "regions": REGIONS,
        "services": services or [service(track, grams) for track in ("open", "scarce") for grams in (80.0, 900.0)],
    }
    return {**document, **changes}


def service(track: str, grams: float, **changes: Any) -> dict[str, Any]:
    """One service at home in ``a:home``; the clean region is sold out in the scarce track."""
    candidates = [r for r in REGIONS if track == "open" or r != "d:clean"]
    entry = {
        "id": f"{track}|{grams:g}",
        "track": track,
        "origin": "a:home",
        "rtt_budget_ms": 50,
        "switching_hours": grams / 300,
        "switching_grams": grams,
        "candidates": candidates,
    }
    return {**entry, **changes}


def carbon_text(values: np.ndarray, year: int = YEAR, zones: tuple[str, ...] = ZONES) -> str:
    """The file's text; ``nan`` becomes an empty cell."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    lines = [",".join(("datetime_utc", *zones))]
    for hour, row in enumerate(values.tolist()):
        cells = ["" if value != value else f"{value:g}" for value in row]  # noqa: PLR0124  # nan
        lines.append(",".join((f"{begin + timedelta(hours=hour):%Y-%m-%dT%H:%MZ}", *cells)))
    return "\n".join(lines) + "\n"


def write_folder(folder: Path, values: np.ndarray, document: dict[str, Any] | None = None, year: int = YEAR) -> Path:
    """Write the layout of the data pack, and return its folder."""
    (folder / "carbon").mkdir(parents=True, exist_ok=True)
    (folder / "placement").mkdir(exist_ok=True)
    text = carbon_text(values, year)
    (folder / "carbon" / f"ci_lifecycle_{year}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    path = folder / "placement" / f"instance_{year}.json"
    path.write_text(json.dumps(document or instance(year=year)), encoding="utf-8")
    return folder
