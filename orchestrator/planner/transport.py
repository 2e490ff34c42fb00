"""Which place takes how many parts of the traffic, and whose: a small program, solved exactly. Pure.

Grams follow from how many parts a place takes and not from whose they are, and are neither convex nor concave in that
(``split.py``). So each place chooses one of its levels (a whole number of parts), and origins fill them::

    min  sum g[p,k] z[p,k]
    s.t. sum_k z[p,k] = 1            sum_o x[o,p] = sum_k k z[p,k]
         sum_p x[o,p] = w[o]         x[o,p] <= w[o] sum_{k <= c[o,p]} z[p,k],   x >= 0,  z in {0, 1}

``c[o,p]``: up to which level place ``p`` keeps what is promised to origin ``o``. Then, at these levels, the transport
problem of least round trip (Hitchcock 1941). The same input gives the same bytes: one thread, no limit of time, and
rows and columns in the order of names.
"""

from __future__ import annotations

from collections.abc import Sequence

import highspy
import numpy as np
from numpy.typing import NDArray

MOST_NODES = 2_000
"""Of the search, which takes a handful in worlds of six places and eight origins. Beyond it the best found is taken."""

_ENOUGH = 1e-7
_Floats = NDArray[np.float64]


class _Program:
    """Columns with costs and bounds, then rows over them."""

    def __init__(self) -> None:
        self._solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its constructor is not annotated
        for name, value in (("output_flag", False), ("threads", 1), ("random_seed", 0), ("mip_max_nodes", MOST_NODES)):
            self._solver.setOptionValue(name, value)
        self._solver.setOptionValue("mip_rel_gap", 0.0)
        self._columns = 0

    def columns(self, costs: Sequence[float], upper: Sequence[float], *, whole: bool = False) -> range:
        first = self._columns
        for cost, most in zip(costs, upper, strict=True):
            self._solver.addCol(cost, 0.0, most, 0, [], [])
        self._columns += len(costs)
        found = range(first, self._columns)
        if whole:
            for column in found:
                self._solver.changeColIntegrality(column, highspy.HighsVarType.kInteger)
        return found

    def row(self, low: float, high: float, columns: Sequence[int], values: Sequence[float]) -> None:
        self._solver.addRow(
            low, high, len(columns), np.array(columns, dtype=np.int32), np.array(values, dtype=np.float64)
        )

    def solved(self) -> list[float] | None:
        self._solver.run()
        if self._solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        return list(self._solver.getSolution().col_value)


def best_levels(
    costs: Sequence[Sequence[float]],
    lows: Sequence[int],
    wants: Sequence[float],
    ceilings: Sequence[Sequence[int]],
    slack: float = 0.0,
) -> list[int] | None:
    """Return the parts of each place at the least cost; ``None`` where no choice serves every origin within its limits.

    ``costs[p][k]``: of place ``p`` with ``lows[p] + k`` parts. ``wants[o]``: parts of origin ``o``; they add up to a
    whole number. ``ceilings[o][p]``: the most parts of place ``p`` of which any may come from ``o``. ``slack``: so many
    parts of each place may be left empty.
    """
    program = _Program()
    scale = max((abs(c) for own in costs for c in own), default=0.0) or 1.0
    levels = [program.columns([c / scale for c in own], [1.0] * len(own), whole=True) for own in costs]
    flows = [program.columns([0.0] * len(costs), [want] * len(costs)) for want in wants]
    for p, (own, low) in enumerate(zip(levels, lows, strict=True)):
        program.row(1.0, 1.0, list(own), [1.0] * len(own))
        columns = [*own, *(flow[p] for flow in flows)]
        program.row(-slack, 0.0, columns, [*(-float(low + k) for k in range(len(own))), *([1.0] * len(flows))])
        for flow, want, most in zip(flows, wants, ceilings, strict=True):
            open_to = [column for k, column in enumerate(own) if low + k <= most[p]]
            if len(open_to) < len(own):
                program.row(-highspy.kHighsInf, 0.0, [flow[p], *open_to], [1.0, *([-want] * len(open_to))])
    for flow, want in zip(flows, wants, strict=True):
        program.row(want, want, list(flow), [1.0] * len(flow))
    found = program.solved()
    if found is None:
        return None
    return [low + max(range(len(own)), key=lambda k: found[own[k]]) for own, low in zip(levels, lows, strict=True)]


def nearest(
    levels: Sequence[int],
    wants: Sequence[float],
    ceilings: Sequence[Sequence[int]],
    rtt_ms: Sequence[Sequence[float]],
    slack: float = 0.0,
) -> _Floats | None:
    """Return whose parts each place takes, ``[origins, places]``, at the least mean round trip.

    ``rtt_ms[o][p]``. ``None`` where the levels cannot be filled so, but for ``slack`` parts of each.
    """
    program = _Program()
    flows = [
        program.columns(
            [ms / 1000.0 for ms in row],
            [want if level <= most else 0.0 for level, most in zip(levels, own, strict=True)],
        )
        for row, want, own in zip(rtt_ms, wants, ceilings, strict=True)
    ]
    for p, level in enumerate(levels):
        program.row(level - slack, level, [flow[p] for flow in flows], [1.0] * len(flows))
    for flow, want in zip(flows, wants, strict=True):
        program.row(want, want, list(flow), [1.0] * len(flow))
    found = program.solved()
    if found is None:
        return None
    parts = np.array(found, dtype=np.float64).reshape(len(wants), len(levels))
    parts[parts < _ENOUGH] = 0.0
    return parts
