"""Turns, intents, machines and the reaper as a small model: every order of events can be tried.

What decides is the product's own: the next step of a replica (``planner/rollout``), what a listing beside the journal
means (``planner/orphans``), the reaper's brakes (``planner/reaping``), the arrows of the journal (``store/rules``).
What is modelled is what they stand on: a database that compares turns, two processes that sleep or die between a commit
and the call that it announces, a provider that is late, loses answers and shows machines late, and a backup that is put
back.

Between commits and calls anything may happen. Time is not counted: a deadline may be over or not, and two sweeps that
see the same are an hour apart. Names are numbers; a second machine of a name can be there only if somebody draws names
anew, or if two hosts ask for it at once.

With hosts the database is shared, and a turn is lent (``domain/turns``, ``control/held_turn``, decision 0093). Of its
times only this is modelled: whoever is not heard of for a minute has been unsure before, and a quiet that is as long as
the calls of turns before can last ends when these have arrived. One that is shorter ends at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple, TypeVar

from orchestrator.control.held_turn import HeldTurn
from orchestrator.domain.orphans import Sighting, Suspect, SuspectKind, Work
from orchestrator.domain.price import Market
from orchestrator.domain.records import Intent, IntentKind, IntentState
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.service import ModelSpec, ResourceRequest, Scaling, ServiceSpec
from orchestrator.domain.turns import LATE_CALL, LEASE, SURE_FOR, Claim, Claimant, Turn, may_claim, quiet_after
from orchestrator.errors import LeaseHeld
from orchestrator.planner.orphans import Look, restored_epoch, suspects_of
from orchestrator.planner.reaping import ReapView, still_allowed, weigh
from orchestrator.planner.rollout import Observation, RolloutView, Step, StepKind, next_steps
from orchestrator.store import rules
from tests.builders import GREEN, NOON

V = TypeVar("V")

UID = "0123456789abcdef"
PREFIX = "gc-01234567-"
SOURCE = "sky"
GRACE = timedelta(minutes=10)
AN_HOUR_AGO = NOON - timedelta(hours=1)
MOST_AT_ONCE = 2
"""Processes that are alive at the same time."""

LATE, HIDDEN, SHOWN, STOPPING = "late", "hidden", "shown", "stopping"
LAUNCH, END, REAP = "launch", "end", "reap"
SPEC = ServiceSpec(
    name="chat",
    model=ModelSpec("org/model", served_name="chat"),
    resources=ResourceRequest(),
    scaling=Scaling(1, 1),
    policy=GREEN,
)


class Broken(Exception):  # it is what is searched for
    """A promise that an event breaks; ``invariant``: see ``orchestrator.bench.sim.checks``."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class Row(NamedTuple):
    """A replica with its launch intent. ``served``: it has been ready. ``turn``: of the intent."""

    state: ReplicaState
    intent: IntentState
    turn: int
    cleaned: bool = False
    served: bool = False


class Database(NamedTuple):
    """What is committed. ``sightings``: listings in a row in which a stranger was seen; ``reaps`` by name.

    ``word``: somebody has asked for the end of every stranger. ``seen`` and ``accepted``: turns of a database that was
    set back. ``host``: whose turn it is; ``heard``: less than a minute ago, ``over``: until it was stopped in order.
    ``quiet``: nothing that was asked for elsewhere is asked for again; ``covers``: for long enough, as far as turns
    before that one are concerned.
    """

    turn: int
    rows: tuple[Row | None, ...]
    sightings: tuple[int, ...]
    reaps: tuple[IntentState | None, ...]
    word: bool = False
    seen: int = 0
    accepted: int = 0
    host: int = 0
    heard: bool = True
    over: bool = False
    quiet: bool = False
    covers: int = 0


class Machine(NamedTuple):
    """What is paid for. ``busy``: it serves although no record knows it. ``host``, ``asked``: whose call made it."""

    phase: str
    turn: int
    busy: bool = False
    host: int = 0
    asked: int = 0


class Process(NamedTuple):
    """A controller. ``hand``: a call that it has announced and not made; ``held``: it takes the database for old.

    ``sure``: the database took a word of it not long ago; ``waits``: launches of other hosts that it leaves alone.
    """

    turn: int
    hand: tuple[str, int] | None = None
    held: bool = False
    host: int = 0
    sure: bool = True
    waits: frozenset[int] = frozenset()


