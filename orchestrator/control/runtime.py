"""The ports that one process works with, chosen by the composition root and passed around as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.control.ports import (
    CarbonSource,
    Clock,
    EngineProbe,
    Gateway,
    OfferSource,
    Provisioner,
    Store,
)
from orchestrator.ledger.sampling import LONGEST_SAMPLE


@dataclass(frozen=True, slots=True)
class Tuning:
    """Bounds of outside work, in physical time.

    ``look_patience``: how long a look at a service waits for a replica that takes long to look at, so that the others
    do not: what it says later is there at a later look. ``None``: as long as it takes, where nothing takes any time.
    ``longest_sample``: into which pieces the ledger is cut; a simulated year is as exact with fewer of them.
    ``orphan_grace``: how long something is suspected before it is told of, and may be reaped. ``orphan_idle``: how long
    it must be known to have served nobody before that.
    ``keep_samples``: how long samples of energy stay as they were written before they become rows of an hour; ``None``
    for ever. ``keep_decisions``: how long decisions that changed nothing stay whole. ``tidy_every``: how often the
    store is asked whether there is something older.
    ``spot_as_bought``: spot is counted at its price at the launch and not at the market's of the moment, as in the
    twin, whose rivals pay so too.
    """

    terminate_grace: timedelta = timedelta(seconds=30)
    health_failures_until_lost: int = 3
    look_patience: timedelta | None = timedelta(seconds=0.5)
    gateway_wait: timedelta = timedelta(seconds=10)
    sample_every: timedelta = timedelta(seconds=10)
    longest_sample: timedelta = LONGEST_SAMPLE
    plan_every: timedelta = timedelta(seconds=5)
    sweep_every: timedelta = timedelta(seconds=60)
    orphan_grace: timedelta = timedelta(minutes=10)
    orphan_idle: timedelta = timedelta(minutes=15)
    keep_samples: timedelta | None = None
    keep_decisions: timedelta | None = None
    tidy_every: timedelta = timedelta(minutes=10)
    spot_as_bought: bool = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything outside, behind ports.

    ``client_keys_sha256``: hex digests of the keys that clients may use. ``gateway_url``: asks where clients find the
    gateway now; empty where there is none.
    """

    clock: Clock
    carbon: CarbonSource
    offers: OfferSource
    provisioners: Mapping[str, Provisioner]
    probe: EngineProbe
    gateway: Gateway
    store: Store
    client_keys_sha256: tuple[str, ...] = ()
    gateway_url: Callable[[], str] = str
    tuning: Tuning = Tuning()


def is_due(clock: Clock, last: float | None, every: float) -> bool:
    """Whether what is done every so many physical seconds is due; ``last``: of ``Clock.monotonic``, if ever."""
    return last is None or clock.monotonic() - last >= every
