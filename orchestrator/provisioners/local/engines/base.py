"""What the local provisioner needs to know of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.service import Engine, ModelSpec

_PASSED_ON = """
    PATH HOME USER LOGNAME LANG LANGUAGE TZ TMPDIR LD_LIBRARY_PATH
    XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR
    HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
"""
PASSED_ON = frozenset(_PASSED_ON.split())
"""What an engine gets from our environment. A list of what is needed and not of what is secret: the controller's
environment holds cloud credentials, and no list of those is ever complete."""


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """How to start one replica. ``prepare``: commands that must succeed first. ``version``: empty when unknown.

    ``api_key_variable``: the environment variable through which the engine takes its key; never an argument, because
    every user of a machine can read arguments.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    api_key_variable: str | None
    prepare: tuple[tuple[str, ...], ...] = ()
    version: str = ""


class EngineLauncher(Protocol):
    """Knows one engine."""

    @property
    def engine(self) -> Engine:
        """Which one."""
        ...

    def preflight(self, model: ModelSpec) -> None:
        """Check that the engine and the model are here. Raises ``EngineMissing`` or ``ProviderError``."""
        ...

    def command(self, model: ModelSpec, host: str, port: int) -> EngineCommand:
        """Return how to start it, listening on ``host:port``. Raises as ``preflight`` does."""
        ...


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that engines may see."""
    return {k: v for k, v in environment.items() if k in PASSED_ON or k.startswith("LC_")}
