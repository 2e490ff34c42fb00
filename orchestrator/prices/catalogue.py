"""Offers from a price list: per region, hardware and market the cheapest row, with where it comes from.

Both markets are offered whatever ``use_spot`` says: what may be bought is the planner's verdict, and it can only
explain what it was shown. One exception: a spot price that is not below the on-demand price of the same hardware in the
same region is not offered at all, for nothing speaks for it, and :meth:`CatalogueOffers.rejected` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from orchestrator.control.ports import OfferSource
from orchestrator.domain.hardware import Shape
from orchestrator.domain.matching import is_asked_for, is_inside
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.service import ResourceRequest
from orchestrator.domain.shelf import Shelf
from orchestrator.domain.time import Instant
from orchestrator.errors import PriceUnavailable
from orchestrator.file_marks import FileMark, is_time, mark_of
from orchestrator.prices.listing import Listed, Rejected, read_listing
from orchestrator.prices.shapes import ShapeCatalogue
from orchestrator.prices.sky_catalogue import Catalogue, find_catalogues, read_catalogue

Rows = tuple[tuple[Listed, ...], tuple[Rejected, ...]]
"""Rows of a list, and which of them are not believed."""

LOCAL_OFFERS = Path(__file__).with_name("local_offers.csv")
"""The packaged list for the regions of this machine; notional prices, kind synthetic."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A listed row that has a place and a shape."""

    listed: Listed
    region: Region
    shape: Shape

    def usd_per_hour(self, market: Market) -> float | None:
        return self.listed.usd_per_hour[market]

    def is_in(self, infra: str | None) -> bool:
        names = (self.listed.zone, self.listed.zone_name or self.listed.zone)
        return any(is_inside(self.region.id, zone, infra) for zone in names)

    @property
    def size(self) -> tuple[float, float]:
        return (self.shape.vcpus or 0.0, self.shape.memory_gib or 0.0)


class ListFile:
    """A list on disk, read when first asked, and again when its file is another one.

    A list that is gone, or that can be read no longer, keeps what it said last: ``trouble`` tells of it, and its prices
    carry their dates. ``name``: what it is called where it is not there. ``find`` raises ``PriceUnavailable``, as
    ``read`` does.
    """

    def __init__(self, name: str, find: Callable[[], Path], read: Callable[[Path], Rows]) -> None:
        self.name = name
        self.rows: Rows | None = None
        self.trouble: PriceUnavailable | None = None
        self._find = find
        self._read = read
        self._mark: FileMark | None = None

    def look(self) -> bool:
        """Read it if it is not what was read; returns whether what is known of it is another."""
        before = (self.rows, self.told())
        try:
            path = self._find()
            # Before it is read: what is written meanwhile is then found by the next look.
            mark = mark_of(path)
            if mark != self._mark or self.trouble is not None:
                self.rows = self._read(path)
            self._mark, self.trouble = mark, None
        except PriceUnavailable as error:
            self.trouble = error
        except OSError as error:
            self.trouble = PriceUnavailable(f"{self.name} cannot be read: {error.strerror or error}")
        return (self.rows, self.told()) != before

    def told(self) -> str:
        """Say what is wrong with it, "" if nothing."""
        if self.trouble is None:
            return ""
        return self.trouble.message if self.rows is None else f"{self.trouble.message}; what it said before stands"