class State(NamedTuple):
    """The whole world. ``used``: names that were ever given. ``was_set_back``: rows may be missing since."""

    db: Database
    processes: tuple[Process, ...]
    cloud: tuple[Machine | None, ...]
    backup: Database | None = None
    was_set_back: bool = False
    used: int = 0


Event = tuple[str, State]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large the world is. ``names``: intents; ``turns``: controllers that may start after one another.

    ``backups``: whether the database may be set back once; turns are given out again then. ``hosts``: that share it,
    each with a controller; of one host it is not asked whose turn is lent to whom.
    """

    names: int = 2
    turns: int = 2
    backups: bool = False
    hosts: int = 1


@dataclass(frozen=True, slots=True)
class Mistakes:
    """What the product does not do; each has to be found. All off: the model of the product."""

    no_fence: bool = False
    call_before_commit: bool = False
    new_name_each_try: bool = False
    absence_is_the_end: bool = False
    nothing_is_reopened: bool = False
    ends_are_believed: bool = False
    old_launches_are_forgotten: bool = False
    no_backup_brake: bool = False
    unknown_is_idle: bool = False
    reap_without_intent: bool = False
    no_quiet: bool = False
    quiet_ends_with_its_process: bool = False
    calls_of_the_unsure: bool = False


def first_state(bounds: Bounds) -> State:
    """Return the world before the first controller."""
    nothing = (None,) * bounds.names
    return State(Database(0, nothing, (0,) * bounds.names, nothing), (), nothing)


def name_of(number: int) -> str:
    """Return the name of an intent's machine."""
    return f"{PREFIX}chat-{number}"


