"""Decide what is to be done: ``(snapshot, policy, now) -> Plan``.

Order of business: take down what is too much, replace what is missing, roll out a changed workload, leave what a
changed rule forbids; only when nothing of that is open, and nothing moves yet, weigh one voluntary move. "Stay" is a
decision too, and is recorded with its reasons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from orchestrator.domain.decision import Assessment, Decision, DecisionKind, MoveComparison
from orchestrator.domain.plan import Action, ActionKind, Plan, Totals
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import Objective, Policy
from orchestrator.domain.time import Instant, format_instant
from orchestrator.errors import Conflict, NoFeasiblePlacement, SignalsTooOld, UnknownRegion, UsageError
from orchestrator.planner.choose import choose, frontier, rank, total
from orchestrator.planner.moves import Side, compare, weighable
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.assess import FRESHNESS_RULE, assess_all

MOST_COMPARISONS = 24
"""The best moves are enough to explain a decision; replicas times offers of them would be megabytes, every hour."""

STANDING_RULES = frozenset(
    {"placement.residency", "placement.allow", "placement.deny", "resources.use_spot", "provider"}
)
"""A replica that stands where one of these now says no has to leave; prices and intensities alone never evict."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A snapshot with its offers judged, looked up by offer id."""

    snapshot: Snapshot
    policy: Policy
    now: Instant
    assessments: tuple[Assessment, ...]

    def side(self, offer_id: str) -> Side | None:
        """The offer with its candidate; ``None`` when it is no longer sold."""
        assessment = next((a for a in self.assessments if a.offer_id == offer_id), None)
        candidate = next((c for c in self.snapshot.candidates if c.offer.id == offer_id), None)
        return None if assessment is None or candidate is None else Side(assessment, candidate)

    def by_id(self, offer_id: str) -> Assessment | None:
        """The judged offer."""
        return next((a for a in self.assessments if a.offer_id == offer_id), None)


def judge(snapshot: Snapshot, policy: Policy, now: Instant) -> Judged:
    """Judge every offer of the snapshot."""
    assessments = assess_all(
        snapshot.candidates, snapshot.spec, policy, now, snapshot.mean_batch.value, snapshot.providers
    )
    return Judged(snapshot, policy, now, assessments)


def plan(snapshot: Snapshot, policy: Policy, now: Instant, actor: str = "policy", *, keep_up: bool = False) -> Plan:
    """Return what to do now; an empty list of actions means that all is as it should be.

    ``keep_up``: the service has been deployed, so serving comes first. What is missing is replaced as far as there is
    room, and where only fresh signals are wanting, without them.
    Raises ``NoFeasiblePlacement`` when a wanted replica can stand nowhere, or one that has to leave has nowhere to go.
    """
    judged = judge(snapshot, policy, now)
    occupants = snapshot.occupants()
    if snapshot.taking_down:
        return _take_down(judged, actor)
    surplus = _surplus(snapshot, occupants)
    staying = {slot: r for slot, r in occupants.items() if slot < snapshot.wanted}
    missing = [slot for slot in range(snapshot.wanted) if slot not in staying]
    launches = _launches(judged, missing, [r.region for r in staying.values()], keep_up=keep_up)
    moves = [] if missing else _forced_moves(judged, staying, must_fit=not surplus)
    retire = [_retire(r, "more than wanted") for r in _may_leave(surplus, snapshot)]
    actions = (*launches, *moves, *retire)
    comparisons: tuple[MoveComparison, ...] = ()
    if not actions:
        comparisons = _weigh_moves(judged, staying)
        best = next((c for c in comparisons if c.approved), None)
        actions = () if best is None else (_move_action(judged, best),)
    kind = _kind(snapshot, launches, moves, actions)
    return _finish(judged, kind, actor, actions, comparisons, staying)


