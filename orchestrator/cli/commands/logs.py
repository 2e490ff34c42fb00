"""``greenctl logs``."""

from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import LOG_LINES, Follow, Lines, ServiceName
from orchestrator.cli.render.labels import find_replica, label
from orchestrator.cli.session import Session
from orchestrator.cli.show_log import show_log
from orchestrator.domain.replica import LIVE, Replica
from orchestrator.errors import ProviderError, UnknownService, UsageError

app = new_app()


@app.command(cls=Command)
def logs(
    ctx: typer.Context,
    service: ServiceName,
    *,
    replica: Annotated[
        str | None, typer.Option("--replica", metavar="R", help="r0, r0-3fa9 or a full name; the newest without it.")
    ] = None,
    lines: Lines = LOG_LINES,
    follow: Follow = False,
) -> None:
    """Show the engine's own log lines of a replica.

    Examples:
      greenctl logs chat
      greenctl logs chat --replica r1 -n 500
      greenctl logs chat -f

    Replicas that have ended keep their log for as long as their provider keeps it.
    """
    session = Session.of(ctx)
    chosen = _choose(session, service, replica)
    provisioner = session.runtime.provisioners.get(chosen.region.partition("/")[0])
    path = None if provisioner is None else provisioner.log_path(chosen.name)
    if path is None:
        raise ProviderError(
            f"the log of {label(chosen)} is not on this machine", hint=f"Ask the provider of {chosen.region}."
        )
    about = f"{label(chosen)} in {chosen.region}"
    show_log(session, path, lines=lines, follow=follow, about=about, hint="It is written once the engine has started.")


def _choose(session: Session, service: str, words: str | None) -> Replica:
    store = session.runtime.store
    if store.service(service) is None:
        raise UnknownService(f"no service {service!r}")
    known = store.replicas(service, ended=True)
    if words is not None:
        return find_replica(service, words, known)
    if not known:
        raise UsageError(f"{service} has never had a replica", hint=f"greenctl rollout status {service}")
    return max(known, key=lambda r: (r.state in LIVE, r.created_at, r.name))
