"""The model check: no order of events breaks a promise, and each of thirteen deliberate mistakes does.

``make model`` looks at larger worlds; what they came to is in ``infra/reports/verify.md``.
"""

from dataclasses import fields

import pytest

from orchestrator.domain.records import IntentState
from orchestrator.domain.replica import ReplicaState
from orchestrator.planner.rollout import StepKind
from tests.sim.model import Bounds, Mistakes, Model, Row, steps_of
from tests.sim.search import search

SMALL = (Bounds(1, 2), Bounds(1, 2, backups=True), Bounds(1, 2, hosts=2), Bounds(1, 3, hosts=2))
LEAST = (900, 10_000, 15_000, 80_000)
MISTAKES = [field.name for field in fields(Mistakes)]


@pytest.mark.parametrize(
    ("bounds", "least"), [*zip(SMALL, LEAST, strict=True)], ids=["plain", "backups", "two hosts", "and a restart"]
)
def test_no_order_of_events_breaks_a_promise(bounds: Bounds, least: int) -> None:
    """Every world that two or three controllers, one intent and a bad provider can come to; none was left out."""
    found = search(Model(bounds))

    assert found.broken is None, "\n".join(found.story)
    assert found.is_whole
    assert found.states >= least
    assert found.transitions > 4 * found.states


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_deliberate_mistake_is_found(mistake: str) -> None:
    """With the story that leads to it, the shortest that there is."""
    made = Mistakes(**{mistake: True})

    found = next((f for bounds in SMALL if (f := search(Model(bounds, made))).broken), None)

    assert found is not None, f"{mistake} breaks nothing"
    assert 2 <= len(found.story) < 20
    assert str(found.broken) in found.story[-1]


def test_there_are_thirteen_mistakes() -> None:
    """Six at least were promised."""
    assert len(MISTAKES) == 13


def test_a_search_that_is_cut_short_says_so() -> None:
    """Worlds that were not looked at are no proof."""
    assert not search(Model(Bounds(2, 2)), most=500).is_whole


def test_the_model_takes_the_steps_of_the_product() -> None:
    """What is asked for and not there is asked for again; what serves is ready: rollout says so, not the model."""
    asked = Row(ReplicaState.PROVISIONING, IntentState.ISSUED, 1)
    started = Row(ReplicaState.STARTING, IntentState.CONFIRMED, 1)

    assert [s.kind for s in steps_of(asked, 0, exists=False, overdue=False)] == [StepKind.ISSUE]
    assert [s.kind for s in steps_of(asked, 0, exists=None, overdue=True)] == [StepKind.FAIL]
    assert [s.kind for s in steps_of(started, 0, exists=True, overdue=True)] == [StepKind.READY]
