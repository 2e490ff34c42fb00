"""How often AWS took spot machines back: the file behind its Spot Instance Advisor, public and without a key.

It is no price, and it moves nobody: it is shown beside prices. One file has every region: ``ranges`` says what a band's
index means, ``spot_advisor`` has the index (``r``) and the saving against on demand in per cent (``s``) by region,
operating system and instance type. AWS describes them as of the month before ("Spot Instance Advisor"). The traps:

* the bounds in ``ranges`` (``max``: 5, 11, 16, 22, 100) are not those of the labels that people are shown (``<5%``,
  ``5-10%``, ..), so the label is what is read;
* the file carries no date: when it was changed is in the answer's ``Last-Modified``, and without that it is unknown;
* machines with Windows have bands of their own: only ``Linux`` counts. What is not in the file is unknown, not rare.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

from orchestrator.domain.time import Instant, as_utc
from orchestrator.errors import PriceUnavailable, SignalUnavailable
from orchestrator.prices.fetcher import Fetcher
from orchestrator.prices.quotes import CLOCKS_DIFFER, Wanted

URL: Final = "https://spot-bid-advisor.s3.amazonaws.com/spot-advisor-data.json"
PROVIDER: Final = "aws"
SYSTEM: Final = "Linux"
SOURCE: Final = "aws-spot-advisor"
EVERY: Final = timedelta(hours=6)
"""The bands are of a whole month."""

SECONDS: Final = 20.0
"""The file of June 2025 has 0.9 MB, uncompressed as it is asked for."""

_LABEL: Final = re.compile(
    r"(?:<(?P<below>[0-9]{1,3})|(?P<low>[0-9]{1,3})-(?P<high>[0-9]{1,3})|>(?P<above>[0-9]{1,3}))%"
)


@dataclass(frozen=True, slots=True)
class InterruptionBand:
    """The part of a machine type's spot instances that were interrupted in the month before, within bounds.

    Both are fractions in 0..1; ``saving_fraction``: below the on-demand price, as the source reckons it, ``None`` where
    it does not say, or says less than nothing (one of 14,962 machines in June 2025). ``as_of``: when the source
    changed its file, ``None`` where it does not say.
    """

    label: str
    low_fraction: float
    high_fraction: float
    saving_fraction: float | None
    source: str
    as_of: Instant | None


Bands = Mapping[tuple[str, str], InterruptionBand]
"""By region id and instance type."""


class InterruptionSource(Protocol):
    """Who knows how often spot machines were taken back."""

    async def interruptions(self, wanted: Wanted, now: Instant) -> Bands:
        """Return what is known; none of what is not. Raises ``PriceUnavailable`` when nobody could be asked."""
        ...


@dataclass(frozen=True, slots=True)
class _File:
    """The file as it was read, and when."""

    read_at: Instant
    where: str
    as_of: Instant | None
    labels: Mapping[int, tuple[str, float, float]]
    places: Mapping[str, Any]


class SpotAdvisor:
    """An :class:`InterruptionSource` of the regions ``aws/*``; the file is read once in :data:`EVERY`."""

    def __init__(self, fetch: Fetcher, url: str = URL) -> None:
        """Raise ``InvalidSettings`` for an address that may not be used."""
        self._fetch = fetch
        self._url = fetch.check(url)
        self._file: _File | None = None

    async def interruptions(self, wanted: Wanted, now: Instant) -> Bands:
        """Return the bands of these machines with Linux. Raises ``PriceUnavailable``; other clouds cost no request."""
        ours = {
            (region, machine): region.partition("/")[2]
            for region, machines in sorted(wanted.machines.items())
            for machine in sorted(machines)
            if region.startswith(f"{PROVIDER}/")
        }
        if not ours:
            return {}
        file = await self._read(now)
        found = {key: _band(file, place, key[1]) for key, place in ours.items()}
        return {key: band for key, band in found.items() if band is not None}

    async def _read(self, now: Instant) -> _File:
        if self._file is None or not self._file.read_at <= now < self._file.read_at + EVERY:
            try:
                answer = await self._fetch.get(self._url)
                body = answer.json() if answer.is_ok else None
            except SignalUnavailable as error:
                raise PriceUnavailable(error.message) from error
            if not isinstance(body, dict) or not isinstance(body.get("spot_advisor"), dict):
                raise PriceUnavailable(f"{answer.where} does not answer with bands of interruptions")
            labels = _labels(body.get("ranges"), answer.where)
            self._file = _File(now, answer.where, _changed(answer.headers, now), labels, body["spot_advisor"])
        return self._file


def _labels(ranges: object, where: str) -> Mapping[int, tuple[str, float, float]]:
    """Read what each index means. Raises ``PriceUnavailable``: a band that is misread would be a wrong promise."""
    found: dict[int, tuple[str, float, float]] = {}
    for row in ranges if isinstance(ranges, list) else ():
        index, label = (row.get("index"), row.get("label")) if isinstance(row, dict) else (None, None)
        match = _LABEL.fullmatch(label) if isinstance(label, str) else None
        if match is None or isinstance(index, bool) or not isinstance(index, int) or index in found:
            raise PriceUnavailable(f"{where}: {str(row)[:80]} is no band of interruptions")
        low, high = int(match["low"] or match["above"] or 0) / 100, int(match["high"] or match["below"] or 100) / 100
        if not 0 <= low < high <= 1 or (low, high) in {(one[1], one[2]) for one in found.values()}:
            raise PriceUnavailable(f"{where}: {label!r} is no band of interruptions, or is there twice")
        found[index] = (match[0], low, high)
    if not found:
        raise PriceUnavailable(f"{where} does not say what its bands of interruptions mean")
    return found


def _band(file: _File, place: str, machine: str) -> InterruptionBand | None:
    """Return a machine's band; ``None`` where the file has none, or one that cannot be read."""
    row: object = file.places
    for key in (place, SYSTEM, machine):
        if not isinstance(row, dict):
            raise PriceUnavailable(f"{file.where}: what it has about {place} is no table of bands")
        row = row.get(key)
        if row is None:
            return None
    index, saving = (row.get("r"), row.get("s")) if isinstance(row, dict) else (None, None)
    if isinstance(index, bool) or not isinstance(index, int) or index not in file.labels:
        return None
    label, low, high = file.labels[index]
    is_percentage = isinstance(saving, int | float) and not isinstance(saving, bool) and 0 <= saving <= 100  # noqa: PLR2004
    fraction = float(saving) / 100 if is_percentage and saving is not None else None
    return InterruptionBand(label, low, high, fraction, SOURCE, file.as_of)


def _changed(headers: Mapping[str, str], now: Instant) -> Instant | None:
    """Say when the file was changed; a time that is to come says nothing."""
    text = next((value for name, value in headers.items() if name.lower() == "last-modified"), "")
    try:
        moment = as_utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment <= now + CLOCKS_DIFFER else None
