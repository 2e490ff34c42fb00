"""Arguments and options that several commands share, and what reads them."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator.cli.session import Session
from orchestrator.errors import GreenctlError

_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def parse_length(text: str) -> timedelta:
    """Read ``90s``, ``15m``, ``2h`` or ``1d``. Raises ``typer.BadParameter`` for anything else."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a length of time: write 90s, 15m or 2h")
    try:
        return float(found[1]) * _UNITS[found[2]]
    except OverflowError as error:
        raise typer.BadParameter(f"{text!r} is longer than can be counted") from error


def complete_service(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the recorded services; nothing where they cannot be read, because completion must not complain."""
    session = ctx.obj if isinstance(ctx.obj, Session) else Session()
    session.only_looks = True
    try:
        names = [record.name for record in session.runtime.store.services()]
    except (GreenctlError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region", metavar="REGION", help="Region or pattern ('aws/eu-*'); may be repeated.", show_default=False
    ),
]

SpecFile = Annotated[
    Path, typer.Argument(metavar="SPEC", help="Service file (YAML); a plain SkyPilot file works.", show_default=False)
]
ServiceName = Annotated[
    str,
    typer.Argument(metavar="SERVICE", help="Name of a service.", autocompletion=complete_service, show_default=False),
]
MaybeServiceName = Annotated[
    str | None,
    typer.Argument(metavar="[SERVICE]", help="Name of a service; all without it.", autocompletion=complete_service),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout", metavar="LENGTH", parser=parse_length, help="Stop waiting after 90s, 15m, 2h; the work goes on."
    ),
]
LOG_LINES: Final = 100
Lines = Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="Last lines; 0 for all.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until Ctrl-C.", show_default=False)]
