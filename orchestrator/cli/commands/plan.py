"""``greenctl plan``."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import plan_memory
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import SpecFile
from orchestrator.cli.places import not_written, require_writable
from orchestrator.cli.reading import is_recorded, read_spec
from orchestrator.cli.render import money
from orchestrator.cli.render import plan as page
from orchestrator.cli.render.text import line
from orchestrator.cli.session import FORMAT_VERSION, Session
from orchestrator.cli.unread import say_unread, unread
from orchestrator.codec import to_json
from orchestrator.control.usecases import bill_of, preview_deploy
from orchestrator.errors import ExitStatus

OFFERS_SHOWN = 10

app = new_app()


@app.command(cls=Command)
def plan(
    ctx: typer.Context,
    spec: SpecFile,
    *,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 10 when something would change.", show_default=False)
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the plan as JSON, too.", show_default=False)
    ] = None,
    offers: Annotated[
        int, typer.Option("--offers", metavar="N", min=0, help="Rows of the offers table; 0 for all.")
    ] = OFFERS_SHOWN,
    check: Annotated[
        bool,
        typer.Option("--check", help="Ask the providers, too, whether a launch can work.", show_default=False),
    ] = False,
    recorded: Annotated[
        Path | None,
        typer.Option("--recorded", metavar="DIR", help="Read the grid from recorded files there.", show_default=False),
    ] = None,
) -> None:
    """Show what a deploy would change, and why; nothing is changed.

    Examples:
      greenctl plan service.yaml
      greenctl plan service.yaml --offers 0              every offer, the excluded ones with their reason
      greenctl plan service.yaml --check                 engine, credentials and disk, as a deploy checks them
      greenctl plan service.yaml --exit-code             exit status 10 when something would change
      greenctl plan service.yaml --json --out plan.json

    A file that differs from what is recorded is a change, also where no replica changes: a deploy would record it.

    The digest at the end binds the service file, the changes, the offers and their prices. A deploy with --digest
    does exactly that or nothing.
    """
    session = Session.of(ctx)
    if out is not None:
        require_writable("--out", out)
    session.use_recording(recorded)
    loaded = read_spec(session, spec)
    found = session.run(preview_deploy(loaded.spec, loaded.digest, session.runtime, check=check))
    plan_memory.remember(session.settings.cache_dir, found)
    passed = unread(session)
    say_unread(session, passed)
    bill = bill_of(loaded.spec, session.runtime, found.actions)
    recorded_as_is = is_recorded(session, loaded)
    would_change = bool(found.actions) or not recorded_as_is
    document = {
        "plan": found,
        "would_change": would_change,
        "file_is_recorded": recorded_as_is,
        "worst_case_bill": bill,
        "unread_signals": passed,
    }
    if out is not None:
        _write(out, f"{to_json({'format_version': FORMAT_VERSION, **document})}\n")
    session.emit(**document)
    session.show(page.render(found, loaded.spec, width=session.out.width, offers=offers))
    session.show(money.worst_case(bill))
    if not found.actions:
        session.show(
            line("No replica changes; the new file would be recorded." if would_change else "Nothing to change.")
        )
    if would_change:
        session.show(page.apply_line(found, str(spec)))
    if exit_code and would_change:
        raise typer.Exit(ExitStatus.CHANGES_PENDING)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise not_written("--out", path, error) from error
