"""What a replica's energy is counted by, once its offer is sold no longer and once the controller is another one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.clocks import VirtualClock
from orchestrator.control.metering import AS_LAST_SAMPLED, Meter, facts_of
from orchestrator.control.observe import Watch
from orchestrator.control.ports import Journal
from orchestrator.domain.energy import EnergySoFar
from orchestrator.store.memory import MemoryStore
from tests.builders import candidate, replica
from tests.store_samples import NOW, SERVICE, a_launch, a_sample, a_spec, an_operation, later

DE = candidate("aws/de", 300.0, usd=1.5)
FR = candidate("aws/fr", 40.0, usd=1.6)
MINE = replica(DE)


def test_its_own_offer_counts_where_there_is_one() -> None:
    """Shape and region of the offer, whatever was sampled before."""
    found = facts_of(MINE, {DE.offer.id: DE.offer, FR.offer.id: FR.offer}, a_sample())

    assert found is not None
    assert (found.power, found.pue, found.shape) == (DE.offer.shape.power, DE.offer.region.pue, DE.offer.shape)


def test_other_offers_tell_of_the_shape_and_the_last_sample_of_the_place() -> None:
    """The same machine is sold elsewhere still, and the PUE of the place is in the ledger."""
    found = facts_of(MINE, {FR.offer.id: FR.offer}, a_sample(pue=1.37))

    assert found is not None
    assert (found.power, found.pue, found.shape) == (FR.offer.shape.power, 1.37, FR.offer.shape)


def test_a_machine_that_nobody_sells_draws_what_it_drew() -> None:
    """As in the last sample, at any load, and said so."""
    found = facts_of(replace(MINE, shape="9xODD"), {FR.offer.id: FR.offer}, a_sample(watts=301.7, pue=1.37))

    assert found is not None
    assert (found.power.watts(0.0), found.power.watts(64.0), found.pue) == (301.7, 301.7, 1.37)
    assert (found.power.method, found.shape) == (AS_LAST_SAMPLED, None)


def test_what_was_never_known_stays_unknown() -> None:
    """No sample and no offer of its place: there is no PUE, so there is no energy. Nor with an offer that has none."""
    blank = replace(DE.offer, region=replace(DE.offer.region, pue=None))

    assert facts_of(MINE, {FR.offer.id: FR.offer}, None) is None
    assert facts_of(MINE, {blank.id: blank}, a_sample()) is None


class Counting:
    """A journal, and how often it was asked how far a replica is counted; nothing else of samples is read."""

    def __init__(self, real: Journal) -> None:
        self._real, self.read = real, 0

    def energy_so_far(self, service: str, replica: str) -> EnergySoFar | None:
        """Read, and count."""
        self.read += 1
        return self._real.energy_so_far(service, replica)

    def __getattr__(self, name: str) -> Any:
        assert name != "energy"
        return getattr(self._real, name)


@pytest.mark.parametrize("count", [4, 8])
async def test_a_restart_goes_through_no_samples(count: int) -> None:
    """However many replicas a service has, and for how long: each goes on from its own sums, asked for once."""
    store, names, minutes = MemoryStore(), [f"chat-{n}" for n in range(count)], 90
    store.submit_deploy(a_spec(), an_operation())
    journal = Counting(store.claim("me", NOW))
    for name in names:
        journal.start_replica(*a_launch(name))
    journal.record_energy([a_sample(name, later(60 * m), output_tokens=m) for m in range(minutes) for name in names])
    clock = VirtualClock(later(60 * minutes))
    meter = Meter(SimpleNamespace(clock=clock), journal, None, lambda *_: None)  # type: ignore[arg-type]  # all it needs
    service = store.service(SERVICE)
    assert service is not None

    for _ in range(3):
        await meter.look(service, store.replicas(SERVICE), {}, {}, None, Watch(), due=True)

    assert journal.read == count
    assert {a.until for a in meter._accounts.values()} == {clock.now()}
    assert {a.output_tokens for a in meter._accounts.values()} == {sum(range(minutes))}
    assert {a.last for a in meter._accounts.values()} == {a_sample(n, later(60 * 89), output_tokens=89) for n in names}


async def test_a_replica_of_the_future_stops_no_look() -> None:
    """The clock was set back, and another controller begins: of what was before it, nothing is known and counted."""
    store = MemoryStore()
    store.submit_deploy(a_spec(), an_operation())
    journal = store.claim("me", NOW)
    journal.start_replica(*a_launch("chat-0"))
    clock = VirtualClock(later(-1200))
    meter = Meter(SimpleNamespace(clock=clock), journal, None, lambda *_: None)  # type: ignore[arg-type]  # all it needs
    service = store.service(SERVICE)
    assert service is not None

    await meter.look(service, store.replicas(SERVICE), {}, {}, None, Watch(), due=True)

    assert store.energy(SERVICE) == []
