"""Our turn, as this process knows of it: for how long it is sure to be ours, and what has to wait until it is all ours.

Goes by a clock that runs on while the machine sleeps: whoever wakes up has been silent, whatever he remembers.
"""

from __future__ import annotations

from datetime import timedelta

from orchestrator.control.ports import Clock, Journal
from orchestrator.domain.records import IntentKind, IntentState
from orchestrator.domain.turns import SURE_FOR


class HeldTurn:
    """A turn that was claimed at the second ``claimed_at`` of ``Clock.through_sleep``, taken before the claim.

    ``quiet``: for how long nothing is asked for again that the holder before has asked for. What was only planned never
    left: it would have been put on record before.
    """

    def __init__(self, journal: Journal, clock: Clock, claimed_at: float, quiet: timedelta = timedelta(0)) -> None:
        self._journal = journal
        self._clock = clock
        self._heard_at = claimed_at
        self._quiet_until = clock.through_sleep() + quiet.total_seconds()
        self._on_their_way = _asked_for(journal) if quiet else frozenset()

    @property
    def waiting(self) -> int:
        """How many launches of the holder before wait until it is quiet."""
        return len(self._on_their_way)

    def renew(self) -> None:
        """Be heard of. Raises ``LeaseHeld`` when the turn is somebody else's."""
        before = self._clock.through_sleep()
        self._journal.renew_turn()
        self._heard_at = before

    def end(self) -> None:
        """Say that we have stopped. Raises ``LeaseHeld`` when the turn is somebody else's."""
        self._journal.end_turn()

    def may_ask_for(self, intent_id: str) -> bool:
        """Whether the provider may be asked for this launch, as far as the holder before is concerned."""
        if self._on_their_way and self._clock.through_sleep() >= self._quiet_until:
            self._on_their_way = frozenset()
        return intent_id not in self._on_their_way

    def is_sure(self) -> bool:
        """Whether a call that is begun now is begun in our turn. Raises ``LeaseHeld`` when it is somebody else's.

        After a long time without a word it asks; ``False`` where the answer takes as long.
        """
        if self._silent_seconds() >= SURE_FOR.total_seconds():
            self.renew()
        return self._silent_seconds() < SURE_FOR.total_seconds()

    def _silent_seconds(self) -> float:
        return self._clock.through_sleep() - self._heard_at


def _asked_for(journal: Journal) -> frozenset[str]:
    intents = journal.intents(open_only=True)
    return frozenset(i.id for i in intents if i.kind is IntentKind.LAUNCH and i.state is IntentState.ISSUED)
