"""Each check can fail: it is shown a world in which its promise is broken, or a mutant is caught by it."""

import asyncio
import inspect
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.bench.sim.checks import ALLOWED, INVARIANTS, Life
from orchestrator.bench.sim.commands import KILLED_AFTER, Interruption
from orchestrator.bench.sim.faults import AREAS, TTFT_SECONDS, Limits, Setting, Work
from orchestrator.bench.sim.processes import HOSTS, OUTSIDE, READS, Call, Died, Door, Process
from orchestrator.bench.sim.shop import list_price
from orchestrator.bench.sim.timeline import BEGIN
from orchestrator.bench.sim.world import SimWorld
from orchestrator.control.ports import Journal, LaunchRequest
from orchestrator.domain.decision import Decision, DecisionKind, MoveComparison, Verdict
from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.offer import variant_in
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.routing import OriginWeights
from orchestrator.domain.scale import Figure, WantedReplicas
from orchestrator.domain.service import ModelSpec
from orchestrator.errors import Conflict
from orchestrator.store.memory import MemoryStore

MOVE = MoveComparison("", "", "", 1.0, (), 1.0, 0.0, 1.0, None, None, None, ())
"""One that every rule approves."""


def lived(seconds: float = 1500.0, **changes: int) -> SimWorld:
    """Have a world in which two replicas serve."""
    world = SimWorld(Setting(1, hours=seconds / 3600, rest_hours=0.1, **changes))
    asyncio.run(world.live())
    assert not world.checks.violations
    return world


@pytest.fixture
def world() -> SimWorld:
    """Have it."""
    return lived()


def broken(world: SimWorld) -> set[str]:
    """Return which promises were broken."""
    return {v.invariant for v in world.checks.violations}


def serving(world: SimWorld) -> LaunchRequest:
    """Return the launch of the first one that serves."""
    ready = {r.name for r in world.truth.replicas() if r.state is ReplicaState.READY}
    return next(r for r in world.cloud.created if r.name in ready)


def request_like(world: SimWorld, **changes: object) -> LaunchRequest:
    """Make the launch of one that is there, a little different."""
    return replace(serving(world), **changes)


def test_two_machines_of_one_intent_are_seen(world: SimWorld) -> None:
    """I2, at the call and at rest."""
    twin = request_like(world, name=f"{serving(world).name}-again")
    world.cloud.plant(twin, mine=True)
    world.cloud.machines[twin.name].is_stray = False
    world.checks.on_launch(serving(world))
    assert broken(world) == {"I2"}

    world.checks.violations.clear()
    world.checks.at_rest()
    assert {"I2", "I3"} <= broken(world)


def launching(world: SimWorld) -> Call:
    """Return the call that launches a machine, by the process whose turn it is."""
    assert world.claimant is not None
    request = serving(world)
    return Call(world.claimant, "cloud", "launch", (request,), {}, is_write=False, point="cloud.launch")


def test_who_was_called_dead_is_known_to_be_where_rows_were_lost(world: SimWorld) -> None:
    """I4: a launch that it had begun within a minute of its last word may leave in the turn of the next one."""
    call = launching(world)
    call.process.heard_at, world.lost_rows = world.clock.elapsed - 5.0, True
    world.checks.begins(Process(9, host=HOSTS[1], takes_over=True), call.process)
    world.claimant = Process(9, host=HOSTS[1])

    world.checks.leaves(call)

    assert not broken(world)


def test_a_launch_without_a_database_is_seen(world: SimWorld) -> None:
    """I18, of all and of one host; but not when it arrives: it had left the process before."""
    for is_down, cut_off in ((True, set()), (False, {HOSTS[0]})):
        world.database.is_down, world.hosts.cut_off = is_down, cut_off
        call = launching(world)
        call.process.heard_at = world.clock.elapsed
        world.checks.before(call)
        assert not broken(world)

        world.checks.leaves(call)
        assert broken(world) == {"I18"}
        world.checks.violations.clear()


