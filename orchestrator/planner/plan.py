"""Decide what is to be done: ``(snapshot, policy, now) -> Plan``.

The number of replicas and what they stand on are one decision, where load leaves the number open
(:mod:`orchestrator.planner.number`). Order of business then: take down what is too much, replace what is missing, roll
out a changed workload, leave what a changed rule forbids; only when nothing of that is open, and nothing moves yet,
weigh one voluntary move. "Stay" is a decision too, and is recorded with its reasons.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf

from orchestrator.domain.certificate import Budget, Certificate, unhurried
from orchestrator.domain.decision import RESTING, Assessment, Decision, DecisionKind, MoveComparison
from orchestrator.domain.offer import variant_in
from orchestrator.domain.plan import Action, ActionKind, Plan, Totals
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.scale import Spare, WantedReplicas
from orchestrator.domain.service import Policy
from orchestrator.domain.survival import SURVIVES_RULE, Survival, left_after_a_loss, survival_of
from orchestrator.domain.time import Instant, format_instant
from orchestrator.domain.variants import variant_of, workload_of
from orchestrator.errors import Conflict, Frozen, NoFeasiblePlacement, UnknownRegion, UsageError
from orchestrator.planner.choose import sum_of_known, total
from orchestrator.planner.fallback import Pool, best_of, is_fallback, pools_for, spot_again, why_not_back
from orchestrator.planner.frontier import frontier
from orchestrator.planner.judged import STANDING_RULES, Judged, buy, judge
from orchestrator.planner.launches import Filling, fill, launch_room
from orchestrator.planner.likely import with_likelihood
from orchestrator.planner.moves import compare, stays_put, weighable
from orchestrator.planner.nearby import missing
from orchestrator.planner.number import best_number, moved_on
from orchestrator.planner.proof import of_launches, of_moves, of_target, timed
from orchestrator.planner.refusals import refuse
from orchestrator.planner.rows import rows_of
from orchestrator.planner.schedule import FREEZE, SCHEDULE_RULE, words
from orchestrator.planner.sizing.spares import spares
from orchestrator.planner.slots import is_stand_in, slots_for_good, standing_slots, wanted_slots
from orchestrator.planner.snapshot import Snapshot
from orchestrator.planner.surviving import enough_left, may_move, region_limit
from orchestrator.planner.voluntary import Weighed, move_action, weigh_moves
from orchestrator.planner.wanted import DEAD_BAND
from orchestrator.planner.worth import with_worth
from orchestrator.policy.assess import CAPACITY_RULE, FRESHNESS_RULE

LAUNCHING = frozenset({DecisionKind.PLACE, DecisionKind.REPLACE, DecisionKind.SCALE})
"""Decisions that begin with a start, which fetches the weights."""

BY_ITSELF = "policy"
"""The actor of plans that nobody asked for."""


def plan(
    snapshot: Snapshot,
    policy: Policy,
    now: Instant,
    actor: str = BY_ITSELF,
    *,
    keep_up: bool = False,
    budget: Budget = unhurried,
) -> Plan:
    """Return what to do now; an empty list of actions means that all is as it should be.

    ``keep_up``: the service has been deployed, so serving comes first. What is missing is replaced as far as there is
    room, and where only fresh signals are wanting, without them. Nobody is shown such a plan: it has no ``frontier``
    and no ``spares``.
    ``budget``: the seconds left for thinking. When they are gone, slots are filled one by one, which is as safe, and
    mostly as good, and nothing moves that need not; the certificate says so.
    Raises ``NoFeasiblePlacement`` when a wanted replica can stand nowhere, or one that has to leave has nowhere to go.
    """
    seconds = budget()
    judged = judge(snapshot, policy, now)
    occupants = snapshot.occupants()
    if snapshot.taking_down:
        return _take_down(judged, actor)
    numbered = best_number(judged, budget, keep_up=keep_up)
    judged, gone = numbered.judged, numbered.exchanged
    snapshot = judged.snapshot
    slots = wanted_slots(snapshot)
    alone_near = _alone_near(judged, slots, occupants)
    slots |= {slot: replica.market for slot, (replica, _) in alone_near.items()}
    surplus = _surplus(snapshot, slots, occupants)
    staying = {slot: r for slot, r in occupants.items() if slot in slots and r != gone}
    # What a person confirms is shown whole; what happens by itself is held to a pace.
    is_asked = actor != BY_ITSELF
    room = inf if is_asked else launch_room(snapshot)
    filling = fill(judged, slots, staying, keep_up=keep_up, most=room, budget=budget, must_survive=is_asked)
    retire = [_retire(r, _why_it_leaves(r, snapshot)) for r in _may_leave(surplus, snapshot)]
    if filling.refusal is not None and not (keep_up and (filling.launches or retire)):
        raise filling.refusal
    few = len(staying) < snapshot.least
    may_move = room > 0 and not few and not filling.launches
    whole = not surplus and len(staying) == len(slots)
    moves = _forced_moves(judged, slots, staying, must_fit=whole) if may_move else []
    moves = moves or (_spreading_moves(judged, slots, staying) if may_move else [])
    actions = (*moved_on(filling.launches, judged, gone), *moves, *retire)
    weighed = Weighed()
    if not actions and may_move:
        weighed = weigh_moves(judged, staying, budget)
        actions = () if weighed.best is None else (move_action(judged, weighed.best),)
    certificate = timed(_proof(judged, staying, filling, moves, weighed), seconds, budget)
    kind = DecisionKind.MOVE if gone is not None else _kind(snapshot, filling.kinds, moves, actions)
    notes = (
        *_survival_notes(snapshot),
        *filling.notes,
        *_fallback_notes(judged, slots, staying, actions),
        *_cover_notes(judged, slots, actions, alone_near),
    )
    late = "" if weighed.in_time else "the time for thinking was up before every move was weighed"
    return _finish(
        judged,
        kind,
        actor,
        actions,
        weighed.comparisons,
        slots,
        notes,
        certificate,
        to_show=not keep_up,
        late=late,
        fetches=bool(moves) or gone is not None,
        exchanged="" if gone is None else gone.name,
    )


def plan_beside(
    snapshot: Snapshot, size: WantedReplicas, policy: Policy, now: Instant, budget: Budget = unhurried
) -> Plan:
    """Return what load wants launched beside a request that is under way, and nothing else; why not, in the summary.

    ``snapshot``: at the number that the request goes by, with all of its slots held. ``size``: the higher one of load.
    Nothing is refused: what has no room waits. The number in force stays as it is.
    """
    spec, staying = snapshot.spec, snapshot.occupants()
    higher = replace(spec, scaling=replace(spec.scaling, min_replicas=size.replicas))
    judged = judge(replace(snapshot, spec=higher, sizing=size), policy, now)
    # Of stand-ins for spot there are enough: they are for those that the request asks for.
    asked = standing_slots(judge(snapshot, policy, now).snapshot.spec)
    open_slots = range(asked, standing_slots(judged.snapshot.spec))
    slots = {slot: replica.market for slot, replica in staying.items()}
    slots |= {slot: m for slot, m in wanted_slots(judged.snapshot).items() if slot in open_slots and slot not in slots}
    most = min(launch_room(snapshot), max(0, size.replicas - snapshot.wanted - len(snapshot.company())))
    filling = fill(judged, slots, staying, keep_up=True, most=most, budget=budget)
    kind = DecisionKind.SCALE if filling.launches else DecisionKind.HOLD
    certificate = of_launches(judged, filling)
    made = _finish(judged, kind, BY_ITSELF, filling.launches, (), slots, filling.notes, certificate, to_show=False)
    in_force = snapshot.sizing or size
    because = f"as the request that is under way has it; load wants {size.words}"
    told = replace(in_force, needed=size.needed, because=because, figures=size.figures)
    waits = "" if filling.launches else "; ".join(filling.notes) or "nothing more can be launched now"
    return replace(made, decision=replace(made.decision, sizing=told, summary=waits or made.decision.summary))


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
    Raises ``UsageError``, ``UnknownRegion``, ``NoFeasiblePlacement``, ``Frozen`` during a freeze of the schedule, or
    ``Conflict`` while another change is under way.
    """
    judged = judge(snapshot, policy, now)
    snapshot = judged.snapshot
    staying = snapshot.occupants()
    if snapshot.taking_down:
        message = f"{snapshot.spec.name} is being taken down"
        raise Conflict(message)
    if snapshot.in_motion():
        message = f"{snapshot.spec.name}: a replica is already starting or moving"
        raise Conflict(message)
    timetable = snapshot.timetable
    if timetable is not None and timetable.closure is not None and timetable.closure.kind == FREEZE:
        message = f"{snapshot.spec.name} does not move: {words(timetable)}"
        raise Frozen(message)
    mover = _mover(judged, staying, replica)
    others = [r.region for r in staying.values() if r.name != mover.name]
    pool = [a for a in judged.assessments if a.region != mover.region]
    if to_region is not None:
        pool = _only_region(judged, pool, mover, to_region)
    same_market = [a for a in pool if a.market is mover.market]
    open_to_it = [a for a in same_market if may_move(snapshot, others, mover.region, a.region)]
    target = best_of(judged, _nearest_first(judged, mover, [open_to_it]), others)
    if target is None:
        where = to_region or "any other region"
        full = f"{region_limit(snapshot)} reached"
        reasons = "; ".join(f"{a.region}: {a.excluded_because or full}" for a in pool)
        message = f"{mover.name} cannot move to {where}: {reasons or 'nothing is sold there'}"
        raise NoFeasiblePlacement(message)
    here, there = judged.side(mover.offer_id), judged.side(target.offer_id)
    comparisons: tuple[MoveComparison, ...] = ()
    if here is not None and there is not None and weighable(here, now):
        comparison = compare(mover, here, there, snapshot, policy, now, judged.leaves(mover, target.offer_id))
        comparisons = (with_likelihood(comparison, here, there, now, snapshot.clock_rate),)
    action = buy(ActionKind.MOVE, mover.slot, target, reason, mover)
    slots = wanted_slots(snapshot)
    notes = tuple(_cover_notes(judged, slots, (action,), {}))
    certificate = of_target(judged, target, pool, others, to_region or "")
    return _finish(judged, DecisionKind.MOVE, actor, (action,), comparisons, slots, notes, certificate, fetches=True)


