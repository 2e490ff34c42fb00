"""The plots of a simulation's report as inline SVG, drawn from the JSON document alone.

Colours are those of the page, by class, so that a plot is legible on a light ground and on a dark one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any, Final

Document = Mapping[str, Any]

WIDTH: Final = 960
LEFT: Final = 150
ROW: Final = 22
SHADES: Final = 10
"""Colours that the page has for regions; further ones share a grey."""

NAMED: Final = ("home", "B3", "oracle")
"""Whom the plot over time tells apart, beside ours; the others are thin and grey, and say who they are when asked."""

SMOOTHED_ABOVE_DAYS: Final = 60
SMOOTH_DAYS: Final = 7
MOST_TICKS: Final = 12
STEPS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""The quarters of an axis are one of these, times a power of ten: numbers that one can read between."""
CENTS_BELOW: Final = 40.0
"""Dollars at the end of an axis below which its quarters need cents."""

LABEL_WIDTH: Final = 150
LABEL_HEIGHT: Final = 13
"""Nearer to each other the words at two dots could not be read."""


def bars(rows: Sequence[Document]) -> str:
    """Draw a bar for each policy, with a line where the oracle is."""
    most = max(r["known_grams"] for r in rows) or 1.0
    span = WIDTH - LEFT - 120
    drawn = []
    for i, row in enumerate(rows):
        y, length = 10 + i * ROW, span * row["known_grams"] / most
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row["policy"])}</text>')
        drawn.append(_box(LEFT, y, length, ROW - 6, row["kind"], f"{row['policy']}: {row['known_grams']:.0f} g"))
        drawn.append(f'<text class="dim" x="{LEFT + length + 6:.1f}" y="{y + 14}">{weight(row["known_grams"])}</text>')
    best = next((r for r in rows if r["kind"] == "bound"), None)
    height = 20 + len(rows) * ROW
    if best is not None:
        x = LEFT + span * best["known_grams"] / most
        drawn.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 4}"/>')
    said = "Dashed: the oracle, which nobody can be better than" if best is not None else ""
    return _svg(height, "Emissions of each policy", drawn) + _legend((), said)


def over_time(rows: Sequence[Document], period: Document) -> str:
    """Draw grams a day over the days; longer periods as the mean of seven days."""
    days = sorted({d for r in rows for d in r["grams_by_day"]})
    window = SMOOTH_DAYS if len(days) > SMOOTHED_ABOVE_DAYS else 1
    lines = {r["policy"]: _smooth([r["grams_by_day"].get(d, 0.0) for d in days], window) for r in rows}
    most = round_top(max((max(v) for v in lines.values() if v), default=1.0))
    height, span = 340, WIDTH - LEFT - 20
    drawn = [*_axis(height, most), *_dates(period, span, height)]
    steps = max(1, len(days) - window)
    names = []
    styles = _line_styles(rows)
    order = list(styles)
    for row in sorted(rows, key=lambda r: order.index(r["policy"]) if r["policy"] in styles else -1):  # ours on top
        values, name = lines[row["policy"]], row["policy"]
        points = " ".join(
            f"{LEFT + span * i / steps:.1f},{_height_of(v / most, height):.1f}" for i, v in enumerate(values)
        )
        style = styles.get(name, "other")
        if len(values) == 1:
            x, y = points.split(",")
            drawn.append(f'<circle class="{style}" cx="{x}" cy="{y}" r="3"><title>{escape(name)}</title></circle>')
        else:
            drawn.append(f'<polyline class="{style}" points="{points}"><title>{escape(name)}</title></polyline>')
        if name in styles:
            names.append((name, style))
    others = len(rows) - len(names)
    names += [(f"{others} others", "other")] if others else []
    said = "Grams a day, mean of seven days" if window > 1 else "Grams a day"
    return _svg(height, said, drawn) + _legend(names, said)


def scatter(rows: Sequence[Document]) -> str:
    """Draw grams over dollars; what is both left and lower is better in both."""
    known = [r for r in rows if r["usd"] is not None]
    if not known:
        return "<p>No policy has a known price in every hour.</p>"
    height, span = 360, WIDTH - LEFT - 120
    most = round_top(max(r["known_grams"] for r in known))
    dearest = round_top(max(r["usd"] for r in known))
    drawn = list(_axis(height, most))
    places: dict[tuple[int, int], list[Document]] = {}
    for row in known:
        x, y = LEFT + span * row["usd"] / dearest, _height_of(row["known_grams"] / most, height)
        title = f"{row['policy']}: {row['usd']:.2f} USD, {weight(row['known_grams'])}"
        drawn.append(
            f'<circle class="{row["kind"]}" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{escape(title)}</title></circle>'
        )
        places.setdefault((round(x / 60), round(y / 14)), []).append(row)
    written: list[tuple[float, float]] = []
    for close in sorted(places.values(), key=lambda c: (-c[0]["known_grams"], c[0]["policy"])):
        row = close[0]
        x, y = LEFT + span * row["usd"] / dearest, _height_of(row["known_grams"] / most, height)
        while any(abs(x - a) < LABEL_WIDTH and abs(y - b) < LABEL_HEIGHT for a, b in written):
            y += 1  # below what is written there
        written.append((x, y))
        more = f" and {len(close) - 1} more" if len(close) > 1 else ""
        drawn.append(f'<text class="dim" x="{x + 9:.1f}" y="{y + 4:.1f}">{escape(row["policy"])}{more}</text>')
    for part in range(5):
        x = LEFT + span * part / 4
        label = f"$ {dearest * part / 4:,.4g}" if dearest < CENTS_BELOW else f"$ {dearest * part / 4:,.0f}"
        drawn.append(f'<text class="dim" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{label}</text>')
    kinds = (("rivals", "rule"), ("greenctl", "ours"), ("in hindsight", "bound"))
    return _svg(height, "Emissions over dollars", drawn) + _legend(kinds)


