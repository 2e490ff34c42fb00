"""The US grid by fuel and hour, from the Energy Information Administration (form EIA-930, API v2).

Free with a key. It lags by some hours and is revised; there is no forecast of the mix. The traps:

* ``period`` names the *end* of its hour, in UTC (EIA-930: "hour ending");
* numbers come as text, and ``null`` is unknown, not zero;
* an answer has at most 5,000 rows and says in ``total`` how many there are;
* pumped storage and batteries are reported as fuels, negative while they charge;
* a fuel's row may be missing for an hour in which it ran.

The zones are ours: the last part of ``US-MIDA-PJM`` is EIA's code of the balancing authority.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import Basis, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.errors import SignalFormatError, SignalRefused, SignalUnavailable
from orchestrator.signals import mix
from orchestrator.signals.http import Fetch
from orchestrator.signals.statement import Said, Statement, mapping, moment, number, rows

URL: Final = "https://api.eia.gov/v2"
PATH: Final = "/electricity/rto/fuel-type-data/data/"
LONGEST_RANGE: Final = timedelta(days=10)
MOST_ROWS: Final = 5000
MOST_PAGES: Final = 8
RECENT: Final = timedelta(hours=36)
FUELS: Final[Mapping[str, str]] = {
    "COL": "coal",
    "NG": "gas",
    "OIL": "oil",
    "NUC": "nuclear",
    "WAT": "hydro",
    "SUN": "solar",
    "SNB": "solar",
    "WND": "wind",
    "WNB": "wind",
    "GEO": "geothermal",
    "OTH": "other",
    "UNK": "other",
    "UES": mix.STORAGE,
    "PS": mix.STORAGE,
    "BAT": mix.STORAGE,
    "OES": mix.STORAGE,
}
"""EIA's codes of energy sources, from the API's facet ``fueltype``; SNB and WNB stand beside a battery."""

_ZONE = re.compile(r"US-[A-Z]+-(?P<authority>[A-Z]+)")
_FORBIDDEN: Final = (401, 403)


class Eia:
    """A :class:`~orchestrator.signals.statement.Feed` of average life-cycle intensity, derived from the mix."""

    def __init__(self, fetch: Fetch, key: str, zones: Iterable[str], url: str = URL) -> None:
        """``zones``: those that exist. Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)
        self._key = key
        self._zones = frozenset(zone for zone in zones if _ZONE.fullmatch(zone))

    @property
    def name(self) -> str:
        """Short name of the source."""
        return "eia"

    @property
    def credit(self) -> str:
        """Whose data it is."""
        return "U.S. Energy Information Administration, form EIA-930 (public domain)"

    async def zones(self) -> frozenset[str]:
        """Return the zones of the United States that are known here; asks nobody."""
        return self._zones

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return the hours of the last day and a half; the newest is some hours old."""
        end = floor_hour(now)
        return await self.past(zone, basis, Window(end - RECENT, end), now)

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return the window's hours whose mix is known."""
        del now
        found = _ZONE.fullmatch(zone)
        if found is None:
            return Gap(zone, f"zone {zone!r} is not one of the United States (US-AREA-AUTHORITY)", self.name)
        gap = mix.of_another_basis(zone, basis, self.name)
        if gap is not None:
            return gap
        said: list[Statement] = []
        for piece in window.pieces(LONGEST_RANGE):
            said += _statements(zone, await self._generation(found["authority"], piece.start, piece.end))
        return said

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return nothing: EIA forecasts demand, not the mix."""
        del basis, hours, now
        return Gap(zone, "EIA makes no forecast of the mix", self.name)

    async def _generation(self, authority: str, start: Instant, end: Instant) -> dict[Instant, dict[str, float | None]]:
        """Return MW by code, for each hour that begins in ``[start, end)`` and has any row."""
        hours: dict[Instant, dict[str, float | None]] = {}
        offset = total = 0
        for _ in range(MOST_PAGES):
            page, total, where = await self._page(authority, start, end, offset)
            for row in page:
                if row.get("respondent") != authority:
                    raise SignalFormatError(f"{where}: asked about {authority}, answered {row.get('respondent')!s:.20}")
                begin = moment(f"{row.get('period')}:00", where) - HOUR
                if start <= begin < end:
                    hours.setdefault(begin, {})[str(row.get("fueltype"))] = number(row.get("value"))
            offset += len(page)
            if offset >= total or not page:
                return hours
        raise SignalFormatError(f"api.eia.gov: {total} rows for {authority}, more than can be")

    async def _page(
        self, authority: str, start: Instant, end: Instant, offset: int
    ) -> tuple[list[Mapping[str, object]], int, str]:
        query = {
            "api_key": self._key,
            "frequency": "hourly",
            "data[0]": "value",
            "facets[respondent][]": authority,
            "start": _period(start + HOUR),
            "end": _period(end),
            "sort[0][column]": "period",
            "sort[0][direction]": "asc",
            "offset": str(offset),
            "length": str(MOST_ROWS),
        }
        answer = await self._fetch.get(f"{self._url}{PATH}", query)
        if answer.status in _FORBIDDEN:
            message = f"{answer.where} refuses ({answer.status}) the key"
            raise SignalRefused(message, hint="Check the key: GREENCTL_SIGNALS__EIA__KEY.")
        if not answer.is_ok:
            raise SignalUnavailable(f"{answer.where} answers {answer.status}")
        body = mapping(mapping(answer.json(), answer.where).get("response"), answer.where)
        page = rows(body.get("data"), answer.where)
        total = number(body.get("total"))
        if total is None or not 0 <= total <= MOST_ROWS * MOST_PAGES:
            raise SignalFormatError(f"{answer.where}: total is {str(body.get('total'))[:20]!r}")
        return page, int(total), answer.where


def _statements(zone: str, hours: Mapping[Instant, Mapping[str, float | None]]) -> list[Statement]:
    needed = mix.needed(hours, FUELS)
    found = []
    for start in sorted(hours):
        grams = mix.intensity(mix.complete(hours[start], needed), FUELS)
        if grams is not None:
            interval = Window.starting(start, HOUR)
            found.append(Statement(zone, mix.BASIS, interval, grams, Kind.DERIVED, "eia mix, without imports"))
    return found


def _period(moment_: Instant) -> str:
    return f"{moment_:%Y-%m-%dT%H}"
