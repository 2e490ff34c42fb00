"""Each area's part of the load fits into the replicas near to it, wherever the others idle."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.plan import Action, ActionKind, Plan
from orchestrator.domain.scale import LoadSeen, WantedReplicas
from orchestrator.domain.service import ClientArea, PlacementRules, Scaling, ServiceSpec
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.advice.advise import Answer, advise
from orchestrator.planner.advice.shadow import shadow_prices
from orchestrator.planner.cover import COVER_RULE
from orchestrator.planner.judged import judge
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.promise import TTFT_RULE
from orchestrator.planner.rows import rows_of
from orchestrator.planner.sizing.share import capacity_on
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.standing import asks_the_same
from tests.builders import GREEN, NOON, snapshot
from tests.unit.planner.test_cover import FAR_APART, regions, serving, wanting
from tests.unit.planner.test_promise import L4, LOAD, place

MOSTLY_EU = (ClientArea("eu", 0.8), ClientArea("us-east", 0.2))
BUSY = replace(LOAD, requests_per_second=4.0, mean_in_flight=20.0)
"""Work for 0.89 of an L4, which two carry. One is kept 0.53 busy, so it takes 60 % of this, and not the 80 % of Europe.
"""

EUROPE, VIRGINIA = (f"{region}:1xL4:on_demand" for region in FAR_APART)


def split(number: int, most: int = 0, *clients: ClientArea, ms: float = 20.0, **placement: int) -> ServiceSpec:
    """A service with clients on both sides of the ocean, whose promise leaves so many milliseconds to way and queue."""
    spec = wanting(number)
    engine = capacity_on(spec, [L4]).serving_seconds(BUSY)
    assert engine is not None
    return replace(
        spec,
        clients=clients or MOSTLY_EU,
        ttft_p95=timedelta(seconds=engine, milliseconds=ms),
        scaling=Scaling(number, max(2, number, most)),
        placement=PlacementRules(**placement),
    )


def world(spec: ServiceSpec, *names: str, load: LoadSeen | None = BUSY) -> Snapshot:
    """What is sold in Frankfurt and Virginia, or here."""
    return snapshot([place(n) for n in names or FAR_APART], (), spec, load=load)


def scaling_up_to(most: int, number: int = 2, *names: str) -> Snapshot:
    """The same where load may have more; with replicas at these places."""
    spec = split(1, most)
    there = serving(spec, *names)
    scaled = replace(spec, scaling=replace(spec.scaling, min_replicas=number))
    return replace(world(scaled), replicas=there, sizing=WantedReplicas(number, 1, most, number, "load"))


def after(snap: Snapshot, actions: tuple[Action, ...]) -> list[str]:
    """The offers that replicas stand on once a plan is carried out."""
    gone = {a.replica for a in actions if a.replica}
    kept = [r.offer_id for r in snap.living() if r.name not in gone]
    return [*kept, *(a.offer_id for a in actions if a.offer_id)]


def test_both_ends_of_the_trade_off_serve_clients_as_well_as_the_plan() -> None:
    """Virginia is cleaner and as dear: three there would be the greenest, and Europe would have nobody near."""
    made = plan(world(split(3)), GREEN, NOON)
    ends = {end.name: Counter(end.placement) for end in made.frontier}

    assert ends["greenest"] == Counter({EUROPE: 2, VIRGINIA: 1})
    assert ends["cheapest"][EUROPE] >= 2

    anywhere = plan(world(replace(split(3), clients=())), GREEN, NOON)
    assert {end.name: Counter(end.placement) for end in anywhere.frontier}["greenest"] == Counter({VIRGINIA: 3})


def test_most_replicas_go_where_most_clients_are() -> None:
    """Virginia is cleaner, and one in Frankfurt is near to Europe; four fifths of the load do not fit into that one."""
    quiet = plan(world(split(3), load=replace(BUSY, requests_per_second=1.0)), GREEN, NOON)
    assert regions(quiet) == ["aws/frankfurt", "aws/virginia", "aws/virginia"]
    made = plan(world(split(3)), GREEN, NOON)
    assert regions(made) == ["aws/frankfurt", "aws/frankfurt", "aws/virginia"]
    assert made.decision.origins is not None
    assert [r.is_hopeless for r in made.decision.origins.rows] == [False, False]
    assert rows_of(judge(world(split(3)), GREEN, NOON), [EUROPE, VIRGINIA, VIRGINIA]).rows == ()  # type: ignore[union-attr]


def test_what_is_chosen_is_proven_best_of_all_that_are_enough() -> None:
    """The bound is of choices that are, so that nobody is told of a gap that none could close."""
    certificate = plan(world(split(3)), GREEN, NOON).decision.certificate
    assert certificate is not None
    assert certificate.gap == pytest.approx(0.0)


def test_a_number_that_is_too_small_near_to_clients_is_refused_with_the_one_that_is_enough() -> None:
    """Two would carry the load if all clients were in one place. The refusal says whose part fits nowhere."""
    with pytest.raises(NoFeasiblePlacement) as refused:
        plan(world(split(2)), GREEN, NOON)
    assert COVER_RULE in str(refused.value)
    assert "clients in eu make 80 % of the load, and what is near to them takes 59 % of it" in str(refused.value)
    assert refused.value.hint() == "Smallest change: raise service.replica_policy.min_replicas to 3."
    assert len(plan(world(split(3)), GREEN, NOON).actions) == 3


def test_a_limit_of_the_region_is_named_where_it_is_what_is_in_the_way() -> None:
    """One in each of two regions is all there may be; a second one in Frankfurt is what is wanted."""
    with pytest.raises(NoFeasiblePlacement) as refused:
        plan(world(split(3, max_per_region=1), "aws/frankfurt", "aws/virginia", "aws/iceland"), GREEN, NOON)
    assert "raise placement.max_per_region to 2" in refused.value.hint()


def test_load_that_is_too_much_wherever_clients_are_is_no_matter_of_nearness() -> None:
    """So many replicas would be too few in one place, too: such a deploy was never refused, and is told of."""
    made = plan(world(split(2), load=replace(BUSY, requests_per_second=20.0)), GREEN, NOON)
    assert len(made.actions) == 2
    assert "clients in eu, us-east make 100 % of the load, and what is near to any of them" in made.decision.summary


def test_the_number_rises_within_its_bounds_until_there_is_enough() -> None:
    """Load by itself wants two; nothing is to be bought for it, and one more is bought for those in Europe."""
    snap = scaling_up_to(4, 2, *FAR_APART)
    made = plan(snap, GREEN, NOON, keep_up=True)
    assert regions(made) == ["aws/frankfurt"]
    assert made.decision.sizing is not None
    assert made.decision.sizing.replicas == 3
    assert "clients in eu make 80 % of the load" in made.decision.sizing.because
    first = plan(replace(snap, replicas=()), GREEN, NOON)
    assert regions(first) == ["aws/frankfurt", "aws/frankfurt", "aws/virginia"]


def test_why_it_is_not_fewer_is_among_the_figures() -> None:
    """Two cost less and are too few near to Europe: whoever reads the numbers finds that beside them."""
    size = plan(replace(scaling_up_to(4), replicas=()), GREEN, NOON).decision.sizing
    assert size is not None
    assert "4 requests/s cost least so; with 2, clients in eu make 80 % of the load" in size.because
    assert any(f.name == "cost on 2" and "takes 59 % of it" in f.origin for f in size.figures)


def test_serving_comes_first_and_what_is_left_is_said() -> None:
    """Two is the most there may be. Who is up gets what there is: the most of it where it is short."""
    made = plan(world(split(2)), GREEN, NOON, keep_up=True)
    assert regions(made) == list(FAR_APART)
    assert "clients in eu make 80 % of the load, and what is near to them takes 59 % of it" in made.decision.summary
    assert "clients in" not in plan(world(split(3)), GREEN, NOON, keep_up=True).decision.summary


def test_no_move_by_itself_takes_what_clients_need() -> None:
    """Virginia is greener, and its neighbour in Frankfurt would still be near to Europe: near, and too little."""
    spec = split(3)
    snap = replace(world(spec), replicas=serving(spec, "aws/frankfurt", "aws/frankfurt", "aws/virginia"))
    made = plan(snap, GREEN, NOON)
    assert made.actions == ()
    away = next(c for c in made.decision.comparisons if c.to_offer == VIRGINIA)
    failed = next(v for v in away.verdicts if v.rule == COVER_RULE)
    assert (failed.passed, failed.unit) == (False, "load")
    assert "clients in eu make 80 % of the load" in failed.text
    calm = plan(replace(snap, load=replace(BUSY, requests_per_second=1.0)), GREEN, NOON)
    away = next(c for c in calm.decision.comparisons if c.to_offer == VIRGINIA)
    assert next(v for v in away.verdicts if v.rule == COVER_RULE).passed


def test_a_person_may_move_it_and_is_told_what_is_left() -> None:
    """A soft rule, as that of areas that nobody is near to."""
    spec = split(3)
    snap = replace(world(spec), replicas=serving(spec, "aws/frankfurt", "aws/frankfurt", "aws/virginia"))
    made = plan_migration(snap, GREEN, NOON, replica="r0", to_region="aws/virginia", actor="me", reason="asked")
    assert "what is near to them takes 58 % of it" in made.decision.summary


def retired(made: Plan) -> list[int]:
    """The slots of those that go."""
    return [a.slot for a in made.actions if a.kind is ActionKind.RETIRE]


def test_who_is_needed_near_to_clients_is_not_retired() -> None:
    """Load takes one fewer. The third one stays at this load, and at a little less, so that it is not bought again."""
    busy = scaling_up_to(4, 2, "aws/frankfurt", "aws/virginia", "aws/frankfurt")
    made = plan(busy, GREEN, NOON)
    assert made.actions == ()
    assert "r2 stays for clients in eu, to whom too few others keep slo.ttft_p95" in made.decision.summary
    assert retired(plan(replace(busy, load=replace(BUSY, requests_per_second=2.85)), GREEN, NOON)) == []
    assert retired(plan(replace(busy, load=replace(BUSY, requests_per_second=2.0)), GREEN, NOON)) == [2]
    abroad = scaling_up_to(4, 3, "aws/frankfurt", "aws/frankfurt", "aws/virginia", "aws/virginia")
    assert retired(plan(abroad, GREEN, NOON)) == [3]


def test_a_plan_that_was_carried_out_buys_nothing_more() -> None:
    """At the number that was decided, and at that of load, which is one fewer."""
    for number in (2, 3):
        rest = scaling_up_to(4, number, "aws/frankfurt", "aws/virginia", "aws/frankfurt")
        assert plan(rest, GREEN, NOON, keep_up=True).actions == ()


def test_one_that_is_lost_is_replaced_and_no_more() -> None:
    """The number in force is one of clients, and not of a rise of the load that no mean has seen yet."""
    snap = scaling_up_to(9, 3, "aws/frankfurt", "aws/virginia")
    assert regions(plan(snap, GREEN, NOON, keep_up=True)) == ["aws/frankfurt"]
    both = plan(scaling_up_to(9, 3, "aws/virginia"), GREEN, NOON, keep_up=True)
    assert regions(both) == ["aws/frankfurt", "aws/frankfurt"]
    anew = plan(replace(scaling_up_to(9), replicas=()), GREEN, NOON)
    sizes = [m.decision.sizing for m in (anew, both, plan(snap, GREEN, NOON, keep_up=True))]
    none, one, two = (size.figures[0].value for size in sizes if size is not None)
    # At the load that there is. Who stands already fetches no weights, by the grids of both, and that is all.
    assert (none - one) / 200.0 == pytest.approx((one - two) / 300.0)


def test_what_is_not_known_is_neither_enough_nor_too_little() -> None:
    """No load, no lengths, a word of the owner on what one carries, or nobody to ask: then plans are as without it."""
    assert judge(world(split(2), load=None), GREEN, NOON).nearby is None
    assert judge(world(split(2), load=replace(BUSY, output_tokens=None)), GREEN, NOON).nearby is None
    spec = split(2)
    told = replace(spec, scaling=replace(spec.scaling, target_qps_per_replica=3.0))
    assert judge(world(told), GREEN, NOON).nearby is None
    judged = judge(world(spec), GREEN, NOON)
    assert judged.nearby is not None
    assert judged.lack([EUROPE, "aws/gone:1xL4:on_demand"]) is None
    assert judged.lack([]) is None


def test_where_one_place_is_near_to_all_there_is_nothing_to_ask() -> None:
    """Then anybody may be sent anywhere, and pooled replicas carry what they always did."""
    loose = split(2, ms=300.0)
    assert judge(world(loose), GREEN, NOON).nearby is None
    assert regions(plan(world(loose), GREEN, NOON)) == ["aws/virginia"] * 2


def test_clients_whom_nobody_is_near_to_take_room_from_the_others() -> None:
    """They are served somewhere; what they take there is not left for those who are near to it."""
    far = (ClientArea("eu", 0.5), ClientArea("au", 0.5))
    judged = judge(world(split(2, 0, *far)), GREEN, NOON)
    assert judged.promised.left([EUROPE]) == {"au"}
    lack = judged.lack([EUROPE])
    assert lack is not None
    assert lack.areas == ("au", "eu")
    assert judged.lack([EUROPE, EUROPE]) is None


def test_a_place_near_to_all_may_serve_the_near_ones_by_their_own_promise() -> None:
    """Held to the farthest it takes nearly nothing; held to the nearest it takes what its queue lets it."""
    spec = split(2)
    snap = replace(world(spec, *FAR_APART), rtt_ms={"aws/frankfurt": 0.0, "aws/virginia": 0.0})
    judged = judge(snap, GREEN, NOON)
    assert judged.nearby is None  # measured, both are near to everybody
    assert judge(world(spec), GREEN, NOON).lack([EUROPE, EUROPE, VIRGINIA]) is None


def test_a_load_at_which_there_is_too_little_is_another_question() -> None:
    """A plan at rest stands while nothing changes that it depends on: that clients fit is such a thing."""
    spec = split(2, 2)
    there = replace(world(spec), replicas=serving(spec, *FAR_APART))
    fits = replace(there, load=replace(BUSY, requests_per_second=2.9))
    lacks = replace(there, load=replace(BUSY, requests_per_second=3.1))
    assert judge(fits, GREEN, NOON).lack([EUROPE, VIRGINIA]) is None
    assert judge(lacks, GREEN, NOON).lack([EUROPE, VIRGINIA]) is not None
    assert not asks_the_same(fits, lacks)
    assert asks_the_same(fits, replace(there, load=replace(BUSY, requests_per_second=2.85)))


class TestThePriceOfThePromise:
    """What it costs to be near to everybody, each tried by choosing all replicas anew."""

    def test_a_longer_promise_and_one_area_less_are_told_with_what_they_save(self) -> None:
        """Half an ocean more lets everybody be served from Iceland; without Europe all stand in Virginia."""
        snap = world(split(3), "aws/frankfurt", "aws/virginia", "aws/iceland")
        found = {p.change: p for p in shadow_prices(snap, GREEN, NOON) if p.is_of_all}
        longer = [p for p in found.values() if p.rule == TTFT_RULE]
        assert longer
        for price in longer:
            ms = int(price.change.rsplit(" ", 2)[1])
            later = replace(snap, spec=replace(snap.spec, ttft_p95=timedelta(milliseconds=ms)))
            before, then = (plan(s, GREEN, NOON).totals.grams_per_hour for s in (snap, later))
            assert before is not None
            assert then is not None
            assert before - then == pytest.approx(price.grams_per_hour_saved)
            assert price.saved_fraction == pytest.approx(1 - then / before)
            shorter = replace(snap, spec=replace(snap.spec, ttft_p95=timedelta(milliseconds=ms - 1)))
            again = plan(shorter, GREEN, NOON).totals.grams_per_hour
            assert again is not None
            assert before - again < price.grams_per_hour_saved
        without = found[f"take eu out of {COVER_RULE}"]
        assert (without.rule, without.by, without.replicas) == (COVER_RULE, "-80% of the clients", 3)
        assert without.region == "aws/virginia"
        assert without.grams_per_hour_saved > 0

    def test_a_promise_that_costs_nothing_is_not_told_of(self) -> None:
        """The greenest place of all is near to everybody, or all clients are in one area."""
        loose = world(split(2, ms=300.0), "aws/frankfurt", "aws/iceland")
        assert [p for p in shadow_prices(loose, GREEN, NOON) if p.is_of_all] == []
        alone = world(split(2, 2, ClientArea("eu", 1.0)))
        assert [p for p in shadow_prices(alone, GREEN, NOON) if p.is_of_all] == []

    def test_one_that_is_not_kept_has_no_price(self) -> None:
        """Nothing is near enough to Australia: there is no choice to compare others with."""
        snap = world(split(3, 3, ClientArea("eu", 0.5), ClientArea("au", 0.5)))
        assert [p for p in shadow_prices(snap, GREEN, NOON) if p.is_of_all] == []

    def test_advice_is_to_change_it_where_it_costs_most(self) -> None:
        """And says whose carbon it is: of all replicas, not of one."""
        spec = split(3)
        names = ("aws/frankfurt", "aws/virginia", "aws/iceland")
        there = serving(spec, "aws/frankfurt", "aws/frankfurt", "aws/virginia")
        found = advise(replace(world(spec, *names), replicas=there), GREEN, NOON)
        assert found.answer is Answer.CHANGE_THE_CONSTRAINT
        assert f"raise {TTFT_RULE} to" in found.because
        assert "of the carbon of all replicas" in found.because