# ── parts of a plan ──────────────────────────────────────────────────────────────────────────────────


def _alone_near(
    judged: Judged, slots: Mapping[int, Market], occupants: Mapping[int, Replica]
) -> dict[int, tuple[Replica, str]]:
    """Return who is more than wanted and alone keeps the promise to clients of an area, by slot, and to whom.

    It stays: load decides on the number, and what is promised to whom does as well. So does who is needed near to
    clients for their part of the load, at a little more of it than there is: nobody goes to be bought again. Whoever
    serves comes first, then whoever starts: let go, it would be launched again. Where nobody is wanted, nobody stays:
    while a service sleeps, or batch work waits, nothing is promised to anyone.
    """
    if not slots:
        return {}
    found: dict[int, tuple[Replica, str]] = {}
    nearby = None if judged.nearby is None else judged.nearby.busier(DEAD_BAND)
    staying = [r.offer_id for slot, r in occupants.items() if slot in slots]
    above = ((slot, replica) for slot, replica in occupants.items() if slot not in slots)
    for slot, replica in sorted(above, key=lambda it: (it[1].state is not ReplicaState.READY, it[0])):
        both = [*staying, replica.offer_id]
        areas = judged.promised.left(staying) - judged.promised.left(both)
        lack = None if nearby is None or areas or not staying else nearby.lack(staying)
        helps = nearby is not None and lack is not None and missing(nearby.lack(both)) < lack.missing
        if areas or helps:
            whom, others = (sorted(areas), "nobody else keeps") if lack is None else (lack.areas, "too few others keep")
            found[slot] = (replica, f"{', '.join(whom)}, to whom {others} slo.ttft_p95")
            staying = both
    return found


