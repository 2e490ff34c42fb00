"""The narrow interfaces through which the controller sees the world.

Each port has at least one adapter, one shipped fake, and one contract suite in ``tests/contract`` that all of them
pass. Implementations raise only errors of :mod:`orchestrator.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.domain.carbon import Basis, CarbonSeries, Reading
from orchestrator.domain.chain import Acceptance, JournalMarks, JournalReport
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.money import SpendingCap
from orchestrator.domain.offer import Offer
from orchestrator.domain.orphans import Reap, ReapRequest, Restored, Suspect
from orchestrator.domain.records import (
    Event,
    EventKind,
    Intent,
    IntentState,
    Operation,
    OperationKind,
    OperationState,
    Pause,
    Placement,
    ServiceRecord,
    ServiceState,
)
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.routing import GatewayStatus, RoutingTable
from orchestrator.domain.service import ModelSpec, ResourceRequest, ServiceSpec
from orchestrator.domain.shelf import Shelf
from orchestrator.domain.time import Instant, Window

# ── time ─────────────────────────────────────────────────────────────────────────────────────────────


class Clock(Protocol):
    """Grid time. ``rate`` grid seconds pass per physical second: 1 everywhere but on a replayed or simulated grid."""

    @property
    def rate(self) -> float:
        """Grid seconds per physical second, ``> 0``."""
        ...

    def now(self) -> Instant:
        """Return the grid's present, UTC; never runs backwards."""
        ...

    def wall(self) -> Instant:
        """Return the machine's own UTC time, for display and log stamps only."""
        ...

    def monotonic(self) -> float:
        """Physical seconds since an arbitrary origin; never runs backwards. For deadlines of outside calls."""
        ...

    async def sleep(self, physical_seconds: float) -> None:
        """Wait that many physical seconds (virtual ones in a simulation)."""
        ...


# ── signals and offers ───────────────────────────────────────────────────────────────────────────────


class CarbonSource(Protocol):
    """Grid carbon intensity by zone."""

    @property
    def name(self) -> str:
        """Short name that travels with each value."""
        ...

    async def zones(self) -> frozenset[str]:
        """Return the zones that are covered."""
        ...

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        """Return the newest value known at ``now``, of whatever age; a :class:`Gap` when the zone has none.

        Raises ``SignalUnavailable`` only when the source as a whole cannot be read.
        """
        ...

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        """Return the values inside the window that were known at ``now``; holes stay holes.

        Never looks past ``now``.
        """
        ...

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        """Return the source's own forecast as issued by ``now``; ``None`` when it makes none."""
        ...


class OfferSource(Protocol):
    """What can be bought, with prices."""

    async def offers(self, request: ResourceRequest, now: Instant) -> Sequence[Offer]:
        """Return every offer that has the asked-for hardware, in a stable order; unpriced ones included."""
        ...

    async def shelf(self) -> Shelf:
        """Return all that is listed, and which lists cannot be read: to say why nothing fits. Raises nothing."""
        ...


# ── replicas ─────────────────────────────────────────────────────────────────────────────────────────


