"""The cheapest plan that knows the window: at least the target ready at every tick, as an exact linear program.

The model is that of SpotHedge's artefact: whole numbers of spot replicas held per zone and tick within the room, of
on-demand replicas, and of those of both that are ready, at most four of a kind. Among the cheapest plans it takes the
one with the fewest grams. Every relaxation that we met was integral; a plan that is not is refused, not rounded.

Stretches in which no zone's room changes are shortened before solving: one of their ticks stands for all in the middle.
A plan that does the same over the middle of a stretch is a plan, so the program's optimum is no less than the true one;
and whatever a plan gains from a start or a stop it can gain within a cold start of the change, so it is no more either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import highspy
import numpy as np
from numpy.typing import NDArray

from orchestrator.bench.spot.rivals import Held
from orchestrator.bench.spot.settings import COLD_START_TICKS, ON_DEMAND_PRICE, OVER_PROVISION, TARGET
from orchestrator.bench.spot.traces import Ints
from orchestrator.errors import InvalidProgram

_MARGIN: Final = COLD_START_TICKS + 2
"""Ticks that keep their own variables on both sides of a change."""
_GRAMS_WEIGHT: Final = 1e-6
"""Of a replica at the mean intensity, in its price: over a window the grams never outweigh one spot replica's tick."""
_WHOLE: Final = 1e-6
_MOST: Final = TARGET + OVER_PROVISION


def optimal(room: Ints, zone_grams: Sequence[float | None], on_demand_grams: float | None) -> Held:
    """Return the cheapest plan of a window. Raises ``InvalidProgram`` where the solver finds none in whole numbers."""
    limits = np.minimum(room, _MOST)
    ticks = _shortened(limits)
    weights = np.diff([*ticks.tolist(), len(room)])
    spot, stand_ins = _solve(limits[ticks], weights, _green(zone_grams, on_demand_grams))
    return Held(np.repeat(spot, weights, axis=0), np.repeat(stand_ins, weights))


def _shortened(limits: Ints) -> Ints:
    """Return the ticks that are kept; each stands for itself and what follows until the next."""
    changes = np.flatnonzero((limits[1:] != limits[:-1]).any(axis=1)) + 1
    edges = np.array([0, *changes.tolist(), len(limits)])
    kept = [0]
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end - start <= 2 * _MARGIN + 1:
            kept += range(start, end)
        else:
            kept += [*range(start, start + _MARGIN + 1), *range(end - _MARGIN, end)]
    return np.unique(np.array(kept, dtype=np.int64))


def _green(zone_grams: Sequence[float | None], on_demand_grams: float | None) -> NDArray[np.float64]:
    """Return a tiny weight per zone and, last, for on demand; equal ones where a grid is unknown."""
    grams = [*zone_grams, on_demand_grams]
    known = [g for g in grams if g is not None]
    if len(known) < len(grams) or sum(known) == 0:
        return np.full(len(grams), _GRAMS_WEIGHT)
    return _GRAMS_WEIGHT * np.array(known) * len(known) / sum(known)


def _solve(limits: Ints, weights: Ints, green: NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Solve over shortened ticks: columns are held, then started, each by kind (zones, then on demand) and tick.

    ``held[t] - held[t-1] <= started[t]``, and of what is held all but the starts of the last ticks is ready. That is
    never more than the least that was held over a cold start, and as much but where a start is followed by a stop
    within it, which pays for nothing.
    """
    ticks, zones = limits.shape
    kinds = zones + 1
    size = kinds * ticks
    most = np.concatenate([limits.T.ravel(), np.full(ticks, _MOST)]).astype(np.float64)
    price = np.repeat(np.array([*[1.0] * zones, float(ON_DEMAND_PRICE)]) + green, ticks) * np.tile(weights, kinds)
    rows, columns, values = _rows(kinds, ticks)
    covered = ticks - COLD_START_TICKS
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = 2 * size, size + covered
    program.col_cost_ = np.concatenate([price, np.zeros(size)])
    program.col_lower_ = np.zeros(2 * size)
    program.col_upper_ = np.concatenate([most, np.full(size, float(_MOST))])
    program.row_lower_ = np.concatenate([np.full(size, -highspy.kHighsInf), np.full(covered, float(TARGET))])
    program.row_upper_ = np.concatenate([np.zeros(size), np.full(covered, highspy.kHighsInf)])
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.searchsorted(rows, np.arange(size + covered + 1))
    program.a_matrix_.index_, program.a_matrix_.value_ = columns, values
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # its class is written without annotations
    solver.setOptionValue("output_flag", False)  # noqa: FBT003  # the solver's own signature
    solver.setOptionValue("threads", 1)
    solver.passModel(program)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise InvalidProgram(f"the optimum was not found: {solver.modelStatusToString(solver.getModelStatus())}")
    found = np.array(solver.getSolution().col_value)[:size].reshape(kinds, ticks)
    whole = np.rint(found)
    if np.abs(found - whole).max() > _WHOLE:
        raise InvalidProgram("the optimum is not in whole numbers, and would have to be searched for")
    plan = whole.astype(np.int64)
    return plan[:zones].T.copy(), plan[zones].copy()


def _rows(kinds: int, ticks: int) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Return the coefficients by row: first what each start allows, then what is ready at each tick."""
    size = kinds * ticks
    every = np.arange(size)
    grown = every[every % ticks > 0]
    at = np.arange(COLD_START_TICKS, ticks)
    parts = [(every, every, 1.0), (grown, grown - 1, -1.0), (every, every + size, -1.0)]
    for kind in range(kinds):
        column, row = kind * ticks + at, size + np.arange(len(at))
        parts.append((row, column, 1.0))
        parts += [(row, column + size - back, -1.0) for back in range(COLD_START_TICKS)]
    rows = np.concatenate([r for r, _, _ in parts])
    columns = np.concatenate([c for _, c, _ in parts])
    values = np.concatenate([np.full(len(r), v) for r, _, v in parts])
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], values[order]
