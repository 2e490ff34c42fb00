"""What ``greenctl doctor`` shows about orphans: read from the providers themselves, with or without a controller.

Changes nothing, not even what is remembered: first sights are the controller's to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from orchestrator.control.inventory import Listing, fleet, read_source, sources
from orchestrator.control.observe import gateway_status
from orchestrator.control.ports import Records
from orchestrator.control.reaper import reap_view
from orchestrator.control.runtime import Runtime
from orchestrator.domain.decision import Verdict
from orchestrator.domain.orphans import Suspect, SuspectKind
from orchestrator.domain.time import HOUR, Instant
from orchestrator.planner.orphans import restored_epoch, twins_of
from orchestrator.planner.reaping import reaped_lately, weigh

ENDED = "ended"
"""Beside the kinds of suspects: recorded as ended and cleaned up, and shown all the same; the controller ends it."""


@dataclass(frozen=True, slots=True)
class OrphanView:
    """One instance that something is wrong with. ``suspected_seconds`` is physical; ``None``: nobody counts.

    ``kind``: a :class:`~orchestrator.domain.orphans.SuspectKind` value or ``ended``. ``usd_per_hour`` is known where
    the journal knows its launch. ``why``: what holds the reaper back; empty when it may be reaped.
    """

    name: str
    kind: str
    source: str
    service: str
    region: str
    epoch: int | None
    work: str
    suspected_seconds: float | None
    usd_per_hour: float | None
    reapable: bool
    why: str
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceView:
    """One listing. ``complete``: it can be relied upon; else ``trouble`` says why not, and nothing is concluded."""

    name: str
    providers: tuple[str, ...]
    complete: bool
    trouble: str
    read_at: Instant
    shown: int
    matched: int


@dataclass(frozen=True, slots=True)
class OrphanSurvey:
    """Everything at one moment. ``restored_epoch``: a turn that proves that this database was set back, if any.

    ``share``: how many may be reaped per hour without naming each. ``twins``: instances that another database must
    have launched as this deployment, since our turn began.
    """

    at: Instant
    deployment_uid: str
    newest_epoch: int
    restored_epoch: int | None
    fleet: int
    share: int
    sources: tuple[SourceView, ...]
    orphans: tuple[OrphanView, ...]
    twins: tuple[str, ...] = ()

    @property
    def strangers(self) -> tuple[OrphanView, ...]:
        """Those that no record knows."""
        return tuple(o for o in self.orphans if o.kind == SuspectKind.STRANGER.value)

    @property
    def unowned(self) -> tuple[OrphanView, ...]:
        """Those that exist and should not, or that nobody looks after."""
        return tuple(o for o in self.orphans if o.kind != SuspectKind.ABSENT.value)

    @property
    def complete(self) -> bool:
        """Whether every listing can be relied upon."""
        return all(s.complete for s in self.sources)


async def orphan_survey(runtime: Runtime, *, turn_for: timedelta | None) -> OrphanSurvey:
    """Look now. ``turn_for``: since when the newest turn is under way (physical), ``None`` when it is over.

    Raises ``StoreUnavailable``.
    """
    store = runtime.store
    before = store.suspects()
    status = await gateway_status(runtime)
    listings = [await read_source(s, runtime, store, before, status) for s in sources(runtime)]
    suspects = [s for listing in listings for s in listing.suspects]
    uid, epoch, known = store.deployment_uid(), store.newest_epoch(), store.restored()
    signs = [
        restored_epoch(listing.seen, epoch=epoch, accepted_epoch=known.accepted_epoch)
        for listing in listings
        if listing.seen is not None
    ]
    sign = max((s for s in (*signs, known.seen_epoch) if s is not None and s > known.accepted_epoch), default=None)
    now, rate = runtime.clock.now(), runtime.clock.rate
    recent = reaped_lately((r, (now - r.created_at) / rate) for r in store.reaps(since=now - HOUR * rate))
    view = reap_view(runtime, uid, listings, suspects, recent, held=sign is not None)
    verdicts = {v.name: v for v in weigh(view, [s.name for s in suspects if s.kind is SuspectKind.STRANGER])}
    found = []
    for s in suspects:
        verdict = verdicts.get(s.name) if s.kind is SuspectKind.STRANGER else None
        intent = store.intent(s.intent_id) if s.intent_id else None
        found.append(
            OrphanView(
                name=s.name,
                kind=s.kind.value,
                source=s.source,
                service=s.service,
                region=s.region,
                epoch=s.epoch,
                work=s.work.value,
                suspected_seconds=s.age(view.now, view.rate).total_seconds(),
                usd_per_hour=None if intent is None else intent.usd_per_hour,
                reapable=verdict is not None and verdict.allowed,
                why="its record decides" if verdict is None else verdict.held_because,
                verdicts=() if verdict is None else verdict.verdicts,
            )
        )
    twins: tuple[Suspect, ...] = ()
    if turn_for is not None:
        intents = {i for listing in listings if listing.seen is not None for i in listing.seen.intents}
        twins = twins_of(suspects, intents, uid=uid, turn_for=turn_for, now=view.now, rate=view.rate)
    found += [view for listing in listings for view in _outlived(listing)]
    return OrphanSurvey(
        at=runtime.clock.now(),
        deployment_uid=uid,
        newest_epoch=epoch,
        restored_epoch=sign,
        fleet=fleet(listings),
        share=view.share,
        sources=tuple(_source(listing) for listing in listings),
        orphans=tuple(found),
        twins=tuple(s.name for s in twins),
    )


def in_no_record(records: Records, service: str) -> str:
    """Say which instances carry a service's name and are in no record, by the last sweep; empty when there are none."""
    names = [s.name for s in records.suspects() if s.kind is SuspectKind.STRANGER and s.service == service]
    if not names:
        return ""
    carry = "carries its name and is" if len(names) == 1 else "carry its name and are"
    return f"{', '.join(names)} {carry} in no record: what runs there may cost money. Look: greenctl doctor --orphans"


def _outlived(listing: Listing) -> list[OrphanView]:
    if listing.look is None:
        return []
    shown = {s.name: s for s in listing.look.shown}
    records = [listing.look.recorded[name] for name in listing.look.outlived]
    return [
        OrphanView(
            name=r.name,
            kind=ENDED,
            source=listing.source.name,
            service=r.service,
            region=r.region,
            epoch=shown[r.name].epoch,
            work=shown[r.name].work.value,
            suspected_seconds=None,
            usd_per_hour=r.usd_per_hour,
            reapable=False,
            why="its record knows it: a running controller ends it again",
        )
        for r in records
    ]


def _source(listing: Listing) -> SourceView:
    look = listing.look
    wrong = 0 if look is None else len(look.strangers) + len(look.outlived)
    return SourceView(
        name=listing.source.name,
        providers=listing.source.providers,
        complete=look is not None,
        trouble=listing.trouble,
        read_at=listing.read_at,
        shown=listing.shown,
        matched=listing.shown - wrong,
    )
