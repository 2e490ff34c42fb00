"""A controller's process: what it can call, where it can be killed, put to sleep or left without an answer.

The product knows nothing of this: everything that leaves the process goes through a :class:`Door`, which is where
faults of the process and of the database happen and where the checks listen.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.control.controller import Controller
from orchestrator.control.held_turn import HeldTurn
from orchestrator.control.ports import Gateway, Journal, Provisioner, Records, Requests
from orchestrator.domain.records import Intent

READS = frozenset(name for name in vars(Records) if not name.startswith("_"))
"""What only looks at the database. Everything else that a journal can do is a write."""

COMMITS = frozenset(name for name in vars(Requests) if not name.startswith("_"))
"""What commands write: wishes."""

RECORDS = frozenset({"journal", "store"})
"""The ports behind which the database is."""

OUTSIDE = {
    port: tuple(name for name, method in vars(protocol).items() if inspect.iscoroutinefunction(method))
    for port, protocol in (("cloud", Provisioner), ("gateway", Gateway))
}
"""What asks somebody who is not here. The rest is known here."""


HOSTS = "host-1", "host-2"
"""Where controllers run; of most days on the first one alone."""


class Died(BaseException):
    """The process was killed here. Nothing that catches errors catches this."""


@dataclass(eq=False)
class Process:
    """One process of a controller; ``number`` 0 are the commands that people run."""

    number: int
    began_at: float = 0.0
    host: str = ""
    takes_over: bool = False
    """Whether a person has said that whoever had the turn before is dead."""
    is_alive: bool = True
    is_looking: bool = False
    sleeps_until: float = 0.0
    has_slept: bool = False
    """Whether it has slept in the call that it is in: nobody can take back what has left the process."""

    heard_at: float = 0.0
    """When the database took its last word."""
    turn: HeldTurn | None = None
    has_stopped: bool = False
    """Whether it has said that it ends."""
    was_cut_short: bool = False
    """Whether another one was let in before its turn was over: by a person's word, or a clock that was set forward."""

    look_began_at: float = 0.0
    controller: Controller | None = None
    looks: int = 0
    looked_well: bool = False
    """Whether its last look came to its end without an error."""
    failed_looks: int = 0


@dataclass(slots=True)
class Call:
    """Something leaves a process. ``is_write``: it changes the journal; ``point``: its name among the crash points.

    ``left_at``: when it left its process, which may be long before it arrives.
    """

    process: Process
    port: str
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_write: bool
    point: str
    left_at: float = 0.0


class Listener(Protocol):
    """Who hears of every call: it may raise in the place of the call, before it or after it."""

    def lets_look(self) -> bool:
        """Whether it has nothing to do with calls that only look at the database: nine of ten are such."""

    async def leaving(self, call: Call) -> None:
        """Before a call to the cloud or the gateway: the only place where a process can sleep."""

    def before(self, call: Call) -> None:
        """Right before any call."""

    def after(self, call: Call, answer: Any) -> None:
        """Right after a call that succeeded."""


class Neighbours(Protocol):
    """Who hears that a process lives."""

    def speaks(self, process: Process) -> None:
        """Right before a word, which it may refuse."""

    def is_heard(self, process: Process) -> None:
        """Right after one that the database took."""


class Words:
    """A journal as a held turn has it. Words are no crash points: what is lost with one is said again."""

    def __init__(self, process: Process, real: Journal, neighbours: Neighbours) -> None:
        self._process = process
        self._real = real
        self._neighbours = neighbours

    def renew_turn(self) -> None:
        """Say that it lives."""
        self._neighbours.speaks(self._process)
        self._real.renew_turn()
        self._neighbours.is_heard(self._process)

    def end_turn(self) -> None:
        """Say that it has stopped."""
        self._neighbours.speaks(self._process)
        self._real.end_turn()
        self._neighbours.is_heard(self._process)

    def intents(self, *, open_only: bool) -> Sequence[Intent]:
        """Return what is intended."""
        return self._real.intents(open_only=open_only)


class Door:
    """A port as one process has it."""

    def __init__(self, process: Process, port: str, real: Any, listener: Listener) -> None:
        self._process = process
        self._port = port
        self._real = real
        self._listener = listener

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found) or name not in OUTSIDE.get(self._port, (name,)):
            return found
        made = self._later(name, found) if inspect.iscoroutinefunction(found) else self._now(name, found)
        self.__dict__[name] = made
        return made

    def _now(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        process, listener, port = self._process, self._listener, self._port
        is_write, point = port == "journal" and name not in READS, f"{port}.{name}"
        only_looks = not is_write and port in RECORDS and name not in COMMITS

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not process.is_alive:
                raise Died(name)
            if only_looks and listener.lets_look():
                return work(*args, **kwargs)
            call = Call(process, port, name, args, kwargs, is_write, point)
            listener.before(call)
            answer = work(*args, **kwargs)
            listener.after(call, answer)
            return answer

        return guarded

    def _later(self, name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        process, listener, port = self._process, self._listener, self._port
        point = f"{port}.{name}"

        async def guarded(*args: Any, **kwargs: Any) -> Any:
            if not process.is_alive:
                raise Died(name)
            call = Call(process, port, name, args, kwargs, is_write=False, point=point)
            await listener.leaving(call)
            if not process.is_alive:
                raise Died(name)
            listener.before(call)
            answer = await work(*args, **kwargs)
            if not process.is_alive:
                raise Died(name)
            listener.after(call, answer)
            return answer

        return guarded
