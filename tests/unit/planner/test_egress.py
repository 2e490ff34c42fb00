"""Egress in the cost of a move and under a budget: named terms that add up, ranges told, unknown dollars not spent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cli.render.egress import launch_lines, sentence
from orchestrator.domain.decision import DecisionKind, MoveComparison
from orchestrator.domain.money import Charge, MoneyBudget
from orchestrator.domain.service import ModelSpec, Objective, PlacementRules, Policy, WeighedTerm
from orchestrator.domain.time import HOUR, Window
from orchestrator.planner.egress import EGRESS
from orchestrator.planner.moves import NET_SCORE
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.spending import within_budget, worst_case
from tests.builders import GREEN, NOON, candidate, recomputed, replica, service_spec, snapshot

CHEAP = Policy(name="cheap", objective=Objective.CHEAPEST, max_extra_cost_fraction=None)
SCORED = Policy(
    name="scored",
    objective=Objective.LOWEST_SCORE,
    max_extra_cost_fraction=None,
    weigh=(WeighedTerm("usd_per_hour", 1.0, "USD/h"), WeighedTerm("grams_per_hour", 0.002, "g/h")),
)
HERE, THERE = candidate("aws/pl", 700.0, usd=1.0), candidate("aws/se", 30.0, usd=0.9)


def weighed(model: ModelSpec, policy: Policy = GREEN) -> MoveComparison:
    """Weigh the only move there is, of a service with that model, whose replicas run it already."""
    spec = replace(service_spec(), model=model)
    made = snapshot([HERE, THERE], [], spec)
    made = replace(made, replicas=(replica(HERE, workload_digest=made.workload_digest),))
    (found,) = plan(made, policy, NOON).decision.comparisons
    return found


def test_egress_is_a_term_of_a_move_and_everything_adds_up() -> None:
    """Grams and dollars: one named term each, its product, and sums that hold to a millionth."""
    found = weighed(ModelSpec("Qwen/Qwen3-8B", weights_from="aws/us-east-1"), CHEAP)
    (grams,) = (t for t in found.terms if t.name == EGRESS)
    (usd,) = (t for t in found.usd_terms if t.name == EGRESS)
    assert grams.amount == pytest.approx(-16 * 0.03 * 30.0)
    assert usd.amount == pytest.approx(-16 * 0.02)
    for term in (grams, usd):
        assert recomputed(term) == pytest.approx(term.amount, abs=1e-9)
    assert sum(t.amount for t in found.terms) == pytest.approx(found.net_grams, abs=1e-6)
    assert found.saved_grams - found.cost_grams == pytest.approx(found.net_grams, abs=1e-6)
    assert sum(t.amount for t in found.usd_terms) == pytest.approx(found.net_usd, abs=1e-6)


def test_a_score_pays_for_the_egress_too() -> None:
    """The terms of a policy's own weights add up to what its rule judges, egress among them."""
    found = weighed(ModelSpec("Qwen/Qwen3-8B", weights_from="gcp/europe-west3"), SCORED)
    judged = next(v.value for v in found.verdicts if v.rule == NET_SCORE)
    assert EGRESS in {t.name for t in found.score_terms}
    assert sum(t.amount for t in found.score_terms) == pytest.approx(judged, abs=1e-6)


def test_dear_egress_keeps_a_replica_where_it_stands() -> None:
    """The same move pays from the hub and does not from a bucket of another cloud: only the dollars differ."""
    free = weighed(ModelSpec("org/model-70B", weights_from="hub"), CHEAP)
    dear = weighed(ModelSpec("org/model-70B", weights_from="gcp/europe-west3"), CHEAP)
    assert free.net_usd is not None
    assert dear.net_usd == pytest.approx(free.net_usd - 140 * 0.12)
    assert free.net_usd > 0 > dear.net_usd
    assert not dear.approved