def _cover_notes(
    judged: Judged,
    slots: Mapping[int, Market],
    actions: Sequence[Action],
    alone_near: Mapping[int, tuple[Replica, str]],
) -> Iterator[str]:
    """Say to clients of which areas nobody will keep the promise of the first token, and who stays for whose sake."""
    leaving = {a.replica for a in actions if a.replica}
    kept = [r for slot, r in judged.snapshot.occupants().items() if slot in slots and r.name not in leaving]
    offers = [*(r.offer_id for r in kept), *(a.offer_id for a in actions if a.offer_id)]
    left, lack = judged.promised.left(offers), judged.lack(offers)
    if left and slots:
        yield f"nobody keeps slo.ttft_p95 to clients in {', '.join(sorted(left))}"
    if lack is not None and slots:
        yield lack.words
    for slot, (_, whom) in alone_near.items():
        yield f"r{slot} stays for clients in {whom}"


def _surplus(snapshot: Snapshot, slots: Collection[int], occupants: dict[int, Replica]) -> list[Replica]:
    """Replicas beyond the wanted slots, and second ones in a slot that are not being replaced by the first."""
    return [
        r
        for r in snapshot.living()
        if r.slot not in slots or r.name not in {occupants[r.slot].name, occupants[r.slot].replaces}
    ]


