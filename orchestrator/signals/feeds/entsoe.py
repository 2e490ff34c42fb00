"""Europe's generation by type, from ENTSO-E's Transparency Platform (actual generation, document A75).

Free with a key that is asked for by mail. It lags by one to some hours and is revised. The traps:

* XML, 15, 30 or 60 minutes apart; with curve type A03 a position that is left out repeats the one before it;
* a series with ``outBiddingZone_Domain`` is what storage and stations draw, not what they generate;
* "no matching data" is an acknowledgement with reason 999, whatever its status;
* types of plants arrive at different times, so the newest hours lack some: they are holes, not clean hours.

The document could hold entities that unfold without end; one with a document type is refused before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from xml.etree import ElementTree as ET

from orchestrator.domain.carbon import Basis, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.errors import SignalFormatError, SignalRefused, SignalUnavailable
from orchestrator.signals import mix
from orchestrator.signals.http import Answer, Fetch
from orchestrator.signals.statement import Said, Statement, moment, number

URL: Final = "https://web-api.tp.entsoe.eu/api"
LONGEST_RANGE: Final = timedelta(days=7)
"""A year is allowed; a week of quarter-hours and twenty types is about 2 MiB."""

RECENT: Final = timedelta(hours=12)
AREAS: Final[Mapping[str, str]] = {
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "CH": "10YCH-SWISSGRIDZ",
    "CZ": "10YCZ-CEPS-----N",
    "DE": "10Y1001A1001A83F",
    "DK-DK1": "10YDK-1--------W",
    "DK-DK2": "10YDK-2--------M",
    "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "GR": "10YGR-HTSO-----Y",
    "IT-NO": "10Y1001A1001A73I",
    "NL": "10YNL----------L",
    "NO-NO1": "10YNO-1--------2",
    "NO-NO2": "10YNO-2--------T",
    "NO-NO3": "10YNO-3--------J",
    "NO-NO4": "10YNO-4--------9",
    "NO-NO5": "10Y1001A1001A48H",
    "PL": "10YPL-AREA-----S",
    "PT": "10YPT-REN------W",
    "SE": "10YSE-1--------K",
    "SE-SE1": "10Y1001A1001A44P",
    "SE-SE2": "10Y1001A1001A45N",
    "SE-SE3": "10Y1001A1001A46L",
    "SE-SE4": "10Y1001A1001A47J",
}
"""Energy Identification Codes of the areas, from ENTSO-E's list of approved codes; each ends in its check character."""

TYPES: Final[Mapping[str, str]] = {
    "B01": "biomass",
    "B02": "coal",  # lignite
    "B03": "coal",  # gas that is made of coal
    "B04": "gas",
    "B05": "coal",
    "B06": "oil",
    "B07": "oil",  # shale
    "B08": "coal",  # peat
    "B09": "geothermal",
    "B10": mix.STORAGE,
    "B11": "hydro",
    "B12": "hydro",
    "B13": "hydro",  # marine
    "B14": "nuclear",
    "B15": "biomass",  # other renewables
    "B16": "solar",
    "B17": "other",  # waste
    "B18": "wind",
    "B19": "wind",
    "B20": "other",
    "B25": mix.STORAGE,
}
"""Plant types of the platform's code list ``PsrType``; where our factors have no such fuel, a dirtier one stands in."""

STEPS: Final = {"PT15M": timedelta(minutes=15), "PT30M": timedelta(minutes=30), "PT60M": HOUR, "PT1H": HOUR}
NO_DATA: Final = "999"

_FORBIDDEN: Final = (401, 403)
_DOCTYPE = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_Type = dict[Instant, dict[Instant, tuple[timedelta, float | None]]]


