"""Traffic before replicas: the split of traffic with the fewest grams, checked against all splits there are."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.split import Split
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.sizing.replica_model import Knowledge, ReplicaModel
from orchestrator.planner.split import LEAST_OF_EVEN, MOST_SHIFTED, Place, best_split, most_part, next_parts

POWER = PowerModel(100.0, 600.0, 8.0, "test", 0.1, "test")
MODEL = ReplicaModel("simple", 0.010, 0.0001, 1e-7, 10_000.0, 100_000, None, Knowledge.FITTED, 0.05, "test")
ROOMY = Capacity(places=64)
LOAD = LoadSeen(60.0, 4.0, 8.0, 2)
TOKENS = LoadSeen(60.0, 4.0, 8.0, 2, prompt_tokens=500.0, output_tokens=200.0)


def place(name: str, grams: float | None, replicas: int = 1, **changes: object) -> Place:
    """Make a place of the usual machine."""
    made = Place(f"aws/{name}:1xL4:on_demand", replicas, POWER, 1.2, grams, ROOMY)
    return replace(made, **changes)  # type: ignore[arg-type]


def parts_of(split: Split) -> dict[str, float]:
    """The part of each region."""
    return {s.offer_id.split(":")[0].removeprefix("aws/"): s.part for s in split.shares}


def test_the_cleaner_place_takes_what_it_can() -> None:
    """Both have room for all of it: the dirty one keeps what shows that it is well, and the saving is said."""
    split = best_split([place("se", 30.0), place("pl", 700.0)], LOAD)
    assert parts_of(split) == {"pl": pytest.approx(0.05), "se": pytest.approx(0.95)}
    assert split.saved_grams_per_hour == pytest.approx(
        (split.even_grams_per_hour or 0.0) - (split.grams_per_hour or 0.0)
    )
    assert "gCO2e/h less than evenly" in split.words


def test_a_place_is_never_filled_beyond_what_keeps_its_queue_short() -> None:
    """Twelve of sixteen places are more than one replica may be busy with: the rest goes elsewhere, dirty or not."""
    tight = [place("se", 30.0, capacity=Capacity(places=16)), place("pl", 700.0, capacity=Capacity(places=16))]
    split = best_split(tight, replace(LOAD, mean_in_flight=12.0))
    clean = next(s for s in split.shares if "se" in s.offer_id)
    assert clean.even < clean.part <= clean.most
    assert clean.busy <= most_part(tight[0], replace(LOAD, mean_in_flight=12.0), 0.5) * 12 / 16 + 1e-9


def test_prompts_are_read_at_full_power() -> None:
    """Emissions of a place count the time in which it reads; where no model tells how long that is, by the batch."""
    reader = place("se", 30.0, capacity=Capacity(places=64, models=(MODEL,)))
    busy = replace(TOKENS, prompt_tokens=1500.0)
    assert reader.reading(busy, 0.5) == pytest.approx(4.0 * 0.5 * 1500.0 / 10_000.0)
    watts = 0.3 * POWER.full_watts + 0.7 * POWER.watts(reader.batch(busy, 0.5))
    assert reader.grams_per_hour(busy, 0.5) == pytest.approx(watts / 1000.0 * 1.2 * 30.0)
    assert place("se", 30.0).reading(busy, 0.5) == 0.0


def test_what_a_fallen_replica_had_fits_into_the_others_of_its_place() -> None:
    """N-1 within a place: at its most, two replicas that become one are just full."""
    pair = place("se", 30.0, 2, capacity=Capacity(places=16))
    load = replace(LOAD, mean_in_flight=30.0)
    most = most_part(pair, load, 0.5)
    one_left = most * 30.0 / 16.0 / 2 / (1 - most / 2)
    assert one_left <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"grams_per_kwh": None}, "carbon intensity"), ({"power": None}, "power"), ({"pue": None}, "power")],
    ids=["intensity", "power", "pue"],
)
def test_what_is_unknown_is_shared_evenly(changes: dict[str, object], word: str) -> None:
    """Unknown is not zero: no place wins because nobody knows what it emits."""
    split = best_split([place("se", 30.0, 2), place("pl", 700.0, **changes)], LOAD)
    assert parts_of(split) == {"pl": pytest.approx(1 / 3), "se": pytest.approx(2 / 3)}
    assert word in split.why_even
    assert split.saved_grams_per_hour in (None, 0.0)


def test_a_load_that_nobody_has_seen_is_shared_evenly() -> None:
    """No load is known after a start: all replicas get the same."""
    split = best_split([place("se", 30.0), place("pl", 700.0)], None)
    assert parts_of(split) == {"pl": 0.5, "se": 0.5}
    assert split.grams_per_hour is None


def test_a_promise_keeps_traffic_from_where_the_clients_wait_too_long() -> None:
    """Round trip, wait and prompt have to fit into the promised time to the first token."""
    promise = Capacity(places=64, models=(MODEL,), ttft_p95_seconds=0.2)
    near = place("pl", 700.0, capacity=promise, rtt_ms=5.0)
    far = place("se", 30.0, capacity=promise, rtt_ms=180.0)
    free = best_split([near, replace(far, rtt_ms=5.0)], TOKENS)
    kept = best_split([near, far], TOKENS)
    assert parts_of(free)["se"] > 0.9
    assert parts_of(kept)["se"] == pytest.approx(LEAST_OF_EVEN / 2)


def test_a_promise_whose_time_is_unknown_lets_nothing_come_on_top() -> None:
    """Without a round trip, or without a model of the wait, no place gets more than evenly."""
    promise = Capacity(places=64, models=(MODEL,), ttft_p95_seconds=0.5)
    for one in (
        [place("se", 30.0, capacity=promise, rtt_ms=None), place("pl", 700.0, capacity=promise)],
        [place(n, g, capacity=Capacity(64, (), 0.5)) for n, g in (("se", 30.0), ("pl", 700.0))],
    ):
        assert parts_of(best_split(one, TOKENS))["se"] <= 0.5


def test_the_model_of_a_replica_says_what_batch_a_rate_makes() -> None:
    """By Little's law at that place's own speed, where tokens are known; else by requests under way."""
    known = place("se", 30.0, capacity=Capacity(64, (MODEL,)))
    assert known.batch(TOKENS, 1.0) == pytest.approx(MODEL.batch_at(4.0, 500.0, 200.0, 64))
    assert known.batch(LOAD, 1.0) == pytest.approx(8.0)


def test_alike_places_do_not_depend_on_the_order_they_are_named_in() -> None:
    """Ties are broken by name, so that the same world gives the same weights."""
    three = [place("a", 100.0), place("b", 100.0), place("c", 100.0)]
    assert best_split(three, LOAD) == best_split(three[::-1], LOAD)


def test_parts_that_cannot_be_even_are_refused() -> None:
    """The even split has to be among those that are tried."""
    with pytest.raises(ValueError, match="evenly"):
        best_split([place("se", 30.0), place("pl", 700.0)], LOAD, parts=7)


class TestSteps:
    PLACES = (place("pl", 700.0), place("se", 30.0))
    EVEN: dict[str, float] = {PLACES[0].offer_id: 0.5, PLACES[1].offer_id: 0.5}  # noqa: RUF012  # read only

    def test_a_shift_is_a_few_steps_long(self) -> None:
        """At most a fifth of the traffic moves at a time, and it comes to rest at the best split."""
        parts, steps = dict(self.EVEN), 0
        while True:
            later, target = next_parts(parts, self.PLACES, LOAD)
            moved = sum(abs(later[i] - parts[i]) for i in parts) / 2
            assert moved <= MOST_SHIFTED + 1e-12
            assert sum(later.values()) == pytest.approx(1.0)
            if later == parts:
                break
            parts, steps = later, steps + 1
        assert steps == 3
        assert parts == {s.offer_id: s.part for s in target.shares}

    def test_little_is_not_worth_unrest(self) -> None:
        """Two grids that differ by a percent keep the split that is in force, whatever that is."""
        nearly = (place("pl", 100.0), place("se", 99.0))
        parts, target = next_parts(self.EVEN, nearly, replace(LOAD, mean_in_flight=0.2))
        assert parts == self.EVEN
        assert target.saved_grams_per_hour is not None

    def test_a_place_that_is_too_full_is_relieved_at_once(self) -> None:
        """The load has grown: what is above its ceiling goes in one step, however much that is."""
        small = tuple(replace(p, capacity=Capacity(places=8)) for p in self.PLACES)
        parts, target = next_parts({small[0].offer_id: 0.05, small[1].offer_id: 0.95}, small, LOAD)
        assert parts == {s.offer_id: s.part for s in target.shares}
        assert parts[small[1].offer_id] < 0.95 - MOST_SHIFTED

    def test_when_a_signal_goes_dark_it_goes_back_to_even_by_steps(self) -> None:
        """Unknown means even, and unrest is as little wanted then as at any time."""
        dark = (self.PLACES[0], replace(self.PLACES[1], grams_per_kwh=None))
        parts, _ = next_parts({dark[0].offer_id: 0.05, dark[1].offer_id: 0.95}, dark, LOAD)
        assert parts[dark[1].offer_id] == pytest.approx(0.75)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Place], LoadSeen]:
    """Two or three places of one or two replicas with any power curve, and any load."""
    count = draw(st.integers(2, 3))
    places = []
    for n in range(count):
        idle = draw(st.floats(0, 300))
        power = PowerModel(idle, idle + draw(st.floats(0, 500)), draw(st.floats(0.5, 40)), "t", 0.1, "t")
        capacity = Capacity(draw(st.integers(2, 64)), (MODEL,) if draw(st.booleans()) else ())
        made = place(f"z{n}", draw(st.floats(0, 900)), draw(st.integers(1, 2)), power=power, capacity=capacity)
        places.append(made)
    load = LoadSeen(
        60.0,
        draw(st.floats(0, 30)),
        draw(st.floats(0, 90)),
        2,
        prompt_tokens=300.0,
        output_tokens=draw(st.floats(1, 300)),
    )
    return places, load


@given(worlds())
@settings(max_examples=60)
def test_no_split_on_the_lattice_that_keeps_the_ceilings_emits_less(world: tuple[list[Place], LoadSeen]) -> None:
    """Against all splits into whole parts, counted by hand: exact, within its ceilings, and never worse than even."""
    places, load = world
    number = sum(p.replicas for p in places)
    whole = number * 6
    split = best_split(places, load, parts=whole)
    assert sum(s.part for s in split.shares) == pytest.approx(1.0)
    lows = [max(1, round(LEAST_OF_EVEN * 6 * p.replicas)) for p in places]
    highs = [
        max(low, int(min(1.0, most_part(p, load, p.replicas / number)) * whole + 1e-9))
        for low, p in zip(lows, places, strict=True)
    ]
    if sum(highs) < whole:
        highs = [max(high, 6 * p.replicas) for high, p in zip(highs, places, strict=True)]
    tried = [
        sum(p.grams_per_hour(load, k / whole) or 0.0 for p, k in zip(places, ks, strict=True))
        for ks in product(*(range(low, high + 1) for low, high in zip(lows, highs, strict=True)))
        if sum(ks) == whole
    ]
    assert split.grams_per_hour == pytest.approx(min(tried))
    for share, high in zip(split.shares, highs, strict=True):
        assert share.part * whole <= high + 1e-6
