"""The way of the weights: what one launch fetches over a network, in gigabytes, dollars and energy. Pure.

How much: ``model.weights_gb``, else the billions in the model's name times the bytes of the precision that the name
tells (what is quantised while it loads is fetched whole). From where: ``model.weights_from``, else the hub of which the
id is one. Where neither says it, dollars range from nothing to the dearest line of the table, and the dear end counts;
dollars that are unknown all the same are told, and stop a move or a launch only where the owner has written from where
the weights come (``Egress.is_untold``): nobody's service stands still because a provider is not in the table.

Dollars: whoever sends is billed by its provider (``egress.csv``), whoever receives by theirs. Energy of the network is
disputed by more than an order of magnitude and is attributional: a bit more traffic draws hardly more power at once.

* 0.06 kWh/GB, fixed-line internet in 2015 (Aslan, Mayers, Koomey and France, "Electricity Intensity of Internet Data
  Transmission", J. Industrial Ecology 22(4), 2018, their best estimate): the high end;
* 0.002 kWh/GB: the same halved every two years, as they find, for ten years: the low end, and what counts in a region;
* 0.03 kWh/GB: the middle that counts elsewhere.

Requests and answers are not counted: a token is about five bytes of UTF-8 text, so a million of them are 5 MB, at most
0.0003 kWh, while making them takes 0.02 kWh at the least (0.08 J each, ML.ENERGY, a model of 8 billion weights).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, lru_cache
from math import isfinite
from pathlib import Path
from typing import Final

from orchestrator.domain.model_names import size_in
from orchestrator.domain.service import WEIGHTS_AT_HAND, WEIGHTS_FROM_HUB, Engine, ModelSpec
from orchestrator.domain.transfer import UNNAMED, Egress, Span
from orchestrator.errors import InvalidSettings

TABLE: Final = Path(__file__).with_name("egress.csv")

INTERNET_KWH_PER_GB: Final = Span(0.002, 0.03, 0.06)
REGION_KWH_PER_GB: Final = Span(0.002, 0.002, 0.06)
BYTES_PER_TOKEN: Final = 5
"""Of text: four characters of English, and the punctuation of an event stream's JSON left out."""

LOCAL: Final = "local"
"""The provider that is this machine: its engines read what its disk holds."""

_BYTES_BY_NAME: Final = (
    (re.compile(r"gguf|ggml|exl2|bnb|2bit|3bit"), None, ""),
    (re.compile(r"gpt-oss|mxfp4|nvfp4|fp4"), 0.5313, "4 bits and their scales"),
    (re.compile(r"awq|gptq|int4|w4a16|nf4|4bit"), 0.5313, "4 bits and their scales"),
    (re.compile(r"fp8|int8|w8a8|w8a16|8bit"), 1.0, "8 bits"),
    (re.compile(r""), 2.0, "16 bits"),
)


class Way(StrEnum):
    """How traffic goes, as price lists tell it apart."""

    INGRESS = "ingress"
    INTERNET = "internet"
    INTER_REGION = "inter-region"
    SAME_REGION = "same-region"


@dataclass(frozen=True, slots=True)
class Rate:
    """One line of the table: US dollars per GB, who says so, of which year, and how sure that is."""

    usd_per_gb: Span
    source: str
    as_of: str
    confidence: str

    @property
    def words(self) -> str:
        """Where the number comes from."""
        return f"{self.source} ({self.as_of}, confidence {self.confidence})"


@lru_cache(maxsize=4096)
def egress_of(model: ModelSpec, region: str) -> Egress | None:
    """Return what one launch in a region fetches; ``None`` where it fetches nothing: the weights are there, or none.

    Raises ``InvalidSettings`` with file and line when the packaged table was damaged.
    """
    provider = region.partition("/")[0]
    is_path = model.id.startswith((".", "/"))
    if model.engine is Engine.BUILTIN or model.weights_from == WEIGHTS_AT_HAND:
        return None
    if provider == LOCAL and model.weights_from is None:
        return None
    gb, origin = weights_gb(model)
    where = model.weights_from or (WEIGHTS_FROM_HUB if model.id and not is_path else "")
    per_gb, usd_origin = _usd_per_gb(where, region)
    usd = None if per_gb is None else per_gb.times(gb) if gb is not None else None
    if per_gb is not None and per_gb.high == 0.0:
        usd = Span(0.0, 0.0, 0.0)  # however much it is
    kwh = REGION_KWH_PER_GB if where == region else INTERNET_KWH_PER_GB
    named = {WEIGHTS_FROM_HUB: "the model hub", "": UNNAMED}
    return Egress(
        gb=gb,
        gb_origin=origin,
        source=named.get(where, where),
        usd=usd,
        usd_per_gb=per_gb,
        usd_origin=usd_origin,
        kwh_per_gb=kwh,
        kwh_origin=f"network, {kwh.low:g} to {kwh.high:g}, attributional",
        is_declared=model.weights_from is not None,
    )