def lanes(rows: Sequence[Document], period: Document) -> str:
    """Draw for each policy a lane over time: which regions served, one layer for each replica."""
    shade_of = _shades(rows)
    total = float(period["seconds"])
    span, height = WIDTH - LEFT - 20, 40 + len(rows) * ROW
    drawn = list(_dates(period, span, height))
    for i, row in enumerate(rows):
        y = 10 + i * ROW
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row["policy"])}</text>')
        places = row["places"]
        ends = [p["second"] for p in places[1:]] + [total]
        for place, end in zip(places, ends, strict=True):
            regions = place["regions"]
            x, length = LEFT + span * place["second"] / total, span * (end - place["second"]) / total
            for layer, region in enumerate(regions):
                high = (ROW - 6) / len(regions)
                drawn.append(_box(x, y + layer * high, length, high, shade_of.get(region, "other")))
    names = [(region, shade) for region, shade in shade_of.items() if shade != "other"]
    names += [("other regions", "other")] if "other" in shade_of.values() else []
    return _svg(height, "Where replicas served", drawn) + _legend(names)


def round_top(most: float) -> float:
    """Return where an axis ends that has room for ``most`` (``>= 0``), so that its quarters are round numbers."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(most / 4))
    return 4 * unit * next(step for step in STEPS if most <= 4 * unit * step * (1 + 1e-9))


def weight(grams: float) -> str:
    """Return grams in words of three digits or so: ``31.9 kg``."""
    for factor, unit in ((1e6, "t"), (1e3, "kg")):
        if grams >= factor:
            return f"{grams / factor:,.2f} {unit}"
    return f"{grams:,.0f} g"


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────


def _line_styles(rows: Sequence[Document]) -> dict[str, str]:
    """Return the class of each policy that is told apart: the service's own is ours, else the first of ours."""
    ours = [r["policy"] for r in rows if r["kind"] == "ours"]
    styles = {name: f"line-{name.lower()}" for name in NAMED}
    styles.update(dict.fromkeys(["ours"] if "ours" in ours else ours[:1], "line-ours"))
    return styles


def _shades(rows: Sequence[Document]) -> dict[str, str]:
    """Return the class of each region, those with the most hours first."""
    hours: Counter[str] = Counter()
    for row in rows:
        hours.update(row["replica_hours_by_region"])
    ordered = sorted(hours, key=lambda region: (-hours[region], region))
    return {region: f"s{i}" if i < SHADES else "other" for i, region in enumerate(ordered)}


def _smooth(values: Sequence[float], window: int) -> list[float]:
    return [sum(values[i : i + window]) / window for i in range(len(values) - window + 1)]


def _dates(period: Document, span: float, height: int) -> Iterator[str]:
    """Write dates below: the first of each month, or days of a short period."""
    begin, total = datetime.fromisoformat(str(period["from"])), float(period["seconds"])
    days = [begin + timedelta(days=d) for d in range(int(total // 86400) + 1)]
    firsts = [d for d in days if d.day == 1]
    shown = firsts if len(firsts) > 1 else days
    for moment in shown[:: max(1, -(-len(shown) // MOST_TICKS))]:
        x = LEFT + span * (moment - begin).total_seconds() / total
        words = f"{moment:%b}" if shown is firsts and moment.month > 1 else f"{moment:%Y-%m-%d}"
        words = f"{moment:%Y}" if shown is firsts and moment.month == 1 else words
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{height - 26}"/>'
        yield f'<text class="dim" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{words}</text>'


def _axis(height: int, most: float) -> Iterator[str]:
    for part in range(5):
        y = _height_of(part / 4, height)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="dim" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{weight(most * part / 4)}</text>'


def _height_of(fraction: float, height: int) -> float:
    return height - 30 - fraction * (height - 50)


def _box(x: float, y: float, length: float, high: float, style: str, title: str = "") -> str:
    said = f"<title>{escape(title)}</title>" if title else ""
    size = f'width="{max(length, 0.2):.2f}" height="{high:.2f}"'
    return f'<rect class="{style}" x="{x:.2f}" y="{y:.2f}" {size}>{said}</rect>'


def _svg(height: int, said: str, drawn: Sequence[str]) -> str:
    svg = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(said)}">{"".join(drawn)}</svg>'
    return f'<div class="wide">{svg}</div>'


def _legend(names: Sequence[tuple[str, str]], said: str = "") -> str:
    """Say what the colours mean, and with ``said`` what is drawn; nothing where there is nothing to say."""
    spans = "".join(f'<span><i class="{style}"></i>{escape(name)}</span>' for name, style in names)
    words = f"<span>{escape(said)}.</span>" if said else ""
    return f'<p class="legend">{spans}{words}</p>' if spans or words else ""
