"""``greenctl render``."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from orchestrator.cli.frame import Command, new_app
from orchestrator.cli.parameters import SpecFile
from orchestrator.cli.reading import read_spec
from orchestrator.cli.session import Session
from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import highest_price
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant
from orchestrator.errors import UsageError
from orchestrator.provisioners.skypilot.clouds import WITHOUT_PORTS
from orchestrator.provisioners.skypilot.task import NodeOptions, SkyTask, build_task
from orchestrator.settings import Settings
from orchestrator.spec.words import nearest

FILES = "files"
TASK = "task.yaml"

app = new_app()


@app.command(cls=Command)
def render(
    ctx: typer.Context,
    spec: SpecFile,
    *,
    offer: Annotated[str, typer.Option("--offer", metavar="OFFER", help="As plan names it: REGION:SHAPE:MARKET.")],
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
    below it. The replica's key and the secrets are made and read at the launch; here stand only their places.
    """
    session = Session.of(ctx)
    loaded = read_spec(session, spec)
    found = _find(session, loaded.spec, offer)
    task = build_task(_request(loaded.spec, found), _node(session.settings, found))
    document = _document(task)
    if out is not None:
        _write(out, document, task)
    session.emit(task=document, files=dict(task.files))
    if session.as_json:
        return
    # Whole lines for a file or a pipe: nothing is wrapped. The text is made of checked values, so nothing in it speaks
    # to the terminal.
    typer.echo(_yaml(document), nl=False)
    launch = next((text for path, text in task.files.items() if path.endswith("launch.json")), "")
    if launch:
        typer.echo("# launch.json, which our own program on the machine reads:")
        for text in launch.splitlines():
            typer.echo(f"# {text}")


def _find(session: Session, spec: ServiceSpec, wanted: str) -> Offer:
    now = session.runtime.clock.now()
    offers: dict[str, Offer] = {o.id: o for o in session.run(_offers(session, spec, now))}
    if wanted not in offers:
        near = nearest(wanted, offers)
        meant = f"; did you mean {near}?" if near else ""
        message = f"{wanted!r} is not one of the {len(offers)} offers that fit this file{meant}"
        raise UsageError(message, hint=f"greenctl plan {spec.name}.yaml --offers 0 lists them.")
    return offers[wanted]


async def _offers(session: Session, spec: ServiceSpec, now: Instant) -> Sequence[Offer]:
    return await session.runtime.offers.offers(spec.resources, now)


def _request(spec: ServiceSpec, offer: Offer) -> LaunchRequest:
    return LaunchRequest(
        name=f"gc-00000000-{spec.name}-0000000000",
        deployment_uid="0" * 32,
        service=spec.name,
        intent_id="0" * 10,
        offer=offer,
        model=spec.model,
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


def _document(task: SkyTask) -> dict[str, Any]:
    """The task with its mounts, paths beside the task's own file."""
    mounts = {remote: f"./{FILES}/{remote.rpartition('/')[2]}" for remote in task.files}
    mounts |= {remote: str(local) for remote, local in task.uploads.items()}
    for path in (task.key_path, task.secrets_path):
        if path:
            mounts[path] = f"./{FILES}/{path.rpartition('/')[2]}"
    return {**task.config, **({"file_mounts": mounts} if mounts else {})}


def _yaml(document: dict[str, Any]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel's stub says None
    text = io.StringIO()
    yaml.dump(json.loads(json.dumps(document)), text)
    return text.getvalue()


def _write(out: Path, document: dict[str, Any], task: SkyTask) -> None:
    try:
        (out / FILES).mkdir(parents=True, exist_ok=True)
        (out / TASK).write_text(_yaml(document), encoding="utf-8")
        for remote, text in task.files.items():
            (out / FILES / remote.rpartition("/")[2]).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror or error}") from error