def plan_migration(
    snapshot: Snapshot,
    policy: Policy,
    now: Instant,
    *,
    replica: str | None,
    to_region: str | None,
    actor: str,
    reason: str,
) -> Plan:
    """Return the plan of a move that a person asked for: soft rules are shown, hard rules still hold.

    Without ``replica`` the dirtiest one moves, without ``to_region`` it goes to the best allowed region.
    Raises ``UsageError``, ``UnknownRegion``, ``NoFeasiblePlacement``, or ``Conflict`` while another change is under
    way.
    """
    judged = judge(snapshot, policy, now)
    staying = snapshot.occupants()
    if snapshot.taking_down:
        message = f"{snapshot.spec.name} is being taken down"
        raise Conflict(message)
    if snapshot.in_motion():
        message = f"{snapshot.spec.name}: a replica is already starting or moving"
        raise Conflict(message)
    mover = _mover(judged, staying, replica)
    others = [r.region for r in staying.values() if r.name != mover.name]
    pool = [a for a in judged.assessments if a.region != mover.region]
    if to_region is not None:
        pool = _only_region(judged, pool, mover, to_region)
    target = next(iter(choose(pool, 1, others, snapshot.spec.placement, policy.objective)), None)
    if target is None:
        where = to_region or "any other region"
        reasons = "; ".join(f"{a.region}: {a.excluded_because or 'max_per_region reached'}" for a in pool)
        message = f"{mover.name} cannot move to {where}: {reasons or 'nothing is sold there'}"
        raise NoFeasiblePlacement(message)
    here, there = judged.side(mover.offer_id), judged.side(target.offer_id)
    comparisons: tuple[MoveComparison, ...] = ()
    if here is not None and there is not None and weighable(here, now):
        comparisons = (compare(mover, here, there, snapshot, policy, now),)
    action = _buy(ActionKind.MOVE, mover.slot, target, reason, mover)
    return _finish(judged, DecisionKind.MOVE, actor, (action,), comparisons, staying)


# ── parts of a plan ──────────────────────────────────────────────────────────────────────────────────


def _buy(kind: ActionKind, slot: int, target: Assessment, reason: str, mover: Replica | None = None) -> Action:
    return Action(
        kind=kind,
        slot=slot,
        reason=reason,
        offer_id=target.offer_id,
        region=target.region,
        shape=target.shape,
        market=target.market,
        usd_per_hour=target.usd_per_hour,
        replica="" if mover is None else mover.name,
        from_region="" if mover is None else mover.region,
    )


def _surplus(snapshot: Snapshot, occupants: dict[int, Replica]) -> list[Replica]:
    """Replicas beyond the wanted slots, and second ones in a slot that are not being replaced by the first."""
    return [
        r
        for r in snapshot.living()
        if r.slot >= snapshot.wanted or r.name not in {occupants[r.slot].name, occupants[r.slot].replaces}
    ]


def _may_leave(surplus: Sequence[Replica], snapshot: Snapshot) -> list[Replica]:
    """Those that do not serve; all of them once whatever stays serves: what starts dies before what serves."""
    staying = {r.slot for r in snapshot.living() if r.state is ReplicaState.READY and r not in surplus}
    enough = len(staying) == snapshot.wanted
    return [r for r in surplus if enough or r.state is not ReplicaState.READY]


def _retire(replica: Replica, reason: str) -> Action:
    return Action(ActionKind.RETIRE, replica.slot, reason, replica=replica.name, from_region=replica.region)


def _launches(judged: Judged, missing: Sequence[int], occupied: Sequence[str], *, keep_up: bool) -> list[Action]:
    if not missing:
        return []
    rules = judged.snapshot.spec.placement
    chosen = choose(judged.assessments, len(missing), occupied, rules, judged.policy.objective)
    lost = _lost(judged.snapshot)
    launches = [
        _buy(ActionKind.LAUNCH, slot, offer, f"replaces {lost[slot].name}" if slot in lost else "wanted by the spec")
        for slot, offer in zip(missing, chosen, strict=False)
    ]
    if keep_up and len(launches) < len(missing):
        launches += _blind_launches(judged, missing[len(chosen) :], [*occupied, *(a.region for a in chosen)], lost)
    if len(launches) < len(missing) and not (keep_up and launches):
        raise _refusal(judged, len(missing), chosen)
    return launches


def _blind_launches(
    judged: Judged, missing: Sequence[int], occupied: Sequence[str], lost: dict[int, Replica]
) -> list[Action]:
    """Replace what was lost although no fresh signal says where: where it stood, else by the last weeks, else by price.

    Every other rule holds, the bound on extra cost among these offers included.
    """
    pool = _without_freshness(judged)
    taken, launches = list(occupied), []
    for slot in missing:
        if slot not in lost:
            continue
        where_it_stood = [a for a in pool if a.offer_id == lost[slot].offer_id]
        for among in (where_it_stood, pool):
            found = choose(among, 1, taken, judged.snapshot.spec.placement, judged.policy.objective)
            if found:
                reason = f"replaces {lost[slot].name}; no fresh signal says where"
                launches.append(_buy(ActionKind.LAUNCH, slot, found[0], reason))
                taken.append(found[0].region)
                break
    return launches


