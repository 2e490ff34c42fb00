"""How a gateway process is told what to do."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gateway.instance import is_loopback

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
DEFAULT_DRAIN_SECONDS = 10.0

ORIGIN_PATTERN = r"[a-z][a-z0-9-]{0,31}"
HEADER_PATTERN = r"[Xx]-[A-Za-z0-9-]{1,60}"

Progress = Callable[[str], None]
"""Takes one short sentence about what is being done now."""


@dataclass(frozen=True, slots=True)
class Options:
    """``replicas``: gateway processes behind HAProxy. ``drain_seconds``: how long a stop waits for running requests.

    ``origin``: whence its requests come, a name of ``slo.clients``. ``origin_header``: a header by which a proxy in
    front says that of each request; only a proxy that overwrites what clients send may be trusted with it.
    """

    state_dir: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    replicas: int = 1
    plain: bool = False
    drain_seconds: float = DEFAULT_DRAIN_SECONDS
    origin: str = ""
    origin_header: str = ""

    @property
    def keyless_allowed(self) -> bool:
        """Whether services without client keys may be served: only where nobody else can connect."""
        return is_loopback(self.host)

    def arguments(self) -> list[str]:
        """Return the command line that :func:`parse` reads back."""
        words = ["--state-dir", str(self.state_dir), "--host", self.host, "--port", str(self.port)]
        words += ["--replicas", str(self.replicas), "--drain-seconds", f"{self.drain_seconds:g}"]
        words += ["--origin", self.origin] if self.origin else []
        words += ["--origin-header", self.origin_header] if self.origin_header else []
        return [*words, "--plain"] if self.plain else words


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; a wrong one ends the process with status 2, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.gateway", description="Run the greenctl gateway in the foreground until SIGTERM."
    )
    parser.add_argument("--state-dir", type=Path, required=True, help="folder for the routing table, sockets and logs")
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on (%(default)s)")
    parser.add_argument("--replicas", type=int, default=1, help="gateway processes behind HAProxy (%(default)s)")
    parser.add_argument("--plain", action="store_true", help="one process without Ray")
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=DEFAULT_DRAIN_SECONDS,
        help="how long running requests may take to end at SIGTERM (%(default)s)",
    )
    parser.add_argument("--origin", default="", type=_origin, help="where its clients are, as slo.clients names it")
    parser.add_argument(
        "--origin-header",
        default="",
        type=_header,
        help="header by which a trusted proxy names the origin",
    )
    given = parser.parse_args(arguments)
    if given.replicas < 1 or (given.plain and given.replicas > 1):
        parser.error("--replicas: at least 1, and exactly 1 with --plain")
    return Options(
        given.state_dir.absolute(),
        given.host,
        given.port,
        given.replicas,
        given.plain,
        given.drain_seconds,
        given.origin,
        given.origin_header,
    )


def _origin(text: str) -> str:
    return _matching(ORIGIN_PATTERN, text, "an area like eu or us-east")


def _header(text: str) -> str:
    return _matching(HEADER_PATTERN, text, "the name of a header of one's own, like X-Client-Area")


def _matching(pattern: str, text: str, wanted: str) -> str:
    if text and not re.fullmatch(pattern, text, re.ASCII):
        message = f"{text!r} is not {wanted}"
        raise argparse.ArgumentTypeError(message)
    return text
