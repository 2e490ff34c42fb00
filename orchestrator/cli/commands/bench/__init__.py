"""``greenctl bench``: one module for each measurement."""

from typing import Final

import typer

from orchestrator.cli.frame import Entry, LazyGroup

_DECISIONS: Final = "Decisions"

ENTRIES: Final = (
    Entry("plan", _DECISIONS, "Plan a service over whole catalogues, beside SkyPilot's own optimizer.", __name__),
    Entry("placement", _DECISIONS, "Place a replica hour by hour for a year, beside rivals and the optimum.", __name__),
    Entry("planner", _DECISIONS, "Plan random worlds: how fast, and how far from the optimum at most.", __name__),
    Entry("spot", _DECISIONS, "Keep three replicas ready on spot, beside SpotHedge and the optimum.", __name__),
    Entry("signals", _DECISIONS, "Poison carbon feeds, and count the moves to where nobody should go.", __name__),
    Entry(
        "scale",
        _DECISIONS,
        "Bring up a large fleet, take it down: how long looks take, what is left.",
        __name__,
    ),
    Entry("soak", _DECISIONS, "Run a small fleet for a year: what the database and the process grow to.", __name__),
    Entry("sim", _DECISIONS, "Live through simulated bad days: how fast, and whether a promise was broken.", __name__),
    Entry("forecast", _DECISIONS, "Forecast a recorded year four days ahead, and score it honestly.", __name__),
)


class Benches(LazyGroup):
    """All measurements, imported when they run."""

    entries = ENTRIES


app = typer.Typer(
    cls=Benches,
    help="""Measure greenctl against its rivals, on data that anyone can check.

    Examples:
      greenctl bench plan service.yaml --catalogs ~/.sky/catalogs --with-skypilot

    Every bench prints a table for people; --json prints the document instead, --json FILE.json or --json=FILE writes
    it beside the table.
    """,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)


@app.callback()
def _help_when_alone(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
