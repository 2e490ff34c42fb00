"""Fetching from the addresses that an administrator configured, and from nowhere else.

Whoever could name an address of ours could make us read the metadata service of a cloud, so: only https, no redirects,
no proxies of the environment, and every address is looked at once more at the last moment, when the socket to it is
made. Names that resolve differently the second time are caught there, too. Answers are bounded in time and size, and
bodies are asked for uncompressed, because a small one can unpack to anything. What is in a query (keys, for one
source) never appears in a message.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from orchestrator.aside import aside
from orchestrator.domain.time import Instant
from orchestrator.errors import InvalidSettings, SignalFormatError, SignalThrottled, SignalUnavailable
from orchestrator.signals.server_clocks import ServerClocks, told_by

SECONDS: Final = 5.0
"""These APIs answer within one; a look of the controller waits for it, so it is not asked again at once after this."""

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""The largest answers that we ask for (ten days by the hour, two weeks by the half-hour) are below 1 MiB."""

MAX_OPEN: Final = 256
"""Many more than there are zones to ask about at once: whoever finds as many open hangs, and so would the next one."""

MAX_RETRY_AFTER_SECONDS: Final = 24 * 3600.0
MAX_WORDS: Final = 160
USER_AGENT: Final = "greenctl (carbon-aware orchestrator)"

_ADDRESS_HINT: Final = "Write https://HOST/PATH; addresses of private networks need GREENCTL_SIGNALS__PRIVATE=true."

_OK, _REDIRECTS, _THROTTLED = 200, range(300, 400), 429
_NOT_IMPLEMENTED: Final = 501
"""Said of one question, not of the whole server."""

_SERVER_ERRORS: Final = frozenset(range(500, 600)) - {_NOT_IMPLEMENTED}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: ``where`` is host and path, for messages."""

    where: str
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        """Whether the status is 200."""
        return self.status == _OK

    def json(self) -> object:
        """Decode the body. ``NaN`` and infinities stay what they are, for the gate to see.

        Raises ``SignalFormatError``.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise SignalFormatError(f"{self.where} answered {self.status} with something that is not JSON") from error

    def words(self) -> str:
        """Return the beginning of the body as one printable line, for a message."""
        text = self.body[: 4 * MAX_WORDS].decode("utf-8", "replace")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= MAX_WORDS else f"{line[:MAX_WORDS]}…"


