"""Bugs that other systems have shipped, put into our own code one at a time: the simulation has to catch each.

A mutant is a change of the text of one function. It is made in memory, for as long as the mutant is looked for; a
function that no longer has that text is an error, so that mutants cannot quietly become harmless. The numbers are
those of the published bugs:

B1 skypilot #3470, B2 skypilot #4410, B3 skypilot #4443, B4 skypilot #8564, B5 skypilot #8563, B6 skypilot #3255,
B7 skypilot #10444, B8 karpenter-provider-hetzner #53, B9 karpenter #1448, B10 karpenter-provider-aws #549, B11 dstack
#3453, B12 marin-dna #564, B13 karpenter #1019, B14 karpenter #1293, B15 ray #18925, B16 ray #43034, B17 ray #43030, B18
ray #41726, B19 vllm #24885, B20 production-stack #749, B21 keda #1850, B22 green-scheduler #306, B23
electricitymaps-contrib #6351, B24 litellm #38121, B25 kubernetes #23731, B26 apscheduler #864, B27 skypilot #4044, B28
skypilot 32c55be. R are mistakes that our own design warns of;
those of the gateway have the number of the promise that they break.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.bench.sim.faults import AREAS, TTFT_SECONDS, Fault, Limits, Setting, Work, setting_of
from orchestrator.bench.sim.run import run
from tests.gateway_mistakes import MISTAKES, Mistake, told
from tests.sim.crash import STORIES, Crash, tell


class NoLongerThere(Exception):
    """The text that a mutant changes is not in the function any more."""


@dataclass(frozen=True, slots=True)
class Change:
    """``where``: module and name of a function or method, ``old`` and ``new``: text in it."""

    where: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug. ``scenes`` are tried first, because they are about it; then random days are.

    ``tests``: who has to catch what is out of the simulation's sight, gateways and feeds: files of the other suites.
    ``mistake``: one of the gateway's, with the story of the real gateway in which it shows.
    """

    name: str
    bug: str
    changes: tuple[Change, ...]
    scenes: tuple[Setting, ...] = ()
    stories: tuple[tuple[str, int, Crash | None], ...] = ()
    tests: tuple[str, ...] = ()
    mistake: Mistake | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a mutant was caught, by which promise and where."""

    mutant: Mutant
    killed_by: str = ""
    where: str = ""
    runs: int = 0
    scene: Setting | None = None


def _day(seed: int, *faults: tuple[float, str, float, float], hours: float = 4.0, **changes: Any) -> Setting:
    numbered = tuple(Fault(n, *fault) for n, fault in enumerate(faults))
    return Setting(seed, numbered, hours=hours, **{"recovery_hours": 3.0, "rest_hours": 0.5} | changes)


_NOISE = tuple((1900.0 + 150.0 * n, "kill_at_call", 10.0, n / 12) for n in range(12))
_LOSSES = tuple((2000.0 + 900.0 * n, "preempt", 0.0, 0.3 * (n % 3)) for n in range(8))
_DEAF = tuple((2000.0 + 1500.0 * n, "deaf", 1200.0, 0.3 * (n % 3)) for n in range(6))
_CUT_OFF = tuple((2000.0 + 1500.0 * n, "all_deaf", 1200.0, 0.0) for n in range(6))
_ELSEWHERE = tuple((2000.0 + 300.0 * n, kind, 0.0, 0.3) for n, kind in enumerate(("create_elsewhere", "preempt") * 6))

_BROKEN_ASLEEP = tuple((2000.0 + 1800.0 * n, "broken_workload", 0.0, 0.0) for n in range(8))
_UNSETTLED = tuple((1800.0 * n, ("prices_away", "move", "kill")[n % 3], 900.0, 0.3 * (n % 3)) for n in range(2, 40))
_TAKEN = tuple((1800.0 * n, "preempt", 0.0, 0.3 * (n % 3)) for n in range(2, 40))
_FAILING = tuple((3000.0 + 1100.0 * n, "machine_fails", 0.0, (0.05 + 0.37 * n) % 1) for n in range(9))
_MOVING = tuple(
    (4000.0 + 900.0 * n, ("move", "preempt", "new_workload")[n % 3], 0.0, (n * 0.37) % 1) for n in range(14)
)
_OTHER_VARIANTS = tuple((3000.0 + 1500.0 * n, "new_workload", 0.0, (0.2, 0.5, 0.9)[n % 3]) for n in range(7))
_MORE_AND_ELSEWHERE = tuple(
    (2400.0 + 1500.0 * n, ("scale", "preempt", "move")[n % 3], 0.0, (0.9, 0.3, 0.6)[n % 3]) for n in range(14)
)
_ASLEEP_AT_A_SECOND_TRY = tuple(
    (2000.0 + 900.0 * n + late, kind, 40.0 * (kind == "sleep_at_call"), pick)
    for n, (asleep, at_call) in enumerate(((40.0, 0.15), (20.0, 0.2)) * 2)
    for late, kind, pick in (
        (0.0, "create_lost", 0.0),
        (1.0, "machine_fails", 0.3 * (n % 3)),
        (asleep, "sleep_at_call", at_call),
    )
)
_SILENT = tuple(
    (2000.0 + 1800.0 * n + late, kind, seconds, pick)
    for n in range(4)
    for late, kind, seconds, pick in ((0.0, "host_asleep_in_launch", 600.0, 0.9), (1.0, "preempt", 0.0, 0.3 * (n % 3)))
)
_STOOD_STILL = tuple(
    (2000.0 + 1200.0 * n + late, kind, seconds, 0.3 * (n % 3))
    for n in range(4)
    for late, kind, seconds in ((0.0, "host_asleep_before_launch", 100.0), (1.0, "preempt", 0.0))
)
_STOPPED = tuple(
    (2000.0 + 1800.0 * n + late, kind, seconds, 0.3 * (n % 3))
    for n in range(4)
    for late, kind, seconds in ((0.0, "host_stops_in_launch", 600.0), (1.0, "preempt", 0.0))
)
_LOST_AND_NEW = ((3000.0, "preempt", 0.0, 0.0), (3050.0, "new_workload", 0.0, 0.4))
_NEW_EVERY_HOUR = tuple((3600.0 * n, "new_workload", 0.0, 0.3 * (n % 3)) for n in range(2, 18))


def _working(seed: int, work: Work, *faults: tuple[float, str, float, float]) -> Setting:
    return _day(seed, *faults, work=work, hours=24.0, recovery_hours=10.0)


def _far_apart(seed: int, *faults: tuple[float, str, float, float]) -> Setting:
    return _day(
        seed, *faults, clients=AREAS, ttft_seconds=TTFT_SECONDS, replicas=3, lag_seconds=5.0, drain_seconds=120.0
    )


def _on_two_hosts(seed: int, *faults: tuple[float, str, float, float]) -> Setting:
    return _day(seed, *faults, hosts=True, hours=3.0)


def _varied(seed: int, *faults: tuple[float, str, float, float]) -> Setting:
    return _day(seed, *faults, varied=True, replicas=2)


def _limited(seed: int, limits: Limits, *faults: tuple[float, str, float, float]) -> Setting:
    return _day(seed, *faults, hours=7.0, limits=limits, replicas=2)


def _surviving(seed: int, *faults: tuple[float, str, float, float], **changes: Any) -> Setting:
    return _day(seed, *faults, survives=True, replicas=3, hours=5.0, **changes)


def _unnamed(seed: int, *faults: tuple[float, str, float, float]) -> Setting:
    return _day(seed, *faults, unnamed=True, replicas=2)


_APPLIER = "orchestrator.control.apply:Applier."
_ROLLOUT = "orchestrator.planner.rollout:"
_SURVIVING = "orchestrator.planner.surviving:"
_CONTROLLER = "orchestrator.control.controller:Controller."
MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the intent is said to be under way after the call",
        "B8",
        (
            Change(
                _APPLIER + "_issue",
                "        self._journal.set_intent(replica.intent_id, IntentState.ISSUED, now)\n",
                "",
            ),
        ),
        (_day(1),),
    ),
    Mutant(
        "the launch is not journaled at all",
        "B1",
        (
            Change(
                _APPLIER + "_start",
                "self._journal.start_replica(replica, planned, placement, lease_ends_at=ends_at, cap=cap)",
                "pass",
            ),
        ),
        (_day(1),),
    ),
    Mutant(
        "whoever is too busy to answer us is lost, whatever it answers its clients",
        "R",
        (Change("orchestrator.control.observe:Watch.bad_looks", "if met.answered:", "if not name:"),),
        (_day(1, *_DEAF),),
    ),
    Mutant(
        "a controller that can hear nobody gives everybody up",
        "R",
        (
            Change(
                "orchestrator.control.observe:Watch.bad_looks",
                "if self.is_cut_off:",
                "if not name:",
            ),
        ),
        (_day(1, *_CUT_OFF, replicas=3, look_seconds=1.0, waiting_seconds=1.0),),
    ),
    Mutant(
        "wherever a machine was asked for, there it is taken to be",
        "R",
        (
            Change(
                "orchestrator.control.observe:_one",
                "if instance.runs_in and instance.runs_in.casefold() != replica.region.casefold():",
                "if not instance.name:",
            ),
        ),
        (_day(1, *_ELSEWHERE),),
    ),
    Mutant(
        "leases are not renewed",
        "B12",
        (
            Change(
                _CONTROLLER + "reconcile",
                "await self._renewals.look(service, replicas, self._watch.instances)",
                "pass",
            ),
        ),
        (_day(1),),
    ),
    Mutant(
        "machines have no lease",
        "B12",
        (Change(_APPLIER + "_issue", "lease=service.spec.lease,", "lease=None,"),),
        (_day(1),),
    ),
    Mutant(
        "a retry has another name",
        "B9",
        (
            Change(
                _APPLIER + "_issue",
                "name=replica.name,",
                'name=f"{replica.name}-{int(self._runtime.clock.monotonic())}",',
            ),
        ),
        (_day(1, lag_seconds=60.0),),
    ),
    Mutant(
        "a request that is begun again starts another launch",
        "B9, B26",
        (
            Change(
                _APPLIER + "_start",
                "intent = intent_id(cause, action.slot)",
                'intent = intent_id(f"{cause}{self._runtime.clock.monotonic()}", action.slot)',
            ),
            Change(_APPLIER + "actions", "if action.kind is ActionKind.LAUNCH and taken:", "if False:"),
        ),
        stories=tuple(("deploy", 0, Crash(point, "killed before")) for point in range(5, 20)),
    ),
    Mutant(
        "what a provider does not show yet is taken for gone",
        "B3",
        (
            Change(
                _ROLLOUT + "_starting",
                "elif seen.exists is False and replica.state is ReplicaState.STARTING:",
                "elif seen.exists is False:",
            ),
        ),
        (_day(2, lag_seconds=120.0),),
    ),
    Mutant(
        "what is cancelled before it is up is forgotten",
        "B2",
        (
            Change(
                _ROLLOUT + "_draining",
                'yield Step(StepKind.TERMINATE, replica.name, "it never served")',
                "yield Step(StepKind.ENDED, replica.name, replica.reason)",
            ),
        ),
        (_day(3, (1860.0, "scale", 0.0, 0.99), (1900.0, "down_and_up", 600.0, 0.0), replicas=1),),
    ),
    Mutant(
        "what comes up after it was given up is nobody's",
        "B11",
        (
            Change(
                "orchestrator.control.sweep:Sweeper._compare",
                "for outlived in seen.outlived:",
                "for outlived in ():",
            ),
        ),
        (_day(7, (2000.0, "create_late", 2300.0, 0.5), (2100.0, "preempt", 0.0, 0.0)),),
    ),
    Mutant(
        "an end is asked for once",
        "B11",
        (
            Change(
                _APPLIER + "_terminate",
                "            self._journal.set_intent(ending, IntentState.ISSUED, now)\n",
                "            self._journal.set_intent(ending, IntentState.ISSUED, now)\n"
                "        else:\n            return\n",
            ),
        ),
        (_day(4, (1900.0, "end_lies", 0.0, 0.0), (2000.0, "scale", 0.0, 0.0), replicas=3),),
    ),
    Mutant(
        "an ended record is closed without asking its provider",
        "B10",
        (Change(_ROLLOUT + "_after_the_end", "if seen.exists is False:", "if True:"),),
        (_day(5, (1900.0, "freeze", 900.0, 0.0)),),
    ),
    Mutant(
        "older turns may write",
        "B25",
        (Change("orchestrator.store.memory_journal:MemoryJournal._at_turn", "if newest != self._epoch:", "if False:"),),
        (_day(6, *((1900.0 + 700 * n, "sleep_at_call", 500.0, n / 20) for n in range(12)), *_LOSSES),),
    ),
    Mutant(
        "the turn is not checked before a second try",
        "B4",
        (
            Change(
                _APPLIER + "_issue",
                "        self._journal.set_intent(replica.intent_id, IntentState.ISSUED, now)\n        if ",
                "        if replica.state is ReplicaState.PENDING:\n"
                "            self._journal.set_intent(replica.intent_id, IntentState.ISSUED, now)\n        if ",
            ),
        ),
        tuple(_day(seed, *_ASLEEP_AT_A_SECOND_TRY, lag_seconds=120.0, look_seconds=5.0) for seed in range(3)),
    ),
    Mutant(
        "recovery fails on a record that is on its way out",
        "B5",
        (
            Change(
                _CONTROLLER + "reconcile",
                "        sold = await self._market.sold(service)\n",
                "        sold = await self._market.sold(service)\n"
                "        if any(r.state.value == 'draining' and r.name not in self._watch.told for r in replicas):\n"
                "            raise AssertionError('no such state')\n",
            ),
        ),
        stories=tuple(("move", 0, Crash(point, "killed before")) for point in range(60, 190, 8)),
    ),
    Mutant(
        "one more than the most",
        "B6",
        (
            Change(
                "orchestrator.planner.slots:standing_slots",
                "return spec.scaling.min_replicas +",
                "return 1 + spec.scaling.min_replicas +",
            ),
        ),
        (_day(9),),
    ),
    Mutant(
        "what serves dies before what starts",
        "B16",
        (
            Change("orchestrator.planner.plan:_may_leave", "if enough or r.state is not ReplicaState.READY", "if True"),
            Change("orchestrator.control.apply:_may_retire", "return ", "return True or "),
        ),
        (
            _day(10, (2000.0, "preempt", 0.0, 0.0), (2004.0, "scale", 0.0, 0.5), replicas=3, look_seconds=1.0),
            *(
                _day(seed, *_LOSSES, *((2003.0 + 900 * n, "scale", 0.0, (n * 0.37) % 1) for n in range(8)), replicas=3)
                for seed in range(4)
            ),
        ),
    ),
    Mutant(
        "what drains counts as serving",
        "B17",
        (
            Change(
                _ROLLOUT + "_serves",
                "replica.state is ReplicaState.READY and",
                "replica.state in {ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.STARTING} and",
            ),
        ),
        (
            _day(11, (2000.0, "new_workload", 0.0, 0.9), (2100.0, "preempt", 0.0, 0.9), replicas=2),
            *(
                _day(
                    seed,
                    *((2000.0 + 600 * n, "new_workload", 0.0, (n * 0.37) % 1) for n in range(10)),
                    *((2090.0 + 600 * n, "preempt", 0.0, (n * 0.31) % 1) for n in range(10)),
                    replicas=3,
                )
                for seed in range(4)
            ),
        ),
    ),
    Mutant(
        "the old one leaves before the new one serves",
        "R",
        (
            Change(_ROLLOUT + "_canary", ">= view.spec.scaling.min_replicas", ">= 0"),
            Change(_ROLLOUT + "_canary", "if later:", "if False:"),
        ),
        (
            _day(
                12,
                *((2000.0 + 600 * n, "new_workload", 0.0, (n * 0.37) % 1) for n in range(10)),
                *((2090.0 + 600 * n, "preempt", 0.0, (n * 0.31) % 1) for n in range(10)),
                replicas=3,
            ),
        ),
    ),
    Mutant(
        "requests in flight are not waited for",
        "B18",
        (Change(_ROLLOUT + "_draining", "elif not _may_serve(replica, seen):", "elif True:"),),
        (_day(13, (2000.0, "move", 0.0, 0.1), (3000.0, "move", 0.0, 0.5)),),
    ),
    Mutant(
        "whoever waits wakes nobody",
        "R",
        (Change("orchestrator.planner.wanted:_asleep", "idle is None or not idle.wakes", "True"),),
        (_day(1, hours=8.0, sleeps=True),),
    ),
    Mutant(
        "the last one leaves as soon as the load allows it",
        "R",
        (Change("orchestrator.planner.wanted:wanted", "if idle.may_sleep:", "if True:"),),
        (_day(1, hours=8.0, sleeps=True),),
    ),
    Mutant(
        "a new workload of a service that sleeps need not serve",
        "R",
        (Change("orchestrator.control.gather:_is_unproven", "return is_new or any(", "return False and any("),),
        (_day(1, *_BROKEN_ASLEEP, hours=6.0, sleeps=True, recovery_hours=4.0),),
    ),
    Mutant(
        "whatever was decided on, the model itself is launched",
        "R",
        (
            Change(
                "orchestrator.control.apply:_model",
                "    return model\n",
                "    return service.spec.model\n",
            ),
        ),
        (_varied(0, *_OTHER_VARIANTS),),
    ),
    Mutant(
        "what is launched is what was deployed last, whatever is on record",
        "R",
        (
            Change(
                "orchestrator.control.apply:_model",
                "if model_digest(service.spec, model) != replica.workload_digest:",
                "if False:",
            ),
        ),
        (_day(1, *_LOST_AND_NEW, look_seconds=30.0, hours=1.5),),
    ),
    Mutant(
        "nobody asks whether a variant is good enough",
        "R",
        (Change("orchestrator.planner.variants:_verdicts", "good = quality.of_main >= quality.floor", "good = True"),),
        (_varied(0, *_OTHER_VARIANTS),),
    ),
    Mutant(
        "whoever was good enough when it came up stays",
        "R",
        (
            Change(
                "orchestrator.planner.plan:_why_it_has_to_move",
                "if any(not v.passed and v.rule in STANDING_RULES for v in here.verdicts):",
                "if False:",
            ),
        ),
        (_varied(0, *_OTHER_VARIANTS),),
    ),
    Mutant(
        "nobody's word is carried out",
        "R",
        (
            Change(
                "orchestrator.control.reaper:Reaper.act",
                "for request in self._journal.reap_requests():",
                "for request in ():",
            ),
        ),
        (_day(3, *((2500.0 + 700.0 * n, "stray_ours", 0.0, 0.2 * n) for n in range(3)), hours=2.0),),
    ),
    Mutant(
        "a budget is only shown",
        "R",
        (Change("orchestrator.domain.money:refusal", "if held + wanted > cap + SMALLEST_USD:", "if False:"),),
        (_limited(1, Limits(usd_per_day=30.0), *_MORE_AND_ELSEWHERE),),
    ),
    Mutant(
        "a region takes as many as there are",
        "R",
        (
            Change(
                "orchestrator.planner.choose:choose",
                "limit = rules.max_per_region if rules.max_per_region is not None else inf",
                "limit = inf",
            ),
        ),
        (_limited(1, Limits(per_region=1), *_MORE_AND_ELSEWHERE),),
    ),
    Mutant(
        "windows are only shown",
        "R",
        (Change("orchestrator.planner.schedule:schedule_verdict", "timetable.lets_move, words", "True, words"),),
        (_limited(1, Limits(window=(3, 4)), *_MORE_AND_ELSEWHERE),),
    ),
    Mutant(
        "one spare too few where a region may be lost",
        "R",
        (Change(_SURVIVING + "surviving", "num_overprovision=spares)", "num_overprovision=spares - 1)"),),
        (_surviving(1),),
    ),
    Mutant(
        "one spare too many where a region may be lost",
        "R",
        (Change(_SURVIVING + "surviving", "spares = max(number, of_now)", "spares = max(number, of_now) + 1"),),
        (_surviving(1),),
    ),
    Mutant(
        "whoever moves by itself goes where it is greenest, whatever a loss would leave",
        "R",
        (
            Change(_SURVIVING + "may_move", "if snapshot.surviving is None:", "if True:"),
            Change(
                "orchestrator.planner.voluntary:_ways",
                "has_room = limit is None or others[assessment.region] < limit",
                "has_room = True",
            ),
        ),
        (_surviving(1),),
    ),
    Mutant(
        "a region that is away counts as one where somebody could be placed",
        "R",
        (
            Change(
                "orchestrator.planner.judged:_usable",
                "own = regions_open(judged, {spec.market}) -",
                'own = regions_open(judged, {spec.market}, {"capacity"}) -',
            ),
        ),
        (_surviving(1, (3000.0, "region_lost", 9000.0, 0.5)),),
    ),
    Mutant(
        "nobody moves out of a region that holds more than may be lost",
        "R",
        (
            Change(
                "orchestrator.planner.plan:_spreading_moves",
                "if made is None or not made.is_possible or snapshot.in_motion():",
                "if snapshot is not None:",
            ),
        ),
        (_surviving(1, (3000.0, "region_lost", 9000.0, 0.1), (3600.0, "region_lost", 7000.0, 0.5)),),
    ),
    Mutant(
        "every replica is asked by the name in the newest file",
        "R",
        (
            Change(
                "orchestrator.control.revisions:model_run_by", "if replica.revision == service.revision:", "if True:"
            ),
        ),
        (_unnamed(0, *_OTHER_VARIANTS),),
    ),
    Mutant(
        "clients are sent to every replica with the name in the newest file",
        "R",
        (
            Change(
                "orchestrator.control.routes:Routes.refresh",
                "models = {r.name: model_run_by(r, service, self._journal, self._watch.models) for r in replicas}",
                "models = {r.name: service.spec.model for r in replicas}",
            ),
        ),
        (_unnamed(0, *_OTHER_VARIANTS),),
    ),
    Mutant(
        "clients are sent to one that has come up and takes nothing yet",
        "R",
        (
            Change(
                "orchestrator.control.traffic:_rows",
                "if all(any(weight for _, weight in row.weights) for row in found) else ()",
                "if found else ()",
            ),
        ),
        (_far_apart(7, *_FAILING),),
    ),
    Mutant(
        "clients of an area are sent to who is about to go",
        "R",
        (Change("orchestrator.control.traffic:_row", " if not u.draining", ""),),
        tuple(_far_apart(seed, *_MOVING) for seed in range(4)),
    ),
    Mutant(
        "work that must not be interrupted is, for cleaner hours",
        "R",
        (Change("orchestrator.planner.deferral:decide", "if job.running and not job.preemptible:", "if False:"),),
        (_working(1, Work(3.0, 18.0)),),
    ),
    Mutant(
        "a decision on something else forgets that the work has begun",
        "R",
        (
            Change(
                "orchestrator.control.past:_as_before",
                "needed = None if known.until is None else known.needed",
                "needed = None",
            ),
        ),
        tuple(_working(seed, Work(3.0, 14.0 + seed), *_UNSETTLED) for seed in range(4)),
    ),
    Mutant(
        "work is shared twice by those who do it",
        "R",
        (
            Change(
                "orchestrator.planner.batch:_length",
                "hours = work.left_hours / crew.replicas",
                "hours = work.left_hours / crew.replicas / crew.replicas",
            ),
        ),
        tuple(_working(seed, Work(3.0, 18.0)) for seed in range(4)),
    ),
    Mutant(
        "what was done by those who are gone counts no longer",
        "R",
        (
            Change(
                "orchestrator.control.batch:round_of",
                "records.replicas(spec.name, ended=True, ended_since=start)",
                "records.replicas(spec.name)",
            ),
        ),
        tuple(_working(seed, Work(3.0, 18.0), *_TAKEN) for seed in range(1, 4)),
    ),
    Mutant(
        "another workload is taken for other work",
        "R",
        (Change("orchestrator.control.batch:_begun_at", "spec.batch != batch", "spec != record.spec"),),
        (_working(1, Work(3.0, 18.0), *_NEW_EVERY_HOUR),),
    ),
    Mutant(
        "who has done all of the work stays",
        "R",
        (
            Change(
                "orchestrator.planner.batch:batch_wanted",
                "if work.left_hours <= _LITTLE_HOURS:",
                "if work.left_hours <= _LITTLE_HOURS and last is None:",
            ),
        ),
        (_working(1, Work(3.0, 18.0)),),
    ),
    Mutant(
        "what answers requests is ended at once because its record never did",
        "B18",
        (Change(_ROLLOUT + "_may_serve", " or bool(seen.in_flight)", ""),),
        tests=("tests/unit/planner/test_rollout.py", "tests/property/test_rollout_properties.py"),
    ),
    Mutant(
        "the drain limit runs while the gateway still routes there",
        "B18",
        (
            Change(
                _ROLLOUT + "_waited_enough",
                "if seen.routed_away:",
                "if _in_state(replica, now, view) > limit:\n        return True\n    if seen.routed_away:",
            ),
        ),
        (
            _day(
                14,
                (2000.0, "new_workload", 0.0, 0.9),
                *((2010.0 + 60 * n, "gateway_away", 600.0, 0.0) for n in range(8)),
            ),
            *(
                _day(
                    seed,
                    *((2000.0 + 900 * n, "scale", 0.0, (n * 0.37) % 1) for n in range(8)),
                    *((2001.0 + 900 * n, "gateway_away", 600.0, 0.0) for n in range(8)),
                    replicas=3,
                )
                for seed in range(3)
            ),
        ),
    ),
    Mutant(
        "an engine that is told to end cuts its answers off",
        "B19",
        (
            Change(
                "orchestrator.spec.templates:EngineTemplate.args_for",
                "return tuple(sorted(found.items()))",
                'return tuple(sorted({**found, "shutdown_timeout": 0}.items()))',
            ),
        ),
        tests=("tests/unit/spec/test_templates.py",),
    ),
    Mutant(
        "all services go to the same place at once",
        "R",
        (
            Change(
                "orchestrator.planner.rush:rushed", "if count >= MOST_ON_THE_WAY", "if count >= 10 * MOST_ON_THE_WAY"
            ),
        ),
        tests=("tests/unit/planner/test_rush.py",),
    ),
    Mutant(
        "replicas move as soon as something looks better",
        "B13",
        (
            Change("orchestrator.planner.moves:_own_verdicts", "made < rules.max_moves_per_day,", "True,"),
            Change("orchestrator.planner.moves:_own_verdicts", "yield _dwell_verdict", "_dwell_verdict"),
        ),
        (_day(15, hours=24.0), _day(16, hours=24.0)),
    ),
    Mutant(
        "what is sold out is asked for again at once",
        "B14",
        (Change("orchestrator.planner.capacity:avoided", "return found", "return {}"),),
        (
            _day(
                17,
                (1900.0, "full", 7200.0, 0.0),
                (1900.0, "full", 7200.0, 0.4),
                (1900.0, "full", 7200.0, 0.9),
                *_LOSSES,
            ),
        ),
    ),
    Mutant(
        "a load that nobody can read is no load",
        "B21",
        (
            Change(
                "orchestrator.control.load:LoadWatch.look",
                "Need(now, None, None, ",
                "Need(now, 0, 0, ",
            ),
        ),
        tuple(
            _day(
                seed,
                (6000.0, "gateway_away", 3000.0, 0.0),
                (12000.0, "gateway_away", 3000.0, 0.0),
                scaled=True,
                hours=5.0,
            )
            for seed in range(4)
        ),
    ),
    Mutant(
        "a zone without a signal has a made-up one",
        "B22",
        (
            Change(
                "orchestrator.control.grid:GridReader.zone",
                "        return ZoneView(zone, latest,",
                "        from orchestrator.domain.carbon import Kind\n"
                "        if isinstance(latest, Gap):\n"
                "            hour = Window(now - HOUR, now)\n"
                "            latest = CarbonIntensity(zone, 5.0, hour, Kind.MEASURED, 'bundled', now, now, basis)\n"
                "        return ZoneView(zone, latest,",
            ),
        ),
        tuple(
            _day(
                seed,
                *((7200.0 + 3600.0 * n, "zone_dark", 3500.0, (0.1, 0.4, 0.9)[(n + seed) % 3]) for n in range(9)),
                hours=12.0,
            )
            for seed in range(4)
        ),
    ),
    Mutant(
        "a start is waited for without end",
        "B27",
        (Change(_ROLLOUT + "_starting", "> view.spec.startup_deadline", "> 1000 * view.spec.startup_deadline"),),
        (_day(18, (2000.0, "broken_workload", 0.0, 0.0)),),
    ),
    Mutant(
        "a gateway that fell back to an older table is taken to have the newest",
        "R",
        (
            Change(
                "orchestrator.control.observe:_told",
                "if status.applied_version < published.version:",
                "if False:",
            ),
        ),
        (
            *(
                _day(
                    seed,
                    *((2000.0 + 600 * n, "move", 0.0, (n * 0.37) % 1) for n in range(8)),
                    *((2010.0 + 5 * n, "gateway_forgets", 0.0, 0.9) for n in range(900)),
                    hours=2.5,
                    drain_seconds=30.0,
                )
                for seed in (19, 20, 22)
            ),
        ),
    ),
    Mutant(
        "nobody notices that the database was set back",
        "R",
        (
            Change(
                "orchestrator.control.sweep:Sweeper._watch_for_a_backup",
                "if sign is not None), default=0)",
                "if False), default=0)",
            ),
        ),
        (
            _day(20, (2000.0, "db_restored", 0.0, 0.1), (2300.0, "new_workload", 0.0, 0.9), hours=6.0),
            _day(
                21,
                (2000.0, "db_restored", 0.0, 0.1),
                (2300.0, "new_workload", 0.0, 0.9),
                (2900.0, "move", 0.0, 0.9),
                hours=6.0,
            ),
        ),
    ),
    Mutant(
        "somebody's word ends what serves",
        "R",
        (
            Change("orchestrator.planner.reaping:_serving", "if suspect.work is Work.ENDED:", "if True:"),
            Change("orchestrator.planner.reaping:_grace", "passed = ", "passed = True or "),
        ),
        tuple(
            _day(
                seed,
                (2000.0, "db_restored", 0.0, 0.05),
                (2300.0, "new_workload", 0.0, 0.9),
                (2950.0, "gateway_away", 2700.0, 0.0),
                hours=6.0,
            )
            for seed in range(20, 24)
        ),
    ),
    Mutant(
        "more than the hourly share is reaped",
        "R",
        (Change("orchestrator.planner.reaping:_share", "if named:", "if True:"),),
        (_day(24, *((2000.0 + n, "stray_ours", 0.0, 0.5) for n in range(6)), hours=6.0),),
    ),
    Mutant(
        "a price that has gone up is paid",
        "R",
        (
            Change(
                "orchestrator.control.apply:_as_shown",
                "if limit is not None and offer.price is not None and offer.price.usd_per_hour > limit:",
                "if False:",
            ),
        ),
        tuple(
            _day(
                seed,
                *((1900.0 + 2 * n, "price_moves", 0.0, (n * 0.37) % 1) for n in range(150)),
                *((1901.0 + 60 * n, "preempt", 0.0, 0.4) for n in range(5)),
                hours=1.0,
                look_seconds=2.0,
            )
            for seed in (25, 26, 27)
        ),
    ),
    Mutant(
        "the region that is forbidden is the greenest",
        "R",
        (
            Change(
                "orchestrator.policy.assess:placement_verdicts",
                "passed = any(fnmatchcase(region.id, pattern) for pattern in rules.allow)",
                "passed = True",
            ),
        ),
        (_day(31),),
    ),
    Mutant(
        "a second of a machine is counted twice after a restart",
        "R",
        (
            Change(
                "orchestrator.control.metering:Meter._read",
                "account.go_on_from(so_far)",
                "account.until = replica.created_at + (so_far.until - replica.created_at) * 0.3",
            ),
        ),
        (_day(28, (4000.0, "kill", 5.0, 0.0), (9000.0, "kill", 5.0, 0.0)),),
    ),
    Mutant(
        "deadlines run by a clock that is set",
        "R",
        (
            Change(
                "orchestrator.control.ages:Ages.of",
                "return seen.age + timedelta(seconds=at - seen.at)",
                "return (self._clock.now() - since) / self._clock.rate",
            ),
        ),
        (_day(29, (3000.0, "broken_workload", 0.0, 0.0), (3200.0, "clock_steps", 7200.0, 0.9), steps=True),),
    ),
    Mutant(
        "an hour that nobody lived is counted, or one that was is not",
        "R",
        (
            Change(
                "orchestrator.control.metering:Meter._write",
                "window = account.unwritten(now, at, self._runtime.clock.rate)",
                "window = Window(min(now, account.until), now)",
            ),
        ),
        (_day(3, (4000.0, "clock_steps", 7200.0, 0.2), (6000.0, "machine_fails", 0.0, 0.0), steps=True),),
    ),
    Mutant(
        "a storm of losses is a storm of purchases",
        "R",
        (Change("orchestrator.planner.launches:launch_room", "return ", "return 1000 or "),),
        (_day(30, (5000.0, "preempt_region", 0.0, 0.0), (5001.0, "preempt_region", 0.0, 0.0), replicas=14, hours=2.0),),
    ),
    Mutant(
        "whoever follows another host asks at once for what that one has asked for",
        "R",
        (
            Change(
                "orchestrator.control.held_turn:HeldTurn.__init__",
                "_asked_for(journal) if quiet else frozenset()",
                "frozenset()",
            ),
        ),
        (_on_two_hosts(36, *_SILENT),),
    ),
    Mutant(
        "a restart ends the quiet after another host",
        "R",
        (
            Change(
                "orchestrator.domain.turns:quiet_after",
                "return max(turn.quiet_for, _quiet_after_it(turn, claim))",
                "return _quiet_after_it(turn, claim)",
            ),
        ),
        (_on_two_hosts(37, *_SILENT, *((2200.0 + 1800.0 * n, "host_dies", 10.0, 0.0) for n in range(4))),),
    ),
    Mutant(
        "after another host it is quiet for the rest of its lease, and not for a call that was begun in it",
        "R",
        (
            Change(
                "orchestrator.domain.turns:_quiet_after_it",
                "return max(timedelta(0), LEASE - silent_for) + LATE_CALL",
                "return max(timedelta(0), LEASE - silent_for)",
            ),
        ),
        (_on_two_hosts(38, *_SILENT),),
    ),
    Mutant(
        "a launch leaves in a turn that may be over",
        "R",
        (
            Change(
                "orchestrator.control.held_turn:HeldTurn.is_sure",
                "self.renew()",
                "return True",
            ),
        ),
        (_on_two_hosts(39, *_STOOD_STILL),),
    ),
    Mutant(
        "a launch leaves and the turn is not asked",
        "R",
        (Change(_APPLIER + "_issue", "if self._turn is not None and not self._turn.is_sure():", "if False:"),),
        (_on_two_hosts(40, *_STOOD_STILL),),
    ),
    Mutant(
        "the quiet counts from the last word, as old as a clock makes it",
        "R",
        (
            Change(
                "orchestrator.domain.turns:_quiet_after_it",
                "return max(timedelta(0), LEASE - silent_for) + LATE_CALL",
                "return max(timedelta(0), LEASE + LATE_CALL - silent_for)",
            ),
        ),
        (_on_two_hosts(45, *_SILENT, *((2020.0 + 1800.0 * n, "host_sees_clock_set", 900.0, 0.1) for n in range(4))),),
    ),
    Mutant(
        "whoever was stopped in order is followed as if nothing of it were on its way",
        "R",
        (
            Change(
                "orchestrator.domain.turns:_quiet_after_it",
                "return max(timedelta(0), LATE_CALL - silent_for)",
                "return timedelta(0)",
            ),
        ),
        (_on_two_hosts(41, *_STOPPED),),
    ),
    Mutant(
        "a person's word ends the quiet",
        "R",
        (
            Change(
                "orchestrator.domain.turns:_has_followed",
                "return claim.is_alone or",
                "return claim.is_alone or claim.take_over or",
            ),
        ),
        (_on_two_hosts(42, *((at, kind, seconds, pick / 9) for at, kind, seconds, pick in _SILENT)),),
    ),
    Mutant(
        "the turn is lent to whoever asks",
        "R",
        (Change("orchestrator.domain.turns:may_claim", "return turn is None or", "return True or turn is None or"),),
        (_on_two_hosts(43),),
    ),
    Mutant(
        "a turn that is over is renewed",
        "R",
        (Change("orchestrator.store.memory_journal:MemoryJournal.renew_turn", "self._at_turn()", "self._state"),),
        (_on_two_hosts(44, (2000.0, "host_cut_off", 600.0, 0.0)),),
    ),
    Mutant(
        "a request that fails is never counted as ended",
        "B7",
        (
            Change(
                "orchestrator.gateway.tally:Counted.__exit__",
                "self.settle(Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.FAILED)",
                "pass",
            ),
        ),
        tests=("tests/unit/gateway",),
    ),
    Mutant(
        "load that falls for a moment takes replicas away at once",
        "B15",
        (Change("orchestrator.planner.wanted:_by_load", "fall = _over(trail, now, delay)", "fall = trail[-1:]"),),
        tests=("tests/unit/planner/test_wanted.py",),
    ),
    Mutant(
        "a deploy holds the service while it is handed over",
        "R",
        (
            Change(
                "orchestrator.control.requests:submit_deploy",
                "    runtime.store.submit_deploy(spec, operation)",
                "    known, now = runtime.store.service(spec.name), runtime.clock.now()\n"
                "    if known is not None:\n"
                "        runtime.store.set_paused(spec.name, paused=True, now=now)\n"
                "    runtime.store.submit_deploy(spec, operation)\n"
                "    runtime.store.set_paused(spec.name, paused=False, now=now)",
            ),
        ),
        tests=("tests/sim/test_crash.py::test_a_command_that_is_killed_and_run_again_comes_to_the_same_end",),
    ),
    Mutant(
        "a provider that says nothing has nothing",
        "R",
        (
            Change(
                "orchestrator.control.observe:_one",
                "return _Look(Observation(exists=None))",
                "return _Look(Observation(exists=False))",
            ),
        ),
        scenes=(_day(1, (2000.0, "hangs_all", 600.0, 0.5), hours=1.5),),
    ),
    Mutant(
        "what no grid can have is taken",
        "B22",
        (
            Change(
                "orchestrator.signals.gate:impossible",
                "if not math.isfinite(grams_per_kwh) or not low <= grams_per_kwh <= high:",
                "if False:",
            ),
        ),
        scenes=(_day(1, (2000.0, "lies_negative", 3600.0, 0.9), hours=1.5),),
    ),
    Mutant(
        "a seat is taken before who has it leaves",
        "R",
        (
            Change(
                "orchestrator.control.apply:Applier.actions",
                "sorted(plan.actions, key=lambda a: a.kind is not ActionKind.RETIRE)",
                "plan.actions",
            ),
        ),
        tests=("tests/sim/test_regressions.py::test_who_leaves_a_region_does_so_before_another_one_takes_its_seat",),
    ),
    Mutant(
        "an answer about another zone is taken",
        "B23",
        (Change("orchestrator.signals.gate:misdirected", "if statement.zone != zone:", "if False:"),),
        tests=("tests/unit/signals/test_gate.py",),
    ),
    Mutant(
        "a gateway that boots alone has no table",
        "B24",
        (Change("orchestrator.gateway.table:_read", "return RoutingTable.from_json(text)", "return None"),),
        tests=("tests/unit/gateway",),
    ),
    Mutant(
        "spot is put where spot stands already",
        "B28",
        (Change("orchestrator.planner.fallback:_apart", " not in spot_regions", " in spot_regions"),),
        tests=("tests/unit/planner/test_spot.py", "tests/scenario/test_spot.py"),
    ),
    *(Mutant(name, m.promise, (Change(*m.change),), mistake=m) for name, m in MISTAKES.items()),
)
"""Some are about the order of two lines, some about one condition; none of them is caught by types or by style."""


@contextmanager
def applied(changes: Sequence[Change]) -> Iterator[None]:
    """Put the bug in, and take it out again. Raises ``NoLongerThere`` when a text is not found."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for change in changes:
            undo += _apply(change)
        yield
    finally:
        for owner, name, old in reversed(undo):
            setattr(owner, name, old)


