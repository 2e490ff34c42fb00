"""The report of a simulation as one file: a table and plots as inline SVG, nothing fetched from anywhere.

It is made from the JSON document alone, so that whoever has the one can have the other. It follows the reader's
choice of a light or a dark ground.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Final

from orchestrator.sim.plots import SHADES, Document, bars, lanes, over_time, scatter

_LIGHT: Final = (
    "#2f6f4e", "#c8553d", "#3b6ea8", "#d9a441", "#7a5195", "#58a4b0", "#b07aa1", "#8a9a5b", "#6b4f3a", "#4d6fd1"
)  # fmt: skip
_DARK: Final = (
    "#5cb88a", "#e58068", "#6fa8e6", "#e8bd62", "#b48fd1", "#7fc9d4", "#d49fc6", "#b2c580", "#b08a6c", "#8ea6f5"
)  # fmt: skip


def _theme(ground: str, card: str, ink: str, dim: str, rule: str, shades: Sequence[str]) -> str:
    named = f"--ground:{ground};--card:{card};--ink:{ink};--dim:{dim};--rule:{rule};"
    return named + "".join(f"--s{i}:{shade};" for i, shade in enumerate(shades))


_STYLE: Final = (
    f":root{{color-scheme:light dark;{_theme('#fbfbf8', '#fff', '#1d2522', '#5a645f', '#e3e5df', _LIGHT)}}}\n"
    "@media(prefers-color-scheme:dark){:root{"
    + _theme("#141816", "#1b211e", "#e4e9e6", "#9aa6a0", "#333c37", _DARK)
    + "}}\n"
    """body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:1020px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .3rem}p{margin:.3rem 0;color:var(--dim)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px;margin-top:1rem}
