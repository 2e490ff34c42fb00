"""Electricity Maps, API v4 (v3 answers alike): intensities of some 350 zones by the hour, with forecasts.

Its traps, all met here:

* ``latest`` is a bare object, ``history`` and ``past-range`` come as ``data`` (v4) or ``history`` (v3), forecasts as
  ``forecast``; rows may lack everything but their time;
* without ``disableCallerLookup`` an unresolved zone silently becomes the caller's own, so it is always sent, and the
  zone of every answer is compared;
* a plan that does not include an endpoint is refused with 401, as a wrong key is: the body tells which it is;
* estimated rows are corrected later, ``updatedAt`` says when; the running hour is always an estimate;
* a range is at most ten days long, and is not a part of every plan: the last day (``history``) is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from orchestrator.domain.carbon import Accounting, Basis, Factors, Gap, Kind
from orchestrator.domain.time import HOUR, Instant, Window, as_utc
from orchestrator.errors import SignalFormatError, SignalRefused, SignalUnavailable
from orchestrator.signals.http import Answer, Fetch
from orchestrator.signals.statement import Said, Statement, mapping, moment, number, rows

URL: Final = "https://api.electricitymaps.com/v4"
LONGEST_RANGE: Final = timedelta(days=10)
HISTORY: Final = timedelta(hours=24)
HORIZONS: Final = (6, 24, 48, 72)
ENVELOPES: Final = ("data", "history", "forecast")

_SIGNAL: Final = "carbon-intensity"
_FORBIDDEN, _UNKNOWN, _BAD = (401, 403), 404, 400


class ElectricityMaps:
    """A :class:`~orchestrator.signals.statement.Feed`; ``token`` goes into a header and nowhere else."""

    def __init__(self, fetch: Fetch, token: str, url: str = URL) -> None:
        """Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)
        self._token = token
        self._zones: frozenset[str] | None = None
        self._has_ranges = True

    @property
    def name(self) -> str:
        """Short name of the source."""
        return "electricity-maps"

    @property
    def credit(self) -> str:
        """Whose data it is."""
        return "Electricity Maps, https://www.electricitymaps.com, under the terms of your plan"

    async def zones(self) -> frozenset[str]:
        """Return the zones that exist, and with a list of rights in the answer, those that the plan includes."""
        if self._zones is None:
            answer = await self._fetch.get(f"{self._url}/zones", headers=self._headers)
            self._refuse(answer)
            found = mapping(answer.json(), answer.where)
            self._zones = frozenset(zone for zone, facts in found.items() if _may_read(facts))
        return self._zones

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Return the running hour, which is an estimate until it is over."""
        del now
        return await self._said("latest", zone, basis, {})

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return the window's hours by ranges, or the last day of it where the plan has no ranges."""
        if window.start >= now - HISTORY or not self._has_ranges:
            return await self._said("history", zone, basis, {})
        said: list[Statement] = []
        for piece in window.pieces(LONGEST_RANGE):
            query = {"start": _stamp(piece.start), "end": _stamp(piece.end)}
            try:
                part = await self._said("past-range", zone, basis, query)
            except SignalRefused:
                self._has_ranges = False
                return await self._said("history", zone, basis, {})
            if isinstance(part, Gap):
                return part
            said += [s for s in part if s.interval.start in piece]
        return said

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return the shortest forecast that reaches far enough, at most 72 hours; none where the plan has none."""
        del now
        horizon = next((h for h in HORIZONS if h >= hours), HORIZONS[-1])
        try:
            return await self._said("forecast", zone, basis, {"horizonHours": str(horizon)}, kind=Kind.FORECAST)
        except SignalRefused as error:
            return Gap(zone, error.message, self.name)

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"auth-token": self._token, "Accept": "application/json"} if self._token else {}

    async def _said(
        self, temporality: str, zone: str, basis: Basis, query: Mapping[str, str], kind: Kind | None = None
    ) -> Said:
        if basis.accounting is not Accounting.AVERAGE:
            return Gap(zone, f"it knows the average mix, {basis.accounting} was asked for", self.name)
        answer = await self._fetch.get(
            f"{self._url}/{_SIGNAL}/{temporality}",
            {
                "zone": zone,
                "emissionFactorType": basis.factors.value,
                "temporalGranularity": "hourly",
                "disableCallerLookup": "true",
                **query,
            },
            self._headers,
        )
        gap = _no_such_zone(answer, zone, self.name)
        if gap is not None:
            return gap
        self._refuse(answer)
        body = mapping(answer.json(), answer.where)
        return [s for s in (_statement(row, body, basis, kind, answer.where) for row in _rows(body, answer.where)) if s]

    def _refuse(self, answer: Answer) -> None:
        if answer.status in _FORBIDDEN:
            hint = None
            if self._token and "access" not in answer.words().lower():
                hint = "Check the key: GREENCTL_SIGNALS__ELECTRICITY_MAPS__KEY."
            raise SignalRefused(f"{answer.where} refuses ({answer.status}): {_words(answer)}", hint=hint)
        if not answer.is_ok:
            raise SignalUnavailable(f"{answer.where} answers {answer.status}: {_words(answer)}")


def _rows(body: Mapping[str, object], where: str) -> list[Mapping[str, object]]:
    for envelope in ENVELOPES:
        if envelope in body:
            return rows(body[envelope], where)
    if "datetime" in body:
        return [body]
    keys = ", ".join(sorted(body)) or "nothing"
    raise SignalFormatError(f"{where}: expected one of {', '.join(ENVELOPES)} or datetime, found {keys}")


def _statement(
    row: Mapping[str, object], body: Mapping[str, object], basis: Basis, kind: Kind | None, where: str
) -> Statement | None:
    """Read a row; what it lacks stands in the body around it, or is not known."""
    grams = number(row.get("carbonIntensity"))
    if grams is None:
        return None
    step = row.get("temporalGranularity", body.get("temporalGranularity", "hourly"))
    if step != "hourly":
        raise SignalFormatError(f"{where}: asked for hours, answered {str(step)[:20]!r}")
    factors = row.get("emissionFactorType", body.get("emissionFactorType", basis.factors.value))
    if factors not in set(Factors):
        raise SignalFormatError(f"{where}: emissionFactorType {str(factors)[:20]!r} is neither lifecycle nor direct")
    issued = row.get("updatedAt", body.get("updatedAt"))
    if kind is None:
        kind = Kind.ESTIMATED if row.get("isEstimated", body.get("isEstimated", True)) else Kind.MEASURED
    method = row.get("estimationMethod")
    return Statement(
        zone=str(row.get("zone", body.get("zone", "no zone"))),
        basis=Basis(Accounting.AVERAGE, Factors(str(factors))),
        interval=Window.starting(moment(row.get("datetime"), where), HOUR),
        grams_per_kwh=grams,
        kind=kind,
        source="electricity-maps" + (f" {str(method)[:40].lower()}" if method else ""),
        issued_at=moment(issued, where) if issued is not None else None,
    )


def _no_such_zone(answer: Answer, zone: str, name: str) -> Gap | None:
    """A zone that does not exist, or of which nothing is known of late, is no failure of the API."""
    if answer.status == _UNKNOWN or (answer.status in {_BAD, 200} and "No recent data" in answer.words()):
        return Gap(zone, f"of zone {zone!r} it says: {_words(answer)}", name)
    if answer.status == _BAD and "zone" in answer.words().lower():
        return Gap(zone, f"it does not take zone {zone!r}: {_words(answer)}", name)
    return None


def _words(answer: Answer) -> str:
    """Return what a refusal says: the message if there is one, else the beginning of the body."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return answer.words()
    if not isinstance(body, dict):
        return answer.words()
    said = [str(body[key])[:120] for key in ("message", "error") if isinstance(body.get(key), str)]
    return "; ".join(said) or answer.words()


def _may_read(facts: object) -> bool:
    """Whether a zone's list of rights includes its intensity; without a list every zone may be tried."""
    access = facts.get("access") if isinstance(facts, dict) else None
    if not isinstance(access, list):
        return True
    return any(isinstance(a, str) and (a in {"*", _SIGNAL} or a.startswith(f"{_SIGNAL}/")) for a in access)


def _stamp(moment_: Instant) -> str:
    return f"{as_utc(moment_):%Y-%m-%dT%H:%M:%SZ}"
