"""ENTSO-E's RESTful API, document A75, as its implementation guide and its users describe it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

from aiohttp import web

from orchestrator.domain.time import HOUR, Instant
from tests.conformance.faults import Change
from tests.conformance.grid import Grid

NAMESPACE = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
QUARTER = timedelta(minutes=15)


class EntsoeApi:
    """``areas`` names each area's zone. ``sparse`` leaves out what repeats (A03); otherwise all is told (A01)."""

    def __init__(self, grid: Grid, lie: Change) -> None:
        self.grid = grid
        self.lie = lie
        self.key = "entsoe-secret"
        self.areas = {"10YFR-RTE------C": "FR"}
        self.sparse = True
        self.says_area = ""

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [web.get("/api", self.document)]

    async def document(self, request: web.Request) -> web.Response:
        """Serve actual generation by type."""
        query = request.query
        if query.get("securityToken") != self.key:
            return web.Response(status=401, text="Unauthorized. Missing or invalid security token")
        if (query.get("documentType"), query.get("processType")) != ("A75", "A16"):
            return self._acknowledgement(400, "999", "Invalid query attributes or parameters")
        start, end = (
            datetime.strptime(query[name], "%Y%m%d%H%M").replace(tzinfo=UTC) for name in ("periodStart", "periodEnd")
        )
        area = query.get("in_Domain", "")
        hours = self.grid.mix(self.areas.get(area, ""), start, end)
        if not hours:
            return self._acknowledgement(200, "999", "No matching data found")
        types = sorted({fuel for _, fuels in hours for fuel in fuels})
        series = "".join(self._series(number, kind, area, hours) for number, kind in enumerate(types, start=1))
        text = f'<?xml version="1.0" encoding="UTF-8"?><GL_MarketDocument xmlns="{NAMESPACE}">{series}'
        return web.Response(text=f"{text}</GL_MarketDocument>", content_type="application/xml")

    def _series(self, number: int, kind: str, area: str, hours: list[tuple[Instant, dict[str, float | None]]]) -> str:
        """Write a type's series; what storage draws is told in a series of its own, about the other direction."""
        periods, run = "", list[tuple[Instant, float]]()
        for at, fuels in hours:
            megawatts = fuels.get(kind)
            megawatts = None if megawatts is None else self.lie({"quantity": megawatts})["quantity"]
            if run and (megawatts is None or run[-1][0] + HOUR != at):
                periods += self._period(run)
                run = []
            if megawatts is not None:
                run.append((at, megawatts))
        periods += self._period(run) if run else ""
        side = "in"
        if kind.startswith("-"):
            side, kind = "out", kind[1:]
        return (
            f"<TimeSeries><mRID>{number}</mRID><businessType>A01</businessType>"
            "<objectAggregation>A08</objectAggregation>"
            f'<{side}BiddingZone_Domain.mRID codingScheme="A01">'
            f"{self.says_area or area}</{side}BiddingZone_Domain.mRID>"
            f"<quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name>"
            f"<curveType>{'A03' if self.sparse else 'A01'}</curveType>"
            f"<MktPSRType><psrType>{kind}</psrType></MktPSRType>{periods}</TimeSeries>"
        )

    def _period(self, run: list[tuple[Instant, float]]) -> str:
        points, last = "", object()
        for hour, (_, megawatts) in enumerate(run):
            for quarter in range(4):
                if not self.sparse or megawatts != last:
                    position = hour * 4 + quarter + 1
                    quantity = escape(str(megawatts))
                    points += f"<Point><position>{position}</position><quantity>{quantity}</quantity></Point>"
                last = megawatts
        begin, end = run[0][0], run[-1][0] + HOUR
        return (
            f"<Period><timeInterval><start>{begin:%Y-%m-%dT%H:%MZ}</start><end>{end:%Y-%m-%dT%H:%MZ}</end></timeInterval>"
            f"<resolution>PT15M</resolution>{points}</Period>"
        )

    def _acknowledgement(self, status: int, code: str, text: str) -> web.Response:
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><Acknowledgement_MarketDocument '
            'xmlns="urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0">'
            f"<Reason><code>{code}</code><text>{text}</text></Reason></Acknowledgement_MarketDocument>"
        )
        return web.Response(status=status, text=body, content_type="application/xml")
