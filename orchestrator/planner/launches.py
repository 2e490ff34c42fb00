"""Fill the slots that are empty, and say of those that stay empty why, and when they are tried again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

from orchestrator.domain.certificate import Budget, unhurried
from orchestrator.domain.decision import Assessment, DecisionKind
from orchestrator.domain.plan import Action, ActionKind
from orchestrator.domain.price import Market
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import Policy, SpotPlacer
from orchestrator.errors import NoFeasiblePlacement
from orchestrator.planner.advice.least import Fits
from orchestrator.planner.cover import MOST_WAYS, Areas, Party, groups, ways
from orchestrator.planner.enough import enough
from orchestrator.planner.fallback import Pool, best_of, pools_for
from orchestrator.planner.jointly import Joint, Room, costs, jointly, preference
from orchestrator.planner.judged import Judged, buy, judge
from orchestrator.planner.refusals import cannot_survive, is_passing, no_room, no_survival, too_far, waits
from orchestrator.planner.slots import standing_slots, wanted_slots
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.assess import FRESHNESS_RULE, yardstick_of, yardsticks

MOST_LAUNCHES_PER_MINUTE = 10
"""Of all services together, in physical time: a storm of losses must not become a storm of purchases."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What is launched, what stays empty in words, and the error where too few replicas would serve.

    ``kinds``: of each launch, what kind of decision it would be by itself.
    ``chosen``: the offers of those launches that signals were there for. ``objective``, ``greedy`` and ``least``: what
    they cost per hour, what they would if slots were filled one by one, and what no choice costs less than; ``None``
    where that is unknown. ``in_time``: the optimiser came to its end.
    """

    launches: tuple[Action, ...] = ()
    kinds: tuple[DecisionKind, ...] = ()
    notes: tuple[str, ...] = ()
    refusal: NoFeasiblePlacement | None = None
    chosen: tuple[Assessment, ...] = ()
    objective: float | None = None
    greedy: float | None = None
    least: float | None = None
    in_time: bool = True


def launch_room(snapshot: Snapshot) -> int:
    """Return how many replicas may still be asked for in this minute without anybody's word."""
    return max(0, MOST_LAUNCHES_PER_MINUTE - snapshot.recent_launches)


def fill(
    judged: Judged,
    slots: Mapping[int, Market],
    staying: Mapping[int, Replica],
    *,
    keep_up: bool,
    most: float = inf,
    budget: Budget = unhurried,
    must_reach: bool = True,
    must_survive: bool = False,
) -> Filling:
    """Choose an offer for every slot that nobody holds; those on demand first, because they are what serving rests on.

    Slot by slot first; that stays where the optimiser, which looks at all of them together, finds nothing better within
    the budget. With ``keep_up`` what cannot be placed for want of fresh signals alone is placed without them. ``most``:
    how many launches there may be; the rest follows later and is no error. ``must_reach``: what leaves clients without
    enough near to them is refused, unless ``keep_up``. ``must_survive``: so is what breaks ``slo.survives``, unless a
    region of a service that stands is only away for a while. A refusal comes with what could be launched: it is the
    caller's to weigh them.
    """
    missing = _in_order(slots, staying)
    if not missing:
        passes = not must_survive or is_passing(judged)
        return Filling(refusal=None if passes else survival_refusal(judged, is_short=False))
    crew = _Crew(judged, slots, staying, keep_up=keep_up, most=most)
    joint, greedy = crew.launch_all(missing, budget)
    launched = {a.slot for a in crew.launches}
    unplaced = [slot for slot in missing if slot not in launched]
    if keep_up and unplaced:
        unplaced = list(crew.launch_blindly(unplaced))
    put_off = unplaced if len(crew.launches) >= most else []
    unplaced = [] if put_off else unplaced
    wanted = judged.snapshot.least
    behind = {slot: left for slot in unplaced if (left := crew.in_the_way(slot)) is not None}
    serving = len(staying) + len(crew.launches) + len(put_off) + len(behind)
    notes = (
        [_later(put_off)] if put_off else [waits(judged, slot, slots[slot]) for slot in unplaced if slot not in behind]
    )
    notes += [f"r{slot} waits until r{left.slot} has left {left.region}" for slot, left in behind.items()]
    refusal = None
    # Where only spares have no room, the wanted ones would be refused without them, too.
    all_wanted = serving >= judged.snapshot.wanted and not put_off and not behind
    if must_reach and all_wanted and not keep_up:
        offers = [*(r.offer_id for r in staying.values()), *(a.offer_id for a in crew.launches)]
        refusal = too_far(judged, len(slots), offers, _all_fit(judged, keep_up=False))
    spare_waits = len(unplaced) > len(behind) and serving >= wanted
    if must_survive and not is_passing(judged):
        refusal = refusal or survival_refusal(judged, is_short=spare_waits)
    if len(unplaced) > len(behind) and serving < wanted:
        markets = {slots[slot] for slot in unplaced if slot not in behind}
        fits = _all_fit(judged, keep_up=keep_up)
        refusal = no_room(judged, unplaced, wanted - len(staying), len(crew.launches), markets, fits)
    chosen = tuple(a for a in joint.chosen if a is not None)
    objective = judged.policy.objective
    return Filling(
        launches=tuple(crew.launches),
        kinds=tuple(crew.kind(a.slot) for a in crew.launches),
        notes=tuple(notes),
        refusal=refusal,
        chosen=chosen,
        objective=costs(chosen, objective),
        greedy=costs(greedy, objective) if len(greedy) == len(chosen) else None,
        least=joint.least,
        in_time=joint.in_time,
    )


