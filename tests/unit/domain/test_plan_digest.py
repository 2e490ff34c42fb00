"""The digest that a person confirms: it names what is bought at which price, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.plan import DIGEST_LENGTH, Action, ActionKind, FrontierPoint, Plan, Totals
from orchestrator.planner.plan import plan
from tests.builders import GREEN, NOON, candidate, service_spec, snapshot


def a_plan() -> Plan:
    """Two replicas are wanted and one region is sold."""
    return plan(snapshot([candidate("aws/se", 30.0)], spec=service_spec(2)), GREEN, NOON)


def with_action(change: Callable[[Action], Action]) -> Plan:
    """Change the first action of the plan."""
    before = a_plan()
    return replace(before, actions=(change(before.actions[0]), *before.actions[1:]))


class TestBound:
    @pytest.mark.parametrize(
        "changed",
        [
            replace(a_plan(), service="other"),
            replace(a_plan(), spec_digest="000000000000"),
            replace(a_plan(), actions=a_plan().actions[:1]),
            with_action(lambda a: replace(a, kind=ActionKind.RETIRE)),
            with_action(lambda a: replace(a, slot=7)),
            with_action(lambda a: replace(a, offer_id="aws/pl:1xL4:on_demand")),
            with_action(lambda a: replace(a, replica="gc-other")),
            with_action(lambda a: replace(a, usd_per_hour=1.000001)),
            with_action(lambda a: replace(a, usd_per_hour=None)),
            with_action(lambda a: replace(a, usd_per_hour=0.0)),
        ],
        ids=["service", "spec", "fewer", "kind", "slot", "offer", "replica", "dearer", "unpriced", "free"],
    )
    def test_another_purchase_has_another_digest(self, changed: Plan) -> None:
        """A confirmation never covers another service, spec, offer, count or price, not by a millionth of a dollar."""
        assert changed.digest != a_plan().digest

    def test_free_is_not_unpriced(self) -> None:
        """Unknown is not zero, here either."""
        free = with_action(lambda a: replace(a, usd_per_hour=0.0))
        unpriced = with_action(lambda a: replace(a, usd_per_hour=None))
        assert free.digest != unpriced.digest


class TestNotBound:
    @pytest.mark.parametrize(
        "changed",
        [
            replace(a_plan(), look_again_in=timedelta(hours=1)),
            replace(a_plan(), totals=Totals(2, None, None, None)),
            replace(a_plan(), frontier=(FrontierPoint("greenest", (), Totals(0, 0.0, 0.0, 0.0)),)),
            replace(a_plan(), decision=replace(a_plan().decision, at=NOON + timedelta(minutes=5), summary="later")),
            replace(a_plan(), actions=tuple(reversed(a_plan().actions))),
            with_action(lambda a: replace(a, reason="in other words")),
            with_action(lambda a: replace(a, usd_per_hour=1.0000000001)),
        ],
        ids=["later", "totals", "frontier", "explanation", "order", "reason", "rounding"],
    )
    def test_the_same_purchase_has_the_same_digest(self, changed: Plan) -> None:
        """Grid numbers move every few minutes; a plan that buys the same at the same price is the same plan."""
        assert changed.digest == a_plan().digest

    def test_new_intensities_alone_leave_the_digest(self) -> None:
        """A confirmation typed a minute later still holds while it buys the same."""
        before = plan(snapshot([candidate("aws/se", 30.0), candidate("aws/pl", 700.0)]), GREEN, NOON)
        after = plan(snapshot([candidate("aws/se", 33.0), candidate("aws/pl", 600.0)]), GREEN, NOON)
        assert before.decision != after.decision
        assert before.digest == after.digest

    def test_the_decision_carries_its_plans_digest(self) -> None:
        """The record of why can be matched with what was confirmed."""
        made = a_plan()
        assert made.decision.plan_digest == made.digest
        assert len(made.digest) == DIGEST_LENGTH

    def test_an_empty_plan_has_a_digest_too(self) -> None:
        """Nothing to do is an answer that can be confirmed."""
        empty = replace(a_plan(), actions=())
        assert len(empty.digest) == DIGEST_LENGTH
        assert empty.digest != a_plan().digest