def test_a_launch_in_a_turn_that_may_be_over_is_seen(world: SimWorld) -> None:
    """I4: a minute after the last word, or in the turn of another one who was not let in by a person's word."""
    call, now = launching(world), world.clock.elapsed
    for heard_at, follows, takes_over, promises in (
        (now - 59.0, False, False, set()),
        (now - 60.0, False, False, {"I4"}),
        (now - 5.0, True, False, {"I4"}),
        (now - 59.0, True, True, set()),
        (now - 60.0, True, True, {"I4"}),
    ):
        call.process.heard_at = heard_at
        follower = Process(9, host=HOSTS[1], takes_over=takes_over)
        world.claimant = follower if follows else call.process
        if takes_over:
            world.checks.begins(follower, call.process)
        world.checks.leaves(call)
        assert broken(world) == promises
        world.checks.violations.clear()


def test_a_launch_that_arrives_too_late_is_seen(world: SimWorld) -> None:
    """I4: whoever sleeps over it cannot take it back; for so long its successor waits, and no longer."""
    call = launching(world)
    world.claimant = Process(9)
    for late, promises in ((900.0, set()), (901.0, {"I4"})):
        call.left_at = world.clock.elapsed - late
        world.checks.before(call)
        assert broken(world) == promises


def test_asking_for_what_another_host_may_get_yet_is_seen(world: SimWorld) -> None:
    """I2: its launch is on its way; in its own place nobody waits, and who has lost rows does not know."""
    call = launching(world)
    elsewhere = replace(call, process=Process(9, host=HOSTS[1]))
    world.hosts.on_their_way.append(call)
    for again, has_lost, promises in (
        (call, False, set()),
        (elsewhere, True, set()),
        (elsewhere, False, {"I2"}),
    ):
        world.lost_rows = has_lost
        world.checks._check_quiet(again)
        assert broken(world) == promises


def test_a_turn_that_is_taken_from_who_is_heard_of_is_seen(world: SimWorld) -> None:
    """I4: on another host; unless a person says so, or it has stopped, or the database has forgotten whose it was."""
    before = world.claimant
    assert before is not None
    for after, changes, promises in (
        (Process(9, host=before.host), {}, set()),
        (Process(9, host=HOSTS[1], takes_over=True), {}, set()),
        (Process(9, host=HOSTS[1]), {"has_stopped": True}, set()),
        (Process(9, host=HOSTS[1]), {"heard_at": world.clock.elapsed - 60.0}, set()),
        (Process(9, host=HOSTS[1]), {"heard_at": world.clock.elapsed - 59.0}, {"I4"}),
    ):
        world.checks.begins(after, replace(before, **changes))
        assert broken(world) == promises
    world.checks.violations.clear()
    world.hosts.set_clock(timedelta(hours=1))
    world.checks.begins(Process(9, host=HOSTS[1]), before)
    assert not broken(world)
    assert before.was_cut_short


def test_a_word_in_the_turn_of_another_one_is_seen(world: SimWorld) -> None:
    """I4."""
    before = world.claimant
    assert before is not None
    world.checks.is_heard(before)
    assert not broken(world)

    world.claimant = Process(9)
    world.checks.is_heard(before)
    assert broken(world) == {"I4"}


def test_writing_off_what_was_not_seen_to_be_gone_is_seen(world: SimWorld) -> None:
    """I3; whoever was told so in that look may believe it, though it is seen again by now."""
    assert world.claimant is not None
    name = serving(world).name
    kwargs = {"cleaned_up": True}
    call = Call(world.claimant, "journal", "update_replica", (name,), kwargs, is_write=True, point="")
    world.checks._before_change(call)
    assert broken(world) == {"I3"}

    world.checks.violations.clear()
    world.cloud.said_gone[name] = world.claimant.look_began_at
    world.checks._before_change(call)
    assert not broken(world)


def test_asking_where_all_was_sold_a_moment_ago_is_seen(world: SimWorld) -> None:
    """I9; unless the record that says so is lost, as it is with a database that was set back."""
    row = world.truth.replicas()[0]
    fresh = replace(row, name="gc-fresh", slot=row.slot + 2, replaces=None)
    world.checks._sold_out[row.offer_id] = world.clock.elapsed, "gc-forgotten"
    world.checks._before_start(fresh)
    assert "I9" not in broken(world)

    world.truth._state.replicas.put(row.name, replace(row, state=ReplicaState.FAILED))
    world.checks._sold_out[row.offer_id] = world.clock.elapsed, row.name
    world.checks._before_start(fresh)
    assert "I9" in broken(world)


