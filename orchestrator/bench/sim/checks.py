"""The promises, as predicates over the true world and the journal; each names the invariant that it is about.

Some are checked at the very call that would break them, some after every look, some once nothing is open any more. Two
more are promises about whole runs: that the machine's own clock decides nothing (I20: it is wrong by up to an hour in
three of four runs), and that the same run is the same history (I21: runs are compared by their digests).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any

from orchestrator.bench.sim.faults import DAY, HOUR
from orchestrator.bench.sim.order import can_be_found, most_standing
from orchestrator.bench.sim.processes import Call, Process
from orchestrator.bench.sim.survivors import Survivors
from orchestrator.bench.sim.timeline import BEGIN
from orchestrator.bench.sim.work import WorkBook
from orchestrator.domain.decision import Decision, DecisionKind
from orchestrator.domain.offer import variant_in
from orchestrator.domain.records import IntentKind, IntentState, ServiceRecord, ServiceState
from orchestrator.domain.replica import ENDED, LIVE, Replica, ReplicaState
from orchestrator.domain.scale import WantedReplicas
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant, Window
from orchestrator.domain.turns import LATE_CALL, LEASE
from orchestrator.domain.variants import variant_of
from orchestrator.domain.workload import model_digest
from orchestrator.planner.rollout import ABORTED

if TYPE_CHECKING:
    from orchestrator.bench.sim.cloud import Machine
    from orchestrator.bench.sim.world import SimWorld
    from orchestrator.control.ports import LaunchRequest
    from orchestrator.domain.routing import ServiceRoutes

INVARIANTS = {
    "I1": "every create was preceded by a durable intent of the same name, said to be under way",
    "I2": "one intent never has more than one machine",
    "I3": "no orphan lives longer than fifteen minutes of a working controller, and none at rest",
    "I4": "only the newest turn writes; nothing that an older one launched survives unowned",
    "I5": "every state is recovered from: no look ends with anything but a named error, and at rest nothing is done",
    "I6": "a machine that nobody is heard of ends by itself, and what serves for us is renewed long before",
    "I7": "no voluntary change takes the number that serves below what is wanted",
    "I8": "a slot holds one living replica, or one and its replacement, and there are no more slots than wanted",
    "I9": "nothing is on its way for longer than its deadline",
    "I10": "voluntary moves keep to the budget, to the time of rest, and repay themselves",
    "I11": "with nothing changing nothing is done",
    "I12": "no machine is ended with requests in flight before the drain limit",
    "I16": "nothing moves to a zone of which nothing fresh is known",
    "I17": "who answers clients is not given up, and once all is over, everything wanted serves again, by itself",
    "I18": "without a database, or one that takes no writes, nothing is launched",
    "I19": "nothing dearer is bought than was confirmed",
    "I22": "a storm of losses is no storm of purchases",
    "I23": "nothing stands or is routed outside the regions that are allowed",
    "I24": "nothing is ended that is not ours, that a record wants, or beyond the hourly share",
    "I25": "no second of a machine is counted twice, and none that it did not run",
    "I26": "batch work that has begun goes through unless it may be interrupted, is begun in time and ends when it is"
    " done, and no hour of it is forgotten",
    "I27": "new requests go to nobody who does not serve by the records, and wherever they come from to somebody who"
    " does",
    "I28": "what is launched is what its record says, and none of a variant that is not good enough, or dropped, stays"
    " while enough others serve",
    "I29": "each replica is asked for its model by the name that it was launched with",
    "I30": "no launch takes a service's day beyond its budget, or a region beyond its number, and nobody moves by"
    " itself outside the windows, or in a freeze",
    "I31": "the loss of any region leaves as many as load wants where that is promised and can be, by as many spares as"
    " it takes and no more, nobody moves against it, and what is lost is made up for",
    "I32": "a command that is killed, or has no answer, has done all or nothing, and the same again comes to the same"
    " end or says what to do",
}

MOST_ORPHANED_SECONDS = 900.0
LATE_SECONDS = 600.0
"""What a start may be late beyond its deadline, of a working controller."""

UNRENEWED_SECONDS = 1800.0
"""For how long a lease may not be renewed, of a controller and a provider that can work: three renewals."""

ROUNDING_SECONDS = 0.001
"""What is left of a difference of two times that is none."""

MOST_PER_MINUTE = 10
SOLD_OUT_SECONDS = 60.0
"""For so long, at least, nobody asks again where nothing was to be had."""

UNREAD_SECONDS = 60.0
"""After which what is known of the load is no longer news: windows are half a minute long."""

SAMPLED_SECONDS = 300.0
"""Between two samples of a machine."""

UNCOUNTED_SECONDS, UNCOUNTED_AT_AN_END_SECONDS = 900.0, 60.0
"""What of a machine's time may not be counted yet: looks at rest are ten minutes apart, samples five; and once it is
gone what rounding leaves, and the last look at it.
"""

LEAST_QUIET_SECONDS = 60.0
"""Without a request before the last replica may go: its rule says two minutes."""

ALLOWED = frozenset({"sky/se", "sky/fr", "sky/de"})


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, when and how."""

    invariant: str
    at: float
    text: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.invariant} at {self.at:.0f} s: {self.text}"