def _may_leave(surplus: Sequence[Replica], snapshot: Snapshot) -> list[Replica]:
    """Those that do not serve; all of them once enough of what stays serves: what starts dies before what serves."""
    ready = [r for r in snapshot.living() if r.state is ReplicaState.READY]
    staying = {r.slot for r in ready if r not in surplus}
    enough = len(staying) >= snapshot.wanted
    if snapshot.surviving is not None and enough:
        kept, gone = ([r.region for r in ready if (r in surplus) is leaves] for leaves in (False, True))
        waits = any(r.state is not ReplicaState.READY for r in snapshot.living() if r not in surplus)
        enough = enough_left(kept, gone, snapshot.wanted, others_come=waits)
    return [r for r in surplus if enough or r.state is not ReplicaState.READY]


def _why_it_leaves(replica: Replica, snapshot: Snapshot) -> str:
    if is_stand_in(snapshot.spec, replica):
        return "stood in until spot was ready"
    return "more than wanted" if snapshot.sizing is None else f"more than wanted: {snapshot.sizing.words}"


def _retire(replica: Replica, reason: str) -> Action:
    return Action(ActionKind.RETIRE, replica.slot, reason, replica=replica.name, from_region=replica.region)


def _forced_moves(
    judged: Judged, slots: Mapping[int, Market], staying: dict[int, Replica], *, must_fit: bool
) -> list[Action]:
    """Move one replica that may not stay as it is, else one that can go back from on demand to spot; one at a time.

    With ``must_fit``, raises ``NoFeasiblePlacement`` when one has to leave and has nowhere to go, unless that passes by
    itself.
    """
    if judged.snapshot.in_motion():
        return []
    stuck = 0
    # Who is beside a request is moved once that is closed: a start that fails in its place would count against it.
    bound = [(slot, r) for slot, r in sorted(staying.items()) if r.name not in judged.snapshot.beside]
    for slot, replica in bound:
        reason = _why_it_has_to_move(judged, slots[slot], replica)
        if not reason:
            continue
        others = [r for r in staying.values() if r.name != replica.name]
        market = replica.market if is_fallback(slots[slot], replica) else slots[slot]
        spot_regions = {r.region for r in others if r.market is Market.SPOT}
        where = pools_for(judged, slot, market, judged.assessments, spot_regions, keep_up=False, holds=True)
        target = spot_again(judged, slot, replica, others) if is_fallback(slots[slot], replica) else None
        target = target or best_of(judged, _nearest_first(judged, replica, where), [r.region for r in others])
        if target is not None:
            return [buy(ActionKind.MOVE, slot, target, reason, replica)]
        stuck += 1
    backing_off = any([v.rule for v in a.verdicts if not v.passed] == [CAPACITY_RULE] for a in judged.assessments)
    if stuck and must_fit and not backing_off:
        raise refuse(judged, stuck, 0)
    if _waits(judged):
        return []  # what is on demand serves: going back to spot is voluntary
    for slot, replica in bound:
        others = [r for r in staying.values() if r.name != replica.name]
        target = spot_again(judged, slot, replica, others) if is_fallback(slots[slot], replica) else None
        if target is not None:
            return [buy(ActionKind.MOVE, slot, target, "spot is to be had", replica)]
    return []