class ListedOffers:
    """An :class:`~orchestrator.control.ports.OfferSource` over price lists, each read again when its file has changed.

    ``show_unknown``: rows in regions that the catalogue does not have are offered with what is unknown left unknown, so
    that a plan shows and excludes them; without, they are rejected.
    """

    def __init__(
        self,
        files: Sequence[ListFile],
        regions: Mapping[str, Region],
        shapes: ShapeCatalogue,
        *,
        show_unknown: bool = False,
    ) -> None:
        self._files = tuple(files)
        self._regions = regions
        self._shapes = shapes
        self._show_unknown = show_unknown
        self._looked_at: Instant | None = None

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return the offers for what was asked, by region id, accelerator as asked, on demand before spot.

        An accelerator is offered once per region and market, on the cheapest instance type that satisfies the request;
        without one, the smallest machine that does (fewest vCPUs, then least memory), because power grows with size.
        ``now`` says when to look at the files again; a list has one date, which each price carries. Raises
        ``PriceUnavailable``.
        """
        if is_time(self._looked_at, now):
            self._look()
            self._looked_at = now
        return [
            offer
            for region, rows in self._by_region.items()
            for group in _alternatives([r for r in rows if r.is_in(request.infra)], request)
            for offer in self._offered(group)
        ]

    async def shelf(self) -> Shelf:
        """Return all rows, and the lists that cannot be read."""
        try:
            self._look()
        except PriceUnavailable as error:
            return Shelf(troubles=(error.message,))
        goods = tuple((region, row.shape) for region, rows in self._by_region.items() for row in rows)
        return Shelf(goods, tuple(file.told() for file in self._files if file.trouble is not None))

    def rejected(self) -> tuple[Rejected, ...]:
        """Say which rows and prices are not used, and why, by line. Raises ``PriceUnavailable``."""
        self._look()
        pointless = []
        for rows in self._by_region.values():
            for group in _by_hardware(rows):
                spot = _pointless_spot(group)
                if spot is not None:
                    what = f"{spot.region.id} {spot.shape.name} spot"
                    reason = f"{spot.usd_per_hour(Market.SPOT)} USD/h is not below the on-demand price"
                    pointless.append(Rejected(spot.listed.line, what, reason, spot.listed.file))
        return tuple(sorted((*self._listing[1], *self._placed[1], *pointless), key=lambda r: (r.file, r.line)))

    def _look(self) -> None:
        """Look whether a file is another one. Raises ``PriceUnavailable`` if there is no row of any."""
        changed = [file for file in self._files if file.look()]
        if changed:
            for derived in ("_listing", "_placed", "_by_region"):
                self.__dict__.pop(derived, None)
        failures = [file.trouble for file in self._files if file.trouble is not None]
        if failures and not self._listing[0]:
            self._looked_at = None
            raise failures[0]

    @cached_property
    def _listing(self) -> Rows:
        read = [file.rows for file in self._files if file.rows is not None]
        lost = [Rejected(0, f.name, f.told(), f.name) for f in self._files if f.trouble is not None]
        return tuple(row for rows, _ in read for row in rows), (*(r for _, odd in read for r in odd), *lost)

    @cached_property
    def _placed(self) -> tuple[tuple[_Row, ...], tuple[Rejected, ...]]:
        rows, lost = [], []
        named = {listed.region for listed in self._listing[0]}
        for listed in self._listing[0]:
            places = [listed.region]
            if listed.region.endswith("/*"):
                provider = listed.region.removesuffix("*")
                places = [r for r in self._regions if r.startswith(provider) and r not in named]
            for place in places:
                region = self._regions.get(place)
                if region is None and self._show_unknown:
                    region = Region(place, zone=None, pue=None, pue_source="unknown")
                if region is None:
                    what = f"{place} {listed.instance_type}"
                    lost.append(Rejected(listed.line, what, f"no region {place} in the catalogue", listed.file))
                else:
                    rows.append(_Row(listed, region, self._shape(listed)))
        return tuple(rows), tuple(lost)

    @cached_property
    def _by_region(self) -> dict[str, list[_Row]]:
        """Rows by region id, in the ids' order."""
        found: dict[str, list[_Row]] = {}
        for row in sorted(self._placed[0], key=lambda r: r.region.id):
            found.setdefault(row.region.id, []).append(row)
        return found

    def _shape(self, listed: Listed) -> Shape:
        if listed.accelerator is not None:
            count = listed.accelerator_count
            return self._shapes.accelerated(listed.accelerator, count, listed.vcpus, listed.memory_gib)
        return self._shapes.cpu(listed.vcpus or 0.0, listed.memory_gib or 0.0)

    def _offered(self, group: Sequence[_Row]) -> Iterator[Offer]:
        for market in (Market.ON_DEMAND, Market.SPOT):
            if market is Market.SPOT and _pointless_spot(group) is not None:
                continue
            row = _cheapest(group, market)
            usd = row.usd_per_hour(market)
            price = None
            if usd is not None:
                price = Price(usd, self._source(row.listed), row.listed.kind, row.listed.as_of)
            note = "" if price is not None else row.listed.disbelieved.get(market, "")
            yield Offer(row.region, row.shape, market, price, row.listed.instance_type, note)

    def _source(self, listed: Listed) -> str:
        place = f" in {listed.zone}" if listed.zone else ""
        note = f"; {listed.note}" if listed.note else ""
        return f"{listed.file}: {listed.instance_type}{place}{note}"


