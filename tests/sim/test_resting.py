"""When a simulated world looks: seldom while all is well, and soon where it is not."""

from itertools import pairwise

from orchestrator.bench.sim.faults import Fault, Setting, setting_of
from orchestrator.bench.sim.run import run


def test_a_table_whose_answer_was_lost_is_published_again_at_the_next_look() -> None:
    """The gateway has it, and we do not know: until it has said so nobody rests."""
    lost = Fault(0, 5000.0, "gateway_answer_lost", 0.0, 0.5)

    outcome = run(Setting(1, (lost,), hours=2.2, replicas=1, rest_hours=0.1))

    told = [line.split() for line in outcome.history]
    tried = [float(words[0]) for words in told if words[2:3] == ["next_routing_version"] and float(words[0]) >= 5000.0]
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert tried[1] - tried[0] <= outcome.setting.look_seconds + 0.01


def test_at_rest_a_day_is_a_few_looks() -> None:
    """Grids change by the hour, loads by the half hour, and leases are renewed every ten minutes: no more is needed."""
    outcome = run(Setting(1, hours=24.0, replicas=1))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert outcome.looks < 10 * outcome.hours


def test_who_does_not_answer_keeps_the_controller_awake() -> None:
    """A frozen engine is lost after three looks in a row: none of them is left out, and its replacement comes soon."""
    frozen = Fault(0, 4000.0, "freeze", 900.0, 0.5)

    outcome = run(Setting(1, (frozen,), hours=1.5, replicas=1, rest_hours=0.1))

    lost = [float(line.split()[0]) for line in outcome.history if "move_replica" in line and "lost" in line]
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert lost
    assert lost[0] < 4000.0 + 120.0


def test_a_look_in_vain_is_repeated_soon() -> None:
    """A real controller tries again within seconds: what it has to do does not wait here for a rest to end."""
    down = Fault(0, 5000.0, "db_down", 600.0, 0.5)

    outcome = run(Setting(1, (down,), hours=2.2, replicas=1, rest_hours=0.1))

    failed = [float(line.split()[0]) for line in outcome.history if "a look failed" in line]
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert len(failed) > 2
    assert max(b - a for a, b in pairwise(failed)) <= 30.0


def test_a_move_of_a_day_ago_is_of_another_day() -> None:
    """A look to the millisecond when a move leaves the day: the seventh is then the first of a new one (I10)."""
    outcome = run(setting_of(68).without(frozenset(f.number for f in setting_of(68).faults)))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
