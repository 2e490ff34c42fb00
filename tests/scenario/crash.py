"""Kill the controller at the n-th call that leaves its process, and count those calls.

To be killed right after one call and right before the next is the same to everybody else: nothing happens in between
but in the memory that dies. So every point is "before call n", and one more lies behind the last.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from tests.scenario.world import Died

POINTS = {
    "journal": frozenset(
        {
            "start_replica",
            "move_replica",
            "update_replica",
            "add_intent",
            "set_intent",
            "set_operation",
            "set_service_state",
            "restore_revision",
            "record_decision",
            "record_energy",
            "record_event",
            "next_routing_version",
            "set_suspects",
            "set_restored",
            "close_reap_request",
            "set_reap_request",
            "set_reap",
        }
    ),
    "provisioner": frozenset({"launch", "describe", "inventory", "terminate"}),
    "gateway": frozenset({"publish", "status"}),
}
"""What leaves the process, by port."""


class Fuse:
    """Counts calls while it is armed, and kills at one of them; what was killed can call nothing any more."""

    def __init__(self) -> None:
        self.count = 0
        self.where = ""
        self._kills_at: int | None = None
        self._armed = False
        self._dead = False

    def arm(self, kills_at: int | None = None) -> None:
        """Count from one on, and kill before that call."""
        self.count, self._kills_at, self._armed, self._dead = 0, kills_at, True, False

    def disarm(self) -> None:
        """Let everything pass: another process runs now."""
        self._armed = self._dead = False

    @property
    def has_killed(self) -> bool:
        """Whether the controller died here."""
        return self._dead

    def point(self, where: str) -> None:
        """Pass, or die."""
        if self._dead:
            raise Died(where)
        if not self._armed:
            return
        self.count += 1
        if self.count == self._kills_at:
            self._dead, self.where = True, where
            raise Died(where)

    def wrap(self, port: str, real: Any) -> Any:
        """Stand between the controller and a port."""
        return _Fused(port, real, self)


class _Fused:
    def __init__(self, port: str, real: Any, fuse: Fuse) -> None:
        self._port, self._real, self._fuse = port, real, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in POINTS[self._port]:
            return found
        return _guarded(found, f"{self._port}.{name}", self._fuse)


def _guarded(work: Callable[..., Any], where: str, fuse: Fuse) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(work):

        @wraps(work)
        async def later(*args: Any, **kwargs: Any) -> Any:
            fuse.point(where)
            return await work(*args, **kwargs)

        return later

    @wraps(work)
    def now(*args: Any, **kwargs: Any) -> Any:
        fuse.point(where)
        return work(*args, **kwargs)

    return now


class Nap:
    """Lets the controller fall asleep right before its n-th call to a provider or the gateway, and wakes it up later.

    What happens meanwhile is given: usually another controller takes the turn and does all the work.
    """

    def __init__(self) -> None:
        self.count = 0
        self.where = ""
        self._sleeps_at: int | str | None = None
        self._meanwhile: Callable[[], Awaitable[None]] | None = None

    def arm(self, sleeps_at: int | str | None, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """Count from one on, and sleep before that call: the n-th, or the first of that name."""
        self.count, self._sleeps_at, self._meanwhile = 0, sleeps_at, meanwhile

    def wrap(self, port: str, real: Any) -> Any:
        """Stand between the controller and a port."""
        return real if port == "journal" else _Drowsy(port, real, self)

    async def point(self, where: str) -> None:
        """Pass, or sleep."""
        self.count += 1
        if self._sleeps_at in {self.count, where} and self._meanwhile is not None and not self.where:
            self.where = where
            await self._meanwhile()


class _Drowsy:
    def __init__(self, port: str, real: Any, nap: Nap) -> None:
        self._port, self._real, self._nap = port, real, nap

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in POINTS[self._port]:
            return found

        @wraps(found)
        async def later(*args: Any, **kwargs: Any) -> Any:
            await self._nap.point(f"{self._port}.{name}")
            return await found(*args, **kwargs)

        return later
