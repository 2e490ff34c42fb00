"""Great Britain's own API, by the National Energy System Operator: no key, half-hours, 48 hours of forecast.

Paths and fields: carbonintensity.org.uk, "Carbon Intensity API" (v2). Its traps:

* what it counts is burnt in the power stations (nuclear, wind and sun are 0), so it is *direct* intensity;
* ``actual`` is itself an estimate, and ``null`` until the half-hour is over; only the forecast is there then;
* times are to the minute and without seconds, and a range also returns the half-hour that ends where it begins;
* a range is at most 14 days long;
* of the 14 distribution regions and of England, Scotland and Wales (zones ``GB-R1`` to ``GB-R17``) there is a forecast
  alone, also of what is past: that counts as an estimate here once its time is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import Accounting, Basis, Factors, Gap, Kind
from orchestrator.domain.time import Instant, Window, floor_hour
from orchestrator.errors import SignalFormatError, SignalRefused, SignalUnavailable
from orchestrator.signals.feeds.hours import by_hour
from orchestrator.signals.http import Answer, Fetch
from orchestrator.signals.statement import Said, Statement, mapping, moment, number, rows

URL: Final = "https://api.carbonintensity.org.uk"
ZONE: Final = "GB"
REGIONS: Final = {f"{ZONE}-R{number}": number for number in range(1, 18)}
"""Our zones of the API's own region numbers."""

BASIS: Final = Basis(Accounting.AVERAGE, Factors.DIRECT)
LONGEST_RANGE: Final = timedelta(days=13)
FORECAST: Final = timedelta(hours=48)
HALF_HOUR: Final = timedelta(minutes=30)

_FORBIDDEN: Final = (401, 403)


class GreatBritain:
    """A :class:`~orchestrator.signals.statement.Feed` of ``GB``, which leaves Northern Ireland out, and its regions."""

    def __init__(self, fetch: Fetch, url: str = URL) -> None:
        """Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)

    @property
    def name(self) -> str:
        """Short name of the source."""
        return "national-grid"

    @property
    def credit(self) -> str:
        """What the licence asks to be said."""
        return "Carbon Intensity API, National Energy System Operator, CC BY 4.0"

    async def zones(self) -> frozenset[str]:
        """Return ``GB`` and its regions; asks nobody."""
        return frozenset({ZONE, *REGIONS})

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return the present half-hour, by its estimate or, before there is one, by its forecast."""
        gap = self._lacks(zone, basis)
        if gap is not None:
            return gap
        path = f"/regional/regionid/{REGIONS[zone]}" if zone in REGIONS else "/intensity"
        found = [_actual(row, zone, now) or _forecast(row, zone) for row in await self._rows(path, zone)]
        return [s for s in found if s is not None]

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return the window's hours by the estimates of their halves."""
        gap = self._lacks(zone, basis)
        if gap is not None:
            return gap
        said: list[Statement] = []
        for piece in window.pieces(LONGEST_RANGE):
            found = await self._rows(_path(zone, f"{_stamp(piece.start)}/{_stamp(piece.end)}"), zone)
            halves = [s for s in (_actual(row, zone, now) for row in found) if s is not None]
            said += [s for s in halves if s.interval.start in piece]
        return by_hour(said)

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return the next 48 hours, however many are wanted."""
        del hours
        gap = self._lacks(zone, basis)
        if gap is not None:
            return gap
        found = await self._rows(_path(zone, f"{_stamp(floor_hour(now) + HALF_HOUR)}/fw48h"), zone)
        return by_hour([s for s in (_forecast(row, zone) for row in found) if s is not None])

    def _lacks(self, zone: str, basis: Basis) -> Gap | None:
        if zone != ZONE and zone not in REGIONS:
            return Gap(zone, f"it is about {ZONE} only, not about {zone}", self.name)
        if basis != BASIS:
            asked = f"{basis.accounting} {basis.factors}"
            return Gap(zone, f"it counts average direct emissions, {asked} was asked for", self.name)
        return None

    async def _rows(self, path: str, zone: str) -> list[Mapping[str, object]]:
        answer = await self._fetch.get(f"{self._url}{path}", headers={"Accept": "application/json"})
        _refuse(answer)
        body = mapping(answer.json(), answer.where)
        if "data" not in body:
            raise SignalFormatError(f"{answer.where}: no 'data' in {', '.join(sorted(body)) or 'an empty object'}")
        return _of_region(body["data"], zone, answer.where) if zone in REGIONS else rows(body["data"], answer.where)


def _of_region(data: object, zone: str, where: str) -> list[Mapping[str, object]]:
    """Unpack what is said of one region: an object, or a list of one, with its number."""
    regions = rows(data if isinstance(data, list) else [data], where)
    if len(regions) != 1 or regions[0].get("regionid") != REGIONS[zone]:
        raise SignalFormatError(f"{where}: asked about region {REGIONS[zone]}, answered about another one")
    return rows(regions[0].get("data"), where)


def _path(zone: str, times: str) -> str:
    return f"/regional/intensity/{times}/regionid/{REGIONS[zone]}" if zone in REGIONS else f"/intensity/{times}"


def _refuse(answer: Answer) -> None:
    if answer.status in _FORBIDDEN:
        raise SignalRefused(f"{answer.where} refuses ({answer.status}): {answer.words()}")
    if not answer.is_ok:
        raise SignalUnavailable(f"{answer.where} answers {answer.status}: {answer.words()}")


def _actual(row: Mapping[str, object], zone: str, now: Instant) -> Statement | None:
    intensity, interval = mapping(row.get("intensity"), "intensity"), _interval(row)
    # Of regions nothing but the forecast is ever said.
    grams = number(intensity.get("actual" if zone == ZONE else "forecast"))
    if grams is None or interval.start > now or (zone != ZONE and interval.end > now):
        return None
    return Statement(zone, BASIS, interval, grams, Kind.ESTIMATED, "national-grid estimate")


def _forecast(row: Mapping[str, object], zone: str) -> Statement | None:
    grams = number(mapping(row.get("intensity"), "intensity").get("forecast"))
    if grams is None:
        return None
    return Statement(zone, BASIS, _interval(row), grams, Kind.FORECAST, "national-grid forecast")


def _interval(row: Mapping[str, object]) -> Window:
    start, end = moment(row.get("from"), "from"), moment(row.get("to"), "to")
    if end <= start:
        raise SignalFormatError(f"from {row.get('from')} to {row.get('to')} is not a time span")
    return Window(start, end)


def _stamp(moment_: Instant) -> str:
    return f"{moment_:%Y-%m-%dT%H:%MZ}"
