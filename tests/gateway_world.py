"""The real gateway on a clock of its own: replicas that misbehave on a wire in memory, clients that may leave.

``GatewayApp``, ``GatewayNode`` and the HTTP client beneath them are the product's own, down to the bytes. What is not
real is below: the loop's clock jumps to whatever is next instead of waiting, connecting leads to an :class:`Engine` in
memory instead of a socket, and what the product leaves to a thread is done at once. So the same steps are the same
history, and a timeout of minutes costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.routing import RoutingTable
from orchestrator.gateway.app import GatewayApp
from orchestrator.gateway.node import GatewayNode
from orchestrator.gateway.sockets import gateway_folder
from orchestrator.gateway.upstreams import Patience

WORDS = 6
"""Length of an answer that no limit makes shorter: the model says w0 w1 w2 ..., a word is a token and a chunk."""

PATIENCE = Patience(connect_seconds=3, first_byte_seconds=60, idle_seconds=30, tokenize_seconds=5)
DONE = b"data: [DONE]\n\n"


class Ending(Enum):
    """How an engine ends what it has begun to say."""

    WELL = auto()
    CUT = auto()  # the connection is reset
    CLOSED = auto()  # it is closed, without the end of the body
    ENDED = auto()  # the body ends, without a marker
    STALLED = auto()  # nothing more comes
    ABORTED = auto()  # as vLLM on SIGTERM
    DROPPED = auto()  # the marker, and no reason before it
    ERRED = auto()  # the engine says that it broke
    UNMARKED = auto()  # everything is said, then the body ends without a marker


@dataclass(frozen=True, slots=True)
class Act:
    """How to answer one request. ``pause``: seconds before the first byte and before each word.

    ``status``: other than 200 is answered at once, whole. ``ending`` comes after ``after`` words, ``torn`` bytes into
    the next piece.
    """

    ending: Ending = Ending.WELL
    after: int = 0
    torn: int = 0
    pause: float = 0.0
    status: int = 200


@dataclass(slots=True)
class Generation:
    """Work of one engine for one request. ``ended``: ``None`` while it goes on.

    ``fails``: it comes to no whole answer by the engine's own doing, unless the client leaves before. ``asked_for``:
    the model that it was asked for, which may be another than it ``serves``.
    """

    replica: str
    request_id: str
    began: float
    ended: float | None = None
    fails: bool = False
    asked_for: str = "tiny"
    serves: str = "tiny"


@dataclass(slots=True)
class Exchange:
    """One request as its client saw it.

    ``is_sent``: whole, at once. ``heard``: what came, and when. ``left``: when the client hung up.
    """

    request_id: str
    is_stream: bool
    choices: int
    words: int
    asked: float
    is_slow: bool = False
    is_sent: bool = True
    heard: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    left: float | None = None
    over: float | None = None


@dataclass
class History:
    """Everything that the promises are about. ``looks``: the counts of one boot of the gateway each, with their time.

    ``tables``: what was put to use, and when. ``booted``: version in use after a start, and the newest accepted one.
    ``outages``: when which replica went, or came back, and then it is well.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    looks: list[list[tuple[float, GatewayStatus]]] = field(default_factory=list)
    boots: list[list[Exchange]] = field(default_factory=list)
    tables: list[tuple[float, RoutingTable]] = field(default_factory=list)
    booted: list[tuple[float, int, int]] = field(default_factory=list)
    mishaps: list[str] = field(default_factory=list)
    outages: list[tuple[float, str, bool]] = field(default_factory=list)


class NobodyMoves(Exception):
    """The loop would wait for ever."""


class _Skipping(selectors.SelectSelector):
    """Waits for nothing: where the loop would wait, its clock jumps."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NobodyMoves
        self.loop.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock and a network of its own. ``engines``: by address."""

    def __init__(self) -> None:
        self.now = 0.0
        self.engines: dict[str, Engine] = {}
        self._leads_to: dict[socket.socket, Engine] = {}
        selector = _Skipping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, _executor: Any, work: Callable[..., Any], *args: Any) -> Any:
        """Do it now."""
        done = self.create_future()
        try:
            done.set_result(work(*args))
        except Exception as error:  # noqa: BLE001  # the future carries it, as an executor's does
            done.set_exception(error)
        return done

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        engine = self.engines[address[0]]
        if engine.is_dark:
            await self.create_future()
        if not engine.is_up:
            raise ConnectionRefusedError(111, "refused")
        self._leads_to[sock] = engine

    async def create_connection(self, factory: Any, *_: Any, sock: Any = None, **__: Any) -> Any:
        engine = self._leads_to.pop(sock)
        sock.close()
        protocol = factory()
        wire = Wire(self, engine, protocol)
        protocol.connection_made(wire)
        return wire, protocol


