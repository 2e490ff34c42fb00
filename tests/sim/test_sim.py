"""A few simulated days of the real controller, and that the simulation is what it says: repeatable, and able to fail.

``make sim`` runs as many days as there is time for; these are the ones that every change lives through.
"""

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.bench.sim import run as running
from orchestrator.bench.sim.database import Trouble
from orchestrator.bench.sim.edge import IMPOSSIBLE, LIES
from orchestrator.bench.sim.faults import (
    AREAS,
    CLOCK_STEPS,
    COMMAND_KINDS,
    DISK_FULL,
    HANG_KINDS,
    HOST_KINDS,
    KINDS,
    LATE_KINDS,
    LIE_KINDS,
    REGION_LOST,
    SILENT_KINDS,
    TTFT_SECONDS,
    Climate,
    Fault,
    Hedge,
    Limits,
    Setting,
    Work,
    setting_of,
)
from orchestrator.bench.sim.misfortunes import HANGING, family_of
from orchestrator.bench.sim.processes import HOSTS, Call, Process
from orchestrator.bench.sim.run import Outcome, minimised, run
from orchestrator.bench.sim.timeline import BEGIN
from orchestrator.bench.sim.world import SimWorld
from orchestrator.control.sweep import Sweeper
from orchestrator.domain.carbon import Basis, CarbonIntensity, Gap
from orchestrator.domain.time import Window
from orchestrator.errors import DiskFull, ProviderUnavailable, StoreUnavailable
from tests.postgres import (
    PostgresServer,
    postgres_server,  # noqa: F401  # a fixture
)
from tests.sim.days import lived

NOTHING_RARE = Climate(commands=0.0, hangs=0.0, full=0.0, silent=0.0, lies=0.0)
"""Without what any day alike may have, which is drawn last."""

SHORT = 6.0
"""Hours of faults: a quarter of what the recipe takes."""


