"""A scorer of files of placements that shares nothing with the package: plain text, plain lists, its own program.

It is written from the words of the benchmark: grams of 1 kW, PUE times life-cycle intensity of each scored hour, and a
fixed mass for each change of region. A mistake in the package's ledger is not repeated here.
"""

from __future__ import annotations

import csv
import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

Bill = tuple[float, int]
"""Grams, and how often the region changed."""


def unpacked(path: Path) -> bytes:
    """The content of a file, packed or not."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.name.endswith(".gz") else content


def scored(folder: Path, year: int, placements: Path) -> dict[str, dict[str, Bill]]:
    """By the id of the service: the bill of the file, of staying at home, and of the optimum.

    Raises ``ValueError`` where the file is not what was agreed on.
    """
    instance = json.loads((folder / "placement" / f"instance_{year}.json").read_text())
    columns = _columns(folder / "carbon" / f"ci_lifecycle_{year}.csv.gz")
    document = json.loads(unpacked(placements))
    if document["year"] != year:
        raise ValueError(document["year"])
    entries = {_key(e): e["placements"] for e in document["services"]}
    if len(entries) != len(document["services"]) or set(entries) - {_key(s) for s in instance["services"]}:
        raise ValueError("services")
    bills: dict[str, dict[str, Bill]] = {}
    for service in instance["services"]:
        costs = {
            name: [
                instance["regions"][name]["pue"] * gram
                for gram in columns[instance["regions"][name]["zone"]][instance["warmup_hours"] :]
            ]
            for name in service["candidates"]
        }
        hours = [region for region, count in entries[_key(service)] for _ in range(count)]
        if len(hours) != instance["scored_hours"]:
            raise ValueError(f"{service['id']}: {len(hours)} hours")
        grams = service["switching_grams"]
        bills[service["id"]] = {
            "file": _bill(costs, hours, service["origin"], grams),
            "home": _bill(costs, [service["origin"]] * len(hours), service["origin"], grams),
            "optimum": _optimum(costs, service["origin"], grams),
        }
    return bills


def _key(entry: dict[str, Any]) -> tuple[object, ...]:
    return entry["track"], entry["origin"], entry["rtt_budget_ms"], entry["switching_hours"]


def _bill(costs: dict[str, list[float]], hours: list[str], origin: str, switching_grams: float) -> Bill:
    moves = sum(a != b for a, b in pairwise([origin, *hours]))
    return sum(costs[region][t] for t, region in enumerate(hours)) + moves * switching_grams, moves


def _optimum(costs: dict[str, list[float]], origin: str, switching_grams: float) -> Bill:
    """Forward: the cheapest way to have come to each region by each hour, with the moves of one such way."""
    best = {name: (0.0 if name == origin else switching_grams, int(name != origin)) for name in costs}
    for t in range(len(costs[origin])):
        if t:
            grams, moves = min(best.values())
            best = {name: min(bill, (grams + switching_grams, moves + 1)) for name, bill in best.items()}
        best = {name: (grams + costs[name][t], moves) for name, (grams, moves) in best.items()}
    return min(best.values())


def _columns(path: Path) -> dict[str, list[float]]:
    header, *rows = csv.reader(unpacked(path).decode().splitlines())
    return {
        zone: [_value(rows, t, column) for t in range(len(rows))]
        for column, zone in enumerate(header[1:], start=1)
        if any(row[column] for row in rows)
    }


def _value(rows: list[list[str]], t: int, column: int) -> float:
    """A cell; an empty one is the mean of the nearest days at that hour, on the side or sides that have one."""
    distance = 0
    while True:
        around = {t - distance, t + distance}
        found = [float(rows[i][column]) for i in around if 0 <= i < len(rows) and rows[i][column]]
        if found:
            return sum(found) / len(found)
        distance += 24
        if distance > len(rows):
            raise ValueError(f"column {column}, row {t}")
