"""Batch work in the twin: rounds, deadlines, rivals that begin at once, and the best of hindsight."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.domain.service import BatchRules, Scaling, ServiceSpec
from orchestrator.domain.time import HOUR, Window
from orchestrator.errors import UsageError
from orchestrator.sim.batch import kept_promises, last_hour, rounds_of
from orchestrator.sim.request import Request, prepared
from orchestrator.sim.runs import Row
from orchestrator.sim.simulate import simulate
from tests.unit.sim.sample_world import PAST_DAYS, START, ZONES, carbon, period, request, rows, spec, wait

EVERY_DAY = tuple(range(7))
DAILY = BatchRules(engine_hours=6.0, due_days=EVERY_DAY, due_minute=0, margin=timedelta(minutes=30))
"""Three hours of two replicas, by midnight UTC of each day."""


def worker(batch: BatchRules = DAILY, **changes: Any) -> ServiceSpec:
    """Make a service with batch work, two replicas of it."""
    return spec(1, scaling=Scaling(0, 2), batch=batch, **changes)


def days(count: int, batch: BatchRules = DAILY, **changes: Any) -> Request:
    """Ask for so many days on grids that are clean from 10 to 16 o'clock, and have always been."""
    by_hour = [100.0 if 10 <= h < 16 else 400.0 for h in range(24)]
    values = dict.fromkeys(ZONES, by_hour * (PAST_DAYS + count))
    wanted = worker(batch)
    asked = request(spec=wanted, period=period(count), carbon=carbon(values), with_oracle=True, **changes)
    return replace(asked, policies={"ours": wanted.policy})


def test_ours_waits_for_the_clean_hours_and_rivals_do_not() -> None:
    """The same work by everybody and in time; a quarter of the grams, which is what the clean hours emit."""
    found = rows(days(2))
    ours, home, least = found["ours"], found["home"], found["oracle"]

    for row in found.values():
        assert (row.available_fraction, row.served_fraction) == (1.0, 1.0), row.policy
        assert row.replica_hours == pytest.approx(2 * 6, rel=0.03), row.policy
    assert least.grams == pytest.approx(home.grams / 4, rel=0.05)
    # The deploy shows that it can serve, at night: that start is in our bill.
    assert least.grams <= ours.grams < 1.1 * least.grams
    assert ours.about != home.about.removeprefix("at once: ")
    begun = [second % 86400 / 3600 for second, regions in ours.places if len(regions) == 2]
    assert all(10 <= hour < 13 for hour in begun)


def test_work_that_may_be_interrupted_takes_the_clean_hours_of_two_spells() -> None:
    """Two spells of two clean hours each hold three hours of work only if it may stop between them."""
    by_hour = [100.0 if h in {4, 5, 14, 15} else 400.0 for h in range(24)]
    values = dict.fromkeys(ZONES, by_hour * (PAST_DAYS + 1))
    grams = {}
    for preemptible in (False, True):
        asked = days(1, replace(DAILY, preemptible=preemptible))
        found = rows(replace(asked, carbon=carbon(values)))
        assert found["ours"].served_fraction == 1.0
        assert found["oracle"].grams <= found["ours"].grams * 1.005, "but for the raster of five minutes"
        grams[preemptible] = found["ours"].grams

    assert grams[True] < 0.85 * grams[False]


def test_hindsight_keeps_to_the_seats_of_a_region_and_says_where_it_cannot() -> None:
    """With one replica a region the second takes the second best place; with one region alone the limit is ignored."""
    clean = {zone: [100.0 * (k + 1)] * 24 * (PAST_DAYS + 1) for k, zone in enumerate(ZONES)}
    asked = days(1)
    found = {}
    for limit in (None, 1):
        wanted = replace(asked.spec, placement=replace(asked.spec.placement, max_per_region=limit))
        bound = rows(replace(asked, spec=wanted, carbon=carbon(clean)))["oracle"]
        found[limit] = sorted({r for _, regions in bound.places for r in regions})
        assert "ignoring" not in bound.about

    assert (len(found[None]), len(found[1])) == (1, 2)
    home = asked.spec.placement.home or found[None][0]
    alone = replace(asked.spec.placement, max_per_region=1, allow=(home,))
    assert "ignoring max_per_region" in rows(replace(asked, spec=replace(asked.spec, placement=alone)))["oracle"].about


def test_tokens_are_counted_by_the_ledger() -> None:
    """So many tokens at the rate of the file are as many engine hours, and the last token is written in time."""
    tokens = BatchRules(
        output_tokens=60_000, output_tokens_per_engine_hour=10_000.0, due_days=EVERY_DAY, margin=timedelta(minutes=30)
    )

    found = rows(days(2, tokens))

    assert found["ours"].served_fraction == pytest.approx(1.0, abs=0.01)
    assert found["ours"].replica_hours == pytest.approx(found["home"].replica_hours, rel=0.05)
    assert found["ours"].grams < found["home"].grams / 3


def test_a_single_deadline_ends_the_figures() -> None:
    """One round from the beginning to the deadline, which need not be a full hour."""
    once = BatchRules(engine_hours=4.0, deadline=datetime(2023, 3, 2, 17, 30))  # noqa: DTZ001  # by the file's clock
    asked = days(3, once)

    assert rounds_of(once, asked.period) == (Window(START, START + 41.5 * HOUR),)
    assert prepared(asked).period == Window(START, START + 42 * HOUR)
    found = rows(asked)
    assert found["ours"].available_fraction == 1.0
    assert found["ours"].replica_hours == pytest.approx(4.0, rel=0.1)


def test_rounds_follow_one_another_and_what_is_not_due_is_not_counted() -> None:
    """Two and a half days have two rounds that are due; the half one is left out."""
    span = Window(START, START + 60 * HOUR)
    rounds = rounds_of(DAILY, span)

    assert rounds == (Window(START, START + 24 * HOUR), Window(START + 24 * HOUR, START + 48 * HOUR))
    assert last_hour(rounds) == period(2)


def test_what_is_not_done_is_not_promised() -> None:
    """A round with half of its work is late, and half of it counts; what is done after the due time does not."""
    rounds = rounds_of(DAILY, period(2))
    whole, half = (0.0, 6 * 3600.0), (86400 + 21 * 3600.0, 86400 + 27 * 3600.0)

    kept = kept_promises([whole, half], period(2), rounds, 6.0)

    assert (kept.available_fraction, kept.served_fraction) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": replace(DAILY, due_minute=1439, due_days=(5,))}, "no round of the batch work is due"),
        ({"spot": True}, "batch work on spot"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    """A period without a due time, and rivals without a rule for a loss."""
    wanted = worker(changes.get("batch", DAILY))
    if changes.get("spot"):
        wanted = replace(wanted, resources=replace(wanted.resources, use_spot=True))

    with pytest.raises(UsageError, match=words):
        rows(replace(days(2), spec=wanted))


def test_rules_that_move_replicas_are_left_out_and_named() -> None:
    """Nobody is shown a row of a rule that has nothing to say of work that ends."""
    notes: list[str] = []

    async def collect() -> list[Row]:
        asked = replace(days(1), rules=("home", "regret", "B3", "greedy"), policies={}, with_oracle=False)
        return [row async for row in simulate(asked, lambda _name, _fraction: None, notes.append)]

    found = wait(collect())

    assert [row.policy for row in found] == ["home", "B3", "greedy"]
    assert all(math.isfinite(row.grams) for row in found)
    assert any("without regret" in words for words in notes)
    assert any("1 round of batch work" in words for words in notes)
