"""Meter: what every running replica drew since the last sample, written to the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.control.grid import GridReader, reading_in
from orchestrator.control.observe import Watch
from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime
from orchestrator.domain.carbon import CarbonIntensity, CarbonSeries
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.offer import Offer
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import PAID, Replica, ReplicaState
from orchestrator.domain.routing import GatewayStatus
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.ledger.sampling import IntensityIn, Load, counted_until, samples_for

AWAY_AFTER_SECONDS = 120.0
"""A longer stretch without a sample means that nobody was looking, and is noted with the sample."""


@dataclass(slots=True)
class Counted:
    """How far the ledger of one replica has come: read from the store once, then kept up to date."""

    until: Instant
    prompt_tokens: int = 0
    output_tokens: int = 0
    mean_batch: float = 0.0

    def add(self, samples: Sequence[EnergySample]) -> None:
        """Take in what was written."""
        self.until = counted_until(samples, self.until)
        self.prompt_tokens += sum(s.prompt_tokens for s in samples)
        self.output_tokens += sum(s.output_tokens for s in samples)
        if samples:
            self.mean_batch = samples[-1].mean_batch


class Meter:
    """Remembers the gateway's counters and how far the ledger has come; both are learnt again after a restart."""

    def __init__(self, runtime: Runtime, journal: Journal, grid: GridReader) -> None:
        self._runtime = runtime
        self._journal = journal
        self._grid = grid
        self._seconds: dict[str, tuple[str, float]] = {}
        self._counted: dict[str, Counted] = {}

    async def sample(
        self,
        service: ServiceRecord,
        replicas: Sequence[Replica],
        offers: Mapping[str, Offer],
        status: GatewayStatus | None,
        watch: Watch,
    ) -> None:
        """Write one stretch per paid replica, up to now."""
        now = self._runtime.clock.now()
        for replica in replicas:
            offer = offers.get(replica.offer_id)
            if replica.state not in PAID or offer is None or offer.shape.power is None or offer.region.pue is None:
                continue
            counted = self._counted.get(replica.name) or self._read(service, replica, now)
            window = Window(min(now, counted.until), now)
            if window.length.total_seconds() <= 0:
                continue
            load = self._load(replica, counted, window, status, watch)
            series = await self._series(service, replica, window, now)
            own = samples_for(
                replica,
                window,
                load,
                offer.shape.power,
                offer.region.pue,
                _lookup(series),
                self._runtime.clock.rate,
            )
            self._journal.record_energy(own)
            counted.add(own)
            self._counted[replica.name] = counted

    def _read(self, service: ServiceRecord, replica: Replica, now: Instant) -> Counted:
        counted = Counted(replica.created_at)
        before = self._journal.energy(service.name, Window(replica.created_at, now))
        counted.add([s for s in before if s.replica == replica.name])
        return counted

    async def _series(self, service: ServiceRecord, replica: Replica, window: Window, now: Instant) -> CarbonSeries:
        if replica.zone is None:
            return CarbonSeries("?", ())
        start = window.start - service.spec.carbon.max_age - HOUR
        return await self._grid.intensities(replica.zone, service.spec.carbon.basis, Window(start, now), now)

    def _load(
        self, replica: Replica, counted: Counted, window: Window, status: GatewayStatus | None, watch: Watch
    ) -> Load:
        """Mean batch from the gateway's request-seconds, tokens from the engine's own counters."""
        physical = window.length.total_seconds() / self._runtime.clock.rate
        note = "nobody looked in between" if physical > AWAY_AFTER_SECONDS else ""
        engine = watch.loads.get(replica.name)
        prompt = 0 if engine is None else max(0, engine.prompt_tokens - counted.prompt_tokens)
        output = 0 if engine is None else max(0, engine.output_tokens - counted.output_tokens)
        batch = self._mean_batch(replica, status, physical)
        if batch is None:
            starting = replica.state is not ReplicaState.READY
            batch = 0.0 if starting else counted.mean_batch
        return Load(batch, prompt, output, note)

    def _mean_batch(self, replica: Replica, status: GatewayStatus | None, physical: float) -> float | None:
        if status is None:
            return None
        seconds = status.upstream(replica.name).request_seconds
        boot, before = self._seconds.get(replica.name, ("", 0.0))
        self._seconds[replica.name] = (status.boot_id, seconds)
        if boot != status.boot_id or physical <= 0:
            return None
        return max(0.0, seconds - before) / physical


def _lookup(series: CarbonSeries) -> IntensityIn:
    return lambda _zone, piece: _known_or_latest(series, piece)


def _known_or_latest(series: CarbonSeries, piece: Window) -> CarbonIntensity | None:
    """The value of that hour, or the newest earlier one: provisional until the report settles it."""
    return reading_in(series, piece) or next(
        (p for p in reversed(series.points) if p.interval.end <= piece.start), None
    )