def _without_freshness(judged: Judged) -> list[Assessment]:
    """Return the offers that nothing but the age of their signal excludes, expected to be what they were on average."""
    dark = [a for a in judged.assessments if {v.rule for v in a.verdicts if not v.passed} == {FRESHNESS_RULE}]
    prices = [a.usd_per_hour for a in dark if a.usd_per_hour is not None]
    extra = judged.policy.max_extra_cost_fraction
    limit = inf if extra is None or not prices else min(prices) * (1 + extra)
    return [
        replace(
            a,
            verdicts=tuple(v for v in a.verdicts if v.passed),
            expected_grams_per_hour=None
            if a.kwh_per_hour is None or a.trailing_mean_grams_per_kwh is None
            else a.kwh_per_hour * a.trailing_mean_grams_per_kwh,
        )
        for a in dark
        if a.usd_per_hour is not None and a.usd_per_hour <= limit
    ]


def _lost(snapshot: Snapshot) -> dict[int, Replica]:
    """Return the newest record of each slot, where that one was lost or failed: a launch replaces it."""
    newest = {r.slot: r for r in sorted(snapshot.replicas, key=lambda r: (r.created_at, r.name))}
    return {slot: r for slot, r in newest.items() if r.state in {ReplicaState.LOST, ReplicaState.FAILED}}


def _refusal(judged: Judged, needed: int, chosen: Sequence[Assessment]) -> NoFeasiblePlacement:
    """Say that replicas cannot be placed: for want of signals where that alone is in the way, else by the rules."""
    message = _infeasible(judged, needed, len(chosen))
    failed = [{v.rule for v in a.verdicts if not v.passed} for a in judged.assessments]
    if not any(a.allowed for a in judged.assessments) and {FRESHNESS_RULE} in failed:
        return SignalsTooOld(message)
    return NoFeasiblePlacement(message, hint=_relaxation(judged, chosen))


def _infeasible(judged: Judged, needed: int, found: int) -> str:
    reasons: dict[str, int] = {}
    for assessment in judged.assessments:
        failed = next((v for v in assessment.verdicts if not v.passed), None)
        if failed is not None:
            reasons[failed.rule] = reasons.get(failed.rule, 0) + 1
    listed = ", ".join(f"{count} by {rule}" for rule, count in sorted(reasons.items(), key=lambda kv: -kv[1]))
    name = judged.snapshot.spec.name
    return (
        f"{name} needs {needed} more replica{'s' if needed != 1 else ''}, {found} can be placed; "
        f"{len(judged.assessments)} offers, excluded: {listed or 'none'}"
    )


def _relaxation(judged: Judged, chosen: Sequence[Assessment]) -> str:
    """Name the smallest change that would help: the region limit, or the one rule that alone keeps an offer out."""
    limit = judged.snapshot.spec.placement.max_per_region
    if limit is not None and any(a.allowed for a in judged.assessments):
        return f"Raise placement.max_per_region above {limit}, or allow more regions."
    near = [a for a in judged.assessments if sum(not v.passed for v in a.verdicts) == 1]
    if near and not chosen:
        best = min(near, key=lambda a: rank(a, judged.policy.objective))
        return f"Closest: {best.offer_id}, excluded only because {best.excluded_because}."
    return "Allow more regions, or relax the rules named above."


def _forced_moves(judged: Judged, staying: dict[int, Replica], *, must_fit: bool) -> list[Action]:
    """Move one replica that runs an old workload, or stands where the rules no longer allow it; one at a time.

    With ``must_fit``, raises ``NoFeasiblePlacement`` when there is one and nowhere to go, unless that passes by itself.
    """
    if judged.snapshot.in_motion():
        return []
    rules, objective, stuck = judged.snapshot.spec.placement, judged.policy.objective, 0
    for slot, replica in sorted(staying.items()):
        reason = _why_it_has_to_move(judged, replica)
        if not reason:
            continue
        others = [r.region for r in staying.values() if r.name != replica.name]
        target = next(iter(choose(judged.assessments, 1, others, rules, objective)), None)
        if target is not None:
            return [_buy(ActionKind.MOVE, slot, target, reason, replica)]
        stuck += 1
    backing_off = any([v.rule for v in a.verdicts if not v.passed] == ["capacity"] for a in judged.assessments)
    if stuck and must_fit and not backing_off:
        raise _refusal(judged, stuck, ())
    return []


