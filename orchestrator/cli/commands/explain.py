"""``greenctl explain``."""

from typing import Annotated

import typer
from rich.console import Group

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import ServiceName
from orchestrator.cli.render import explain as page
from orchestrator.cli.render.advice import flip_lines
from orchestrator.cli.render.labels import labels, shortened
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.control.advice import service_advice
from orchestrator.control.runtime import Runtime
from orchestrator.domain.decision import Decision
from orchestrator.errors import UnknownService, UsageError

app = new_app()


@app.command(cls=Command)
def explain(
    ctx: typer.Context,
    service: ServiceName,
    *,
    decision: Annotated[
        str | None,
        typer.Option("--decision", metavar="ID", help="A decision from the history; the newest without it."),
    ] = None,
    why_not: Annotated[
        str | None,
        typer.Option("--why-not", metavar="REGION", help="Every rule for the offers of a region; * and ? match."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every move that was weighed in full, not only the best.", show_default=False)
    ] = False,
    what_would_change: Annotated[
        bool,
        typer.Option("--what-would-change", help="The smallest change that turns the answer, now.", show_default=False),
    ] = False,
) -> None:
    """Say why a service is where it is, with every number.

    Examples:
      greenctl explain chat                              the newest decision
      greenctl explain chat --why-not 'aws/eu-*'         every rule for those regions
      greenctl explain chat --decision d-4f1c2a7b90      an older one: greenctl history lists them
      greenctl explain chat --what-would-change          the smallest change of each number that turns the answer
      greenctl explain chat --json                       the same as data

    Each line of a comparison is printed with its formula, its factors and where they come from, and with the hourly
    intensities that were summed: every result can be recomputed from what is on the page.
    """
    session = Session.of(ctx)
    if what_would_change:
        if decision is not None or why_not is not None or every:
            raise UsageError("--what-would-change asks about now, and stands alone")
        _what_would_change(session, service)
        return
    found = _decision(session.runtime, service, decision)
    session.emit(decision=found)
    names = labels(session.runtime.store.replicas(service, ended=True))
    session.show(page.render(found, width=session.out.width, why_not=why_not or "", every=every, names=names))


def _what_would_change(session: Session, service: str) -> None:
    advice = session.run(service_advice(service, session.runtime))
    session.emit(decision=advice.because, flips=advice.flips)
    names = labels(session.runtime.store.replicas(service, ended=True))
    session.show(line(shortened(advice.because, names)))
    session.show(Group(*flip_lines(advice.flips, names, width=session.out.width)))


def _decision(runtime: Runtime, service: str, decision_id: str | None) -> Decision:
    record = runtime.store.service(service)
    if record is None:
        raise UnknownService(f"no service {service!r}")
    if decision_id is not None:
        found = runtime.store.decision(decision_id)
        if found is None or found.service != service:
            _refuse_merged(runtime, service, decision_id)
            raise UsageError(
                f"{service} has no decision {decision_id!r}", hint=f"greenctl history {service} lists them."
            )
        return found
    newest = runtime.store.decisions(service, limit=1)
    if not newest:
        raise UsageError(
            f"nothing has been decided for {service} yet", hint="The controller decides: greenctl controller status"
        )
    return newest[0]


def _refuse_merged(runtime: Runtime, service: str, decision_id: str) -> None:
    """Say of a decision that is no longer kept whole what is left of it. Raises ``UsageError``."""
    day = next((d for d in runtime.store.resting_days(service) if decision_id in d.ids), None)
    if day is not None:
        raise UsageError(
            f"{decision_id} is no longer kept whole: it was one of {len(day.ids)} that said {day.kind.value!r} on"
            f" {day.day:%Y-%m-%d} by {day.policy}; the last of them: {day.summary}",
            hint="What changed anything is kept for ever; for how long the others are: controller.keep_decisions_days.",
        )