th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap;vertical-align:top}
th{vertical-align:bottom}th:first-child,td:first-child{text-align:left;white-space:normal;
min-width:9rem}td small{display:block;color:var(--dim);
font-weight:400}tr.ours td{font-weight:600}tr.bound td{color:var(--s2)}.loss{color:var(--s1)}
svg{box-sizing:border-box;width:100%;min-width:640px;height:auto;background:var(--card);border:1px solid var(--rule)}
text{font:12px system-ui,sans-serif;fill:var(--ink)}text.dim{fill:var(--dim)}
.legend span{display:inline-block;margin-right:1rem}.legend i{display:inline-block;width:.8em;height:.8em;
margin-right:.35em}
line.grid{stroke:var(--rule)}line.mark{stroke:var(--s2);stroke-dasharray:4 3}
polyline{fill:none;stroke-width:1}circle{fill-opacity:.85}
polyline.other{stroke:var(--dim);stroke-opacity:.45}circle.other,rect.other{fill:var(--dim)}i.other{background:var(--dim)}
"""
    + "".join(
        f"polyline.{name}{{stroke:var(--{shade});stroke-width:2.2}}circle.{name},rect.{name}{{fill:var(--{shade})}}"
        f"i.{name}{{background:var(--{shade})}}\n"
        for name, shade in (
            ("line-home", "s1"),
            ("line-b3", "s3"),
            ("line-ours", "s0"),
            ("line-oracle", "s2"),
            ("ours", "s0"),
            ("bound", "s2"),
            ("rule", "dim"),
            *((f"s{i}", f"s{i}") for i in range(SHADES)),
        )
    )
)

SIGNS: Final = "VS HOME and VS B3: less CO2e than those, minus is more. "
"""What the table of a terminal says of its two columns; here their heads say it."""

_HONESTY: Final = (
    "One ledger for all: operational emissions, average mix, location-based. A saving beside home is worth nothing "
    "without the one beside B3, which goes each week to the lowest mean of the 28 days before."
)

_BOLD: Final = "Bold: greenctl's own controller under that policy. The others are rules that it is held against."

_SOURCE: Final = (
    "Every figure of this page is in the JSON document that it was made from. It is embedded in this file under the id "
    "<code>document</code>, and is what <code>--json</code> writes."
)


def page(document: Document) -> str:
    """Return the whole file as text, the same for the same document."""
    rows = [r for r in document["rows"] if not r["refusal"]]
    refused = [r for r in document["rows"] if r["refusal"]]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>greenctl simulate: {escape(document['service'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(document['service'])}: policies side by side</h1>",
        f"<p>{_headline(document)}</p>",
        f"<p>{_HONESTY}</p>",
        _table(rows),
        f"<p>{_BOLD}</p>",
        *[f"<p>{escape(words.removeprefix(SIGNS))}</p>" for words in document["legend"]],
        *[f"<p><b>{escape(r['policy'])}</b> refused: {escape(r['refusal'])}</p>" for r in refused],
    ]
    if rows:
        parts += [
            "<h2>Emissions of the period</h2>",
            bars(rows),
            "<h2>Emissions over time, a day</h2>",
            over_time(rows, document["period"]),
            "<h2>Dollars and grams</h2>",
            scatter(rows),
            "<h2>Where replicas served</h2>",
            lanes(rows, document["period"]),
        ]
    if document["notes"]:
        items = "".join(f"<li>{escape(words)}</li>" for words in document["notes"])
        parts.append(f"<h2>What was assumed</h2><ul>{items}</ul>")
    parts += [
        f"<h2>Numbers</h2><p>{_SOURCE}</p>",
        f'<script type="application/json" id="document">{_embedded(document)}</script>',
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(rows: Sequence[Document]) -> str:
    """Lay out the figures; without a bound nobody is above it, and the column is left out."""
    bounded = any(r["kind"] == "bound" for r in rows)
    heads = ["Policy", "kg CO2e", "less than home", "less than B3", "moves", "lost", "ready", "served", "$"]
    heads[4:4] = ["above oracle"] if bounded else []
    body = []
    for row in rows:
        cells = [
            _number(row["known_grams"] / 1000, 3) + (" + ?" if row["unknown_kwh"] else ""),
            "–" if row["policy"] == "home" else _percent(row["saving_percent_vs_home"]),
            "–" if row["policy"] == "B3" else _percent(row["saving_percent_vs_b3"]),
            str(row["moves"]),
            str(row["losses"]),
            share(row["available_fraction"]),
            share(row["served_fraction"]),
            "?" if row["usd"] is None else _number(row["usd"], 2),
        ]
        cells[3:3] = ["–" if row["kind"] == "bound" else _percent(row["above_oracle_percent"])] if bounded else []
        first = f"<td>{escape(row['policy'])}<small>{escape(row['about'])}</small></td>"
        drawn = "".join(f"<td{_loss(c, i)}>{escape(c)}</td>" for i, c in enumerate(cells))
        body.append(f'<tr class="{row["kind"]}">{first}{drawn}</tr>')
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="wide">{table}</div>'


# ── words ────────────────────────────────────────────────────────────────────────────────────────────


def _loss(cell: str, column: int) -> str:
    """Mark where a policy emits more than home or B3."""
    return ' class="loss"' if column in {1, 2} and cell.startswith("-") else ""


def _headline(document: Document) -> str:
    period = document["period"]
    said = f"{document['replicas_in_words']}, {document['workload']['name']}, seed {document['seed']}"
    said += f", a start takes {document['cold_start_seconds']:g} s"
    done = "" if document["complete"] else " <b>Interrupted: not all policies were done.</b>"
    return f"{_day(period['from'])} to {_day(period['to'])} UTC, {escape(said)}.{done}"


def _embedded(document: Document) -> str:
    """Return the document as JSON that cannot end the element that it stands in."""
    return json.dumps(document, allow_nan=False, default=str, sort_keys=True).replace("<", "\\u003c")


def _day(moment: object) -> str:
    return escape(str(moment)[:16].replace("T", " "))


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f} %"


def share(fraction: float) -> str:
    """Write a part in percent, and never as all where it is less: ``99.999 %``."""
    text = f"{100 * fraction:.3f} %"
    return "99.999 %" if fraction < 1 and text == "100.000 %" else text