class _Crew:
    """The launches of one plan, taken one by one: each takes room from the next."""

    def __init__(
        self,
        judged: Judged,
        slots: Mapping[int, Market],
        staying: Mapping[int, Replica],
        *,
        keep_up: bool,
        most: float,
    ) -> None:
        self.launches: list[Action] = []
        self.judged = judged
        self._slots = slots
        self._keep_up = keep_up
        self._most = most
        self._lost = lost_in(judged.snapshot)
        self._held = [r.offer_id for r in staying.values()]
        self._leaving = _being_left(judged.snapshot, staying)
        standing = [*staying.values(), *self._leaving]
        self._taken = [r.region for r in standing]
        self._spot_regions = {r.region for r in standing if r.market is Market.SPOT}

    def launch_all(self, slots: Sequence[int], budget: Budget) -> tuple[Joint, list[Assessment]]:
        """Launch the best offers into all of the slots together; return them, and those that one by one would get."""
        if not self._has_room():
            return Joint((None,) * len(slots), is_better=False, least=None), []
        snapshot = self.judged.snapshot
        room = Room(
            snapshot.spec.placement,
            tuple(self._taken),
            frozenset(self._spot_regions),
            spread=snapshot.spec.scaling.spot_placer is SpotPlacer.DYNAMIC_FALLBACK,
        )
        joint, picked = self._seated(slots, room, {}, budget)
        if self._is_short(joint) and (found := self._covering(slots, room, joint, budget)) is not None:
            joint, picked = found
        if self.judged.lack([*self._held, *(a.offer_id for a in joint.chosen if a is not None)]) is not None:
            wanted = [self._pools(slot, self.judged.assessments) for slot in slots]
            joint = enough(self.judged, self._held, wanted, joint, room, budget)
        for slot, target in zip(slots, joint.chosen, strict=True):
            if target is not None:
                self._take(slot, target)
        return joint, [a for a in picked if a is not None]

    def _has_room(self) -> bool:
        """Whether any allowed offer has a seat left: a service that waits for one asks at every look."""
        limit, taken = self.judged.snapshot.spec.placement.max_per_region, Counter(self._taken)
        return any(a.allowed and (limit is None or taken[a.region] < limit) for a in self.judged.assessments)

    def _seated(
        self, slots: Sequence[int], room: Room, near_to: Mapping[int, Areas], budget: Budget
    ) -> tuple[Joint, list[Assessment | None]]:
        """Return the best offers for the slots together, and what each would take by itself after those before it.

        ``near_to``: slots whose offer has to be near to these areas. Nothing is taken yet.
        """
        wanted = [self._near(self._pools(slot, self.judged.assessments), near_to.get(slot)) for slot in slots]
        picked = [self._picked(slot, near_to.get(slot)) for slot in slots]
        joint = jointly(wanted, picked, room, self.judged.policy.objective, budget, self._most)
        self.launches, self._taken, self._spot_regions = [], list(room.occupied), set(room.spot_regions)
        if joint.is_better and self._is_spread_better(slots, picked, joint.chosen):
            joint = replace(joint, chosen=tuple(picked), is_better=False)
        return joint, picked

    def _is_short(self, joint: Joint) -> bool:
        """Whether clients of some area would have nobody who keeps the promise to them."""
        return bool(self._left(joint))

    def _left(self, joint: Joint) -> Areas:
        return self.judged.promised.left([*self._held, *(a.offer_id for a in joint.chosen if a is not None)])

    def _covering(
        self, slots: Sequence[int], room: Room, plain: Joint, budget: Budget
    ) -> tuple[Joint, list[Assessment | None]] | None:
        """Return the best offers that serve as many, and leave as few clients as can be without somebody near to them.

        ``None`` where nothing is nearer than ``plain``, which is what was best without that.
        """
        promised, objective = self.judged.promised, self.judged.policy.objective
        wanted = [self._pools(slot, self.judged.assessments) for slot in slots]
        parties = _parties(slots, wanted, promised.near)
        open_to = frozenset().union(*(near for party in parties for near in party.near))
        needed = promised.left(self._held) & open_to
        before, served = self._left(plain), sum(a is not None for a in plain.chosen)
        for group in groups(needed, promised.areas) if needed else ():
            best: tuple[object, Joint, list[Assessment | None]] | None = None
            least: list[float | None] = []
            tried = list(islice(ways(group, parties), MOST_WAYS + 1))
            for near_to in tried[:MOST_WAYS]:
                if budget() <= 0:
                    return None if best is None else (replace(best[1], least=plain.least, in_time=False), best[2])
                joint, picked = self._seated(slots, room, near_to, budget)
                if sum(a is not None for a in joint.chosen) < served or self._left(joint) & group:
                    continue
                least.append(joint.least)
                order = preference(wanted, joint.chosen, room, objective)
                if best is None or order < best[0]:  # type: ignore[operator]  # both are what ``preference`` returns
                    best = (order, joint, picked)
            if best is not None and self._weight(self._left(best[1])) < self._weight(before):
                known = [k for k in least if k is not None]
                whole = len(tried) <= MOST_WAYS and len(known) == len(least)
                return replace(best[1], least=min(known) if whole else plain.least), best[2]
        return None

    def _weight(self, areas: Areas) -> float:
        return sum(self.judged.promised.areas[a] for a in sorted(areas))

    def _near(self, pools: list[Pool], areas: Areas | None) -> list[Pool]:
        if areas is None:
            return pools
        near = self.judged.promised.near
        return [[a for a in pool if areas <= near.get(a.offer_id, frozenset())] for pool in pools]

    def _is_spread_better(
        self, slots: Sequence[int], picked: Sequence[Assessment | None], chosen: Sequence[Assessment | None]
    ) -> bool:
        """Whether as many slots come from earlier pools when each of them sees where those before it went.

        The optimiser knows of regions that are taken, not of those that fall together.
        """
        as_many = sum(a is not None for a in picked) == sum(a is not None for a in chosen)
        return as_many and self._lateness(slots, picked) < self._lateness(slots, chosen)

    def _lateness(self, slots: Sequence[int], chosen: Sequence[Assessment | None]) -> int:
        before, late = set(self._spot_regions), 0
        for slot, target in zip(slots, chosen, strict=True):
            if target is not None:
                pools = self._pools(slot, self.judged.assessments)
                late += next((i for i, pool in enumerate(pools) if target in pool), len(pools))
                if target.market is Market.SPOT:
                    self._spot_regions.add(target.region)
        self._spot_regions = before
        return late

    def _picked(self, slot: int, near_to: Areas | None) -> Assessment | None:
        launched = self.launch(slot, self.judged.assessments, near_to=near_to)
        return self.judged.by_id(self.launches[-1].offer_id) if launched else None

    def launch(
        self,
        slot: int,
        among: Sequence[Assessment],
        *,
        first: str = "",
        note: str = "",
        near_to: Areas | None = None,
    ) -> bool:
        """Launch the best of the offers into a slot; say whether there was one, and room for it.

        ``first``: the offer that comes before better ones of its pool. ``near_to``: areas that it has to be near to.
        """
        if len(self.launches) >= self._most:
            return False
        pools = self._near(self._pools(slot, among), near_to)
        if first:
            pools = [p for pool in pools for p in ([a for a in pool if a.offer_id == first], pool)]
        target = best_of(self.judged, pools, self._taken)
        if target is None:
            return False
        self._take(slot, target, note)
        return True

    def in_the_way(self, slot: int) -> Replica | None:
        """Return who is being replaced in a region that would have room for the slot without them, if that is so."""
        taken = Counter(self._taken)
        pools = self._pools(slot, self.judged.assessments)
        for replica in self._leaving:
            if best_of(self.judged, pools, [*(taken - Counter([replica.region])).elements()]) is not None:
                return replica
        return None

    def _take(self, slot: int, target: Assessment, note: str = "") -> None:
        self.launches.append(buy(ActionKind.LAUNCH, slot, target, self._reason(slot, target) + note))
        self._taken.append(target.region)
        if target.market is Market.SPOT:
            self._spot_regions.add(target.region)

    def launch_blindly(self, slots: Sequence[int]) -> Iterator[int]:
        """Replace what was lost although no fresh signal says where; yield the slots for which that does not help.

        The first replica of a service that was scaled to zero comes as well: somebody waits for it. So does what load
        wants, in regions where others serve already: nothing goes to a place that is only thought to be clean. Where it
        stood, else by the last weeks, else by price. Every other rule holds, the bound on extra cost among these offers
        included.
        """
        snapshot, dark, lost = self.judged.snapshot, _without_freshness(self.judged), self._lost
        if not dark:
            yield from slots
            return
        wakes = _wakes(snapshot)
        serving = {r.region for r in snapshot.living() if r.state is ReplicaState.READY}
        for slot in slots:
            is_stand_in = slot >= standing_slots(snapshot.spec)
            is_needed = slot in lost or wakes or (is_stand_in and bool(lost))
            by_load = not is_stand_in and _is_wanted_by_load(snapshot, slot)
            among = dark if is_needed else [a for a in dark if by_load and a.region in serving]
            where_it_stood = lost[slot].offer_id if slot in lost else ""
            if not self.launch(slot, among, first=where_it_stood, note="; no fresh signal says where"):
                yield slot

    def _pools(self, slot: int, among: Pool) -> list[Pool]:
        return pools_for(self.judged, slot, self._slots[slot], among, self._spot_regions, keep_up=self._keep_up)

    def kind(self, slot: int) -> DecisionKind:
        """Return what kind of decision it is to fill that slot."""
        snapshot = self.judged.snapshot
        if slot >= standing_slots(snapshot.spec):
            return DecisionKind.PLACE
        if slot in self._lost:
            return DecisionKind.REPLACE
        return DecisionKind.SCALE if _is_wanted_by_load(snapshot, slot) else DecisionKind.PLACE

    def _reason(self, slot: int, target: Assessment) -> str:
        if slot >= standing_slots(self.judged.snapshot.spec):
            return "stands in until spot is ready"
        reason = f"replaces {self._lost[slot].name}" if slot in self._lost else wanted_by(self.judged.snapshot, slot)
        falls_back = self._slots[slot] is Market.SPOT and target.market is Market.ON_DEMAND
        return f"{reason} on demand" if falls_back else reason