class Wire(asyncio.Transport):
    """The gateway's end of a connection to an engine. Closing it is what stops the engine."""

    def __init__(self, loop: VirtualLoop, engine: Engine, protocol: Any) -> None:
        super().__init__()
        self._loop = loop
        self._engine = engine
        self._protocol = protocol
        self._received = b""
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        engine.wires.add(self)

    def write(self, data: Any) -> None:
        self._received += bytes(data)
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        path = head.split(b" ", 2)[1].decode()
        pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get(b"content-length", b"0"))
        if len(rest) >= length and not self._is_closed:
            self._received = rest[length:]
            body = json.loads(rest[:length] or b"null")
            self._task = self._loop.create_task(self._engine.answer(self, path, headers, body))

    def deliver(self, data: bytes) -> None:
        if not self._is_closed:
            self._protocol.data_received(data)

    def lose(self, error: Exception | None) -> None:
        """End the connection from the engine's side."""
        if not self._is_closed and error is None:
            self._protocol.eof_received()
        self._shut(error)

    def close(self) -> None:
        self._shut(None)

    def abort(self) -> None:
        self._shut(None)

    def is_closing(self) -> bool:
        return self._is_closed

    def pause_reading(self) -> None:
        """Answers here are far below what would have to wait."""

    def resume_reading(self) -> None:
        """As above."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_protocol(self) -> Any:
        return self._protocol

    def silence(self) -> None:
        """Let nothing come any more, and leave the connection open: the machine is gone."""
        if self._task is not None:
            self._task.cancel()

    def _shut(self, error: Exception | None) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._engine.wires.discard(self)
        if self._task is not None and self._task is not asyncio.current_task(self._loop):
            self._task.cancel()
        self._loop.call_soon(self._protocol.connection_lost, error)


class Engine:
    """One replica. ``acts`` are used up one per request; after them it behaves.

    ``shown``: the keys that came with whatever is no request for words, by path.
    """

    def __init__(self, loop: VirtualLoop, name: str, history: History) -> None:
        self._loop = loop
        self._history = history
        self.name = name
        self.model = "tiny"
        self.key = ""
        self.shown: list[tuple[str, str]] = []
        self.acts: deque[Act] = deque()
        self.wires: set[Wire] = set()
        self.is_up = True
        self.is_dark = False

    def die(self) -> None:
        """End as a killed process does: connections are reset, new ones refused."""
        self.is_up = False
        self._note()
        for wire in list(self.wires):
            wire.lose(ConnectionResetError())

    def vanish(self) -> None:
        """End as a preempted machine does: nothing answers, and nothing says so."""
        self.is_dark = True
        self._note()
        for wire in list(self.wires):
            wire.silence()

    def come_back(self) -> None:
        for wire in list(self.wires):
            wire.lose(ConnectionResetError())
        self.is_up, self.is_dark = True, False
        self._note()

    def _note(self) -> None:
        self._history.outages.append((self._loop.time(), self.name, self.is_up and not self.is_dark))

    async def answer(self, wire: Wire, path: str, headers: dict[bytes, bytes], body: Any) -> None:
        asides: dict[str, Callable[[], Any]] = {
            "/tokenize": lambda: {"count": len(body["prompt"].split())},
            "/health": dict,
            "/v1/models": lambda: {"data": [{"id": self.model}]},
        }
        if path in asides:
            shown = headers.get(b"authorization", b"").decode()
            self.shown.append((path, shown))
            is_known = path == "/health" or not self.key or shown == f"Bearer {self.key}"
            wire.deliver(_whole(200, asides[path]()) if is_known else _whole(401, {"error": "a key is wanted"}))
            return
        act = self.acts.popleft() if self.acts else Act()
        if body["model"] != self.model:
            act = Act(status=404)
        work = Generation(self.name, headers[b"x-request-id"].decode(), self._loop.time(), fails=_fails(act, body))
        work.asked_for, work.serves = body["model"], self.model
        self._history.generations.append(work)
        try:
            await self._speak(wire, act, body)
        finally:
            work.ended = self._loop.time()

    async def _speak(self, wire: Wire, act: Act, body: Any) -> None:
        await asyncio.sleep(act.pause)
        if act.status != 200:
            wire.deliver(_whole(act.status, {"error": {"message": "told to", "code": act.status}}))
            return
        words = _words(body)
        reason = "length" if body.get("max_tokens") == len(words) else "stop"
        if not body.get("stream"):
            await self._say_whole(wire, act, body, words, reason)
            return
        wire.deliver(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        ends_at = len(words) if act.ending in {Ending.WELL, Ending.UNMARKED} else min(act.after, len(words))
        for number, word in enumerate(words[:ends_at]):
            await asyncio.sleep(act.pause)
            last = number == len(words) - 1
            wire.deliver(b"".join(_piece(_event(body, n, word, reason if last else None)) for n in _choices(body)))
        torn = _piece(_event(body, 0, words[ends_at] if ends_at < len(words) else "", None))[: act.torn]
        await _end(wire, act, body, torn)

    async def _say_whole(self, wire: Wire, act: Act, body: Any, words: list[str], reason: str) -> None:
        await asyncio.sleep(act.pause * len(words))
        if act.ending is Ending.ABORTED:
            words, reason = words[: act.after], "abort"
        said = [_choice(body, n, "".join(words), reason, whole=True) for n in _choices(body)]
        answer = _whole(200, {"id": self.name, "choices": said})
        if act.ending in {Ending.WELL, Ending.ABORTED, Ending.UNMARKED}:
            wire.deliver(answer)
            return
        wire.deliver(answer[: -1 - act.after])
        if act.ending is Ending.STALLED:
            await self._loop.create_future()
        wire.lose(None if act.ending in {Ending.CLOSED, Ending.ENDED} else ConnectionResetError())


def _fails(act: Act, body: Any) -> bool:
    """Whether the answer is not whole. What breaks after the last word has said everything."""
    if act.status != 200:
        return act.status >= 500
    is_all_said = bool(body.get("stream")) and act.after >= len(_words(body))
    return act.ending not in {Ending.WELL, Ending.UNMARKED} and not is_all_said


async def _end(wire: Wire, act: Act, body: Any, torn: bytes) -> None:
    match act.ending:
        case Ending.WELL:
            wire.deliver(_piece(DONE) + b"0\r\n\r\n")
        case Ending.UNMARKED | Ending.ENDED:
            wire.deliver(b"0\r\n\r\n")
        case Ending.DROPPED:
            wire.deliver(_piece(DONE) + b"0\r\n\r\n")
        case Ending.ABORTED:
            wire.deliver(_piece(_event(body, 0, "", "abort")) + _piece(DONE) + b"0\r\n\r\n")
        case Ending.ERRED:
            error = {"error": {"message": "engine died", "code": 500}}
            wire.deliver(_piece(b"data: " + json.dumps(error).encode() + b"\n\n"))
            await asyncio.sleep(600)  # it broke, and does not know that it should close
        case Ending.STALLED:
            wire.deliver(torn)
            await asyncio.get_running_loop().create_future()
        case Ending.CUT | Ending.CLOSED:
            wire.deliver(torn)
            wire.lose(None if act.ending is Ending.CLOSED else ConnectionResetError())


def _whole(status: int, document: Any) -> bytes:
    raw = json.dumps(document).encode()
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(raw), raw)


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _choices(body: Any) -> range:
    return range(body.get("n") or 1)


def _choice(body: Any, index: int, text: str, reason: str | None, *, whole: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"text": text}
    if "messages" in body:
        said = {"message" if whole else "delta": {"content": text}}
    return {"index": index, **said, "finish_reason": reason}


def _event(body: Any, index: int, text: str, reason: str | None) -> bytes:
    document = {
        "id": "x",
        "created": 1,
        "model": body["model"],
        "choices": [_choice(body, index, text, reason, whole=False)],
    }
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _words(body: Any) -> list[str]:
    """Go on from whatever words the prompt ends with, so that a stream resumed well reads like one never broken."""
    messages = body.get("messages")
    said = (
        body["prompt"] if messages is None else messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    )
    start = len([w for w in said.split() if w.startswith("w")])
    return [f"w{n} " for n in range(start, min(start + (body.get("max_tokens") or WORDS), WORDS))]


class Client:
    """Asks once, and hears what comes. ``is_slow``: takes nothing but what it was allowed to by :meth:`read_on`."""

    def __init__(self, exchange: Exchange, raw: bytes, *, is_slow: bool, sends_all: bool) -> None:
        self.exchange = exchange
        self._parts = [raw] if sends_all else []
        self._left = asyncio.Event()
        self._reads = asyncio.Event()
        if not is_slow:
            self._reads.set()

    def read_on(self) -> None:
        self._reads.set()

    def leave(self, now: float) -> None:
        if self.exchange.over is None and self.exchange.left is None:
            self.exchange.left = now
            self._left.set()
            self._reads.set()

    async def ask(self, app: GatewayApp, path: str) -> None:
        headers = [(b"x-request-id", self.exchange.request_id.encode())]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        try:
            await app(scope, self._receive, self._send)
        finally:
            self.exchange.over = asyncio.get_running_loop().time()

    async def _receive(self) -> dict[str, Any]:
        if self._parts:
            return {"type": "http.request", "body": self._parts.pop(), "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self._reads.wait()
        if not self._left.is_set():
            self.exchange.heard.append((asyncio.get_running_loop().time(), dict(message)))


class GatewayWorld:
    """One gateway, the replicas a, b and c, and any number of clients. Every step ends once nothing happens at once."""

    def __init__(self, folder: Path) -> None:
        self.loop = VirtualLoop()
        self.history = History()
        self.loop.set_exception_handler(lambda _, context: self.history.mishaps.append(str(context)))
        self.engines = {name: Engine(self.loop, name, self.history) for name in "abc"}
        self.loop.engines = {f"10.0.0.{n}": e for n, e in enumerate(self.engines.values(), start=1)}
        self.urls = {e.name: f"http://{address}:8000" for address, e in self.loop.engines.items()}
        self.clients: list[Client] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._folder = gateway_folder(folder)
        self._boot()

    @property
    def open(self) -> list[Client]:
        """Clients that still wait for the end of their answer."""
        return [c for c in self.clients if c.exchange.over is None and c.exchange.left is None]

    def publish(self, table: RoutingTable) -> None:
        """Tell the gateway, as a controller does that is there."""
        self.loop.run_until_complete(self.node.apply(table))
        self.history.tables.append((self.loop.time(), table))
        self.passes(0.0)

    def ask(self, path: str, body: dict[str, Any], *, is_slow: bool = False, sends_all: bool = True) -> Client:
        words = min(body.get("max_tokens") or WORDS, WORDS)
        name, now = f"q{len(self.clients)}", self.loop.time()
        asked = Exchange(name, bool(body.get("stream")), body.get("n") or 1, words, now, is_slow, sends_all)
        client = Client(asked, json.dumps(body).encode(), is_slow=is_slow, sends_all=sends_all)
        self.clients.append(client)
        self.history.exchanges.append(asked)
        self.history.boots[-1].append(asked)
        self._tasks.append(self.loop.create_task(client.ask(self._app, path)))
        self.passes(0.0)
        return client

    def leave(self, client: Client) -> None:
        client.leave(self.loop.time())
        self.passes(0.0)

    def passes(self, seconds: float) -> None:
        """Let time pass, then look at the counts."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.loop.run_until_complete(_settled())
        self.history.looks[-1].append((self.loop.time(), self.node.status()))

    def rest(self) -> None:
        """Let everybody read, and everything end that can."""
        for client in self.clients:
            client.read_on()
        self.passes(3600.0)

    def restart(self) -> None:
        """Stop the gateway once nothing runs, and start it anew from what it kept; nobody tells it anything."""
        self.loop.run_until_complete(self.node.__aexit__(None, None, None))
        self._boot()

    def close(self) -> None:
        self.loop.run_until_complete(self.node.__aexit__(None, None, None))
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(_settled())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def _boot(self) -> None:
        self.node = GatewayNode(
            self._folder, mode="plain", keyless_allowed=True, patience=PATIENCE, clock=self.loop.time
        )
        self._app = GatewayApp(self.node)
        self.loop.run_until_complete(self.node.__aenter__())
        self.loop.run_until_complete(self.node.load_table())
        newest = self.history.tables[-1][1].version if self.history.tables else 0
        self.history.booted.append((self.loop.time(), self.node.applied_version, newest))
        self.history.looks.append([])
        self.history.boots.append([])


async def _settled() -> None:
    """Give everything that can happen at this moment the turns of the loop to happen in."""
    for _ in range(50):
        await asyncio.sleep(0)
