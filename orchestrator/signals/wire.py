"""One GET by ``requests``, whose socket goes to an address that was looked at, and is shut when the time is over.

``requests`` resolves names by itself, bounds each read but not the whole, and unpacks bodies; so the socket is made
here, the caller keeps the clock, and bodies are taken as they come. It blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError

from orchestrator.errors import SignalUnavailable

CHUNK_BYTES = 65536

T = TypeVar("T")


class ConnectionLost(SignalUnavailable):
    """The connection ended before the answer did."""


@dataclass(slots=True)
class Line:
    """The socket of one exchange. ``allows``: whether a literal address may be connected to."""

    allows: Callable[[str], bool]
    seconds: float
    _socket: socket.socket | None = None
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first allowed address of the host that answers.

        What is looked at is the very address that is connected to, so no later answer of a name server can differ.
        Raises ``OSError``; ``TimeoutError`` once the line was shut, whatever addresses are left.
        """
        problem: OSError = OSError(f"{host} has no address")
        for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            literal = str(address[0])
            if not self.allows(literal):
                raise PermissionError(f"{literal} is not a public address")
            try:
                return self._keep(socket.create_connection((literal, port), self.seconds))
            except OSError as error:
                if self._is_over:
                    raise
                problem = error
        raise problem

    def shut(self) -> None:
        """End the exchange from another thread: whoever reads gets an error at once."""
        with self._lock:
            self._is_over = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                self._socket.close()
                self._socket = None

    def _keep(self, made: socket.socket) -> socket.socket:
        with self._lock:
            if self._is_over:
                made.close()
                raise TimeoutError("the time is over")
            # TLS takes the descriptor out of the socket that it wraps; a second one still leads to the connection.
            self._socket = made.dup()
        return made


def get(
    line: Line,
    url: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    take: Callable[[int, Mapping[str, str], Iterator[bytes]], T],
) -> T:
    """Return what ``take`` makes of status, headers and the body's chunks as they come; it may refuse by raising.

    No redirect is followed, no proxy of the environment used, nothing unpacked. Raises :class:`ConnectionLost` (worth
    one more try), ``SignalUnavailable`` (no connection) and ``TimeoutError``; messages are the bare reasons.
    """
    with requests.Session() as session:
        session.trust_env = False
        adapter = _Adapter(line)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        with _told():
            response = session.get(
                url, params=dict(query), headers=dict(headers), timeout=line.seconds, allow_redirects=False, stream=True
            )
        with response:
            return take(response.status_code, response.headers, _chunks(response))


def _chunks(response: requests.Response) -> Iterator[bytes]:
    with _told():
        yield from response.raw.stream(CHUNK_BYTES, decode_content=False)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say errors in our own words."""
    try:
        yield
    except (requests.RequestException, HTTPError, OSError) as error:
        causes = list(_causes(error))
        refused = next((c for c in causes if isinstance(c, NewConnectionError)), None)
        if refused is not None:
            raise SignalUnavailable(f"cannot be reached: {_reason(refused)}") from error
        if any(isinstance(c, ProtocolError | ConnectionError) for c in causes):
            raise ConnectionLost(f"cannot be reached: {_reason(error)}") from error
        if any(isinstance(c, TimeoutError | requests.Timeout) for c in causes):
            raise TimeoutError from error
        raise SignalUnavailable(f"broke off its answer: {type(error).__name__}") from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what is behind it, which these libraries keep in ``args``, ``reason`` and ``__context__``."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]


def _reason(error: BaseException) -> str:
    """Return the system's own words, which lie deepest."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
            return str(cause.strerror or cause)
    return str(error) or type(error).__name__


class _Adapter(HTTPAdapter):
    """Makes each connection through a :class:`Line`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, *_: object, **__: object) -> None:
        line = self._line

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _made(self, line)

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _made(self, line)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _made(connection: HTTPConnection, line: Line) -> socket.socket:
    try:
        return line.connect(connection.host, connection.port)
    except OSError as error:
        raise NewConnectionError(connection, error.strerror or str(error)) from error
