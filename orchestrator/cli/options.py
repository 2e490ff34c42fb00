"""Options that several commands share, word for word."""

from typing import Annotated

import typer

Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region", metavar="REGION", help="Region or pattern ('aws/eu-*'); may be repeated.", show_default=False
    ),
]
