"""Money before it is spent: the worst-case bill, and what of a plan a budget allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.lease import ENDING
from orchestrator.domain.money import (
    Charge,
    LeaseTerms,
    MoneyBudget,
    charge_of,
    earliest,
    held_usd,
    limits,
    refusal,
)
from orchestrator.domain.plan import Action, ActionKind, Plan, Totals
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.time import HOUR, Window
from orchestrator.planner.spending import first_lease_end, within_budget, worst_case
from tests.builders import NOON, offer, replica, service_spec

DAY = timedelta(days=1)
TERMS = LeaseTerms(DAY, ENDING)
SPEC = service_spec()
TODAY = Window(NOON - 12 * HOUR, NOON + 12 * HOUR)


def running(slot: int = 0, usd: float | None = 1.0, **changes: object) -> Replica:
    """Make a replica that has served for an hour."""
    return replica(offer("sky/se", usd=usd), slot, up_for=HOUR, **changes)


def launch(slot: int = 9, usd: float | None = 1.0, kind: ActionKind = ActionKind.LAUNCH) -> Action:
    """Make a launch, or a move."""
    return Action(kind, slot, "wanted", "sky/se:x", "sky/se", "1xL4", Market.ON_DEMAND, usd)


def plan_of(*actions: Action) -> Plan:
    """Make a plan of these actions."""
    decision = Decision("d-1", "chat", NOON, DecisionKind.PLACE, "deploy", "green", "two more")
    return Plan("chat", "0" * 12, actions, (), decision, Totals(0, None, None, None))


class TestPeriods:
    """Which money is meant."""

    def test_a_day_and_a_month_are_the_calendars(self) -> None:
        """In UTC, whatever the length of the month."""
        both = limits(MoneyBudget(5.0, 90.0), NOON.replace(month=2, day=28))

        assert [(name, usd, str(w.start)[:10], str(w.end)[:10]) for name, usd, w in both] == [
            ("usd_per_day", 5.0, "2026-02-28", "2026-03-01"),
            ("usd_per_month", 90.0, "2026-02-01", "2026-03-01"),
        ]
        assert limits(MoneyBudget(), NOON) == ()
        assert earliest(MoneyBudget(5.0, 90.0), NOON).day == 1
        assert earliest(MoneyBudget(5.0), NOON) == TODAY.start

    def test_december_ends_with_the_year(self) -> None:
        """The month after it is January of the next one."""
        ((_, _, month),) = limits(MoneyBudget(usd_per_month=1.0), NOON.replace(month=12, day=31))

        assert (month.end.year, month.end.month, month.end.day) == (NOON.year + 1, 1, 1)


class TestCharges:
    """What a replica holds."""

    def test_who_may_have_served_until_now_may_last_a_lease_from_now(self) -> None:
        """Its users have renewed it, perhaps a moment ago, and no record says so."""
        served = running()
        never = replace(served, ready_at=None)
        renewed = NOON + 2 * HOUR

        assert charge_of(served, renewed, TERMS, NOON).until == NOON + DAY + ENDING
        assert charge_of(never, renewed, TERMS, NOON).until == renewed + ENDING
        assert charge_of(served, None, TERMS, NOON).until is None

    def test_an_ended_record_holds_until_nothing_is_left(self) -> None:
        """What failed may still run under its name; once it is cleaned up, it has cost what it has cost."""
        failed = running(state=ReplicaState.FAILED, ended_at=NOON, ready_at=None)

        assert charge_of(failed, NOON + HOUR, TERMS, NOON).until == NOON + HOUR + ENDING
        assert charge_of(replace(failed, cleaned_up=True), NOON + HOUR, TERMS, NOON).until == NOON

    @pytest.mark.parametrize(
        ("change", "once"),
        [
            ({}, 0.0),
            ({"cleaned_up": False}, 32.0),
            ({"state": ReplicaState.LOST}, 32.0),
            ({"endpoint": "http://10.0.0.7:8000"}, 32.0),
            ({"ready_at": NOON - HOUR}, 32.0),
            ({"reason": "launch_timed_out: not ready within 900 s"}, 32.0),
            ({"reason": "provider_error: an internal error"}, 32.0),
            ({"reason": "wrong_region: it runs in sky/us"}, 32.0),
            ({"reason": ""}, 32.0),
        ],
        ids=str,
    )
    def test_only_what_is_known_to_have_come_to_nothing_has_fetched_nothing(
        self, change: dict[str, Any], once: float
    ) -> None:
        """What failed in any other way may have fetched its weights: money is held too long rather than too short."""
        refused = running(state=ReplicaState.FAILED, ended_at=NOON, ready_at=None, reason="no_capacity: full")
        refused = replace(refused, cleaned_up=True, endpoint=None)
        terms = replace(TERMS, once_usd=lambda _region: 32.0)

        assert charge_of(replace(refused, **change), None, terms, NOON).once_usd == once

    def test_what_came_to_nothing_needs_no_known_fetch(self) -> None:
        """Nobody knows what fetching costs: of what fetched nothing that is no reason to stop."""
        refused = running(state=ReplicaState.FAILED, ended_at=NOON, ready_at=None, reason="quota_exceeded: 0 of 0")
        refused = replace(refused, cleaned_up=True, endpoint=None)
        charge = charge_of(refused, None, replace(TERMS, once_usd=lambda _region: None), NOON)

        assert charge.usd(TODAY) == pytest.approx((NOON - refused.created_at) / HOUR)

    def test_a_window_cuts_what_lies_outside_it(self) -> None:
        """Without an end, the window's is the end."""
        charge = Charge("r", 2.0, NOON - DAY, None)

        assert charge.usd(TODAY) == pytest.approx(48.0)
        assert charge.usd(Window(NOON - 3 * DAY, NOON - 2 * DAY)) == 0.0
        assert Charge("r", None, NOON, None).usd(TODAY) is None
        assert Charge("r", None, NOON + DAY, None).usd(TODAY) == 0.0, "what falls outside needs no price"