class Fetch:
    """GETs within bounds. ``private``: plain http and addresses that are not public may be used, too.

    That is for a mirror of your own and for tests; the other bounds hold as well then. ``seconds`` bounds a whole
    exchange, from the name look-up to the last byte; a look-up that hangs is left to itself, and ``max_open`` bounds
    how many of them there are. ``requests``: how many were made. ``clocks``: who keeps what servers say that the time
    is.
    """

    def __init__(
        self,
        *,
        private: bool = False,
        seconds: float = SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_open: int = MAX_OPEN,
        clocks: ServerClocks | None = None,
    ) -> None:
        self._clocks = clocks
        self._private = private
        self._seconds = seconds
        self._max_body_bytes = max_body_bytes
        self._open = threading.BoundedSemaphore(max_open)
        self.requests = 0

    def check(self, url: str) -> str:
        """Return the base address without a slash at its end. Raises ``InvalidSettings`` when it may not be used."""
        schemes = {"https", "http"} if self._private else {"https"}
        try:
            parts = urlsplit(url)
        except ValueError:
            raise InvalidSettings("the address of a source cannot be read", hint=_ADDRESS_HINT) from None
        # An address may hold secrets in the wrong place, so no message repeats more of it than the host.
        host = parts.hostname or "the address of a source"
        if "@" in url:
            raise InvalidSettings(
                "an address of a source must not hold a user or a password", hint="Use the key settings."
            )
        if parts.query or parts.fragment:
            raise InvalidSettings(
                f"{host}: an address of a source must not hold a query or a fragment", hint="Use the key settings."
            )
        if parts.scheme not in schemes or not parts.hostname:
            raise InvalidSettings(
                f"{host} is not an {' or '.join(sorted(schemes, reverse=True))} address of a server", hint=_ADDRESS_HINT
            )
        if not self._private and is_private(parts.hostname):
            raise InvalidSettings(
                f"{parts.hostname} is not a public address",
                hint="Set GREENCTL_SIGNALS__PRIVATE=true if the source is in a network of your own.",
            )
        return url.rstrip("/")

    async def get(
        self, url: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer, whatever its status below 500; one more try when a connection was lost.

        Raises ``SignalUnavailable`` (no answer, a redirect, a server's own error), ``SignalThrottled`` (429) and
        ``SignalFormatError`` (a body beyond the bounds).
        """
        try:
            return await self._once(url, query or {}, headers or {})
        except _ConnectionLost:
            # Servers close connections when they restart; a GET may be repeated, once.
            return await self._once(url, query or {}, headers or {})

    async def _once(self, url: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        from orchestrator.signals import wire  # noqa: PLC0415 - commands without a signal should not wait for it

        self.requests += 1
        parts = urlsplit(url)
        where = f"{parts.hostname}{parts.path}"
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        line = wire.Line(lambda host: self._private or not is_private(host), self._seconds)

        asked_at = datetime.now(UTC)

        def take(status: int, told: Mapping[str, str], chunks: Iterable[bytes]) -> Answer:
            self._hear(parts.hostname or "", told, asked_at)
            self._refuse(where, status, told)
            return Answer(where, status, self._read(where, chunks), dict(told))

        def get() -> Answer:
            if not self._open.acquire(blocking=False):
                raise SignalUnavailable(f"{where} is not asked: too many earlier requests hang")
            try:
                return wire.get(line, url, query, sent, take)
            finally:
                self._open.release()

        try:
            return await asyncio.wait_for(aside(get), self._seconds)
        except TimeoutError as error:
            raise SignalUnavailable(f"{where} does not answer within {self._seconds:g} s") from error
        except wire.ConnectionLost as error:
            raise _ConnectionLost(f"{where} {error.message}") from error
        except SignalUnavailable as error:
            if error.message.startswith(where):
                raise
            raise SignalUnavailable(f"{where} {error.message}") from error
        finally:
            line.shut()

    def _hear(self, host: str, headers: Mapping[str, str], asked_at: Instant) -> None:
        said = None if self._clocks is None else told_by(host, headers, asked_at, datetime.now(UTC))
        if self._clocks is not None and said is not None:
            self._clocks.note(said)

    def _refuse(self, where: str, status: int, headers: Mapping[str, str]) -> None:
        if status == _THROTTLED:
            message = f"{where} answers to come back later (429)"
            raise SignalThrottled(message, retry_after_seconds=_retry_after(headers.get("Retry-After", "")))
        if status in _REDIRECTS:
            raise SignalUnavailable(f"{where} redirects ({status}), which is not followed")
        if status in _SERVER_ERRORS:
            raise SignalUnavailable(f"{where} has an error of its own ({status})")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise SignalFormatError(f"{where} compresses its answer though it was asked not to")

    def _read(self, where: str, chunks: Iterable[bytes]) -> bytes:
        body = bytearray()
        for chunk in chunks:
            body += chunk
            if len(body) > self._max_body_bytes:
                raise SignalFormatError(f"{where} answers with more than {self._max_body_bytes} bytes")
        return bytes(body)


class _ConnectionLost(SignalUnavailable):
    """The connection ended before the answer did."""


def is_private(host: str) -> bool:
    """Whether a literal address is anything but public unicast; a name is not a literal and is looked at later.

    IPv4 in IPv6 clothes (mapped, 6to4, Teredo, NAT64) counts as what it wraps.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    inner: list[ipaddress.IPv4Address | None] = []
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return not _is_public(address) or any(a is not None and not _is_public(a) for a in inner)


_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052."""


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _retry_after(text: str) -> float | None:
    """Read the seconds; the other form, a date, would need a clock and counts as not said."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds >= 0 else None
