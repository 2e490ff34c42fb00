"""A small world for rollouts: machines that boot, fall ill, crash and vanish, clients, and a gateway that may be deaf.

One controller's look is :meth:`World.look`: observe, take every next step, plan, publish. Records are kept as the store
keeps them. Every promise of a rollout is checked at the step that could break it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase

from orchestrator.domain.counters import UpstreamStatus
from orchestrator.domain.offer import Candidate
from orchestrator.domain.plan import Action, ActionKind, Plan
from orchestrator.domain.replica import ENDED, LIVE, NEXT_STATES, Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import Instant, floor_hour
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.capacity import avoided
from orchestrator.planner.plan import plan
from orchestrator.planner.rollout import (
    ABORTED,
    FULL_WEIGHT,
    Observation,
    RolloutView,
    Step,
    StepKind,
    next_steps,
    weight_of,
)
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, NOON, intensity, replica, service_spec, snapshot

STOPPING_SECONDS = 3.0
READY, DRAINING = ReplicaState.READY, ReplicaState.DRAINING


@dataclass(slots=True)
class Machine:
    """One instance at the provider. Times are physical seconds since the world began."""

    boots_until: float
    failed: bool = False
    ill: bool = False
    in_flight: int = 0
    stops_at: float | None = None


@dataclass(slots=True)
class Route:
    """What the gateway does with a replica since then: its weight, ``None`` when nothing new reaches it."""

    weight: int | None
    since: float


@dataclass(slots=True)
class World:
    """Everything that there is. ``elapsed`` is physical; the grid runs ``clock_rate`` times faster."""

    offers: tuple[Candidate, ...]
    spec: ServiceSpec = field(default_factory=service_spec)
    clock_rate: float = 1.0
    boot_seconds: float = 20.0
    elapsed: float = 0.0
    replicas: dict[str, Replica] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    counters: dict[str, UpstreamStatus] = field(default_factory=dict)
    unhealthy: dict[str, int] = field(default_factory=dict)
    sold_out: set[str] = field(default_factory=set)
    moves: list[Instant] = field(default_factory=list)
    provider_answers: bool = True
    gateway_answers: bool = True
    taking_down: bool = False
    bought: int = 0

    @property
    def now(self) -> Instant:
        """The grid's present."""
        return NOON + timedelta(seconds=self.elapsed * self.clock_rate)

    # ── what happens by itself ───────────────────────────────────────────────────────────────────────

    def wait(self, seconds: float) -> None:
        """Let physical time pass; machines that were told to stop are gone when they have had their time."""
        self.elapsed += seconds
        for name, machine in list(self.machines.items()):
            if machine.stops_at is not None and machine.stops_at <= self.elapsed:
                del self.machines[name]

    def ask(self, requests: int) -> None:
        """Let clients send requests: the gateway spreads them by weight, to a standby only when nobody has any."""
        reachable = {n: r.weight for n, r in self.routes.items() if r.weight is not None and n in self.machines}
        serving = {n: w for n, w in reachable.items() if w} or reachable
        for number, name in enumerate(sorted(serving) * requests):
            if number >= requests:
                break
            self.machines[name].in_flight += 1

    def answer(self, *, well: bool) -> None:
        """End every request, well or not."""
        for name, machine in self.machines.items():
            before = self.counters.get(name, UpstreamStatus(name))
            ok, failed = (machine.in_flight, 0) if well and not machine.failed else (0, machine.in_flight)
            self.counters[name] = replace(before, ok=before.ok + ok, failed=before.failed + failed)
            machine.in_flight = 0

    # ── one look of the controller ───────────────────────────────────────────────────────────────────

    def look(self) -> int:
        """Observe, step, plan, publish; return how many steps and actions there were."""
        seen = {n: self._seen(r) for n, r in self.replicas.items() if not (r.state in ENDED and r.cleaned_up)}
        view = RolloutView(
            spec=self.spec,
            replicas=tuple(self.replicas.values()),
            observations=seen,
            traffic=dict(self.counters) if self.gateway_answers else {},
            clock_rate=self.clock_rate,
            taking_down=self.taking_down,
        )
        steps = next_steps(view, self.now)
        assert len({s.replica for s in steps}) == len(steps), "two steps for one replica"
        for step in steps:
            self._check(step, seen[step.replica])
            self._take(step)
        made = self._planned()
        if made is not None:
            self.carry_out(made)
        self._publish()
        self._check_slots()
        return len(steps) + (0 if made is None else len(made.actions))

    def world(self) -> Snapshot:
        """Return what a plan is made of."""
        back_off = avoided(self.replicas.values(), self.now, self.clock_rate)
        known = tuple(
            replace(c, avoid_until=back_off[c.offer.id].until, avoid_reason=back_off[c.offer.id].reason)
            if c.offer.id in back_off
            else c
            for c in self._offers_now()
        )
        recent = tuple(m for m in self.moves if self.now - m < timedelta(hours=24))
        return snapshot(
            known,
            self.replicas.values(),
            self.spec,
            moves=recent,
            clock_rate=self.clock_rate,
            taking_down=self.taking_down,
        )

    def carry_out(self, made: Plan) -> None:
        """Write down what a plan wants: pending replicas and drains."""
        for action in made.actions:
            if action.kind is ActionKind.RETIRE:
                self._move(action.replica, DRAINING, action.reason)
            else:
                self._start(action)
        if made.decision.comparisons and made.actions and made.decision.actor == "policy":
            self.moves.append(self.now)

    # ── the parts of a look ──────────────────────────────────────────────────────────────────────────

    def _offers_now(self) -> tuple[Candidate, ...]:
        """Return every offer with a fresh number: the grids of this world never change."""
        found = []
        for one in self.offers:
            grams = one.forecast.points[0].grams_per_kwh
            found.append(replace(one, now=intensity(one.forecast.zone, grams, floor_hour(self.now))))
        return tuple(found)

    def _seen(self, one: Replica) -> Observation:
        route = self.routes.get(one.name, Route(None, 0.0))
        machine = self.machines.get(one.name)
        known = Observation(
            exists=None,
            in_flight=(0 if machine is None else machine.in_flight) if self.gateway_answers else None,
            told_weight=route.weight if self.gateway_answers else None,
            routed_away=self.gateway_answers and route.weight is None,
            told_for=timedelta(seconds=self.elapsed - route.since if self.gateway_answers else 0.0),
        )
        if not self.provider_answers:
            return known
        if machine is None:
            return replace(known, exists=False)
        if machine.failed:
            return replace(known, exists=True, failed=True, exit_detail="boom")
        if self.elapsed < machine.boots_until:
            return replace(known, exists=True)
        self.unhealthy[one.name] = self.unhealthy.get(one.name, 0) + 1 if machine.ill else 0
        return replace(
            known,
            exists=True,
            endpoint=f"http://{one.name}",
            serves=not machine.ill,
            unhealthy_times=self.unhealthy[one.name],
        )

    def _planned(self) -> Plan | None:
        try:
            return plan(self.world(), GREEN, self.now)
        except NoFeasiblePlacement:
            return None

    def _start(self, action: Action) -> None:
        offer = next(c.offer for c in self.offers if c.offer.id == action.offer_id)
        self.bought += 1
        name = f"gc-{self.bought}"
        self.replicas[name] = replica(
            offer,
            action.slot,
            ReplicaState.PENDING,
            name=name,
            up_for=timedelta(0),
            now=self.now,
            replaces=action.replica or None,
            workload_digest=self.world().workload_digest,
        )

    def _take(self, step: Step) -> None:  # noqa: C901  # one case per kind of step
        one = self.replicas[step.replica]
        match step.kind:
            case StepKind.ISSUE:
                self._launch(one)
            case StepKind.SEEN:
                self._move(one.name, ReplicaState.STARTING)
            case StepKind.READY:
                self._move(one.name, READY, endpoint=step.endpoint, ready_at=self.now)
            case StepKind.WEIGHT:
                self.replicas[one.name] = replace(one, weight_percent=step.weight_percent, weight_since=self.now)
            case StepKind.DRAIN:
                self._move(one.name, DRAINING, step.reason)
            case StepKind.LOST:
                self._move(one.name, ReplicaState.LOST, step.reason)
            case StepKind.FAIL:
                self._move(one.name, ReplicaState.FAILED, step.reason)
            case StepKind.TERMINATE:
                if (machine := self.machines.get(one.name)) is not None:
                    machine.stops_at = machine.stops_at or self.elapsed + STOPPING_SECONDS
            case StepKind.ENDED:
                self._move(one.name, ReplicaState.TERMINATED, one.reason, cleaned_up=True)
            case StepKind.CLEAN_UP:
                self.replicas[one.name] = replace(one, cleaned_up=True)

    def _launch(self, one: Replica) -> None:
        if one.state is ReplicaState.PENDING:
            self._move(one.name, ReplicaState.PROVISIONING)
        if one.offer_id in self.sold_out:
            self._move(one.name, ReplicaState.FAILED, "no_capacity: sold out")
        else:
            self.machines.setdefault(one.name, Machine(self.elapsed + self.boot_seconds))

    def _move(self, name: str, to: ReplicaState, reason: str = "", **changes: object) -> None:
        one = self.replicas[name]
        assert to in NEXT_STATES[one.state], f"{one.state} -> {to} is no arrow"
        ended = self.now if to in ENDED else None
        self.replicas[name] = replace(
            one,
            state=to,
            state_since=self.now,
            reason=reason or one.reason,
            ended_at=ended,
            **changes,  # type: ignore[arg-type]
        )

    def _publish(self) -> None:
        """Tell the gateway the weights of now; a deaf one keeps what it has."""
        if not self.gateway_answers:
            return
        everyone = tuple(self.replicas.values())
        for one in everyone:
            weight = weight_of(one, everyone) if one.state is READY else None
            if one.name not in self.routes or self.routes[one.name].weight != weight:
                self.routes[one.name] = Route(weight, self.elapsed)

    # ── promises ─────────────────────────────────────────────────────────────────────────────────────

    def _check(self, step: Step, seen: Observation) -> None:
        """Check what a step must not do."""
        one, machine = self.replicas[step.replica], self.machines.get(step.replica)
        if step.kind is StepKind.TERMINATE:
            assert one.state is DRAINING or one.state in ENDED, f"{one.state} is not to be ended"
            limit = self.spec.migration.drain
            waited = seen.routed_away and seen.told_for > limit
            waited_to_the_end = self.taking_down and (self.now - one.state_since) / self.clock_rate > limit
            alive = machine is not None and not machine.failed
            if alive and machine is not None and machine.in_flight:
                assert waited or waited_to_the_end, "requests in flight were cut off before the drain limit"
        if step.kind is StepKind.DRAIN and not step.reason.startswith(ABORTED):
            heirs = [r for r in self.replicas.values() if r.replaces == one.name and r.state is READY]
            assert heirs, "drained without a replacement that serves"
            assert heirs[0].weight_percent == FULL_WEIGHT, "drained before all of the weight had moved"
            assert self.routes[heirs[0].name].weight == FULL_WEIGHT, "drained before the gateway knew"
        if step.kind is StepKind.DRAIN and step.reason.startswith(ABORTED):
            old = self.replicas[one.replaces or ""]
            assert old.state is READY, "taken back although nobody is left to serve"

    def _check_slots(self) -> None:
        """Check what holds after every look."""
        everyone = tuple(self.replicas.values())
        for slot in {r.slot for r in everyone if r.state in LIVE}:
            living = [r for r in everyone if r.slot == slot and r.state in LIVE]
            assert len(living) <= 2, "three in one slot"
            ready = [r for r in living if r.state is READY]
            if len(ready) == 2:
                assert sum(weight_of(r, everyone) for r in ready) == FULL_WEIGHT, "both sides are more than a whole"
        named = set(self.replicas)
        assert set(self.machines) <= named, "a machine that nobody owns"
        for name in self.machines:
            assert not self.replicas[name].cleaned_up, "a machine that is thought to be gone"

    def problems(self) -> list[str]:
        """Say what is not as it should be, once everything has settled."""
        wanted = 0 if self.taking_down else self.spec.scaling.min_replicas
        digest = self.world().workload_digest
        open_ones = [r for r in self.replicas.values() if not (r.state in ENDED and r.cleaned_up)]
        found = [f"{r.name} is {r.state.value}" for r in open_ones if r.state is not READY]
        found += [f"{r.name} has weight {r.weight_percent}" for r in open_ones if r.weight_percent != FULL_WEIGHT]
        found += [f"{r.name} runs an old workload" for r in open_ones if r.workload_digest != digest]
        denied = self.spec.placement.deny
        found += [f"{r.name} is in {r.region}" for r in open_ones if any(fnmatchcase(r.region, d) for d in denied)]
        slots = sorted(r.slot for r in open_ones)
        if slots != list(range(wanted)):
            found.append(f"slots {slots}, wanted {wanted}")
        if set(self.machines) != {r.name for r in open_ones}:
            found.append(f"machines {sorted(self.machines)}, replicas {sorted(r.name for r in open_ones)}")
        if self.gateway_answers:
            known = {n for n, route in self.routes.items() if route.weight is not None}
            if known != {r.name for r in open_ones}:
                found.append(f"the gateway knows {sorted(known)}")
        return found