class Model:
    """The events that may come next, with the world after each."""

    def __init__(self, bounds: Bounds, mistakes: Mistakes | None = None) -> None:
        self.bounds = bounds
        self.mistakes = mistakes or Mistakes()

    def events(self, state: State) -> Iterator[Event]:
        """Yield every event that can happen now. Raises :class:`Broken` when one of them breaks a promise."""
        if state.db.turn < self.bounds.turns and len(state.processes) < MOST_AT_ONCE:
            yield from self._starts(state)
        if self.bounds.hosts > 1:
            yield from self._time(state)
        for at, process in enumerate(state.processes):
            yield f"turn {process.turn} is killed", _without(state, at)
            if process.hand is not None:
                yield from self._leaves(state, at)
                continue
            yield from self._plans(state, at)
            for number in range(len(state.db.rows)):
                yield from self._looks(state, at, number)
            for knows in (True, False):
                yield from self.swept(state, at, knows=knows)
        yield from self._the_world(state)
        yield from self._people(state)

    # ── the database ─────────────────────────────────────────────────────────────────────────────────

    def _starts(self, state: State) -> Iterator[Event]:
        if self.bounds.hosts == 1:
            yield "a controller starts", self.started(state)
            return
        for host in {*range(self.bounds.hosts)} - {p.host for p in state.processes}:  # each has a lock of its own
            if state.db.turn == 0 or may_claim(lent(state.db), Claim(_place(host))):
                yield f"a controller starts on host {host}", self.started(state, host)
            elif may_claim(lent(state.db), Claim(_place(host), take_over=True)):
                yield f"somebody has host {host} take over", self.started(state, host)

    def started(self, state: State, host: int = 0) -> State:
        """Let another controller take the turn."""
        db, turn = state.db, state.db.turn + 1
        held = db.seen > db.accepted and not self.mistakes.no_backup_brake
        if self.bounds.hosts == 1:
            after = db._replace(turn=turn)
            return state._replace(db=after, processes=(*state.processes, Process(turn, held=held)))
        fresh = quiet_after(lent(db), Claim(_place(host))) if db.turn else timedelta(0)
        inherits = db.quiet and quiet_after(lent(db, LONGEST), Claim(_place(host))) >= LONGEST
        inherits = inherits and not self.mistakes.quiet_ends_with_its_process
        needed = [(p.turn, SURE_FOR + LATE_CALL) for p in state.processes if p.sure]
        needed += [(m.asked, LATE_CALL) for m in state.cloud if m is not None and m.phase == LATE and m.host != host]
        is_long = all(fresh >= time or (inherits and before < db.covers) for before, time in needed)
        quiet = (bool(fresh) or inherits) and not self.mistakes.no_quiet
        new = Process(turn, held=held, host=host, waits=left_alone(_issued_in(db)) if quiet else frozenset())
        after = db._replace(
            turn=turn, host=host, heard=True, over=False, quiet=quiet, covers=turn if quiet and is_long else 0
        )
        return state._replace(db=after, processes=(*state.processes, new))

    def _time(self, state: State) -> Iterator[Event]:
        """Let minutes pass in which somebody is not heard of, or stop in order."""
        db = state.db
        holder = next((p for p in state.processes if p.turn == db.turn), None)
        if db.turn and db.heard and not db.over and (holder is None or not holder.sure):
            yield f"nothing is heard of turn {db.turn} for a minute", state._replace(db=db._replace(heard=False))
        if db.quiet and not self._still_on_its_way(state):
            now = tuple(p._replace(waits=frozenset()) if p.turn == db.turn else p for p in state.processes)
            yield "it has been quiet", state._replace(db=db._replace(quiet=False, covers=0), processes=now)
        for at, process in enumerate(state.processes):
            if process.sure:
                silent = _at(state.processes, at, process._replace(sure=False))
                yield f"turn {process.turn} says nothing for a while", state._replace(processes=silent)
            else:
                yield self._renewed(state, at, f"turn {process.turn} is heard of")
            if process.hand is None and process.turn == db.turn:
                stopped = state._replace(db=db._replace(heard=True, over=True))
                yield f"turn {process.turn} is stopped", _without(stopped, at)

    def _renewed(self, state: State, at: int, label: str) -> Event:
        process = state.processes[at]
        if not is_sure_after(is_ours=process.turn == state.db.turn):
            return f"{label}; the turn is lost", _without(state, at)
        heard = _at(state.processes, at, process._replace(sure=True))
        return label, state._replace(db=state.db._replace(heard=True), processes=heard)

    def _still_on_its_way(self, state: State) -> bool:
        """Whether a call of a turn before may arrive, and the quiet is long enough to wait for it."""
        before, host = state.db.covers, state.db.host
        late = any(m is not None and m.phase == LATE and m.host != host and m.asked < before for m in state.cloud)
        return late or any(p.sure and p.turn < before for p in state.processes)

    def _commit(self, state: State, at: int, db: Database) -> State | None:
        """Write, if it is still this process's turn; ``None``: it is told that it is not."""
        if state.processes[at].turn != state.db.turn:
            if not self.mistakes.no_fence:
                return None
            raise Broken("I4", f"turn {state.processes[at].turn} wrote in turn {state.db.turn}")
        return state._replace(db=db)

    def _written(self, state: State, at: int, label: str, db: Database, hand: tuple[str, int] | None = None) -> Event:
        after = self._commit(state, at, db)
        if after is None:
            return f"{label}; the turn is lost", _without(state, at)
        return label, after if hand is None else _with_hand(after, at, hand)

    # ── a controller's steps ─────────────────────────────────────────────────────────────────────────

    def _plans(self, state: State, at: int) -> Iterator[Event]:
        """Ask for a replica when none lives, and take the living one out when people want that."""
        db, process, number = state.db, state.processes[at], state.used
        living = [(n, row) for n, row in enumerate(db.rows) if row is not None and row.state in LIVE]
        if not living and number < self.bounds.names and not process.held:
            row = Row(ReplicaState.PENDING, IntentState.PLANNED, process.turn)
            label, after = self._written(state, at, f"turn {process.turn} plans {number}", _row(db, number, row))
            yield label, after._replace(used=number + (after.db.rows[number] is not None))
        for n, row in living:
            drained = _moved(row, n, ReplicaState.DRAINING)
            yield self._written(state, at, f"turn {process.turn} drains {n}", _row(db, n, drained))

    def _looks(self, state: State, at: int, number: int) -> Iterator[Event]:
        """Look at one replica, with what can be seen of it or with nothing, before its deadline and after it."""
        row, machine = state.db.rows[number], state.cloud[number]
        if row is None or finished(row, number):
            return
        there = machine is not None and machine.phase in {SHOWN, STOPPING}
        for exists in (there, None):
            for overdue in (False, True):
                for step in steps_of(row, number, exists=exists, overdue=overdue):
                    yield from self.taken(state, at, number, step)

    def taken(self, state: State, at: int, number: int, step: Step) -> Iterator[Event]:
        """Take one step, as ``control/apply`` does: commit first, then let the call leave."""
        db, process, row = state.db, state.processes[at], state.db.rows[number]
        if row is None:
            return
        label = f"turn {process.turn}: {step.kind.value} {number}"
        match step.kind:
            case StepKind.ISSUE:
                yield from self._issued(state, at, number, row, label)
                return
            case StepKind.TERMINATE:
                yield self._written(state, at, label, db, (END, number))
                return
            case StepKind.SEEN:
                after = _moved(row._replace(intent=IntentState.CONFIRMED), number, ReplicaState.STARTING)
            case StepKind.READY:
                after = _moved(row, number, ReplicaState.READY)._replace(served=True)
            case StepKind.FAIL:
                after = _moved(row._replace(intent=IntentState.FAILED), number, ReplicaState.FAILED)
            case StepKind.LOST:
                after = _moved(row, number, ReplicaState.LOST)
            case StepKind.ENDED | StepKind.CLEAN_UP:
                ended = row if row.state in ENDED else _moved(row, number, ReplicaState.TERMINATED)
                intent = IntentState.FAILED if row.intent in rules.OPEN_INTENTS else row.intent
                after = ended._replace(intent=intent, cleaned=True)
            case _:
                return  # weights are no part of this model
        yield self._written(state, at, label, _row(db, number, after))

    def _issued(self, state: State, at: int, number: int, row: Row, label: str) -> Iterator[Event]:
        db, process = state.db, state.processes[at]
        if process.held or number in process.waits:
            return
        is_forgotten = self.mistakes.old_launches_are_forgotten and row.turn != process.turn
        is_dropped = self.mistakes.absence_is_the_end and row.state is not ReplicaState.PENDING
        if is_forgotten or is_dropped:
            yield self._written(state, at, f"{label}: its record is dropped", _row(db, number, None))
        elif self.mistakes.call_before_commit:
            yield label, _with_hand(state, at, (LAUNCH, number))
        else:
            asked = row._replace(intent=IntentState.ISSUED)
            if row.state is ReplicaState.PENDING:
                asked = _moved(asked, number, ReplicaState.PROVISIONING)
            yield self._written(state, at, label, _row(db, number, asked), (LAUNCH, number))

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────

    def _leaves(self, state: State, at: int) -> Iterator[Event]:
        """Let the announced call reach the provider or not; the answer comes, is lost, or is wrong."""
        process = state.processes[at]
        if process.hand is None:
            return
        kind, number = process.hand
        who, done = f"turn {process.turn}", _with_hand(state, at, None)
        if kind == LAUNCH and not process.sure and not self.mistakes.calls_of_the_unsure:
            yield self._renewed(state, at, f"{who}: asks whether its turn lasts, before it launches {number}")
            return
        if kind == LAUNCH:
            yield f"{who}: launch {number} is refused", done
            for phase in (LATE, HIDDEN, SHOWN):
                after = self.launched(done, number, phase, process)
                yield f"{who}: launch {number}, {phase}", after
                yield f"{who}: launch {number}, {phase}; it is killed", _without(after, at)
                yield from self._said_to_have_failed(after, at, number)
            return
        yield f"{who}: {kind} {number} does nothing", self._believed(done, at, kind, number)
        yield f"{who}: {kind} {number}", self._believed(self.ended(done, number, kind), at, kind, number)

    def _said_to_have_failed(self, state: State, at: int, number: int) -> Iterator[Event]:
        """Have the provider report an error although it has created the machine: the try is over by the record."""
        row = state.db.rows[number]
        if row is not None and row.state is ReplicaState.PROVISIONING:
            failed = _moved(row._replace(intent=IntentState.FAILED), number, ReplicaState.FAILED)
            label = f"launch {number} is said to have failed"
            yield self._written(state, at, label, _row(state.db, number, failed))

    def _believed(self, state: State, at: int, kind: str, number: int) -> State:
        if kind != END or not self.mistakes.ends_are_believed:
            return state
        return self._commit(state, at, _row(state.db, number, None)) or state

    def launched(self, state: State, number: int, phase: str, by: Process) -> State:
        """Let a create reach the provider: where there is one of that name, nothing happens.

        But nobody has a word of what another host has asked for, before it is there.
        """
        row, machine = state.db.rows[number], state.cloud[number]
        if not state.was_set_back and (row is None or row.intent is IntentState.PLANNED):
            raise Broken("I1", f"{number} was launched before its intent was said to be under way")
        if machine is not None and self.mistakes.new_name_each_try:
            raise Broken("I2", f"a second machine for intent {number}")
        if machine is not None and machine.phase == LATE and machine.host != by.host:
            raise Broken("I2", f"{number} is asked for while the call of another host for it is on its way")
        if machine is not None:
            return state
        turn, asked = state.db.turn if row is None else row.turn, by.turn if self.bounds.hosts > 1 else 0
        return _cloud(state, number, Machine(phase, turn, host=by.host, asked=asked))

    def ended(self, state: State, number: int, kind: str) -> State:
        """Let an end reach the provider: what it does not show yet is not there for it either."""
        row, machine = state.db.rows[number], state.cloud[number]
        if machine is None or machine.phase not in {SHOWN, STOPPING}:
            return state
        if kind == REAP:
            if machine.busy:
                raise Broken("I24", f"{number} is reaped while it serves")
            if row is not None and row.state in LIVE:
                raise Broken("I24", f"{number} is reaped, and its record wants it")
        elif row is not None and row.state not in ENDED | {ReplicaState.DRAINING} and not state.was_set_back:
            raise Broken("I24", f"{number} is ended although its record says {row.state.value}")
        return _cloud(state, number, machine._replace(phase=STOPPING))

    # ── sweeps ───────────────────────────────────────────────────────────────────────────────────────

    def swept(self, state: State, at: int, *, knows: bool) -> Iterator[Event]:
        """Sweep once, as ``control/sweep`` and ``control/reaper`` do. ``knows``: what engines do can be read."""
        process, db = state.processes[at], state.db
        look = _look(state, knows=knows)
        sign = restored_epoch(look, epoch=process.turn, accepted_epoch=db.accepted)
        seen = max(db.seen, sign or 0)
        held = seen > db.accepted and not self.mistakes.no_backup_brake
        after = db._replace(seen=seen)
        for name in () if held or self.mistakes.nothing_is_reopened else look.outlived:
            row = after.rows[_number(name)]
            if row is not None:
                after = _row(after, _number(name), row._replace(cleaned=False))
        view = self._reap_view(suspects_of(look, NOON), held=held)
        strangers = {_number(s.name): s for s in view.suspects if s.kind is SuspectKind.STRANGER}
        sightings = tuple(min(2, strangers[n].sightings) if n in strangers else 0 for n in range(len(db.rows)))
        after = after._replace(sightings=sightings)
        if after.word and strangers:
            allowed = {_number(v.name) for v in weigh(view, [name_of(n) for n in strangers]) if v.allowed}
            new = IntentState.PLANNED
            reaps = tuple(new if n in allowed and not _is_open(reap) else reap for n, reap in enumerate(after.reaps))
            after = after._replace(reaps=reaps, word=False)
        after, hand = self._reaped(after, view, {_number(s.name) for s in look.shown}, strangers)
        if hand is not None and seen > db.accepted:
            raise Broken("I24", f"{hand[1]} is to be reaped by a database that was set back")
        if hand is not None and after.reaps[hand[1]] is not IntentState.ISSUED:
            raise Broken("I24", f"{hand[1]} is to be reaped, and that is not said to be under way")
        if after == db and hand is None and held == process.held:
            return
        label, world = self._written(state, at, f"turn {process.turn} sweeps", after, hand)
        if len(world.processes) == len(state.processes):
            world = world._replace(processes=_at(world.processes, at, world.processes[at]._replace(held=held)))
        yield label, world

    def _reaped(
        self, db: Database, view: ReapView, shown: set[int], strangers: dict[int, Suspect]
    ) -> tuple[Database, tuple[str, int] | None]:
        """Go on with what was decided: one call leaves at a time, the others at the next sweep."""
        for number, reap in enumerate(db.reaps):
            if not _is_open(reap):
                continue
            if number not in shown:
                db = db._replace(reaps=_at(db.reaps, number, IntentState.CONFIRMED))
                continue
            suspect, asked = strangers.get(number), reap is IntentState.ISSUED
            if suspect is None or not still_allowed(suspect, view, asked=asked).allowed:
                db = db._replace(reaps=_at(db.reaps, number, IntentState.FAILED))
                continue
            new = IntentState.PLANNED if self.mistakes.reap_without_intent else IntentState.ISSUED
            return db._replace(reaps=_at(db.reaps, number, new)), (REAP, number)
        return db, None

    def _reap_view(self, found: tuple[Suspect, ...], *, held: bool) -> ReapView:
        if self.mistakes.unknown_is_idle:
            found = tuple(
                replace(s, work=Work.IDLE, idle_since=AN_HOUR_AGO) if s.work is Work.UNKNOWN else s for s in found
            )
        return ReapView(
            uid=UID,
            prefix=PREFIX,
            suspects=found,
            complete=frozenset({SOURCE}),
            fleet=1,
            recent=0,
            held=held,
            grace=GRACE,
            idle=GRACE,
            now=NOON,
            rate=1.0,
        )

    # ── what happens by itself, and what people do ───────────────────────────────────────────────────

    def _the_world(self, state: State) -> Iterator[Event]:
        for number, machine in enumerate(state.cloud):
            if machine is None:
                continue
            if machine.phase == LATE:
                yield f"{number} is created at last", _cloud(state, number, machine._replace(phase=HIDDEN))
            elif machine.phase == HIDDEN:
                yield f"{number} can be seen", _cloud(state, number, machine._replace(phase=SHOWN))
            else:
                yield f"{number} is gone", _cloud(state, number, None)

    def _people(self, state: State) -> Iterator[Event]:
        db = state.db
        strangers = any(m is not None and row is None for m, row in zip(state.cloud, db.rows, strict=True))
        if strangers and not db.word:
            yield "somebody asks for the end of all strangers", state._replace(db=db._replace(word=True))
        if db.seen > db.accepted:
            yield "somebody accepts", state._replace(db=db._replace(accepted=db.seen))
        if not self.bounds.backups or state.was_set_back:
            return
        if state.backup is None:
            yield "a backup is taken", state._replace(backup=db)
        elif state.backup != db:
            yield "the backup is put back", self._set_back(state, state.backup)

    def _set_back(self, state: State, backup: Database) -> State:
        """Put the backup in the place of the database: everybody is cut off, and what serves serves on."""
        cloud = tuple(
            m if m is None else m._replace(busy=row is not None and row.state is ReplicaState.READY)
            for m, row in zip(state.cloud, state.db.rows, strict=True)
        )
        return state._replace(db=backup, processes=(), cloud=cloud, backup=None, was_set_back=True)


