"""``python -m tests.bounds``: what plans are said to cost at least, against the optimum, in as many worlds as wanted.

Of three kinds, in turn: worlds of some dozens of replicas all of whose linear program is solved to optimality (no plan
of whole replicas costs less), handfuls whose every plan is tried, and worlds in which idle replicas on demand make room
for spot, as linear programs. A bound above the optimum would make every
certificate a lie; see the Makefile.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from orchestrator.planner.optimum.solve import solve
from tests.optimum_reference import cheapest_plan, linear_optimum, small_world, unhurried
from tests.property.test_optimum import LAST_DIGITS, handful, roomy

MOST_TRIED = 9
"""Offers up to which every plan of a handful is tried."""

TELL_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """One world: how far bound and plan are above the optimum, as a fraction of it. ``tried``: every plan was."""

    seed: int
    tried: bool
    bound_above: float
    plan_above: float

    @property
    def is_wrong(self) -> bool:
        """Whether the bound is above the optimum, or a service that can be tried out got another plan than the best."""
        return self.bound_above > LAST_DIGITS or (self.tried and abs(self.plan_above) > LAST_DIGITS)


def look(seed: int) -> Found:
    """Plan one world and solve it to optimality."""
    if seed % 4 == 2:
        world = roomy(seed)
        answer, best = solve(world, unhurried), linear_optimum(world)
        tried = False
    elif seed % 2 and len((few := handful(seed)).offers) <= MOST_TRIED:
        answer, best = solve(few, unhurried), cheapest_plan(few)
        tried = True
    else:
        world = small_world(seed, replicas=6.0)
        world = replace(world, rules=replace(world.rules, max_replicas=None))
        answer, best = solve(world, unhurried), linear_optimum(world)
        tried = False
    scale = max(abs(best), 1e-12)
    return Found(seed, tried, (answer.bound - best) / scale, (answer.objective - best) / scale)


def main() -> int:
    """Look at all of them; 1 where a bound is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bounds", description=__doc__)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--seed0", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    seeds = range(chosen.seed0, chosen.seed0 + chosen.worlds)
    if chosen.jobs == 1:
        return told(map(look, seeds))
    with ProcessPoolExecutor(chosen.jobs) as pool:
        return told(pool.map(look, seeds, chunksize=20))


def told(found: Iterable[Found]) -> int:
    """Say how it went."""
    seen: list[Found] = []
    for one in found:
        seen.append(one)
        if one.is_wrong:
            _say(f"seed {one.seed}: bound {one.bound_above:+.2e} and plan {one.plan_above:+.2e} from the optimum")
        if len(seen) % TELL_EVERY == 0:
            _say(f"{len(seen)} worlds so far")
    wrong = sum(one.is_wrong for one in seen)
    highest, tried = max((one.bound_above for one in seen), default=0.0), sum(one.tried for one in seen)
    _say(f"{tried} tried out, each plan of them; {len(seen) - tried} as linear programs; highest bound {highest:+.1e}")
    _say(f"{len(seen)} worlds, {wrong} violations")
    return int(wrong > 0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