def test_a_launch_that_no_row_knows_is_seen(world: SimWorld) -> None:
    """I1."""
    world.checks.on_launch(request_like(world, intent_id="nobody's"))

    assert broken(world) == {"I1"}


def ending(world: SimWorld, name: str) -> Call:
    """Return the call that ends a machine, by the process whose turn it is."""
    assert world.claimant is not None
    return Call(world.claimant, "cloud", "terminate", (name,), {}, is_write=False, point="cloud.terminate")


def test_an_end_of_what_is_wanted_or_not_ours_is_seen(world: SimWorld) -> None:
    """I24."""
    name = serving(world).name
    world.checks._before_end(ending(world, name))
    assert "I24" in broken(world)

    world.checks.violations.clear()
    world.cloud.plant(request_like(world, name="theirs", deployment_uid="somebody-else"), mine=False)
    world.checks._before_end(ending(world, "theirs"))
    assert broken(world) == {"I24"}


def test_taking_away_one_that_is_needed_is_seen(world: SimWorld) -> None:
    """I7."""
    world.checks._before_move(serving(world).name, ReplicaState.DRAINING, world.clock.now(), "a whim")

    assert broken(world) == {"I7"}


@pytest.mark.parametrize("is_stray", [False, True])
def test_a_machine_that_nobody_owns_at_rest_is_seen(world: SimWorld, *, is_stray: bool) -> None:
    """I3: whether one of ours was left over, or somebody else has started it with our mark."""
    world.cloud.plant(request_like(world, name="left-over", intent_id="other"), mine=True)
    world.cloud.machines["left-over"].is_stray = is_stray
    world.checks.at_rest()

    assert broken(world) == {"I3"}


def test_a_machine_with_our_mark_that_nobody_suspects_is_seen(world: SimWorld) -> None:
    """I3: after a quarter of an hour."""
    world.cloud.plant(request_like(world, name="left-over", intent_id="other"), mine=True)
    for _ in range(3):
        world.checks._look_for_orphans({r.name: r for r in world.truth.replicas()}, 500.0)

    assert broken(world) == {"I3"}


def test_routes_that_lack_a_replica_are_seen(world: SimWorld) -> None:
    """I17."""
    world.gateway.table = None
    world.checks.at_rest()

    assert broken(world) == {"I17"}


@pytest.fixture
def working() -> SimWorld:
    """Have a world in which two replicas do work that is due in four hours and takes nearly as long."""
    world = SimWorld(Setting(1, work=Work(3.4, 4.0)))

    async def begin() -> None:
        world.start()
        await world.people.deploy(world.people.spec())
        await world.timeline.until(1500.0)

    asyncio.run(begin())
    assert not world.checks.violations
    return world


def test_taking_away_one_that_does_work_is_seen(working: SimWorld) -> None:
    """I7: all of them are needed until the work is done, though no number is written for it."""
    name = working.truth.replicas("chat")[0].name
    working.checks._before_move(name, ReplicaState.DRAINING, working.clock.now(), "a whim")

    assert broken(working) == {"I7"}


def test_work_that_is_stopped_or_forgotten_is_seen(working: SimWorld) -> None:
    """I26; but not of a service that is taken down, nor what a database that was set back does not know."""
    decision = next(d for d in working.truth.decisions("chat") if d.sizing is not None and d.sizing.needed)
    assert decision.sizing is not None
    nothing_done = replace(decision.sizing, replicas=0, figures=(Figure("done", 0.0),))
    stopped = replace(decision, at=working.clock.now(), sizing=nothing_done)
    book = working.checks._work
    assert book is not None
    book.decided(stopped)
    assert [v.invariant for v in working.checks.violations] == ["I26", "I26"]

    working.checks.violations.clear()
    working.truth._state.decisions.clear()
    for row in working.truth.replicas("chat"):
        working.truth._state.replicas.put(row.name, replace(row, ready_at=None))
    book.decided(stopped)
    assert not broken(working)


