"""Bugs that the simulation has found in our own code, each as the smallest run that showed it."""

from dataclasses import replace

import pytest

from orchestrator.bench.sim.faults import AREAS, TTFT_SECONDS, Fault, Hedge, Limits, Setting, Work
from orchestrator.bench.sim.run import run


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_leaves_for_want_of_load_that_nobody_has_read(seed: int) -> None:
    """A gateway that cannot be asked says nothing about its load.

    Its last counts were gone on with: a replica left six minutes after anybody had read the load (I16).
    """
    outages = tuple(Fault(n, 1800.0 * (n + 2) + 60.0, "gateway_away", 1500.0, 0.0) for n in range(7))

    outcome = run(Setting(seed, outages, hours=5.0, replicas=1, scaled=True, recovery_hours=3.0, rest_hours=0.5))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert outcome.launches > 1


def test_a_turn_that_never_looked_hides_no_loss_of_rows() -> None:
    """A database is set back in the middle of a turn, and the turn after that is killed before its first sweep.

    A launch without an intent counted only if it was of the last finished turn or later: the machines were suspected,
    and work went on on a database that lacked them (I24).
    """
    faults = (
        Fault(25, 62995.68443278088, "db_restored", 0.0, 0.18777617871661967),
        Fault(26, 64940.374152889635, "scale", 0.0, 0.7721722431986245),
        Fault(27, 65634.13635078893, "kill_at_call", 34.03065459189308, 0.7882792743828445),
        Fault(28, 66060.6224613897, "throttled", 1509.401356068069, 0.5144787776121117),
    )

    outcome = run(Setting(400879, faults, hours=24.0, replicas=2, look_seconds=20.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_a_machine_that_nobody_can_judge_is_ended_by_hand() -> None:
    """It never answered, and the database forgot it: the reaper's word is no, for good, and says what to do instead."""
    faults = (
        Fault(29, 70911.62967582211, "db_restored", 0.0, 0.3037431267659877),
        Fault(32, 75976.3370989732, "broken_workload", 0.0, 0.3848233160553155),
    )

    outcome = run(Setting(400466, faults, hours=24.0, replicas=1, spot=True, lag_seconds=120.0, look_seconds=10.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_a_move_that_waits_for_the_end_of_a_pause_is_not_late() -> None:
    """A pause between a move's record and its launch: its replacement is pending until the pause is over (I9)."""
    faults = (
        Fault(9, 31990.84020263875, "machine_fails", 0.0, 0.6096517819290417),
        Fault(14, 39295.573210003495, "move", 0.0, 0.8751538928219476),
        Fault(15, 39335.01170271581, "pause", 7005.620309539824, 0.35285619914545485),
    )

    outcome = run(Setting(1002541, faults, hours=14.0, replicas=2, spot=True, lag_seconds=30.0, look_seconds=30.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_what_a_doubted_listing_shows_is_ended_all_the_same() -> None:
    """Marks of two of three machines were taken off by hand, so that no listing was believed from then on.

    A create that had been given up succeeded later, was shown by each of them, and was nobody's for good (I3).
    """
    faults = (
        Fault(3, 12741.347831805213, "scale", 0.0, 0.8238147893954891),
        Fault(12, 38877.32051131095, "new_workload", 0.0, 0.7071511805999126),
        Fault(17, 49883.734966507494, "mark_removed", 0.0, 0.8566749868645226),
        Fault(21, 54209.39265205356, "mark_removed", 0.0, 0.2420845554772999),
        Fault(32, 80641.51051546575, "create_late", 1315.8721310776332, 0.6972130371644801),
        Fault(35, 86010.93510820963, "broken_workload", 0.0, 0.5208977255323619),
    )
    setting = Setting(1003233, faults, replicas=2, lag_seconds=120.0, look_seconds=30.0, skew_seconds=600.0)

    outcome = run(setting)

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_an_old_turn_that_has_nothing_to_write_keeps_nobody_from_starting() -> None:
    """A controller slept, another one took over and was killed, and the service was down: nothing is left to write.

    The old one never learns that its turn is over, and the simulation's supervisor took it for the one that runs (I17).
    """
    faults = (
        Fault(17, 46921.88856135027, "down_and_up", 15.01724602771763, 0.7005310113278495),
        Fault(29, 78410.3889026739, "sleep_at_call", 5.515297718394926, 0.32082410099649417),
        Fault(33, 82409.78454666065, "kill", 22.95468652156082, 0.02026426672245829),
    )
    changes = {"spot": True, "scaled": True, "look_seconds": 30.0, "drain_seconds": 120.0, "skew_seconds": -3600.0}

    outcome = run(replace(Setting(1004823, faults, replicas=1), **changes))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_a_launch_that_is_carried_out_again_is_known_from_the_turn_on_its_machine() -> None:
    """A database was set back to before a move that was done, and the turn after it could not list its cloud.

    So the move was carried out again, under the same names: its launch failed, and what served by then was taken for
    what is left of it, and ended with requests in flight (I12).
    """
    faults = (
        Fault(0, 3135.8129549125692, "move", 0.0, 0.214712505049237),
        Fault(1, 3164.0854459236975, "db_restored", 0.0, 0.21033392111846894),
        Fault(2, 6739.4289976044265, "away_timeout", 805.2239271627212, 0.3350521492567131),
    )
    setting = Setting(
        5000010, faults, replicas=2, spot=True, lag_seconds=120.0, look_seconds=30.0, skew_seconds=-3600.0
    )

    outcome = run(setting)

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_work_that_is_deployed_after_its_deadline_is_not_half_done_by_what_was_taken_down() -> None:
    """Deployed anew each time, after its deadline: what served since then was taken for this work, and it never ran.

    So is any other work that is deployed under the name of one whose deadline is over (I26).
    """
    again = tuple(Fault(n, at, "down_and_up", 0.0, 0.0) for n, at in enumerate((25000.0, 40000.0)))

    outcome = run(Setting(1, again, hours=15.0, work=Work(1.5, 6.0), rest_hours=0.5))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_clients_of_an_area_are_sent_to_nobody_who_takes_nothing_yet() -> None:
    """Who serves an area fails, and its replacement has just answered: until its first canary step it has no weight.

    The row of that area was nobody's for a look, and a gateway then sends to all alike, also where none is near (I27).
    """
    faults = tuple(Fault(n, 3000.0 + 1100.0 * n, "machine_fails", 0.0, (0.05 + 0.37 * n) % 1) for n in range(5))
    changes = {"lag_seconds": 5.0, "drain_seconds": 120.0, "ttft_seconds": TTFT_SECONDS}

    outcome = run(replace(Setting(5, faults, hours=2.5, replicas=3, clients=AREAS, rest_hours=0.5), **changes))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


@pytest.mark.parametrize("varied", [False, True])
def test_what_is_deployed_between_a_record_and_its_launch_is_not_launched_under_it(varied: bool) -> None:
    """A replica is lost, its next one is on record, and a new workload is deployed before the next look.

    The new one was launched under the record of the old one: it was replaced by itself at once, and after a deploy that
    was taken back it would have stayed (I28).
    """
    faults = (Fault(0, 3000.0, "preempt", 0.0, 0.0), Fault(1, 3050.0, "new_workload", 0.0, 0.4))
    setting = Setting(1, faults, hours=1.5, replicas=2, look_seconds=30.0, varied=varied, rest_hours=0.5)

    outcome = run(setting)

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_what_load_wants_beside_a_deploy_sets_back_no_number_that_its_plan_has_raised() -> None:
    """Clients in two areas: the plan of a first deploy comes to three replicas, in the same look in which load does.

    The decision on what load wants beside it still named two, so that the third was bought and let go at every look,
    and the deploy was never done (I17).
    """
    day = Setting(9, (), hours=0.6, replicas=2, scaled=True, services=2, lag_seconds=30.0, look_seconds=10.0)

    outcome = run(
        replace(day, drain_seconds=60.0, clients=AREAS, ttft_seconds=TTFT_SECONDS, recovery_hours=1.0, rest_hours=0.1)
    )

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


@pytest.mark.parametrize("later", [10.0, 5000.0], ids=["at once", "one after the other"])
def test_a_stranger_is_suspected_whatever_else_a_listing_lacks(later: float) -> None:
    """Marks of both machines were taken off by hand, so that no listing was believed from then on.

    A stranger with our mark, which each of them showed, was suspected by nobody (I3).
    """
    faults = (
        Fault(1, 20000.0, "mark_removed", 0.0, 0.2),
        Fault(2, 20000.0 + later, "mark_removed", 0.0, 0.9),
        Fault(3, 26000.0, "stray_ours", 0.0, 0.3),
    )

    outcome = run(Setting(77, faults, hours=9.0, replicas=2, look_seconds=30.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_who_stands_in_for_spot_is_no_reason_to_have_another_number_of_spares() -> None:
    """One on spot is taken away from a service that survives the loss of a region, and stand-ins come for it.

    Each of them that came made for one spare fewer, each that went for one more: within five minutes twelve times two
    replicas were launched and let go. A first deploy was refused, as stand-ins took the room of its last spare.
    """
    taken = Fault(0, 2500.0, "preempt", 0.0, 0.0)
    setting = Setting(1, (taken,), hours=1.5, spot=True, survives=True, hedge=Hedge(stand_ins=True), rest_hours=0.2)

    outcome = run(setting)

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert outcome.launches <= 12


def test_spot_that_comes_back_on_demand_takes_no_more_spares() -> None:
    """Spot that survives the loss of a region: one is taken away, and replaced on demand in its own region.

    That took no spot just then and counted as none: a spare more was bought in another one, and let go ten seconds
    later.
    """
    taken = Fault(0, 2500.0, "preempt", 0.0, 0.0)

    outcome = run(Setting(1, (taken,), hours=1.0, spot=True, survives=True, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert outcome.launches == 5  # and once more on spot, in the end


def test_who_leaves_a_region_does_so_before_another_one_takes_its_seat() -> None:
    """One plan lets a stand-in for spot go and launches another replica into its seat, the last one of the region.

    The launch was put on record first: one more than ``max_per_region`` lived there, and for longer where nothing came
    of the rest (I30).
    """
    losses = tuple(Fault(n, 2981.0 + 700.0 * n, "preempt_region", 0.0, (0.43 + 0.37 * n) % 1) for n in range(7))
    setting = Setting(13, losses, hours=2.6, replicas=2, spot=True, scaled=True, limits=Limits(per_region=4))

    outcome = run(replace(setting, hedge=Hedge(more=2, on_demand=1, stand_ins=True), rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