def _spreading_moves(judged: Judged, slots: Mapping[int, Market], staying: Mapping[int, Replica]) -> list[Action]:
    """Move one replica out of a region that holds more than ``slo.survives`` allows.

    At once where too few would be left by its loss, else when any move may begin: then it takes fewer replicas.
    """
    snapshot, made = judged.snapshot, judged.snapshot.surviving
    if made is None or not made.is_possible or snapshot.in_motion():
        return []
    counts = Counter(r.region for r in staying.values())
    is_kept = left_after_a_loss(counts.elements()) >= snapshot.wanted
    if is_kept and (_waits(judged) or not snapshot.spec.migration.enabled):
        return []
    movers = [r for r in staying.values() if counts[r.region] > made.spares and r.name not in snapshot.beside]
    for mover in sorted(movers, key=lambda r: (-counts[r.region], -r.slot)):
        if mover.state is not ReplicaState.READY or (is_kept and stays_put(mover, snapshot, judged.now)):
            continue
        others = [r for r in staying.values() if r.name != mover.name]
        elsewhere = [a for a in judged.assessments if a.region != mover.region]
        where: list[Pool] = [[a for a in elsewhere if a.market is mover.market]]
        if not is_kept:
            # Not for less, so on demand as well, where that stands in for spot that is away.
            spot_regions = {r.region for r in others if r.market is Market.SPOT}
            market = slots[mover.slot]
            where += pools_for(judged, mover.slot, market, elsewhere, spot_regions, keep_up=True, holds=True)
        target = best_of(judged, _nearest_first(judged, mover, where), [r.region for r in others])
        if target is not None:
            number = counts[mover.region]
            reason = f"{SURVIVES_RULE}: {number} are in {mover.region}, and at most {made.spares} may be"
            return [buy(ActionKind.MOVE, mover.slot, target, reason, mover)]
    return []


def _survival_notes(snapshot: Snapshot) -> Iterator[str]:
    """Say why the promise to survive the loss of a region cannot be kept."""
    if snapshot.surviving is not None and not snapshot.surviving.is_possible:
        yield snapshot.surviving.words


def _survival(
    snapshot: Snapshot, regions: Sequence[str], priced: Sequence[Spare], slots: Sequence[int]
) -> Survival | None:
    """Return how far the plan keeps the promise to survive, and what the spares in these slots add.

    ``regions``: of all replicas, one entry for each. ``priced``: what each replica after the first adds.
    """
    made = snapshot.surviving
    if made is None:
        return None
    found, own = survival_of(regions, snapshot.wanted, made.words), [s for s in priced if s.slot in slots]
    if not slots or len(own) < len(slots):
        return found
    usd, grams = sum_of_known([s.usd_per_hour for s in own]), sum_of_known([s.grams_per_hour for s in own])
    return replace(found, usd_per_hour=usd, grams_per_hour=grams)


