"""``greenctl version``."""

import platform

import typer

from orchestrator import __version__
from orchestrator.cli.frame import APP, Command, new_app
from orchestrator.cli.session import Session

app = new_app()


@app.command(cls=Command)
def version(ctx: typer.Context) -> None:
    """Print the version.

    Examples:
      greenctl version
      greenctl version --json
    """
    show(Session.of(ctx))


def show(session: Session) -> None:
    """Print the version, as a document where that was asked for."""
    if session.as_json:
        session.emit(version=__version__, python=platform.python_version(), platform=platform.platform())
    else:
        typer.echo(f"{APP} {__version__}")
