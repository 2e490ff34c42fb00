"""Sweep: whatever providers show with our mark is ours to look after, or somebody has to be told.

A create can succeed long after it was given up, and a machine can outlive the answer that it is gone. What a record
knows is opened again and ended by the same steps as everything else. What no record knows is suspected, told of and
left alone: only somebody's word, and the reaper's brakes, can end it. What is recorded and not shown is told of, too;
asking about it by name decides.

A listing that fails proves nothing, and one that suddenly lacks most of what is there nothing but what it shows. Signs
that this database was set back stop everything: see :attr:`Sweeper.held`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from orchestrator.control.ages import SuspectAges
from orchestrator.control.apply import Applier
from orchestrator.control.edits import EditWatch
from orchestrator.control.inventory import Listing, Source, read_source, sources
from orchestrator.control.ports import Journal
from orchestrator.control.reaper import Reaper
from orchestrator.control.runtime import Runtime
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.orphans import Suspect, SuspectKind
from orchestrator.domain.records import EventKind
from orchestrator.planner.orphans import restored_epoch, to_tell
from orchestrator.planner.reaping import RESTORED

TELL_AFTER = 2
"""A listing that fails or is not believed is told of when it is so this often in a row: most are fine the next time."""


class Sweeper:
    """Compares listings with records. What it must not forget is in the journal."""

    def __init__(self, runtime: Runtime, journal: Journal, applier: Applier, edits: EditWatch) -> None:
        self._runtime = runtime
        self._journal = journal
        self._applier = applier
        self._edits = edits
        self._reaper = Reaper(runtime, journal, applier)
        self._reopened: set[str] = set()
        self._troubles: dict[str, int] = {}
        self._committed: dict[str, int] = {}
        self._ages = SuspectAges(runtime.clock)
        self._held = journal.restored().holds

    @property
    def held(self) -> bool:
        """Whether this database looks set back, or lacks replicas: nothing is launched, moved, routed anew or reaped.

        It would replace replicas that serve elsewhere, take them out of the traffic, and call them strangers.
        """
        return self._held or self._edits.lacks_replicas

    def is_asked(self) -> bool:
        """Whether somebody waits for a sweep."""
        return self._reaper.is_asked()

    async def sweep(self, status: GatewayStatus | None) -> None:
        """Look at every source's listing once. ``status``: the gateway's counters, ``None`` without an answer."""
        self._reaper.accept()
        self._edits.look()
        named = sources(self._runtime)
        before = self._brought_along(self._journal.suspects(), named)
        listings = [await read_source(s, self._runtime, self._journal, before, status, self._committed) for s in named]
        shown = {intent for listing in listings if listing.seen is not None for intent in listing.seen.intents}
        self._committed = {intent: turn for intent, turn in self._committed.items() if intent in shown}
        self._watch_for_a_backup(listings)
        suspects: list[Suspect] = []
        for listing in listings:
            old = [s for s in before if s.source == listing.source.name]
            suspects += self._compare(listing, old)
        self._forget_sources({s.name for s in named}, before)
        self._ages.forget_all_but(suspects)
        await self._reaper.act(listings, suspects, held=self._held or self._edits.holds)

    def _brought_along(self, stored: Sequence[Suspect], named: Sequence[Source]) -> Sequence[Suspect]:
        """Keep what is known of suspects whose source is called otherwise now: a provider of it was added or left out.

        Whoever lists the provider that a suspect stands at today is its source from now on.
        """
        there = {source.name for source in named}
        today = {provider: source.name for source in named for provider in source.providers}
        old = [s for s in stored if s.source not in there]
        moved = [replace(s, source=today[p]) for s in old if (p := s.region.partition("/")[0]) in today]
        if not moved:
            return stored
        kept = {(s.source, s.name, s.kind): s for s in (*stored, *moved)}
        for source in sorted({s.source for s in moved}):
            self._journal.set_suspects(source, [s for s in kept.values() if s.source == source])
        return tuple(kept.values())

    # ── one listing ──────────────────────────────────────────────────────────────────────────────────

    def _compare(self, listing: Listing, before: Sequence[Suspect]) -> Sequence[Suspect]:
        """Take the consequences of one listing; return who is suspected at its source now."""
        name, seen = listing.source.name, listing.seen
        # Whoever is shown is there, whatever else the listing lacks.
        if seen is not None and not self._held and not self._edits.holds:
            for outlived in seen.outlived:
                self._reopen(outlived)
        if listing.trouble:
            self._trouble(listing)
        else:
            self._troubles.pop(name, None)
        if seen is None:
            return before
        found = self._told(self._ages.kept(listing.suspects, before))
        if found or before:
            self._journal.set_suspects(name, found)
        return found

    def _reopen(self, name: str) -> None:
        """Hand something that was thought to be gone back to its record: it is ended by the usual steps."""
        record = self._journal.update_replica(name, cleaned_up=False, now=self._runtime.clock.now())
        if name not in self._reopened:
            self._reopened.add(name)
            text = f"{name} had ended and is still there: it is ended again"
            self._applier.event(EventKind.WARNING, text, record.service, name)

    def _told(self, suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
        """Tell of those that have been suspected for long enough, once each."""
        now, clock = self._runtime.clock.now(), self._runtime.clock
        news = {(s.name, s.kind) for s in to_tell(suspects, now, clock.rate, self._runtime.tuning.orphan_grace)}
        for suspect in suspects:
            if (suspect.name, suspect.kind) in news:
                detail = {"source": suspect.source, "region": suspect.region, "epoch": suspect.epoch}
                self._applier.event(EventKind.WARNING, _words(suspect), suspect.service, suspect.name, detail)
        return tuple(replace(s, told=True) if (s.name, s.kind) in news else s for s in suspects)

    def _trouble(self, listing: Listing) -> None:
        """Tell of a source that goes on not being listed, or not whole: not all orphans would be seen there."""
        name = listing.source.name
        self._troubles[name] = self._troubles.get(name, 0) + 1
        if self._troubles[name] == TELL_AFTER:
            text = f"{name}: its listing cannot be used, so nobody would see an orphan there: {listing.trouble}"
            if listing.seen is not None:
                text = (
                    f"{name}: its listing {listing.trouble}: it counts for whom it shows, and nothing is reaped there"
                )
            self._applier.event(EventKind.WARNING, text, "", detail={"source": name})

    def _forget_sources(self, there: Collection[str], before: Sequence[Suspect]) -> None:
        """Drop suspicions about providers that are no longer configured: nobody can look there."""
        for gone in sorted({s.source for s in before} - set(there)):
            self._journal.set_suspects(gone, ())

    # ── a database that was set back ─────────────────────────────────────────────────────────────────

    def _watch_for_a_backup(self, listings: Sequence[Listing]) -> None:
        known = self._journal.restored()
        epoch = self._journal.epoch
        signs = [
            restored_epoch(listing.seen, epoch=epoch, accepted_epoch=known.accepted_epoch)
            for listing in listings
            if listing.seen is not None
        ]
        newest = max((sign for sign in signs if sign is not None), default=0)
        self._held = max(newest, known.seen_epoch) > known.accepted_epoch  # even if it cannot be written down
        if newest > known.seen_epoch:
            self._journal.set_restored(seen_epoch=newest)
            text = (
                f"{RESTORED}: an instance of turn {newest} is in no record here. Nothing is launched, moved, routed"
                " anew or reaped until somebody accepts it: greenctl doctor --orphans"
            )
            self._applier.event(EventKind.WARNING, text, "", detail={"seen_epoch": newest, "epoch": epoch})


def _words(suspect: Suspect) -> str:
    if suspect.kind is SuspectKind.ABSENT:
        return f"{suspect.name} is recorded as there, and its provider has not listed it for a while"
    return f"{suspect.name} carries our mark but is in no record: it is left alone; see greenctl doctor --orphans"
