"""Electricity Maps v4, as its documentation and its users describe it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from aiohttp import web

from orchestrator.domain.carbon import Factors
from orchestrator.domain.time import HOUR, Instant, parse_instant
from tests.conformance.faults import Change
from tests.conformance.grid import Grid

CALLERS_ZONE = "SE-SE3"
MAX_RANGE = timedelta(days=10)
TEMPORALITIES = {"latest", "history", "forecast", "past-range"}


def stamp(moment: Instant) -> str:
    """Times have milliseconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.000Z}"


class ElectricityMapsApi:
    """``v3`` lets it answer in the older envelopes; ``plan`` names the temporalities that the token may read."""

    def __init__(self, grid: Grid, lie: Change) -> None:
        self.grid = grid
        self.lie = lie
        self.token = "em-secret"
        self.v3 = False
        self.plan = set(TEMPORALITIES)
        self.estimated_since = timedelta(hours=2)
        self.corrections: dict[Instant, float] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [web.get("/zones", self.zones), web.get("/carbon-intensity/{temporality}", self.intensity)]

    async def zones(self, request: web.Request) -> web.Response:
        """Need no token; with one, each zone says what may be read."""
        known = sorted({zone for zone, _ in self.grid.hours})
        access = [f"carbon-intensity/{t}" for t in sorted(self.plan)]
        own = {"access": access} if request.headers.get("auth-token") == self.token else {}
        return self._json({zone: {"zoneName": f"Zone {zone}", **own} for zone in known})

    async def intensity(self, request: web.Request) -> web.Response:
        """Serve one temporality of the intensity."""
        temporality, query = request.match_info["temporality"], request.query
        zone = query.get("zone", "")
        if request.headers.get("auth-token") != self.token:
            return self._refusal(401, f'Request unauthorized for zoneKey="{zone}"', "Invalid auth-token")
        if temporality not in TEMPORALITIES:
            return self._refusal(404, "Not found", "No such endpoint")
        if temporality not in self.plan:
            words = "You do not have access to this specific endpoint. Please check your plan."
            return self._refusal(401, f'Request unauthorized for zoneKey="{zone}"', words)
        if query.get("temporalGranularity", "hourly") != "hourly":
            return self._refusal(400, "Bad request", "temporalGranularity is not available")
        try:
            factors = Factors(query.get("emissionFactorType", "lifecycle"))
        except ValueError:
            return self._refusal(400, "Bad request", "emissionFactorType must be lifecycle or direct")
        if (zone, factors) not in self.grid.hours:
            if query.get("disableCallerLookup") == "true":
                return self._refusal(404, "Not found", f"No zone with key '{zone}'")
            zone = CALLERS_ZONE  # the trap: whoever asks is answered about where they are
        serve: dict[str, Callable[[str, Factors, Any], web.Response]] = {
            "latest": self._latest,
            "history": self._history,
            "forecast": self._forecast,
            "past-range": self._past_range,
        }
        return serve[temporality](zone, factors, query)

    def _latest(self, zone: str, factors: Factors, query: Any) -> web.Response:
        del query
        rows = self._rows(zone, factors, self.grid.now - timedelta(days=7), self.grid.now + HOUR)
        if not rows:
            return self._json({"error": f'No recent data for zone "{zone}"'})
        return self._json({"zone": zone, **rows[-1], "temporalGranularity": "hourly"})

    def _history(self, zone: str, factors: Factors, query: Any) -> web.Response:
        del query
        begin = self.grid.published - timedelta(hours=24)
        return self._enveloped(zone, self._rows(zone, factors, begin, self.grid.published), "history")

    def _past_range(self, zone: str, factors: Factors, query: Any) -> web.Response:
        try:
            start, end = parse_instant(query["start"]), parse_instant(query["end"])
        except (KeyError, ValueError):
            return self._refusal(400, "Bad request", "start and end must be datetimes")
        if end - start > MAX_RANGE:
            return self._refusal(400, "Bad request", "the range must not exceed 10 days")
        return self._enveloped(zone, self._rows(zone, factors, start, end), "data")

    def _forecast(self, zone: str, factors: Factors, query: Any) -> web.Response:
        if query.get("horizonHours", "24") not in {"6", "24", "48", "72"}:
            return self._refusal(400, "Bad request", "horizonHours must be one of 6, 24, 48, 72")
        count = int(query.get("horizonHours", "24")) + 1
        rows = [{"carbonIntensity": g, "datetime": stamp(at)} for at, g in self.grid.expected(zone, factors, count)]
        document = {"zone": zone, "forecast": rows, "updatedAt": stamp(self.grid.now - timedelta(minutes=20))}
        return self._json(document | {"temporalGranularity": "hourly"})

    def _rows(self, zone: str, factors: Factors, start: Instant, end: Instant) -> list[dict[str, Any]]:
        rows = []
        for at, grams in self.grid.known(zone, factors, start, end):
            estimated = self.grid.now - at < self.estimated_since
            updated = at + HOUR if not self.grid.running else at - timedelta(minutes=19)
            if at in self.corrections:
                updated = self.grid.now - timedelta(minutes=1)
            row = {
                "carbonIntensity": self.corrections.get(at, grams),
                "datetime": stamp(at),
                "updatedAt": stamp(updated),
                "createdAt": stamp(at - timedelta(days=3)),
                "emissionFactorType": factors.value,
                "isEstimated": estimated,
                "estimationMethod": "TIME_SLICER_AVERAGE" if estimated else None,
            }
            rows.append(row)
        return rows

    def _enveloped(self, zone: str, rows: list[dict[str, Any]], v3: str) -> web.Response:
        if self.v3:
            return self._json({"zone": zone, v3: rows})
        return self._json({"zone": zone, "data": rows, "temporalGranularity": "hourly"})

    def _refusal(self, status: int, error: str, message: str) -> web.Response:
        return web.json_response({"error": error, "message": message}, status=status)

    def _json(self, document: Any) -> web.Response:
        return web.json_response(self.lie(document), dumps=json.dumps)
