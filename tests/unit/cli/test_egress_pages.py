"""Egress on pages: in a report on a line of its own, in a worst-case bill beside the rent."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console, RenderableType

from orchestrator.cli.render import money, report
from orchestrator.domain.time import HOUR
from orchestrator.domain.transfer import Span
from orchestrator.ledger.report import Fetched
from orchestrator.planner.spending import Bill, BillLine
from tests.builders import NOON
from tests.unit.cli.samples import REPORT


def text_of(page: RenderableType) -> str:
    """Print it as one line of words."""
    console = Console(width=160, record=True, file=StringIO())
    console.print(page)
    return " ".join(console.export_text().split())


def test_a_report_tells_what_was_fetched_and_that_it_is_modelled() -> None:
    """A range, what is unknown, and in no sum; nothing where nothing was fetched."""
    found = Fetched(3, 1, 32.0, Span(6.4, 96.0, 192.0), Span(0.0, 0.0, 0.0), ("the model hub",))
    told = text_of(report.render(replace(REPORT, egress=found), width=160))
    assert "modelled, in no sum: 32.0 GB fetched by 3 launches from the model hub" in told
    assert "attributional" in told
    assert "free of charge" in told
    assert "unknown in part for 1 of them" in told
    assert "fetched" not in text_of(report.render(REPORT, width=160))


def test_a_bill_says_what_of_it_is_for_the_weights() -> None:
    """Known, it stands beside the rent; unknown, the bill says what to write."""
    line = BillLine(0, "", "aws/se", 1.0, NOON + HOUR, 3.0, 2.0)
    assert "$2.00 of it for fetching its weights" in text_of(
        money.worst_case(Bill(NOON, (line,), 3.0, 3.0, NOON + HOUR))
    )
    dark = replace(line, usd=None, egress_usd=None)
    assert "write model.weights_gb" in text_of(money.worst_case(Bill(NOON, (dark,), None, 0.0, NOON + HOUR)))
