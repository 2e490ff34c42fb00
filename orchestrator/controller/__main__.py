"""``python -m orchestrator.controller``: run the controller in the foreground until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import structlog

from orchestrator.clocks import SystemClock
from orchestrator.control.controller import Controller
from orchestrator.controller.covered import require_covered
from orchestrator.controller.daemon import FAILED
from orchestrator.controller.gateway_keeper import GatewayKeeper
from orchestrator.controller.home import settle
from orchestrator.controller.lock import Lock
from orchestrator.controller.loop import run
from orchestrator.domain.records import EventKind
from orchestrator.domain.time import format_instant
from orchestrator.errors import GreenctlError
from orchestrator.logs import lines_to
from orchestrator.settings import Settings, load_settings
from orchestrator.wiring import build

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
    gateway = GatewayKeeper(settings)
    await run(Controller(runtime, journal), settings.controller.tick_seconds, stop, gateway.keep)
    await gateway.leave()
    log.info("controller_stopped", epoch=journal.epoch)


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
