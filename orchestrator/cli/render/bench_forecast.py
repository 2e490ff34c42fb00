"""Scores of forecasts, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.bench.forecast.freshness import AGES_HOURS
from orchestrator.bench.forecast.measure import AT_ISSUE, BandScore, Outcome, Score
from orchestrator.bench.forecast.ranking import METHODS
from orchestrator.bench.forecast.scores import BLOCKS, Mask
from orchestrator.cli.render.numbers import UNKNOWN
from orchestrator.cli.render.table import Column, Grid, columns
from orchestrator.cli.render.text import line
from orchestrator.forecasting.pattern import Floats

_INDENT: Final = 2

FIGURES: Final = ("wape", "rank_loss", "coverage90")
_DAY_AHEAD: Final = "0-23"


@contextmanager
def progress(console: Console, steps: int, *, silent: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while the work goes on, and give what advances it; no bar where there is no terminal."""
    bar = Progress(
        TextColumn("Forecasting"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=silent or not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=steps)
        yield lambda: bar.advance(task)


def document(found: Outcome) -> dict[str, object]:
    """Return everything that was found; ``null`` is unknown. Figures over zones are of the compared ones.

    ``rows`` and ``median`` are of :mod:`orchestrator.bench.forecast.ranking`: percent, by zone, and the median zone.
    """
    return {
        "rows": found.ranking.rows,
        "median": {
            method: {
                block: {figure: found.ranking.median(method, block, figure) for figure in FIGURES} for block in BLOCKS
            }
            for method in METHODS
        },
        "zones_ranked": found.ranking.zones,
        "year": found.year,
        "factors": found.factors.value,
        "provider": found.provider,
        "best": found.best,
        "every_hours": found.every_hours,
        "years_before": found.years_before,
        "issues": found.issues,
        "zones_compared": [z for z, used in zip(found.zones, found.compared, strict=True) if used],
        "zones_left_out": [z for z, used in zip(found.zones, found.compared, strict=True) if not used],
        "scores": [
            {
                "forecast": s.name,
                "issued": s.when,
                "hours_ahead": s.hours_ahead,
                "wape_percent_mean": _mean(s.errors.wape_percent, found.compared),
                "wape_percent_median": _median(s.errors.wape_percent, found.compared),
                "mae_grams_per_kwh": _mean(s.errors.mae_grams_per_kwh, found.compared),
                "bias_grams_per_kwh": _mean(s.errors.bias_grams_per_kwh, found.compared),
                "rank_loss_percent": _mean(s.rank_loss_percent, found.compared),
                "wape_percent_by_zone": _by_zone(s.errors.wape_percent, found),
                "bias_grams_per_kwh_by_zone": _by_zone(s.errors.bias_grams_per_kwh, found),
                "rank_loss_percent_by_zone": _by_zone(s.rank_loss_percent, found),
            }
            for s in found.scores
        ],
        "bands": [
            {
                "forecast": b.name,
                "level_percent": 100 * b.level,
                "hours_ahead": b.hours_ahead,
                "coverage_percent_mean": _mean(b.calibration.coverage_percent, found.compared),
                "coverage_percent_lowest": _lowest(b.calibration.coverage_percent, found.compared),
                "width_percent_median": _median(b.calibration.width_percent, found.compared),
                "interval_score_percent_median": _median(b.calibration.interval_score_percent, found.compared),
                "coverage_percent_by_zone": _by_zone(b.calibration.coverage_percent, found),
                "width_percent_by_zone": _by_zone(b.calibration.width_percent, found),
            }
            for b in found.bands
        ],
        "when_to_run": [
            {
                "forecast": name,
                "issued": when,
                "reached_percent_mean": _mean(worth.reached_percent, found.compared),
                "possible_percent_mean": _mean(worth.possible_percent, found.compared),
                "reached_percent_by_zone": _by_zone(worth.reached_percent, found),
            }
            for (when, name), worth in found.worth.items()
        ],
        "by_age": [
            {
                "guess": g.name,
                "age_hours": g.age_hours,
                "wape_percent_mean": g.wape_percent,
                "placement_reached_percent": g.placement_percent,
            }
            for g in found.freshness.guesses
        ],
        "age_limits": [
            {
                "forecast": name,
                "value_hours_by_zone": dict(zip(found.zones, rule.value_hours.tolist(), strict=True)),
                "hold_hours_by_zone": dict(zip(found.zones, rule.hold_hours.tolist(), strict=True)),
            }
            for name, rule in found.freshness.rules.items()
        ],
    }


def render(found: Outcome, *, by_zone: bool, width: int) -> RenderableType:
    """Return the tables for people."""
    used = int(found.compared.sum())
    learnt = f"{found.years_before} earlier year{'s' * (found.years_before != 1)}" if found.years_before else "itself"
    parts: list[RenderableType] = [
        line(
            f"{found.factors.value} intensity {found.year}: {found.issues} issues, one every {found.every_hours} h, "
            f"96 h ahead, {used} of {len(found.zones)} zones; learnt from {learnt}"
        )
    ]
    left_out = [z for z, kept in zip(found.zones, found.compared, strict=True) if not kept]
    if left_out:
        parts.append(line(f"Not compared (nothing emitted, or too few hours that all forecast): {', '.join(left_out)}"))
    parts += [line(""), line(("Median zone: error (WAPE) · wrong order · hours inside the 90 % band, %", "bold"))]
    parts.append(_ranked(found).laid_out(width, _INDENT))
    for when in dict.fromkeys(s.when for s in found.scores):
        hour = "00:00 UTC, when providers issue" if when == AT_ISSUE else "other hours, newest known issue"
        parts += [line(""), line((f"Error, % of what is emitted (WAPE), mean over zones, issued at {hour}", "bold"))]
        parts.append(_errors(found, [s for s in found.scores if s.when == when]).laid_out(width, _INDENT))
    parts += [line(""), line(("Bands: how many hours fall inside, mean over zones (lowest zone)", "bold"))]
    parts.append(_bands(found).laid_out(width, _INDENT))
    parts += [line(""), line(("Guessing the present from old data: error % at an age of so many hours", "bold"))]
    parts.append(_ages(found, "wape_percent").laid_out(width, _INDENT))
    if any(g.placement_percent is not None for g in found.freshness.guesses):
        title = "Placing by it among like zones: % of the saving that perfect knowledge adds to the best fixed zone"
        parts += [line(""), line((title, "bold")), _ages(found, "placement_percent").laid_out(width, _INDENT)]
    if by_zone:
        parts += [line(""), line(("Error % by zone, 0-23 h ahead, at issue", "bold"))]
        parts.append(_zones(found).laid_out(width, _INDENT))
    parts.append(line("RANK: pairs of hours in the wrong order, % (50 is guessing), 0-23 h. BIAS: g/kWh, 0-23 h."))
    parts.append(line("WHEN: % of the saving of the cleanest four hours of the coming day that the forecast finds."))
    return Group(*parts)


def _ranked(found: Outcome) -> Grid:
    grid = Grid(columns("METHOD", *[Column(f"{block} h", right=True) for block in BLOCKS]))
    for method in METHODS:
        cells = [[_text(found.ranking.median(method, block, figure)) for figure in FIGURES] for block in BLOCKS]
        grid.add(method, *[" · ".join(cell) for cell in cells])
    return grid


def _errors(found: Outcome, scores: list[Score]) -> Grid:
    blocks = list(dict.fromkeys(s.hours_ahead for s in scores))
    titles = [Column(f"{b} h", right=True) for b in blocks]
    rest = [Column(t, right=True, keep=k) for t, k in (("MEDIAN 0-23", 3), ("BIAS", 2), ("RANK", 4), ("WHEN", 4))]
    grid = Grid(columns("FORECAST", *titles, *rest))
    for name in dict.fromkeys(s.name for s in scores):
        mine = {s.hours_ahead: s for s in scores if s.name == name}
        day = mine[_DAY_AHEAD]
        grid.add(
            name,
            *[_text(_mean(mine[b].errors.wape_percent, found.compared)) for b in blocks],
            _text(_median(day.errors.wape_percent, found.compared)),
            _text(_mean(day.errors.bias_grams_per_kwh, found.compared)),
            _text(_mean(day.rank_loss_percent, found.compared)),
            _text(_mean(found.worth[day.when, name].reached_percent, found.compared)),
        )
    return grid


def _bands(found: Outcome) -> Grid:
    blocks = list(dict.fromkeys(b.hours_ahead for b in found.bands))
    titles = [Column(f"{b} h", right=True) for b in blocks]
    grid = Grid(columns("AROUND", Column("PROMISE", right=True), *titles, Column("WIDTH 0-23", right=True, keep=3)))
    for name, level in dict.fromkeys((b.name, b.level) for b in found.bands):
        mine = {b.hours_ahead: b for b in found.bands if (b.name, b.level) == (name, level)}
        width = _median(mine[_DAY_AHEAD].calibration.width_percent, found.compared)
        grid.add(name, f"{level:.0%}", *[_coverage(mine[b], found.compared) for b in blocks], _text(width))
    return grid


def _coverage(score: BandScore, compared: Mask) -> str:
    inside = score.calibration.coverage_percent
    return f"{_text(_mean(inside, compared))} ({_text(_lowest(inside, compared))})"


def _ages(found: Outcome, figure: str) -> Grid:
    grid = Grid(columns("GUESS", *[Column(f"{age} h", right=True) for age in AGES_HOURS]))
    for name in dict.fromkeys(g.name for g in found.freshness.guesses):
        mine = {g.age_hours: getattr(g, figure) for g in found.freshness.guesses if g.name == name}
        grid.add(name, *[_text(mine[age]) for age in AGES_HOURS])
    return grid


def _zones(found: Outcome) -> Grid:
    scores = [s for s in found.scores if s.hours_ahead == _DAY_AHEAD and s.when == found.scores[0].when]
    grid = Grid(columns("ZONE", *[Column(s.name, right=True) for s in scores]))
    for z, zone in enumerate(found.zones):
        grid.add(zone, *[_text(_known(float(s.errors.wape_percent[z]))) for s in scores])
    return grid


def _text(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value + 0.0:.1f}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _figures(values: Floats, compared: Mask) -> Floats:
    used = values[compared]
    return np.asarray(used[np.isfinite(used)])


def _mean(values: Floats, compared: Mask) -> float | None:
    used = _figures(values, compared)
    return float(used.mean()) if len(used) else None


def _median(values: Floats, compared: Mask) -> float | None:
    used = _figures(values, compared)
    return float(np.median(used)) if len(used) else None


def _lowest(values: Floats, compared: Mask) -> float | None:
    used = _figures(values, compared)
    return float(used.min()) if len(used) else None


def _by_zone(values: Floats, found: Outcome) -> dict[str, float | None]:
    return {zone: _known(float(value)) for zone, value in zip(found.zones, values, strict=True)}