def _why_it_has_to_move(judged: Judged, replica: Replica) -> str:
    """Return the reason; empty when it may stay."""
    here = judged.by_id(replica.offer_id)
    if here is None:
        return "no longer sold"
    if any(not v.passed and v.rule in STANDING_RULES for v in here.verdicts):
        return here.excluded_because
    return "new workload" if replica.workload_digest != judged.snapshot.workload_digest else ""


def _weigh_moves(judged: Judged, staying: dict[int, Replica]) -> tuple[MoveComparison, ...]:
    """Compare every settled replica with every place that has room; the best net first."""
    snapshot, limit = judged.snapshot, judged.snapshot.spec.placement.max_per_region
    if snapshot.in_motion():
        return ()
    comparisons = []
    for replica in staying.values():
        here = judged.side(replica.offer_id)
        if replica.state is not ReplicaState.READY or here is None or not weighable(here, judged.now):
            continue
        others = [r.region for r in staying.values() if r.name != replica.name]
        for assessment in judged.assessments:
            has_room = limit is None or others.count(assessment.region) < limit
            there = judged.side(assessment.offer_id)
            if assessment.offer_id == replica.offer_id or not assessment.allowed or not has_room or there is None:
                continue
            comparisons.append(compare(replica, here, there, snapshot, judged.policy, judged.now))
    return tuple(sorted(comparisons, key=lambda c: _preference(c, judged.policy.objective)))[:MOST_COMPARISONS]


def _preference(comparison: MoveComparison, objective: Objective) -> tuple[bool, float, float, str, str]:
    """Order moves: approved ones first, then by what is minimised, then by the other quantity, then by name."""
    grams = -comparison.net_grams
    usd = inf if comparison.net_usd is None else -comparison.net_usd
    first, second = (usd, grams) if objective is Objective.CHEAPEST else (grams, usd)
    return (not comparison.approved, first, second, comparison.replica, comparison.to_offer)


def _move_action(judged: Judged, best: MoveComparison) -> Action:
    mover = next(r for r in judged.snapshot.replicas if r.name == best.replica)
    target = judged.by_id(best.to_offer)
    if target is None:
        message = f"{best.to_offer} vanished while it was being weighed"
        raise NoFeasiblePlacement(message)
    saved = f"{best.net_grams:.3f} gCO2e"
    if judged.policy.objective is Objective.CHEAPEST and best.net_usd is not None:
        saved = f"{best.net_usd:.4f} USD"
    return _buy(ActionKind.MOVE, mover.slot, target, f"saves {saved} net", mover)


def _mover(judged: Judged, staying: dict[int, Replica], name: str | None) -> Replica:
    service = judged.snapshot.spec.name
    ready = [r for r in staying.values() if r.state is ReplicaState.READY]
    if name is not None:
        found = next((r for r in ready if r.name == name or r.name.endswith(f"-{name}") or name == f"r{r.slot}"), None)
        if found is None:
            known = ", ".join(f"r{r.slot} ({r.name})" for r in ready) or "none"
            message = f"{service} has no ready replica {name!r}; ready: {known}"
            raise UsageError(message)
        return found
    if not ready:
        message = f"{service} has no ready replica to move"
        raise Conflict(message)

    def grams(replica: Replica) -> float:
        here = judged.by_id(replica.offer_id)
        return 0.0 if here is None or here.expected_grams_per_hour is None else here.expected_grams_per_hour

    return max(ready, key=lambda r: (grams(r), r.name))


def _only_region(judged: Judged, pool: list[Assessment], mover: Replica, region: str) -> list[Assessment]:
    known = sorted({a.region for a in judged.assessments})
    if region not in known:
        message = f"no offer in region {region!r}; offers exist in {', '.join(known) or 'no region'}"
        raise UnknownRegion(message)
    if region == mover.region:
        message = f"{mover.name} already stands in {region}"
        raise UsageError(message, hint="Name another region with --to.")
    return [a for a in pool if a.region == region]


def _take_down(judged: Judged, actor: str) -> Plan:
    actions = tuple(_retire(r, "the service is taken down") for r in judged.snapshot.living())
    return _finish(judged, DecisionKind.TAKE_DOWN, actor, actions, (), {})


