"""What the spot hedge keeps to, whatever happens to the zones."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.planner.hedge.hedge import Hedge, Orders
from orchestrator.planner.hedge.rules import HedgeRules, SpotZone

REPLICAS = HedgeRules().replicas
COLD = HedgeRules().ticks(HedgeRules().cold_start)

Trace = list[list[int]]


@st.composite
def rooms(draw: st.DrawFn) -> tuple[list[SpotZone], Trace]:
    """Draw zones and their room, a list per tick: every zone goes up and down in runs of its own."""
    ticks = draw(st.integers(min_value=1, max_value=150))
    zones, columns = [], []
    for number in range(draw(st.integers(min_value=1, max_value=5))):
        grams = draw(st.none() | st.sampled_from([20.0, 300.0, 301.0, 700.0]))
        zones.append(SpotZone(f"z{number}", draw(st.sampled_from("rs")), grams))
        runs = draw(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), min_size=1, max_size=12))
        column = [level for length, level in runs for _ in range(length)]
        columns.append([column[t % len(column)] for t in range(ticks)])
    return zones, [list(row) for row in zip(*columns, strict=True)]


def replay(zones: Sequence[SpotZone], room: Trace) -> tuple[list[Orders], Trace]:
    """Return the orders of every tick and what stood after it."""
    hedge = Hedge(zones)
    orders, stood = [], []
    for tick, limits in enumerate(room):
        orders.append(hedge.decide(tick))
        stood.append([min(w, limit) for w, limit in zip(orders[-1].spot, limits, strict=True)])
        hedge.observe(tick, stood[-1])
    return orders, stood


@given(rooms(), st.data())
def test_the_future_changes_nothing(drawn: tuple[list[SpotZone], Trace], data: st.DataObject) -> None:
    """Traces that are equal up to a tick get equal orders up to that tick, whatever comes after it."""
    zones, room = drawn
    until = data.draw(st.integers(min_value=0, max_value=len(room) - 1))
    other = data.draw(st.lists(st.lists(st.integers(0, 5), min_size=len(zones), max_size=len(zones)), max_size=40))
    first, _ = replay(zones, room)
    second, _ = replay(zones, [*room[:until], *other, *([0] * len(zones) for _ in range(len(room)))])

    # What stands after a tick is seen at the next one, so orders up to and including it are the same.
    assert first[: until + 1] == second[: until + 1]


@given(rooms(), st.randoms(use_true_random=False))
def test_the_order_of_the_zones_changes_nothing(drawn: tuple[list[SpotZone], Trace], random: object) -> None:
    """Zones in another order get the same orders, each its own."""
    zones, room = drawn
    mixed = list(range(len(zones)))
    random.shuffle(mixed)  # type: ignore[attr-defined]
    orders, _ = replay(zones, room)
    others, _ = replay([zones[i] for i in mixed], [[row[i] for i in mixed] for row in room])

    assert [(tuple(o.spot[i] for i in mixed), o.on_demand) for o in orders] == [(o.spot, o.on_demand) for o in others]


@given(rooms())
def test_a_shortage_only_follows_a_loss(drawn: tuple[list[SpotZone], Trace]) -> None:
    """Fewer are ready than wanted only in the first cold start, and within a recovery of a loss: never by own choice.

    A loss is answered at the next tick and what replaces it starts cold, so it is over one tick and a cold start later.
    """
    zones, room = drawn
    orders, stood = replay(zones, room)
    last_loss = -1
    for tick in range(len(room)):
        before = stood[tick - 1] if tick else [0] * len(zones)
        if any(s < min(b, w) for s, b, w in zip(stood[tick], before, orders[tick].spot, strict=True)):
            last_loss = tick
        if tick < COLD or (last_loss >= 0 and tick <= last_loss + COLD):
            continue
        window = range(tick - COLD, tick + 1)
        ready = sum(min(stood[t][z] for t in window) for z in range(len(zones)))
        assert ready + min(orders[t].on_demand for t in window) >= REPLICAS


@given(rooms())
def test_orders_stay_within_reason(drawn: tuple[list[SpotZone], Trace]) -> None:
    """On demand never exceeds the target; what was had is at most what a layout asks for and what it replaces."""
    zones, room = drawn
    orders, stood = replay(zones, room)

    for order, stands in zip(orders, stood, strict=True):
        assert 0 <= order.on_demand <= REPLICAS
        assert all(count >= 0 for count in order.spot)
        assert sum(stands) <= 4 * REPLICAS
        assert order.on_demand + sum(order.spot) >= REPLICAS
