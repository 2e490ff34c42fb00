"""A service that promises to survive the loss of a region does, whichever it is, in any world."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.domain.plan import ActionKind, Plan
from orchestrator.domain.service import Policy, Survives
from orchestrator.domain.survival import left_after_a_loss, spares_for
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.plan import BY_ITSELF, plan
from orchestrator.planner.snapshot import Snapshot
from tests.builders import NOON, applied
from tests.strategies import settled_worlds, worlds

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
"""A whole world is a large example; its print-out is what one wants when it fails."""

A_WHILE = 12
"""Steps within which anything comes to rest that does at all: up to four replicas and their spares move one by one."""


def promising(world: Snapshot) -> Snapshot:
    """Let its service promise to survive the loss of a region."""
    return replace(world, spec=replace(world.spec, survives=Survives.REGION))


def decided(world: Snapshot, policy: Policy, *, keep_up: bool = False) -> Plan | None:
    """Plan; ``None`` where there is no plan."""
    try:
        return plan(world, policy, NOON, BY_ITSELF if keep_up else "deploy", keep_up=keep_up)
    except NoFeasiblePlacement as error:
        event("slo.survives" if "slo.survives" in error.message else "no place at all")
        return None


def regions_of(made: Plan, world: Snapshot) -> list[str]:
    """Where everybody will be, one entry for each replica."""
    kept = [r.region for r in world.replicas if r.name in made.keep]
    return kept + [a.region for a in made.actions if a.offer_id]


def usable_in(made: Plan, world: Snapshot) -> set[str]:
    """The regions in which a first deploy may place a replica."""
    return {a.region for a in made.decision.assessments if a.allowed and a.market is world.spec.market}


@given(worlds() | settled_worlds())
def test_a_first_deploy_leaves_enough_whichever_region_is_lost(world_and_policy: tuple[Snapshot, Policy]) -> None:
    """Or it is refused. No spare more than that takes, by the regions that may be used."""
    world, policy = world_and_policy
    world = promising(replace(world, replicas=(), taking_down=False, paused=False))
    made = decided(world, policy)
    if made is None:
        return
    counts, needed = Counter(regions_of(made, world)), world.wanted
    usable = usable_in(made, world)
    event(f"{needed} needed, {counts.total() - needed} spare, {len(usable)} regions")
    for region in counts:
        assert counts.total() - counts[region] >= needed
    assert counts.total() - needed == spares_for(needed, len(usable), limit=world.spec.placement.max_per_region)
    assert max(counts.values(), default=0) <= max(counts.total() - needed, 0)
    assert made.survival is None if not needed else made.survival is not None and made.survival.is_kept


@given(worlds() | settled_worlds())
def test_what_is_refused_could_not_be_kept(world_and_policy: tuple[Snapshot, Policy]) -> None:
    """A refusal by the name of the promise: no spread over the regions that are allowed would have kept it."""
    world, policy = world_and_policy
    plain = replace(world, replicas=(), taking_down=False, paused=False, spec=replace(world.spec, survives=None))
    without = decided(plain, policy)
    said = ""
    try:
        plan(promising(plain), policy, NOON, "deploy")
    except NoFeasiblePlacement as error:
        said = f"{error.message} {error.hint()}"
    if without is not None and "slo.survives" in said:
        usable = usable_in(without, world)
        event(f"{len(usable)} regions")
        limit = world.spec.placement.max_per_region
        assert spares_for(plain.wanted, len(usable), limit=limit) is None, (said, usable)
        assert said.endswith(".")


@given(settled_worlds(), st.booleans())
def test_nothing_that_happens_by_itself_takes_from_what_is_left(
    world_and_policy: tuple[Snapshot, Policy], taken_up: bool
) -> None:
    """Step by step the promise comes nearer, until it is kept or nothing more is to be done; and then it stays."""
    world, policy = world_and_policy
    world = replace(promising(world), paused=False)
    for _ in range(A_WHILE):
        made = decided(world, policy, keep_up=taken_up)
        if made is None:
            return
        before = left_after_a_loss(r.region for r in world.occupants().values())
        after = left_after_a_loss(regions_of(made, world))
        assert after >= min(before, world.wanted)
        if not any(a.kind is not ActionKind.MOVE or "slo.survives" in a.reason for a in made.actions):
            event("kept" if after >= world.wanted else "not to be kept")
            assert made.survival is not None
            assert made.survival.is_kept == (after >= world.wanted)
            return
        world = applied(made, world, NOON)
    pytest.fail("it never comes to rest")
