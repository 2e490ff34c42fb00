"""A provider in the twin: machines that take a while to start, stock that runs out, spot that is taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from orchestrator.control.ports import Ability, Instance, LaunchRequest, Phase
from orchestrator.domain.offer import Offer
from orchestrator.domain.service import ModelSpec
from orchestrator.domain.time import Instant
from orchestrator.errors import NoCapacity
from orchestrator.sim.stock import Stock


@dataclass
class Machine:
    """One instance. Times are seconds of the simulation."""

    request: LaunchRequest
    born: float
    running_at: float


class SimulatedCloud:
    """The ``Provisioner`` port over the recorded stock. All providers of a scenario are one cloud here."""

    def __init__(
        self,
        now: Callable[[], Instant],
        seconds: Callable[[], float],
        providers: frozenset[str],
        stock: Stock,
        cold_start: timedelta,
    ) -> None:
        self._now = now
        self._seconds = seconds
        self._providers = providers
        self._stock = stock
        self._cold_start = cold_start.total_seconds()
        self.machines: dict[str, Machine] = {}
        self.taken_away = 0
        self.refused = 0

    @property
    def providers(self) -> frozenset[str]:
        """Everybody whose offers the scenario has."""
        return self._providers

    def abilities(self, region: str) -> frozenset[Ability]:  # noqa: ARG002  # the port's signature
        """Return all but leases, as nobody dies here: what is sold is in the offers."""
        return frozenset(Ability) - {Ability.LEASE}

    async def preflight(self, model: ModelSpec, offers: Sequence[Offer] = ()) -> None:  # as above
        """Succeed: there is nothing to be missing."""

    async def launch(self, request: LaunchRequest) -> None:
        """Start a machine. Raises ``NoCapacity`` when the offer is sold out now."""
        if request.name in self.machines:
            return
        room = self._stock.room(request.offer.id, self._now())
        if room is not None and self._running(request.offer.id) >= room:
            self.refused += 1
            raise NoCapacity(f"{request.offer.id} is sold out")
        born = self._seconds()
        self.machines[request.name] = Machine(request, born, born + self._cold_start)

    async def describe(self, name: str) -> Instance:
        """Say what is there."""
        machine = self.machines.get(name)
        if machine is None:
            return Instance(name, "", Phase.GONE, None)
        return self._instance(machine)

    async def inventory(self, deployment_uid: str) -> Sequence[Instance]:
        """List everything, by name."""
        found = (m for _, m in sorted(self.machines.items()))
        return [self._instance(m) for m in found if m.request.deployment_uid == deployment_uid]

    async def terminate(self, name: str, grace: timedelta) -> None:  # noqa: ARG002  # as above: it stops at once
        """End it."""
        self.machines.pop(name, None)

    async def renew(self, name: str, lease: timedelta) -> bool:  # noqa: ARG002  # as above
        """Say that there is no lease: the twin's controller never dies."""
        return False

    def log_path(self, name: str) -> Path | None:  # noqa: ARG002  # as above
        """Machines that do not exist write no logs."""
        return None

    def runs(self, name: str) -> bool:
        """Whether the machine is there and its engine is up."""
        machine = self.machines.get(name)
        return machine is not None and self._seconds() >= machine.running_at

    def reclaim(self) -> None:
        """Take away what the stock has no longer; the newest go first."""
        by_offer: dict[str, list[Machine]] = {}
        for machine in self.machines.values():
            by_offer.setdefault(machine.request.offer.id, []).append(machine)
        for offer_id, machines in sorted(by_offer.items()):
            room = self._stock.room(offer_id, self._now())
            if room is None:
                continue
            machines.sort(key=lambda m: (m.born, m.request.name))
            for machine in machines[room:]:
                del self.machines[machine.request.name]
                self.taken_away += 1

    def _running(self, offer_id: str) -> int:
        return sum(m.request.offer.id == offer_id for m in self.machines.values())

    def _instance(self, machine: Machine) -> Instance:
        request = machine.request
        return Instance(
            request.name,
            request.service,
            Phase.RUNNING if self._seconds() >= machine.running_at else Phase.STARTING,
            endpoint_of(request.name),
            region=request.offer.region.id,
            intent_id=request.intent_id,
            epoch=request.epoch,
            deployment_uid=request.deployment_uid,
        )


def endpoint_of(name: str) -> str:
    """Return where the engine of a machine would answer."""
    return f"http://{name}.twin.invalid:8000"
