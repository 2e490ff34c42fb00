"""``greenctl completion``."""

import os
from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from orchestrator.cli.frame import APP, COMPLETE_VARIABLE, Command, new_app
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError


class Shell(StrEnum):
    """Shells that we can complete for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    PWSH = "pwsh"


app = new_app()


@app.command(cls=Command)
def completion(
    ctx: typer.Context,
    shell: Annotated[
        Shell | None, typer.Argument(metavar="[SHELL]", help="bash, zsh, fish or pwsh; yours without it.")
    ] = None,
) -> None:
    """Print the completion script of a shell.

    Examples:
      eval "$(greenctl completion bash)"                 in ~/.bashrc
      eval "$(greenctl completion zsh)"                  in ~/.zshrc, after compinit
      greenctl completion fish > ~/.config/fish/completions/greenctl.fish

    Commands, options and the names of your services are completed.
    """
    session = Session.of(ctx)
    chosen = shell or _own_shell()
    script = get_completion_script(prog_name=APP, complete_var=COMPLETE_VARIABLE, shell=chosen.value)
    session.emit(completion={"shell": chosen, "script": script})
    if not session.as_json:
        typer.echo(script)


def _own_shell() -> Shell:
    name = os.path.basename(os.environ.get("SHELL", ""))  # noqa: PTH119  # a name, not a file of ours
    try:
        return Shell(name)
    except ValueError as error:
        raise UsageError("your shell is not known", hint="Name it: greenctl completion bash") from error