class CatalogueOffers(ListedOffers):
    """The offers of one price list of our own layout."""

    def __init__(self, path: Path, regions: Mapping[str, Region], shapes: ShapeCatalogue) -> None:
        super().__init__([ListFile(f"price list {path.name}", lambda: path, read_listing)], regions, shapes)


class SkyPilotOffers(ListedOffers):
    """The offers of SkyPilot's own catalogues: ``folder`` holds ``v<N>/<cloud>/vms.csv``, or the clouds themselves.

    SkyPilot renews them beside us. A cloud whose catalogue is missing or broken is told in :meth:`rejected`, and hides
    no other.
    """

    def __init__(
        self, folder: Path, clouds: Sequence[str], regions: Mapping[str, Region], shapes: ShapeCatalogue
    ) -> None:
        super().__init__([_catalogue(folder, cloud) for cloud in clouds], regions, shapes, show_unknown=True)


class CompositeOffers:
    """Several sources as one; of two offers with the same id, that of the earlier source counts."""

    def __init__(self, sources: Sequence[OfferSource]) -> None:
        self._sources = tuple(sources)

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return everybody's offers, source by source. Raises ``PriceUnavailable`` if no source can be read."""
        found: dict[str, Offer] = {}
        failures = []
        for source in self._sources:
            try:
                for offer in await source.offers(request, now):
                    found.setdefault(offer.id, offer)
            except PriceUnavailable as error:
                failures.append(error)
        if failures and len(failures) == len(self._sources):
            raise failures[0]
        return list(found.values())

    async def shelf(self) -> Shelf:
        """Return everybody's."""
        shelves = [await source.shelf() for source in self._sources]
        return Shelf(tuple(g for s in shelves for g in s.goods), tuple(t for s in shelves for t in s.troubles))


def _catalogue(folder: Path, cloud: str) -> ListFile:
    return ListFile(
        f"SkyPilot {cloud}", partial(_find, folder, cloud), lambda path: read_catalogue(Catalogue(cloud, path))
    )


def _find(folder: Path, cloud: str) -> Path:
    for catalogue in find_catalogues(folder, [cloud]):
        return catalogue.path
    hint = f"Let SkyPilot fetch it: `sky check {cloud}`, or name a folder with skypilot.catalogs."
    raise PriceUnavailable(f"no catalogue of {cloud} below {folder}", hint=hint)


def _alternatives(rows: Sequence[_Row], request: ResourceRequest) -> Iterator[list[_Row]]:
    """Yield the rows of each accelerator asked for, in that order, or those of the smallest machine."""
    fitting = [row for row in rows if is_asked_for(row.shape, request)]
    if not fitting:
        return
    if not request.accelerators:
        smallest = min(row.size for row in fitting)
        yield [row for row in fitting if row.size == smallest]
        return
    by_hardware = {(g[0].shape.name.casefold()): g for g in _by_hardware(fitting)}
    for name in dict.fromkeys(f"{a.count}x{a.name}".casefold() for a in request.accelerators):
        if name in by_hardware:
            yield by_hardware[name]


def _by_hardware(rows: Iterable[_Row]) -> list[list[_Row]]:
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        groups.setdefault(row.shape.name, []).append(row)
    return list(groups.values())


def _cheapest(group: Sequence[_Row], market: Market) -> _Row:
    """Return the cheapest row of a market; of unpriced ones the smallest. Ties go by instance type and zone."""

    def order(row: _Row) -> tuple[bool, float, tuple[float, float], str, str]:
        usd = row.usd_per_hour(market)
        return (usd is None, usd or 0.0, row.size, row.listed.instance_type, row.listed.zone)

    return min(group, key=order)


def _pointless_spot(group: Sequence[_Row]) -> _Row | None:
    """Return the cheapest spot row if on demand costs no more."""
    spot, on_demand = (_cheapest(group, market) for market in (Market.SPOT, Market.ON_DEMAND))
    spot_usd, on_demand_usd = spot.usd_per_hour(Market.SPOT), on_demand.usd_per_hour(Market.ON_DEMAND)
    return spot if spot_usd is not None and on_demand_usd is not None and spot_usd >= on_demand_usd else None