def _apply(change: Change) -> list[tuple[Any, str, Any]]:
    module_name, _, path = change.where.partition(":")
    module = importlib.import_module(module_name)
    owner: Any = module
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = owner.__dict__[name]
    text = getattr(original, "__source__", None) or inspect.getsource(original)
    if not change.old or change.old not in text:
        raise NoLongerThere(f"{change.where} has no {change.old!r}")
    changed = text.replace(change.old, change.new, 1)
    names: dict[str, Any] = {}
    whole = f"from __future__ import annotations\nif True:\n{changed if parents else textwrap.indent(changed, '    ')}"
    code = compile(whole, f"{change.where}, changed", "exec")
    exec(code, module.__dict__, names)  # noqa: S102  # our own text, changed by our own list
    made = names[name]
    made.__source__ = changed
    return [_put(place, name, made) for place in _holders(owner, original, name)]


def _holders(owner: Any, original: Any, name: str) -> list[Any]:
    """Return everybody who has the function under its name: its owner, and the modules that imported it."""
    ours = [m for n, m in sorted(sys.modules.items()) if n.startswith("orchestrator.") and m is not owner]
    return [owner, *(m for m in ours if getattr(m, name, None) is original)]


def _put(place: Any, name: str, made: Any) -> tuple[Any, str, Any]:
    before = place.__dict__[name]
    setattr(place, name, made)
    return place, name, before