# ── the product's own decisions, remembered by what they depend on ───────────────────────────────────


LONGEST = LEASE + LATE_CALL
"""No quiet is longer."""


class _Heard:
    """As much of a journal and of a clock as a turn needs that is held: what was asked for, and what is answered."""

    def __init__(self, issued: Sequence[Intent] = (), *, is_ours: bool = True) -> None:
        self._issued = issued
        self._is_ours = is_ours
        self.seconds = 0.0

    def intents(self, *, open_only: bool) -> Sequence[Intent]:
        return self._issued if open_only else ()

    def renew_turn(self) -> None:
        if not self._is_ours:
            raise LeaseHeld("it is somebody else's")

    def through_sleep(self) -> float:
        return self.seconds


def lent(db: Database, quiet_for: timedelta = timedelta(0)) -> Turn:
    """Return what a claimant reads of whose turn it is."""
    silent_for = timedelta(0) if db.heard else LEASE
    return Turn(db.turn, _place(db.host), AN_HOUR_AGO, NOON, db.over, silent_for, NOON + silent_for + quiet_for)


@cache
def left_alone(issued: frozenset[int]) -> frozenset[int]:
    """Ask the product which launches wait as long as it is quiet, of those whose calls may have left."""
    intents = [
        Intent(f"i{n}", "chat", name_of(n), IntentKind.LAUNCH, IntentState.ISSUED, 1, "", 1.0, NOON, NOON)
        for n in issued
    ]
    heard: Any = _Heard(intents)
    turn = HeldTurn(heard, heard, 0.0, LONGEST)
    return frozenset(n for n in issued if not turn.may_ask_for(f"i{n}"))


