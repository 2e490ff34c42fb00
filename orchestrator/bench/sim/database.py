"""What a database does to those who use it: refuses, forgets the last transactions, is set back to a backup."""

from __future__ import annotations

import copy
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import OperationalError

from orchestrator.bench.sim.processes import COMMITS, Call
from orchestrator.errors import StoreUnavailable
from orchestrator.store.address import parse_address
from orchestrator.store.database import PATIENCE_SECONDS, SILENT_SECONDS, STATEMENT_SECONDS
from orchestrator.store.faults import translated
from orchestrator.store.memory import MemoryStore
from orchestrator.store.memory_state import State

GONE = "the database does not answer"

HANGS, SILENT, LOCKED = "db_hangs", "db_silent", "db_locked"
LIMITS = {HANGS: float(STATEMENT_SECONDS), SILENT: SILENT_SECONDS, LOCKED: PATIENCE_SECONDS}
"""For how many seconds each call is waited for: until the server ends the statement, until the store gives up a server
that says nothing, or until it gives up a lock that somebody holds.
"""


class Trouble:
    """What is wrong with the database just now. Some of it lasts, the rest hits the next write.

    ``is_full``: there is no room for a write, a command's neither, but for each ``room_for``-th of them, for none where
    that is 0; reads go on.

    ``late``: after how many seconds the next calls are answered, reading ones too. ``hangs``: in which way calls are
    answered only after it, or not at all, see :data:`LIMITS`; what was written while a server was silent may be kept.
    ``now``: in seconds of the simulation.
    """

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self._now = now
        self._hangs = ""
        self._hangs_until = 0.0
        self._unheard: Call | None = None
        self._tried_in_silence = 0
        self.is_down = False
        self.read_only = False
        self.is_full = False
        self.room_for = 0
        self._tried = 0
        self.fails_before = 0
        self.fails_after = 0
        self.late: list[float] = []

    @property
    def is_well(self) -> bool:
        """Whether nothing lasting is wrong."""
        return not (self.is_down or self.read_only or self.is_full or self.hangs)

    @property
    def takes_writes(self) -> bool:
        """Whether a write may succeed."""
        return not (self.is_down or self.read_only or (self.is_full and not self.room_for) or self.hangs)

    @property
    def hangs(self) -> str:
        """In which way it hangs just now; empty if it does not."""
        return self._hangs if self._now() < self._hangs_until else ""

    def hang(self, how: str, seconds: float) -> None:
        """Let it hang for a while."""
        self._hangs, self._hangs_until = how, self._now() + seconds

    def refusal(self) -> Exception:
        """Return what a write is refused with while something lasting is wrong, as the store says it."""
        return full_disk() if self.is_full and not self.is_down else StoreUnavailable(GONE)

    def delay(self, call: Call) -> float:
        """Return for how long the next call is waited for; where that takes too long it will be given up."""
        late = min(self.late[0], SILENT_SECONDS) if self.late else 0.0
        return max(late, min(LIMITS[self.hangs], self._hangs_until - self._now())) if self._holds_up(call) else late

    def _holds_up(self, call: Call) -> bool:
        """Whether it hangs for such a call: where somebody holds a lock, reads go on."""
        return bool(self.hangs) and (self.hangs != LOCKED or call.is_write or call.method in COMMITS)

    def before(self, call: Call) -> None:
        """Refuse, perhaps."""
        if self.is_down or (call.is_write and self.read_only):
            raise StoreUnavailable(GONE)
        if self._holds_up(call):
            self._give_up(call)
        if self.is_full and (call.is_write or call.method in COMMITS):
            self._tried += 1
            if not self.room_for or self._tried % self.room_for:
                raise full_disk()
        if self.late and self.late.pop(0) > SILENT_SECONDS:
            raise StoreUnavailable("the database says nothing")
        if call.is_write and self.fails_before:
            self.fails_before -= 1
            raise StoreUnavailable(GONE)

    def _give_up(self, call: Call) -> None:
        """Raise what the store raises after its limit. A silent server carries out each second write all the same."""
        if self.hangs == SILENT and (call.is_write or call.method in COMMITS):
            self._tried_in_silence += 1
            if self._tried_in_silence % 2:
                self._unheard = call
                return
        said = {
            HANGS: "the database does not answer: canceling statement due to statement timeout",
            SILENT: "the database does not answer: it has said nothing",
            LOCKED: "the database stayed locked by another process",
        }
        raise StoreUnavailable(said[self.hangs])

    def after(self, call: Call) -> None:
        """Lose the answer to what was committed, perhaps."""
        if call is self._unheard:
            self._unheard = None
            raise StoreUnavailable("the database does not answer: it has said nothing")
        if call.is_write and self.fails_after:
            self.fails_after -= 1
            raise StoreUnavailable("the connection broke after the commit")


def full_disk() -> Exception:
    """Return what a write ends with on a full disk: what SQLite says to its driver, as the store translates it."""
    said = sqlite3.OperationalError("database or disk is full")
    said.sqlite_errorcode = sqlite3.SQLITE_FULL
    return translated(OperationalError("COMMIT", None, said), parse_address("sqlite:////var/lib/greenctl/store.db"))


def copied(state: State) -> State:
    """Return the state as it is now; its values never change, so the containers are enough."""
    new = copy.copy(state)
    for name in State.__dataclass_fields__:
        setattr(new, name, _copied(getattr(state, name)))
    return new


def set_back(store: MemoryStore, backup: State) -> None:
    """Let the store hold what it held then, for everybody who has it open."""
    for name in State.__dataclass_fields__:
        if name not in {"lock", "faults"}:
            setattr(store._state, name, _copied(getattr(backup, name)))


def _copied(value: Any) -> Any:
    if isinstance(value, defaultdict):
        made: defaultdict[Any, Any] = defaultdict(value.default_factory)
        made.update({k: list(v) if isinstance(v, list) else v for k, v in value.items()})
        return made
    if isinstance(value, dict | list | set):
        return value.copy()
    if hasattr(value, "_arrival"):
        shelf = copy.copy(value)
        shelf._values, shelf._arrival, shelf._open = value._values.copy(), value._arrival.copy(), value._open.copy()
        return shelf
    return value