class TestRefusals:
    """When a launch does not fit."""

    def test_the_last_dollar_can_be_spent_once(self) -> None:
        """Exactly what is left fits; a cent more does not, and the words say how much of what."""
        held = [Charge("a", 1.0, NOON, None)]

        assert refusal(MoneyBudget(24.0), held, Charge("b", 1.0, NOON, None), NOON) == ""
        why = refusal(MoneyBudget(23.99), held, Charge("b", 1.0, NOON, None), NOON)
        assert why == (
            "budget.usd_per_day: it may cost 12.00 USD until 2026-06-02 00:00 UTC, and 12.00 USD of 23.99 USD are "
            "spent or held for what runs"
        )

    def test_unknown_is_not_zero(self) -> None:
        """Neither a launch of unknown price nor one beside something of unknown price fits into anything."""
        known, unknown = Charge("a", 1.0, NOON, None), Charge("b", None, NOON, None)

        assert "its price is unknown" in refusal(MoneyBudget(1e6), [], unknown, NOON)
        assert "nobody knows what is left" in refusal(MoneyBudget(1e6), [unknown], known, NOON)

    def test_the_month_counts_what_the_day_has_forgotten(self) -> None:
        """Each limit holds by itself."""
        before = [Charge("a", 10.0, NOON.replace(day=1, hour=0), NOON)]

        assert refusal(MoneyBudget(usd_per_day=200.0), before, Charge("b", 1.0, NOON, None), NOON) == ""
        assert "usd_per_month" in refusal(MoneyBudget(2000.0, 125.0), before, Charge("b", 1.0, NOON, None), NOON)

    @given(
        prices=st.lists(st.integers(1, 500), min_size=1, max_size=12),
        cap=st.integers(1, 20_000),
        minutes=st.lists(st.integers(0, 700), min_size=12, max_size=12),
    )
    def test_what_was_let_in_never_costs_more_than_the_limit(
        self, prices: list[int], cap: int, minutes: list[int]
    ) -> None:
        """However many ask, in whatever order: what all of them can cost until the day ends stays below it."""
        budget, let_in, now = MoneyBudget(float(cap)), list[Charge](), NOON - 12 * HOUR
        for number, (cents, wait) in enumerate(zip(prices, minutes, strict=False)):
            now = min(now + timedelta(minutes=wait), TODAY.end - timedelta(minutes=1))
            new = Charge(f"r{number}", cents / 10, now, None)
            if not refusal(budget, let_in, new, now):
                let_in.append(new)

        held = held_usd(let_in, TODAY)
        assert held is not None
        assert held <= cap + 1e-6


