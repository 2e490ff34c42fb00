"""``greenctl advise``."""

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import ServiceName
from orchestrator.cli.render import advice as page
from orchestrator.cli.render.labels import labels
from orchestrator.cli.session import Session
from orchestrator.control.advice import service_advice

app = new_app()


@app.command(cls=Command)
def advise(ctx: typer.Context, service: ServiceName) -> None:
    """Say what to do about a service: stay, move now, or change a limit.

    Examples:
      greenctl advise chat
      greenctl advise chat --json                        with every limit's price and every number's flip

    The answer comes with the best move that was weighed, when it would have paid for itself, and on how many of the
    last 28 days it would have been right. Every limit of the file that costs carbon is listed with what giving it up
    would save; each has been tried, so that the change it names really lets the offer in. Nothing is changed.
    """
    session = Session.of(ctx)
    found = session.run(service_advice(service, session.runtime))
    session.emit(advice=found)
    names = labels(session.runtime.store.replicas(service, ended=True))
    session.show(page.render(found, names, width=session.out.width))