class Phase(StrEnum):
    """What a provider can say about an instance."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    GONE = "gone"


class Ability(StrEnum):
    """What a provider can do in a region besides launching and ending; the planner asks for nothing else."""

    SPOT = "spot"
    STOP = "stop"
    PRICES = "prices"
    LEASE = "lease"
    """A replica whose lease is over ends by itself there, and so does its machine."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """All that a provisioner needs. ``name`` identifies the instance; launching the same name twice buys once.

    ``replica``: the slot as people see it (``r0``). ``epoch``: the controller's turn that asks; it travels with the
    instance, so that a database which was set back can be told from a stranger's machine. ``max_usd_per_hour``: the
    confirmed price with its tolerance; nothing dearer is bought. ``secrets``: names whose values the provisioner looks
    up itself. ``task_json``: SkyPilot's own keys of the service file. ``lease``: for how long it goes on when nobody
    is heard of, physical time; ``None`` for ever.
    """

    name: str
    deployment_uid: str
    service: str
    intent_id: str
    offer: Offer
    model: ModelSpec
    labels: tuple[tuple[str, str], ...] = ()
    replica: str = ""
    epoch: int = 0
    max_usd_per_hour: float | None = None
    secrets: tuple[str, ...] = ()
    task_json: str = "{}"
    lease: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """A provider's view of one instance. ``phase`` says whether it exists; whether it *serves* is the probe's business.

    ``api_key_file``: 0600 file with the engine's own key, ``None`` when it has none. ``exit_detail``: the provider's
    words. ``error_code``: for FAILED, the code of the error tree that says why (``no_capacity``...); empty means that
    the engine ended by itself. ``region``, ``intent_id``, ``epoch`` and ``deployment_uid``: what its marks say, where
    they can be read.
    """

    name: str
    service: str
    phase: Phase
    endpoint: str | None
    api_key_file: Path | None = None
    exit_detail: str = ""
    error_code: str = ""
    region: str = ""
    intent_id: str = ""
    epoch: int | None = None
    deployment_uid: str = ""


class Provisioner(Protocol):
    """Starts and ends replicas at one provider."""

    @property
    def providers(self) -> frozenset[str]:
        """The first parts of the region ids it serves (``local``, ``aws``...)."""
        ...

    def abilities(self, region: str) -> frozenset[Ability]:
        """Return what can be asked of it in a region, besides launching and ending. Contacts nobody."""
        ...

    async def preflight(self, model: ModelSpec, offers: Sequence[Offer] = ()) -> None:
        """Check, without starting anything, that the engine, its prerequisites and the credentials are here.

        ``offers``: what is about to be bought. Raises ``EngineMissing``, ``DiskFull``, ``CredentialsMissing``,
        ``UnsupportedByProvider``, ``ProviderUnavailable`` or ``ProviderError``, each saying what to do.
        """
        ...

    async def launch(self, request: LaunchRequest) -> None:
        """Ask for the instance and return early. Idempotent by ``request.name``: when it exists, nothing happens.

        Raises ``NoCapacity`` (``QuotaExceeded``), ``CredentialsMissing``, ``UnsupportedByProvider``, ``PriceMoved``,
        ``EngineMissing``, ``DiskFull`` or ``ProviderError``: the try is over. What a provider finds out later is told
        by :meth:`describe`. Raises ``ProviderUnavailable`` when nobody could be asked: the try is still open.
        """
        ...

    async def describe(self, name: str) -> Instance:
        """Return the instance; phase ``GONE`` when there is none of that name. Raises ``ProviderError`` if unknown."""
        ...

    async def inventory(self, deployment_uid: str) -> Sequence[Instance]:
        """Return everything that carries our deployment's mark, complete or not at all (then ``ProviderError``)."""
        ...

    async def terminate(self, name: str, grace: timedelta) -> None:
        """Ask it to stop, by force after ``grace``; returns early, idempotent, no error when it is already gone."""
        ...

    async def renew(self, name: str, lease: timedelta) -> bool:
        """Begin the replica's lease anew, of that length; whether it has one.

        A lease ends what nobody renews and nobody uses: see ``domain/lease.py``. What has begun to end is not held up.
        Raises ``ProviderUnavailable`` or ``ProviderError`` when the replica could not be reached: nothing is known.
        """
        ...

    def log_path(self, name: str) -> Path | None:
        """Where the engine's own log is on this machine, if it is."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Counters of one engine since its start. Tokens only grow while it lives.

    ``kv_fraction``: how full its KV cache is, 0..1; ``kv_tokens``: how many tokens that holds. ``None`` where it does
    not say.
    """

    running: int
    waiting: int
    prompt_tokens: int
    output_tokens: int
    kv_fraction: float | None = None
    kv_tokens: int | None = None


class EngineProbe(Protocol):
    """Talks to an engine as a client would."""

    async def is_healthy(self, endpoint: str) -> bool:
        """Whether the health route answers 200 now."""
        ...

    async def completes(self, endpoint: str, model: str, api_key_file: Path | None) -> bool:
        """Whether one real completion of one token comes back: the only proof that a replica serves."""
        ...

    async def load(self, endpoint: str, api_key_file: Path | None) -> EngineLoad | None:
        """Return the counters, or ``None`` when they cannot be read."""
        ...


# ── gateway ──────────────────────────────────────────────────────────────────────────────────────────


class Gateway(Protocol):
    """The data plane, seen from its control socket. It serves on without us."""

    async def publish(self, table: RoutingTable) -> None:
        """Return once every gateway replica has applied the table. Raises ``GatewayUnavailable``."""
        ...

    async def status(self) -> GatewayStatus:
        """Return the counters, summed over gateway replicas. Raises ``GatewayUnavailable``."""
        ...


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────