def test_work_that_nobody_begins_and_that_nobody_ends_is_seen(working: SimWorld) -> None:
    """I26, of a controller that can work, and not where it is on record that no place is to be had."""
    book = working.checks._work
    assert book is not None
    working.clock.move_to(5 * 3600.0)
    for _ in range(3):
        book.look(working.truth.replicas("chat"), 500.0)
    assert broken(working) == {"I26"}

    working.checks.violations.clear()
    for row in working.truth.replicas("chat"):
        working.truth._state.replicas.put(row.name, replace(row, ready_at=None))
    for _ in range(3):
        book.look((), 500.0)
    assert broken(working) == {"I26"}


def test_requests_that_go_to_who_does_not_serve_are_seen() -> None:
    """I27: to one that is gone, by a row that sends them to nobody, and from an area without a row."""
    world = SimWorld(Setting(1, hours=1500 / 3600, rest_hours=0.1, clients=AREAS, ttft_seconds=TTFT_SECONDS))
    asyncio.run(world.live())
    assert not world.checks.violations
    table = world.gateway.table
    assert table is not None
    (own,) = table.services
    one, other = (u.replica for u in own.upstreams)
    shares = ((one, 100), (other, 0)), ((one, 0), (other, 100))
    own = replace(own, rows=tuple(OriginWeights(*row) for row in zip(AREAS, shares, strict=True)))
    world.gateway.table = replace(table, services=(own,))
    world.checks._check_routes(own)
    assert not broken(world)

    nobody = tuple(replace(row, weights=tuple((name, 0) for name, _ in row.weights)) for row in own.rows)
    for wrong in (
        replace(own, rows=own.rows[:1]),
        replace(own, rows=nobody),
        replace(own, rows=(), upstreams=(replace(own.upstreams[0], replica="gone"),)),
    ):
        world.checks._check_routes(wrong)
        assert broken(world) == {"I27"}
        world.checks.violations.clear()

    world.cloud.machines[one].is_frozen = True
    for _ in range(3):
        world.checks._look_for_served(500.0)
    assert broken(world) == {"I27"}


def test_who_is_asked_by_another_name_than_its_own_is_seen(world: SimWorld) -> None:
    """I29: by the service's name in the table, and by one that the replica has of its own there."""
    table = world.gateway.table
    assert table is not None
    (own,) = table.services
    first, *others = own.upstreams
    world.checks._check_routes(own)
    assert not broken(world)
    for wrong in (replace(own, model="org/new"), replace(own, upstreams=(replace(first, model="org/old"), *others))):
        world.checks._check_routes(wrong)
        assert broken(world) == {"I29"}
        world.checks.violations.clear()

    renamed = replace(own, model="org/new", upstreams=own.named_for("org/new"))
    world.checks._check_routes(renamed)
    assert not broken(world)


def test_time_that_is_not_counted_and_time_that_never_was_are_seen(world: SimWorld) -> None:
    """I25: of one that serves, of one that has ended, and nothing of what comes with the next sample."""
    row, *_ = world.truth.replicas("chat")
    served, now = 5000.0, world.clock.elapsed
    ended = replace(row, state=ReplicaState.TERMINATED, cleaned_up=True)
    there, gone = Life(now - 5100.0, now - served), Life(now - 5100.0, now - served, left=now, gone=now - 10.0)
    for one, life, counted, promises in (
        (row, there, served - 800.0, set()),
        (row, there, served - 1000.0, {"I25"}),
        (ended, gone, served - 30.0, set()),
        (ended, gone, served - 800.0, {"I25"}),
        (ended, gone, served + 95.0, {"I25"}),
        (row, gone, served + 95.0, set()),  # a database that was set back calls it there
    ):
        world.checks._lives[row.name] = life
        world.checks._check_counted(one, counted)
        assert broken(world) == promises
        world.checks.violations.clear()


def test_who_is_said_to_have_ended_late_served_no_longer_than_it_was_there(world: SimWorld) -> None:
    """I25: nothing can be written on a full disk, so that a record may say for half an hour that it serves."""
    row, *_ = world.truth.replicas("chat")
    now = world.clock.elapsed
    world.checks._lives[row.name] = Life(now - 5100.0, now - 5000.0, left=now, gone=now)
    ended = replace(row, state=ReplicaState.LOST, cleaned_up=True)
    world.cloud.ended_at[row.name] = now - 900.0

    world.checks._check_counted(ended, 4100.0)
    assert not broken(world)

    world.checks._check_counted(ended, 3900.0)
    assert broken(world) == {"I25"}