@cache
def is_sure_after(*, is_ours: bool) -> bool:
    """Ask the product whether a call may leave after a long time without a word."""
    heard: Any = _Heard(is_ours=is_ours)
    turn = HeldTurn(heard, heard, 0.0)
    heard.seconds = SURE_FOR.total_seconds()
    try:
        return turn.is_sure()
    except LeaseHeld:
        return False


@cache
def _place(host: int) -> Claimant:
    return Claimant(f"host{host}", "/srv", "1")


def _issued_in(db: Database) -> frozenset[int]:
    return frozenset(n for n, row in enumerate(db.rows) if row is not None and row.intent is IntentState.ISSUED)


@cache
def steps_of(row: Row, number: int, *, exists: bool | None, overdue: bool) -> tuple[Step, ...]:
    """Ask the product what comes next for a replica of which this is seen. All that runs serves, all is routed away."""
    replica = _replica(row, number)
    seen = Observation(
        exists=exists,
        endpoint="http://x.invalid:1" if exists else None,
        serves=True if exists and row.state is ReplicaState.STARTING else None,
        routed_away=row.state not in LIVE,
        in_flight=0,
        told_for=timedelta(hours=1),
    )
    view = RolloutView(SPEC, (replica,), {replica.name: seen}, {}, 1.0)
    return next_steps(view, NOON + (timedelta(days=1) if overdue else timedelta(0)))