class Entsoe:
    """A :class:`~orchestrator.signals.statement.Feed` of average life-cycle intensity, derived from the mix."""

    def __init__(self, fetch: Fetch, key: str, url: str = URL) -> None:
        """Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)
        self._key = key

    @property
    def name(self) -> str:
        """Short name of the source."""
        return "entsoe"

    @property
    def credit(self) -> str:
        """What the platform's terms ask to be said."""
        return "ENTSO-E Transparency Platform, https://transparency.entsoe.eu (CC BY 4.0)"

    async def zones(self) -> frozenset[str]:
        """Return the zones whose area is known here; asks nobody."""
        return frozenset(AREAS)

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return the hours of the last half day that are known; the newest is an hour or some old."""
        end = floor_hour(now)
        return await self.past(zone, basis, Window(end - RECENT, end), now)

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return the window's hours whose mix is known."""
        del now
        if zone not in AREAS:
            return Gap(zone, f"no area of ENTSO-E is known for zone {zone!r}", self.name)
        gap = mix.of_another_basis(zone, basis, self.name)
        if gap is not None:
            return gap
        said: list[Statement] = []
        for piece in window.pieces(LONGEST_RANGE):
            said += await self._statements(zone, piece.start, piece.end)
        return said

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return nothing: day-ahead forecasts are of wind and sun alone, which is not a mix."""
        del basis, hours, now
        return Gap(zone, "there is no forecast of the whole mix", self.name)

    async def _statements(self, zone: str, start: Instant, end: Instant) -> list[Statement]:
        query = {
            "securityToken": self._key,
            "documentType": "A75",
            "processType": "A16",
            "in_Domain": AREAS[zone],
            "periodStart": f"{start:%Y%m%d%H%M}",
            "periodEnd": f"{end:%Y%m%d%H%M}",
        }
        answer = await self._fetch.get(self._url, query)
        if answer.status in _FORBIDDEN:
            message = f"{answer.where} refuses ({answer.status}) the key"
            raise SignalRefused(message, hint="Check the key: GREENCTL_SIGNALS__ENTSOE__KEY.")
        root = _document(answer)
        if _name(root) == "Acknowledgement_MarketDocument":
            code = _text(root, "Reason/code")
            if code == NO_DATA:
                return []
            raise SignalUnavailable(f"{answer.where} answers {answer.status}, reason {code[:8]!r}")
        if not answer.is_ok or _name(root) != "GL_MarketDocument":
            raise SignalFormatError(f"{answer.where} answers {answer.status} with {_name(root)[:40]!r}")
        hours = _hours(root, AREAS[zone], start, end, answer.where)
        needed = mix.needed(hours, TYPES)
        found = []
        for begin in sorted(hours):
            grams = mix.intensity(mix.complete(hours[begin], needed), TYPES)
            if grams is not None:
                interval = Window.starting(begin, HOUR)
                found.append(Statement(zone, mix.BASIS, interval, grams, Kind.DERIVED, "entsoe mix, without imports"))
        return found


def _document(answer: Answer) -> ET.Element:
    if _DOCTYPE.search(answer.body):
        raise SignalFormatError(f"{answer.where} answers with a document type, which is not read")
    try:
        root = ET.fromstring(answer.body)  # noqa: S314 - see above
    except (ET.ParseError, ValueError, LookupError) as error:
        if not answer.is_ok:
            raise SignalUnavailable(f"{answer.where} answers {answer.status}") from error
        raise SignalFormatError(f"{answer.where} answers with something that is not XML") from error
    for element in root.iter():
        # Namespaces carry the version of the schema, which changes more often than what is read here.
        element.tag = _name(element)
    return root


def _hours(
    root: ET.Element, area: str, start: Instant, end: Instant, where: str
) -> dict[Instant, dict[str, float | None]]:
    """Return the mean MW by type for each hour in ``[start, end)`` that is told of."""
    by_type: dict[str, _Type] = {}
    for series in root.iter("TimeSeries"):
        code = _text(series, "MktPSRType/psrType")
        if _text(series, "inBiddingZone_Domain.mRID") == "" and _text(series, "outBiddingZone_Domain.mRID"):
            continue
        if _text(series, "inBiddingZone_Domain.mRID") != area:
            raise SignalFormatError(f"{where}: asked about {area}, answered about another area")
        for period in series.iter("Period"):
            _read(period, by_type.setdefault(code, {}), _text(series, "curveType") == "A03", where)
    hours: dict[Instant, dict[str, float | None]] = {}
    for code, told in by_type.items():
        for begin, parts in told.items():
            if start <= begin < end:
                hours.setdefault(begin, {})[code] = _mean(parts)
    return hours


def _read(period: ET.Element, told: _Type, repeats: bool, where: str) -> None:  # noqa: FBT001 - one private caller
    """Add a period's points by hour. ``repeats``: a position that is left out is like the one before it."""
    step = STEPS.get(_text(period, "resolution"))
    first, last = (moment(_text(period, f"timeInterval/{edge}"), where) for edge in ("start", "end"))
    if step is None or last <= first or last - first > LONGEST_RANGE + timedelta(days=2):
        raise SignalFormatError(f"{where}: a period of {_text(period, 'resolution')[:10]!r} that cannot be")
    points = {number(_text(p, "position")): number(_text(p, "quantity")) for p in period.iter("Point")}
    megawatts: float | None = None
    for place in range((last - first) // step):
        position = float(place + 1)
        megawatts = points.get(position, megawatts if repeats else None)
        at = first + place * step
        told.setdefault(floor_hour(at), {})[at] = (step, megawatts)


def _mean(parts: Mapping[Instant, tuple[timedelta, float | None]]) -> float | None:
    """Mean of an hour that is told of wholly; unknown otherwise."""
    if sum((step for step, _ in parts.values()), timedelta(0)) != HOUR:
        return None
    total = 0.0
    for step, megawatts in parts.values():
        if megawatts is None:
            return None
        total += megawatts * (step / HOUR)
    return total


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]
