"""The batch behind each offer's energy, in a line of a plan and as a table of an explanation."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.cli.render.work import MOST_NAMED, work_line, work_table
from tests.unit.cli.samples import ASSESSMENTS, WORK, assessment


def test_a_decision_of_before_says_nothing() -> None:
    """It kept no batch: there is no line and no table, and no number in their place."""
    old = [replace(a, work=None) for a in ASSESSMENTS]
    assert work_line(old) == ""
    assert work_table(old, width=80) == []


def test_the_chosen_shape_comes_first_and_a_small_one_says_so() -> None:
    """With how many of it the load takes."""
    small = replace(WORK, mean_batch=143.0, needed=7, carries=False)
    offers = [
        assessment("aws/a", "SE", 19.0, 0.2, shape="1xT4", work=small),
        assessment("aws/b", "SE", 19.0, 0.3, shape="1xH100", chosen=1, work=WORK),
    ]
    said = work_line(offers)
    assert said.startswith("4.25 on 1xH100, 143 on 1xT4 (the load takes 7 of it), by ")


def test_more_shapes_than_fit_are_counted() -> None:
    """The line stays one, and says where the others are."""
    offers = [
        assessment(f"aws/{k}", "SE", 19.0, 0.2, shape=f"{k}xL4", work=replace(WORK, origin=str(k))) for k in range(5)
    ]
    said = work_line(offers)
    assert f"and {5 - MOST_NAMED} shapes more" in said
    assert said.endswith("(explain has all)")
