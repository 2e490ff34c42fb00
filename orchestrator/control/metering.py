"""Meter: what every running replica drew since the last sample, written to the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.control.ages import A_STEP
from orchestrator.control.grid import GridReader
from orchestrator.control.observe import Watch
from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime
from orchestrator.domain.carbon import CarbonSeries
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.energy import EnergySample, EnergySoFar
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Offer, variant_in
from orchestrator.domain.price import Market
from orchestrator.domain.records import ServiceRecord
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.errors import GreenctlError
from orchestrator.ledger.sampling import IntensityIn, Load, counted_until, known_or_latest, samples_for
from orchestrator.planner.rollout import Observation
from orchestrator.planner.sizing.share import capacity_on

AWAY_AFTER_SECONDS = 120.0
"""A longer stretch without a sample means that nobody was looking, and is noted with the sample."""

AS_LAST_SAMPLED = "as in its last sample, for its shape is sold no longer"


@dataclass(slots=True)
class Account:
    """How far the ledger of one replica has come: read from the store once, then kept up to date.

    ``until``: in grid time; ``at``: the second of ``Clock.through_sleep`` that this was at. A clock that is set parts
    the two: what is counted goes by the second, which nobody sets, and where it stands by the first (decision 0092).
    ``is_running``: there was a machine at the last look, so the time since then is to be counted.
    """

    until: Instant
    at: float
    is_running: bool
    prompt_tokens: int = 0
    output_tokens: int = 0
    mean_batch: float = 0.0
    last: EnergySample | None = None

    def unwritten(self, now: Instant, at: float, rate: float) -> Window:
        """Return the window of what is not counted yet: as long as that took, up to ``now`` where nothing is there.

        After a clock was set on, a stretch is left out that nobody lived through. Set back, its time is in the ledger
        already: what follows is written behind that, ahead of the clock.
        """
        length = timedelta(seconds=max(0.0, at - self.at)) * rate
        if abs(now - length - self.until) <= A_STEP * rate and self.until <= now:
            return Window(self.until, now)  # neighbours share an edge, or rows of an hour would never be one
        return Window.starting(max(self.until, now - length), length)

    def pass_over(self, now: Instant, at: float) -> None:
        """Count nothing up to now: there was no machine. What is counted already stays before it."""
        self.until, self.at = now if self.last is None else max(self.until, now), at

    def go_on_from(self, so_far: EnergySoFar) -> None:
        """Take in what stands in the store."""
        self.until, self.last, self.mean_batch = so_far.until, so_far.last, so_far.last.mean_batch
        self.prompt_tokens, self.output_tokens = so_far.prompt_tokens, so_far.output_tokens

    def add(self, samples: Sequence[EnergySample], at: float) -> None:
        """Take in what was written at that second."""
        self.until, self.at = counted_until(samples, self.until), at
        self.prompt_tokens += sum(s.prompt_tokens for s in samples)
        self.output_tokens += sum(s.output_tokens for s in samples)
        if samples:
            self.last = samples[-1]
            self.mean_batch = self.last.mean_batch


@dataclass(frozen=True, slots=True)
class Facts:
    """What the energy of a replica is counted by. ``shape``: ``None`` where only its last sample tells of it."""

    power: PowerModel
    pue: float
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The gateway's integral of requests in flight at one replica; ``at``: when, in seconds of ``Clock.monotonic``."""

    boot_id: str
    request_seconds: float
    at: float


