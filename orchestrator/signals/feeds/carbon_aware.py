"""The Green Software Foundation's Carbon Aware SDK, as a source: its web API in front of a provider of your choice.

Paths and fields are those of its web API (``EmissionsDataDTO``, ``EmissionsForecastDTO``). The traps:

* it does not say what it counts: that follows from its provider (WattTime: marginal, direct; Electricity Maps:
  average, life-cycle), so whoever runs it has to say it in the settings, and another basis is never answered;
* a forecast carries the name that was asked for, but rows may carry its provider's: over WattTime all of them name
  the region (``CAISO_NORTH``), so that name is set, too; all rows of an answer have to be about one place;
* durations are ``[days.]hh:mm:ss`` of observations, and minutes of forecasts; an observation without one is refused;
* 204 and an empty list are "nothing known", 400 and 404 an unknown location, 501 a provider that makes no forecast.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import Basis, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour, format_instant
from orchestrator.errors import SignalFormatError, SignalRefused, SignalUnavailable
from orchestrator.signals.feeds.hours import by_hour
from orchestrator.signals.http import Answer, Fetch
from orchestrator.signals.statement import Said, Statement, moment, number, rows

LONGEST_RANGE: Final = timedelta(days=7)
RECENT: Final = 2 * HOUR

_SPAN = re.compile(r"(?:(?P<days>\d{1,3})\.)?(?P<hours>\d\d):(?P<minutes>\d\d):(?P<seconds>\d\d)(?:\.\d+)?")
_NOTHING, _FORBIDDEN, _UNKNOWN, _NOT_MADE = 204, (401, 403), (400, 404), 501


class CarbonAware:
    """A :class:`~orchestrator.signals.statement.Feed`. ``locations``: its name of each grid zone.

    ``answers_as``: its provider's name of each zone, where answers carry that one.
    """

    def __init__(
        self,
        fetch: Fetch,
        url: str,
        locations: Mapping[str, str],
        basis: Basis,
        answers_as: Mapping[str, str] | None = None,
    ) -> None:
        """``basis``: what its provider counts. Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)
        self._locations = dict(locations)
        self._basis = basis
        self._answers_as = dict(answers_as or {})

    @property
    def name(self) -> str:
        """Short name of the source."""
        return "carbon-aware-sdk"

    @property
    def credit(self) -> str:
        """Whose data it is."""
        return "Carbon Aware SDK of your own, under the terms of the provider behind it"

    async def zones(self) -> frozenset[str]:
        """Return the zones that have a location; asks nobody."""
        return frozenset(self._locations)

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return the last two hours' values, the newest of which is the present."""
        return await self._observed(zone, basis, Window(floor_hour(now - RECENT), now))

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return the window's whole hours."""
        del now
        said: list[Statement] = []
        for piece in window.pieces(LONGEST_RANGE):
            part = await self._observed(zone, basis, piece)
            if isinstance(part, Gap):
                return part
            said += [s for s in part if s.interval.start in piece]
        return by_hour(said)

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return the newest forecast, as far as it reaches; none where its provider makes none."""
        location = self._location(zone, basis)
        if isinstance(location, Gap):
            return location
        begin = floor_hour(now) + HOUR
        query = {
            "location": location,
            "dataStartAt": format_instant(begin),
            "dataEndAt": format_instant(begin + hours * HOUR),
        }
        answer = await self._fetch.get(f"{self._url}/emissions/forecasts/current", query, _JSON)
        if answer.status == _NOT_MADE:
            return Gap(zone, "its provider makes no forecast", self.name)
        gap = self._refused(answer, zone, location)
        if gap is not None:
            return gap
        said: list[Statement] = []
        for forecast in [] if answer.status == _NOTHING else rows(answer.json(), answer.where):
            issued = moment(forecast.get("generatedAt"), answer.where)
            self._check_place([forecast], {location}, location, answer.where)
            found = rows(forecast.get("forecastData"), answer.where)
            self._check_place(found, self._names(zone, location), location, answer.where)
            for row in found:
                minutes = number(row.get("duration"))
                if minutes is None or not 0 < minutes <= HOUR / timedelta(minutes=1):
                    raise SignalFormatError(f"{answer.where}: a forecast of {str(row.get('duration'))[:20]} minutes")
                one = self._statement(row, zone, location, "timestamp", timedelta(minutes=minutes), answer.where)
                said += [] if one is None else [_as_forecast(one, issued)]
        return by_hour(said)

    async def _observed(self, zone: str, basis: Basis, window: Window) -> Said:
        location = self._location(zone, basis)
        if isinstance(location, Gap):
            return location
        query = {
            "location": location,
            "time": format_instant(window.start.replace(microsecond=0)),
            "toTime": format_instant(window.end.replace(microsecond=0)),
        }
        answer = await self._fetch.get(f"{self._url}/emissions/bylocation", query, _JSON)
        gap = self._refused(answer, zone, location)
        if gap is not None:
            return gap
        if answer.status == _NOTHING:
            return []
        found = rows(answer.json(), answer.where)
        self._check_place(found, self._names(zone, location), location, answer.where)
        said = [
            self._statement(r, zone, location, "time", _span(r.get("duration"), answer), answer.where) for r in found
        ]
        return [s for s in said if s is not None]

    def _location(self, zone: str, basis: Basis) -> str | Gap:
        location = self._locations.get(zone)
        if location is None:
            return Gap(zone, f"no location is set for zone {zone!r} (signals.carbon_aware.locations)", self.name)
        if basis != self._basis:
            counted, asked = (f"{b.accounting} {b.factors}" for b in (self._basis, basis))
            return Gap(zone, f"its provider counts {counted} intensity, {asked} was asked for", self.name)
        return location

    def _names(self, zone: str, location: str) -> set[str]:
        return {location, self._answers_as.get(zone, location)}

    def _check_place(self, found: Sequence[Mapping[str, object]], names: set[str], location: str, where: str) -> None:
        """Refuse an answer about another place, or about several. Raises ``SignalFormatError``."""
        told = {str(row.get("location")) for row in found}
        if len(told) > 1 or not told <= names:
            others = ", ".join(sorted(told - {location}) or sorted(told))[:40]
            raise SignalFormatError(
                f"{where}: asked about {location}, answered about {others!r}",
                hint="If that is its provider's name of the same place, set it: signals.carbon_aware.answers_as.",
            )

    def _statement(
        self, row: Mapping[str, object], zone: str, location: str, at: str, length: timedelta, where: str
    ) -> Statement | None:
        grams = number(row.get("rating", row.get("value")))
        if grams is None:
            return None
        interval = Window.starting(moment(row.get(at), where), length)
        return Statement(zone, self._basis, interval, grams, Kind.ESTIMATED, f"carbon-aware-sdk {location}")

    def _refused(self, answer: Answer, zone: str, location: str) -> Gap | None:
        if answer.status in _FORBIDDEN:
            raise SignalRefused(f"{answer.where} refuses ({answer.status}): {answer.words()}")
        if answer.status in _UNKNOWN:
            return Gap(zone, f"it does not take location {location!r}: {answer.words()}", self.name)
        if not answer.is_ok and answer.status != _NOTHING:
            raise SignalUnavailable(f"{answer.where} answers {answer.status}: {answer.words()}")
        return None


_JSON: Final = {"Accept": "application/json"}


def _as_forecast(one: Statement, issued: Instant) -> Statement:
    return Statement(one.zone, one.basis, one.interval, one.grams_per_kwh, Kind.FORECAST, one.source, issued)


def _span(text: object, answer: Answer) -> timedelta:
    """Read a .NET ``TimeSpan``; an observation of unknown or no length is none."""
    found = _SPAN.fullmatch(str(text))
    span = timedelta(**{unit: int(value) for unit, value in found.groupdict("0").items()}) if found else timedelta(0)
    if span <= timedelta(0):
        raise SignalFormatError(f"{answer.where}: an observation of duration {str(text)[:20]!r}")
    return span
