"""WattTime, API v3: the emissions of the plant that one more kWh would start, every five minutes.

Paths and fields are those of WattTime's own client (``watttime-python-client``) and documentation. The traps:

* the unit is pounds of CO2 per MWh, and is compared in every answer;
* ``signal-index`` is a percentile, not an intensity, and is never asked;
* the token of a login lasts 30 minutes;
* without a subscription only ``CAISO_NORTH`` answers, everything else is refused with 403;
* what is counted leaves through the stack: *direct* emissions, ``co2_moer`` of the marginal plant, ``co2_aoer`` of the
  average mix. All values are a model's, so all are estimates.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import Accounting, Basis, Factors, Gap, Kind
from orchestrator.domain.time import Instant, Window, format_instant
from orchestrator.domain.units import pounds_per_mwh_to_grams_per_kwh
from orchestrator.errors import SignalFormatError, SignalRefused, SignalUnavailable
from orchestrator.signals.feeds.hours import by_hour
from orchestrator.signals.http import Answer, Fetch
from orchestrator.signals.statement import Said, Statement, mapping, moment, number, rows

URL: Final = "https://api.watttime.org"
SIGNALS: Final = {
    Basis(Accounting.MARGINAL, Factors.DIRECT): "co2_moer",
    Basis(Accounting.AVERAGE, Factors.DIRECT): "co2_aoer",
}
UNITS: Final = "lbs_co2_per_mwh"
TOKEN_LASTS: Final = timedelta(minutes=25)
"""Five less than WattTime says, for the way."""

LONGEST_RANGE: Final = timedelta(days=30)
LONGEST_HORIZON_HOURS: Final = 72
LONGEST_FORECAST_RANGE: Final = timedelta(days=1)
"""A forecast is issued every five minutes, and each holds a day: more would be a very long answer."""

RECENT: Final = timedelta(hours=2)

_UNAUTHORIZED, _FORBIDDEN, _UNKNOWN = 401, 403, (400, 404)


class WattTime:
    """A :class:`~orchestrator.signals.statement.Feed`. ``regions``: WattTime's name of each grid zone.

    Both divide grids differently, and a zone may hold several of their regions, so the table is the administrator's.
    """

    def __init__(self, fetch: Fetch, user: str, password: str, regions: Mapping[str, str], url: str = URL) -> None:
        """Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        self._regions = dict(regions)
        self._token: tuple[str, Instant] | None = None

    @property
    def name(self) -> str:
        """Short name of the source."""
        return "watttime"

    @property
    def credit(self) -> str:
        """Whose data it is."""
        return "WattTime, https://watttime.org, under the terms of your plan"

    async def zones(self) -> frozenset[str]:
        """Return the zones that have a region; asks nobody."""
        return frozenset(self._regions)

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return the last two hours' values, the newest of which is the present."""
        return await self._said("historical", zone, basis, _range(now - RECENT, now), now)

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return the window's hours, by the mean of their five-minute values."""
        said: list[Statement] = []
        for piece in window.pieces(LONGEST_RANGE):
            part = await self._said("historical", zone, basis, _range(piece.start, piece.end), now)
            if isinstance(part, Gap):
                return part
            said += [s for s in part if s.interval.start in piece]
        return by_hour(said)

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return the newest forecast, at most 72 hours of it."""
        query = {"horizon_hours": str(min(hours, LONGEST_HORIZON_HOURS))}
        said = await self._said("forecast", zone, basis, query, now, kind=Kind.FORECAST)
        return said if isinstance(said, Gap) else by_hour(said)

    async def past_forecasts(
        self, zone: str, basis: Basis, window: Window, now: Instant
    ) -> Sequence[Sequence[Statement]] | Gap:
        """Return the forecasts that were issued inside the window, each by the hour: for honest back-tests."""
        found: list[list[Statement]] = []
        start = window.start
        while start < window.end:
            end = min(start + LONGEST_FORECAST_RANGE, window.end)
            checked = await self._checked("forecast/historical", zone, basis, _range(start, end), now)
            if isinstance(checked, Gap):
                return checked
            for issue in rows(checked.body.get("data"), checked.where):
                issued = moment(issue.get("generated_at"), checked.where)
                if start <= issued < end:
                    points = rows(issue.get("forecast"), checked.where)
                    found.append(by_hour([s for p in points if (s := checked.forecast_point(p, issued)) is not None]))
            start = end
        return found

    async def _said(
        self, path: str, zone: str, basis: Basis, query: Mapping[str, str], now: Instant, kind: Kind = Kind.ESTIMATED
    ) -> Said:
        checked = await self._checked(path, zone, basis, query, now)
        if isinstance(checked, Gap):
            return checked
        generated = mapping(checked.body.get("meta"), checked.where).get("generated_at")
        is_dated = generated is not None and kind is Kind.FORECAST
        issued = moment(generated, checked.where) if is_dated else None
        points = (checked.point(row, kind, issued) for row in rows(checked.body.get("data"), checked.where))
        return [point for point in points if point is not None]

    async def _checked(
        self, path: str, zone: str, basis: Basis, query: Mapping[str, str], now: Instant
    ) -> _Checked | Gap:
        """Ask, and compare what the answer says it is about with what was asked."""
        region, signal = self._regions.get(zone), SIGNALS.get(basis)
        if region is None:
            return Gap(zone, f"no region of WattTime is set for zone {zone!r} (signals.watttime.regions)", self.name)
        if signal is None:
            asked = f"{basis.accounting} {basis.factors}"
            return Gap(zone, f"it counts what leaves the stack (direct), {asked} was asked for", self.name)
        answer = await self._asked(f"{self._url}/v3/{path}", {"region": region, "signal_type": signal, **query}, now)
        if answer.status in _UNKNOWN:
            return Gap(zone, f"it does not take region {region!r}: {answer.words()}", self.name)
        body = mapping(answer.json(), answer.where)
        meta = mapping(body.get("meta"), answer.where)
        for name, expected in (("region", region), ("signal_type", signal), ("units", UNITS)):
            if meta.get(name) != expected:
                raise SignalFormatError(f"{answer.where}: {name} is {str(meta.get(name))[:40]!r}, not {expected!r}")
        seconds = number(meta.get("data_point_period_seconds"))
        if seconds is None or not 0 < seconds <= timedelta(hours=1).total_seconds():
            raise SignalFormatError(f"{answer.where}: data_point_period_seconds is {seconds}")
        return _Checked(zone, basis, signal, body, timedelta(seconds=seconds), answer.where)

    async def _asked(self, url: str, query: Mapping[str, str], now: Instant) -> Answer:
        """Ask with a token, once more with a new one if that is refused."""
        for is_last in (False, True):
            answer = await self._fetch.get(url, query, {"Authorization": f"Bearer {await self._valid_token(now)}"})
            if answer.status == _UNAUTHORIZED and not is_last:
                self._token = None
                continue
            if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
                raise SignalRefused(f"{answer.where} refuses ({answer.status}): {answer.words()}")
            if not answer.is_ok and answer.status not in _UNKNOWN:
                raise SignalUnavailable(f"{answer.where} answers {answer.status}: {answer.words()}")
            return answer
        raise AssertionError

    async def _valid_token(self, now: Instant) -> str:
        if self._token is None or not self._token[1] <= now < self._token[1] + TOKEN_LASTS:
            answer = await self._fetch.get(f"{self._url}/login", headers={"Authorization": f"Basic {self._login}"})
            if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
                message = f"{answer.where} refuses ({answer.status}) the user or the password"
                raise SignalRefused(message, hint="Check GREENCTL_SIGNALS__WATTTIME__USER and ..._PASSWORD.")
            if not answer.is_ok:
                raise SignalUnavailable(f"{answer.where} answers {answer.status}")
            token = mapping(answer.json(), answer.where).get("token")
            if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
                raise SignalFormatError(f"{answer.where} answers without a token")
            self._token = (token, now)
        return self._token[0]


@dataclass(frozen=True, slots=True)
class _Checked:
    """An answer that is about what was asked."""

    zone: str
    basis: Basis
    signal: str
    body: Mapping[str, object]
    step: timedelta
    where: str

    def point(self, row: Mapping[str, object], kind: Kind, issued: Instant | None) -> Statement | None:
        pounds = number(row.get("value"))
        if pounds is None:
            return None
        interval = Window.starting(moment(row.get("point_time"), self.where), self.step)
        grams = pounds_per_mwh_to_grams_per_kwh(pounds)
        return Statement(self.zone, self.basis, interval, grams, kind, f"watttime {self.signal}", issued)

    def forecast_point(self, row: Mapping[str, object], issued: Instant) -> Statement | None:
        return self.point(row, Kind.FORECAST, issued)


def _range(start: Instant, end: Instant) -> Mapping[str, str]:
    return {"start": format_instant(start.replace(microsecond=0)), "end": format_instant(end.replace(microsecond=0))}
