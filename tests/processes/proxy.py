"""A TCP proxy before PostgreSQL's socket that can be slow, deaf, cut or gone: what a network does to a database."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

CHUNK_BYTES = 1 << 16


class Mode(StrEnum):
    """``DELAY``: each piece waits. ``HALF_OPEN``: they stand and nothing gets through. ``REFUSE``: none is made."""

    PASS = "pass"
    DELAY = "delay"
    HALF_OPEN = "half-open"
    REFUSE = "refuse"


@dataclass
class Proxy:
    """Listens on a port of its own; ``port`` stays the same over refusals. Threads, so that nothing of a test waits."""

    target: Path
    mode: Mode = Mode.PASS
    delay_seconds: float = 0.2
    port: int = 0
    _listener: socket.socket | None = None
    _pairs: set[tuple[socket.socket, socket.socket]] = field(default_factory=set)
    _ending: set[tuple[socket.socket, socket.socket]] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = int(self._listener.getsockname()[1])
        self._run(self._accept, self._listener)

    def set(self, mode: Mode) -> None:
        """Change what happens to connections, those that stand included."""
        if (mode is Mode.REFUSE) != (self.mode is Mode.REFUSE):
            self.mode = mode
            if mode is Mode.REFUSE:
                self.stop()
                self.mode = mode
            else:
                self.start()
        self.mode = mode

    def cut(self) -> None:
        """End every connection in the middle of whatever it carries."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Stop listening and end every connection."""
        listener, self._listener = self._listener, None
        self.mode = Mode.PASS if self.mode is Mode.HALF_OPEN else self.mode  # whoever waits there has to end
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def close(self) -> None:
        """Stop for good: every connection is closed and every thread has ended."""
        self.stop()
        for thread in self._threads:
            thread.join(10)

    def _run(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        self._threads = [*(t for t in self._threads if t.is_alive()), thread]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self.target))
            except OSError:
                client.close()
                server.close()
                continue
            pair = (client, server)
            with self._lock:
                self._pairs.add(pair)
            for source, sink in (pair, pair[::-1]):
                self._run(self._pump, source, sink, pair)

    def _pump(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if self.mode is Mode.DELAY:
                    time.sleep(self.delay_seconds)
                while self.mode is Mode.HALF_OPEN:
                    time.sleep(0.05)
                sink.sendall(data)
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            is_last = pair in self._ending
            self._ending.symmetric_difference_update({pair})
            self._pairs.discard(pair)
        if is_last:  # the other direction has ended before
            for end in pair:
                end.close()