def _parties(slots: Sequence[int], wanted: Sequence[Sequence[Pool]], near: Mapping[str, Areas]) -> list[Party]:
    """Put slots together that look among the same offers, with what any of those that are allowed is near to."""
    alike: dict[tuple[frozenset[str], ...], list[int]] = {}
    for slot, pools in zip(slots, wanted, strict=True):
        alike.setdefault(tuple(frozenset(a.offer_id for a in pool if a.allowed) for pool in pools), []).append(slot)
    return [
        Party(tuple(own), frozenset(near.get(i, frozenset()) for pool in pools for i in pool))
        for pools, own in alike.items()
    ]


def _being_left(snapshot: Snapshot, staying: Mapping[int, Replica]) -> list[Replica]:
    """Return those that are being replaced by one in another region: they fill their seat until that one serves.

    And longer, if it never does: then they stay.
    """
    living = {r.name: r for r in snapshot.living()}
    pairs = ((r, living[r.replaces]) for r in staying.values() if r.replaces in living)
    return [old for new, old in pairs if old.region != new.region]


def wanted_by(snapshot: Snapshot, slot: int) -> str:
    """Say who wants the slot filled: the spec, load above that, or the availability that it promises."""
    size, hedging, made = snapshot.sizing, snapshot.hedging, snapshot.surviving
    if made is not None and made.is_possible and slot >= snapshot.wanted:
        return f"a spare: {made.words}"
    if hedging is not None and slot >= snapshot.wanted:
        return f"a spare: {hedging.words}"
    if size is None or not _is_wanted_by_load(snapshot, slot):
        return "wanted by the spec"
    return f"wanted by {'its deadline' if snapshot.spec.batch is not None else 'load'}: {size.words}"


