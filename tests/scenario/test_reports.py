"""Reports that stay honest: whatever a service did, however long ago, its rivals are judged by the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from orchestrator.control.reporting import service_report
from orchestrator.control.runtime import Tuning
from orchestrator.domain.carbon import Basis, Factors, Kind
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.domain.service import ModelSpec, PlacementRules
from orchestrator.domain.time import HOUR, Instant, Window
from orchestrator.errors import UsageError
from orchestrator.ledger.report import Report, Rival
from orchestrator.prices.quotes import Quote, QuotedOffers, Wanted
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.fake import FakeCarbon
from tests.builders import NOON, offer
from tests.scenario.test_migration import BY_HAND
from tests.scenario.world import Traffic, World, chat

EVERY = 2.0
ALIKE = {"se": (100.0, 1.0), "fr": (100.0, 1.0)}
"""Two places between which no move gains anything."""

AT_HOME = PlacementRules(home="sky/se")


async def made(world: World, period: Window | None = None) -> Report:
    """Make the report of the service."""
    return await service_report(world.runtime, "chat", period)


def rivals(found: Report) -> dict[str, Rival]:
    """By name."""
    return {r.name: r for r in found.rivals}


# ── moves ────────────────────────────────────────────────────────────────────────────────────────────


async def served(moves: int) -> World:
    """Serve for as long with as many moves, each with a cold start of four minutes, and the same few requests."""
    world = World(places=ALIKE)
    world.cloud.start_seconds = 240.0
    await world.up(chat(migration=BY_HAND, placement=AT_HOME))
    world.traffic["chat"] = Traffic(0.1, 3.0)
    for number in range(4):
        end = world.clock.elapsed + 720
        if number < moves:
            await world.migrate("fr" if world.regions() == ["se"] else "se")
        while world.clock.elapsed < end:
            await world.run(EVERY, every=EVERY)
    return world


async def test_what_moves_took_is_charged_to_nobody_else() -> None:
    """Each rival emits and pays what a service that stays does; what ran twice is said, and is a loss."""
    moved, stayed = await made(await served(4)), await made(await served(0))

    assert stayed.moves is None
    assert moved.moves is not None
    assert moved.moves.count == 4
    assert moved.grams is not None
    assert stayed.grams is not None
    assert moved.grams > 1.2 * stayed.grams
    for rival in moved.rivals:
        assert rival.grams == pytest.approx(stayed.grams, rel=0.02), rival.name
        assert rival.usd == pytest.approx(stayed.usd, rel=0.02), rival.name
        assert rival.grams == pytest.approx(moved.grams - (moved.moves.grams or 0.0)), rival.name
    for rival in stayed.rivals:
        assert rival.grams == pytest.approx(stayed.grams), rival.name


async def test_what_anybody_would_have_to_start_is_on_both_sides() -> None:
    """A first launch, one more, one in place of what was lost, and another model: no rival is spared those."""
    world = World(places=ALIKE)
    world.cloud.start_seconds = 240.0
    await world.up(chat(migration=BY_HAND, placement=AT_HOME))
    world.preempt(world.the_replica().name)
    await world.settle(1200)
    await world.deploy(chat(2, migration=BY_HAND, placement=AT_HOME))
    await world.settle(1200)
    await world.deploy(chat(2, migration=BY_HAND, placement=AT_HOME, model=ModelSpec("org/other", served_name="chat")))
    await world.settle(1200)
    assert len(world.all_replicas()) == 5
    assert sum(r.replaces is not None for r in world.all_replicas()) == 2
    found = await made(world)

    assert found.moves is None
    assert rivals(found)["home"].grams == pytest.approx(found.grams)
    assert rivals(found)["home"].usd == pytest.approx(found.usd)


async def test_a_move_that_came_to_nothing_is_ours_alone() -> None:
    """The replacement started for as long as it may, never served, and was paid for all the while."""
    world = World(places=ALIKE)
    await world.up(chat(migration=BY_HAND, placement=AT_HOME))
    stays = world.the_replica().name
    world.cloud.start_seconds = 10_000.0
    await world.migrate("fr" if world.regions() == ["se"] else "se")
    await world.run(700, every=EVERY)
    assert world.the_replica().name == stays
    found = await made(world)
    failed = sum(s.grams or 0.0 for s in world.store.energy("chat") if s.replica != stays)

    assert failed > 0
    assert found.moves is not None
    assert found.moves.grams == pytest.approx(failed)
    assert rivals(found)["home"].grams == pytest.approx((found.grams or 0.0) - failed)


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_source_that_has_forgotten_leaves_the_ledger_as_it_was() -> None:
    """The archive of a live source is lost: a profile of the zone takes the place of nothing that was measured.

    Who else stands in that zone is counted by the same numbers; of others the likeness is all there is, and it is said.
    """
    world = World(places={"de": (100.0, 1.0), "fr": (10.0, 2.0)}, rate=60.0)
    placement = PlacementRules(home="sky/de", deny=("sky/fr",))
    await world.up(chat(migration=BY_HAND, placement=placement))
    await world.run(600, every=EVERY)
    await world.deploy(chat(migration=BY_HAND, placement=replace(placement, deny=())))
    await world.settle()
    before = await made(world)
    profile = FakeCarbon("profile", kind=Kind.SYNTHETIC)
    profile.hold("DE", 400.0)
    profile.hold("FR", 50.0)
    carbon = CompositeCarbon([FakeCarbon("live"), profile])
    after = await service_report(replace(world.runtime, carbon=carbon), "chat", None)

    assert (after.grams, after.known_joules) == (before.grams, before.known_joules)
    assert after.intensity_kind is Kind.MEASURED
    home, oracle = rivals(after)["home"], rivals(after)["oracle"]
    assert (home.grams, home.intensity_kind) == (rivals(before)["home"].grams, Kind.MEASURED)
    assert rivals(before)["oracle"].intensity_kind is Kind.MEASURED
    assert oracle.intensity_kind is Kind.SYNTHETIC


DIRECT = Basis(factors=Factors.DIRECT)


async def changed_basis() -> tuple[World, Instant]:
    """Serve eight hours by life-cycle factors and some more by direct ones; return when that changed."""
    world = World(places={"fr": (50.0, 1.0)}, rate=60.0)
    world.carbon.hold("FR", 5.0, basis=DIRECT)
    spec = chat(migration=BY_HAND)
    await world.up(spec)
    await world.run(480, every=EVERY)
    changed = world.now
    await world.deploy(replace(spec, carbon=replace(spec.carbon, basis=DIRECT)))
    await world.settle()
    await world.run(240, every=EVERY)
    return world, changed


async def test_another_basis_changes_no_month_before_it() -> None:
    """What was counted by life-cycle factors stays so, its rivals too, and the report says what it counts."""
    world, changed = await changed_basis()
    first, second = Window(NOON, changed), Window(changed, world.now)
    old, new = await made(world, first), await made(world, second)

    assert (old.basis, new.basis) == (Basis(), DIRECT)
    assert old.grams == pytest.approx(old.kwh * 50.0)
    assert new.grams == pytest.approx(new.kwh * 5.0, rel=0.05)
    assert rivals(old)["home"].grams == pytest.approx(old.grams)
    assert rivals(new)["home"].grams == pytest.approx(new.grams, rel=0.05)


async def test_grams_of_two_bases_are_no_sum() -> None:
    """A period of both is refused and says where to cut it; without a period it begins at the change."""
    world, changed = await changed_basis()
    with pytest.raises(UsageError, match=r"carbon\.basis was changed .*average direct on 2") as refused:
        await made(world, Window(NOON, world.now))
    assert f"--to {changed.isoformat().replace('+00:00', 'Z')}" in refused.value.hint()
    found = await made(world)

    assert (found.basis, found.basis_before, found.period.start) == (DIRECT, Basis(), changed)
    assert found.joules == pytest.approx((await made(world, Window(changed, found.period.end))).joules)


async def test_a_basis_that_was_taken_back_counted_for_as_long() -> None:
    """A deploy that fails is in force until the revision before it is wanted again."""
    world = World(places={"fr": (50.0, 1.0)}, rate=60.0)
    world.carbon.hold("FR", 5.0, basis=DIRECT)
    spec = chat(migration=BY_HAND)
    await world.up(spec)
    await world.run(240, every=EVERY)
    changed = world.now
    world.cloud.start_seconds = 10_000.0
    other = replace(spec, model=ModelSpec("org/other", served_name="chat"))
    await world.deploy(replace(other, carbon=replace(spec.carbon, basis=DIRECT)))
    await world.run(600, every=EVERY)
    (record,) = world.store.services()
    assert record.spec.carbon.basis == Basis()
    back = max(o.updated_at for o in world.store.operations("chat", open_only=False))
    assert back < world.now - HOUR

    assert (await made(world, Window(NOON, changed))).basis == Basis()
    assert (await made(world, Window(changed + HOUR, back))).basis == DIRECT
    last = await made(world)
    assert (last.basis, last.basis_before, last.period.start) == (Basis(), DIRECT, back)


# ── prices ───────────────────────────────────────────────────────────────────────────────────────────


async def test_spot_is_counted_at_the_price_of_the_moment() -> None:
    """Bought at a dollar, then at three: two hours of it cost six, and as much to a rival on the very machine."""
    world = World(places={})
    spot = offer("sky/se", usd=1.0, market=Market.SPOT)
    world.offers.put(spot)
    world.carbon.hold("SE", 20.0)
    spec = chat(migration=BY_HAND)
    await world.up(replace(spec, resources=replace(spec.resources, use_spot=True)))
    await world.run(120, every=EVERY)
    assert spot.price is not None
    world.offers.put(replace(spot, price=replace(spot.price, usd_per_hour=3.0)))
    since = world.now
    await world.run(7200, every=5.0)
    dearer = await made(world, Window(since, world.now))
    world.offers.put(replace(spot, price=replace(spot.price, usd_per_hour=0.5)))
    found = await made(world)

    assert dearer.usd == pytest.approx(6.0, rel=0.02)
    assert rivals(found)["home"].usd == pytest.approx(found.usd)


async def test_spot_as_bought() -> None:
    """As the twin counts it, for its rivals pay what a place cost when they came."""
    world = World(places={}, tuning=Tuning(spot_as_bought=True))
    spot = offer("sky/se", usd=1.0, market=Market.SPOT)
    world.offers.put(spot)
    world.carbon.hold("SE", 20.0)
    spec = chat(migration=BY_HAND)
    await world.up(replace(spec, resources=replace(spec.resources, use_spot=True)))
    assert spot.price is not None
    world.offers.put(replace(spot, price=replace(spot.price, usd_per_hour=3.0)))
    await world.run(600, every=5.0)
    found = await made(world)

    assert found.usd == pytest.approx(found.engine_seconds / 3600)


async def test_on_demand_costs_what_was_agreed() -> None:
    """Its price list may change as it likes, and no rival on the very machine gets it cheaper."""
    world = World(places={"se": (20.0, 1.0)})
    await world.up(chat(migration=BY_HAND))
    world.offers.put(offer("sky/se", usd=3.0))
    await world.run(3600, every=5.0)
    found = await made(world)

    assert found.usd == pytest.approx(found.engine_seconds / 3600)
    assert rivals(found)["home"].usd == pytest.approx(found.usd)


class Listed:
    """A price source that knows since when each price holds, as a list on the web does."""

    name = "list"
    troubles: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.since: dict[str, Instant] = {}
        self.usd: dict[str, float] = {}

    async def quotes(self, wanted: Wanted, now: Instant) -> Sequence[Quote]:
        """Quote everything; a price that begins later is dated then."""
        return [
            Quote(
                region,
                "",
                machine,
                Market.ON_DEMAND,
                self.usd.get(region, 1.0),
                max(now, self.since.get(region, now)),
                self.name,
                Kind.MEASURED,
            )
            for region, machines in sorted(wanted.machines.items())
            for machine in sorted(machines)
        ]


async def test_what_a_place_costs_today_takes_no_rival_from_a_closed_period() -> None:
    """Its price changed since, or is not believed any more: what it would have emitted is what it was."""
    world = World(places={}, rate=60.0)
    for name, grams in (("se", 20.0), ("de", 400.0)):
        sold: Offer = replace(offer(f"sky/{name}", usd=1.0), instance_type="g6.xlarge")
        world.offers.put(sold)
        world.carbon.hold(name.upper(), grams)
    prices = Listed()
    world.runtime = replace(world.runtime, offers=QuotedOffers(world.offers, [prices]))
    await world.up(chat(migration=BY_HAND, placement=PlacementRules(deny=("sky/se",))))
    await world.deploy(chat(migration=BY_HAND, placement=PlacementRules(home="sky/de")))
    await world.settle()
    await world.run(600, every=EVERY)
    period = Window(NOON, world.now)
    before = await made(world, period)
    assert rivals(before)["B3"].region == "sky/se"

    prices.since["sky/se"] = NOON + 5 * HOUR
    assert (await made(world, period)).rivals == before.rivals

    del prices.since["sky/se"]
    prices.usd["sky/se"] = 500.0
    doubted = rivals(await made(world, period))
    assert [r.grams for r in doubted.values()] == [r.grams for r in before.rivals]
    assert (doubted["B3"].region, doubted["B3"].usd, doubted["oracle"].usd) == ("sky/se", None, None)
