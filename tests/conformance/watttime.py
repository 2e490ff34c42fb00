"""WattTime v3, as its own client asks it."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

from aiohttp import web

from orchestrator.domain.carbon import Factors
from orchestrator.domain.time import HOUR, Instant, floor_hour, parse_instant
from tests.conformance.faults import Change
from tests.conformance.grid import Grid

STEP = timedelta(minutes=5)
POUNDS = 0.45359237
TOKEN_LASTS = timedelta(minutes=30)


class WattTimeApi:
    """Five-minute values that swing about the hour's truth; the truth is the direct one of the zone ``CAISO_NORTH``."""

    def __init__(self, grid: Grid, lie: Change) -> None:
        self.grid = grid
        self.lie = lie
        self.user, self.password = "me", "wt-secret"
        self.regions = {"CAISO_NORTH"}
        self.tokens: dict[str, Instant] = {}
        self.logins = 0
        self.changes: dict[str, Any] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [
            web.get("/login", self.login),
            web.get("/v3/historical", self.historical),
            web.get("/v3/forecast", self.forecast),
            web.get("/v3/forecast/historical", self.past_forecasts),
        ]

    async def login(self, request: web.Request) -> web.Response:
        """Give a token for a user and a password."""
        wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            return web.Response(status=403, text="Forbidden")
        self.logins += 1
        token = f"token-{self.logins}"
        self.tokens[token] = self.grid.now
        return web.json_response({"token": token})

    async def historical(self, request: web.Request) -> web.Response:
        """Serve the past."""
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        try:
            start, end = parse_instant(request.query["start"]), parse_instant(request.query["end"])
        except (KeyError, ValueError):
            return web.json_response({"error": "bad_request", "message": "start and end are needed"}, status=400)
        if end - start > timedelta(days=32):
            return web.json_response({"error": "bad_request", "message": "the range is too long"}, status=400)
        return self._answer(request, self._points(floor_hour(start), min(end, self.grid.now)), {})

    async def forecast(self, request: web.Request) -> web.Response:
        """Serve what is to come."""
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        hours = int(request.query.get("horizon_hours", "24"))
        if not 0 <= hours <= 72:
            return web.json_response({"error": "bad_request", "message": "horizon_hours is 0 to 72"}, status=400)
        points = [
            {"point_time": f"{at + n * STEP:%Y-%m-%dT%H:%M:%SZ}", "value": grams / POUNDS}
            for at, grams in self.grid.expected("CAISO_NORTH", Factors.DIRECT, hours)
            for n in range(12)
        ]
        return self._answer(request, points, {"generated_at": f"{self.grid.now:%Y-%m-%dT%H:%M:00Z}"})

    async def past_forecasts(self, request: web.Request) -> web.Response:
        """Serve what was foretold: here once an hour, a day of the hour's truth."""
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        start, end = parse_instant(request.query["start"]), parse_instant(request.query["end"])
        data = [
            {
                "generated_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                "forecast": [
                    {"point_time": f"{at + n * STEP:%Y-%m-%dT%H:%M:%SZ}", "value": grams / POUNDS}
                    for n in range(12 * 24)
                ],
            }
            for at, grams in self.grid.known("CAISO_NORTH", Factors.DIRECT, start, min(end, self.grid.now))
        ]
        return self._answer(request, data, {})

    def _points(self, start: Instant, end: Instant) -> list[dict[str, Any]]:
        return [
            {
                "point_time": f"{at + n * STEP:%Y-%m-%dT%H:%M:%SZ}",
                "value": (grams + (1 if n % 2 else -1)) / POUNDS,
                "imputed_data_used": False,
            }
            for at, grams in self.grid.known("CAISO_NORTH", Factors.DIRECT, start, end)
            for n in range(12)
            if at + (n + 1) * STEP <= max(end, min(at + HOUR, end))
        ]

    def _refuse(self, request: web.Request) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        issued = self.tokens.get(token)
        if issued is None or self.grid.now - issued >= TOKEN_LASTS:
            return web.json_response({"error": "unauthorized"}, status=401)
        if request.query.get("signal_type") not in {"co2_moer", "co2_aoer"}:
            return web.json_response({"error": "bad_request", "message": "signal_type"}, status=400)
        if request.query.get("region") not in self.regions:
            return web.json_response({"error": "forbidden", "message": "region is not in your plan"}, status=403)
        return None

    def _answer(self, request: web.Request, data: list[dict[str, Any]], extra: dict[str, Any]) -> web.Response:
        meta = {
            "region": request.query["region"],
            "signal_type": request.query["signal_type"],
            "units": "lbs_co2_per_mwh",
            "data_point_period_seconds": 300,
            "model": {"date": "2023-03-01", "type": "binned_regression"},
            "warnings": [],
            **extra,
            **self.changes,
        }
        return web.json_response(self.lie({"data": data, "meta": meta}))
