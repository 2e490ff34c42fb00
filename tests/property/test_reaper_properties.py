"""The reaper never ends what is not ours, what may serve, or more than its share: for any world that can be thought of.

First the brakes alone, then the real controller in a simulated world with faults, kills and words at random.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.control.reap_requests import submit_acceptance, submit_reap
from orchestrator.control.runtime import Tuning
from orchestrator.domain.orphans import Suspect, SuspectKind, Work
from orchestrator.domain.time import HOUR
from orchestrator.errors import ProviderError
from orchestrator.planner.reaping import ReapView, weigh
from tests.builders import NOON
from tests.scenario.world import PLACES, RULES, World, chat, only

UID, PREFIX = "0123456789abcdef", "gc-01234567-"
GRACE, IDLE = timedelta(minutes=10), timedelta(minutes=15)

ages = st.integers(0, 40 * 60).map(lambda seconds: timedelta(seconds=seconds))


@st.composite
def suspects(draw: st.DrawFn, number: int) -> Suspect:
    """Any suspect: ours or not, young or old, at work or not."""
    prefix = draw(st.sampled_from([PREFIX, PREFIX, PREFIX, "gc-99999999-", ""]))
    since = draw(st.none() | ages)
    return Suspect(
        name=f"{prefix}chat-{number:03d}",
        kind=draw(st.sampled_from([SuspectKind.STRANGER, SuspectKind.STRANGER, SuspectKind.ABSENT])),
        source=draw(st.sampled_from(["aws", "local"])),
        service="chat",
        region="aws/eu-north-1",
        intent_id=draw(st.sampled_from(["", f"i-{number}"])),
        epoch=draw(st.none() | st.integers(0, 9)),
        deployment_uid=draw(st.sampled_from([UID, UID, UID, "", "0123456700000000"])),
        first_seen_at=NOON - draw(ages),
        last_seen_at=NOON,
        sightings=draw(st.integers(1, 40)),
        work=draw(st.sampled_from(Work)),
        idle_since=None if since is None else NOON - since,
    )


@st.composite
def views(draw: st.DrawFn) -> ReapView:
    """Any world that the brakes may be asked about."""
    count = draw(st.integers(0, 12))
    return ReapView(
        uid=UID,
        prefix=PREFIX,
        suspects=tuple(draw(suspects(n)) for n in range(count)),
        complete=frozenset(draw(st.sets(st.sampled_from(["aws", "local"])))),
        fleet=count + draw(st.integers(0, 60)),
        recent=draw(st.integers(0, 8)),
        held=draw(st.booleans()),
        grace=GRACE,
        idle=IDLE,
        now=NOON,
        rate=draw(st.sampled_from([1.0, 0.5, 60.0])),
    )


@given(views(), st.data())
def test_no_brake_is_ever_forgotten(view: ReapView, data: st.DataObject) -> None:
    """Each allowed name passes every rule, read from the suspect itself and not from the verdicts."""
    known = {s.name: s for s in view.suspects}
    names = data.draw(st.lists(st.sampled_from([*known, "nobody"]), unique=True))
    confirmed = data.draw(st.lists(st.sampled_from([*known, "nobody"]), unique=True))
    verdicts = weigh(view, names, confirmed)
    allowed = [known[v.name] for v in verdicts if v.allowed]

    assert {v.name for v in verdicts} == set(names)
    for suspect in allowed:
        assert not view.held
        assert suspect.kind is SuspectKind.STRANGER
        assert suspect.source in view.complete
        assert suspect.name.startswith(PREFIX)
        assert suspect.deployment_uid == UID or (suspect.deployment_uid == "" and suspect.name in confirmed)
        assert (NOON - suspect.first_seen_at) / view.rate >= GRACE
        assert suspect.sightings >= 2
        idle = suspect.idle_since is not None and (NOON - suspect.idle_since) / view.rate >= IDLE
        assert suspect.work is Work.ENDED or idle
    unnamed = [s for s in allowed if s.name not in confirmed]
    if unnamed:
        assert view.recent + len(allowed) <= max(1, view.fleet // 10)


@given(views(), st.randoms(use_true_random=False))
def test_verdicts_do_not_depend_on_the_order_of_anything(view: ReapView, random: Any) -> None:
    """The same world, told in another order, gives the same answer."""
    names = [s.name for s in view.suspects]
    shuffled_names, shuffled = list(names), list(view.suspects)
    random.shuffle(shuffled_names)
    random.shuffle(shuffled)

    assert weigh(view, names) == weigh(replace(view, suspects=tuple(shuffled)), shuffled_names)


@given(views(), st.data())
def test_waiting_never_costs_a_permission(view: ReapView, data: st.DataObject) -> None:
    """What may be reaped now may be reaped later, if nothing else has changed."""
    names = [s.name for s in view.suspects]
    later = replace(view, now=NOON + data.draw(ages) * view.rate)
    now_allowed = {v.name for v in weigh(view, names, names) if v.allowed}

    assert now_allowed <= {v.name for v in weigh(later, names, names) if v.allowed}


# ── the real controller ──────────────────────────────────────────────────────────────────────────────

BRISK = Tuning(sweep_every=timedelta(seconds=60), orphan_grace=timedelta(minutes=10), orphan_idle=timedelta(minutes=15))
STEPS = ("plant", "foreign", "ask", "ask named", "work", "fault", "lie", "kill", "wait", "wait long", "newer", "accept")


class Witness:
    """Stands before the provider and checks each end at the moment at which it is asked for."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.served: dict[str, float] = {}
        self.named: set[str] = set()
        self.first_asked: dict[str, float] = {}

    def wrap(self, port: str, real: Any) -> Any:
        """Watch one port."""
        return _Watched(real, self) if port == "provisioner" else real

    def check(self, name: str) -> None:
        """Fail unless this end may be asked for."""
        world = self.world
        assert world is not None
        if name in world.store._state.replicas:
            return  # the steps of its record, not the reaper
        now = world.clock.monotonic()
        request = world.cloud._machines[name].request
        assert request.deployment_uid == world.store.deployment_uid(), f"{name} is not ours"
        assert name.startswith(PREFIX), f"{name} is not ours"
        assert not world.store.restored().holds, "the database looks set back"
        assert [r.name for r in world.store.reaps(open_only=True)].count(name) == 1, f"{name} has no intent"
        quiet = now - self.served.get(name, -IDLE.total_seconds())
        assert quiet >= IDLE.total_seconds(), f"{name} served {quiet:.0f} s ago"
        if name not in self.first_asked:
            self.first_asked[name] = now
            lately = [n for n, at in self.first_asked.items() if now - at < HOUR.total_seconds()]
            unnamed = [n for n in lately if n not in self.named]
            fleet = len(world.cloud.existing())
            assert not unnamed or name in self.named or len(lately) <= max(1, fleet // 10 + 1), f"{lately} of {fleet}"


class _Watched:
    def __init__(self, real: Any, witness: Witness) -> None:
        self._real, self._witness = real, witness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def terminate(self, name: str, grace: timedelta) -> None:
        self._witness.check(name)
        await self._real.terminate(name, grace)


async def live(steps: Sequence[tuple[str, int]]) -> tuple[World, Witness]:
    """Let all of it happen, one after the other."""
    witness = Witness()
    world = witness.world = World(wrap=witness.wrap, tuning=BRISK)
    for zone in PLACES:
        world.grid(zone.upper(), lambda _: 30.0, days=2, history_hours=26)
    await world.up(chat(2, migration=replace(RULES, enabled=False), placement=only("se", "fr")))
    for number, (step, size) in enumerate(steps):
        await _take(step, size, number, world, witness)
        await world.run(120, every=30.0, check=False)
    return world, witness


async def _take(step: str, size: int, number: int, world: World, witness: Witness) -> None:  # noqa: C901, PLR0912
    there = sorted(world.planted & world.cloud.existing())
    if step == "plant":
        for each in range(size):
            await world.plant(number * 100 + each)
    elif step == "foreign":
        await world.plant(number * 100, deployment_uid="0123456700000000")
    elif step == "newer":
        await world.plant(number * 100, epoch=50 + number)
    elif step in {"ask", "ask named"}:
        named = there[:size] if step == "ask named" else []
        witness.named |= set(named)
        mine = [r.name for r in world.ready()]
        submit_reap(world.runtime, actor="ada", names=[*there, *mine], confirmed=named)
    elif step == "work" and there:
        name = there[size % len(there)]
        world.tokens.setdefault(name, [0, 0])[1] += 1
        witness.served[name] = world.clock.monotonic()
    elif step == "fault":
        for _ in range(size):
            world.cloud.fail_next("inventory", ProviderError("down"))
    elif step == "lie":
        world.cloud.lie_at_next_terminate()
    elif step == "kill":
        world.kill()
        world.clock.advance(timedelta(minutes=size))
        world.start()
    elif step == "accept":
        submit_acceptance(world.runtime, actor="ada", epoch=world.store.restored().seen_epoch)
    elif step == "wait":
        await world.run(size * 60.0, every=30.0, check=False)
    elif step == "wait long":
        await world.run(20 * 60.0, every=60.0, check=False)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 12)), min_size=3, max_size=14))
def test_whatever_happens_the_reaper_keeps_its_brakes(steps: Sequence[tuple[str, int]]) -> None:
    """Orphans, faults, kills and words in any order: every end is one that a witness would have allowed."""
    world, _ = asyncio.run(live([("plant", 4), ("wait long", 1), *steps]))

    mine = {r.name for r in world.ready()}
    assert mine <= world.cloud.existing()
    assert all(r.name in world.planted for r in world.store.reaps())


def test_the_witness_sees_ends() -> None:
    """The property above is not empty: what is asked for is ended, and a second hour ends the next."""
    steps = [
        ("plant", 4),
        ("wait long", 1),
        ("ask", 1),
        ("wait long", 1),
        ("wait long", 1),
        ("wait long", 1),
        ("ask", 1),
    ]
    _, witness = asyncio.run(live(steps))

    assert len(witness.first_asked) == 2