def _nearest_first(judged: Judged, replica: Replica, pools: Sequence[Pool]) -> list[Pool]:
    """Put those offers of each pool first that leave no area of the clients without somebody near."""
    if not judged.promised.areas:
        return list(pools)
    return [p for pool in pools for p in ([a for a in pool if not judged.leaves(replica, a.offer_id)], pool)]


def _waits(judged: Judged) -> str:
    """Say what voluntary moves wait for by ``migration.schedule``; empty when they need not."""
    timetable = judged.snapshot.timetable
    return "" if timetable is None or timetable.lets_move else words(timetable)


def _why_it_has_to_move(judged: Judged, market: Market, replica: Replica) -> str:
    """Return the reason; empty when it may stay."""
    here = judged.by_id(replica.offer_id)
    spec, variant = judged.snapshot.spec, variant_in(replica.offer_id)
    if here is None and variant_of(spec, variant) is None and variant:
        return f"{variant} is no variant of the file any more"
    if here is None:
        return "no longer sold"
    if any(not v.passed and v.rule in STANDING_RULES for v in here.verdicts):
        return here.excluded_because
    if market is Market.ON_DEMAND and replica.market is Market.SPOT:
        return "base_ondemand_fallback_replicas asks for on demand here"
    wanted = workload_of(spec, variant) if variant else judged.snapshot.workload_digest
    return "new workload" if replica.workload_digest != wanted else ""


def _fallback_notes(
    judged: Judged, slots: Mapping[int, Market], staying: Mapping[int, Replica], actions: Sequence[Action]
) -> list[str]:
    """Say which replicas stand on demand in the place of spot, and for how long, where nothing is done about it."""
    moved = {a.replica for a in actions}
    waits = _waits(judged)
    at_last = f"for now: {waits}" if waits else "until spot is to be had for less"
    return [
        f"r{slot} stays on demand {why_not_back(judged, slot) or at_last}"
        for slot, replica in sorted(staying.items())
        if is_fallback(slots[slot], replica) and replica.name not in moved
    ]


def _proof(
    judged: Judged, staying: Mapping[int, Replica], filling: Filling, moves: Sequence[Action], weighed: Weighed
) -> Certificate | None:
    if filling.launches:
        return of_launches(judged, filling)
    target = judged.by_id(moves[0].offer_id) if moves else None
    if target is None:
        return of_moves(judged, weighed, weighed.best)
    return of_target(
        judged, target, judged.assessments, [r.region for r in staying.values() if r.name != moves[0].replica]
    )


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
        hint = "Name another region with --to."
        if judged.snapshot.spec.variants:
            hint += " Which variant runs there follows from model.variants and model.quality: change the file."
        raise UsageError(message, hint=hint)
    return [a for a in pool if a.region == region]


def _take_down(judged: Judged, actor: str) -> Plan:
    actions = tuple(_retire(r, "the service is taken down") for r in judged.snapshot.living())
    return _finish(judged, DecisionKind.TAKE_DOWN, actor, actions, (), {})


