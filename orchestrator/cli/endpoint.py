"""Where a service answers, which key it asks for, and a first request to try."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.acting import acting_elsewhere
from orchestrator.cli.render.text import line
from orchestrator.domain.service import ServiceSpec

if TYPE_CHECKING:
    from orchestrator.cli.session import Session


def say_if_elsewhere(session: Session) -> None:
    """Say that the gateway listens elsewhere than these settings say: on another host, or started with others."""
    wanted = session.outside.configured_gateway_url(session.settings)
    found = session.outside.gateway().running(session.settings.state_dir)
    there = acting_elsewhere(session) if found is None else None
    if there is not None:
        words = f"the gateway runs beside the controller of {there.claimant}, and not here. "
        words += f"Its address and its key are said there; {wanted} is what the settings here say"
        session.say(line(("note: ", "yellow"), words))
    if found is None or found.url == wanted:
        return
    session.say(
        line(
            ("note: ", "yellow"),
            f"the gateway runs on {found.url}, and the settings here say {wanted}: it was started with others. "
            "Set gateway.host and gateway.port here as they were there, or stop it where you want it moved",
        )
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``key_file`` holds the client key; ``None`` when no key is asked for."""

    url: str
    model: str
    key_file: Path | None

    @classmethod
    def of(cls, session: Session, spec: ServiceSpec) -> Endpoint:
        """Return the endpoint of a service. Clients name it by the service: models may be served twice."""
        runtime = session.runtime
        key_file = session.outside.client_key_file(session.settings) if runtime.client_keys_sha256 else None
        return cls(runtime.gateway_url().rstrip("/"), spec.name, key_file)

    def curl(self) -> str:
        """Return a shell line that asks for a short answer; the key is read from its file, never printed."""
        body = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32}
        key = "" if self.key_file is None else f' -H "authorization: Bearer $(cat {shlex.quote(str(self.key_file))})"'
        return (
            f"curl {shlex.quote(self.url + '/v1/chat/completions')} -H 'content-type: application/json'{key} "
            f"-d {shlex.quote(json.dumps(body))}"
        )

    def render(self) -> RenderableType:
        """Return the last lines of a deploy."""
        key = "no key is asked for on this machine" if self.key_file is None else f"key in {self.key_file}"
        curl = Text(f"  {self.curl()}", no_wrap=True, overflow="ignore")
        return Group(line("Live at ", (f"{self.url}/v1", "bold"), f"   model {self.model}   {key}"), curl)