def _kind(
    snapshot: Snapshot, launches: Sequence[Action], moves: Sequence[Action], actions: Sequence[Action]
) -> DecisionKind:
    if launches:
        return DecisionKind.REPLACE if any(a.reason.startswith("replaces") for a in launches) else DecisionKind.PLACE
    if moves:
        return DecisionKind.MOVE
    if any(a.kind is ActionKind.MOVE for a in actions):
        return DecisionKind.MOVE
    if actions:
        return DecisionKind.SCALE
    return DecisionKind.HOLD if snapshot.in_motion() else DecisionKind.STAY


def _finish(
    judged: Judged,
    kind: DecisionKind,
    actor: str,
    actions: tuple[Action, ...],
    comparisons: tuple[MoveComparison, ...],
    staying: dict[int, Replica],
) -> Plan:
    """Assemble the plan: the placement that will hold once it is applied, its totals and its explanation."""
    snapshot = judged.snapshot
    leaving = {a.replica for a in actions if a.replica}
    kept = tuple(r for _, r in sorted(staying.items()) if r.name not in leaving and r.slot < snapshot.wanted)
    offer_ids = [r.offer_id for r in kept] + [a.offer_id for a in actions if a.offer_id]
    placed = [a for a in (judged.by_id(i) for i in offer_ids) if a is not None]
    all_known = len(placed) == len(offer_ids)
    counted = tuple(replace(a, chosen=offer_ids.count(a.offer_id)) for a in judged.assessments)
    decision = Decision(
        id=_decision_id(snapshot, judged.now, kind, actions),
        service=snapshot.spec.name,
        at=judged.now,
        kind=kind,
        actor=actor,
        policy=judged.policy.name,
        summary=_summary(kind, actions, comparisons, _in_the_dark(judged, staying)),
        assessments=counted,
        comparisons=comparisons,
        clock_rate=snapshot.clock_rate,
    )
    draft = Plan(
        service=snapshot.spec.name,
        spec_digest=snapshot.spec_digest,
        actions=actions,
        keep=tuple(r.name for r in kept),
        decision=decision,
        totals=total(placed) if all_known else Totals(len(offer_ids), None, None, None),
        frontier=frontier(judged.assessments, snapshot.wanted, snapshot.spec.placement) if snapshot.wanted else (),
    )
    return replace(draft, decision=replace(decision, plan_digest=draft.digest))


def _decision_id(snapshot: Snapshot, now: Instant, kind: DecisionKind, actions: Sequence[Action]) -> str:
    parts = [snapshot.spec.name, snapshot.spec_digest, format_instant(now), kind]
    parts += [f"{a.kind}{a.slot}{a.offer_id}{a.replica}" for a in actions]
    return "d-" + hashlib.sha256("|".join(parts).encode()).hexdigest()[:10]


def _in_the_dark(judged: Judged, staying: dict[int, Replica]) -> str:
    """Say of the first replica's place whose signal is missing or too old what is wrong with it; empty without any."""
    for replica in staying.values():
        here = judged.by_id(replica.offer_id)
        verdict = next((v for v in here.verdicts if v.rule == FRESHNESS_RULE and not v.passed), None) if here else None
        if verdict is not None:
            return f"{replica.region}: {verdict.text}"
    return ""


def _summary(
    kind: DecisionKind, actions: Sequence[Action], comparisons: Sequence[MoveComparison], in_the_dark: str
) -> str:
    """One sentence for a person."""
    if kind is DecisionKind.STAY:
        if not comparisons and in_the_dark:
            return f"stay: {in_the_dark}"
        if not comparisons:
            return "stay: no other allowed place has room, or too little is known of the present one"
        best = comparisons[0]
        failed = next(v for v in best.verdicts if not v.passed)
        move = f"{best.replica} to {best.to_offer}, {best.net_grams:+.3f} g"
        return f"stay: the best move ({move}) fails {failed.rule}: {failed.text}"
    if kind is DecisionKind.HOLD:
        return "hold: a replica is starting or moving"
    parts = []
    for action in actions:
        if action.kind is ActionKind.LAUNCH:
            parts.append(f"launch r{action.slot} in {action.region} ({action.reason})")
        elif action.kind is ActionKind.MOVE:
            parts.append(f"move r{action.slot} from {action.from_region} to {action.region} ({action.reason})")
        else:
            parts.append(f"retire r{action.slot} in {action.from_region} ({action.reason})")
    return "; ".join(parts) or "nothing to do"
