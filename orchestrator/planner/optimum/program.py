"""The linear program over some of the offers, in HiGHS: it grows by offers and keeps its basis.

Rows: demand of each origin, capacity and survival of each region, starts of each offer, and the limits that all share.
What the rows cannot do is bought as shortfall or exposure, so the program always has a solution and always has prices.
The survival rows are sparse through one variable for the whole capacity (``total``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from orchestrator.planner.optimum.duality import Prices
from orchestrator.planner.optimum.problem import Flags, Floats, Integers, Problem, Weighed, open_offers

WHOLE_NODES = 200
"""Where the search for whole replicas stops: by work, not by time, so that equal problems have equal answers."""

_NONE = -1
_Index = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Primal values: ``replicas[J, T]``, ``traffic[O, R, T]`` in tokens/s."""

    replicas: Floats
    traffic: Floats


class Program:
    """One program, solved again as it grows or as replicas of the first step are fixed."""

    def __init__(self, problem: Problem, weighed: Weighed) -> None:
        self._problem, self._weighed = problem, weighed
        there = open_offers(problem)
        self._tokens = float(np.median(problem.capacity[there])) if there.size else 1.0
        positive = weighed.hold[there][weighed.hold[there] > 0]
        self._money = float(positive.mean()) if positive.size else 1.0
        self._highs = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor is not annotated
        for name, value in _OPTIONS.items():
            self._highs.setOptionValue(name, value)
        self._rows = self._columns = 0
        self._columns_of: dict[int, int] = {}
        self._row_of_offer: dict[int, int] = {}
        self._row_of_region: dict[int, int] = {}
        self._column_of_region: dict[int, tuple[Integers, int]] = {}
        self._add_shared()

    # ── growing ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def offers(self) -> frozenset[int]:
        """The offers that the program may use."""
        return frozenset(self._columns_of)

    def add(self, offers: Sequence[int]) -> None:
        """Let the program use these offers, too."""
        new = sorted(set(offers) - self.offers)
        regions = sorted({int(self._problem.region_of[j]) for j in new} - set(self._row_of_region))
        if regions:
            self._add_regions(regions)
        if new:
            self._add_offers(np.array(new, dtype=np.int64))

    def _add_shared(self) -> None:
        p, rules = self._problem, self._problem.rules
        steps, origins = p.steps, len(p.origins)
        demand = (p.demand / self._tokens).ravel()
        self._demand = self._new_rows(demand, demand)
        self._needs_total = rules.surviving_fraction is not None or rules.spot_fraction is not None
        self._total_row = self._spot_row = self._starts_row = self._replicas_row = self._budget_row = _NONE
        zero, free = np.zeros(steps), np.full(steps, highspy.kHighsInf)
        if self._needs_total:
            self._total_row = self._new_rows(zero, free)
        if rules.spot_fraction is not None:
            self._spot_row = self._new_rows(zero, free)
        if rules.starts_per_step is not None:
            self._starts_row = self._new_rows(-free, np.array(rules.starts_per_step, dtype=np.float64))
        if rules.max_replicas is not None:
            self._replicas_row = self._new_rows(-free, np.full(steps, float(rules.max_replicas)))
        if rules.budget_usd is not None:
            self._budget_row = self._new_rows(-free[:1], np.array([rules.budget_usd]))
        shortfall = np.tile(p.shortfall, origins) * self._tokens / self._money
        self._shortfall = self._new_columns(
            shortfall, np.inf, self._demand + np.arange(origins * steps)[:, None], np.ones((origins * steps, 1))
        )
        self._total = self._exposure = _NONE
        if self._needs_total:
            rows = [self._total_row + np.arange(steps)]
            values = [-np.ones(steps)]
            if rules.spot_fraction is not None:
                rows.append(self._spot_row + np.arange(steps))
                values.append(np.full(steps, rules.spot_fraction))
            self._total = self._new_columns(zero, np.inf, np.stack(rows, axis=1), np.stack(values, axis=1))
        if rules.surviving_fraction is not None:
            none = np.empty((steps, 0))
            self._exposure = self._new_columns(
                p.exposure * self._tokens / self._money, np.inf, none.astype(np.int64), none
            )

    def _add_regions(self, regions: Sequence[int]) -> None:
        p, steps, count = self._problem, self._problem.steps, len(regions)
        survives = p.rules.surviving_fraction is not None
        span, free = np.arange(steps), np.full(steps, highspy.kHighsInf)
        lower, entries = np.zeros(steps), np.full((steps, 2), _NONE)
        if survives:
            shared = np.stack([self._total + span, self._exposure + span], axis=1)
            lower, entries = np.concatenate([lower, p.must_survive / self._tokens]), np.concatenate([entries, shared])
            free = np.tile(free, 2)
        first = self._new_rows(np.tile(lower, count), np.tile(free, count), np.tile(entries, (count, 1)))
        rows, costs = [], []
        column = self._columns
        for i, region in enumerate(regions):
            self._row_of_region[region] = row = first + i * len(lower)
            origins = np.flatnonzero(p.eligible[:, region])
            demand = (self._demand + origins[:, None] * steps + span).ravel()
            rows.append(np.stack([demand, np.tile(row + span, len(origins))], axis=1))
            costs.append(np.tile(self._weighed.carry[region], len(origins)))
            self._column_of_region[region] = (origins, column)
            column += len(demand)
        all_rows = np.concatenate(rows)
        self._new_columns(
            np.concatenate(costs) * self._tokens / self._money,
            np.inf,
            all_rows,
            np.tile([1.0, -1.0], (len(all_rows), 1)),
        )

    def _add_offers(self, offers: Integers) -> None:
        p, w, steps, count = self._problem, self._weighed, self._problem.steps, len(offers)
        rules, span = p.rules, np.arange(p.steps)
        running = np.minimum(p.running, p.quota)[offers]
        upper = np.zeros((count, steps))
        upper[:, 0] = running
        first_row = self._new_rows(np.full(count * steps, -highspy.kHighsInf), upper.ravel())
        own = first_row + np.arange(count)[:, None] * steps + span
        tokens = np.repeat(p.capacity[offers] / self._tokens, steps).reshape(count, steps)
        base = np.array([self._row_of_region[int(r)] for r in p.region_of[offers]])[:, None] + span
        ones, nowhere = np.ones((count, steps)), np.full((count, steps), _NONE)
        after = np.where(span < steps - 1, own + 1, _NONE)
        spot = np.where(p.spot[offers][:, None], self._spot_row + span, _NONE) if self._spot_row >= 0 else nowhere
        hold = [
            (own, ones),
            (after, -ones),
            (base, tokens),
            (base + steps if rules.surviving_fraction is not None else nowhere, -tokens),
            (self._total_row + span + 0 * own if self._total_row >= 0 else nowhere, tokens),
            (spot, -tokens),
            (self._replicas_row + span + 0 * own if self._replicas_row >= 0 else nowhere, ones),
            (self._budget_row + 0 * own if self._budget_row >= 0 else nowhere, p.rent_usd[offers]),
        ]
        begin = [
            (own, -ones),
            (self._starts_row + span + 0 * own if self._starts_row >= 0 else nowhere, ones),
            (self._budget_row + 0 * own if self._budget_row >= 0 else nowhere, p.start_usd[offers]),
        ]
        rows, values = _flat(hold)
        quota = np.repeat(p.quota[offers], steps)
        first = self._new_columns(w.hold[offers].ravel() / self._money, quota, rows, values)
        rows, values = _flat(begin)
        self._new_columns(w.start[offers].ravel() / self._money, np.inf, rows, values)
        for i, offer in enumerate(offers.tolist()):
            self._columns_of[offer] = first + i * steps
            self._row_of_offer[offer] = first_row + i * steps

    def _new_rows(self, lower: Floats, upper: Floats, columns: Integers | None = None) -> int:
        """Append rows with a one in each of these columns, ``[rows, entries]``; return the first one."""
        first, count = self._rows, len(lower)
        there = np.zeros((count, 0), dtype=bool) if columns is None else columns >= 0
        flat = np.empty(0, dtype=np.int32) if columns is None else columns[there].astype(np.int32)
        self._highs.addRows(count, lower, upper, len(flat), _begins(there), flat, np.ones(len(flat)))
        self._rows += count
        return first

    def _new_columns(self, cost: Floats, upper: Floats | float, rows: Integers, values: Floats) -> int:
        first, count = self._columns, len(cost)
        there = rows >= 0
        flat = rows[there].astype(np.int32)
        top = np.broadcast_to(np.asarray(upper, dtype=np.float64), (count,)).copy()
        self._highs.addCols(count, cost, np.zeros(count), top, len(flat), _begins(there), flat, values[there])
        self._columns += count
        return first

    # ── solving ──────────────────────────────────────────────────────────────────────────────────────

    def solve(self, seconds: float) -> bool:
        """Solve within that many seconds, from the last basis if there is one; return whether it is optimal."""
        self._limit(seconds)
        self._highs.run()
        return bool(self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal)

    def begin_with(self, running: Floats) -> None:
        """Let these replicas run before the first step, ``[J]``, parts of one included."""
        for offer, row in self._row_of_offer.items():
            self._highs.changeRowBounds(row, -highspy.kHighsInf, float(running[offer]))

    def end_with(self, hold: Floats) -> None:
        """Let a replica in the last step cost this much, ``[J]``, weighted."""
        last = self._problem.steps - 1
        columns = np.array([first + last for first in self._columns_of.values()], dtype=np.int32)
        self._highs.changeColsCost(len(columns), columns, hold[list(self._columns_of)] / self._money)

    def fix(self, replicas: Floats, steps: int) -> None:
        """Hold the replicas of the first steps to these numbers, ``[J, >= steps]``."""
        span = np.arange(steps)
        columns = np.concatenate([first + span for first in self._columns_of.values()]).astype(np.int32)
        values = np.concatenate([replicas[offer, :steps] for offer in self._columns_of]).astype(np.float64)
        self._highs.changeColsBounds(len(columns), columns, values, values)

    def solve_whole(
        self, seconds: float, *, steps: int = 1, gap: float = 0.0, slack: float = 0.0, nodes: int = WHOLE_NODES
    ) -> bool:
        """Solve with whole replicas in the first steps; return whether there is a solution.

        It may cost more than the best one by the fraction ``gap`` or by ``slack``, weighted, whichever is more.
        """
        columns = np.add.outer(np.array(list(self._columns_of.values())), np.arange(steps)).ravel().astype(np.int32)
        whole = np.full(len(columns), int(highspy.HighsVarType.kInteger), dtype=np.uint8)
        self._highs.changeColsIntegrality(len(columns), columns, whole)
        for name, value in _WHOLE_OPTIONS.items():
            self._highs.setOptionValue(name, value)
        self._highs.setOptionValue("mip_rel_gap", gap)
        self._highs.setOptionValue("mip_abs_gap", slack / self._money)
        self._highs.setOptionValue("mip_max_nodes", nodes)
        self._limit(seconds)
        self._highs.run()
        return bool(self._highs.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible)

    @property
    def whole_bound(self) -> float:
        """What the search for whole replicas has proven that none costs less than, weighted; to the solver's digits."""
        return float(self._highs.getInfo().mip_dual_bound) * self._money

    def _limit(self, seconds: float) -> None:
        """Allow that much more time: the solver's clock goes on from one solve to the next."""
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + max(seconds, 0.0))

    def worth_of_running(self, step: int) -> Floats:
        """Return what a replica that ran before a step saves in it, ``[J]``, weighted; nothing after the last one."""
        worth = np.zeros(len(self._problem.offers))
        if step < self._problem.steps:
            dual = np.array(self._highs.getSolution().row_dual)
            for offer, row in self._row_of_offer.items():
                worth[offer] = max(0.0, -float(dual[row + step])) * self._money
        return worth

    def prices(self) -> Prices:
        """Return the duals as prices; for regions outside the program, what their capacity would be worth."""
        p, steps = self._problem, self._problem.steps
        dual = np.array(self._highs.getSolution().row_dual)
        money, span = self._money, np.arange(steps)

        def at(row: int, unit: float, sign: float) -> Floats:
            return np.maximum(sign * dual[row + span], 0.0) * money / unit if row >= 0 else np.zeros(steps)

        capacity, survival = np.zeros((len(p.regions), steps)), np.zeros((len(p.regions), steps))
        demand = dual[self._demand : self._demand + len(p.origins) * steps].reshape(-1, steps) * money / self._tokens
        for region, row in self._row_of_region.items():
            capacity[region] = at(row, self._tokens, 1.0)
            if p.rules.surviving_fraction is not None:
                survival[region] = at(row + steps, self._tokens, 1.0)
        if not self._row_of_region and p.rules.surviving_fraction is not None:
            # Nothing is on sale, so no region has a row, and all that should survive is exposed.
            survival[0] = p.exposure
        eligible = p.eligible
        for region in range(len(p.regions)):
            if region not in self._row_of_region and eligible[:, region].any():
                capacity[region] = np.maximum(
                    demand[eligible[:, region]].max(axis=0) - self._weighed.carry[region], 0.0
                )
        return Prices(
            capacity=capacity,
            survival=survival,
            spot=at(self._spot_row, self._tokens, 1.0),
            starts=at(self._starts_row, 1.0, -1.0),
            replicas=at(self._replicas_row, 1.0, -1.0),
            budget=0.0 if self._budget_row < 0 else max(0.0, -float(dual[self._budget_row]) * money),
        )

    def solution(self) -> Solution:
        """Return the primal values, within their bounds."""
        p, steps = self._problem, self._problem.steps
        value = np.maximum(np.array(self._highs.getSolution().col_value), 0.0)
        replicas = np.zeros((len(p.offers), steps))
        traffic = np.zeros((len(p.origins), len(p.regions), steps))
        for offer, first in self._columns_of.items():
            replicas[offer] = np.minimum(value[first : first + steps], p.quota[offer])
        for region, (origins, first) in self._column_of_region.items():
            carried = value[first : first + len(origins) * steps].reshape(-1, steps)
            traffic[origins, region] = carried * self._tokens
        return Solution(replicas, traffic)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._rows, self._columns


_OPTIONS: dict[str, bool | int | float | str] = {
    "output_flag": False,
    "threads": 1,
    "parallel": "off",
    "solver": "simplex",
    "random_seed": 0,
    "presolve": "off",  # it takes a tenth longer than it saves on these programs
    "mip_allow_restart": False,  # restarts and symmetry cost a quarter of the time of a search that is over at its root
    "mip_detect_symmetry": False,
}

_WHOLE_OPTIONS: dict[str, bool | str] = {
    "presolve": "on",  # here it does save more than it takes, and
    "mip_heuristic_run_feasibility_jump": False,  # rounding finds a plan without it, in two thirds of the time
}


def _begins(there: Flags) -> _Index:
    """Return where each row's entries begin, when those that are not there are left out."""
    return np.asarray(np.cumsum(there.sum(axis=1)) - there.sum(axis=1), dtype=np.int32)


def _flat(entries: Sequence[tuple[Integers, Floats]]) -> tuple[Integers, Floats]:
    """Lay the entries of many columns out as ``[columns, entries]``."""
    rows = np.stack([r for r, _ in entries], axis=2).reshape(-1, len(entries))
    values = np.stack([v for _, v in entries], axis=2).reshape(-1, len(entries))
    return rows, values
