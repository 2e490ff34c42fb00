"""What real APIs do wrong, each as something that the pretended ones can be told to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

from aiohttp import web

from orchestrator.domain.time import format_instant, parse_instant

Change = Callable[[Any], Any]
Behave = Callable[[web.Request], Any]

VALUES = {"carbonIntensity", "actual", "forecast", "value", "quantity", "rating"}
TIMES = {
    "datetime",
    "from",
    "to",
    "point_time",
    "period",
    "updatedAt",
    "generated_at",
    "time",
    "timestamp",
    "generatedAt",
}


def each_value(change: Change) -> Change:
    """Change every number that is an intensity."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                k: change(v) if k in VALUES and not isinstance(v, dict | list) and v is not None else walk(v)
                for k, v in node.items()
            }
        return [walk(v) for v in node] if isinstance(node, list) else node

    return walk


def each_time(by: timedelta) -> Change:
    """Move every time."""

    def moved(text: str) -> str:
        if len(text) == len("2031-03-01T00"):  # the EIA's hours
            return f"{parse_instant(f'{text}:00Z') + by:%Y-%m-%dT%H}"
        return format_instant(parse_instant(text) + by)

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: moved(v) if k in TIMES and isinstance(v, str) else walk(v) for k, v in node.items()}
        return [walk(v) for v in node] if isinstance(node, list) else node

    return walk


def each_zone(name: str) -> Change:
    """Answer about another zone."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {
                k: name if k in {"zone", "region", "location"} and isinstance(v, str) else walk(v)
                for k, v in node.items()
            }
        return [walk(v) for v in node] if isinstance(node, list) else node

    return walk


def untouched(document: Any) -> Any:
    """Change nothing."""
    return deepcopy(document)


LIES: dict[str, Change] = {
    "null": each_value(lambda _: None),
    "zero": each_value(lambda _: 0),
    "negative": each_value(lambda v: -abs(float(v)) - 1),
    "a thousand times": each_value(lambda v: float(v) * 1000),
    "a thousandth": each_value(lambda v: float(v) / 1000),
    "not a number": each_value(lambda _: float("nan")),
    "infinite": each_value(lambda _: float("inf")),
    "words": each_value(lambda _: "moderate"),
    "a truth value": each_value(lambda _: True),
    "an enormous integer": each_value(lambda _: 10**400),
    "two days ahead": each_time(timedelta(days=2)),
}
"""Answers that are well formed and wrong. None may become a value."""


def status(code: int, text: str = "{}", **headers: str) -> Behave:
    """Answer with a status alone."""

    def behave(_: web.Request) -> web.Response:
        return web.Response(status=code, text=text, content_type="application/json", headers=headers)

    return behave


def body(text: str | bytes, **headers: str) -> Behave:
    """Answer with these bytes."""

    def behave(_: web.Request) -> web.Response:
        return web.Response(body=text if isinstance(text, bytes) else text.encode(), headers=headers)

    return behave


async def silent(_: web.Request) -> web.Response:
    """Take the request and say nothing until the client gives up."""
    await asyncio.Event().wait()
    raise AssertionError


async def dripping(request: web.Request) -> web.StreamResponse:
    """Promise a body, send its beginning, and stop."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"zone":')
    await asyncio.Event().wait()
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    """Break off in the middle of the body."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"zone":')
    assert request.transport is not None
    request.transport.abort()
    return response


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    """Send blanks for ever, which is valid JSON so far."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


OUTAGES: dict[str, Behave] = {
    "500": status(500),
    "502 with a page": status(502, "<html>Bad gateway</html>"),
    "503": status(503),
    "429": status(429),
    "silent": silent,
    "dripping": dripping,
    "cut": cut,
    "hangs up": hang_up,
    "redirect": status(302, Location="http://169.254.169.254/latest/meta-data/"),
}
"""The API as a whole cannot be asked."""

NONSENSE: dict[str, Behave] = {
    "empty": body(""),
    "a page": body("<html>It works!</html>"),
    "half a document": body('{"data":[{"carbonIntensity":'),
    "a list": body("[]"),
    "a word": body('"ok"'),
    "null": body("null"),
    "another object": body('{"status":"ok"}'),
    "rows that are words": body('{"data":["a"],"forecast":["a"],"response":{"data":["a"]}}'),
    "rows without a time": body('{"data":[{"carbonIntensity":1,"intensity":{"actual":1,"forecast":1},"value":1}]}'),
    "deep": body("[" * 100_000),
    "endless": endless,
    "not text": body(b"\xff\xfe\x00"),
    "compressed": body(b"\x1f\x8b", **{"Content-Encoding": "gzip"}),
}
"""Answers that cannot be understood."""
