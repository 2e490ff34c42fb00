"""The report of a simulation as one file: a table and plots as inline SVG, nothing fetched from anywhere.

It is made from the JSON document alone, so that whoever has the one can have the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

Document = Mapping[str, Any]

WIDTH: Final = 960
LEFT: Final = 150
ROW: Final = 22
COLOURS: Final = (
    "#2f6f4e", "#c8553d", "#3b6ea8", "#d9a441", "#7a5195", "#58a4b0", "#a44a3f", "#8a9a5b", "#4d4d4d", "#b07aa1"
)  # fmt: skip
KINDS: Final = {"ours": "#2f6f4e", "rule": "#9aa5a0", "bound": "#3b6ea8"}

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2522;background:#fbfbf8;max-width:1020px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .3rem}p{margin:.3rem 0;color:#4a5450}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{padding:.25rem .5rem;text-align:right;
border-bottom:1px solid #e3e5df;white-space:nowrap}th:first-child,td:first-child,td:last-child,
th:last-child{text-align:left}
td:last-child{white-space:normal}tr.ours td{font-weight:600}tr.bound td{color:#3b6ea8}
svg{width:100%;height:auto;background:#fff;border:1px solid #e3e5df}text{font:12px system-ui,sans-serif;fill:#1d2522}
.dim{fill:#6b756f}.legend span{display:inline-block;margin-right:1rem}.legend i{display:inline-block;width:.8em;
height:.8em;margin-right:.35em}
"""

_HONESTY: Final = (
    "One ledger for all: operational emissions, average mix, location-based. A saving beside home is worth nothing "
    "without the one beside B3, the cleanest static choice without hindsight."
)


def page(document: Document) -> str:
    """Return the whole file as text, the same for the same document."""
    rows = [r for r in document["rows"] if not r["refusal"]]
    refused = [r for r in document["rows"] if r["refusal"]]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>greenctl simulate: {escape(document['service'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(document['service'])}: policies side by side</h1>",
        f"<p>{_headline(document)}</p>",
        f"<p>{_HONESTY}</p>",
        _table(rows),
        *[f"<p><b>{escape(r['policy'])}</b> refused: {escape(r['refusal'])}</p>" for r in refused],
    ]
    if rows:
        parts += [
            "<h2>Emissions of the period</h2>",
            _bars(rows),
            "<h2>Emissions by month</h2>",
            _months(rows),
            "<h2>Dollars and grams</h2>",
            _scatter(rows),
            "<h2>Where replicas served</h2>",
            _strips(rows, document["period"]),
        ]
    parts += [
        "<h2>Numbers</h2><p>The document that this page was made from:</p>",
        f'<script type="application/json" id="document">{_embedded(document)}</script>',
        "<p>It is embedded in this file under the id <code>document</code>.</p></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(rows: Sequence[Document]) -> str:
    heads = ("Policy", "kg CO2e", "vs home", "vs B3", "above oracle", "moves", "lost", "ready", "served", "$", "")
    body = []
    for row in rows:
        cells = (
            row["policy"],
            _number(row["known_grams"] / 1000, 3) + (" + ?" if row["unknown_kwh"] else ""),
            _percent(row["saving_percent_vs_home"]),
            _percent(row["saving_percent_vs_b3"]),
            _percent(row["above_oracle_percent"]),
            str(row["moves"]),
            str(row["losses"]),
            f"{100 * row['available_fraction']:.3f} %",
            f"{100 * row['served_fraction']:.3f} %",
            "?" if row["usd"] is None else _number(row["usd"], 2),
            row["about"],
        )
        body.append(f'<tr class="{row["kind"]}">' + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


# ── plots ────────────────────────────────────────────────────────────────────────────────────────────


def _bars(rows: Sequence[Document]) -> str:
    """Draw a bar for each policy, with a line where the oracle is."""
    most = max(r["known_grams"] for r in rows) or 1.0
    span = WIDTH - LEFT - 120
    drawn = []
    for i, row in enumerate(rows):
        y, length = 10 + i * ROW, span * row["known_grams"] / most
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row["policy"])}</text>')
        drawn.append(_box(LEFT, y, length, ROW - 6, KINDS[row["kind"]], f"{row['policy']}: {row['known_grams']:.0f} g"))
        kilograms = _number(row["known_grams"] / 1000, 3)
        drawn.append(f'<text class="dim" x="{LEFT + length + 6:.1f}" y="{y + 14}">{kilograms} kg</text>')
    best = next((r for r in rows if r["kind"] == "bound"), None)
    height = 20 + len(rows) * ROW
    if best is not None:
        x = LEFT + span * best["known_grams"] / most
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 4}" stroke="#3b6ea8" stroke-dasharray="4 3"/>'
        )
    return _svg(height, drawn)


