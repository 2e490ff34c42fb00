"""When the controller says that it rests, a look would do nothing: it may be left out, and is not missed."""

from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.bench.sim.faults import Fault, Setting, setting_of
from orchestrator.bench.sim.run import run
from orchestrator.bench.sim.world import SimWorld

BEATS = frozenset({"renew_lease"})
"""What is done all the same while it rests; samples of energy are not told of."""


@pytest.mark.parametrize(("look_seconds", "seeds"), [(7.0, range(40, 43)), (30.0, range(43, 50))])
def test_looks_that_are_left_out_would_have_done_nothing(
    look_seconds: float, seeds: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad hours, quiet ones and those after a storm: every few seconds of a rest somebody looks all the same."""
    seen: Counter[str] = Counter()
    plan_look = SimWorld._plan_look

    def also_looked(world: SimWorld) -> None:
        until, since, told = claims.get(id(world), (0.0, 0.0, 0))
        rests = world.clock.elapsed < until and world._changed_at() <= since
        if rests:
            done = [line for line in world.history[told:] if line.split()[1].isdigit() and line.split()[2] not in BEATS]
            assert not done, f"seed {world.setting.seed}, resting since {since:.0f} s until {until:.0f} s: {done}"
        seen["resting" if rests else "awake"] += 1
        plan_look(world)
        claims[id(world)] = (world._rests_until(), world.clock.elapsed, len(world.history))

    claims: dict[int, tuple[float, float, int]] = {}
    monkeypatch.setattr(SimWorld, "_plan_look", also_looked)
    for seed in seeds:
        setting = replace(setting_of(seed, hours=3.0), rest_hours=0.5, resting_seconds=look_seconds)
        outcome = run(replace(setting, look_seconds=min(setting.look_seconds, look_seconds)))
        assert outcome.is_good, "\n".join(map(str, outcome.violations))

    assert seen["resting"] > seen["awake"]


def test_a_table_whose_answer_was_lost_is_published_again_at_the_next_look() -> None:
    """The gateway has it, and we do not know: until it has said so nobody rests. Found by looking in each rest."""
    lost = Fault(0, 5000.0, "gateway_answer_lost", 0.0, 0.5)

    outcome = run(Setting(1, (lost,), hours=2.2, replicas=1, rest_hours=0.1))

    told = [line.split() for line in outcome.history]
    tried = [float(words[0]) for words in told if words[2:3] == ["next_routing_version"] and float(words[0]) >= 5000.0]
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert tried[1] - tried[0] <= outcome.setting.look_seconds + 0.01


def test_at_rest_a_day_is_a_few_looks() -> None:
    """Grids change by the hour, loads by the half hour, and leases are renewed: little else is a reason to look."""
    outcome = run(Setting(1, hours=24.0, replicas=1))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert outcome.looks < 7.5 * outcome.hours


def test_who_does_not_answer_keeps_the_controller_awake() -> None:
    """A frozen engine is lost after three looks in a row: none of them is left out, and its replacement comes soon."""
    frozen = Fault(0, 4000.0, "freeze", 900.0, 0.5)

    outcome = run(Setting(1, (frozen,), hours=1.5, replicas=1, rest_hours=0.1))

    lost = [float(line.split()[0]) for line in outcome.history if "move_replica" in line and "lost" in line]
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert lost
    assert lost[0] < 4000.0 + 120.0


def test_a_look_in_vain_is_repeated_soon() -> None:
    """A rest and five minutes after a lost answer: a lease was not renewed for half an hour (I6), only in here."""
    day = setting_of(48)
    outcome = run(day.without(frozenset(f.number for f in day.faults) - {10, 14, 19}))

    failed = [float(line.split()[0]) for line in outcome.history if "a look failed" in line]
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert failed[1] - failed[0] <= 30.0


def test_a_move_of_a_day_ago_is_of_another_day() -> None:
    """Rests end to the millisecond when a move leaves the day: the seventh is then the first of a new one (I10)."""
    outcome = run(setting_of(68).without(frozenset(f.number for f in setting_of(68).faults)))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
