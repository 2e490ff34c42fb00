"""Sizing, for any load: monotone, bounded, calm under noise, and never smaller for want of news."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import Scaling
from orchestrator.planner.sizing.capacity import MOST_FOR_TTFT, Capacity
from orchestrator.planner.sizing.packaged import fitted
from orchestrator.planner.sizing.replica_model import ReplicaModel
from orchestrator.planner.sizing.share import needed
from orchestrator.planner.sizing.staffing import replicas_for, usable_fraction
from orchestrator.planner.wanted import Need, need, wanted

EVERY = 5.0
WINDOW = 6
"""Looks that a rate is the mean of: half a minute."""

rates = st.floats(0.0, 500.0, allow_nan=False)
lengths = st.integers(1, 4000).map(float)
models = st.sampled_from(sorted(fitted().values(), key=lambda m: m.name))
targets = st.none() | st.floats(0.1, 50.0)


def seen(rate: float, prompt: float = 200.0, output: float = 150.0) -> LoadSeen:
    """A load whose requests last two seconds, on engines that tell that nothing waits."""
    return LoadSeen(30.0, rate, 2.0 * rate, 1, int(2 * rate), 0, None, prompt, output)


def simulate(needs: list[Need], rules: Scaling, current: int = 1) -> list[int]:
    """Let the number in force follow the needs, as the controller does at every look."""
    numbers, changed_at = [], 0.0
    for count, last in enumerate(needs, start=1):
        new = wanted(current, needs[:count], rules, last.at_seconds, changed_at).replicas
        changed_at = last.at_seconds if new != current else changed_at
        current = new
        numbers.append(new)
    return numbers


@given(models, rates, rates, lengths, lengths, st.integers(1, 512), targets)
def test_more_load_never_needs_fewer_replicas(
    model: ReplicaModel, one: float, other: float, prompt: float, output: float, places: int, target: float | None
) -> None:
    """By target or by model, up and down alike."""
    rules = Scaling(1, 1000, target)
    low, high = (need(0.0, seen(r, prompt, output), rules, Capacity(places, (model,))) for r in sorted((one, other)))
    assert low.up is not None
    assert high.up is not None
    assert low.down is not None
    assert high.down is not None
    assert low.up <= high.up
    assert low.down <= high.down
    assert low.up <= low.down, "what is enough to go down to is at least what is needed"


@given(st.floats(0.0, 10_000.0))
def test_staffing_is_enough_and_not_one_too_many(offered: float) -> None:
    """So many replicas leave the room that they should, and one fewer would not."""
    number = replicas_for(offered)
    assert offered <= usable_fraction(number) * number * (1 + 1e-6) + 1e-6
    if number > 1:
        assert offered >= usable_fraction(number - 1) * (number - 1) * (1 - 1e-6) - 1e-6


@given(
    st.lists(st.none() | st.integers(0, 40), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(0, 10),
    st.integers(0, 40),
    st.integers(0, 120),
    st.integers(0, 300),
)
def test_the_number_stays_within_its_bounds(
    asked: list[int | None], low: int, extra: int, current: int, up: int, down: int
) -> None:
    """Whatever is asked for, whatever is unknown, whatever the delays."""
    rules = Scaling(low, low + extra, 1.0, upscale_delay=timedelta(seconds=up), downscale_delay=timedelta(seconds=down))
    trail = [Need(k * EVERY, n, n, "") for k, n in enumerate(asked)]
    assert all(low <= n <= low + extra for n in simulate(trail, rules, current))


@given(st.lists(st.none() | st.integers(0, 9), min_size=2, max_size=60), st.integers(0, 200))
def test_what_is_not_known_never_scales_down(asked: list[int | None], down: int) -> None:
    """A step down needs every look of the whole delay to have told a smaller number."""
    delay = timedelta(seconds=down)
    rules = Scaling(1, 9, 1.0, downscale_delay=delay)
    trail = [Need(k * EVERY, n, n, "") for k, n in enumerate(asked)]
    numbers = simulate(trail, rules, current=9)
    for k, (before, after) in enumerate(pairwise([9, *numbers])):
        if after < before:
            since = trail[k].at_seconds - down
            stretch = [n.down for n in trail[: k + 1] if n.at_seconds >= since]
            assert trail[0].at_seconds <= since
            assert all(n is not None and n <= after for n in stretch)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=100), st.integers(30, 200))
def test_what_was_added_stays_for_the_delay(asked: list[int], down: int) -> None:
    """Load may do what it likes: from a step up to the next step down there is a whole delay at least."""
    rules = Scaling(1, 30, 1.0, downscale_delay=timedelta(seconds=down))
    trail = [Need(k * EVERY, n, n, "") for k, n in enumerate(asked)]
    added_at = None
    for look, (before, after) in zip(trail, pairwise([1, *simulate(trail, rules)]), strict=True):
        if after > before:
            added_at = look.at_seconds
        if after < before and added_at is not None:
            assert look.at_seconds - added_at >= down


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32), st.floats(1.0, 200.0), st.floats(2.0, 30.0), models, st.booleans())
def test_noise_of_a_fifth_does_not_make_it_flap(
    seed: int, rate: float, target: float, model: ReplicaModel, by_target: bool
) -> None:
    """Half an hour of a load that swings by +-20 % from look to look: once settled, it never turns back."""
    rng, rules = Random(seed), Scaling(1, 500, target if by_target else None)
    raw = [rate * rng.uniform(0.8, 1.2) for _ in range(360)]
    means = [sum(raw[max(0, k - WINDOW + 1) : k + 1]) / (k + 1 - max(0, k - WINDOW + 1)) for k in range(len(raw))]
    needs = [need(k * EVERY, seen(r), rules, Capacity(256, (model,))) for k, r in enumerate(means)]
    numbers = [n for k, n in enumerate(_following(needs, rules)) if k >= 120]
    changes = [(a, b) for a, b in pairwise(numbers) if a != b]
    turns = sum((b > a) != (d > c) for (a, b), (c, d) in pairwise(changes))
    assert turns == 0, f"{changes}"


def _following(needs: list[Need], rules: Scaling) -> list[int]:
    """As ``simulate``, with no more of the past than the controller keeps."""
    keep = int(rules.downscale_delay.total_seconds() / EVERY) + 8
    numbers, current, changed_at = [], 1, 0.0
    for count, last in enumerate(needs, start=1):
        new = wanted(current, needs[max(0, count - keep) : count], rules, last.at_seconds, changed_at).replicas
        changed_at = last.at_seconds if new != current else changed_at
        current = new
        numbers.append(new)
    return numbers


@settings(deadline=None, max_examples=60)
@given(
    models,
    st.floats(0.1, 50.0),
    lengths,
    lengths,
    st.integers(1, 8),
    st.floats(0.01, 5.0),
    st.lists(st.floats(0.0, 6.0), min_size=2, max_size=6),
)
def test_a_longer_way_to_the_clients_never_needs_fewer_replicas(
    model: ReplicaModel, rate: float, prompt: float, output: float, places: int, promise: float, ways: list[float]
) -> None:
    """What the way takes of the promise the queue cannot have; and the row that plans read says the same number."""
    capacity, load = Capacity(places, (model,), promise), seen(rate, prompt, output)
    numbers = [replace(capacity, rtt_seconds=way).replicas_for(load) for way in sorted(ways)]
    assert numbers == sorted(numbers)
    assert numbers[0] >= capacity.replicas_for(load)
    assert numbers[-1] <= MOST_FOR_TTFT * Capacity(places, (model,)).replicas_for(load)
    assert numbers == [needed(capacity, load, way) for way in sorted(ways)]
