"""The server's side of ASGI: read a body within limits, answer, and notice when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

from orchestrator.gateway.replies import Refusal
from orchestrator.gateway.requests import MAX_BODY_BYTES, too_large

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_SECONDS: Final = 30.0
"""A client that needs longer for at most 1 MiB only holds a place."""

_DISCONNECT = "http.disconnect"


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request header; the name in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Read the request body.

    Raises :class:`~orchestrator.gateway.replies.Refusal` (413, 408) and :class:`ClientGone`.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == _DISCONNECT:
                    raise ClientGone
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise too_large()
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise Refusal(408, "request_timeout", f"The request body took longer than {BODY_SECONDS:g} s.") from error


class Reply:
    """One response, sent once. ``is_started``: the status line is out; ``is_finished``: the last byte is."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.is_started = False
        self.is_finished = False

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send status and headers."""
        self.is_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self._headers]})

    async def send(self, data: bytes) -> None:
        """Send a part of the body at once."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        self.is_finished = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send everything."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.finish(body)

    async def refuse(self, refusal: Refusal) -> None:
        """Send a refusal."""
        await self.whole(refusal.status, refusal.headers(), refusal.body())


@asynccontextmanager
async def while_client_stays(receive: Receive, reply: Reply) -> AsyncIterator[None]:
    """Cancel the body of the ``with`` when the client leaves, and turn that into :class:`ClientGone`.

    Only for requests whose body has been read: what arrives after it can only be the disconnect.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not inside a task")
    cancelled_by_others = task.cancelling()
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != _DISCONNECT:
            pass
        if not reply.is_finished:
            left = True
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if left and task.uncancel() <= cancelled_by_others:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