@dataclass(slots=True)
class Life:
    """When what happened to a replica's record, in seconds of the simulation: the clock of records may be set."""

    created: float
    ready: float | None = None
    drains: float | None = None
    left: float | None = None
    gone: float | None = None


class Checks:
    """Listens to everything that leaves a process, and looks at the world after every look of a controller."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self.violations: list[Violation] = []
        self._orphaned: dict[str, float] = {}
        self._unnoticed: dict[str, float] = {}
        self._unrenewed: dict[str, tuple[float, float]] = {}
        """By machine: when its lease ended at the last look, and for how long that has not changed."""
        self._late: dict[tuple[str, ReplicaState], float] = {}
        self._waiting: dict[str, float] = {}
        self._unserved: dict[tuple[str, str], float] = {}
        """By service and area: for how long its requests have gone to those alone who do not answer."""
        self._unwanted: dict[str, float] = {}
        """By service: for how long replicas of variants that are not wanted have served beside enough others."""
        self._asked_for: list[float] = []
        self._sold_out: dict[str, tuple[float, str]] = {}
        """By offer: when it was found to be sold out, and which replica's record says so."""
        self._moves: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        self._numbers: dict[str, WantedReplicas] = {}
        """By service: the number that was decided on last."""
        self._reaped: list[tuple[float, str]] = []
        self._looked_at = 0.0
        self._work = None if world.setting.work is None else WorkBook(world, self.broken)
        self._survivors = Survivors(world, self.broken) if world.setting.survives else None
        self._at_the_call: dict[str, Callable[[Call], None]] = {
            "journal.move_replica": lambda call: self._before_move(*call.args, **call.kwargs),
            "journal.start_replica": lambda call: self._before_start(call.args[0]),
            "journal.update_replica": self._before_change,
            "cloud.terminate": self._before_end,
            "cloud.launch": self._before_launch,
        }
        self._lives: dict[str, Life] = {}
        self.actions = 0
        """Calls that launched or ended something."""

    def broken(self, invariant: str, text: str) -> None:
        """Note a violation."""
        if invariant not in INVARIANTS:
            raise ValueError(invariant)
        self.violations.append(Violation(invariant, self._world.clock.elapsed, text))
        self._world.tell(f"VIOLATION {invariant}: {text}")

    # ── at the call ──────────────────────────────────────────────────────────────────────────────────

    def before(self, call: Call) -> None:
        """Look at what is about to leave."""
        look = self._at_the_call.get(call.point)
        if look is not None:
            look(call)

    def leaves(self, call: Call) -> None:
        """Look at a launch that leaves its process: then, and not when it arrives, it has to be in its turn.

        One thing no turn can promise: whoever is called dead by a person, or by a clock that was set forward, asks
        nobody as long as its own word is fresh. So it may launch in its successor's turn, until a minute after that.
        """
        world, now, request, process = self._world, self._world.clock.elapsed, call.args[0], call.process
        silent = now - process.heard_at
        if silent >= LEASE.total_seconds():
            self.broken("I4", f"process {process.number} launches {silent:.0f} s after it was heard of")
        elif process is not world.claimant and not process.was_cut_short:
            self.broken("I4", f"process {process.number} launches in the turn of another one")
        if not world.database.takes_writes or process.host in world.hosts.cut_off:
            self.broken("I18", f"{request.name} was launched while the database was away")
        self._check_quiet(call)

    def _check_quiet(self, call: Call) -> None:
        """Nobody asks for what another host has asked for a moment ago, and may get yet: it might be bought twice."""
        world, request = self._world, call.args[0]
        if world.lost_rows:
            return  # whose turn it was, and that it was asked for, may be forgotten
        late = [c.process for c in world.hosts.on_their_way if c.args[0].intent_id == request.intent_id]
        others = [p.number for p in late if p.host != call.process.host]
        if others:
            self.broken("I2", f"{request.name} is asked for while the launch of process {others[0]} is on its way")

    def _before_launch(self, call: Call) -> None:
        """Look at a launch that arrives. It left in its turn, see :meth:`leaves`, and nobody can take it back.

        So it may arrive in the turn of another one: no later than a call may be on its way, which is what that one has
        waited for where it is of another host. In its own place nobody follows a sleeper but a clone.
        """
        late = self._world.clock.elapsed - call.left_at
        if call.process is not self._world.claimant and late > LATE_CALL.total_seconds():
            self.broken("I4", f"a launch of process {call.process.number} arrives {late:.0f} s after it has left")

    def begins(self, process: Process, before: Process | None) -> None:
        """Look at whom a process follows: on another host, nobody who may be at work, but by a person's word.

        Or by the database's clock: of one that was set forward every word is old.
        """
        world = self._world
        if before is None or before.host == process.host:
            return
        silent = world.clock.elapsed - before.heard_at
        before.was_cut_short = process.takes_over or before.heard_at <= world.hosts.clock_set_at
        if world.lost_rows:
            return  # whose turn it was may be forgotten
        if silent < LEASE.total_seconds() and not (before.has_stopped or before.was_cut_short):
            self.broken("I4", f"process {process.number} follows {before.number}, heard of {silent:.0f} s ago")

    def is_heard(self, process: Process) -> None:
        """Look at a word that the database took."""
        if process is not self._world.claimant:
            self.broken("I4", f"process {process.number} is heard of in the turn of another one")

    def after(self, call: Call, answer: Any) -> None:
        """Look at what was done."""
        del answer
        if call.is_write and call.process is not self._world.claimant:
            self.broken("I4", f"process {call.process.number} wrote {call.method} in the turn of another one")
        if call.port == "journal" and call.is_write:
            self._remember(call)
        if call.point == "journal.record_decision":
            self._decided(call.args[0])
        if call.point == "journal.close_reap_request":
            self._will_reap(call)
        if self._work is not None:
            self._keep_books(self._work, call)
        if call.point == "gateway.publish":
            there = [u for s in call.args[0].services for u in s.upstreams]
            outside = [u.replica for u in there if u.region not in ALLOWED or self._runs_elsewhere(u.replica)]
            if outside:
                self.broken("I23", f"routed to {outside}")
            if call.process is self._world.claimant and not call.process.has_slept:
                for own in call.args[0].services:
                    self._check_routes(own)

    def _remember(self, call: Call) -> None:
        now = self._world.clock.elapsed
        if call.method == "start_replica":
            self._lives.setdefault(call.args[0].name, Life(now))
        life = self._lives.get(call.args[0]) if call.args and isinstance(call.args[0], str) else None
        if life is None:
            return
        if call.method == "update_replica" and "cleaned_up" in call.kwargs:
            life.gone = now if call.kwargs["cleaned_up"] else None
        if call.method == "move_replica":
            to = call.args[1]
            life.ready = now if to is ReplicaState.READY and life.ready is None else life.ready
            life.drains = now if to is ReplicaState.DRAINING else life.drains
            life.left = now if to in ENDED and life.left is None else life.left

    def _check_routes(self, own: ServiceRoutes) -> None:
        """New requests go to those who serve; those of an area to the same, by a row that every area has or none."""
        world = self._world
        new = {u.replica for u in own.upstreams if not u.draining}
        rows = {name: world.truth.replica(name) for name in new}
        gone = sorted(n for n, row in rows.items() if row is None or row.state is not ReplicaState.READY)
        if gone:
            self.broken("I27", f"new requests to {own.service} go to {gone}, which do not serve")
        service = world.truth.service(own.service)
        areas = set() if service is None else {client.near for client in service.spec.clients}
        if own.rows and {row.origin for row in own.rows} != areas:
            self.broken("I27", f"{own.service} has clients in {sorted(areas)}, and rows of {own.rows}")
        for upstream in own.upstreams:
            machine = world.cloud.machines.get(upstream.replica)
            if machine is not None and machine.request.model.name != own.name_at(upstream):
                by = f"by {own.name_at(upstream)}, and serves {machine.request.model.name}"
                self.broken("I29", f"{upstream.replica} is asked {by}")
        for row in own.rows:
            others = sorted({name for name, _ in row.weights} - new)
            if others:
                self.broken("I27", f"clients of {own.service} in {row.origin} are sent to {others}, which do not serve")
            if new and not any(weight for name, weight in row.weights if name in new):
                self.broken("I27", f"clients of {own.service} in {row.origin} are sent to nobody of {sorted(new)}")

    def _look_for_served(self, passed: float) -> None:
        """The clients of no area are sent to those alone who do not answer, while somebody does."""
        table = self._world.gateway.table
        for own in table.services if table is not None else ():
            for row in own.rows:
                key = own.service, row.origin
                there = [u for u in own.upstreams_for(row.origin) if not u.draining]
                serving = {u.replica for u in there if self._world.cloud.serves(u.replica)}
                chosen = {u.replica for u in there if u.weight}
                if not serving or chosen & serving or self._world.gateway.is_away:
                    self._unserved.pop(key, None)
                    continue
                self._unserved[key] = self._unserved.get(key, -passed) + passed
                if self._unserved[key] > LATE_SECONDS:
                    self.broken("I27", f"clients of {own.service} in {row.origin} are sent to {sorted(chosen)} alone")
                    self._unserved[key] = 0.0

    def _keep_books(self, work: WorkBook, call: Call) -> None:
        if call.point == "journal.move_replica":
            work.moved(*call.args[:2])
        elif call.point == "journal.set_service_state":
            work.taken_down(call.args[0])
        elif call.point == "journal.record_decision":
            work.decided(call.args[0])

    def has_work_left(self) -> bool:
        """Whether batch work of a service that is up has to be done still."""
        return self._work is not None and self._work.is_open()

    def work_came(self, since: Instant) -> bool:
        """Whether a new round of batch work has begun since then."""
        return self._work is not None and self._work.came_since(since)

    def _runs_elsewhere(self, name: str) -> bool:
        machine = self._world.cloud.machines.get(name)
        return machine is not None and bool(machine.region)

    def on_launch(self, request: LaunchRequest) -> None:
        """Look at a create that has reached the provider: of whatever process, awake or late."""
        self.actions += 1
        world, name = self._world, request.name
        store = world.truth
        intent, row = store.intent(request.intent_id), store.replica(name)
        if intent is None or row is None or intent.replica != name or intent.kind is not IntentKind.LAUNCH:
            if not world.lost_rows:
                self.broken("I1", f"{name} was launched without a row of its intent")
            return
        if intent.state is IntentState.PLANNED and not world.lost_rows:
            self.broken("I1", f"{name} was launched before its intent was said to be under way")
        if request.lease is None:
            self.broken("I6", f"{name} would run for ever")
        price, most = request.offer.price, request.max_usd_per_hour
        if most is not None and price is not None and price.usd_per_hour > most:
            self.broken("I19", f"{name} costs {price.usd_per_hour:g}, at most {most:g} were confirmed")
        others = [
            n
            for n, m in world.cloud.machines.items()
            if m.request.intent_id == request.intent_id and n != name and world.cloud.exists(n)
        ]
        if others:
            self.broken("I2", f"{name} and {others} serve one intent")
        if request.offer.region.id not in ALLOWED:
            self.broken("I23", f"{name} was launched in {request.offer.region.id}")
        service = store.service(row.service)
        if service is not None and service.spec.budget.usd_per_day is not None:
            self._check_money(service, row)
        if service is not None and model_digest(service.spec, request.model) != row.workload_digest:
            self.broken("I28", f"{name} was launched with {request.model.id}, which is not what its record says")

    def _check_money(self, service: ServiceRecord, row: Replica) -> None:
        """What the day has cost, and all that live cost until it ends, is no more than their owner allows."""
        world = self._world
        now, cap = world.clock.now(), service.spec.budget.usd_per_day
        today = Window.starting(now.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(days=1))
        if cap is None or row.created_at < today.start or world.lost_rows:
            return
        usd = 0.0
        for one in world.truth.replicas(service.name, ended=True):
            end = today.end if one.state in LIVE else one.ended_at or now
            hours = max(timedelta(0), end - max(one.created_at, today.start)) / timedelta(hours=1)
            usd += hours * (one.usd_per_hour or 0.0)
        if usd > cap:
            self.broken("I30", f"{row.name} is launched for a day of {usd:.2f} USD, and {cap:.2f} are allowed")

    def _before_start(self, replica: Replica) -> None:
        world = self._world
        if world.truth.replica(replica.name) is not None:
            return
        service = world.truth.service(replica.service)
        living = [r for r in world.truth.replicas(replica.service) if r.state in LIVE]
        same = [r.name for r in living if r.slot == replica.slot and r.name != replica.replaces]
        if same:
            self.broken("I8", f"{replica.name} would be one too many in slot {replica.slot}: {same}")
        limit = None if service is None else service.spec.placement.max_per_region
        there = [r.name for r in living if r.region == replica.region and r.name != replica.replaces]
        if limit is not None and len(there) >= limit:
            self.broken("I30", f"{replica.name} would be one too many of {limit} in {replica.region}: {there}")
        if service is not None:
            most = most_standing(service.spec) * (2 if service.spec.resources.use_spot else 1)
            if replica.replaces is None and replica.slot >= most:
                self.broken("I8", f"{replica.name} would stand in slot {replica.slot} of {most}")
        open_requests = world.truth.operations(replica.service)
        if any(o.kind.value != "down" for o in open_requests):
            return
        now = world.clock.elapsed
        if now - self._found_sold_out(replica.offer_id) < SOLD_OUT_SECONDS:
            self.broken("I9", f"{replica.name} is asked for at {replica.offer_id}, which was sold out a moment ago")
        self._asked_for = [at for at in self._asked_for if at > now - 60.0] + [now]
        if len(self._asked_for) > MOST_PER_MINUTE:
            self.broken("I22", f"{len(self._asked_for)} launches in a minute")

    def _before_change(self, call: Call) -> None:
        """Whoever says that nothing of a machine is left has seen so."""
        world, name = self._world, call.args[0]
        machine = world.cloud.machines.get(name)
        if not call.kwargs.get("cleaned_up") or machine is None:
            return
        # As it was when it was asked about: a process may sleep over the answer, and somebody may see it again since.
        is_told = world.cloud.said_gone.get(name, -inf) >= call.process.look_began_at
        if world.cloud.exists(name) and machine.visible_at < call.process.look_began_at and not is_told:
            self.broken("I3", f"{name} is written off while it is there for everybody to see")

    def _before_move(self, name: str, to: ReplicaState, now: Any, reason: str = "") -> None:
        del now
        row = self._world.truth.replica(name)
        if row is not None and to is ReplicaState.FAILED and reason.startswith(("no_capacity", "quota_exceeded")):
            self._sold_out[row.offer_id] = self._world.clock.elapsed, name
        if row is not None and to is ReplicaState.READY:
            self._sold_out.pop(row.offer_id, None)
        if row is not None and to is ReplicaState.LOST and reason.startswith("health check failed"):
            self._check_silence(row)
        if row is None or row.state is not ReplicaState.READY or to is not ReplicaState.DRAINING:
            return
        service = self._world.truth.service(row.service)
        if service is None or service.state is not ServiceState.ACTIVE or reason.startswith((ABORTED, "taken back")):
            return
        ready = [r for r in self._world.truth.replicas(row.service) if r.state is ReplicaState.READY]
        wanted = service.spec.scaling.min_replicas if self._work is None else self._work.needs(service)
        if wanted == 0 and len(ready) == 1:
            self._check_sleep(row)
        if len(ready) - 1 < wanted:
            self.broken("I7", f"{name} is drained ({reason}) with {len(ready) - 1} others ready of {wanted} wanted")

    def _found_sold_out(self, offer_id: str) -> float:
        """Return when, as far as the journal still says so: one that was set back may have forgotten it."""
        at, name = self._sold_out.get(offer_id, (-inf, ""))
        row = self._world.truth.replica(name)
        return at if row is not None and row.state is ReplicaState.FAILED else -inf

    def _check_sleep(self, row: Replica) -> None:
        """The last replica does not leave while clients ask for it, as far as that could be read."""
        claimant, waiting = self._world.claimant, self._world.gateway.waits.get(row.service)
        if claimant is None or waiting is None or self._world.gateway.is_away:
            return
        quiet = claimant.look_began_at - waiting.asked_at
        if 0 <= quiet < LEAST_QUIET_SECONDS:
            self.broken("I7", f"{row.name} is the last of {row.service} and leaves {quiet:.0f} s after a request")

    def _check_silence(self, row: Replica) -> None:
        """Whoever is given up for its silence neither answers its clients, nor is silent because nobody is heard."""
        world = self._world
        line = world.gateway.lines.get(row.name)
        if line is None or world.gateway.is_away or sum(p.is_alive for p in world.processes) > 1:
            return
        answered, failed = line.grown
        if world.gateway.read_before < max(p.began_at for p in world.processes if p.is_alive):
            answered = 0  # it has no counters of before to compare with
        if answered:
            self.broken("I17", f"{row.name} is given up for its silence, and {answered} clients had answers of it")
        ready = [r.name for r in world.truth.replicas() if r.state is ReplicaState.READY and world.cloud.exists(r.name)]
        if world.probe.hears_nobody and len(ready) > 1 and not failed:
            self.broken("I17", f"{row.name} is given up for its silence, and so are all {len(ready)} that are ready")

    def _before_end(self, call: Call) -> None:
        self.actions += 1
        world, name = self._world, call.args[0]
        row, machine = world.truth.replica(name), world.cloud.machines.get(name)
        reaps = [r.state for r in world.truth.reaps(open_only=False) if r.name == name]
        # Whoever slept over an order that was given goes on with it, though another one has carried it out since.
        reaping = IntentState.ISSUED in reaps or (call.process.has_slept and IntentState.CONFIRMED in reaps)
        if machine is not None and machine.request.deployment_uid != world.uid:
            self.broken("I24", f"{name} belongs to somebody else")
        if row is not None and row.state not in ENDED | {ReplicaState.DRAINING} and not reaping:
            self.broken("I24", f"{name} is ended although its record says {row.state.value}")
        if row is None and not reaping and not world.lost_rows:
            self.broken("I24", f"{name} is ended, and neither a record nor anybody's word asks for it")
        if reaping and world.gateway.in_flight(name) and machine is not None and machine.ends_at is None:
            self.broken("I24", f"{name} is reaped while it serves")
        if row is not None and machine is not None:
            self._check_drain(name, row, machine)

    def _check_drain(self, name: str, row: Replica, machine: Machine) -> None:
        world = self._world
        line = world.gateway.lines.get(name)
        world.gateway.look()
        if line is None or not world.gateway.in_flight(name) or not world.cloud.serves(name):
            return
        service = world.truth.service(row.service)
        limit = timedelta(0) if service is None else service.spec.migration.drain
        going_down = service is not None and service.state is not ServiceState.ACTIVE
        since = line.unrouted_at
        drained = timedelta(seconds=0.0 if since is None else world.clock.elapsed - since)
        life = self._lives.get(name)
        waited = timedelta(seconds=0.0 if life is None or life.drains is None else world.clock.elapsed - life.drains)
        if drained < limit and not (going_down and waited > limit) and machine.ends_at is None:
            self.broken("I12", f"{name} is ended with requests in flight, unrouted for {drained} of {limit}")

    def _check_number(self, decision: Decision) -> None:
        """Nobody is let go for want of load that nobody has read: another number of the same bounds follows from it."""
        size, away_since = decision.sizing, self._world.gateway.away_since
        if size is None or self._work is not None:
            return
        before = self._numbers.get(decision.service)
        self._numbers[decision.service] = size
        unread = 0.0 if away_since is None else self._world.clock.elapsed - away_since
        if before is None or (before.least, before.most) != (size.least, size.most) or unread <= UNREAD_SECONDS:
            return
        if self._world.truth.operations(decision.service):
            return  # somebody wants something else, or the same again after an end
        if size.replicas < before.replicas:
            fewer = f"{before.replicas} to {size.replicas} replicas of {decision.service}"
            self.broken("I16", f"from {fewer} by load that nobody has read for {unread:.0f} s")

    def _decided(self, decision: Decision) -> None:
        self._check_number(decision)
        if self._survivors is not None:
            self._survivors.decided(decision)
        if decision.kind is not DecisionKind.MOVE or decision.actor != "policy":
            return
        best = next((c for c in decision.comparisons if c.approved), None)
        service = self._world.truth.service(decision.service)
        if best is None or service is None:
            return
        world, rules = self._world, service.spec.migration
        now = world.clock.elapsed
        self._check_hours(decision)
        moves = self._moves[decision.service]
        moves.append((now, decision.id))
        # A database that was set back has forgotten moves, and nobody else remembers them.
        day = DAY - ROUNDING_SECONDS  # a move of exactly a day ago is no longer of this day
        day -= HOUR if world.setting.steps else 0.0  # nor one that is dated so
        lately = [i for at, i in moves if at > now - day and world.truth.decision(i) is not None]
        if len(lately) > rules.max_moves_per_day:
            self.broken("I10", f"{len(lately)} voluntary moves of {decision.service} in a day")
        row = world.truth.replica(best.replica)
        if row is not None and row.ready_at is not None and decision.at - row.ready_at < rules.min_dwell:
            self.broken("I10", f"{best.replica} moves after {decision.at - row.ready_at}")
        if best.net_grams <= 0:
            self.broken("I10", f"{best.replica} moves for {best.net_grams} grams")
        zone = best.to_offer.partition("/")[2].partition(":")[0].upper()
        if not world.grid.is_known(zone):
            self.broken("I16", f"{best.replica} moves to {zone}, of which nothing is known")

    def _check_hours(self, decision: Decision) -> None:
        limits = self._world.setting.limits
        if limits is None:
            return
        hour, since = decision.at.hour, (decision.at - BEGIN) / timedelta(hours=1)
        if limits.window is not None and not limits.window[0] <= hour < limits.window[1]:
            self.broken("I30", f"{decision.service} moves at {decision.at:%H:%M}, outside {limits.window}")
        if limits.freeze is not None and limits.freeze[0] <= since < limits.freeze[1]:
            self.broken("I30", f"{decision.service} moves in the freeze, {since:.1f} h after the beginning")

    def _will_reap(self, call: Call) -> None:
        world, now = self._world, self._world.clock.elapsed
        named = {n for o in world.people.words for n in o}
        self._reaped += [(now, r.name) for r in call.kwargs.get("reaps", ()) if r.name not in named]
        known = {r.name for r in world.truth.reaps(open_only=False)} | {r.name for r in call.kwargs.get("reaps", ())}
        # As moves are: what a database that was set back has forgotten nobody counts.
        lately = {name for at, name in self._reaped if at > now - 3600.0 and name in known}
        if len(lately) > max(1, len(world.cloud.machines) // 10):
            self.broken("I24", f"{len(lately)} reaped within the hour of {len(world.cloud.machines)}")

    # ── after every look ─────────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Look at what has been going on for how long. Only the time of a controller that can work counts."""
        world, now = self._world, self._world.clock.elapsed
        passed, self._looked_at = now - self._looked_at, now
        if not world.can_work:
            return
        rows = {r.name: r for r in world.truth.replicas()}
        self._look_for_waiting(rows, passed)
        if self._work is not None:
            self._work.look(rows.values(), passed)
        if self._survivors is not None:
            self._survivors.look(passed)
        if world.setting.clients:
            self._look_for_served(passed)
        if world.setting.varied:
            self._look_for_variants(rows, passed)
        self._look_for_orphans(rows, passed)
        for name, row in rows.items():
            self._look_for_late(name, row, passed)
            if row.state is ReplicaState.READY:
                self._look_at_lease(name, passed)

    def _look_for_waiting(self, rows: dict[str, Replica], passed: float) -> None:
        """Requests that wait wake a service that sleeps. How long a start may take is another promise."""
        world = self._world
        up = {r.service for r in rows.values() if r.state in LIVE}
        for name, waiting in world.gateway.waits.items():
            service = world.truth.service(name)
            wakes = service is not None and service.state is ServiceState.ACTIVE and not world.gateway.is_away
            if waiting.since is None or name in up or not wakes or self._holds(name):
                self._waiting.pop(name, None)
                continue
            self._waiting[name] = self._waiting.get(name, -passed) + passed
            if self._waiting[name] > LATE_SECONDS:
                self.broken(
                    "I17", f"requests to {name} wait, and nothing is on its way for {self._waiting[name]:.0f} s"
                )
                self._waiting[name] = 0.0

    def _holds(self, service: str) -> bool:
        """Whether there is no place for it just now, as its last decision says: all are sold out, or failed lately."""
        return any(d.kind is DecisionKind.HOLD for d in self._world.truth.decisions(service, limit=1))

    def _look_for_variants(self, rows: dict[str, Replica], passed: float) -> None:
        """Whoever runs what is not wanted is replaced by those who run what is, which may be there already."""
        for service in self._world.truth.services():
            ready = [r for r in rows.values() if r.service == service.name and r.state is ReplicaState.READY]
            wrong = [r.name for r in ready if not _is_good_enough(service.spec, r)]
            enough = len(ready) - len(wrong) >= service.spec.scaling.min_replicas
            is_open = service.state is not ServiceState.ACTIVE or bool(self._world.truth.operations(service.name))
            if not wrong or not enough or is_open or service.paused or self._holds(service.name):
                self._unwanted.pop(service.name, None)
                continue
            self._unwanted[service.name] = self._unwanted.get(service.name, -passed) + passed
            if self._unwanted[service.name] > LATE_SECONDS:
                self.broken("I28", f"{wrong} of {service.name} serve on, and are not good enough")
                self._unwanted[service.name] = 0.0

    def _look_for_orphans(self, rows: dict[str, Replica], passed: float) -> None:
        world = self._world
        for name in world.cloud.existing():
            machine = world.cloud.machines[name]
            if name in rows or not machine.has_mark or machine.ends_at is not None:
                self._orphaned.pop(name, None)
                continue
            if machine.is_stray:
                self._look_for_suspicion(name, passed)
                continue
            if world.truth.replica(name) is None:
                # Nobody but a person may end it, and at rest it is gone; but somebody has to say so.
                self._look_for_notice(name, machine, passed)
                continue
            self._orphaned[name] = self._orphaned.get(name, -passed) + passed
            if self._orphaned[name] > MOST_ORPHANED_SECONDS:
                self.broken("I3", f"{name} has been nobody's for {self._orphaned[name]:.0f} s")
                self._orphaned[name] = 0.0

    def _look_for_suspicion(self, name: str, passed: float) -> None:
        """Whatever has our mark, and nobody here has asked for, is shown to whoever looks after orphans."""
        is_known = any(suspect.name == name for suspect in self._world.truth.suspects())
        if is_known:
            self._unnoticed.pop(name, None)
            return
        self._unnoticed[name] = self._unnoticed.get(name, -passed) + passed
        if self._unnoticed[name] > MOST_ORPHANED_SECONDS:
            self.broken(
                "I3", f"{name} has our mark, and has been suspected by nobody for {self._unnoticed[name]:.0f} s"
            )
            self._unnoticed[name] = 0.0

    def _look_for_notice(self, name: str, machine: Machine, passed: float) -> None:
        restored = self._world.truth.restored()
        if restored.holds or restored.accepted_epoch >= machine.request.epoch:
            self._unnoticed.pop(name, None)
            return
        self._unnoticed[name] = self._unnoticed.get(name, -passed) + passed
        if self._unnoticed[name] > MOST_ORPHANED_SECONDS:
            self.broken("I24", f"{name} is in no record, and nobody noticed that the database was set back")
            self._unnoticed[name] = 0.0

    def _look_at_lease(self, name: str, passed: float) -> None:
        machine = self._world.cloud.machines.get(name)
        if machine is None or machine.is_stray or not self._world.cloud.exists(name):
            return
        before, seconds = self._unrenewed.get(name, (machine.lease_ends_at, -passed))
        seconds = seconds + passed if before == machine.lease_ends_at else 0.0
        if seconds > UNRENEWED_SECONDS:
            self.broken("I6", f"the lease of {name} has not been renewed for {seconds:.0f} s")
            seconds = 0.0
        self._unrenewed[name] = machine.lease_ends_at, seconds

    def _look_for_late(self, name: str, row: Replica, passed: float) -> None:
        if row.state not in {ReplicaState.PENDING, ReplicaState.PROVISIONING, ReplicaState.STARTING}:
            return
        service = self._world.truth.service(row.service)
        if service is None:
            return
        key = (name, row.state)
        if service.paused and row.state is ReplicaState.PENDING and row.replaces is not None:
            self._late.pop(key, None)  # a move that waits for the end of the pause (decision 0044)
            return
        self._late[key] = self._late.get(key, -passed) + passed
        limit = service.spec.startup_deadline.total_seconds() + LATE_SECONDS
        if self._late[key] > limit:
            self.broken("I9", f"{name} has been {row.state.value} for {self._late[key]:.0f} s")
            self._late[key] = 0.0

    # ── at rest ──────────────────────────────────────────────────────────────────────────────────────

    def at_rest(self) -> None:
        """Look once nothing is open any more."""
        world = self._world
        store = world.truth
        existing = {n for n in world.cloud.existing() if can_be_found(world, n)}
        journal = {r.name for r in store.replicas() if r.state not in ENDED}
        if existing != journal:
            self.broken("I3", f"only there: {sorted(existing - journal)}; only recorded: {sorted(journal - existing)}")
        per_intent = Counter(world.cloud.machines[n].request.intent_id for n in existing)
        twice = sorted(i for i, number in per_intent.items() if number > 1)
        if twice:
            self.broken("I2", f"more than one machine of {twice}")
        foreign = [n for n in world.foreign if not world.cloud.exists(n)]
        if foreign:
            self.broken("I24", f"ended what belongs to somebody else: {foreign}")
        for intent in store.intents(open_only=True):
            self.broken("I5", f"intent {intent.id} of {intent.replica} is still {intent.state.value}")
        for service in store.services():
            ready = [r for r in store.replicas(service.name) if r.state is ReplicaState.READY]
            wrong = [r.name for r in ready if not _is_good_enough(service.spec, r)]
            if wrong:
                self.broken("I28", f"{wrong} of {service.name} serve, and are not good enough")
            if self._survivors is not None:
                self._survivors.at_rest(service)
            self._routes_at_rest(service)
            self._ledger(service)

    def _routes_at_rest(self, service: ServiceRecord) -> None:
        world = self._world
        ready = {r.name for r in world.truth.replicas(service.name) if r.state is ReplicaState.READY}
        routed = {n for n, s in world.gateway.routed().items() if s == service.name}
        if routed != (ready if service.state is ServiceState.ACTIVE else set()):
            self.broken("I17", f"{service.name}: routed to {sorted(routed)}, ready are {sorted(ready)}")

    def _ledger(self, service: ServiceRecord) -> None:
        by_replica: defaultdict[str, list[Any]] = defaultdict(list)
        for sample in self._world.truth.energy(service.name):
            by_replica[sample.replica].append(sample)
        for name, samples in by_replica.items():
            samples.sort(key=lambda s: s.window.start)
            for one, other in pairwise(samples):
                if other.window.start < one.window.end:
                    self.broken("I25", f"{name}: {other.window.start} is counted twice")
                    break
        for row in self._world.truth.replicas(service.name, ended=True):
            self._check_counted(row, sum(s.engine_seconds for s in by_replica[row.name]))

    def _check_counted(self, row: Replica, counted: float) -> None:
        """No more than it was there, and no less than it served, but for what comes with the next sample."""
        world = self._world
        life = self._lives.get(row.name)
        if life is None:
            return
        now, steps = world.clock.elapsed, 0.0
        if world.setting.steps:
            # What passes between two processes nobody knows but by the clock that was set.
            steps = HOUR * (len(world.processes) - 1)
        # What a database that was set back calls there again is there again.
        gone = life.gone if row.cleaned_up and row.state in ENDED else None
        lived = (now if gone is None else gone) - life.created
        if counted > lived + 1.0 + steps:
            self.broken("I25", f"{row.name}: {counted:.0f} s counted, it is {lived:.0f} s old")
        if life.ready is None or world.lost_rows:
            return  # what a database that was set back has forgotten is not counted again
        # It serves no longer than it is there: of one that has ended its record may say so late.
        left = min(now if life.left is None else life.left, world.cloud.end_of(row.name))
        served = left - life.ready
        at_an_end = UNCOUNTED_AT_AN_END_SECONDS
        if len(world.processes) > 1:
            # Whoever has ended when another process comes is not counted from its last sample to its end.
            at_an_end += SAMPLED_SECONDS
        if counted < served - steps - (UNCOUNTED_SECONDS if gone is None else at_an_end):
            self.broken("I25", f"{row.name}: {counted:.0f} s counted, and it has served for {served:.0f} s")


def _is_good_enough(spec: ServiceSpec, replica: Replica) -> bool:
    """Whether a replica runs the model of its service, or a variant that is not below its floor of quality."""
    name = variant_in(replica.offer_id)
    variant = variant_of(spec, name)
    return not name or (variant is not None and variant.quality >= spec.quality.floor)