def hunt(mutant: Mutant, days: int = 12, seed0: int = 0) -> Verdict:
    """Look for a mutant until some promise is broken: where it is known to show, then on random days from ``seed0`` on.

    A run that breaks a promise without the mutant, too, has caught nothing.
    """
    found = _hunt(mutant, range(seed0, seed0 + days))
    if found.scene is not None and run(found.scene).violations:
        return replace(found, killed_by="", where=f"{found.where}, which fails without it, too")
    return found


def _hunt(mutant: Mutant, seeds: range) -> Verdict:
    runs = 0
    chapters = {s.name: s for s in STORIES}
    if mutant.mistake is not None:
        return _told(mutant, mutant.mistake)
    if mutant.tests:
        caught = _tests_fail(mutant, mutant.name) and not _tests_fail(mutant, "")
        return Verdict(mutant, "tests" * caught, " ".join(mutant.tests), 1)
    with applied(mutant.changes):
        for scene in mutant.scenes:
            runs += 1
            found = run(scene)
            if found.violations:
                return Verdict(mutant, found.violations[0].invariant, f"scene {scene.seed}", runs, scene)
        for name, seed, crash in mutant.stories:
            runs += 1
            told = tell(chapters[name], seed, crash)
            if told.violations:
                return Verdict(mutant, told.violations[0].invariant, f"{name}, {crash}", runs)
        for seed in seeds:
            runs += 1
            found = run(setting_of(seed))
            if found.violations:
                return Verdict(mutant, found.violations[0].invariant, f"seed {seed}", runs, setting_of(seed))
    return Verdict(mutant, runs=runs)


def _told(mutant: Mutant, mistake: Mistake) -> Verdict:
    """Tell the gateway's story with the mistake and without it: it has to break that promise, and nothing."""
    with applied(mutant.changes):
        found = {v.invariant for v in told(mistake)}
    caught = mistake.promise in found and not told(mistake)
    return Verdict(mutant, mistake.promise * caught, mistake.story[0].__name__, 2)


def _tests_fail(mutant: Mutant, name: str) -> bool:
    """Run the tests that have to see it, in a process of their own, with that mutant in the code; whether one fails."""
    words = ["-q", "-x", "-p", "no:cacheprovider", "-p", "tests.sim.mutant_plugin", *mutant.tests]
    environment = {**os.environ, "MUTANT": name, "PYTHONPATH": "."}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *words], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode not in {0, 1}:
        raise NoLongerThere(f"{mutant.name}: its tests could not be run: {ended.stdout[-500:]}")
    return ended.returncode == 1
