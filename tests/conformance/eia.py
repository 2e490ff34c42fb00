"""The EIA's API v2, route electricity/rto/fuel-type-data, as its documentation and its users describe it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from orchestrator.domain.time import HOUR, parse_instant
from tests.conformance.faults import Change
from tests.conformance.grid import Grid

NAMES = {"COL": "Coal", "NG": "Natural gas", "SUN": "Solar", "BAT": "Battery storage", "OTH": "Other"}


class EiaApi:
    """``most_rows`` is what one answer holds at most."""

    def __init__(self, grid: Grid, lie: Change) -> None:
        self.grid = grid
        self.lie = lie
        self.key = "eia-secret"
        self.most_rows = 5000

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [web.get("/electricity/rto/fuel-type-data/data/", self.data)]

    async def data(self, request: web.Request) -> web.Response:
        """Serve generation by fuel; an hour is named by its end."""
        query = request.query
        if query.get("api_key") != self.key:
            error = {"code": "API_KEY_INVALID", "message": "An invalid api_key was supplied."}
            return web.json_response({"error": error}, status=403)
        if query.get("frequency") != "hourly" or query.get("data[0]") != "value":
            return web.json_response({"error": "frequency and data are needed", "code": 400}, status=400)
        authority = query.get("facets[respondent][]", "")
        start, end = (parse_instant(f"{query[name]}:00:00Z") for name in ("start", "end"))
        zone = next((z for z in self.grid.generation if z.endswith(f"-{authority}")), "")
        rows: list[dict[str, Any]] = [
            {
                "period": f"{at + HOUR:%Y-%m-%dT%H}",
                "respondent": authority,
                "respondent-name": f"Authority {authority}",
                "fueltype": fuel,
                "type-name": NAMES.get(fuel, fuel),
                "value": None if megawatts is None else str(megawatts),
                "value-units": "megawatthours",
            }
            for at, fuels in self.grid.mix(zone, start - HOUR, end)
            for fuel, megawatts in fuels.items()
        ]
        offset = int(query.get("offset", "0"))
        page = rows[offset : offset + min(int(query.get("length", "5000")), self.most_rows)]
        document = {"response": {"total": str(len(rows)), "dateFormat": 'YYYY-MM-DD"T"HH24', "data": page}}
        return web.json_response(self.lie(document))
