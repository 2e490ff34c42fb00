"""Say at the end of a run what was tested and, loudly, what was not.

A kind of test is a folder under ``tests/``.  With ``GREENCTL_REQUIRE_ALL=1``, as in continuous integration, a skipped
test fails the run: there, everything that a test may need is installed, so a skip can only be a mistake.
"""

import os
from collections import Counter

import pytest

import tests.hypothesis_profiles  # noqa: F401  # no property has a deadline, whoever forgets to say so
from tests import notes

UNTRACED = ("tests/property/", "tests/sim/")
"""Where tests walk the same lines thousands of times: tracing them takes two thirds more of a processor's time (17.7 s
for 10.6 s, measured on two modules)."""

# Most telling first; pytest's own words for the outcomes.
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def kind_of(nodeid: str) -> str:
    """The folder under ``tests/`` that a test lies in: unit, contract, property and so on."""
    parts = nodeid.split("::", maxsplit=1)[0].split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else "other"


def outcomes_by_kind(stats: dict[str, list]) -> dict[str, Counter[str]]:
    """Count the outcomes of each kind, from pytest's lists of reports."""
    kinds: dict[str, Counter[str]] = {}
    for outcome in OUTCOMES:
        for report in stats.get(outcome, []):
            kinds.setdefault(kind_of(report.nodeid), Counter())[outcome] += 1
    return kinds


def table_of(kinds: dict[str, Counter[str]]) -> list[str]:
    """Lay the counts out, one kind a line and the total last; outcomes that never happened get no column."""
    total = sum(kinds.values(), Counter())
    columns = [outcome for outcome in OUTCOMES if total[outcome] or outcome in {"passed", "failed", "skipped"}]
    rows = [*sorted(kinds.items()), ("all", total)]
    width = max(len(kind) for kind, _ in rows)
    heading = " " * width + "".join(f"{column:>9}" for column in columns)
    return [heading, *(f"{kind:<{width}}" + "".join(f"{counts[c]:>9}" for c in columns) for kind, counts in rows)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the tracer what it is wanted for."""
    for item in items:
        if not is_traced(item.nodeid):
            item.add_marker(pytest.mark.no_cover)


def is_traced(nodeid: str) -> bool:
    """Whether coverage watches a test: all but those of UNTRACED, unless GREENCTL_TRACE_ALL=1."""
    return os.environ.get("GREENCTL_TRACE_ALL") == "1" or not nodeid.startswith(UNTRACED)


def skips_required_to_run(session: pytest.Session) -> list[pytest.TestReport | pytest.CollectReport]:
    """The skipped tests that must not be skipped; none unless GREENCTL_REQUIRE_ALL=1."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("GREENCTL_REQUIRE_ALL") != "1" or reporter is None:
        return []
    return reporter.stats.get("skipped", [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a success with skips into a failure where everything is required."""
    if session.exitstatus == pytest.ExitCode.OK and skips_required_to_run(session):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the stories measured, the table, and the skips."""
    if notes.LINES:
        terminalreporter.section("what the stories measured")
        for line in notes.LINES:
            terminalreporter.write_line(line)
    kinds = outcomes_by_kind(terminalreporter.stats)
    if not kinds:
        return
    terminalreporter.section("tests by kind")
    for line in table_of(kinds):
        terminalreporter.write_line(line)
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    required = os.environ.get("GREENCTL_REQUIRE_ALL") == "1"
    terminalreporter.section(f"{len(skipped)} NOT TESTED HERE", sep="!", red=required, yellow=not required, bold=True)
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")
    if required:
        terminalreporter.write_line("GREENCTL_REQUIRE_ALL=1: each of these is a failure", red=True, bold=True)
