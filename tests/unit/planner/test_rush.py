"""Many services and one clean place: a few go there at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.plan import ActionKind
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.planner.plan import plan
from orchestrator.planner.rush import MOST_ON_THE_WAY, RUSH_RULE, rushed, without_rush
from tests.builders import GREEN, NOON, candidate, replica, snapshot

DIRTY, CLEAN, NEXT_BEST = candidate("aws/pl", 700.0), candidate("aws/se", 30.0), candidate("aws/fr", 60.0)


def arriving(count: int, **changes: Any) -> list[Replica]:
    """Replicas of that many services that start in the clean place to take over from others."""
    return [
        replace(
            replica(CLEAN.offer, name=f"new-{n}", state=ReplicaState.STARTING, replaces=f"old-{n}"),
            **{"service": f"other-{n}", **changes},
        )
        for n in range(count)
    ]


def test_so_many_on_their_way_are_a_rush_and_one_less_is_none() -> None:
    assert rushed(arriving(MOST_ON_THE_WAY), "chat") == {"aws/se"}
    assert rushed(arriving(MOST_ON_THE_WAY - 1), "chat") == frozenset()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"service": "chat"}, "one's own are held back by other rules"),
        ({"replaces": None}, "whom nobody replaces is needed at once"),
        ({"state": ReplicaState.READY, "ready_at": NOON}, "who serves has arrived"),
        ({"state": ReplicaState.FAILED, "ended_at": NOON}, "who failed will not arrive"),
    ],
)
def test_only_who_starts_for_another_service_to_take_over_counts(changes: dict[str, Any], why: str) -> None:
    assert rushed(arriving(20, **changes), "chat") == frozenset(), why


@pytest.mark.parametrize("full", [frozenset(), frozenset({"aws/fr"})])
def test_elsewhere_a_rush_changes_nothing(full: frozenset[str]) -> None:
    """The best place is open: the move is made, whatever happens at a worse one."""
    world = snapshot([DIRTY, CLEAN, NEXT_BEST], [replica(DIRTY)], rushed=full)
    made = plan(world, GREEN, NOON)
    assert [(a.kind, a.region) for a in made.actions] == [(ActionKind.MOVE, "aws/se")]


def test_it_waits_for_the_better_place_and_does_not_go_to_the_next_best_meanwhile() -> None:
    made = plan(snapshot([DIRTY, CLEAN, NEXT_BEST], [replica(DIRTY)], rushed=frozenset({"aws/se"})), GREEN, NOON)
    assert made.actions == ()
    said = {c.to_offer: {v.rule: v.text for v in c.verdicts if not v.passed} for c in made.decision.comparisons}
    assert said[CLEAN.offer.id] == {
        RUSH_RULE: "5 replicas of other services are on their way to aws/se, no more go at a time"
    }
    assert said[NEXT_BEST.offer.id] == {RUSH_RULE: "aws/se is better, and soon free"}
    proof = made.decision.certificate
    assert proof is not None
    assert proof.gap, "what waiting leaves is said"


def test_another_replica_goes_where_its_own_best_place_is() -> None:
    """What keeps one waiting is no reason for one that would go elsewhere."""
    (to_se, to_fr) = plan(snapshot([DIRTY, CLEAN, NEXT_BEST], [replica(DIRTY)]), GREEN, NOON).decision.comparisons
    regions = {CLEAN.offer.id: "aws/se", NEXT_BEST.offer.id: "aws/fr"}
    others = replace(to_fr, replica="gc-test-chat-1")
    found = without_rush([to_se, to_fr, others], regions, frozenset({"aws/se"}))
    assert [(c.replica, c.to_offer, c.approved) for c in found] == [
        (others.replica, NEXT_BEST.offer.id, True),
        (to_se.replica, CLEAN.offer.id, False),
        (to_fr.replica, NEXT_BEST.offer.id, False),
    ]


def test_what_is_lost_is_replaced_there_all_the_same() -> None:
    made = plan(snapshot([DIRTY, CLEAN], [], rushed=frozenset({"aws/se"})), GREEN, NOON, keep_up=True)
    assert [(a.kind, a.region) for a in made.actions] == [(ActionKind.LAUNCH, "aws/se")]
