"""The reaper: ends orphans that somebody has given the word for, as far as every brake allows.

What is weighed is written down before anything is decided, and the intent before its provider is asked. Whatever is
interrupted is taken up again by the next sweep, under the same brakes: nothing else is ended, and nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from orchestrator.control.ages import Ages
from orchestrator.control.apply import Applier
from orchestrator.control.inventory import Listing, fleet
from orchestrator.control.naming import name_prefix
from orchestrator.control.ports import Journal
from orchestrator.control.reap_requests import LIFETIME, Wish, outcome_json, planned_reap, wish_of
from orchestrator.control.runtime import Runtime
from orchestrator.domain.decision import Verdict
from orchestrator.domain.orphans import Reap, ReapRequest, ReapVerdict, Suspect, SuspectKind
from orchestrator.domain.records import EventKind, IntentState, OperationState
from orchestrator.domain.time import HOUR
from orchestrator.errors import GreenctlError
from orchestrator.planner.reaping import ReapView, reaped_lately, still_allowed, weigh


def reap_view(
    runtime: Runtime,
    uid: str,
    listings: Sequence[Listing],
    suspects: Sequence[Suspect],
    recent: int,
    *,
    held: bool,
) -> ReapView:
    """Put together what the brakes look at. ``recent``: how many were reaped in the last physical hour."""
    now, rate = runtime.clock.now(), runtime.clock.rate
    return ReapView(
        uid=uid,
        prefix=name_prefix(uid),
        suspects=tuple(suspects),
        complete=frozenset(listing.source.name for listing in listings if listing.look is not None),
        fleet=fleet(listings),
        recent=recent,
        held=held,
        grace=runtime.tuning.orphan_grace,
        idle=runtime.tuning.orphan_idle,
        now=now,
        rate=rate,
    )


def _listing_of(reap: Reap, listings: Sequence[Listing]) -> Listing | None:
    """Return the listing of its source, ``None`` where that is configured no longer.

    A source is called by its providers; one that has got more of them since is the same one.
    """
    providers = set(reap.source.split("+"))
    return next((listing for listing in listings if providers <= set(listing.source.providers)), None)


def _listing_with(reap: Reap, listings: Sequence[Listing]) -> Listing | None:
    """Return a complete listing that shows it."""
    return next((c for c in listings if c.look is not None and any(s.name == reap.name for s in c.look.shown)), None)


def _being_ended(name: str) -> ReapVerdict:
    return ReapVerdict(name, (Verdict("under_way", passed=True, text="its end is already under way"),))


class Reaper:
    """Acts after each sweep, on what that sweep has seen."""

    def __init__(self, runtime: Runtime, journal: Journal, applier: Applier) -> None:
        self._runtime = runtime
        self._journal = journal
        self._applier = applier
        self._troubles: dict[str, str] = {}
        self._words, self._decided = Ages(runtime.clock), Ages(runtime.clock)
        self._reaps: dict[str, Reap] = {}

    def is_asked(self) -> bool:
        """Whether somebody has given a word that no sweep has looked at yet."""
        return any(r.state is OperationState.QUEUED for r in self._journal.reap_requests())

    def accept(self) -> None:
        """Carry out what needs no listing: that somebody accepts a database that was set back."""
        self._words.look()
        for request in self._journal.reap_requests():
            wish = self._wish(request)
            if wish is None or wish.accept_epoch is None:
                continue
            if self._has_expired(request):
                # What the database lacks by now is not what was shown when it was accepted.
                self._event(f"what {request.actor} accepted could not be looked at for too long: it does not count")
                self._close(request, OperationState.FAILED)
                continue
            self._journal.set_restored(accepted_epoch=wish.accept_epoch)
            text = f"{request.actor} accepts that this database was set back behind turn {wish.accept_epoch + 1}"
            self._event(text, detail={"request": request.id})
            self._close(request, OperationState.DONE)

    async def act(self, listings: Sequence[Listing], suspects: Sequence[Suspect], *, held: bool) -> None:
        """Weigh what is asked for, then go on with what was decided. ``held``: see :class:`Restored`."""
        uid = self._journal.deployment_uid()
        self._words.look()
        self._decided.look()
        for request in self._journal.reap_requests():
            self._weigh(request, reap_view(self._runtime, uid, listings, suspects, self._recent(), held=held))
        self._words.forget_all_but([r.id for r in self._journal.reap_requests()])
        view = reap_view(self._runtime, uid, listings, suspects, self._recent(), held=held)
        for reap in self._journal.reaps(open_only=True):
            own = _listing_of(reap, listings)
            listing = _listing_with(reap, listings) if own is None else own
            if listing is not None and listing.look is not None:
                await self._go_on(reap, listing, view)
            elif own is None and all(each.look is not None for each in listings):
                self._let_go(reap, view)

    # ── deciding ─────────────────────────────────────────────────────────────────────────────────────

    def _weigh(self, request: ReapRequest, view: ReapView) -> None:
        wish = self._wish(request)
        if wish is None or wish.accept_epoch is not None:
            return
        if self._has_expired(request):
            self._event(f"what {request.actor} asked for could not be weighed for too long: nothing is reaped")
            self._close(request, OperationState.FAILED)
            return
        of = {s.name: s.source for s in view.suspects}
        if any(of[name] not in view.complete for name in wish.names if name in of):
            self._journal.set_reap_request(request.id, OperationState.RUNNING, view.now)
            return
        under_way = {r.name for r in self._journal.reaps(open_only=True)}
        names = [name for name in wish.names if name not in under_way]
        verdicts = weigh(view, names, wish.confirmed)
        allowed = [v.name for v in verdicts if v.allowed]
        held = len(verdicts) - len(allowed)
        text = f"{request.actor} asked to reap {len(wish.names)}: {len(allowed)} will be ended, {held} held back"
        verdicts += tuple(_being_ended(name) for name in wish.names if name in under_way)
        if len(names) < len(wish.names):
            text += f", {len(wish.names) - len(names)} already under way"
        answer = outcome_json(verdicts)
        self._event(text, detail={"request": request.id, "fleet": view.fleet, "diff": json.loads(answer)})
        reaps = [planned_reap(request, name, of[name], self._journal.epoch, view.now) for name in allowed]
        self._journal.close_reap_request(request.id, OperationState.DONE, view.now, outcome_json=answer, reaps=reaps)

    def _has_expired(self, request: ReapRequest) -> bool:
        """Whether it is no longer anybody's word."""
        return self._words.of(request.id, request.created_at) >= LIFETIME

    def _recent(self) -> int:
        """Count what was decided within the hour. What was seen once is remembered: a clock set on loses it no more."""
        lately = self._runtime.clock.now() - HOUR * self._runtime.clock.rate
        self._reaps |= {r.id: r for r in self._journal.reaps(since=lately)}
        return reaped_lately((r, self._decided.of(r.id, r.created_at)) for r in self._reaps.values())

    def _wish(self, request: ReapRequest) -> Wish | None:
        """Read what is asked for; close what cannot be read."""
        try:
            return wish_of(request)
        except ValueError as error:
            self._event(str(error))
            self._close(request, OperationState.FAILED)
            return None

    def _close(self, request: ReapRequest, state: OperationState) -> None:
        self._journal.close_reap_request(request.id, state, self._runtime.clock.now(), outcome_json="[]")

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────

    async def _go_on(self, reap: Reap, listing: Listing, view: ReapView) -> None:
        """Ask for the end, again at every sweep, until a complete listing no longer shows it."""
        shown = {s.name: s for s in (listing.look.shown if listing.look is not None else ())}
        if reap.name not in shown:
            self._journal.set_reap(reap.id, IntentState.CONFIRMED, view.now)
            self._troubles.pop(reap.id, None)
            self._event(f"{reap.name} is gone ({reap.detail})", reap.name)
            return
        suspect = self._suspects(view).get(reap.name)
        if suspect is None:
            self._fail(reap, "a record knows it by now", view)
            return
        asked = reap.state is IntentState.ISSUED
        verdict = still_allowed(suspect, view, asked=asked)
        if not verdict.allowed:
            self._fail(reap, verdict.held_because, view)
            return
        if asked and shown[reap.name].stopping:
            return
        # Written before each try: whoever lost the turn while he slept is stopped here.
        self._journal.set_reap(reap.id, IntentState.ISSUED, view.now)
        try:
            await listing.source.provisioner.terminate(reap.name, self._runtime.tuning.terminate_grace)
        except GreenctlError as error:
            trouble = f"{reap.name} could not be ended and will be asked again: {error.code}: {error.message}"
            if self._troubles.get(reap.id) != trouble:
                self._troubles[reap.id] = trouble
                self._event(trouble, reap.name)

    def _fail(self, reap: Reap, why: str, view: ReapView) -> None:
        self._journal.set_reap(reap.id, IntentState.FAILED, view.now, why)
        self._troubles.pop(reap.id, None)
        self._event(f"{reap.name} is not ended after all: {why}", reap.name)

    def _let_go(self, reap: Reap, view: ReapView) -> None:
        """Close what nobody can follow any more: where it was listed cannot be asked, and elsewhere it is not."""
        why = "no provider that is configured lists it any more"
        self._journal.set_reap(reap.id, IntentState.FAILED, view.now, why)
        self._troubles.pop(reap.id, None)
        self._event(f"whether {reap.name} is gone cannot be seen: {why}", reap.name)

    @staticmethod
    def _suspects(view: ReapView) -> Mapping[str, Suspect]:
        return {s.name: s for s in view.suspects if s.kind is SuspectKind.STRANGER}

    def _event(self, text: str, instance: str = "", detail: Mapping[str, object] | None = None) -> None:
        self._applier.event(EventKind.REAP, text, "", instance, detail)
