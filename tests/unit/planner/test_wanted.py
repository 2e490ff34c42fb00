"""The number of replicas that load wants: up at once, down slowly, and never down on silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import Scaling
from orchestrator.planner.sizing.capacity import Capacity
from orchestrator.planner.wanted import LONGEST_HOLE_SECONDS, STEP_SECONDS, Need, need, wanted

RULES = Scaling(1, 8, 18.0, upscale_delay=timedelta(0), downscale_delay=timedelta(minutes=5))


def load(per_second: float = 1.0, *, waiting: int | None = 0, **facts: float | None) -> LoadSeen:
    seen = {"mean_in_flight": per_second, "serving": 2, "running": 4, "kv_fraction": None} | facts
    return LoadSeen(30.0, per_second, waiting=waiting, **seen)  # type: ignore[arg-type]


def steady(number: int | None, until: float, since: float = 0.0, every: float = 5.0) -> list[Need]:
    """Looks that all ask for the same."""
    count = int((until - since) / every)
    return [Need(since + k * every, number, number, "steady") for k in range(count + 1)]


def number(current: int, trail: Sequence[Need], now: float, rules: Scaling = RULES, changed_at: float = 0.0) -> int:
    return wanted(current, trail, rules, now, changed_at).replicas


class TestNeed:
    @pytest.mark.parametrize(("rate", "up", "down"), [(41.0, 3, 3), (18.0, 1, 2), (18.1, 2, 2), (0.0, 0, 0)])
    def test_the_target_divides_the_rate(self, rate: float, up: int, down: int) -> None:
        """41 requests/s of 18 each are three replicas; fewer must carry a tenth more."""
        asked = need(0.0, load(rate), RULES, Capacity())
        assert (asked.up, asked.down) == (up, down)

    def test_the_words_are_those_of_the_numbers(self) -> None:
        """What a person reads in the decision."""
        made = wanted(1, [need(0.0, load(41.0), RULES, Capacity())], RULES, 0.0, 0.0)
        assert made.words == "3 replicas: 41 requests/s of 18 each"
        assert [f.name for f in made.figures] == ["load", "target"]

    def test_what_waits_in_engines_keeps_all_replicas(self) -> None:
        """A target that was set too high is no reason to go down while requests queue."""
        assert need(0.0, load(1.0, waiting=3), RULES, Capacity()).down is None

    def test_without_a_target_what_waits_wants_its_own_room(self) -> None:
        """Two full replicas of four, and as many waiting: twice the replicas."""
        asked = need(0.0, load(1.0, waiting=8, running=8, serving=2), Scaling(1, 8), Capacity(4))
        assert asked.up == 4
        assert "8 requests wait" in asked.because

    def test_without_a_target_a_full_cache_wants_more(self) -> None:
        """Beyond four fifths vLLM begins to throw sequences out."""
        assert need(0.0, load(1.0, kv_fraction=0.95), Scaling(1, 8), Capacity(256)).up == 3

    def test_without_a_target_engines_that_do_not_tell_keep_all_replicas(self) -> None:
        """Unknown is not zero."""
        assert need(0.0, load(1.0, waiting=None), Scaling(1, 8), Capacity(256)).down is None


class TestWanted:
    def test_it_goes_up_in_one_step(self) -> None:
        """Four at once, not one after the other."""
        assert number(1, steady(4, 10), 10) == 4

    def test_it_goes_up_only_after_the_upscale_delay(self) -> None:
        """All of that time must ask for more; the least of it counts."""
        rules = _up_after(60)
        assert number(1, steady(4, 55), 55, rules) == 1
        assert number(1, steady(4, 60), 60, rules) == 4
        assert number(1, [*steady(3, 30), *steady(5, 60, since=35)], 60, rules) == 3

    def test_it_goes_down_after_the_delay_and_one_by_one(self) -> None:
        """A quarter at most, one at least, and a minute between two steps."""
        trail = steady(1, 300)
        assert number(4, trail[:-1], 295) == 4
        assert number(4, trail, 300) == 3
        assert number(3, steady(1, 340), 340, changed_at=300) == 3
        assert number(3, steady(1, 360), 360, changed_at=360 - STEP_SECONDS) == 2
        assert number(8, trail, 300) == 6

    def test_the_most_of_the_delay_counts(self) -> None:
        """One moment of need within it keeps the replicas."""
        trail = steady(1, 300)
        trail[30] = Need(trail[30].at_seconds, 4, 4, "a moment")
        assert number(4, trail, 300) == 4

    def test_a_look_that_told_nothing_keeps_them(self) -> None:
        """Neither a gap in the middle nor one at the end is an absence of load."""
        for unknown in (30, -1):
            trail = steady(1, 300)
            trail[unknown] = Need(trail[unknown].at_seconds, None, None, "unknown")
            assert number(4, trail, 300) == 4

    def test_a_hole_in_what_was_watched_keeps_them(self) -> None:
        """Nobody looked for a while: what was needed then is not known."""
        delay = RULES.downscale_delay.total_seconds()
        trail = [n for n in steady(1, 500) if not 100 < n.at_seconds <= 105 + delay]
        assert number(4, trail, 500) == 4
        rules = replace(RULES, downscale_delay=timedelta(seconds=10))
        trail = [n for n in steady(1, 100) if not 60 < n.at_seconds <= 65 + LONGEST_HOLE_SECONDS]
        assert number(4, trail, 100, rules) == 4

    def test_looks_that_are_rare_are_looks_all_the_same(self) -> None:
        """Counters tell the mean since the look before: every five minutes is enough for a delay of five minutes."""
        assert number(4, steady(1, 900, every=300.0), 900) == 3

    def test_an_old_trail_says_nothing(self) -> None:
        """A load that was low an hour ago is not known to be low."""
        made = wanted(4, steady(1, 400), RULES, 4000, 0.0)
        assert (made.replicas, made.needed) == (4, None)
        assert "not seen lately" in made.because

    def test_nothing_seen_is_the_number_in_force(self) -> None:
        """After a restart, until there is something to go by."""
        assert number(5, [], 0) == 5

    @pytest.mark.parametrize(("current", "asked", "expected"), [(1, 99, 8), (20, 3, 8), (0, 0, 1)])
    def test_the_bounds_hold(self, current: int, asked: int, expected: int) -> None:
        """Whatever load asks for, and whatever was in force under another spec."""
        assert number(current, steady(asked, 10), 10) == expected

    def test_a_bound_that_holds_it_back_is_told(self) -> None:
        """Whoever reads it can raise it."""
        assert "99 are needed, and max_replicas is 8" in wanted(8, steady(99, 10), RULES, 10, 0.0).because


def _up_after(seconds: float) -> Scaling:
    return Scaling(1, 8, 18.0, upscale_delay=timedelta(seconds=seconds), downscale_delay=timedelta(minutes=5))
