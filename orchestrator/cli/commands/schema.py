"""``greenctl schema``."""

import json

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.session import Session
from orchestrator.spec.schema import service_schema

app = new_app()


@app.command(cls=Command)
def schema(ctx: typer.Context) -> None:
    """Print the JSON Schema of a service file, for editors.

    Examples:
      greenctl schema > service.schema.json
    """
    session = Session.of(ctx)
    found = service_schema()
    session.emit(schema=found)
    if not session.as_json:
        typer.echo(json.dumps(found, indent=2))
