"""The twin scales: the controller by what the gateway counts, rivals by the same rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.service import PlacementRules, Scaling, ServiceSpec
from orchestrator.domain.time import Window
from orchestrator.sim.bill import moves_in
from orchestrator.sim.fleet import Fleet
from orchestrator.sim.layout import board_of, setting_of
from orchestrator.sim.oracle import as_rule, best, filled_in
from orchestrator.sim.sizes import Sizes, sizes_of
from orchestrator.sim.workload import Workload
from orchestrator.sim.world import Run, TwinWorld
from tests.unit.sim.sample_world import carbon, period, request, rows, spec, wait

SPAN: Window = period(2)
SWING = [0.5] * 8 + [5.0] * 8 + [0.5] * 8
"""Requests per second over a day: one replica at a target of 2, then three."""
DELAY = timedelta(minutes=5)


def load_of(rates: list[float]) -> Workload:
    """Make a load that repeats these hours."""
    hours = round(SPAN.hours)
    return Workload("steps", tuple(rates[h % len(rates)] for h in range(hours)), 8.0, 500.0, 200.0)


def scaled(most: int = 4, target: float | None = 2.0, **changes: object) -> ServiceSpec:
    """Make a service that load scales."""
    return spec(1, scaling=Scaling(1, most, target, downscale_delay=DELAY), **changes)


def lived(wanted: ServiceSpec, load: Workload) -> tuple[Run, TwinWorld]:
    """Let the real controller live through it."""
    setting = wait(setting_of(request(spec=wanted, period=SPAN, load=load)))
    world = TwinWorld(setting, wanted)
    return wait(world.live()), world


def test_the_controller_scales_with_the_recorded_load() -> None:
    """Three replicas while there is ten times the load, one before and after; nobody goes unserved."""
    wanted = scaled()
    run, world = lived(wanted, load_of(SWING))

    assert {len(regions) for _, regions in run.places} >= {1, 3}
    busy = [len(regions) for second, regions in run.places if 8 * 3600 + 600 < second < 16 * 3600]
    quiet = [len(regions) for second, regions in run.places if 17 * 3600 < second < 32 * 3600]
    assert set(busy) <= {3}
    assert set(quiet) <= {1, 2}, "while one moves, two are there"
    assert run.service.served_fraction == 1.0
    # Each of two mornings asks for a start, which takes its two minutes and a look or two.
    missing = SPAN.length.total_seconds() * (1 - run.service.available_fraction)
    assert 2 * 120 <= missing <= 2 * 400
    assert 48 + 2 * 16 * 0.9 < run.account.replica_hours < 48 + 2 * 16 * 1.15
    assert run.failed_looks == 0
    decisions = world.runtime.store.decisions("chat", limit=1000)
    assert any(d.kind is DecisionKind.SCALE and d.sizing is not None and d.sizing.replicas == 3 for d in decisions)


def test_rivals_hold_what_the_load_needs() -> None:
    """Home has three replicas in the busy hours, and lets them go when the delay is over."""
    found = rows(request(spec=scaled(), period=SPAN, load=load_of(SWING), policies={"ours": spec().policy}))

    home, ours = found["home"], found["ours"]
    per_day = 24 + 2 * (8 * 3600 + DELAY.total_seconds()) / 3600
    assert home.replica_hours == pytest.approx(2 * per_day, rel=0.02)
    assert ours.replica_hours == pytest.approx(home.replica_hours, rel=0.05)
    assert home.moves == 0, "to scale is not to move"
    assert home.available_fraction == pytest.approx(1 - 2 * 120 / SPAN.length.total_seconds(), abs=1e-4)


@pytest.mark.parametrize("limit", [None, 1])
def test_the_oracle_scales_and_nobody_with_its_numbers_is_below(limit: int | None) -> None:
    """It holds as many as everybody, in every hour; its bill is its value but for the first minutes of a change."""
    rules = PlacementRules(home="sky/de", max_per_region=limit)
    asked = request(spec=scaled(most=3, placement=rules), period=SPAN, load=load_of(SWING), carbon=carbon(days=2))
    setting = wait(setting_of(asked))
    board = wait(board_of(asked, setting, asked.spec))
    found = best(board)

    assert [int((row >= 0).sum()) for row in found.path] == list(board.sizes.held)
    stays = Fleet(board, as_rule(found.path), filled_in(found.path)).play()
    assert len(stays) - moves_in(stays) >= 3

    each = rows(replace(asked, rules=("B3", "greedy", "casper"), with_oracle=True))
    least = each["oracle"].grams
    assert least == pytest.approx(found.grams, rel=0.02)
    for name in ("B3", "greedy", "casper"):
        assert each[name].grams >= least * (1 - 2e-3), name


def test_the_number_follows_the_rules_of_the_product() -> None:
    """Up at once; down only where a tenth more load would fit, too; never outside the bounds."""
    load = Workload("steps", (1.0, 3.9, 9.0, 3.9, 3.5), 8.0, 500.0, 200.0)

    found = sizes_of(scaled(most=3), load, ())

    assert found == Sizes((1, 2, 3, 2, 2), (1, 2, 3, 3, 2), 300.0, 256)
    assert found.most == 3
    assert sizes_of(spec(2), load, ()).held == (2,) * 5


def test_more_than_the_engines_have_places_for_is_said() -> None:
    """A service that may not grow: everybody is answered, and those who had to wait are counted."""
    load = Workload("steps", (1.0,) * 24 + (40.0,) * 24, 8.0, 500.0, 200.0)
    found = rows(request(spec=spec(1), period=SPAN, load=load, policies={"ours": spec().policy}))

    for name in ("home", "ours"):
        assert found[name].crowded_fraction == pytest.approx(40 / 41, rel=1e-3), name
        assert found[name].served_fraction == 1.0
