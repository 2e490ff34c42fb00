"""A small recorded world for tests: three zones over six weeks, in memory or as a folder."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from orchestrator.domain.carbon import Basis, Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market, Price
from orchestrator.domain.service import (
    Accelerators,
    MigrationRules,
    ModelSpec,
    PlacementRules,
    ResourceRequest,
    Scaling,
    ServiceSpec,
)
from orchestrator.domain.time import HOUR, Window
from orchestrator.signals.fake import FakeCarbon
from orchestrator.sim.request import Request
from orchestrator.sim.runs import Row
from orchestrator.sim.simulate import Note, simulate
from orchestrator.sim.stock import Trace
from orchestrator.sim.workload import Workload, diurnal
from tests.builders import GREEN, offer

START = datetime(2023, 3, 1, tzinfo=UTC)
ZONES = ("DE", "FR", "SE")
PAST_DAYS = 40
HERE = {"DE": 10.0, "FR": 2.0, "SE": 18.0}
"""Degrees east."""

_T = TypeVar("_T")


def swinging(hours: int, seed: int = 1, zones: Sequence[str] = ZONES) -> dict[str, list[float]]:
    """Make intensities that swing with the day, each zone with its own level, phase and noise."""
    dice = random.Random(seed)
    made = {}
    for zone in zones:
        level, swing, phase = dice.uniform(60, 400), dice.uniform(10, 150), dice.uniform(0, 24)
        made[zone] = [
            round(max(5.0, level + swing * math.sin(2 * math.pi * (h - phase) / 24) + dice.gauss(0, 20)), 1)
            for h in range(hours)
        ]
    return made


def period(days: int = 7) -> Window:
    """Make the simulated period."""
    return Window(START, START + timedelta(days=days))


def carbon(
    values: Mapping[str, Sequence[float | None]] | None = None, days: int = 7, past_days: int = PAST_DAYS
) -> FakeCarbon:
    """Make the source, with six weeks of past; ``values`` are from there on."""
    source = FakeCarbon("recorded", kind=Kind.RECORDED)
    begin = START - timedelta(days=past_days)
    for zone, column in (values or swinging((past_days + days) * 24)).items():
        source.put(zone, begin, column, basis=Basis())
    return source


def offers(markets: Sequence[Market] = (Market.ON_DEMAND,)) -> tuple[Offer, ...]:
    """Make one offer per zone and market; the dirtiest is not the cheapest."""
    made = []
    for number, zone in enumerate(ZONES):
        base = offer(f"sky/{zone.lower()}", usd=1.0 + 0.01 * number)
        for market in markets:
            price = base.price
            assert price is not None
            usd = price.usd_per_hour * (0.3 if market is Market.SPOT else 1.0)
            made.append(replace(base, market=market, price=Price(usd, price.source, price.kind, price.as_of)))
    return tuple(made)


def spec(replicas: int = 1, **changes: Any) -> ServiceSpec:
    """Make a service whose home is in Germany."""
    made = ServiceSpec(
        name="chat",
        model=ModelSpec("org/model", served_name="chat"),
        resources=ResourceRequest(accelerators=(Accelerators("L4", 1),)),
        scaling=Scaling(replicas, replicas),
        placement=PlacementRules(home="sky/de"),
        migration=MigrationRules(canary_percent=(50, 100), canary_hold=timedelta(seconds=5)),
        policy=GREEN,
        startup_deadline=timedelta(minutes=20),
    )
    return replace(made, **changes)


def request(**changes: Any) -> Request:
    """Make a request over a week."""
    span = changes.pop("period", period())
    load: Workload = changes.pop("load", None) or diurnal(span, 0.4)
    days = round(span.hours / 24)
    made = Request(
        spec=spec(),
        offers=offers(),
        period=span,
        policies={},
        rules=("home", "B3"),
        with_oracle=False,
        load=load,
        traces=(),
        seed=0,
        cold_start=timedelta(minutes=2),
        carbon=carbon(days=days),
        longitudes=HERE,
    )
    return replace(made, **changes)


def rows(asked: Request, note: Note = lambda _words: None) -> dict[str, Row]:
    """Simulate."""

    async def collect() -> list[Row]:
        return [row async for row in simulate(asked, lambda _name, _fraction: None, note)]

    return {row.policy: row for row in wait(collect())}


def wait(work: Coroutine[Any, Any, _T]) -> _T:
    """Run asynchronous work to its end."""
    return asyncio.run(work)


def flicker(region: str, hours: Sequence[tuple[float, int]]) -> Trace:
    """Make a trace from (until which hour, how many)."""
    ends = np.array([h * 3600.0 for h, _ in hours])
    return Trace(f"t-{region}", region, "l4", ends, np.array([n for _, n in hours], dtype=np.int16))


def data_folder(folder: Path, days: int = 7, year: int = 2023) -> Path:
    """Write a recording of January with a past of the December before."""
    (folder / "carbon").mkdir(parents=True)
    values = swinging((31 + days) * 24, seed=2)
    first = datetime(year - 1, 12, 1, tzinfo=UTC)
    for wanted in (year - 1, year):
        lines = ["datetime_utc,DE,SE,US-MIDA-PJM"]
        for hour in range((31 + days) * 24):
            moment = first + hour * HOUR
            if moment.year == wanted:
                cells = [str(values[z][hour]) for z in ZONES]
                lines.append(f"{moment:%Y-%m-%dT%H:%M}Z," + ",".join(cells))
        (folder / "carbon" / f"ci_lifecycle_{wanted}.csv").write_text("\n".join(lines) + "\n")
    return folder
