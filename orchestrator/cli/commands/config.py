"""``greenctl config``."""

import os
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.origins import setting_lines
from orchestrator.cli.render import settings as page
from orchestrator.cli.session import Session

app = new_app(
    """Show the settings and where each comes from.

    Examples:
      greenctl config show --origin
    """
)


@app.command(cls=Command)
def show(
    ctx: typer.Context,
    *,
    origin: Annotated[
        bool, typer.Option("--origin", help="Say where each value comes from.", show_default=False)
    ] = False,
) -> None:
    """Show every setting as it holds now.

    Examples:
      greenctl config show
      greenctl config show --origin
      GREENCTL_GATEWAY__PORT=9000 greenctl config show --origin

    Strongest first: GREENCTL_* in the environment, greenctl.toml here, the user's config.toml, the defaults. Passwords
    in addresses are hidden.
    """
    session = Session.of(ctx)
    lines = setting_lines(session.settings, session.outside.setting_files(), os.environ)
    session.emit(settings={one.name: {"value": one.value, "from": one.origin} for one in lines})
    session.show(page.render(lines, width=session.out.width, origin=origin))