def test_a_launch_beyond_the_budget_of_its_day_is_seen(world: SimWorld) -> None:
    """I30: those that live cost until the day ends, those that ended what they lived for."""
    service, rows = world.truth.service("chat"), world.truth.replicas("chat", ended=True)
    assert service is not None
    row = next(r for r in rows if r.state is ReplicaState.READY)
    midnight = BEGIN + timedelta(hours=12)
    ends = [(r, r.ended_at or midnight) for r in rows]
    assert any(end < midnight for _, end in ends)
    exact = sum((end - r.created_at) / timedelta(hours=1) * (r.usd_per_hour or 0.0) for r, end in ends)
    for usd, is_broken in ((exact + 0.01, False), (exact - 0.01, True)):
        world.checks._check_money(replace(service, spec=replace(service.spec, budget=MoneyBudget(usd))), row)
        assert broken(world) == ({"I30"} if is_broken else set())


def test_a_number_that_falls_while_nobody_can_read_the_load_is_seen(world: SimWorld) -> None:
    """I16: by the same bounds; others, or a number that rises, or that falls at once, are none of it."""
    size = WantedReplicas(3, 1, 4, 3, "load")
    three = Decision("d-1", "chat", BEGIN, DecisionKind.HOLD, "policy", "sim", "", sizing=size)
    for fewer, seconds, promises in (
        (replace(size, replicas=2), 30.0, set()),
        (replace(size, replicas=4), 300.0, set()),
        (replace(size, replicas=1, most=2), 300.0, set()),
        (replace(size, replicas=2), 300.0, {"I16"}),
    ):
        world.checks._check_number(three)
        world.gateway.away_since = world.clock.elapsed - seconds
        world.checks._check_number(replace(three, sizing=fewer))
        assert broken(world) == promises
        world.gateway.away_since = None


def test_a_move_outside_the_hours_that_are_allowed_is_seen() -> None:
    """I30: the run begins at noon."""
    world = SimWorld(Setting(1, limits=Limits(window=(13, 15), freeze=(2, 4))))
    at_noon = Decision("d-1", "chat", BEGIN, DecisionKind.MOVE, "policy", "sim", "")
    for hours, promises in ((0.5, {"I30"}), (1.5, set()), (2.5, {"I30"}), (4.0, {"I30"})):
        world.checks._check_hours(replace(at_noon, at=BEGIN + timedelta(hours=hours)))
        assert broken(world) == promises
        world.checks.violations.clear()


@pytest.fixture
def spread() -> SimWorld:
    """Have a world in which two of three replicas have to survive the loss of a region, one in each."""
    world = lived(survives=True)
    assert Counter(r.region for r in world.truth.replicas()) == dict.fromkeys(ALLOWED, 1)
    return world


def put(world: SimWorld, slot: int, **changes: object) -> None:
    """Change what is on record of the replica in a slot."""
    (row,) = (r for r in world.truth.replicas("chat") if r.slot == slot)
    world.truth._state.replicas.put(row.name, replace(row, **changes))


def test_that_too_few_would_be_left_by_the_loss_of_a_region_is_seen(spread: SimWorld) -> None:
    """I31, at rest: of all, and of those that all serve but stand together; not where nobody could be bought."""
    for change, is_seen in (
        ({}, False),
        ({"region": "sky/fr"}, True),
        ({"state": ReplicaState.STARTING}, True),
    ):
        row = next(r for r in spread.truth.replicas("chat") if r.slot == 0)
        put(spread, 0, **change)
        spread.checks._survivors.at_rest(spread.truth.service("chat"))
        assert broken(spread) == ({"I31"} if is_seen else set())
        spread.checks.violations.clear()
        spread.cloud.weather.lost = {"sky/fr", "sky/de"}
        spread.checks._survivors.at_rest(spread.truth.service("chat"))
        assert not broken(spread)
        spread.cloud.weather.lost = set()
        spread.truth._state.replicas.put(row.name, row)