def on_grids(egress: Egress, intensities: Mapping[str, float], region: str) -> Egress:
    """Return it with the intensity of its way: of where it ends, or the mean of both ends where both are known.

    ``intensities``: g/kWh by region id.
    """
    there = intensities.get(region)
    if there is None:
        return egress
    begins = intensities.get(egress.source)
    if begins is None or egress.source == region:
        return replace(egress, grams_per_kwh=there, grams_origin=f"{region}, for all of the way")
    return replace(egress, grams_per_kwh=(there + begins) / 2, grams_origin=f"mean of {egress.source} and {region}")


@dataclass(frozen=True, slots=True)
class WorstFetch:
    """What fetching a model's weights costs at most, US dollars, by region; ``None`` where nobody knows.

    ``variants``: other models that a launch may fetch in its place.
    """

    model: ModelSpec
    variants: tuple[ModelSpec, ...] = ()

    def __call__(self, region: str) -> float | None:
        """Return it for one launch in a region."""
        costs = [_worst(model, region) for model in (self.model, *self.variants)]
        known = [c for c in costs if c is not None]
        return max(known) if len(known) == len(costs) else None


def _worst(model: ModelSpec, region: str) -> float | None:
    found = egress_of(model, region)
    if found is None or found.is_untold:
        return 0.0
    return None if found.usd is None else found.usd.high


def weights_gb(model: ModelSpec) -> tuple[float | None, str]:
    """Return how many GB (1e9 bytes) a model's weights are, ``None`` where nothing tells, and what tells it."""
    if model.weights_gb is not None:
        return model.weights_gb, "model.weights_gb"
    name = model.id.rstrip("/").rpartition("/")[2]
    size = size_in(name)
    if size is None:
        return None, "neither model.weights_gb nor the name of the model tells"
    each, precision = next((b, w) for pattern, b, w in _BYTES_BY_NAME if pattern.search(name.casefold()))
    if each is None:
        return None, "the name does not tell how many bits a weight has"
    return size.billions * each, f"{size.billions:g} billion weights of {precision}, by its name"


def _usd_per_gb(where: str, region: str) -> tuple[Span | None, str]:
    provider, other = region.partition("/")[0], where.partition("/")[0]
    if where == region:
        return _listed((provider, Way.SAME_REGION))
    comes_in = (provider, Way.INGRESS)
    if where == WEIGHTS_FROM_HUB:
        return _listed(comes_in)
    if where:
        return _listed((provider, Way.INTER_REGION)) if other == provider else _listed((other, Way.INTERNET), comes_in)
    received, words = _listed(comes_in)
    if received is None:
        return None, words
    dearest = max(rate.usd_per_gb.high for rate in rates().values()) + received.high
    words = "nobody named model.weights_from: from nothing to the dearest line of the table, and that counts"
    return Span(received.low, dearest, dearest), words


def _listed(*ways: tuple[str, Way]) -> tuple[Span | None, str]:
    """Add up the lines of a way; ``None`` as soon as one is not in the table."""
    table = rates()
    for provider, way in ways:
        if (provider, way) not in table:
            return None, f"nobody has listed what {provider} charges for {way} traffic"
    found = [table[key] for key in ways]
    spans = [rate.usd_per_gb for rate in found]
    whole = Span(sum(s.low for s in spans), sum(s.counted for s in spans), sum(s.high for s in spans))
    return whole, "; ".join(rate.words for rate in found)


@cache
def rates() -> Mapping[tuple[str, Way], Rate]:
    """Read the packaged table, by provider and way."""
    return read_rates(TABLE)


def read_rates(path: Path) -> Mapping[tuple[str, Way], Rate]:
    """Read a table of the packaged layout. Raises ``InvalidSettings`` with file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path.name} cannot be read: {error}"
        raise InvalidSettings(message, hint="Install greenctl anew.") from error
    comments = sum(line.startswith("#") for line in lines)
    found: dict[tuple[str, Way], Rate] = {}
    for number, row in enumerate(csv.DictReader(lines[comments:]), start=comments + 2):
        try:
            key = row["provider"], Way(row["class"])
            usd = Span(float(row["low_usd_per_gb"]), float(row["usd_per_gb"]), float(row["high_usd_per_gb"]))
            rate = Rate(usd, row["source"], row["as_of"], row["confidence"])
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path.name}:{number}: {error}"
            raise InvalidSettings(message, hint="Install greenctl anew.") from error
        if key in found or not (0 <= usd.low <= usd.counted <= usd.high and isfinite(usd.high)):
            why = "is there twice" if key in found else "needs 0 <= low <= usd_per_gb <= high"
            message = f"{path.name}:{number}: {key[0]} {key[1]} {why}"
            raise InvalidSettings(message, hint="Install greenctl anew.")
        found[key] = rate
    return found