def _is_wanted_by_load(snapshot: Snapshot, slot: int) -> bool:
    """Whether neither the spec nor what it promises wants the slot filled, but load or a deadline."""
    size, has_spares = snapshot.sizing, snapshot.hedging is not None or snapshot.surviving is not None
    if size is None or (has_spares and slot >= snapshot.wanted):
        return False
    return slot >= max(size.least, 1 if size.needed is None else 0)


def _wakes(snapshot: Snapshot) -> bool:
    """Whether nobody is there although load wants somebody, of a service that may have none; or a deadline does."""
    size, has_deadline = snapshot.sizing, snapshot.spec.batch is not None
    return size is not None and size.least == 0 and bool(size.needed) and (has_deadline or not snapshot.living())


def lost_in(snapshot: Snapshot) -> dict[int, Replica]:
    """Return the newest record of each slot, where that one was lost or failed: a launch replaces it."""
    newest = {r.slot: r for r in sorted(snapshot.replicas, key=lambda r: (r.created_at, r.name))}
    return {slot: r for slot, r in newest.items() if r.state in {ReplicaState.LOST, ReplicaState.FAILED}}


def _without_freshness(judged: Judged) -> list[Assessment]:
    """Return the offers that nothing but the age of their signal excludes, expected to be what they were on average."""
    dark = [a for a in judged.assessments if {v.rule for v in a.verdicts if not v.passed} == {FRESHNESS_RULE}]
    extra = judged.policy.max_extra_cost_fraction
    cheapest = yardsticks(dark)
    return [
        replace(
            a,
            verdicts=tuple(v for v in a.verdicts if v.passed),
            expected_grams_per_hour=None
            if a.kwh_per_hour is None or a.trailing_mean_grams_per_kwh is None
            else a.kwh_per_hour * a.trailing_mean_grams_per_kwh,
        )
        for a in dark
        if a.usd_per_hour is not None
        and (extra is None or a.usd_per_hour <= (yardstick_of(a, cheapest) or 0.0) * (1 + extra))
    ]


