"""What a database does to those who use it: refuses, forgets the last transactions, is set back to a backup."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

from orchestrator.bench.sim.processes import Call
from orchestrator.errors import StoreUnavailable
from orchestrator.store.database import SILENT_SECONDS
from orchestrator.store.memory import MemoryStore
from orchestrator.store.memory_state import State

GONE = "the database does not answer"


class Trouble:
    """What is wrong with the database just now. ``read_only`` and ``is_down`` last, the others hit the next write.

    ``late``: after how many seconds the next calls are answered, reading ones too.
    """

    def __init__(self) -> None:
        self.is_down = False
        self.read_only = False
        self.fails_before = 0
        self.fails_after = 0
        self.late: list[float] = []

    @property
    def is_well(self) -> bool:
        """Whether nothing lasting is wrong."""
        return not (self.is_down or self.read_only)

    def delay(self) -> float:
        """Return for how long the next call is waited for; where that takes too long it will be given up."""
        return min(self.late[0], SILENT_SECONDS) if self.late else 0.0

    def before(self, call: Call) -> None:
        """Refuse, perhaps."""
        if self.is_down or (call.is_write and self.read_only):
            raise StoreUnavailable(GONE)
        if self.late and self.late.pop(0) > SILENT_SECONDS:
            raise StoreUnavailable("the database says nothing")
        if call.is_write and self.fails_before:
            self.fails_before -= 1
            raise StoreUnavailable(GONE)

    def after(self, call: Call) -> None:
        """Lose the answer to what was committed, perhaps."""
        if call.is_write and self.fails_after:
            self.fails_after -= 1
            raise StoreUnavailable("the connection broke after the commit")


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
