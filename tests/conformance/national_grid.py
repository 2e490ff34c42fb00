"""Great Britain's Carbon Intensity API v2, as carbonintensity.org.uk documents it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from aiohttp import web

from orchestrator.domain.carbon import Factors
from orchestrator.domain.time import Instant, floor_hour, parse_instant
from tests.conformance.faults import Change
from tests.conformance.grid import Grid

HALF = timedelta(minutes=30)
MAX_RANGE = timedelta(days=14)
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ")
ZONE = "GB"


class NationalGridApi:
    """Half-hours of one country; both halves of an hour differ by two, so that their mean is the hour's truth."""

    def __init__(self, grid: Grid, lie: Change) -> None:
        self.grid = grid
        self.lie = lie

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [
            web.get("/intensity", self.current),
            web.get("/intensity/{start}/fw48h", self.forward),
            web.get("/intensity/{start}/{end}", self.between),
            web.get("/regional/regionid/{region}", self.region_now),
            web.get("/regional/intensity/{start}/fw48h/regionid/{region}", self.region_forward),
            web.get("/regional/intensity/{start}/{end}/regionid/{region}", self.region_between),
        ]

    async def current(self, request: web.Request) -> web.Response:
        """Serve the half-hour that runs."""
        del request
        half = floor_hour(self.grid.now) + (HALF if self.grid.now.minute >= 30 else timedelta(0))
        return self._answer(half, half + HALF)

    async def forward(self, request: web.Request) -> web.Response:
        """Serve 48 hours ahead."""
        start = self._moment(request.match_info["start"])
        return self._bad("Please enter a valid date") if start is None else self._answer(start, start + 96 * HALF)

    async def between(self, request: web.Request) -> web.Response:
        """Serve a range; the half-hour that ends where it begins comes along."""
        start, end = self._moment(request.match_info["start"]), self._moment(request.match_info["end"])
        if start is None or end is None:
            return self._bad("Please enter a valid date in ISO8601 format YYYY-MM-DDThh:mmZ")
        if end - start > MAX_RANGE:
            return self._bad("The date range must not exceed 14 days")
        return self._answer(start - HALF, end)

    async def region_now(self, request: web.Request) -> web.Response:
        """Serve a region's half-hour that runs: a list of one region."""
        half = floor_hour(self.grid.now) + (HALF if self.grid.now.minute >= 30 else timedelta(0))
        return self._region(request, half, half + HALF, as_list=True)

    async def region_forward(self, request: web.Request) -> web.Response:
        """Serve a region's 48 hours ahead: an object."""
        start = self._moment(request.match_info["start"])
        if start is None:
            return self._bad("Please enter a valid date")
        return self._region(request, start, start + 96 * HALF, as_list=False)

    async def region_between(self, request: web.Request) -> web.Response:
        """Serve a region's range: an object."""
        start, end = self._moment(request.match_info["start"]), self._moment(request.match_info["end"])
        if start is None or end is None or end - start > MAX_RANGE:
            return self._bad("Please enter a valid date range")
        return self._region(request, start - HALF, end, as_list=False)

    def _region(self, request: web.Request, start: Instant, end: Instant, *, as_list: bool) -> web.Response:
        """Regions have a forecast and no actual; here it is the truth of the whole, or the mean of what is known."""
        number = int(request.match_info["region"])
        if not 1 <= number <= 17:
            return self._bad("Please enter a valid region ID i.e. from 1 - 17.")
        truth = self.grid.hours.get((ZONE, Factors.DIRECT), {})
        rows = []
        at = start
        while at < end:
            grams = truth.get(floor_hour(at))
            intensity = {"forecast": None if grams is None else grams + (1 if at.minute else -1), "index": "moderate"}
            rows.append({"from": f"{at:%Y-%m-%dT%H:%MZ}", "to": f"{at + HALF:%Y-%m-%dT%H:%MZ}", "intensity": intensity})
            at += HALF
        region = {"regionid": number, "shortname": f"region {number}", "data": rows}
        return web.json_response(self.lie({"data": [region] if as_list else region}))

    def _answer(self, start: Instant, end: Instant) -> web.Response:
        truth = self.grid.hours.get((ZONE, Factors.DIRECT), {})
        known = [g for at, g in truth.items() if at < self.grid.published]
        rows: list[dict[str, Any]] = []
        at = start
        while at < end:
            hour, half = floor_hour(at), 1 if at.minute else -1
            actual = truth.get(hour)
            is_known = actual is not None and at + HALF <= self.grid.now and hour < self.grid.published
            rows.append(
                {
                    "from": f"{at:%Y-%m-%dT%H:%MZ}",
                    "to": f"{at + HALF:%Y-%m-%dT%H:%MZ}",
                    "intensity": {
                        "forecast": round(sum(known) / len(known), 1) if known else None,
                        "actual": actual + half if is_known and actual is not None else None,
                        "index": "moderate",
                    },
                }
            )
            at += HALF
        return web.json_response(self.lie({"data": rows}))

    def _moment(self, text: str) -> Instant | None:
        return parse_instant(text) if STAMP.fullmatch(text) else None

    def _bad(self, message: str) -> web.Response:
        return web.json_response({"error": {"code": "400 Bad Request", "message": message}}, status=400)
