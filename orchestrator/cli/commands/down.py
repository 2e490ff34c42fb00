"""``greenctl down``."""

import typer

from orchestrator.cli.acting import see_to_controller
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import ServiceName, Timeout, Yes
from orchestrator.cli.render.journal import edits_line
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.cli.watching import last_event_id, watch
from orchestrator.control.orphan_survey import in_no_record
from orchestrator.control.usecases import submit_down
from orchestrator.domain.records import ServiceState
from orchestrator.errors import UnknownService

app = new_app()


@app.command(cls=Command)
def down(ctx: typer.Context, service: ServiceName, *, yes: Yes = False, timeout: Timeout = None) -> None:
    """Take a service down; its history is kept.

    Examples:
      greenctl down chat                                 asks for the name
      greenctl down chat --yes                           does not ask

    Requests under way are finished first; a deploy or migration that is still open is given up.
    Decisions, energy and costs stay: greenctl report works on.
    """
    session = Session.of(ctx)
    runtime = session.runtime
    record = runtime.store.service(service)
    if record is None:
        raise UnknownService(f"no service {service!r}")
    replicas = runtime.store.replicas(service)
    if record.state is ServiceState.DOWN and not replicas:
        session.emit(down={"service": service, "state": "unchanged", "operation": None})
        session.show(line(f"{service} is already down."))
        _warn(session, service)
        return
    count = len(replicas)
    session.say(line(f"This removes {count} replica{'' if count == 1 else 's'} of {service}. Its history is kept."))
    edits = edits_line(runtime.store.glance_at_journal(), runtime.store.journal_marks())
    if edits is not None:
        session.complain(edits)
        session.complain(line("Replicas whose rows were edited are not ended before somebody accepts that."))
    session.confirm("Type the name of the service to continue:", yes=yes, answer=service)
    news = last_event_id(runtime, service)
    see_to_controller(session)
    operation = submit_down(service, runtime, actor=session.outside.actor())
    watch(session, operation, after_event=news, timeout=timeout)
    session.emit(down={"service": service, "state": "done", "operation": operation.id})
    session.show(line(f"{service} is down. What it drew and cost: ", (f"greenctl report {service}", "bold")))
    _warn(session, service)


def _warn(session: Session, service: str) -> None:
    """Say what carries its name still, though no record knows it: nobody ends that without a word."""
    if strange := in_no_record(session.runtime.store, service):
        session.complain(line((strange, "yellow")))
