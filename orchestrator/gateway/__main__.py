"""``python -m orchestrator.gateway``: run the gateway in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from orchestrator.errors import ExitStatus, GreenctlError
from orchestrator.gateway.app import GatewayApp
from orchestrator.gateway.daemon import PROGRESS_MARK
from orchestrator.gateway.instance import GatewayInfo, announce, cannot_listen, holding, require_free_port
from orchestrator.gateway.leftovers import clean_up
from orchestrator.gateway.node import GatewayNode
from orchestrator.gateway.options import Options, parse
from orchestrator.gateway.sockets import gateway_folder


class _Stopped(BaseException):
    """A signal arrived while we were starting. Not an ``Exception``: nothing on the way may swallow it."""


class _Signals:
    """Turns SIGTERM and SIGINT into an event, or into :class:`_Stopped` while starting."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._is_serving = False
        self._install()

    def serving(self) -> None:
        """From now on only the event; and take the handlers back, which Ray replaces while it starts."""
        self._is_serving = True
        self._install()

    def _install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._arrived)

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        self.stop.set()
        if not self._is_serving:
            raise _Stopped


def run(options: Options) -> int:
    """Serve until told to stop; return the exit status. Errors are said on standard error."""
    signals = _Signals()
    folder = gateway_folder(options.state_dir)
    try:
        with holding(folder):
            clean_up(folder)  # before the port: what a crash left may well be what holds it
            require_free_port(options.host, options.port)
            if options.plain:
                asyncio.run(_serve_plain(options, signals))
            else:
                _serve_with_ray(options, signals)
    except GreenctlError as error:
        _say(f"error: {error} [{error.code}]")
        _say(f"hint: {error.hint()}")
        return int(error.exit_status)
    except _Stopped:
        return int(ExitStatus.INTERRUPTED)
    return int(ExitStatus.DONE)


def _serve_with_ray(options: Options, signals: _Signals) -> None:
    from orchestrator.gateway import serve_app  # noqa: PLC0415  # heavy, and not needed for the plain mode

    with serve_app.serving(options, _say) as info:
        signals.serving()
        _announce(options, info)
        serve_app.wait_while_healthy(info, signals.stop)


async def _serve_plain(options: Options, signals: _Signals) -> None:
    from orchestrator.gateway import plain  # noqa: PLC0415  # as above

    folder = gateway_folder(options.state_dir)
    node = GatewayNode(
        folder,
        mode=plain.MODE,
        keyless_allowed=options.keyless_allowed,
        origin=options.origin,
        origin_header=options.origin_header,
    )
    try:
        async with plain.serving(GatewayApp(node), options.host, options.port) as port:
            signals.serving()
            _announce(options, GatewayInfo(os.getpid(), options.host, port, plain.MODE, 1))
            await asyncio.to_thread(signals.stop.wait)
            with suppress(TimeoutError):
                async with asyncio.timeout(options.drain_seconds):
                    await node.drain()
    except OSError as error:
        raise cannot_listen(options.host, options.port, error) from error


def _announce(options: Options, info: GatewayInfo) -> None:
    # Said first: whoever starts it stops listening as soon as it is announced.
    _say(f"serving on {info.url} ({info.mode})")
    announce(gateway_folder(options.state_dir), info)


def _say(text: str) -> None:
    sys.stderr.write(f"{PROGRESS_MARK}{text}\n")
    sys.stderr.flush()


def main() -> NoReturn:
    """Run with the command line's options and exit."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.exit(run(parse()))


if __name__ == "__main__":
    main()
