"""Going to zero, for any place and any arrivals: never with work, always awake for it, and within twice hindsight."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.service import Objective, Policy, Scaling
from orchestrator.planner.sizing.idle import BreakEven, Idle, Standing, break_even, judge_idle
from orchestrator.planner.wanted import Need, wanted

RULES = Scaling(0, 3, 1.0)
seconds = st.floats(0.0, 1e5, allow_nan=False)
gaps = st.lists(st.floats(1.0, 1e5, allow_nan=False), max_size=20)


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_only_a_judgement_leads_to_zero_and_only_a_request_out_of_it(
    current: int, needs: list[tuple[int, int]], wakes: bool, may_go: bool
) -> None:
    """Whatever the trail says: none without the word that it pays, some as soon as somebody waits."""
    trail = [Need(5.0 * k, min(pair), max(pair), "") for k, pair in enumerate(needs)]
    now = trail[-1].at_seconds if trail else 0.0
    found = wanted(current, trail, RULES, now, -1e6, Idle(wakes=wakes, may_sleep=may_go)).replicas
    if current == 0:
        assert (found > 0) == wakes
    elif not may_go or current > 1:
        assert found >= 1
    assert 0 <= found <= 3


@given(gaps, st.floats(1.0, 5000.0), st.floats(0.0, 900.0))
@settings(max_examples=200)
def test_without_a_past_it_pays_at_most_twice_hindsight_and_the_delay(
    arrivals: list[float], even: float, least: float
) -> None:
    """The bound of the ski-rental rule, per gap; with the delay that the owner asked for on top.

    A start costs ``even`` seconds of idling. Hindsight pays for each gap the smaller of idling it through and a start.
    """
    for gap in arrivals:
        goes = max(even, least)
        assert not judge_idle(min(gap, goes) * 0.999, (), BreakEven(even, "grams"), least).may_sleep
        paid = gap if gap <= goes else goes + even
        assert paid <= 2 * min(gap, even) + max(0.0, least - even) + 1e-6
        assert judge_idle(goes, (), BreakEven(even, "grams"), least).may_sleep


@given(seconds, gaps, st.floats(0.1, 1e4), st.floats(0.0, 900.0), st.floats(0.0, 1e4))
def test_longer_idling_never_speaks_against_going_once_the_bound_is_reached(
    idle: float, past: list[float], even: float, least: float, more: float
) -> None:
    """Beyond the break-even and the delay it may go, whatever the past says."""
    goes = max(even, least) + idle
    assert judge_idle(goes, past, BreakEven(even, "grams"), least).may_sleep
    assert judge_idle(goes + more, past, BreakEven(even, "grams"), least).may_sleep


@given(
    st.floats(1.0, 500.0),
    st.floats(1.0, 5.0),
    st.floats(0.01, 100.0),
    st.floats(1.0, 1200.0),
    st.floats(1.0, 3.0),
    st.sampled_from([Objective.GREENEST, Objective.CHEAPEST, Objective.LOWEST_SCORE]),
)
def test_a_longer_start_never_pays_sooner(
    idle_watts: float, times: float, usd: float, start: float, longer: float, objective: Objective
) -> None:
    """The break-even grows with the start, by any objective, and is never shorter than the drain."""
    policy = Policy(objective=objective)
    one, two = (
        break_even((Standing(idle_watts, idle_watts * times, 1.1, 200.0, usd, s, 10.0),), policy).seconds
        for s in (start, start * longer)
    )
    assert one is not None
    assert two is not None
    assert 10.0 <= one <= two + 1e-9