class Meter:
    """Remembers the gateway's counters and how far the ledger has come; both are learnt again after a restart."""

    def __init__(
        self, runtime: Runtime, journal: Journal, grid: GridReader, warn_once: Callable[[Replica, str], None]
    ) -> None:
        self._runtime = runtime
        self._warn_once = warn_once
        self._journal = journal
        self._grid = grid
        self._readings: dict[str, Reading] = {}
        self._accounts: dict[str, Account] = {}
        self._doubts: dict[str, Mapping[Instant, float]] = {}

    async def look(
        self,
        service: ServiceRecord,
        replicas: Sequence[Replica],
        seen: Mapping[str, Observation],
        offers: Mapping[str, Offer],
        status: GatewayStatus | None,
        watch: Watch,
        *,
        due: bool,
    ) -> None:
        """Write what was drawn up to now: of every machine when it is ``due``, and of one that has just ended.

        A machine counts from when its provider shows it until nothing of it is left, whatever its record says.
        """
        for replica in replicas:
            account = self._accounts.get(replica.name) or self._read(service, replica)
            self._accounts[replica.name] = account
            look = seen.get(replica.name, Observation(exists=None))
            has_ended = look.exists is False or look.failed or not look.has_machine
            if has_ended and not account.is_running:
                account.pass_over(self._runtime.clock.now(), self._runtime.clock.through_sleep())
                continue
            account.is_running = account.is_running or look.exists is True
            if account.is_running and (due or has_ended):
                await self._write(service, replica, account, offers, status, watch)
            account.is_running = account.is_running and not has_ended

    def forget_all_but(self, names: AbstractSet[str]) -> None:
        """Drop what is remembered of replicas that are gone."""
        for name in self._accounts.keys() - names:
            del self._accounts[name]
        for name in self._readings.keys() - names:
            del self._readings[name]
        for name in self._doubts.keys() - names:
            del self._doubts[name]

    async def _write(
        self,
        service: ServiceRecord,
        replica: Replica,
        account: Account,
        offers: Mapping[str, Offer],
        status: GatewayStatus | None,
        watch: Watch,
    ) -> None:
        now, at = self._runtime.clock.now(), self._runtime.clock.through_sleep()
        window = account.unwritten(now, at, self._runtime.clock.rate)
        facts = facts_of(replica, offers, account.last)
        if facts is None and offers and replica.offer_id not in offers:
            text = f"r{replica.slot}: {replica.offer_id} is sold no longer and was never sampled: its energy is unknown"
            self._warn_once(replica, text)
        if facts is None or not window.length:
            return
        load = self._load(service, replica, account, facts.shape, window, status, watch)
        series = await self._series(service, replica, window, now)
        own = samples_for(
            replica if self._runtime.tuning.spot_as_bought else at_market_price(replica, offers),
            window,
            load,
            facts.power,
            facts.pue,
            _lookup(series, service.spec.carbon.max_age),
            self._runtime.clock.rate,
            self._runtime.tuning.longest_sample,
        )
        try:
            self._journal.record_energy(own)
        except GreenctlError:
            # It may be written all the same: what counts is what the store says then.
            del self._accounts[replica.name]
            self._doubts[replica.name] = {account.until: account.at, window.end: at}
            raise
        account.add(own, at)

    def _read(self, service: ServiceRecord, replica: Replica) -> Account:
        so_far = self._journal.energy_so_far(service.name, replica.name)
        account = Account(replica.created_at, 0.0, is_running=_was_there(replica, was_metered=so_far is not None))
        if so_far is not None:
            account.go_on_from(so_far)
        # Of what was before this process only the records tell, and what they date later than now took no time.
        clock = self._runtime.clock
        by_record = max(timedelta(0), clock.now() - account.until) / clock.rate
        account.at = clock.through_sleep() - by_record.total_seconds()
        account.at = self._doubts.pop(replica.name, {}).get(account.until, account.at)
        return account

    async def _series(self, service: ServiceRecord, replica: Replica, window: Window, now: Instant) -> CarbonSeries:
        if replica.zone is None:
            return CarbonSeries("?", ())
        start = window.start - service.spec.carbon.max_age - HOUR
        past = Window(min(start, now), now)  # of what is ahead of the clock nobody knows more
        return await self._grid.intensities(replica.zone, service.spec.carbon.basis, past, now)

    def _load(
        self,
        service: ServiceRecord,
        replica: Replica,
        account: Account,
        shape: Shape | None,
        window: Window,
        status: GatewayStatus | None,
        watch: Watch,
    ) -> Load:
        """Mean batch from the gateway's request-seconds, tokens from the engine's own counters.

        A prompt whose beginning is in the engine's cache counts whole there, so what is read is rather overstated.
        """
        physical = window.length.total_seconds() / self._runtime.clock.rate
        note = "nobody looked in between" if physical > AWAY_AFTER_SECONDS else ""
        engine = watch.loads.get(replica.name)
        prompt = 0 if engine is None else max(0, engine.prompt_tokens - account.prompt_tokens)
        output = 0 if engine is None else max(0, engine.output_tokens - account.output_tokens)
        batch = self._mean_batch(replica, status, watch)
        if batch is None:
            batch = 0.0 if replica.ready_at is None else account.mean_batch
        variant = variant_in(replica.offer_id)
        models = () if shape is None else capacity_on(service.spec, [shape], variants=[variant]).models
        return Load(batch, prompt, output, note, models[0].reading(prompt / physical) if models else 0.0)

    def _mean_batch(self, replica: Replica, status: GatewayStatus | None, watch: Watch) -> float | None:
        """Mean requests in flight since the last reading, however long ago; ``None`` without two of one gateway."""
        if status is None:
            return None
        counts = watch.counts_in(status).get(replica.name)
        seconds = 0.0 if counts is None else counts.request_seconds
        new = Reading(status.boot_id, seconds, self._runtime.clock.monotonic())
        old = self._readings.get(replica.name)
        self._readings[replica.name] = new
        if old is None or old.boot_id != new.boot_id or new.at <= old.at:
            return None
        return max(0.0, new.request_seconds - old.request_seconds) / (new.at - old.at)


