"""``python -m orchestrator.controller``: run the controller in the foreground until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.clocks import SystemClock
from orchestrator.control.controller import Controller
from orchestrator.controller.covered import require_covered
from orchestrator.controller.daemon import FAILED, log_path
from orchestrator.controller.home import settle
from orchestrator.controller.lock import Lock
from orchestrator.controller.loop import run
from orchestrator.domain.records import EventKind
from orchestrator.domain.time import format_instant
from orchestrator.errors import GreenctlError
from orchestrator.gateway import daemon as gateway_daemon
from orchestrator.gateway.instance import log_path as gateway_log_path
from orchestrator.logs import keep_log_short, lines_to
from orchestrator.settings import Settings, load_settings
from orchestrator.wiring import build, gateway_options

STDOUT = 1
"""Our log: whoever started us has put a file there."""

log = structlog.get_logger("orchestrator.controller")


async def _main(settings: Settings) -> None:
    lock = Lock(settings.state_dir)
    lock.take()
    settle(settings.state_dir)
    runtime = build(settings)
    require_covered(runtime.store.replicas(), runtime.provisioners)
    since = format_instant(SystemClock().wall())
    journal = runtime.store.claim(f"pid {os.getpid()}", runtime.clock.now())
    lock.sign(since, journal.epoch)
    journal.record_event(
        EventKind.CONTROLLER,
        f"controller started, epoch {journal.epoch}",
        service="",
        at=runtime.clock.now(),
        wall_at=runtime.clock.wall(),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    log.info("controller_started", epoch=journal.epoch, state_dir=str(settings.state_dir))
    await run(Controller(runtime, journal), settings.controller.tick_seconds, stop, _gateway_keeper(settings))
    log.info("controller_stopped", epoch=journal.epoch)


def _gateway_keeper(settings: Settings) -> Callable[[], Awaitable[None]]:
    async def keep() -> None:
        """Keep our logs short, and start the gateway when it does not run; it outlives us on purpose."""
        for log_of in (log_path(settings), gateway_log_path(settings.state_dir)):
            keep_log_short(log_of)
        if gateway_daemon.running(settings.state_dir) is not None:
            return
        try:
            await asyncio.to_thread(gateway_daemon.start, gateway_options(settings))
        except GreenctlError as error:
            log.warning("gateway_start_failed", code=error.code, message=error.message, hint=error.hint())

    return keep


def main() -> int:
    """Run; return the process's exit status."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lines_to(STDOUT),
    )
    try:
        asyncio.run(_main(load_settings()))
    except GreenctlError as error:
        status = int(error.exit_status)
        log.critical(FAILED, code=error.code, message=error.message, hint=error.hint(), exit_status=status)
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