@cache
def finished(row: Row, number: int) -> bool:
    """Whether the product needs to look at it no more."""
    return rules.is_finished_with(_replica(row, number))


@cache
def _replica(row: Row, number: int) -> Replica:
    return Replica(
        name=name_of(number),
        service="chat",
        slot=0,
        offer_id="sky/se:1xL4:on_demand",
        region="sky/se",
        zone="SE",
        shape="1xL4",
        market=Market.ON_DEMAND,
        usd_per_hour=1.0,
        state=row.state,
        intent_id=f"i{number}",
        revision=1,
        workload_digest="w",
        created_at=NOON,
        state_since=NOON,
        weight_percent=100,
        ready_at=NOON if row.served else None,
        cleaned_up=row.cleaned,
    )


def _look(state: State, *, knows: bool) -> Look:
    """Return the listing, whole, beside the journal; the sweep before it was an hour ago."""
    shown = tuple(
        _sighting(number, machine, Work.UNKNOWN if not knows else Work.BUSY if machine.busy else Work.IDLE)
        for number, machine in enumerate(state.cloud)
        if machine is not None and machine.phase in {SHOWN, STOPPING}
    )
    known = [(n, row) for n, row in enumerate(state.db.rows) if row is not None]
    recorded = {name_of(n): _replica(row, n) for n, row in known}
    before = tuple(_suspect(n, times) for n, times in enumerate(state.db.sightings) if times)
    return Look(SOURCE, shown, recorded, dict.fromkeys((f"i{n}" for n, _ in known), 0), before)