def facts_of(replica: Replica, offers: Mapping[str, Offer], last: EnergySample | None) -> Facts | None:
    """Return what a replica's energy is counted by: from its offer, or, once that is sold no longer, from what is left.

    That is the same shape and the same region in other offers, and else its last sample: then it goes on drawing what
    it drew. ``None`` where power or PUE is in neither; such energy is unknown, and not zero.
    """
    offer = offers.get(replica.offer_id)
    if offer is not None:
        power, pue = offer.shape.power, offer.region.pue
        return None if power is None or pue is None else Facts(power, pue, offer.shape)
    others = [offers[name] for name in sorted(offers)]
    shape = next((o.shape for o in others if o.shape.name == replica.shape and o.shape.power is not None), None)
    pue = next((o.region.pue for o in others if o.region.id == replica.region and o.region.pue is not None), None)
    if pue is None and last is not None:
        pue = last.pue
    power = None if shape is None else shape.power
    if power is None and last is not None:
        power = PowerModel(last.watts, last.watts, 1.0, AS_LAST_SAMPLED, last.uncertainty_fraction, "ledger")
    return None if power is None or pue is None else Facts(power, pue, shape)


def at_market_price(replica: Replica, offers: Mapping[str, Offer]) -> Replica:
    """Return it at what it costs now: on demand as it was bought, spot at the price of the market while it is known.

    The price of the moment at which a sample is written holds for the whole of it (decision 0083).
    """
    offer = offers.get(replica.offer_id) if replica.market is Market.SPOT else None
    price = None if offer is None else offer.price
    return replica if price is None else replace(replica, usd_per_hour=price.usd_per_hour)


def _was_there(replica: Replica, *, was_metered: bool) -> bool:
    """Whether there was a machine, as far as is recorded: what never had an address may have had none."""
    is_up = replica.state in {ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING}
    return is_up and (was_metered or replica.endpoint is not None)


def _lookup(series: CarbonSeries, max_age: timedelta) -> IntensityIn:
    """The value of each hour, or the newest earlier one while it is fresh: provisional until the report settles it."""
    return lambda _zone, piece: known_or_latest(series, piece, max_age)