def _later(slots: Sequence[int]) -> str:
    """Say of slots that they are filled in one of the next minutes."""
    names = ", ".join(f"r{slot}" for slot in slots)
    return f"{names} later: no more than {MOST_LAUNCHES_PER_MINUTE} launches in a minute"


def survival_refusal(judged: Judged, *, is_short: bool) -> NoFeasiblePlacement | None:
    """Return why the loss of a region would leave too few; ``None`` where it would not, or nothing is promised."""
    broken = cannot_survive(judged, is_short=is_short)
    return no_survival(judged, _all_fit(judged, keep_up=False)) if broken else None


def _all_fit(judged: Judged, *, keep_up: bool) -> Fits:
    """Return what says whether all wanted slots could be filled in a world with other rules."""

    def fits(snapshot: Snapshot, policy: Policy) -> bool:
        there = judge(snapshot, policy, judged.now)
        slots, occupants = wanted_slots(there.snapshot), snapshot.occupants()
        staying = {slot: r for slot, r in occupants.items() if slot in slots}
        missing = _in_order(slots, staying)
        crew = _Crew(there, slots, staying, keep_up=keep_up, most=inf)
        crew.launch_all(missing, unhurried)
        offers = [*(r.offer_id for r in staying.values()), *(a.offer_id for a in crew.launches)]
        is_enough = len(staying) + len(crew.launches) >= snapshot.least
        is_near = not crew.judged.promised.left(offers) and crew.judged.lack(offers) is None
        survives = not cannot_survive(there, is_short=len(crew.launches) < len(missing))
        return is_enough and (keep_up or (is_near and survives))

    return fits


def _in_order(slots: Mapping[int, Market], staying: Collection[int]) -> list[int]:
    """Return the empty slots, those on demand first."""
    return sorted((s for s in slots if s not in staying), key=lambda s: (slots[s] is Market.SPOT, s))