def test_unknown_dollars_are_no_saving() -> None:
    """Weights from somebody whose prices nobody has listed: a move for money's sake is refused, and says why."""
    found = weighed(ModelSpec("org/model-8B", weights_from="vast/here"), CHEAP)
    assert found.net_usd is None
    assert found.move_usd is None
    assert not found.usd_terms
    assert "vast" in sentence(found.egress) or "unknown dollars" in sentence(found.egress)


def test_what_nobody_knows_is_said_and_not_called_nothing() -> None:
    """Without a size there is no term, and the sentence names what to write."""
    found = weighed(ModelSpec("org/model"))
    assert [t.name for t in found.terms] == ["stay", "move", "cold start", "overlap"]
    assert "unknown" in sentence(found.egress)
    assert "model.weights_gb" in sentence(found.egress)


def test_what_is_already_there_is_no_egress() -> None:
    """Weights in the image: the costs of the move are those without a network, and nothing is told of it."""
    found = weighed(ModelSpec("Qwen/Qwen3-8B", weights_from="at-hand"))
    assert found.egress is None
    assert sentence(found.egress) == ""


def test_where_weights_come_from_is_no_other_workload() -> None:
    """Nobody's replicas are rolled over because their owner said where the weights lie."""
    one, other = (
        snapshot([], [], replace(service_spec(), model=m))
        for m in (ModelSpec("a/b-8B"), ModelSpec("a/b-8B", weights_gb=3.0, weights_from="at-hand"))
    )
    assert one.workload_digest == other.workload_digest


def test_a_charge_counts_the_fetch_in_the_period_of_its_start() -> None:
    """Once, and in no other window; unknown makes that window unknown and leaves the others alone."""
    charge = Charge("r", 1.0, NOON, NOON + 4 * HOUR, 0.5)
    assert charge.usd(Window(NOON - HOUR, NOON + 2 * HOUR)) == pytest.approx(2.5)
    assert charge.usd(Window(NOON + 2 * HOUR, NOON + 9 * HOUR)) == pytest.approx(2.0)
    assert charge.usd(Window(NOON - 2 * HOUR, NOON)) == 0.0
    unknown = replace(charge, once_usd=None)
    assert unknown.usd(Window(NOON, NOON + HOUR)) is None
    assert unknown.usd(Window(NOON + HOUR, NOON + 2 * HOUR)) == pytest.approx(1.0)


def test_a_budget_holds_the_dear_end_of_the_egress() -> None:
    """A launch whose rent fits is refused where rent and weights together do not; and so is one of unknown egress."""

    def refused(model: ModelSpec, usd: float) -> tuple[str, ...]:
        spec = replace(service_spec(), model=model, budget=MoneyBudget(usd_per_day=usd))
        wished = plan(snapshot([HERE], [], spec), CHEAP, NOON)
        return within_budget(wished, spec, [], {}, NOON, 1.0).refused

    near = ModelSpec("org/model-70B", weights_from="aws/us-east-1")
    rent = 12.0  # until midnight
    assert not refused(ModelSpec("org/model-70B"), rent + 0.1)
    assert refused(near, rent + 0.1)
    assert not refused(near, rent + 140 * 0.147 + 0.1)
    (why,) = refused(ModelSpec("org/model", weights_from="aws/us-east-1"), 1000.0)
    assert "model.weights_gb" in why


def test_the_worst_case_bill_names_the_egress_of_what_is_planned() -> None:
    """What runs has fetched its weights already; what is planned has not."""
    spec = replace(service_spec(), model=ModelSpec("org/model-70B", weights_from="aws/us-east-1"))
    wished = plan(snapshot([HERE], [], spec), CHEAP, NOON)
    stands = replica(HERE)
    bill = worst_case(spec, [stands], {stands.name: NOON + HOUR}, NOON, 1.0, planned=wished.actions)
    running, planned = bill.lines
    assert running.egress_usd == 0.0
    assert planned.egress_usd == pytest.approx(140 * 0.147)
    bare = worst_case(replace(spec, model=ModelSpec("a/b-70B")), [], {}, NOON, 1.0, planned=wished.actions)
    assert planned.usd == pytest.approx((bare.usd or 0.0) + 140 * 0.147)


