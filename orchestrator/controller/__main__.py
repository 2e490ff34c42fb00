"""``python -m orchestrator.controller``: run the controller in the foreground until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import structlog

from orchestrator.clocks import SystemClock
from orchestrator.control.controller import Controller
from orchestrator.control.held_turn import HeldTurn
from orchestrator.control.ports import Journal
from orchestrator.control.runtime import Runtime
from orchestrator.controller.covered import require_covered
from orchestrator.controller.daemon import FAILED, TAKE_OVER
from orchestrator.controller.gateway_keeper import GatewayKeeper
from orchestrator.controller.home import claimant_of, settle
from orchestrator.controller.lock import DatabaseLock, Lock
from orchestrator.controller.loop import run
from orchestrator.domain.records import EventKind
from orchestrator.domain.time import format_instant
from orchestrator.domain.turns import Claim, quiet_after
from orchestrator.errors import GreenctlError
from orchestrator.logs import lines_to
from orchestrator.settings import Settings, load_settings
from orchestrator.store.address import parse_address
from orchestrator.wiring import build

STDOUT = 1
"""Our log: whoever started us has put a file there."""

log = structlog.get_logger("orchestrator.controller")


async def _main(settings: Settings, *, take_over: bool) -> None:
    lock = Lock(settings.state_dir)
    lock.take()
    database = parse_address(settings.store_url).path
    database_lock = None if database is None else DatabaseLock(database, settings.state_dir)
    if database_lock is not None:
        database_lock.take()
    settle(settings.state_dir)
    runtime = build(settings)
    require_covered(runtime.store.replicas(), runtime.provisioners)
    since = format_instant(SystemClock().wall())
    claimed_at = runtime.clock.through_sleep()
    claim = Claim(claimant_of(settings.state_dir), take_over, is_alone=database_lock is not None)
    journal = runtime.store.claim(f"pid {os.getpid()}", runtime.clock.now(), claim)
    lock.sign(since, journal.epoch)
    turn = HeldTurn(journal, runtime.clock, claimed_at, quiet_after(journal.predecessor, claim))
    _tell(runtime, journal, claim, turn)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    log.info("controller_started", epoch=journal.epoch, state_dir=str(settings.state_dir))
    gateway = GatewayKeeper(settings)
    controller = Controller(runtime, journal, turn=turn)
    await run(controller, settings.controller.tick_seconds, stop, gateway.keep, turn=turn)
    await gateway.leave()
    _end(turn)
    log.info("controller_stopped", epoch=journal.epoch)


def _tell(runtime: Runtime, journal: Journal, claim: Claim, turn: HeldTurn) -> None:
    """Put on record that we began, and in whose place."""
    before, words = journal.predecessor, f"controller started, epoch {journal.epoch}"
    if before is not None and before.claimant != claim.claimant:
        words += f", after the one of {before.claimant}"
    if turn.waiting:
        minutes = quiet_after(before, claim).total_seconds() / 60
        them = "1 launch" if turn.waiting == 1 else f"{turn.waiting} launches"
        words += f": what nobody shows of {them} that was asked for before is asked for again in {minutes:.0f} min"
    clock = runtime.clock
    journal.record_event(EventKind.CONTROLLER, words, service="", at=clock.now(), wall_at=clock.wall())


def _end(turn: HeldTurn) -> None:
    """Let another host begin at once; where that cannot be said, it waits until nothing was heard of us."""
    try:
        turn.end()
    except GreenctlError as error:
        log.info("turn_not_ended", code=error.code, message=error.message)


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
        asyncio.run(_main(load_settings(), take_over=TAKE_OVER in sys.argv[1:]))
    except GreenctlError as error:
        status = int(error.exit_status)
        log.critical(FAILED, code=error.code, message=error.message, hint=error.hint(), exit_status=status)
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