class Records(Protocol):
    """Read access for everybody. Every method is one short transaction; raises ``StoreUnavailable``."""

    def deployment_uid(self) -> str:
        """Return this installation's unique id, made on first use."""
        ...

    def services(self) -> Sequence[ServiceRecord]:
        """Return all services by name, those that are down included."""
        ...

    def service(self, name: str) -> ServiceRecord | None:
        """Return the service with its newest revision."""
        ...

    def pauses(self, *, in_force: bool = True) -> Sequence[Pause]:
        """Return what is paused now, everything first and then by name; else every word about it, oldest first."""
        ...

    def replicas(
        self, service: str | None = None, *, ended: bool = False, ended_since: Instant | None = None
    ) -> Sequence[Replica]:
        """Return replicas by slot and age. Without ``ended``, those that live or are not yet cleaned up.

        With it and ``ended_since``, those too that ended then or later: months of history are not read for a look.
        """
        ...

    def replica(self, name: str) -> Replica | None:
        """Return one replica, however long ago it ended."""
        ...

    def leases(self, service: str | None = None) -> Mapping[str, Instant]:
        """Return when the leases of the replicas end that need attention still, by name: those that have one."""
        ...

    def operations(self, service: str | None = None, *, open_only: bool = True) -> Sequence[Operation]:
        """Return requests, oldest first."""
        ...

    def operation(self, operation_id: str) -> Operation | None:
        """Return one request."""
        ...

    def decisions(
        self, service: str, *, limit: int = 50, kind: DecisionKind | None = None, since: Instant | None = None
    ) -> Sequence[Decision]:
        """Return decisions, newest first; of one kind, or made at that moment or later, where that is asked for."""
        ...

    def decision(self, decision_id: str) -> Decision | None:
        """Return one decision by id."""
        ...

    def placements(self, service: str) -> Sequence[Placement]:
        """Return where replicas stood, oldest first."""
        ...

    def intents(self, service: str | None = None, *, open_only: bool = False) -> Sequence[Intent]:
        """Return intents, oldest first."""
        ...

    def intent(self, intent_id: str) -> Intent | None:
        """Return one intent."""
        ...

    def events(self, service: str | None = None, *, after_id: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return events with a larger id, oldest first."""
        ...

    def last_event(self, service: str) -> Event | None:
        """Return the newest event of a service."""
        ...

    def energy(self, service: str, window: Window | None = None) -> Sequence[EnergySample]:
        """Return energy samples whose window starts inside, oldest first."""
        ...

    def database_time(self) -> Instant | None:
        """Return what the database's own clock says, UTC; ``None`` where it has none but this machine's."""
        ...

    def newest_epoch(self) -> int:
        """Return the number of the newest turn, 0 before the first."""
        ...

    def suspects(self) -> Sequence[Suspect]:
        """Return the instances that the last complete listings and the journal do not agree about, by name."""
        ...

    def restored(self) -> Restored:
        """Return the signs that this database was set back, and up to which turn somebody has accepted that."""
        ...

    def check_journal(self, *, history: bool = True) -> JournalReport:
        """Compare the journal with its chain; without ``history``, only those rows that something is decided by."""
        ...

    def journal_marks(self) -> JournalMarks:
        """Return whether something is known to be wrong with the journal, without looking through it."""
        ...

    def journal_acceptances(self) -> Sequence[Acceptance]:
        """Return who has accepted a journal that was not as it was written, oldest first."""
        ...

    def reap_requests(self, *, open_only: bool = True) -> Sequence[ReapRequest]:
        """Return what people asked to be done about orphans, oldest first."""
        ...

    def reap_request(self, request_id: str) -> ReapRequest | None:
        """Return one of these."""
        ...

    def reaps(self, *, open_only: bool = False, since: Instant | None = None) -> Sequence[Reap]:
        """Return the intents to end orphans, oldest first; those begun at that moment or later where asked for."""
        ...


class Requests(Records, Protocol):
    """What the command line may write: wishes, never facts."""

    def submit_deploy(self, spec: ServiceSpec, operation: Operation) -> int:
        """Store a new revision and the request in one transaction; returns the revision.

        Raises ``Conflict`` when another operation of the service is open.
        """
        ...

    def submit(self, operation: Operation) -> None:
        """Store a request; one to take the service down closes whatever else is open as superseded.

        Raises ``UnknownService``, or ``Conflict`` when another one of the service is open.
        """
        ...

    def set_paused(self, service: str | None, *, paused: bool, now: Instant, actor: str = "", reason: str = "") -> bool:
        """Hold or allow what is voluntary, of one service or of all (``None``); return whether that changed anything.

        Raises ``UnknownService``.
        """
        ...

    def submit_reap(self, request: ReapRequest) -> None:
        """Store somebody's word about orphans; the same id again changes nothing."""
        ...

    def accept_edits(self, digest: str, *, actor: str, reason: str, now: Instant) -> None:
        """Go on from the journal as it was found; ``digest`` names the findings, see ``JournalReport``.

        Raises ``Conflict`` when other things are found by now.
        """
        ...


class Journal(Records, Protocol):
    """What the one acting controller may write.

    Each write checks, in its own transaction, that our epoch is still the newest and raises ``LeaseHeld`` otherwise:
    a controller that was replaced while it slept can change nothing.
    """

    @property
    def epoch(self) -> int:
        """Our turn's number."""
        ...

    def start_replica(
        self,
        replica: Replica,
        intent: Intent,
        placement: Placement,
        *,
        lease_ends_at: Instant | None = None,
        cap: SpendingCap | None = None,
    ) -> None:
        """Commit a PENDING replica with its PLANNED launch intent, before anything is bought. Idempotent by name.

        Raises ``BudgetSpent``, having written nothing, when what it may cost does not fit below the cap.
        """
        ...

    def renew_lease(self, replica: str, ends_at: Instant) -> None:
        """Record until when a replica goes on by itself."""
        ...

    def move_replica(self, name: str, to: ReplicaState, now: Instant, reason: str = "") -> Replica:
        """Change the state along ``NEXT_STATES``; raises ``ValueError`` for any other arrow.

        Ends the placement when the new state is final.
        """
        ...

    def update_replica(
        self,
        name: str,
        *,
        endpoint: str | None = None,
        weight_percent: int | None = None,
        cleaned_up: bool | None = None,
        now: Instant,
    ) -> Replica:
        """Change what is not the state; only what is given."""
        ...

    def add_intent(self, intent: Intent) -> None:
        """Commit a further intent (a termination). Idempotent by id."""
        ...

    def set_intent(self, intent_id: str, state: IntentState, now: Instant, detail: str = "") -> None:
        """Record how far an intent has come."""
        ...

    def set_operation(
        self, operation_id: str, state: OperationState, now: Instant, *, error_code: str = "", error: str = ""
    ) -> None:
        """Record how far a request has come."""
        ...

    def set_service_state(self, service: str, state: ServiceState, now: Instant) -> None:
        """Record that a service is going down, or is down."""
        ...

    def restore_revision(self, service: str, revision: int, now: Instant) -> None:
        """Make an older revision the current one again, after a deploy that failed. Raises ``UnknownService``."""
        ...

    def record_decision(self, decision: Decision, signals: Sequence[Reading]) -> None:
        """Keep a decision and the signals it used. Idempotent by id."""
        ...

    def record_energy(self, samples: Sequence[EnergySample]) -> None:
        """Keep samples; a sample of the same replica and window start is kept once."""
        ...

    def record_event(
        self,
        kind: EventKind,
        text: str,
        *,
        service: str,
        at: Instant,
        wall_at: Instant,
        replica: str = "",
        detail_json: str = "{}",
    ) -> None:
        """Append one line of history."""
        ...

    def next_routing_version(self) -> int:
        """Return a number larger than any before, over restarts."""
        ...

    def set_suspects(self, source: str, suspects: Sequence[Suspect]) -> None:
        """Keep these as the suspects of one source, in the place of those before."""
        ...

    def set_restored(self, *, seen_epoch: int = 0, accepted_epoch: int = 0) -> None:
        """Keep a sign that the database was set back, or that it is accepted. Neither number ever falls."""
        ...

    def close_reap_request(
        self, request_id: str, state: OperationState, now: Instant, *, outcome_json: str, reaps: Sequence[Reap] = ()
    ) -> None:
        """Close a request and commit what follows from it, in one transaction: no answer without its intents.

        A request that is closed already is left as it is, and then nothing is committed.
        """
        ...

    def set_reap_request(self, request_id: str, state: OperationState, now: Instant) -> None:
        """Record that an open request has been looked at."""
        ...

    def set_reap(self, reap_id: str, state: IntentState, now: Instant, detail: str = "") -> None:
        """Record how far the end of an orphan has come. An empty detail keeps the one before."""
        ...

    def notice_edits(self, digest: str) -> None:
        """Put on record that a check of the journal found something; once for the same findings."""
        ...


class Store(Requests, Protocol):
    """The whole memory, as the composition root sees it."""

    def claim(self, holder: str, now: Instant) -> Journal:
        """Take the controller's turn: the epoch grows by one and older journals can write no more."""
        ...


__all__ = [
    "Ability",
    "CarbonSource",
    "Clock",
    "EngineLoad",
    "EngineProbe",
    "Gateway",
    "Instance",
    "Journal",
    "LaunchRequest",
    "OfferSource",
    "OperationKind",
    "Phase",
    "Provisioner",
    "Records",
    "Requests",
    "Store",
]
