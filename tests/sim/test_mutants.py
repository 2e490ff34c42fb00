"""The test of the tests: bugs that others have shipped are put into our own code, and the simulation has to see them.

``make mutants`` looks for all of them; here are some that are quick, and the proof that none has become harmless.
"""

import pytest

from orchestrator.bench.sim.world import SimWorld
from orchestrator.planner import rollout
from tests.sim.mutants import MUTANTS, Change, Mutant, NoLongerThere, applied, hunt

QUICK = {"B2", "B3", "B6", "B8", "B18", "B21", "B22", "B27"}
BY_NUMBER = {m.bug: m for m in reversed(MUTANTS)}


@pytest.mark.parametrize("bug", sorted(QUICK))
def test_a_known_bug_is_caught(bug: str) -> None:
    """In a scene that breaks no promise without the bug."""
    found = hunt(BY_NUMBER[bug], days=0)

    assert found.killed_by, f"{found.mutant.name} lives: {found.where}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_the_text_that_a_mutant_changes_is_still_there(mutant: Mutant) -> None:
    """Or the mutant would be caught by nothing and by everything."""
    before = rollout.next_steps

    with applied(mutant.changes):
        pass

    assert rollout.next_steps is before


def test_there_are_as_many_as_promised() -> None:
    """Twenty-five at least, and no two of the same name."""
    assert len({m.name for m in MUTANTS}) == len(MUTANTS) >= 25


def test_a_change_that_changes_nothing_lives() -> None:
    """The hunt does not call everything killed."""
    harmless = Mutant(
        "a comment",
        "R",
        (Change("orchestrator.planner.rollout:weight_of", "    if replica.state", "    # so\n    if replica.state"),),
        BY_NUMBER["B6"].scenes,
    )

    assert not hunt(harmless, days=0).killed_by


def test_a_text_that_is_gone_is_said_to_be() -> None:
    """And whatever was changed before it is put back."""
    before = SimWorld
    missing = Change("orchestrator.planner.rollout:weight_of", "no such line", "")

    with pytest.raises(NoLongerThere, match="no such line"), applied((missing,)):
        pass

    assert SimWorld is before
