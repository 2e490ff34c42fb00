"""The hosts of a simulated day, and the turn that is lent to one of them at a time (decision 0093).

On one host nobody reads how long ago its controller was heard of, so the word is renewed when it looks. Where there are
two, words are said every ten seconds beside the looks, and whatever looks after each controller starts it again every
half minute, in vain as long as the other one is heard of. What befalls the hosts besides is in ``faults``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from orchestrator.bench.sim.faults import Fault
from orchestrator.bench.sim.processes import HOSTS, Call, Died, Process
from orchestrator.domain.time import Instant
from orchestrator.domain.turns import LEASE, RENEW_EVERY, Claim, Claimant
from orchestrator.errors import GreenctlError, LeaseHeld, ProviderUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from orchestrator.bench.sim.world import SimWorld

STATE_DIR, NUMBER = "/var/lib/greenctl", "1"
TRIES_EVERY = 30.0
LONGEST_DOWN = 150.0
"""Until a controller that has died is tried again on its host: the other one may be first, or not."""

TAKEN_OVER = 0.2
"""In which part of the sleeps in a launch a person says that the sleeper is dead; else its lease has to end first."""

ASKED = '"state": "provisioning"'
"""In the last line that is written before a machine is asked for; only replacements have one more."""


class Hosts:
    """Where controllers run, and who of them is heard of. ``cut_off``: hosts that do not reach the database."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self._down_until = dict.fromkeys(HOSTS, 0.0)
        self.cut_off: set[str] = set()
        self.on_their_way: list[Call] = []
        """Launches that have left a process and have not arrived."""
        self.coming: Fault | None = None
        """What is to befall the holder of the turn at its next launch."""
        self._ahead = timedelta(0)
        self.clock_set_at = -inf
        """When somebody has set the database's clock last: words that are older are of any age then."""

    def present(self) -> Instant:
        """Return what the database's clock says."""
        return self._world.clock.present + self._ahead

    def set_clock(self, ahead: timedelta) -> None:
        """Set it so far ahead of the true time."""
        if ahead != self._ahead:
            self._ahead, self.clock_set_at = ahead, self._world.clock.elapsed

    def calm(self) -> None:
        """End everything bad."""
        self.cut_off.clear()
        self.coming = None
        self.set_clock(timedelta(0))

    # ── whose turn it is ─────────────────────────────────────────────────────────────────────────────

    def claim_of(self, process: Process) -> Claim:
        """Return what it claims the turn with."""
        return Claim(Claimant(process.host, STATE_DIR, NUMBER, process.number), process.takes_over)

    def may_start(self, host: str) -> bool:
        """Whether the database is reached from there, and nobody alive has the lock of the state directory.

        On a day of one host a sleeper is followed in its own place all the same, as by a clone of its machine.
        """
        world = self._world
        has_lock = world.setting.hosts and any(p.is_alive and p.host == host for p in world.processes)
        return world.database.takes_writes and host not in self.cut_off and not has_lock

    def keeps(self, process: Process) -> bool:
        """Renew the turn of who is about to look. Whether it may: it ends when it is told that that is over."""
        if process.turn is not None and self._world.clock.elapsed - process.heard_at >= RENEW_EVERY.total_seconds():
            self._renew(process)
        return process.is_alive

    def _renew(self, process: Process) -> None:
        if process.turn is None:
            return
        try:
            process.turn.renew()
        except LeaseHeld:
            if not process.is_looking:  # or its look is told by its next write, and ends with that
                self.loses(process)
        except GreenctlError:
            pass  # its looks tell of it

    def loses(self, process: Process) -> None:
        """End a process that knows that its turn is over."""
        process.is_alive = False
        self._world.tell(f"process {process.number} has lost its turn and ends")

    def speaks(self, process: Process) -> None:
        """Refuse a word where the database is not reached. What befalls one write is not spent on one of thousands."""
        if not process.is_alive:
            raise Died("renew_turn")
        if not self._world.database.takes_writes:
            raise self._world.database.refusal()
        if process.host in self.cut_off:
            raise StoreUnavailable("the database does not answer")

    def is_heard(self, process: Process) -> None:
        """Remember a word that the database took, and look at it."""
        process.heard_at = self._world.clock.elapsed
        self._world.checks.is_heard(process)

    # ── two of them ──────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Have controllers looked after on both hosts."""
        for number, host in enumerate(HOSTS):
            self._in(TRIES_EVERY * (1 + number / len(HOSTS)), partial(self._look_after, host))

    def _look_after(self, host: str) -> None:
        if self._down_until[host] <= self._world.clock.elapsed and self.may_start(host):
            self._world.start(host)
        self._in(TRIES_EVERY, partial(self._look_after, host))

    def began(self, process: Process) -> None:
        """Have it say every ten seconds that it lives, as long as it does."""
        if self._world.setting.hosts:
            self._in(RENEW_EVERY.total_seconds(), partial(self._say, process))

    def _say(self, process: Process) -> None:
        if process.is_alive and process.sleeps_until <= self._world.clock.elapsed:
            self._renew(process)
        if process.is_alive:
            self._in(RENEW_EVERY.total_seconds(), partial(self._say, process))

    def died(self, process: Process, seconds: float | None = None) -> None:
        """Leave its host without a controller for a while."""
        drawn = self._world.dice.between(0.0, LONGEST_DOWN, "down", process.number)
        self._down_until[process.host] = self._world.clock.elapsed + (drawn if seconds is None else seconds)

    def take_over(self, process: Process) -> None:
        """Have a person start a controller on the other host, and say that this one is dead."""
        host = other(process)
        if self.may_start(host):
            self._down_until[host] = 0.0
            self._world.start(host, takes_over=True)

    def stop(self, process: Process, seconds: float) -> None:
        """Stop it in order: the look under way is finished first."""
        if not process.is_alive or process.turn is None:
            return
        if process.is_looking:
            self._in(1.0, partial(self.stop, process, seconds))
            return
        with suppress(GreenctlError):
            process.turn.end()
            process.has_stopped = True
        process.is_alive = False
        self.died(process, seconds)
        self._world.tell(f"process {process.number} is stopped")

    # ── at a launch ──────────────────────────────────────────────────────────────────────────────────

    async def leaves(self, call: Call) -> None:
        """Let it arrive late, perhaps: its process sleeps meanwhile, or has ended by then, in whichever way.

        Raises ``Died``, or ``ProviderUnavailable`` where it is stopped when this look is over: it has handed it over.
        """
        fault = self.coming
        if fault is None or fault.kind == "host_asleep_before_launch" or call.process is not self._world.claimant:
            return
        self.coming = None
        if fault.kind == "host_asleep_in_launch":
            await self._world.sleep(call.process, fault.seconds, takeover=fault.pick < TAKEN_OVER)
            return
        self.on_their_way.append(call)
        self._world.timeline.at(self._world.clock.elapsed + fault.seconds, partial(self._arrives, call))
        if fault.kind == "host_stops_in_launch":
            self.stop(call.process, fault.seconds)
            raise ProviderUnavailable("it is handed over, and nothing is known of it")
        self._world.kill(call.process)
        raise Died(call.point)

    async def _arrives(self, call: Call) -> None:
        """Let the launch of a process that is no more come to its provider."""
        self.on_their_way.remove(call)
        self._world.tell(f"the launch of {call.args[0].name} arrives, which process {call.process.number} has sent")
        with suppress(GreenctlError):
            await self._world.cloud.launch(*call.args)
        self._world.wake()

    def wrote(self, call: Call) -> None:
        """Let a process stand still between the record of a launch and the launch.

        For longer than its lease, so that another one follows; or not, and then by a person's word. Nothing else goes
        on meanwhile, as a process does not wait in that place.
        """
        fault, process = self.coming, call.process
        if fault is None or fault.kind != "host_asleep_before_launch" or process is not self._world.claimant:
            return
        if call.method != "record_event" or ASKED not in call.kwargs.get("detail_json", ""):
            return
        self.coming = None
        clock, host = self._world.clock, other(process)
        self._world.tell(f"process {process.number} stands still for {fault.seconds:.0f} s before a launch")
        wakes_at = clock.elapsed + fault.seconds
        if fault.seconds < LEASE.total_seconds():
            self.take_over(process)
        else:
            clock.move_to(clock.elapsed + LEASE.total_seconds())
            if self.may_start(host):
                self._world.start(host)
        clock.move_to(wakes_at)

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        async def happens() -> None:
            what()

        self._world.timeline.at(self._world.clock.elapsed + seconds, happens)


def other(process: Process) -> str:
    """Return the host on which it does not run."""
    return next(host for host in HOSTS if host != process.host)
