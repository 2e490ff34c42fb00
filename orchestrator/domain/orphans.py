"""Instances that the journal and the providers do not agree about, and what people ask to be done about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.decision import Verdict
from orchestrator.domain.records import IntentState, OperationState
from orchestrator.domain.time import Instant


class SuspectKind(StrEnum):
    """``STRANGER``: shown with our mark, in no record. ``ABSENT``: recorded as there, missing in a believed listing."""

    STRANGER = "stranger"
    ABSENT = "absent"


class Work(StrEnum):
    """What an instance is known to do. ``ENDED``: its engine is no more, by the provider's word."""

    UNKNOWN = "unknown"
    BUSY = "busy"
    IDLE = "idle"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One instance as a provider shows it now.

    ``source``: whose listing, by the names of its providers. What its marks say (``service``, ``intent_id``,
    ``deployment_uid``, ``epoch``) is empty where they could not be read. ``counters``: what the engine and the gateway
    have counted for it, as text that changes with every request.
    """

    name: str
    source: str
    service: str = ""
    region: str = ""
    intent_id: str = ""
    epoch: int | None = None
    deployment_uid: str = ""
    work: Work = Work.UNKNOWN
    counters: str = ""
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Suspect:
    """An instance that something is wrong with, since when, and since when it is known to serve nobody.

    Instants are grid time. ``sightings``: listings in a row that said so. ``idle_since`` is ``None`` unless
    every look since then found it without work and with unchanged counters. ``told``: it is in the history.
    """

    name: str
    kind: SuspectKind
    source: str
    service: str
    region: str
    intent_id: str
    epoch: int | None
    deployment_uid: str
    first_seen_at: Instant
    last_seen_at: Instant
    sightings: int = 1
    work: Work = Work.UNKNOWN
    counters: str = ""
    idle_since: Instant | None = None
    told: bool = False

    def age(self, now: Instant, rate: float) -> timedelta:
        """How long it has been suspected, in physical time (``rate`` grid seconds pass per physical second)."""
        return max(timedelta(0), now - self.first_seen_at) / rate

    def idle_for(self, now: Instant, rate: float) -> timedelta | None:
        """How long it is known to have served nobody, in physical time; ``None``: not known, or it serves."""
        return None if self.idle_since is None else max(timedelta(0), now - self.idle_since) / rate


@dataclass(frozen=True, slots=True)
class Restored:
    """Signs that this database was set back: the newest turn seen on an instance whose rows are not here, 0 for none.

    ``accepted_epoch``: up to which turn somebody has said that this is so and known.
    """

    seen_epoch: int = 0
    accepted_epoch: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing may be launched, moved, routed anew or reaped until somebody accepts it."""
        return self.seen_epoch > self.accepted_epoch


@dataclass(frozen=True, slots=True)
class ReapRequest:
    """Somebody's word that orphans may be ended, or that a restored database is accepted.

    ``payload_json``: see :mod:`orchestrator.control.reap_requests`. ``outcome_json``: the verdict on every name, once
    it is closed.
    """

    id: str
    actor: str
    state: OperationState
    payload_json: str
    created_at: Instant
    updated_at: Instant
    outcome_json: str = "{}"


@dataclass(frozen=True, slots=True)
class Reap:
    """The intent to end one orphan: committed before its provider is asked, closed when it is no longer shown."""

    id: str
    request_id: str
    name: str
    source: str
    state: IntentState
    epoch: int
    created_at: Instant
    updated_at: Instant
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReapVerdict:
    """What the brakes say about one name, every one of them."""

    name: str
    verdicts: tuple[Verdict, ...]

    @property
    def allowed(self) -> bool:
        """Whether no brake holds it."""
        return all(v.passed for v in self.verdicts)

    @property
    def held_because(self) -> str:
        """Every brake that holds it, in words; empty when none does."""
        return "; ".join(v.text for v in self.verdicts if not v.passed)
