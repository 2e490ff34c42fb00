"""Work in a thread of its own, that nobody else waits behind, or for when the process ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

V = TypeVar("V")


async def aside(work: Callable[[], V]) -> V:
    """Return what it returns, raise what it raises.

    A gateway may take minutes to come up, and does so without us; a name that cannot be looked up hangs for half a
    minute, and cannot be broken off. The threads of ``asyncio.to_thread`` are few: whoever comes later waits until one
    is free, and ``asyncio.run`` waits for all of them before it returns.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[V] = loop.create_future()

    def tell(result: V | None, error: BaseException | None) -> None:
        if answer.done():  # whoever waited was cancelled
            return
        if error is None:
            answer.set_result(result)  # type: ignore[arg-type]  # it is what the work returned
        else:
            answer.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001  # raised where it is waited for
            error = caught
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await answer
