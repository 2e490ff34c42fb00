"""The world: the real controller on the real store, in simulated time, with everything around it simulated.

Looks are as near to each other as the world's setting says while something moves; whatever happens to the world brings
the next look near. Else they come at longer and longer intervals: one that did exactly what the one before did (asked
once more for a machine that cannot be seen yet) brings nothing near, nor does a lease that is renewed.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from math import ceil, inf
from typing import Any

from sqlalchemy import update

from orchestrator.bench.sim.checks import SAMPLED_SECONDS, Checks
from orchestrator.bench.sim.cloud import SimCloud
from orchestrator.bench.sim.commands import Commands
from orchestrator.bench.sim.database import GONE, Trouble
from orchestrator.bench.sim.edge import SimGateway, SimGrid, SimProbe, SimReader
from orchestrator.bench.sim.faults import HOUR, QUIET_START, Fault, Setting
from orchestrator.bench.sim.hosts import Hosts
from orchestrator.bench.sim.misfortunes import Misfortunes
from orchestrator.bench.sim.order import has_no_money, is_at_rest, is_settled, most_standing, why_not
from orchestrator.bench.sim.people import People
from orchestrator.bench.sim.processes import HOSTS, RECORDS, Call, Died, Door, Process, Words
from orchestrator.bench.sim.shop import for_sale
from orchestrator.bench.sim.timeline import BEGIN, Dice, SimClock, Timeline
from orchestrator.control.controller import Controller
from orchestrator.control.held_turn import HeldTurn
from orchestrator.control.ports import Store
from orchestrator.control.runtime import Runtime, Tuning
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.price import Market
from orchestrator.domain.records import OperationState
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.turns import quiet_after
from orchestrator.errors import GreenctlError, LeaseHeld, StoreUnavailable
from orchestrator.prices.fake import FakeOffers
from orchestrator.store import tables
from orchestrator.store.memory import MemoryStore
from orchestrator.store.sql import SqlStore

LEVELS = {"SE": 90.0, "FR": 110.0, "DE": 200.0, "US": 5.0}
"""Grams per kWh. The greenest place is one that nobody may stand in."""

DOLLARS = {"se": 1.0, "fr": 1.05, "de": 0.9, "us": 0.5}
UID = "0123456789abcdef"
TAKEN_OVER = 0.6
"""In which part of the sleeps another controller starts meanwhile."""

SLOWER = 3.0
"""By how much looks are farther apart after one that changed nothing."""

SLOWER_AT_REST = 10.0
"""The same where nothing is open: what is still to come then, comes by the minute."""

LOAD_SECONDS = 300.0
"""The most between two looks where the number of replicas follows the load: what is not read is not followed."""

DEEDS = frozenset({"cloud.launch", "cloud.terminate", "gateway.publish"})
"""What is told of besides writes."""

UNTOLD = frozenset({"record_energy", "set_suspects"})
NO_NEWS = frozenset({"record_event", "record_decision", "renew_lease"})
"""Writes after which nothing can be seen that could not be seen before."""

TUNING = Tuning(
    sample_every=timedelta(seconds=SAMPLED_SECONDS),
    longest_sample=timedelta(hours=1),
    plan_every=timedelta(seconds=10),
    sweep_every=timedelta(seconds=60),
)


class SimWorld:
    """One run; ``url``: of an empty database, else the memory is one.

    ``hooks`` hear of every call after the database's own troubles, and may raise or kill.
    """

    def __init__(self, setting: Setting, url: str = "") -> None:
        self.setting = setting
        self.dice = Dice(f"greenctl/{setting.seed}")
        self.clock = SimClock(BEGIN)
        self.clock.skew_seconds = setting.skew_seconds
        self.timeline = Timeline(self.clock)
        self.history: list[str] = []
        self.hosts = Hosts(self)
        self.truth: Store = opened(url) if url else MemoryStore(UID, present=self.hosts.present)
        self.uid = self.truth.deployment_uid()
        self.database = Trouble(self.clock.monotonic)
        self.cloud = SimCloud(self.clock.monotonic, self.dice, self._wait, self.tell)
        self.cloud.lag_seconds = setting.lag_seconds
        self.gateway = SimGateway(self.clock.monotonic, self.cloud, self.dice, naps=setting.sleeps)
        self.probe = SimProbe(self.cloud, self.gateway)
        self.grid = SimGrid(self.dice, LEVELS)
        self.offers = FakeOffers()
        markets = (Market.ON_DEMAND, Market.SPOT) if setting.spot else (Market.ON_DEMAND,)
        self.on_sale = {
            offer.id: offer for offer in for_sale(DOLLARS, markets, BEGIN, on_the_map=bool(setting.clients))
        }
        for offer in self.on_sale.values():
            self.offers.put(offer)
        self.checks = Checks(self)
        self.cloud.on_launch = self.checks.on_launch
        self.hooks: list[Any] = []
        self.misfortunes = Misfortunes(self)
        self.people = People(self, self.runtime_of(Process(0)))
        self.commands = Commands(self)
        self.claimant: Process | None = None
        self.processes: list[Process] = []
        self.sleepers = 0
        self.prices_away = False
        self.lost_rows = False
        """Whether the database has ever lost what was committed."""
        self.foreign: list[str] = []
        self.looks = 0
        self._done: list[str] = []
        self._done_before: list[str] = []
        """Writes and calls that change something, of this look and of the one before."""
        self._waiting = 0
        self._next_look = inf
        self._pace = setting.look_seconds
        self._backup: Any = None
        self.kill_in = 0
        self.sleep_in: tuple[int, Fault] | None = None
        self._dead_seconds = 0.0
        self._went_to_rest_at: float | None = None

    # ── processes ────────────────────────────────────────────────────────────────────────────────────

    def runtime_of(self, process: Process) -> Runtime:
        """Return what one process works with: everything outside behind doors of its own."""
        return Runtime(
            clock=self.clock,
            carbon=self.grid,
            offers=self.offers,
            provisioners={"sky": Door(process, "cloud", self.cloud, self)},
            probe=self.probe,
            gateway=Door(process, "gateway", self.gateway, self),
            store=Door(process, "store", self.truth, self),
            tuning=TUNING,
        )

    def start(self, host: str = HOSTS[0], *, takes_over: bool = False) -> bool:
        """Start a controller's process: it takes the turn. Returns whether the database let it.

        ``takes_over``: a person says that whoever has the turn is dead.
        """
        process = Process(len(self.processes) + 1, self.clock.elapsed, host, takes_over, heard_at=self.clock.elapsed)
        if not self.hosts.may_start(host):
            return False
        claim = self.hosts.claim_of(process)
        try:
            journal = self.truth.claim(f"pid {process.number}", self.clock.now(), claim)
        except LeaseHeld:
            return False
        self.checks.begins(process, self.claimant)
        self.claimant = process
        self.processes.append(process)
        words: Any = Words(process, journal, self.hosts)
        door: Any = Door(process, "journal", journal, self)
        try:
            quiet = quiet_after(journal.predecessor, claim)
            process.turn = HeldTurn(words, self.clock, process.heard_at, quiet)
            process.controller = Controller(self.runtime_of(process), door, SimReader(self.grid), process.turn)
        except (GreenctlError, Died):
            process.is_alive = False
            return False
        where = f" on {host}{', as a person said' * takes_over}" if self.setting.hosts else ""
        waiting = f", {process.turn.waiting} launches wait for {quiet}" if process.turn.waiting else ""
        self.tell(f"process {process.number} starts with turn {journal.epoch}{where}{waiting}")
        self.hosts.began(process)
        self.wake()
        return True

    def kill(self, process: Process | None = None) -> None:
        """End a process as SIGKILL does."""
        victim = process or self.claimant
        if victim is not None and victim.is_alive:
            victim.is_alive = False
            self.hosts.died(victim)
            self.tell(f"process {victim.number} is killed")

    async def _supervise(self) -> None:
        """Start another process if the newest one does not run, as whatever looks after that does.

        An older one may be alive still: it learns that its turn is over when it next speaks, perhaps never. Of two
        hosts each is looked after by itself.
        """
        if self.setting.hosts:
            return
        newest = self.processes[-1] if self.processes else None
        runs = newest is not None and newest.is_alive and newest.controller is not None
        if not runs and not self.start():
            self.timeline.at(self.clock.elapsed + 30.0, self._supervise)

    def supervise_in(self, seconds: float) -> None:
        """Have somebody look after the process then."""
        self.timeline.at(self.clock.elapsed + seconds, self._supervise)

    @property
    def can_work(self) -> bool:
        """Whether a controller runs, awake, and everything that it needs to do its work answers."""
        process, weather = self.claimant, self.cloud.weather
        return (
            process is not None
            and process.is_alive
            and process.sleeps_until <= self.clock.elapsed
            and self.database.is_well
            and process.host not in self.hosts.cut_off
            and not weather.away
            and not self.cloud.hangs
            and not weather.listing
            and not weather.old_looks
            and not weather.out_of_sight
            and not self.probe.hears_nobody
            and not self.prices_away
            and not self.truth.restored().holds
        )

    # ── looks ────────────────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """Have the next look soon, because something has happened: a real controller looks every second."""
        self._pace = self.setting.look_seconds
        soon = round(self.clock.elapsed + self.setting.look_seconds, 3)
        if soon < self._next_look:
            self._next_look = soon
            self.timeline.at(soon, self._look)

    async def _look(self) -> None:
        if self.clock.elapsed < self._next_look:
            return  # a nearer one was planned since, and took its place
        self._next_look = inf  # a look may last: somebody sleeps in it, and others look meanwhile
        await self.look()
        self._plan_look()

    def _plan_look(self) -> None:
        setting = self.setting
        now, soon = self.clock.elapsed, self.clock.elapsed + setting.look_seconds
        if self._done and self._done != self._done_before:
            self._pace = setting.look_seconds
        elif is_settled(self) and self._all_serve() and not self._looked_in_vain():
            follows = setting.scaled or setting.sleeps or setting.work is not None
            most = min(LOAD_SECONDS, setting.resting_seconds) if follows else setting.resting_seconds
            self._pace = min(self._pace * SLOWER_AT_REST, most)
        else:
            self._pace = min(self._pace * SLOWER, max(setting.waiting_seconds, setting.look_seconds))
        self._done_before, self._done = self._done, []
        coming = self.cloud.changes_after(now)
        coming = min(now + self._pace, inf if coming is None else max(soon, coming))
        self._next_look = ceil(coming * 1000.0) / 1000.0
        self.timeline.at(self._next_look, self._look)

    def _looked_in_vain(self) -> bool:
        """Whether the last look of the one controller came to nothing: it tries again within half a minute."""
        process = self.claimant
        return process is not None and process.is_alive and not process.looked_well

    def _all_serve(self) -> bool:
        """Whether everybody who should answer us does: whoever does not is looked at again and again."""
        return all(self.probe.answers(r.name) for r in self.truth.replicas() if r.state is ReplicaState.READY)

    async def look(self) -> None:
        """Let every process that is awake look once."""
        self.gateway.look()
        for process in [p for p in self.processes if p.is_alive]:
            if process.is_alive and not process.is_looking and process.controller is not None:
                await self._look_with(process, process.controller)
        self.checks.look()
        if self.checks.violations:
            self.timeline.stopped = True

    async def _look_with(self, process: Process, controller: Controller) -> None:
        if not self.hosts.keeps(process):
            return
        process.is_looking = True
        process.look_began_at = self.clock.elapsed
        self.looks += 1
        waiting = self._waiting
        process.looked_well = False
        raised: tuple[Exception, ...] = ()
        try:
            await controller.tick()
            process.looked_well = not controller.troubles
            process.looks += 1
        except Died:
            pass
        except LeaseHeld:
            self.hosts.loses(process)
        except Exception as error:  # noqa: BLE001  # that is what is being looked for
            raised = (error,)
        finally:
            process.is_looking = False
        for trouble in dict.fromkeys([*(t.error for t in controller.troubles), *raised]):
            self._note_trouble(process, trouble)
        # A look that dies leaves calls behind which still sleep, with the world going on inside them: there, and not
        # here, or whoever looks in there would stand still.
        while self._waiting > waiting:  # noqa: ASYNC110  # those calls need the loop, and set no event
            await asyncio.sleep(0)

    def _note_trouble(self, process: Process, error: Exception) -> None:
        """Count a part of a look that failed; what is none of our own errors breaks a promise, whoever met it."""
        if isinstance(error, GreenctlError):
            process.failed_looks += 1
            self.tell(f"process {process.number}: a look failed: {error.code}")
        else:
            self.checks.broken("I5", f"a look ended with {type(error).__name__}: {error}")

    async def _wait(self, seconds: float) -> None:
        """Let the world go on while somebody waits."""
        self._waiting += 1
        try:
            await self.timeline.until(self.clock.elapsed + seconds)
        finally:
            self._waiting -= 1

    # ── what leaves a process ────────────────────────────────────────────────────────────────────────

    async def leaving(self, call: Call) -> None:
        """Sleep here, perhaps, and perhaps for so long that somebody else takes over."""
        call.process.has_slept = False
        call.left_at = self.clock.elapsed
        is_launch = call.point == "cloud.launch"
        if is_launch:
            self.checks.leaves(call)
            self.hosts.on_their_way.append(call)
        try:
            await self._on_the_way(call)
        finally:
            if is_launch:
                self.hosts.on_their_way.remove(call)

    async def _on_the_way(self, call: Call) -> None:
        for hook in self.hooks:
            await hook.leaving(call)
        if call.point == "cloud.launch":
            await self.hosts.leaves(call)
        if self.sleep_in is None or call.process is not self.claimant:
            return
        left, fault = self.sleep_in
        if left:
            self.sleep_in = (left - 1, fault)
            return
        self.sleep_in = None
        await self.sleep(call.process, fault.seconds, takeover=fault.pick < TAKEN_OVER)

    async def sleep(self, process: Process, seconds: float, *, takeover: bool) -> None:
        """Let a process stand still, as SIGSTOP does; ``takeover``: another one starts meanwhile.

        No longer than whoever sleeps with a launch on its way: that one goes on when this one does, and not before.
        """
        wake = [c.process.sleeps_until for c in self.hosts.on_their_way if c.process.sleeps_until > self.clock.elapsed]
        seconds = min(seconds, *(at - self.clock.elapsed for at in wake)) if wake else seconds
        self.tell(f"process {process.number} falls asleep for {seconds:.0f} s{', another one starts' * takeover}")
        process.sleeps_until = self.clock.elapsed + seconds
        self.sleepers += 1
        if takeover and self.setting.hosts:
            self.hosts.take_over(process)
        elif takeover:
            self.start()
        await self._wait(seconds)
        self.sleepers -= 1
        process.has_slept = True
        self.tell(f"process {process.number} wakes up")

    def lets_look(self) -> bool:
        """Whether nothing is wrong with the database and no hook listens: nothing is checked at a mere look."""
        return not (
            self.hooks or self.database.is_down or self.database.late or self.database.hangs or self.hosts.cut_off
        )

    def before(self, call: Call) -> None:
        """Let the database refuse, the process die, and the checks look."""
        port = call.port
        if port in RECORDS:
            # Nobody else is heard meanwhile: whoever waits for the database stands still, and so does what asks here.
            self.clock.move_to(self.clock.elapsed + self.database.delay(call))
            self.database.before(call)
            if call.process.host in self.hosts.cut_off:
                raise StoreUnavailable(GONE)
        if self.kill_in and call.process is self.claimant and (call.is_write or port not in RECORDS):
            self.kill_in -= 1
            if not self.kill_in:
                self.tell(f"process {call.process.number} is killed before {call.point}")
                call.process.is_alive = False
                self.hosts.died(call.process)
                raise Died(call.point)
        for hook in self.hooks:
            hook.before(call)
        if not call.process.number:
            self.commands.before(call)
        self.checks.before(call)

    def after(self, call: Call, answer: Any) -> None:
        """Write down what was done; let the answer be lost."""
        if call.process.number and (call.is_write or call.point in DEEDS):
            if call.method not in UNTOLD:
                words = f"{call.process.number} {call.method} {_words(call)}"
                self.tell(words)
                if call.method not in NO_NEWS:
                    self._done.append(words)
            self.checks.after(call, answer)
        for hook in self.hooks:
            hook.after(call, answer)
        if not call.process.number:
            self.commands.after(call)
        if call.port in RECORDS:
            self.database.after(call)
        if call.port == "journal":
            self.hosts.wrote(call)

    def tell(self, text: str) -> None:
        """Write a line of history."""
        self.history.append(f"{self.clock.elapsed:.3f} {text}")

    def fingerprint(self) -> str:
        """Return a digest of all that happened, and of all that is on record in the end."""
        digest = hashlib.blake2b(digest_size=16)
        for line in self.history:
            digest.update(line.encode() + b"\n")
        for event in self.truth.events(limit=10**9):
            digest.update(repr(event).encode())
        return digest.hexdigest()

    # ── the run ──────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Let go of the database."""
        if isinstance(self.truth, SqlStore):
            self.truth.close()

    async def live(self) -> None:
        """Live through the whole run: up, the bad hours, calm, rest. Stops at the first violation."""
        self.start()
        if self.setting.hosts:
            self.hosts.begin()
        for number in range(self.setting.services):
            await self.people.deploy(self.people.spec(f"chat{number or ''}"))
        for fault in self.setting.faults:
            self.timeline.at(fault.at, self.misfortunes.beginning(fault))
        self.people.operator_comes()
        self.timeline.at(QUIET_START - 1.0, self._check_first_deploy)
        await self.timeline.until(self.setting.hours * HOUR)
        await self.come_to_rest()

    async def _check_first_deploy(self) -> None:
        """Before anything went wrong, nothing may have failed: listings are late in any world."""
        requests = self.truth.operations(open_only=False)
        undone = [f"{o.service} {o.state.value} {o.error}" for o in requests if o.state is not OperationState.DONE]
        if undone:
            self.checks.broken("I17", f"not deployed although all is well: {undone}")
            self.timeline.stopped = True

    async def come_to_order(self, seconds: float) -> None:
        """Wait until nothing is open, and check what must hold then; a shorter :meth:`come_to_rest`."""
        limit = self.clock.elapsed + seconds
        while not self.timeline.stopped and not is_at_rest(self) and self.clock.elapsed < limit:
            await self.timeline.until(self.clock.elapsed + 60.0)
        if self.timeline.stopped:
            return
        if not is_at_rest(self):
            self.checks.broken("I17", f"not in order after {seconds:.0f} s: {why_not(self)}")
            return
        before = self.checks.actions
        await self.timeline.until(self.clock.elapsed + 900.0)
        self.checks.at_rest()
        if self.checks.actions != before:
            self.checks.broken("I5", f"{self.checks.actions - before} launches and ends although all was in order")

    async def come_to_rest(self) -> None:
        """End everything bad, and see that all is in order again by itself, and stays so."""
        if self.timeline.stopped:
            return
        self.calm()
        calm_at = self.clock.elapsed
        hours = self.setting.recovery_hours
        limit = calm_at + hours * HOUR
        settled_at: float | None = None
        while self.clock.elapsed < limit and not self.timeline.stopped:
            await self.timeline.until(self.clock.elapsed + 300.0)
            settled_at = (settled_at or self.clock.elapsed) if is_at_rest(self) else None
            if settled_at is not None and self.clock.elapsed - settled_at >= self.setting.rest_hours * HOUR:
                break
        if self.checks.violations:
            return
        if settled_at is None:
            self.checks.broken("I17", f"not in order {hours:.0f} hours after everything was well: {why_not(self)}")
            return
        self.checks.at_rest()
        before, began = self.checks.actions, self.clock.now()
        # The less is left of a day, the less has to be held for it: who is missing comes by and by.
        is_short = any(has_no_money(self, s) for s in self.truth.services())
        await self.timeline.until(self.clock.elapsed + 2 * HOUR)
        may_act = is_short or self._moves_since(began) or self.checks.work_came(began)
        if self.checks.actions != before and not may_act:
            self.checks.broken("I11", f"{self.checks.actions - before} launches and ends with nothing changing")
        if self.setting.steps:
            return  # what was decided before may be dated after it
        moves = len(self._moves_since(BEGIN + timedelta(seconds=calm_at)))
        most = 2 * sum(most_standing(s.spec) for s in self.truth.services())
        if moves > most:
            self.checks.broken("I11", f"{moves} moves of {most // 2} replicas in a world that stands still")

    def _moves_since(self, moment: datetime) -> list[str]:
        """Return the moves that were decided on since then; the first ones lead to the best places."""
        decided = (d for s in self.truth.services() for d in self.truth.decisions(s.name, since=moment, limit=1000))
        return [d.id for d in decided if d.kind is DecisionKind.MOVE]

    def calm(self) -> None:
        """End everything bad; from now on every hour is like this one."""
        weather = self.cloud.weather
        weather.away = weather.listing = ""
        weather.full.clear()
        weather.quota.clear()
        weather.lost.clear()
        weather.full_later.clear()
        weather.stale_describe = weather.old_looks = False
        weather.out_of_sight.clear()
        weather.hangs_until.clear()
        self.cloud.launch_faults.clear()
        self.cloud.end_faults.clear()
        for machine in self.cloud.machines.values():
            machine.is_frozen = machine.serves_errors = machine.is_slow = machine.is_deaf = False
        self.probe.hears_nobody = False
        self.database = Trouble(self.clock.monotonic)
        self.hosts.calm()
        self.gateway.is_away = self.gateway.loses_replies = False
        self.gateway.is_steady = True
        self.grid.dark.clear()
        self.grid.stale.clear()
        self.grid.lying.clear()
        self.grid.is_away = False
        self.grid.freeze(self.clock.now())
        self.offers.heal()
        self.prices_away = False
        self.clock.stepped_seconds = 0.0
        self.kill_in, self.sleep_in = 0, None
        self.tell("calm")
        self.supervise_in(1.0)
        self.wake()


def opened(url: str) -> SqlStore:
    """Open a database of the world's own deployment: its id is part of every name, and would be drawn otherwise."""
    store = SqlStore.open(url)
    store.deployment_uid()
    store._database.write(lambda tx: tx.execute(update(tables.deployment).values(uid=UID)))
    return store


def _words(call: Call) -> str:
    parts = [a for a in call.args if isinstance(a, str)]
    if call.args and not parts:
        first = call.args[0]
        parts = [str(getattr(first, "name", getattr(first, "id", getattr(first, "version", ""))))]
    parts += [
        f"{k}={v}" for k, v in sorted(call.kwargs.items()) if isinstance(v, str | int | bool) and k != "detail_json"
    ]
    return " ".join(parts)
