"""The report: one file, legible on both grounds, drawn from the document alone."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator.sim.html import page, share
from orchestrator.sim.plots import LABEL_HEIGHT, lanes, over_time, round_top, scatter, weight

DAYS = [f"2023-01-{day:02d}" for day in range(1, 11)]


def row(policy: str, kind: str = "rule", regions: tuple[str, ...] = ("aws/eu-north-1",), **changes: Any) -> Any:
    """Make a row of the document over ten days."""
    made = {
        "policy": policy,
        "kind": kind,
        "about": f"what {policy} <does>",
        "refusal": "",
        "known_grams": 1234.5,
        "unknown_kwh": 0.0,
        "usd": 12.5,
        "moves": 1,
        "losses": 0,
        "available_fraction": 1.0,
        "served_fraction": 1.0,
        "saving_percent_vs_home": 10.0,
        "saving_percent_vs_b3": -3.0,
        "above_oracle_percent": 2.0,
        "grams_by_day": dict.fromkeys(DAYS, 123.45),
        "replica_hours_by_region": dict.fromkeys(regions, 24.0),
        "places": [{"second": 86400 * i, "regions": [region]} for i, region in enumerate(regions)],
    }
    return made | changes


def document(*rows: Any, **changes: Any) -> Any:
    """Make a document."""
    made = {
        "service": "chat</script>",
        "period": {"from": "2023-01-01T00:00:00+00:00", "to": "2023-01-11T00:00:00+00:00", "seconds": 864000.0},
        "seed": 0,
        "cold_start_seconds": 120.0,
        "workload": {"name": "diurnal"},
        "replicas": 1,
        "max_replicas": 4,
        "replicas_in_words": "1 to 4 replicas by load",
        "legend": ["READY: time with <all> up."],
        "complete": True,
        "notes": [],
        "rows": list(rows),
    }
    return made | changes


def svgs(text: str) -> list[ET.Element]:
    """Parse every plot: what is no XML is no plot."""
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314  # our own


def test_one_file_for_both_grounds_that_fetches_nothing() -> None:
    """Four plots that are XML, no address, no script that runs, colours for light and for dark."""
    text = page(document(row("home"), row("B3"), row("ours", "ours"), row("oracle", "bound")))

    assert [len(svgs(text)), text.count("prefers-color-scheme:dark")] == [4, 1]
    assert not re.search(r"(?:src|href)=|https?:|@import|url\(|\bon\w+=", text)
    assert text.count("<script") == text.count("</script>") == 1
    assert "what home &lt;does&gt;" in text
    assert "1 to 4 replicas by load" in text
    assert "<p>READY: time with &lt;all&gt; up.</p>" in text
    colours = set(re.findall(r"var\((--\w+)\)", text))
    for ground in text.split("prefers-color-scheme:dark"):
        assert colours <= set(re.findall(r"(--\w+):#", ground)), "a colour that one of the grounds does not have"


def test_a_policy_that_emits_more_than_b3_is_marked() -> None:
    """Losses are shown, not hidden."""
    text = page(document(row("home"), row("ours", "ours")))

    assert text.count('<td class="loss">-3.00 %</td>') == 2
    assert '<td class="loss">10.00 %</td>' not in text
    assert "<th>less than home</th><th>less than B3</th><th>moves</th>" in text, (
        "no column for a bound that is not there"
    )


def test_refusals_assumptions_and_interruptions_are_said() -> None:
    """A refusing policy has words instead of figures; a partial page says that it is one."""
    text = page(
        document(row("home"), row("cap", "ours", refusal="nothing is cheap <enough>"), notes=["drawn"], complete=False)
    )

    assert "nothing is cheap &lt;enough&gt;" in text
    assert "<li>drawn</li>" in text
    assert "Interrupted: not all policies were done." in text
    assert len(svgs(page(document(row("cap", refusal="no"))))) == 0


def test_a_line_has_a_point_for_each_day_and_ours_is_on_top() -> None:
    """Ten days are not smoothed; the last line drawn is the service's own."""
    asked = document(row("ours", "ours"), row("home"), row("greedy"))
    (plot,) = svgs(over_time(asked["rows"], asked["period"]))

    lines = [e for e in plot if e.tag == "polyline"]
    assert [e.get("class") for e in lines] == ["other", "line-home", "line-ours"]
    assert {len((e.get("points") or "").split()) for e in lines} == {10}


def test_many_regions_share_a_grey_and_those_with_most_hours_do_not() -> None:
    """Colours that repeat would say what is not so."""
    regions = tuple(f"aws/region-{i:02d}" for i in range(12))
    hours = {region: float(i) for i, region in enumerate(regions)}
    asked = document(row("ours", "ours", regions=regions, replica_hours_by_region=hours))

    text = lanes(asked["rows"], asked["period"])

    (plot,) = svgs(text)
    boxes = [e.get("class") for e in plot if e.tag == "rect"]
    assert boxes[:3] == ["other", "other", "s9"]
    assert boxes[-1] == "s0"
    assert "other regions" in text


def test_the_document_can_be_taken_out_again() -> None:
    """Whoever has the page has the numbers."""
    asked = document(row("home"))
    embedded = re.search(r'<script type="application/json" id="document">(.*?)</script>', page(asked), re.DOTALL)

    assert embedded is not None
    assert json.loads(embedded[1]) == asked


def test_a_part_is_never_written_as_all() -> None:
    """An auditor who reads 100 % may take it for all."""
    assert [share(f) for f in (1.0, 0.9999999, 0.93889, 0.0)] == ["100.000 %", "99.999 %", "93.889 %", "0.000 %"]


def test_words_at_dots_that_lie_together_stand_below_each_other() -> None:
    """What lies on one spot is counted, what lies beside it keeps a line of its own."""
    crowd = [
        row("home", usd=10.0),
        row("near", usd=9.6, known_grams=1200.0),
        row("same", usd=10.0),
        row("far", usd=1.0),
    ]
    (plot,) = svgs(scatter(crowd))

    words = {e.text: float(e.get("y") or 0) for e in plot if e.tag == "text" and e.get("text-anchor") is None}
    assert set(words) == {"home and 1 more", "near", "far"} or set(words) == {"home and 2 more", "far"}
    heights = sorted(y for name, y in words.items() if name != "far")
    assert all(b - a >= LABEL_HEIGHT for a, b in pairwise(heights))


def test_an_axis_ends_above_everything_and_has_round_quarters() -> None:
    """Nothing is drawn outside, at most two fifths of the height are empty, and quarters have two digits at most."""
    for most in (0.003, 1.0, 4.0, 4.1, 54.0, 215.0, 1795.94, 64_558.0):
        top = round_top(most)
        assert most <= top * (1 + 1e-9)
        assert top < most / 0.6
        assert float(f"{top / 4:.2g}") == pytest.approx(top / 4)
    assert round_top(0.0) == 1.0


def test_weights_have_their_unit() -> None:
    """Grams, kilograms, tonnes."""
    assert [weight(g) for g in (12.0, 31900.0, 2.5e6)] == ["12 g", "31.90 kg", "2.50 t"]