def _kind(
    snapshot: Snapshot, launches: Sequence[DecisionKind], moves: Sequence[Action], actions: Sequence[Action]
) -> DecisionKind:
    if DecisionKind.REPLACE in launches:
        return DecisionKind.REPLACE
    if launches:
        return DecisionKind.PLACE if DecisionKind.PLACE in launches else DecisionKind.SCALE
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
    slots: Mapping[int, Market],
    notes: Sequence[str] = (),
    certificate: Certificate | None = None,
    *,
    to_show: bool = True,
    late: str = "",
    fetches: bool = False,
    exchanged: str = "",
) -> Plan:
    """Assemble the plan: the placement that will hold once it is applied, its totals and its explanation.

    ``late``: why no move was weighed, where the time was up.
    ``fetches``: the place of a move was chosen as that of a launch is, with the way of the weights.
    ``to_show``: a person will see it, so both ends of the trade-off and the spares are worked out as well.
    """
    snapshot = judged.snapshot
    staying = {slot: r for slot, r in sorted(snapshot.occupants().items()) if slot in slots}
    leaving = {a.replica for a in actions if a.replica}
    kept = tuple(r for r in staying.values() if r.name not in leaving)
    for_good = slots_for_good(snapshot)
    standing = [market for slot, market in slots.items() if slot in for_good]
    by_slot = {r.slot: r.offer_id for r in kept} | {a.slot: a.offer_id for a in actions if a.offer_id}
    offer_ids = [r.offer_id for r in kept] + [a.offer_id for a in actions if a.offer_id]
    placed = [a for a in (judged.by_id(i) for i in offer_ids) if a is not None]
    all_known = len(placed) == len(offer_ids)
    chosen = Counter(offer_ids)
    weighed = judged.assessments if fetches or kind in LAUNCHING else [_running(a) for a in judged.assessments]
    counted = tuple(replace(a, chosen=n) if (n := chosen[a.offer_id]) != a.chosen else a for a in weighed)
    decision = Decision(
        id=_decision_id(snapshot, judged.now, kind, actions),
        service=snapshot.spec.name,
        at=judged.now,
        kind=kind,
        actor=actor,
        policy=judged.policy.name,
        summary="; ".join((_summary(kind, actions, comparisons, late or _in_the_dark(judged, staying)), *notes)),
        assessments=counted,
        comparisons=tuple(with_worth(c, judged) for c in comparisons),
        clock_rate=snapshot.clock_rate,
        sizing=None if snapshot.taking_down else snapshot.sizing,
        certificate=certificate,
        origins=rows_of(judged, offer_ids) if to_show or kind not in RESTING else None,
        exchanged=exchanged,
    )
    more = spares(judged, by_slot) if to_show else ()
    regions = [r.region for r in kept] + [a.region for a in actions if a.offer_id]
    draft = Plan(
        service=snapshot.spec.name,
        spec_digest=snapshot.spec_digest,
        actions=actions,
        keep=tuple(r.name for r in kept),
        decision=decision,
        totals=total(placed) if all_known else Totals(len(offer_ids), None, None, None),
        frontier=frontier(judged, standing, [by_slot[s] for s in sorted(by_slot) if s in for_good])
        if standing and to_show
        else (),
        spares=more,
        survival=_survival(snapshot, regions, more, sorted(by_slot)[snapshot.wanted :]),
    )
    return replace(draft, decision=replace(decision, plan_digest=draft.digest))


def _running(assessment: Assessment) -> Assessment:
    """Return it without what a launch would fetch: where nobody chose a place by that, it decides nothing."""
    return assessment if assessment.fetch is None else replace(assessment, fetch=None)


def _decision_id(snapshot: Snapshot, now: Instant, kind: DecisionKind, actions: Sequence[Action]) -> str:
    parts = [snapshot.spec.name, snapshot.spec_digest, format_instant(now), kind]
    parts += [f"{a.kind}{a.slot}{a.offer_id}{a.replica}" for a in actions]
    return "d-" + hashlib.sha256("|".join(parts).encode()).hexdigest()[:10]


def _in_the_dark(judged: Judged, staying: dict[int, Replica]) -> str:
    """Say why nothing can be compared: nobody is there, or the first place's signal is missing or too old; or empty."""
    sizing = judged.snapshot.sizing
    if sizing is not None and sizing.replicas == 0:
        return f"asleep, {sizing.words}"
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
        if failed.rule == SCHEDULE_RULE:
            return f"stay: the best move ({move}) waits: {failed.text}"
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
