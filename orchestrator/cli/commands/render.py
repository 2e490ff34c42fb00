"""``greenctl render``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import SpecFile
from orchestrator.cli.reading import read_spec
from orchestrator.cli.render import task as page
from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.control.ports import LaunchRequest
from orchestrator.control.usecases import preview_deploy
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import highest_price
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.variants import model_of, with_variants
from orchestrator.errors import UsageError
from orchestrator.provisioners.skypilot.clouds import WITHOUT_PORTS
from orchestrator.provisioners.skypilot.task import NodeOptions, SkyTask, build_task
from orchestrator.settings import Settings
from orchestrator.spec.service_file import LoadedSpec
from orchestrator.spec.words import listed

TASK = "task.yaml"
MOST_MEANT = 3

app = new_app()


@app.command(cls=Command)
def render(
    ctx: typer.Context,
    spec: SpecFile,
    *,
    offer: Annotated[
        str | None,
        typer.Option(
            "--offer", metavar="OFFER", help="REGION:SHAPE:MARKET or …#VARIANT; else what plan launches first."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write the task and its files there, too.", show_default=False),
    ] = None,
) -> None:
    """Print the SkyPilot task of a replica on an offer; nothing is started.

    Examples:
      greenctl render service.yaml --offer aws/eu-north-1:1xL4:spot
      greenctl render service.yaml --offer slurm/eu-north:2vCPU-4GB:on_demand --out chat-task

    The run command is the same text for everybody. What differs is in the files that travel with the task, printed
    below it. The replica's key and the secrets are made and read at the launch; here stand only their places. What
    --out writes can be run by hand, from there: sky launch task.yaml
    """
    session = Session.of(ctx)
    loaded = read_spec(session, spec)
    found = _find(session, loaded, offer)
    task = build_task(_request(loaded.spec, found), _node(session.settings, found))
    if out is not None:
        _write(out, task)
    session.emit(offer=found.id, task=page.document(task), files=dict(task.files), secrets=list(loaded.spec.secrets))
    if not session.as_json:
        # Whole lines for a file or a pipe: nothing is wrapped.
        typer.echo(page.text(task), nl=False)
    if out is not None and task.secrets_path:
        names = listed(loaded.spec.secrets)
        path = out / page.FILES / page.name_of(task.secrets_path)
        session.say(line(f"To run it by hand, write {path}: a JSON object with {names}, readable by you alone."))


def _find(session: Session, loaded: LoadedSpec, wanted: str | None) -> Offer:
    """Return the offer of that name, or the one that a deploy would launch on first. Raises ``UsageError``."""
    now = session.runtime.clock.now()

    async def ask() -> Mapping[str, Offer]:
        sold = await session.runtime.offers.offers(loaded.spec.resources, now)
        return {o.id: o for o in with_variants(sold, loaded.spec)}

    offers = session.run(ask())
    if wanted is None:
        plan = session.run(preview_deploy(loaded.spec, loaded.digest, session.runtime, check=False))
        wanted = next((action.offer_id for action in plan.actions if action.offer_id), None)
        if wanted is None:
            raise UsageError("plan launches nothing now, so it chooses no offer", hint="Name one with --offer.")
    if wanted not in offers:
        meant = get_close_matches(wanted, offers, n=MOST_MEANT, cutoff=0.5)
        near = f"; the nearest: {listed(meant)}" if meant else ""
        message = f"{wanted!r} is not one of the {len(offers)} offers that fit this file{near}"
        raise UsageError(message, hint="greenctl plan with --offers 0 lists them.")
    return offers[wanted]


def _request(spec: ServiceSpec, offer: Offer) -> LaunchRequest:
    """The request that a launch would make, with nobody's identity."""
    return LaunchRequest(
        name=f"gc-00000000-{spec.name}-0000000000",
        deployment_uid="0" * 32,
        service=spec.name,
        intent_id="0" * 10,
        offer=replace(offer, variant=""),
        model=model_of(spec, offer.variant) or spec.model,
        labels=spec.labels,
        replica="r0",
        max_usd_per_hour=None if offer.price is None else highest_price(offer.price.usd_per_hour),
        secrets=spec.secrets,
        task_json=spec.passthrough_json,
    )


def _node(settings: Settings, offer: Offer) -> NodeOptions:
    bare = offer.region.provider in WITHOUT_PORTS
    engine = settings.skypilot.engine
    return NodeOptions(engine=str(engine) if bare and engine is not None else None, opens_ports=not bare)


def _write(out: Path, task: SkyTask) -> None:
    """Write the task, its files, and a key that is new, for us alone to read."""
    folder = out / page.FILES
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (out / TASK).write_text(page.as_yaml(page.document(task)), encoding="ascii")
        for remote, text in task.files.items():
            (folder / page.name_of(remote)).write_text(text, encoding="utf-8")
        if task.key_path and not (key := folder / page.name_of(task.key_path)).exists():
            handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"gr-{secrets.token_urlsafe(32)}\n")
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror or error}") from error
