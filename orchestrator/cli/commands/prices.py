"""``greenctl prices``."""

from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import Regions
from orchestrator.cli.session import Session
from orchestrator.domain.price import Market
from orchestrator.domain.service import Accelerators, ResourceRequest
from orchestrator.errors import PriceUnavailable, UsageError

DEFAULT_LIMIT = 30

app = new_app()


@app.command(cls=Command)
def prices(
    ctx: typer.Context,
    *,
    accelerators: Annotated[
        list[str] | None,
        typer.Option(
            "--accelerators", metavar="NAME:COUNT", help="Only this hardware; may be repeated.", show_default=False
        ),
    ] = None,
    region: Regions = None,
    market: Annotated[Market | None, typer.Option("--market", help="Only this market.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Rows at most; 0 shows all.")] = DEFAULT_LIMIT,
) -> None:
    """Show what capacity costs: each offer's price with its source, age and kind.

    Examples:
      greenctl prices
      greenctl prices --accelerators H100:8 --accelerators A100:8
      greenctl prices --accelerators L4 --region 'gcp/europe-*' --market spot
      greenctl prices --limit 0 --json

    The cheapest accelerator comes first. A price that a list has and nobody charges is not shown as one: the offer has
    none then, and says why. Without --accelerators everything that is listed is shown, the smallest CPU machine too.
    Prices of the moment come from those that prices.live names: aws-spot, azure-retail, and gcp-catalog, which adds up
    cores, memory and accelerators of A2 and G2 machines and needs GREENCTL_PRICES__GCP__KEY (or file:PATH there).
    With aws-spot-advisor in prices.live, spot machines of AWS say how often they were taken back in the month before.
    """
    from orchestrator.cli.render import prices as page  # noqa: PLC0415 - --help needs no tables
    from orchestrator.prices.survey import everything, survey, with_interruptions  # noqa: PLC0415 - as above

    session = Session.of(ctx)
    runtime = session.runtime
    shelf = session.run(runtime.offers.shelf())
    wanted = _wanted(accelerators or []) or everything(shelf)
    now = runtime.clock.now()
    lines = session.run(survey(runtime.offers, wanted, now, regions=region or [], market=market))
    # Whoever is asked for prices of the moment was asked only now.
    troubles = list(session.run(runtime.offers.shelf()).troubles)
    source = session.outside.interruptions(session.settings)
    if source is not None:
        try:
            lines = session.run(with_interruptions(lines, source, now))
        except PriceUnavailable as error:
            troubles.append(f"how often spot machines were taken back: {error.message}")
            source = None
    session.emit(prices=lines, at=now, troubles=troubles)
    session.show(
        page.render(
            lines,
            at=now,
            rate=runtime.clock.rate,
            troubles=troubles,
            limit=limit,
            width=session.out.width,
            with_interruptions=source is not None,
        )
    )
    if not lines:
        raise PriceUnavailable(_why_none(region, market), hint="greenctl prices --limit 0 lists all that is known.")


def _wanted(words: list[str]) -> tuple[ResourceRequest, ...]:
    found = []
    for word in words:
        name, _, count = word.partition(":")
        if not name or (count and (not count.isdecimal() or int(count) < 1)):
            raise UsageError(f"--accelerators {word!r} is not NAME or NAME:COUNT", hint="Write H100:8.")
        found.append(ResourceRequest(accelerators=(Accelerators(name, int(count or "1")),)))
    return tuple(found)


def _why_none(region: list[str] | None, market: Market | None) -> str:
    where = f" in {', '.join(region)}" if region else ""
    return f"no list has an offer of that{where}" + (f" on the market {market}" if market else "")
