"""Everything that the commands reach: settings, ports, background processes. Imported when first asked for.

Tests hand in a subclass; nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from orchestrator.control.runtime import Runtime
    from orchestrator.controller.daemon import ControllerInfo
    from orchestrator.domain.turns import Turn
    from orchestrator.gateway.daemon import GatewayInfo
    from orchestrator.gateway.options import Options
    from orchestrator.prices.spot_advisor import InterruptionSource
    from orchestrator.regions.catalogue import RegionCatalogue
    from orchestrator.settings import Settings
    from orchestrator.signals.recorded import Coverage

# ruff: noqa: PLC0415  # each of these pulls in pydantic, SQLAlchemy or more, which --help must not wait for


REPEAT_QUERIES: Final = ("urllib3", "botocore", "boto3")
"""Loggers of others that write down whole requests."""


class ControllerDaemon(Protocol):
    """How the controller process of a state directory is started, stopped and found."""

    def start(self, settings: Settings, *, progress: Callable[[str], None], take_over: bool = False) -> ControllerInfo:
        """Start it unless one runs. Raises ``PortBusy``, ``LeaseHeld`` and ``ControllerUnavailable``."""
        ...

    def stop(self, settings: Settings, *, timeout_seconds: float) -> bool:
        """Stop it and return whether one ran. Raises ``ControllerUnavailable``."""
        ...

    def info(self, settings: Settings) -> ControllerInfo | None:
        """Return the one that runs."""
        ...

    def elsewhere(self, settings: Settings, turn: Turn | None) -> Turn | None:
        """Return the turn if it is of a controller of another host or state directory that may be at work."""
        ...

    def log_path(self, settings: Settings) -> Path:
        """Where it writes its log."""
        ...


class GatewayDaemon(Protocol):
    """How the gateway process of a state directory is started, stopped and found."""

    def start(self, options: Options, *, progress: Callable[[str], None] | None = None) -> GatewayInfo:
        """Start it, or return the one that runs so. Raises ``PortBusy``, ``Conflict``, ``ProviderError``."""
        ...

    def stop(self, state_dir: Path) -> bool:
        """Stop it and return whether one ran."""
        ...

    def running(self, state_dir: Path) -> GatewayInfo | None:
        """Return the one that runs."""
        ...


class Outside:
    """The real world."""

    def settings(self) -> Settings:
        """Read the settings. Raises ``InvalidSettings``."""
        from orchestrator.settings import load_settings

        return load_settings()

    def setting_files(self) -> Mapping[str, Path]:
        """Return the files that settings are read from, strongest first."""
        from platformdirs import user_config_path

        from orchestrator.settings import APP

        user = user_config_path(APP, appauthor=False) / "config.toml"
        return {"greenctl.toml": Path("greenctl.toml"), str(user): user}

    def runtime(self, settings: Settings, *, only_looks: bool = False) -> Runtime:
        """Build the ports; contacts nobody. ``only_looks``: nothing is going to be changed."""
        from orchestrator.wiring import build

        return build(settings, only_looks=only_looks)

    def regions(self, settings: Settings) -> RegionCatalogue:
        """Return the regions that are configured."""
        from orchestrator.wiring import regions

        return regions(settings)

    def interruptions(self, settings: Settings) -> InterruptionSource | None:
        """Return who knows how often spot machines were taken back. Raises ``InvalidSettings``; contacts nobody."""
        from orchestrator.wiring import interruption_source

        return interruption_source(settings)

    def plain(self, value: object) -> object:
        """Turn one of our values into what JSON can say."""
        from orchestrator.codec import to_plain

        return to_plain(value)

    def actor(self) -> str:
        """Name who asks, for the records."""
        import getpass

        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return "unknown user"

    def controller(self) -> ControllerDaemon:
        """Return how the controller process is started, stopped and found."""
        from orchestrator.controller import daemon

        return daemon

    def gateway(self) -> GatewayDaemon:
        """Return how the gateway process is started, stopped and found."""
        from orchestrator.gateway import daemon

        return daemon

    def gateway_options(self, settings: Settings) -> Options:
        """Return how the gateway of these settings is started."""
        from orchestrator.wiring import gateway_options

        return gateway_options(settings)

    def configured_gateway_url(self, settings: Settings) -> str:
        """Return where a gateway of these settings listens; the one that runs may have been started with others."""
        from orchestrator.wiring import configured_gateway_url

        return configured_gateway_url(settings)

    def client_key_file(self, settings: Settings) -> Path:
        """Return where the key of the gateway's clients is kept."""
        from orchestrator.wiring import CLIENT_KEY_FILE

        return settings.state_dir / CLIENT_KEY_FILE

    def vllm(self, settings: Settings) -> tuple[Path, str]:
        """Return the local vLLM program and its version (empty if unknown). Raises ``EngineMissing``."""
        from orchestrator.wiring import vllm_launcher

        launcher = vllm_launcher(settings)
        return launcher.executable(), launcher.version()

    def coverage(self, folder: Path) -> tuple[Coverage, ...]:
        """Say what a recording has. Raises ``SignalUnavailable``."""
        from orchestrator.signals.recorded import RecordedCarbon

        return RecordedCarbon(folder).coverage()

    def configure_logs(self, *, verbose: bool, debug: bool) -> None:
        """Send log lines to standard error, where they cannot end up in a document: warnings, or more where asked."""
        import logging
        import sys

        import structlog

        level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
        for name in REPEAT_QUERIES:
            # Some APIs want their key in the query, and these repeat every query when they debug.
            logging.getLogger(name).setLevel(max(level, logging.INFO))
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )
