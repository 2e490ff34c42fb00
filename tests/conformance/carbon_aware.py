"""The Carbon Aware SDK's web API over WattTime: five-minute values, asked for by names of cloud regions.

As its ``WattTimeDataSource`` does, rows carry the region that WattTime told of; a forecast carries the name asked for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aiohttp import web

from orchestrator.domain.carbon import Factors
from orchestrator.domain.time import HOUR, floor_hour, parse_instant
from tests.conformance.faults import Change
from tests.conformance.grid import Grid

STEP = timedelta(minutes=5)
LOCATIONS = {"westus": "CAISO_NORTH"}


class CarbonAwareApi:
    """Values swing about the hour's truth, which is the direct one of the location's zone."""

    def __init__(self, grid: Grid, lie: Change) -> None:
        self.grid = grid
        self.lie = lie
        self.makes_forecasts = True

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [
            web.get("/locations", self.locations),
            web.get("/emissions/bylocation", self.by_location),
            web.get("/emissions/forecasts/current", self.forecast),
        ]

    async def locations(self, request: web.Request) -> web.Response:
        """List the names."""
        del request
        return web.json_response({name: {"Name": name} for name in LOCATIONS})

    async def by_location(self, request: web.Request) -> web.Response:
        """Serve the past, with .NET's way of writing durations."""
        location = request.query.get("location", "")
        if location not in LOCATIONS:
            return _problem(400, "Invalid Location", f"Unknown Location: '{location}' not found")
        start, end = parse_instant(request.query["time"]), parse_instant(request.query["toTime"])
        known = self.grid.known(LOCATIONS[location], Factors.DIRECT, floor_hour(start), end)
        data: list[dict[str, Any]] = [
            {
                "location": LOCATIONS[location],
                "time": f"{at + n * STEP:%Y-%m-%dT%H:%M:%S}+00:00",
                "rating": grams + (1 if n % 2 else -1),
                "duration": "00:05:00",
            }
            for at, grams in known
            for n in range(12)
            if start <= at + n * STEP and at + (n + 1) * STEP <= min(end, self.grid.now)
        ]
        return web.json_response(self.lie(data)) if data else web.Response(status=204)

    async def forecast(self, request: web.Request) -> web.Response:
        """Serve what is to come, in minutes."""
        if not self.makes_forecasts:
            return _problem(501, "NotImplemented", "the data source does not support forecasts")
        location = request.query.get("location", "")
        if location not in LOCATIONS:
            return _problem(400, "Invalid Location", f"Unknown Location: '{location}' not found")
        start, end = parse_instant(request.query["dataStartAt"]), parse_instant(request.query["dataEndAt"])
        hours = self.grid.expected(LOCATIONS[location], Factors.DIRECT, int((end - self.grid.now) / HOUR) + 2)
        data = [
            {
                "location": LOCATIONS[location],
                "timestamp": f"{at + n * STEP:%Y-%m-%dT%H:%M:%SZ}",
                "duration": 5,
                "value": grams,
            }
            for at, grams in hours
            for n in range(12)
            if start <= at + n * STEP < end
        ]
        forecast = {
            "generatedAt": f"{self.grid.now:%Y-%m-%dT%H:%M:%SZ}",
            "location": location,
            "windowSize": 5,
            "forecastData": data,
        }
        return web.json_response(self.lie([forecast]))


def _problem(status: int, title: str, detail: str) -> web.Response:
    return web.json_response({"title": title, "status": status, "detail": detail}, status=status)
