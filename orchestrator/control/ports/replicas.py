"""Providers, which start and end replicas, and the engines that they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.domain.offer import Offer
from orchestrator.domain.service import ModelSpec


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
    they can be read. ``runs_in``: the region id in which its provider says that it runs, whatever was asked for; empty
    where it does not say. ``has_machine``: ``False`` only where its provider says that there is none: it is searched
    for still, or queued, or gone; whatever draws power, or may, has one.
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
    runs_in: str = ""
    has_machine: bool = True


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