def _months(rows: Sequence[Document]) -> str:
    """Draw a line for each policy over the months."""
    months = sorted({m for r in rows for m in r["grams_by_month"]})
    most = max((g for r in rows for g in r["grams_by_month"].values()), default=1.0) or 1.0
    height, span = 320, WIDTH - LEFT - 40
    drawn = list(_axis(height, most / 1000, "kg"))
    step = span / max(1, len(months) - 1)
    for i, month in enumerate(months):
        drawn.append(
            f'<text class="dim" x="{LEFT + i * step:.1f}" y="{height - 8}" text-anchor="middle">{month}</text>'
        )
    names = []
    for row, colour in zip(rows, _colours(), strict=False):
        values = [row["grams_by_month"].get(m, 0.0) for m in months]
        points = " ".join(f"{LEFT + i * step:.1f},{_height_of(v / most, height):.1f}" for i, v in enumerate(values))
        width = 2.5 if row["kind"] == "ours" else 1.2
        dots = f'<circle cx="{points.split(",")[0]}" cy="{points.split(",")[-1]}" r="3" fill="{colour}"/>'
        line = f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
        drawn.append(dots if len(months) == 1 else line)
        names.append((row["policy"], colour))
    return _svg(height, drawn) + _legend(names)


def _scatter(rows: Sequence[Document]) -> str:
    """Draw grams over dollars; what is both left and lower is better in both."""
    known = [r for r in rows if r["usd"] is not None]
    if not known:
        return "<p>No policy has a known price in every hour.</p>"
    height, span = 340, WIDTH - LEFT - 120
    most = max(r["known_grams"] for r in known) or 1.0
    dearest = max(r["usd"] for r in known) or 1.0
    drawn = list(_axis(height, most / 1000, "kg"))
    names = []
    for row, colour in zip(known, _colours(), strict=False):
        x, y = LEFT + span * row["usd"] / dearest, _height_of(row["known_grams"] / most, height)
        title = f"{row['policy']}: {row['usd']:.2f} USD, {row['known_grams'] / 1000:.3f} kg"
        size = 7 if row["kind"] == "ours" else 5
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}" fill-opacity=".8">'
            f"<title>{escape(title)}</title></circle>"
        )
        names.append((row["policy"], colour))
    for part in range(5):
        x = LEFT + span * part / 4
        label = _number(dearest * part / 4, 0)
        drawn.append(f'<text class="dim" x="{x:.1f}" y="{height - 8}" text-anchor="middle">$ {label}</text>')
    return _svg(height, drawn) + _legend(names)


def _strips(rows: Sequence[Document], period: Document) -> str:
    """Draw for each policy where its replicas served over time; more than one region is drawn in layers."""
    regions = sorted({region for r in rows for p in r["places"] for region in p["regions"]})
    colour_of = dict(zip(regions, _colours(), strict=False))
    total = float(period["seconds"])
    drawn = []
    span = WIDTH - LEFT - 20
    for i, row in enumerate(rows):
        y = 10 + i * ROW
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row["policy"])}</text>')
        places = row["places"]
        ends = [p["second"] for p in places[1:]] + [total]
        for place, end in zip(places, ends, strict=True):
            layers = place["regions"]
            for layer, region in enumerate(layers):
                high = (ROW - 6) / len(layers)
                x, length = LEFT + span * place["second"] / total, span * (end - place["second"]) / total
                drawn.append(_box(x, y + layer * high, length, high, colour_of[region], ""))
    return _svg(20 + len(rows) * ROW, drawn) + _legend(list(colour_of.items()))


def _axis(height: int, most: float, unit: str) -> Iterator[str]:
    for part in range(5):
        y = _height_of(part / 4, height)
        yield f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e5df"/>'
        label = f"{_number(most * part / 4, 3 if most < 10 else 0)} {unit}"  # noqa: PLR2004  # below it digits tell
        yield f'<text class="dim" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _height_of(fraction: float, height: int) -> float:
    return height - 30 - fraction * (height - 50)


def _box(x: float, y: float, length: float, high: float, colour: str, title: str) -> str:
    said = f"<title>{escape(title)}</title>" if title else ""
    size = f'width="{max(length, 0.2):.2f}" height="{high:.2f}"'
    return f'<rect x="{x:.2f}" y="{y:.2f}" {size} fill="{colour}">{said}</rect>'


def _svg(height: int, drawn: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(drawn)}</svg>'


def _legend(names: Sequence[tuple[str, str]]) -> str:
    spans = "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>' for name, colour in names)
    return f'<p class="legend">{spans}</p>'


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


# ── words ────────────────────────────────────────────────────────────────────────────────────────────


def _headline(document: Document) -> str:
    period, done = document["period"], "" if document["complete"] else " (interrupted: not all policies were done)"
    said = f"{document['replicas']} replica(s), {document['workload']['name']}, seed {document['seed']}{done}"
    return f"{_day(period['from'])} to {_day(period['to'])}, {escape(said)}"


def _embedded(document: Document) -> str:
    """Return the document as JSON that cannot end the element that it stands in."""
    return json.dumps(document, allow_nan=False, default=str, sort_keys=True).replace("<", "\\u003c")


def _day(moment: object) -> str:
    return escape(str(moment)[:16].replace("T", " "))


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f} %"