def _sighting(number: int, machine: Machine, work: Work) -> Sighting:
    return Sighting(
        name=name_of(number),
        source=SOURCE,
        service="chat",
        region="sky/se",
        intent_id=f"i{number}",
        epoch=machine.turn,
        deployment_uid=UID,
        work=work,
        counters="none",
    )


@cache
def _suspect(number: int, sightings: int) -> Suspect:
    return Suspect(
        name=name_of(number),
        kind=SuspectKind.STRANGER,
        source=SOURCE,
        service="chat",
        region="sky/se",
        intent_id=f"i{number}",
        epoch=0,
        deployment_uid=UID,
        first_seen_at=AN_HOUR_AGO,
        last_seen_at=AN_HOUR_AGO,
        sightings=sightings,
        work=Work.IDLE,
        counters="none",
        idle_since=AN_HOUR_AGO,
    )


# ── small parts ──────────────────────────────────────────────────────────────────────────────────────


def _is_open(reap: IntentState | None) -> bool:
    return reap in rules.OPEN_INTENTS


def _moved(row: Row, number: int, to: ReplicaState) -> Row:
    rules.check_arrow(name_of(number), row.state, to)
    return row._replace(state=to)


def _row(db: Database, number: int, row: Row | None) -> Database:
    return db._replace(rows=_at(db.rows, number, row))


def _cloud(state: State, number: int, machine: Machine | None) -> State:
    return state._replace(cloud=_at(state.cloud, number, machine))


def _with_hand(state: State, at: int, hand: tuple[str, int] | None) -> State:
    return state._replace(processes=_at(state.processes, at, state.processes[at]._replace(hand=hand)))


def _without(state: State, at: int) -> State:
    return state._replace(processes=state.processes[:at] + state.processes[at + 1 :])


def _at(values: tuple[V, ...], at: int, new: V) -> tuple[V, ...]:
    return (*values[:at], new, *values[at + 1 :])


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])
