"""What a plan of launches is called: by who wants each of them, and not by the words in which that is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import BatchRules, Scaling
from orchestrator.planner.plan import plan
from orchestrator.planner.snapshot import Hedging, Snapshot
from tests.builders import GREEN, HOUR, NOON, candidate, replica, service_spec, snapshot

SE = candidate("aws/se", 30.0)
LOST = replica(SE, 1, ReplicaState.LOST, name="gc-lost", up_for=HOUR)
SPARE = Hedging(1, 0.999, 0.99, "99% by one spare")
BY_SIX = BatchRules(engine_hours=4.0, due_days=(0,), due_minute=360)


def sized(wanted: int, least: int, standing: int, *more: Replica, spares: int = 0) -> Snapshot:
    """A service whose load asks for so many replicas, of which the first ``standing`` are there."""
    size = WantedReplicas(wanted, least, 4, wanted, "much to do")
    spec = replace(service_spec(), scaling=Scaling(wanted, 4, num_overprovision=spares))
    there = [replica(SE, slot) for slot in range(standing)]
    return replace(snapshot([SE], [*there, *more], spec), sizing=size, hedging=SPARE if spares else None)


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (sized(3, 1, 1), DecisionKind.SCALE),
        (sized(3, 1, 0), DecisionKind.PLACE),
        (sized(3, 1, 1, LOST), DecisionKind.REPLACE),
        (sized(2, 1, 1, spares=1), DecisionKind.PLACE),
        (sized(1, 1, 1, spares=1), DecisionKind.PLACE),
    ],
    ids=["load", "load and spec", "load and a loss", "load and a spare", "a spare"],
)
def test_the_kind_follows_from_who_wants_each_launch(before: Snapshot, kind: DecisionKind) -> None:
    """Scaling is what nothing but load asks for; a loss names the decision, whatever else is launched with it."""
    assert plan(before, GREEN, NOON).decision.kind is kind


def test_a_deadline_scales_as_load_does() -> None:
    """And says so in its own words."""
    before = sized(2, 0, 0)
    made = plan(replace(before, spec=replace(before.spec, batch=BY_SIX)), GREEN, NOON)
    assert made.decision.kind is DecisionKind.SCALE
    assert made.actions[0].reason == "wanted by its deadline: 2 replicas: much to do"
