"""``greenctl journal``."""

from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import Yes
from orchestrator.cli.render import journal as page
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.errors import ExitStatus, UsageError

app = new_app(
    """Check that the journal is as it was written, and go on from one that is not.

    Examples:
      greenctl journal check
      greenctl journal accept 3f9a0c12b7de --reason "restored row by row after the disk failed"
    """
)


@app.command(cls=Command)
def check(ctx: typer.Context) -> None:
    """Compare every row of the journal with the chain of what was written.

    Examples:
      greenctl journal check
      greenctl journal check --json

    Each row is named by a link that holds the SHA-256 of the row and of the link before it. The first row that was
    edited, added or removed by hand comes first. The head stands for everything before it: whoever keeps it elsewhere
    can tell later that nothing was rewritten. Nothing is changed. The exit status is 4 when something was found.
    """
    session = Session.of(ctx)
    store = session.runtime.store
    report, accepted = store.check_journal(), store.journal_acceptances()
    session.emit(journal={"report": report, "digest": report.digest, "acceptances": accepted})
    session.show(page.render(report, accepted, width=session.out.width))
    if not report.is_whole:
        raise typer.Exit(ExitStatus.PROVIDER)


@app.command(cls=Command)
def accept(
    ctx: typer.Context,
    findings: Annotated[
        str, typer.Argument(metavar="FINDINGS", help="Their name, as check shows it.", show_default=False)
    ],
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="WORDS", help="Why; kept in the journal for good.", show_default=False)
    ],
    yes: Yes = False,
) -> None:
    """Take the journal as it was found, and let the controller go on.

    Examples:
      greenctl journal check
      greenctl journal accept 3f9a0c12b7de --reason "restored row by row after the disk failed"

    Who, when, why and what becomes a link of the chain itself. It is refused when other things are found than those
    that the name stands for. Until then the controller keeps up what serves and does nothing voluntary.
    """
    session = Session.of(ctx)
    if not reason.strip():
        raise UsageError("--reason must say why", hint='--reason "what happened, and who looked at it"')
    runtime = session.runtime
    report = runtime.store.check_journal()
    session.complain(page.findings(report, width=session.out.width))
    session.confirm("Take the journal as it is? [y/N]:", yes=yes)
    actor, now = session.outside.actor(), runtime.clock.now()
    runtime.store.accept_edits(findings, actor=actor, reason=reason.strip(), now=now)
    session.emit(journal={"acceptances": runtime.store.journal_acceptances()})
    session.show(line("The journal is taken as it is. A running controller goes on within its next sweep."))
