"""Tighten the HAProxy configuration that Ray Serve writes.

Ray Serve generates the file at every change and starts HAProxy by a path that can be set. We set it to a small
launcher that edits the file first: the statistics and metrics pages listen on the loopback address instead of on all
interfaces, clients must send their request headers within a time, and when no gateway process is up, or none is routed
to yet, the client gets an OpenAI-shaped 503 with ``Retry-After`` instead of an empty 500, or a 404 after which nobody
tries again. Our application takes every path, so only a start knows none.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import sys
from pathlib import Path
from typing import Final

from orchestrator.errors import ProviderError
from orchestrator.gateway.replies import RETRY_AFTER_SECONDS

REQUEST_SECONDS: Final = 30

_MAX_SHEBANG = 120
_PAGE_BIND = re.compile(r"^((?:frontend prometheus|listen stats)\n\s*bind )\*?:(\d+)$", re.MULTILINE)
_DEFAULTS = re.compile(r"^defaults\n\s*mode http\n(?!\s*timeout http-request)", re.MULTILINE)
_ERROR_FILE = re.compile(r"^(\s*errorfile 50[234]) .*$", re.MULTILINE)
_NO_APPLICATION = re.compile(r"^(backend default_backend\n\s*http-request return) status 404 .*$", re.MULTILINE)


def tightened(config: str, error_file: str) -> str:
    """Return the configuration with our changes; what is not recognised stays as it is.

    Raises ``ValueError`` for an ``error_file`` whose path no line of a configuration can hold.
    """
    error_file = quoted(error_file)
    config = _PAGE_BIND.sub(r"\g<1>127.0.0.1:\g<2>", config)
    config = _DEFAULTS.sub(lambda m: f"{m.group()}    timeout http-request {REQUEST_SECONDS}s\n", config)
    config = _NO_APPLICATION.sub(lambda m: f"{m.group(1)} status 503 errorfile {error_file}", config)
    return _ERROR_FILE.sub(lambda m: f"{m.group(1)} {error_file}", config)


def quoted(path: str) -> str:
    """Return a path as one word of a configuration, as it is where it needs no quotes.

    HAProxy quotes as a shell does (configuration manual, section 2.2). Raises ``ValueError`` for control characters:
    its lines end at any line break, quoted or not.
    """
    if not path.isprintable():
        message = f"{path!r} cannot stand in HAProxy's configuration"
        raise ValueError(message)
    return shlex.quote(path)


def error_response() -> str:
    """Return the raw response for "no gateway process is up"."""
    message = "The gateway is starting or restarting; try again shortly."
    error = {"message": message, "type": "service_unavailable", "param": None, "code": "gateway_restarting"}
    body = json.dumps({"error": error})
    head = (
        "HTTP/1.1 503 Service Unavailable",
        f"content-length: {len(body)}",
        "content-type: application/json",
        f"retry-after: {RETRY_AFTER_SECONDS}",
        "connection: close",
    )
    return "\r\n".join([*head, "", body])


def write_launcher(folder: Path, haproxy: str) -> Path:
    """Write the launcher and the error page; return the launcher's path.

    Not into a temporary folder: those may forbid execution. Raises ``ProviderError`` where HAProxy could not read the
    page by its path.
    """
    error_file = folder / "503.http"
    try:
        quoted(str(error_file))
    except ValueError as error:
        raise ProviderError(str(error), hint="Use a state directory without control characters in its path.") from error
    error_file.write_text(error_response(), encoding="utf-8", newline="")
    root = str(Path(__file__).resolve().parents[2])
    launcher = folder / "haproxy-launcher"
    launcher.write_text(
        f"{_first_lines(sys.executable)}"
        "import sys\n"
        f"sys.path.insert(0, {root!r})\n"
        "from orchestrator.gateway.haproxy import launch\n"
        f"launch({haproxy!r}, {str(error_file)!r})\n",
        encoding="utf-8",
    )
    launcher.chmod(stat.S_IRWXU)
    return launcher


def _first_lines(python: str) -> str:
    """Return what makes the kernel run the script with this Python, whose path may be long or hold spaces."""
    if len(python) < _MAX_SHEBANG and not any(c.isspace() for c in python):
        return f"#!{python}\n"
    # Shell and Python at once, as pip writes it: to Python the second and third line are a string.
    return f"#!/bin/sh\n'''exec' {shlex.quote(python)} \"$0\" \"$@\"\n' '''\n"


def launch(haproxy: str, error_file: str) -> None:
    """Edit the configuration named by ``-f`` and become HAProxy, with the same arguments and process id."""
    arguments = sys.argv[1:]
    if "-f" in arguments:
        config = Path(arguments[arguments.index("-f") + 1])
        config.write_text(tightened(config.read_text(encoding="utf-8"), error_file), encoding="utf-8")
    os.execv(haproxy, [haproxy, *arguments])  # noqa: S606  # no shell, and the arguments are Ray's own