def test_that_more_are_paid_for_than_a_loss_takes_is_seen(spread: SimWorld) -> None:
    """I31, at rest: one more than its spares; where only two regions are open, two of them are."""
    spread.cloud.plant(request_like(spread, name="one-more"), mine=True)
    spread.cloud.machines["one-more"].is_stray = False
    service = spread.truth.service("chat")
    spread.checks._survivors.at_rest(service)
    assert broken(spread) == {"I31"}

    spread.checks.violations.clear()
    spread.cloud.weather.quota = {"sky/de"}
    put(spread, 2, region="sky/fr")
    spread.truth._state.replicas.put("one-more", replace(spread.truth.replicas()[0], name="one-more", slot=3))
    spread.checks._survivors.at_rest(service)
    assert not broken(spread)


def test_spot_that_costs_more_than_on_demand_is_nowhere_to_be() -> None:
    """I31: nobody buys it, so two regions are left, in which it takes two replicas each."""
    world = lived(survives=True, spot=True)
    moved = {"region": "sky/de", "offer_id": "sky/de:1xL4:spot"}
    put(world, next(r.slot for r in world.truth.replicas() if r.region == "sky/fr"), **moved)
    one_more = next(r for r in world.truth.replicas() if r.region == "sky/se")
    world.truth._state.replicas.put("one-more", replace(one_more, name="one-more", slot=3))
    world.cloud.plant(request_like(world, name="one-more"), mine=True)
    world.cloud.machines["one-more"].is_stray = False
    for dollars, promises in ((0.4, {"I31"}), (2.0, set())):
        world.offers.reprice("sky/fr:1xL4:spot", list_price(dollars, BEGIN))
        world.checks._survivors.at_rest(world.truth.service("chat"))
        assert broken(world) == promises
        world.checks.violations.clear()


def test_a_move_that_takes_from_what_a_loss_leaves_is_seen(spread: SimWorld) -> None:
    """I31: by itself and as a person asks for it; not in its own region, nor what was weighed and not approved."""
    name = next(r.name for r in spread.truth.replicas("chat") if r.slot == 0)
    no = replace(MOVE, replica=name, to_offer="sky/fr:1xL4:on_demand", verdicts=(Verdict("dwell", False, "no"),))
    yes, stays = replace(no, verdicts=()), replace(no, verdicts=(), to_offer="sky/se:1xL4:spot")
    for actor, move, promises in (
        ("policy", no, set()),
        ("policy", stays, set()),
        ("policy", yes, {"I31"}),
        ("ada", no, {"I31"}),
    ):
        moved = Decision("d-1", "chat", BEGIN, DecisionKind.MOVE, actor, "sim", "", comparisons=(move,))
        spread.checks._survivors.decided(moved)
        assert broken(spread) == promises
        spread.checks.violations.clear()


def test_what_is_lost_and_not_made_up_for_is_seen(spread: SimWorld) -> None:
    """I31: who serves is too few, and later what the next loss would leave; failures in the lost region excuse nothing.

    Where nothing can be had, or somebody has failed elsewhere, there is time.
    """
    survivors = spread.checks._survivors

    def looks(number: int) -> set[str]:
        for _ in range(number):
            survivors.look(500.0)
        seen = broken(spread)
        spread.checks.violations.clear()
        return seen

    assert looks(5) == set()
    spread.cloud.lose("sky/se")
    put(spread, 0, state=ReplicaState.LOST)
    assert looks(2) == set()
    put_more_that_failed(spread, "sky/se", 1)
    assert looks(2) == {"I31"}

    put_more_that_failed(spread, "sky/fr", 2)
    assert looks(2) == set()
    assert looks(3) == {"I31"}

    spread.cloud.weather.full = {"sky/fr!"}
    assert looks(5) == set()

    spread.cloud.weather.full = set()
    put(spread, 1, state=ReplicaState.DRAINING)
    assert looks(5) == {"I31"}


def put_more_that_failed(world: SimWorld, region: str, number: int) -> None:
    """Put one on record that has failed there; nobody is kept away by it."""
    row = world.truth.replicas("chat", ended=True)[0]
    reason = "provider_unavailable: nobody was asked"
    failed = replace(row, name=f"failed-{number}", slot=9, region=region, state=ReplicaState.FAILED, reason=reason)
    world.truth._state.replicas.put(failed.name, replace(failed, ready_at=None))