class TestTheWorstCase:
    """What is paid if nobody comes back."""

    def test_each_replica_costs_until_its_lease_is_over(self) -> None:
        """Two that serve and one that is planned: the planned one may take as long to start as starts may."""
        leases = {"a": NOON + 23 * HOUR, "b": NOON + 24 * HOUR}
        there = (running(0, 2.0, name="a"), running(1, 3.0, name="b"))
        bill = worst_case(SPEC, there, leases, NOON, 1.0, planned=(launch(usd=4.0),))
        tail = ENDING / HOUR
        start = SPEC.startup_deadline / HOUR

        assert [line.usd for line in bill.lines] == [
            pytest.approx(2.0 * (24 + tail)),
            pytest.approx(3.0 * (24 + tail)),
            pytest.approx(4.0 * (24 + tail + start)),
        ]
        assert bill.usd == pytest.approx(sum(line.usd or 0.0 for line in bill.lines))
        assert bill.until == first_lease_end(SPEC, NOON, 1.0) + ENDING

    def test_an_unknown_part_makes_the_whole_unknown(self) -> None:
        """Without a price, or without an end; the known part is still told apart."""
        unpriced = worst_case(
            SPEC, (running(0, None, name="a"), running(1, name="b")), {"a": NOON, "b": NOON}, NOON, 1.0
        )
        endless = worst_case(SPEC, (running(0, name="a"),), {}, NOON, 1.0)

        assert (unpriced.usd, unpriced.known_usd) == (None, pytest.approx(24.25))
        assert (endless.usd, endless.until, endless.known_usd) == (None, None, 0.0)
        assert worst_case(SPEC, (), {}, NOON, 1.0, planned=(launch(),), lasting=frozenset({"sky/se"})).usd is None

    def test_what_a_plan_ends_counts_too(self) -> None:
        """We may die before we have ended it; what is gone already counts no more."""
        gone = running(1, name="b", state=ReplicaState.LOST, ended_at=NOON, cleaned_up=True)
        bill = worst_case(
            SPEC, (running(0, name="a"), gone), {"a": NOON}, NOON, 1.0, planned=(launch(kind=ActionKind.RETIRE),)
        )

        assert [line.replica for line in bill.lines] == ["a"]

    def test_a_replayed_grid_runs_through_its_money_faster(self) -> None:
        """Leases are physical time, money is grid time."""
        slow, fast = (worst_case(SPEC, (), {}, NOON, rate, planned=(launch(),)).usd for rate in (1.0, 60.0))

        assert slow is not None
        assert fast == pytest.approx(60 * slow)


class TestWhatAPlanMayBuy:
    """What is left out of a plan."""

    def test_without_a_budget_nothing_is(self) -> None:
        """The plan is the same one."""
        plan = plan_of(launch())

        assert within_budget(plan, SPEC, (), {}, NOON, 1.0).plan is plan

    def test_what_fits_is_kept_in_order_and_the_rest_is_named(self) -> None:
        """The first of two fits; ends of replicas always do."""
        spec = replace(SPEC, budget=MoneyBudget(usd_per_day=30.0))
        retire = Action(ActionKind.RETIRE, 5, "too many", replica="x")
        found = within_budget(plan_of(launch(1), launch(2), retire), spec, (running(usd=1.0),), {}, NOON, 1.0)

        assert [a.slot for a in found.plan.actions] == [1, 5]
        assert len(found.refused) == 1
        assert found.refused[0].startswith("r2 is not started in sky/se: budget.usd_per_day")
        assert found.plan.decision.kind is DecisionKind.PLACE
        assert "r2 is not started" in found.plan.decision.summary

    def test_a_plan_of_which_nothing_is_left_is_a_hold(self) -> None:
        """It says why."""
        spec = replace(SPEC, budget=MoneyBudget(usd_per_day=1.0))
        found = within_budget(plan_of(launch(1, kind=ActionKind.MOVE)), spec, (), {}, NOON, 1.0)

        assert found.plan.actions == ()
        assert found.plan.decision.kind is DecisionKind.HOLD
        assert found.plan.decision.summary.startswith("hold: r1 is not started")