@pytest.mark.parametrize("seed", range(4))
def test_a_quarter_of_a_bad_day_breaks_no_promise(seed: int) -> None:
    """Everything of the fault model at once, then calm: safe at every call, and in order again by itself."""
    outcome = run(replace(setting_of(seed, hours=SHORT), rest_hours=1.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert outcome.launches > 0
    assert outcome.looks > 50


@pytest.mark.parametrize("work", [Work(2.0, 9.0), Work(2.0, 9.0, daily=True), Work(2.0, 9.0, preemptible=True)])
def test_a_day_of_batch_work_is_done_in_time_and_paid_for_no_longer(work: Work) -> None:
    """Once and every day, in one piece and in several, with everything that else befalls a day, and with nothing."""
    quiet = run(Setting(1, hours=12.0, work=work))
    bad = run(replace(setting_of(1, hours=SHORT), work=work, sleeps=False, rest_hours=1.0))

    for outcome in (quiet, bad):
        assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any("more than wanted: 0 replicas: batch: 4.0 engine hours done" in line for line in quiet.history)


@pytest.mark.parametrize("ttft_seconds", [0.0, TTFT_SECONDS])
def test_clients_in_several_areas_are_sent_to_who_serves(ttft_seconds: float) -> None:
    """On a bad day, with a promise of the first token and without."""
    bad = setting_of(8, hours=SHORT)

    outcome = run(replace(bad, clients=AREAS, ttft_seconds=ttft_seconds, replicas=3, rest_hours=1.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_variants_serve_where_they_are_good_enough() -> None:
    """On a bad day on which each deploy allows other ones."""
    bad = setting_of(2, Climate(varies=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def test_models_that_go_by_their_ids_are_asked_by_the_right_one() -> None:
    """On a bad day on which workloads change, and with each the name that clients say."""
    bad = setting_of(2, Climate(renames=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


@pytest.mark.parametrize("hedge", [Hedge(more=1), Hedge(on_demand=1, stand_ins=True), Hedge(availability=0.99)])
def test_services_on_spot_have_what_they_need_against_losses(hedge: Hedge) -> None:
    """On a bad day, by the number that follows the load."""
    bad = replace(setting_of(3, hours=SHORT), spot=True, scaled=True, hedge=hedge, rest_hours=1.0)

    outcome = run(bad)

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


@pytest.mark.parametrize(
    "limits", [Limits(usd_per_day=40.0), Limits(per_region=1, window=(3, 9)), Limits(freeze=(1, 3))]
)
def test_limits_hold_on_a_bad_day(limits: Limits) -> None:
    """Too little money for everybody, a place for each, and moves in some hours only."""
    bad = replace(setting_of(7, hours=SHORT), replicas=2, limits=limits, rest_hours=1.0)

    outcome = run(bad)

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


@pytest.mark.parametrize("seed", [1, 2])
def test_answers_that_come_late_break_no_promise(seed: int) -> None:
    """Creates that are taken after half an hour, notices before preemptions, and a database that is slow to answer."""
    bad = setting_of(seed, Climate(works=0.0, lates=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))


def nothing_is_bought_twice(outcome: Outcome) -> bool:
    """Whether each name was taken for one machine."""
    names = [line.split()[2] for line in outcome.history if line.split()[1] == "created"]
    return len(names) == len(set(names)) == outcome.launches > 2


@pytest.mark.parametrize("seed", [1, 9])
def test_two_hosts_that_lend_each_other_the_turn_break_no_promise(seed: int) -> None:
    """On a bad day on which both have it, some are followed in silence, and some launches arrive late."""
    bad = setting_of(seed, Climate(hosts=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    for host in HOSTS:
        assert any(f"on {host}" in line for line in outcome.history)


def test_a_silent_host_is_followed_after_a_minute_and_its_launch_is_waited_for() -> None:
    """It sleeps with a launch on its way; the other one leaves that alone, and nothing is bought twice."""
    asleep = Fault(0, 2000.0, "host_asleep_in_launch", 400.0, 0.9)
    outcome = run(Setting(1, (asleep, Fault(1, 2001.0, "preempt", 0.0, 0.0)), hours=2.0, hosts=True, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    (fell,) = (float(line.split()[0]) for line in outcome.history if "falls asleep" in line)
    (followed,) = (float(line.split()[0]) for line in outcome.history if "launches wait for" in line)
    assert 50.0 <= followed - fell <= 90.0
    assert nothing_is_bought_twice(outcome)


@pytest.mark.parametrize(("seconds", "by_word"), [(30.0, True), (100.0, False)])
def test_who_stood_still_before_a_launch_asks_whether_its_turn_lasts(seconds: float, by_word: bool) -> None:
    """It is told that it does not. Within a minute of its last word it does not ask, and who called it dead waits."""
    still = Fault(0, 2000.0, "host_asleep_before_launch", seconds, 0.0)
    outcome = run(Setting(1, (still, Fault(1, 2001.0, "preempt", 0.0, 0.0)), hours=2.0, hosts=True, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    told = [line.partition(" ")[2] for line in outcome.history]
    starts, lost = (
        next(n for n, line in enumerate(told) if words in line) for words in ("2 starts", "has lost its turn")
    )
    assert ("as a person said" in told[starts]) is by_word
    assert "1 launches wait" in told[starts]
    assert any(line.startswith("created") for line in told[starts:lost]) is by_word
    assert nothing_is_bought_twice(outcome)


def test_a_host_that_is_stopped_in_order_is_followed_at_once() -> None:
    """And one that is heard of is not, until a person says so."""
    stops, word = Fault(0, 2000.0, "host_stops", 900.0, 0.0), Fault(1, 4000.0, "host_taken_over", 0.0, 0.0)
    outcome = run(Setting(1, (stops, word), hours=2.0, hosts=True, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    starts = [(float(line.split()[0]), line) for line in outcome.history if " starts with turn " in line]
    assert starts[0][0] == 0.0
    assert 2000.0 < starts[1][0] <= 2035.0
    assert starts[2][0] == 4000.0
    assert "as a person said" in starts[2][1]
    assert len(starts) == 3


def test_what_is_new_is_drawn_last() -> None:
    """Days that were known before there was anything special about a service are as they were."""
    plain = replace(NOTHING_RARE, works=0.0, spreads=0.0, varies=0.0, renames=0.0, hedges=0.0, limits=0.0, steps=0.0)
    plain = replace(plain, lates=0.0, hosts=0.0, survives=0.0)
    for seed in range(20):
        without, always = (setting_of(seed, replace(plain, works=part)) for part in (0.0, 1.0))
        spread = setting_of(seed, replace(plain, spreads=1.0))
        varied = setting_of(seed, replace(plain, varies=1.0))
        unnamed = setting_of(seed, replace(plain, renames=1.0))
        hedged = setting_of(seed, replace(plain, hedges=1.0))
        limited = setting_of(seed, replace(plain, limits=1.0))
        stepping = setting_of(seed, replace(plain, steps=1.0))
        late = setting_of(seed, replace(plain, lates=1.0))
        shared = setting_of(seed, replace(plain, hosts=1.0))
        lasting = setting_of(seed, replace(plain, survives=1.0))
        interrupted = setting_of(seed, replace(plain, commands=1.0))
        hanging = setting_of(seed, replace(plain, hangs=1.0))
        full = setting_of(seed, replace(plain, full=1.0))
        silent = setting_of(seed, replace(plain, silent=1.0))
        lying = setting_of(seed, replace(plain, lies=1.0))

        assert (always.work is None) is without.sleeps
        assert replace(always, work=None) == without
        assert spread.replicas == max(2, without.replicas)
        assert replace(varied, varied=False) == without
        assert replace(unnamed, unnamed=False) == without
        assert limited.limits is not None
        assert replace(stepping, steps=False, faults=stepping.faults[: len(without.faults)]) == without
        assert replace(late, late=False, faults=late.faults[: len(without.faults)]) == without
        assert replace(shared, hosts=False, faults=shared.faults[: len(without.faults)]) == without
        assert replace(lasting, survives=False, faults=lasting.faults[: len(without.faults)]) == without
        assert replace(interrupted, commands=False, faults=interrupted.faults[: len(without.faults)]) == without
        assert replace(hanging, hangs=False, faults=hanging.faults[: len(without.faults)]) == without
        assert replace(silent, silent=False, faults=silent.faults[: len(without.faults)]) == without
        assert replace(lying, lies=False, faults=lying.faults[: len(without.faults)]) == without
        assert replace(full, full=False, faults=full.faults[: len(without.faults)]) == without
        assert replace(limited, limits=None) == without
        assert (hedged.hedge is not None) is without.spot
        assert replace(hedged, hedge=None, sleeps=without.sleeps) == without
        assert replace(spread, clients=(), ttft_seconds=0.0, replicas=without.replicas) == without


def test_who_survives_a_region_has_room_money_and_regions_that_are_lost() -> None:
    """About one day in ten; limits leave room for its spares, and the budget pays for them."""
    plain, always = (replace(NOTHING_RARE, works=0.0, limits=1.0, survives=part) for part in (0.0, 1.0))
    drawn = [setting_of(seed) for seed in range(200)]

    assert 10 <= sum(s.survives for s in drawn) <= 35
    assert not any(s.survives and s.work for s in drawn)
    for seed in range(30):
        without, one = setting_of(seed, plain), setting_of(seed, always)
        lost = one.faults[len(without.faults) :]
        assert 1 <= len(lost) <= 4
        assert {f.kind for f in lost} == {REGION_LOST}
        assert one.limits is not None
        assert without.limits is not None
        if one.limits.per_region is not None:
            most = 3 + 2 * one.scaled
            assert one.limits.per_region >= max(without.limits.per_region or 0, -(-most // 2))
        if without.limits.usd_per_day is not None:
            assert one.limits.usd_per_day == 2 * without.limits.usd_per_day


@pytest.mark.parametrize("seed", [3, 5])
def test_the_loss_of_a_region_is_survived(seed: int) -> None:
    """On a bad day on which whole regions are lost."""
    bad = setting_of(seed, Climate(works=0.0, survives=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any(REGION_LOST in line for line in outcome.history)


@pytest.mark.parametrize("seed", [2, 6])
def test_commands_that_are_killed_break_no_promise(seed: int) -> None:
    """On a bad day on which people run the same again, sooner or later."""
    drawn = [setting_of(number) for number in range(200)]
    bad = setting_of(seed, Climate(commands=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert 10 <= sum(s.commands for s in drawn) <= 35
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any("a command is interrupted" in line for line in outcome.history)
    assert any("is run again" in line for line in outcome.history)


@pytest.mark.parametrize("seed", [2, 6])
def test_a_provider_that_hangs_breaks_no_promise(seed: int) -> None:
    """On a bad day on which it says nothing for minutes, in any way, while something is wanted of it."""
    drawn = [setting_of(number) for number in range(200)]
    bad = setting_of(seed, Climate(hangs=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert 10 <= sum(s.hangs for s in drawn) <= 35
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any(" hangs_" in line for line in outcome.history)


def test_a_provider_that_hangs_holds_up_nobody_and_what_it_was_handed_comes_once() -> None:
    """One is lost, its launch is handed over in the first seconds, and for five minutes nothing is heard of it.

    The other one serves on and is looked at all the time; no look takes longer than the adapter's own limits.
    """
    faults = (Fault(0, 2000.0, "hangs_all", 300.0, 0.5), Fault(1, 1994.0, "machine_fails", 0.0, 0.0))

    outcome = run(Setting(1, faults, hours=1.0, look_seconds=5.0, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    told = [(float(line.split()[0]), line) for line in outcome.history]
    (created,) = (at for at, line in told if " created " in line and at > 1900.0)
    (over,) = (at for at, line in told if line.endswith("#0 is over"))
    (ready,) = (at for at, line in told if " ready one real completion" in line and at > 1900.0)
    assert 2000.0 <= created <= 2020.0 < over == 2300.0 < ready < 2500.0
    assert any("has not taken it yet" in line for _, line in told)
    assert nothing_is_bought_twice(outcome)


def test_each_call_of_a_provider_that_hangs_is_given_up_in_time() -> None:
    """As the adapters do: a question is waited for once and its newest answer serves for a minute, ends wait beside."""
    world = SimWorld(Setting(1, hours=0.4, rest_hours=0.1))
    asyncio.run(world.live())
    (name, *_), cloud, clock = world.cloud.existing(), world.cloud, world.clock
    cloud.hang(HANGING["hangs_all"], 900.0)
    world.timeline.stopped = True  # nobody looks meanwhile
    began = clock.elapsed

    def waited(call: Coroutine[object, object, object]) -> float:
        before = clock.elapsed
        with suppress(ProviderUnavailable):
            asyncio.run(call)
        return clock.elapsed - before

    assert waited(cloud.describe(name)) == 0.0
    clock.move_to(began + 60.0)
    assert [waited(cloud.describe(name)) for _ in range(2)] == [0.0, 0.0]
    assert [waited(cloud.inventory(world.uid)) for _ in range(2)] == [60.0, 0.0]
    assert waited(cloud.renew(name, timedelta(hours=24))) == 5.0
    assert waited(cloud.terminate(name, timedelta(seconds=5))) == 0.0
    assert cloud.exists(name)
    clock.move_to(began + 905.0)
    assert not cloud.exists(name)
    assert not cloud.hangs


@pytest.mark.parametrize("seed", [2, 6])
def test_a_disk_that_is_full_breaks_no_promise(seed: int) -> None:
    """On a bad day on which the database has no room for some time, or for some of its writes alone."""
    drawn = [setting_of(number) for number in range(200)]
    bad = setting_of(seed, Climate(full=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert 10 <= sum(s.full for s in drawn) <= 35
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any("a look failed: disk_full" in line for line in outcome.history)


def test_on_a_full_disk_nothing_is_written_or_launched_and_afterwards_all_goes_on() -> None:
    """One is lost meanwhile: it is replaced as soon as that can be put on record."""
    faults = (Fault(0, 2000.0, DISK_FULL, 600.0, 0.0), Fault(1, 2100.0, "preempt", 0.0, 0.0))

    outcome = run(Setting(1, faults, hours=1.0, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    told = [(float(line.split()[0]), line.split()[1:]) for line in outcome.history]
    written = [at for at, words in told if words[0] == "1" and words[1] not in {"publish", "terminate", "launch"}]
    created = [at for at, words in told if words[0] == "created"]
    assert not any(2000.0 < at < 2600.0 for at in (*written, *created))
    assert any(2600.0 <= at < 2700.0 for at in created)


@pytest.mark.parametrize(("room_for", "taken"), [(0, 0), (3, 2)])
def test_a_full_disk_refuses_writes_as_the_store_does(room_for: int, taken: int) -> None:
    """Those of controllers and of commands, all or most of them; reads go on."""
    trouble = Trouble()
    trouble.is_full, trouble.room_for = True, room_for
    process, refused = Process(1), 0
    for n in range(6):
        port, method = ("journal", "set_intent") if n % 2 else ("store", "submit")
        try:
            trouble.before(Call(process, port, method, (), {}, is_write=port == "journal", point=""))
        except DiskFull:
            refused += 1
    trouble.before(Call(process, "store", "services", (), {}, is_write=False, point=""))

    assert refused == 6 - taken


@pytest.mark.parametrize("seed", [2, 6])
def test_a_database_that_hangs_breaks_no_promise(seed: int) -> None:
    """On a bad day on which it ends statements, says nothing or is locked for minutes."""
    drawn = [setting_of(number) for number in range(200)]
    bad = setting_of(seed, Climate(silent=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert 10 <= sum(s.silent for s in drawn) <= 35
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any("a look failed: store_unavailable" in line for line in outcome.history)


@pytest.mark.parametrize(
    ("how", "write_seconds", "read_seconds"),
    [("db_hangs", 30.0, 30.0), ("db_silent", 35.0, 35.0), ("db_locked", 15.0, 0.0)],
)
def test_a_database_that_hangs_is_given_up_after_the_limit_of_the_store(
    how: str, write_seconds: float, read_seconds: float
) -> None:
    """And the last call of the time in which it hangs is answered when that is over."""
    world = SimWorld(Setting(1))
    world.database.hang(how, 100.0)
    process, waited = Process(1), []
    for method in ("set_intent", "replicas", "set_intent", "set_intent"):
        call = Call(process, "journal", method, (), {}, is_write=method == "set_intent", point="")
        waited.append(world.database.delay(call))
        world.clock.move_to(world.clock.elapsed + waited[-1])
        with suppress(StoreUnavailable):
            world.database.before(call)
            world.database.after(call)
    limits = (write_seconds, read_seconds, write_seconds, write_seconds)
    assert waited == [min(limit, 100.0 - sum(waited[:n])) for n, limit in enumerate(limits)]

    world.clock.move_to(100.0)
    assert not world.database.hangs
    assert world.database.delay(call) == 0.0
    world.database.before(call)


def test_what_a_silent_server_was_told_may_be_written_and_is_not_known() -> None:
    """Each second write of a controller and of a command; none of a server that ends its statements."""
    for how, kept in (("db_silent", [True, False] * 2), ("db_hangs", [False] * 4)):
        trouble = Trouble()
        trouble.hang(how, 100.0)
        written = []
        for port in ("journal", "store", "journal", "store"):
            call = Call(Process(1), port, "submit", (), {}, is_write=port == "journal", point="")
            with pytest.raises(StoreUnavailable):  # noqa: PT012  # before the call is made, or after it
                written.append(False)
                trouble.before(call)
                written[-1] = True
                trouble.after(call)
        assert written == kept


@pytest.mark.parametrize("seed", [2, 6])
def test_signals_that_lie_break_no_promise(seed: int) -> None:
    """On a bad day on which something wrong is said of zones, about an hour at a time."""
    drawn = [setting_of(number) for number in range(200)]
    bad = setting_of(seed, Climate(lies=1.0), hours=SHORT)

    outcome = run(replace(bad, rest_hours=1.0))

    assert 10 <= sum(s.lies for s in drawn) <= 35
    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any(" lies_" in line for line in outcome.history)


def test_who_lies_without_end_is_believed_and_moves_nobody_to_and_fro() -> None:
    """Each zone in turn says next to nothing for an hour, all day: no more moves in a day than the file allows."""
    lies = tuple(Fault(n, 2000.0 + 3600.0 * n, "lies_near_zero", 3500.0, (n % 3) / 3 + 0.1) for n in range(22))

    outcome = run(Setting(3, lies, hours=24.0, replicas=1, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert 2 <= outcome.launches <= 8


@pytest.mark.parametrize("how", sorted(LIES))
def test_what_no_grid_can_have_is_refused_and_other_lies_are_told(how: str) -> None:
    """The newest value and the hours before, from the hour on in which the lie begins, until it ends."""
    world = SimWorld(Setting(1))
    grid, now, basis = world.grid, BEGIN + timedelta(hours=5, minutes=20), Basis()
    window = Window(now - timedelta(hours=6), now)

    def said() -> tuple[CarbonIntensity | Gap, list[float]]:
        latest, past = (
            asyncio.run(ask) for ask in (grid.latest("SE", basis, now), grid.history("SE", basis, window, now))
        )
        return latest, [p.grams_per_kwh for p in past.points]

    true, before = said()
    grid.lie("SE", how, now)
    latest, past = said()

    assert isinstance(true, CarbonIntensity)
    assert past[: len(before) - 1] == before[:-1]
    assert len(past) == len(before) - (how in IMPOSSIBLE)
    assert grid.is_known("SE") is (how not in IMPOSSIBLE)
    if how in IMPOSSIBLE:
        assert isinstance(latest, Gap)
        assert "outside 0..2000" in latest.reason
    else:
        assert isinstance(latest, CarbonIntensity)
        assert latest.grams_per_kwh == past[-1] == LIES[how](true.grams_per_kwh)
    grid.lying.clear()
    assert said() == (true, before)


def test_a_lost_region_takes_all_that_is_ours_and_gives_nothing() -> None:
    """What was created late there does not come either; what is somebody else's is left alone."""
    setting = Setting(1, (Fault(0, 2000.0, REGION_LOST, 3000.0, 0.9),), hours=1.2, survives=True, rest_hours=0.2)
    outcome = run(setting)

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    born = [float(line.split()[0]) for line in outcome.history if line.endswith(" in sky/se")]
    assert any(at < 2000.0 for at in born)
    assert not any(2000.0 <= at < 5000.0 for at in born)
    assert any(at >= 5000.0 for at in born)


def test_the_same_on_a_database_on_a_disk() -> None:
    """SQLite in the place of the memory: the same promises, and the same machines bought."""
    setting = replace(setting_of(5, hours=1.0, database="sqlite"), rest_hours=0.2)

    on_disk, in_memory = run(setting), run(replace(setting, database="memory"))

    assert on_disk.is_good, "\n".join(map(str, on_disk.violations))
    assert on_disk.history == in_memory.history


@pytest.mark.postgres
def test_the_same_on_a_database_server(postgres_server: PostgresServer) -> None:  # noqa: F811  # the fixture
    """PostgreSQL in the place of the memory: the same promises, and the same history, line for line."""
    setting = replace(setting_of(5, hours=1.0, database="postgres"), rest_hours=0.2)

    on_a_server = run(setting, postgres_server.new_database())

    assert on_a_server.is_good, "\n".join(map(str, on_a_server.violations))
    assert on_a_server.history == run(replace(setting, database="memory")).history


def test_the_same_seed_is_the_same_history_under_every_hash_seed() -> None:
    """Two processes that order sets and hashes differently live through the same day, byte for byte (I21)."""
    program = (
        "from orchestrator.bench.sim.faults import setting_of; from orchestrator.bench.sim.run import run;"
        "print(run(setting_of(11, hours=2.0)).fingerprint)"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": number, "PYTHONPATH": "."},
            timeout=120,
        ).stdout
        for number in ("1", "2")
    ]

    assert digests[0] == digests[1]
    assert len(digests[0].strip()) == 32


def test_the_next_controller_looks_on_while_calls_of_a_killed_one_still_sleep() -> None:
    """A look that dies ends before the calls that it had begun; the world went on without them, and nobody looked."""
    asleep = Fault(0, 1900.0, "sleep_at_call", 600.0, 0.9)
    killed = Fault(1, 2100.0, "kill", 5.0, 0.5)

    outcome = run(Setting(1, (asleep, killed), hours=2.0, replicas=3, rest_hours=0.2))

    assert outcome.is_good, "\n".join(map(str, outcome.violations))
    assert any("process 2 starts" in line for line in outcome.history)
    after = [float(line.split()[0]) for line in outcome.history if line.split()[1] == "2"]
    assert min(after) < 2200.0


def test_the_short_ways_of_the_simulation_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mere looks at the database pass the checks by, and calls begin at once: with neither the history is the same."""
    faults = (
        Fault(0, 1900.0, "preempt", 0.0, 0.0),
        Fault(1, 1901.0, "sleep_at_call", 300.0, 0.1),
        Fault(2, 2800.0, "db_down", 200.0, 0.0),
        Fault(3, 2900.0, "machine_fails", 0.0, 0.5),
        Fault(4, 3200.0, "kill_at_call", 5.0, 0.3),
    )
    setting = Setting(1, faults, hours=1.2, replicas=3, rest_hours=0.2)
    quick = run(setting)

    monkeypatch.setattr(SimWorld, "lets_look", lambda _self: False)
    monkeypatch.setattr(running, "_begun_at_once", lambda loop, work, **_: asyncio.Task(work, loop=loop))
    slow = run(setting)

    assert any("falls asleep" in line for line in quick.history)
    assert slow.history == quick.history
    assert slow.fingerprint == quick.fingerprint


def test_days_are_the_same_in_processes_of_their_own() -> None:
    """And come back in the order in which they were asked for."""
    settings = [replace(setting_of(seed, hours=0.6), rest_hours=0.1) for seed in (8, 9, 10)]

    alone, together = (
        [outcome.fingerprint for outcome, _ in lived(iter(settings), jobs, math.inf, run)] for jobs in (1, 2)
    )

    assert len(alone) == 3
    assert together == alone
    assert not list(lived(iter(settings), 2, -math.inf, run))


def test_another_seed_is_another_day() -> None:
    """The digest sees what happens: it is not the same for everybody."""
    assert run(Setting(1, hours=0.5)).fingerprint != run(Setting(2, hours=0.5)).fingerprint


def test_every_fault_of_the_model_can_begin() -> None:
    """No kind of fault is only a word in a list."""
    world = SimWorld(Setting(0))
    own = (CLOCK_STEPS, REGION_LOST, *COMMAND_KINDS, *HANG_KINDS, DISK_FULL, *SILENT_KINDS, *LIE_KINDS)
    assert {family_of(kind) for kind in (*KINDS, *LATE_KINDS, *HOST_KINDS, *own)} <= {
        name.removeprefix("_do_") for name in dir(world.misfortunes) if name.startswith("_do_")
    }


def test_dropping_a_fault_leaves_the_others_as_they_are() -> None:
    """A smaller run is the same run with less of it, or making it smaller would find something else."""
    whole = setting_of(3)
    smaller = whole.without(frozenset({whole.faults[0].number}))

    assert smaller.faults == whole.faults[1:]
    assert replace(smaller, faults=whole.faults) == whole


def test_a_run_that_fails_is_made_as_small_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that sweeps nothing leaks a machine that was created late; of three faults that one is left."""
    monkeypatch.setattr(Sweeper, "_reopen", lambda _self, _name: None)
    late = Fault(1, 2000.0, "create_late", 2300.0, 0.5)
    whole = Setting(
        7,
        (
            Fault(0, 1900.0, "zone_dark", 600.0, 0.1),
            late,
            Fault(2, 2100.0, "preempt", 0.0, 0.0),
            Fault(3, 2500.0, "gateway_answer_lost", 0.0, 0.0),
        ),
        hours=1.5,
        rest_hours=0.2,
    )
    tried: list[Setting] = []

    def run_it(setting: Setting) -> Outcome:
        tried.append(setting)
        return run(setting)

    assert "I3" in {v.invariant for v in run(whole).violations}
    smaller = minimised(whole, "I3", run_it=run_it)

    assert [f.number for f in smaller.faults] == [1, 2]
    assert len(tried) < 20