def test_a_launch_of_something_else_than_is_on_record_is_seen(world: SimWorld) -> None:
    """I28."""
    world.checks.on_launch(request_like(world, model=ModelSpec("org/other", served_name="chat")))

    assert broken(world) == {"I28"}


def test_a_variant_that_is_not_wanted_any_more_and_stays_is_seen() -> None:
    """I28: while enough others serve, and at rest in any case; below the floor, or of no variant of the file."""
    world = SimWorld(Setting(1, hours=1500 / 3600, rest_hours=0.1, varied=True))
    asyncio.run(world.live())
    assert not world.checks.violations
    rows = {r.name: r for r in world.truth.replicas("chat")}
    assert {variant_in(r.offer_id) for r in rows.values()} == {"fp8"}
    for number, variant in enumerate(("tiny", "dropped")):
        name = f"gc-more-{number}"
        one = next(iter(rows.values()))
        more = replace(one, name=name, slot=7, offer_id=one.offer_id.replace("#fp8", f"#{variant}"))

        for _ in range(3):
            world.checks._look_for_variants({**rows, name: more}, 500.0)
        assert broken(world) == {"I28"}
        world.checks.violations.clear()

    world.truth._state.replicas.put(more.name, more)
    world.checks.at_rest()
    assert "I28" in broken(world)


def test_only_named_promises_can_be_broken(world: SimWorld) -> None:
    """A typing mistake in a check is an error, not a promise of its own."""
    with pytest.raises(ValueError, match="I99"):
        world.checks.broken("I99", "?")
    assert all(name[0] == "I" for name in INVARIANTS)


def test_everything_that_leaves_a_process_passes_its_door(world: SimWorld) -> None:
    """A method that a port has and a door lets through would be a way around every fault and every check."""
    process = world.claimant
    assert process is not None
    journal = world.truth.claim("somebody", world.clock.now())
    door = Door(process, "journal", journal, world)
    writes = {n for n in vars(Journal) if not n.startswith("_") and n not in {"epoch", "predecessor"}}

    assert door.epoch == journal.epoch
    assert len(writes) > 10
    assert all(getattr(door, name).__name__ == "guarded" for name in writes | READS)
    assert not writes & READS
    for port, real in (("cloud", world.cloud), ("gateway", world.gateway)):
        asked = {n for n, method in vars(type(real)).items() if inspect.iscoroutinefunction(method) and n[0] != "_"}
        assert asked == set(OUTSIDE[port])
        assert all(getattr(Door(process, port, real, world), n).__name__ == "guarded" for n in asked)
    process.is_alive = False
    with pytest.raises(Died):
        asyncio.run(Door(process, "cloud", world.cloud, world).renew("gc-1", timedelta(hours=6)))


def test_a_command_that_leaves_a_half_is_seen(world: SimWorld) -> None:
    """I32: a new file without a request for it."""
    store = world.truth
    assert isinstance(store, MemoryStore)

    async def writes_the_file_alone() -> None:
        record = store._state.services["chat"]
        store._state.services["chat"] = replace(record, revision=record.revision + 1)

    asyncio.run(world.commands.run("chat", writes_the_file_alone))

    assert broken(world) == {"I32"}


@pytest.mark.parametrize(
    ("ends_with", "is_seen"),
    [(KeyError("chat"), True), (Conflict("not now", hint=""), True), (Conflict("not now"), False)],
    ids=["no error of ours", "nothing to do", "what to do"],
)
def test_the_same_command_again_that_is_no_help_is_seen(world: SimWorld, ends_with: Exception, is_seen: bool) -> None:
    """I32: the second one ends with what nobody can do anything about."""
    tries: list[float] = []

    async def command() -> None:
        tries.append(world.clock.elapsed)
        if len(tries) > 1:
            raise ends_with
        await world.people.deploy(world.people.spec())

    async def twice() -> None:
        world.commands.interrupt_next(Interruption(KILLED_AFTER, 1, 30.0))
        await world.commands.run("chat", command)
        await world.timeline.until(world.clock.elapsed + 60.0)

    world.timeline.stopped = False
    asyncio.run(twice())

    assert tries[1] - tries[0] == 30.0
    assert broken(world) == ({"I32"} if is_seen else set())
