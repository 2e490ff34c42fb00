"""The gateway beside a controller: started when it does not run, and left to itself when the controller ends."""

from __future__ import annotations

import asyncio

import structlog

from orchestrator.aside import aside
from orchestrator.controller.daemon import POLL_SECONDS, log_path
from orchestrator.errors import GreenctlError
from orchestrator.gateway import daemon as gateway_daemon
from orchestrator.gateway.instance import log_path as gateway_log_path
from orchestrator.logs import keep_log_short
from orchestrator.settings import Settings
from orchestrator.wiring import gateway_options

FOUND_SECONDS = 10.0
"""How long the process of a gateway takes at most until it holds its lock, beside others that want the processors."""

log = structlog.get_logger("orchestrator.controller")


class GatewayKeeper:
    """Keeps our logs short, and starts the gateway when it does not run; it outlives us on purpose."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_starting = False

    async def keep(self) -> None:
        """Look once."""
        state_dir = self._settings.state_dir
        for log_of in (log_path(self._settings), gateway_log_path(state_dir)):
            keep_log_short(log_of)
        if gateway_daemon.running(state_dir) is not None:
            return
        try:
            await aside(self._start)
        except GreenctlError as error:
            log.warning("gateway_start_failed", code=error.code, message=error.message, hint=error.hint())

    async def leave(self) -> None:
        """Leave a gateway that is being started to itself, once those find it who may want to stop it."""
        for _ in range(round(FOUND_SECONDS / POLL_SECONDS)):
            if not self._is_starting or gateway_daemon.is_there(self._settings.state_dir):
                return
            await asyncio.sleep(POLL_SECONDS)

    def _start(self) -> None:
        self._is_starting = True
        try:
            gateway_daemon.start(gateway_options(self._settings))
        finally:
            self._is_starting = False