def test_a_launch_goes_where_rent_and_weights_together_cost_least() -> None:
    """From a bucket in one cloud: a cent an hour of rent does not repay 17 dollars of traffic within the horizon."""
    model = ModelSpec("org/model-70B", weights_from="gcp/europe-west3")
    sold = [candidate("gcp/europe-west3", 30.0, usd=1.0), candidate("aws/se", 30.0, usd=0.9)]
    spec = replace(service_spec(), model=model)
    (launch,) = plan(snapshot(sold, [], spec), CHEAP, NOON).actions
    assert launch.region == "gcp/europe-west3"
    from_hub = replace(spec, model=replace(model, weights_from="hub"))
    (launch,) = plan(snapshot(sold, [], from_hub), CHEAP, NOON).actions
    assert launch.region == "aws/se"


def test_what_a_launch_is_ranked_by_adds_up() -> None:
    """The certificate is of running over the horizon and of the weights once, to a millionth, and explain says both."""
    spec = replace(service_spec(), model=ModelSpec("org/model-70B", weights_from="gcp/europe-west3"))
    for policy in (GREEN, CHEAP):
        decision = plan(snapshot([HERE, THERE], [], spec), policy, NOON).decision
        (taken,) = [a for a in decision.assessments if a.chosen]
        assert taken.fetch is not None
        running = taken.expected_grams_per_hour if policy is GREEN else taken.usd_per_hour
        once = taken.fetch.grams if policy is GREEN else taken.fetch.usd
        assert running is not None
        assert once is not None
        assert decision.certificate is not None
        assert decision.certificate.objective == pytest.approx(running * taken.fetch.hours + once, abs=1e-6)
        (words,) = launch_lines(decision)
        assert words.startswith(f"Fetching the weights for {taken.offer_id} is ")


def test_where_somebody_has_to_go_is_told_with_the_way_of_the_weights() -> None:
    """Whether a rule drives it out or a person sends it: the offers count what the certificate does."""
    spec = replace(service_spec(), model=ModelSpec("org/model-70B", weights_from="gcp/europe-west3"))
    made = snapshot([HERE, THERE], [], spec)
    made = replace(made, replicas=(replica(HERE, workload_digest=made.workload_digest),))
    denied = replace(made, spec=replace(spec, placement=PlacementRules(deny=("aws/pl",))))
    sent = plan_migration(made, GREEN, NOON, replica=None, to_region="aws/se", actor="ada", reason="as asked")
    for decision in (plan(denied, GREEN, NOON).decision, sent.decision):
        assert decision.kind is DecisionKind.MOVE
        (taken,) = [a for a in decision.assessments if a.chosen]
        assert taken.fetch is not None
        assert taken.fetch.grams is not None
        assert taken.expected_grams_per_hour is not None
        assert decision.certificate is not None
        once = taken.expected_grams_per_hour * taken.fetch.hours + taken.fetch.grams
        assert decision.certificate.objective == pytest.approx(once)
        (words,) = launch_lines(decision)
        assert words.startswith(f"Fetching the weights for {taken.offer_id} is ")


def test_a_decision_that_launches_nothing_tells_of_no_launch() -> None:
    """What stands has fetched its weights long ago, and moves have a term of their own."""
    spec = replace(service_spec(), model=ModelSpec("org/model-70B", weights_from="gcp/europe-west3"))
    made = snapshot([HERE], [], spec)
    made = replace(made, replicas=(replica(HERE, workload_digest=made.workload_digest),))
    decision = plan(made, GREEN, NOON).decision
    assert all(a.fetch is None for a in decision.assessments)
    assert launch_lines(decision) == []


def test_weights_that_are_there_change_no_rank() -> None:
    """No figure of a launch tells of a network then."""
    spec = replace(service_spec(), model=ModelSpec("Qwen/Qwen3-8B", weights_from="at-hand"))
    found = plan(snapshot([HERE, THERE], [], spec), GREEN, NOON).decision
    assert all(a.fetch is None for a in found.assessments)
