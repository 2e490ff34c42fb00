"""``greenctl migrate``."""

from typing import Annotated

import typer
from rich.console import Group

from orchestrator.cli.acting import see_to_controller
from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import ServiceName, Timeout, Yes
from orchestrator.cli.render import move as page
from orchestrator.cli.render.labels import find_replica
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.cli.watching import last_event_id, require_idle, watch
from orchestrator.control.usecases import preview_migration, refuse_while_paused, submit_migration
from orchestrator.errors import UnknownService

app = new_app()


@app.command(cls=Command)
def migrate(
    ctx: typer.Context,
    service: ServiceName,
    *,
    replica: Annotated[
        str | None, typer.Option("--replica", metavar="R", help="r0, r0-3fa9 or a full name; the dirtiest without it.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="REGION", help="Where to; the best allowed region without it.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the decision.", show_default=False)] = "",
    yes: Yes = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Hand the work over and return at once.", show_default=False)
    ] = False,
    timeout: Timeout = None,
) -> None:
    """Move a replica to another region now.

    Examples:
      greenctl migrate chat                              the dirtiest replica to the best region
      greenctl migrate chat --replica r0 --to local/se
      greenctl migrate chat --to local/se --yes --reason "maintenance at the old place"

    The new replica is started, proven with a real completion and given traffic in steps before the old one drains: no
    request is cut. What the policy would have said is shown beside the question; hard constraints still hold.
    """
    session = Session.of(ctx)
    runtime, actor = session.runtime, session.outside.actor()
    if runtime.store.service(service) is None:
        raise UnknownService(f"no service {service!r}")
    require_idle(runtime, service)
    refuse_while_paused(service, runtime)
    name = None if replica is None else find_replica(service, replica, runtime.store.replicas(service)).name
    why = reason or f"asked for by {actor}"
    plan = session.run(preview_migration(service, runtime, replica=name, to_region=to, reason=why, actor=actor))
    tell = session.say if yes else session.complain
    tell(Group(*page.render(plan, runtime.store.replicas(service), width=session.talk.width)))
    session.confirm("Move it? [y/N]:", yes=yes)
    news = last_event_id(runtime, service)
    see_to_controller(session)
    operation = submit_migration(plan, runtime, actor=actor, reason=why)
    if detach:
        session.say(line("Handed over. Watch it with: ", (f"greenctl rollout status {service} --watch", "bold")))
    else:
        watch(session, operation, after_event=news, timeout=timeout)
    state = "queued" if detach else "done"
    session.emit(migration={"service": service, "state": state, "operation": operation.id, "plan": plan})
    if not detach:
        session.show(line(f"Done: {page.in_words(plan)}."))
