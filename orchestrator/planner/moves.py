"""Stay or move: one replica, one alternative, every gram accounted for.

The dead band is the cost of switching itself. A move saves ``E x (I_from - I_to)`` for as long as it pays to stay
away, and costs a cold start at the new place and an overlap at the old one:

    net = stay - move - cold start - overlap - egress

in grams, where stay and move sum over the coming hours of grid time up to the length with the largest net (at most the
policy's horizon and at least ``migration.min_dwell``, before which it could not come back; all of the horizon where
money or a policy's own score is minimised, because prices last), the cold start draws 70 % of full power while the
model loads, the old replica draws what it draws until it has drained, and the weights come over a network
(``ledger/egress.py``; where nobody knows how large they are nothing is counted, and that is said). Energy is physical:
on a grid replayed at rate r an hour of grid time holds 1/r hours of running. The figures follow SCI's ``E x I``
(ISO/IEC 21031:2024); the 70 % is a modelling assumption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, cast

from orchestrator.domain.carbon import CarbonIntensity, Kind
from orchestrator.domain.decision import Assessment, Factor, MoveComparison, Term, Verdict
from orchestrator.domain.offer import Candidate
from orchestrator.domain.replica import Replica
from orchestrator.domain.service import Objective, Policy
from orchestrator.domain.time import HOUR, Instant, format_instant
from orchestrator.domain.transfer import Egress
from orchestrator.domain.units import SECONDS_PER_HOUR, watts_to_kw
from orchestrator.domain.variants import model_of
from orchestrator.errors import NoCapacity
from orchestrator.planner.capacity import gave_up
from orchestrator.planner.cover import COVER_RULE
from orchestrator.planner.egress import grams_term, launch_egress, usd_of
from orchestrator.planner.nearby import Leaves
from orchestrator.planner.schedule import may_begin, schedule_verdict
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.apply import usd_per_gram

if TYPE_CHECKING:
    from orchestrator.planner.path import Paths, Place

COLD_START_POWER_FRACTION = 0.7

NET_SCORE = "net_score"
"""The rule that weighs a move by the policy's own terms; its value is what the move saves of them, in dollars."""

LOAD_RULE = "slo.load"
"""The rule that no move by itself goes where a replica would have more to do than it can, its promises kept."""

REST_AFTER_FAILURE = timedelta(hours=24)
"""Grid time for which no move goes where the last one failed once it had cost something: a whole swing of the grid."""


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a move: the judged offer and what it is made of."""

    assessment: Assessment
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class _Nets:
    """What a move is worth: the part saved of what is minimised, the hours looked at, and the nets of each measure."""

    improvement: float
    hours: int
    grams: float
    usd: float | None
    score: float | None

    def of(self, objective: Objective) -> float | None:
        """Return what is saved of what is minimised."""
        return {Objective.GREENEST: self.grams, Objective.CHEAPEST: self.usd, Objective.LOWEST_SCORE: self.score}[
            objective
        ]


@dataclass(frozen=True, slots=True)
class _Sums:
    """The numbers of a comparison, before any rule and any word. ``stay`` and ``move``: grams over ``nets.hours``.

    ``from_values`` and ``to_values``: of the hours looked at. ``gains``: grams saved in each hour that is known.
    ``switch``: the terms of going there, ``cost`` their grams. ``change``: of US dollars an hour.
    """

    from_values: tuple[float, ...]
    to_values: tuple[float, ...]
    gains: list[float]
    engine_hours: float
    egress: Egress | None
    switch: tuple[Term, ...]
    stay: float
    move: float
    cost: float
    move_usd: float | None
    change: float | None
    nets: _Nets


def hourly_intensities(candidate: Candidate, now: Instant, hours: int, live: float | None) -> tuple[float, ...]:
    """Grams per kWh at ``now``, ``now + 1 h`` and so on: the live value first, then the forecast; ends at a hole."""
    expected = candidate.forecast.hourly_grams(now, hours)
    values = expected if live is None else (live, *expected[1:])
    whole = values[: values.index(None)] if None in values else values
    return cast("tuple[float, ...]", whole)  # and no loop over it: this is asked ten times a look


def compare(
    replica: Replica,
    here: Side,
    there: Side,
    snapshot: Snapshot,
    policy: Policy,
    now: Instant,
    leaves: Leaves | None = None,
    paths: Callable[[], Paths | None] | None = None,
) -> MoveComparison:
    """Weigh staying against moving. Both sides have to be :func:`weighable` (allowed offers are).

    ``leaves``: what it takes from clients of the service's areas; ``None`` where that is no question.
    ``paths``: works out all ways on from ``here``, where that is asked; without them, those between the two.

    Raises ``ValueError`` when a side's energy or its intensity in this hour is unknown.
    """
    sums = _sums(here, there, snapshot, policy, now)
    gains, hours = sums.gains, sums.nets.hours
    return MoveComparison(
        replica=replica.name,
        from_offer=here.assessment.offer_id,
        to_offer=there.assessment.offer_id,
        horizon_hours=float(hours),
        terms=(
            _running_term("stay", sums.stay, here.assessment, sums.from_values, sums.engine_hours),
            _running_term("move", -sums.move, there.assessment, sums.to_values, sums.engine_hours),
            *sums.switch,
        ),
        saved_grams=sums.stay - sums.move,
        cost_grams=sums.cost,
        net_grams=sums.nets.grams,
        move_usd=sums.move_usd,
        usd_per_hour_change=sums.change,
        payback_hours=_payback(gains, sums.cost),
        verdicts=(
            *_verdicts(replica, here, there, snapshot, policy, now, sums.nets),
            *([] if leaves is None else [_cover_verdict(leaves)]),
            # When to go is no question of what saves nothing however long it stays: that is most of the time.
            *(_timing_verdict(here, there, snapshot, policy, now, sums.cost, paths) if sums.nets.grams > 0 else ()),
            # The last of them: what is not worth moving anyhow does not wait for a window.
            *([] if (window := schedule_verdict(snapshot.timetable)) is None else [window]),
        ),
        intensity_from=sums.from_values,
        intensity_to=sums.to_values,
        net_usd=sums.nets.usd,
        egress=sums.egress,
    )


def net_of_moving(here: Side, there: Side, snapshot: Snapshot, policy: Policy, now: Instant) -> float | None:
    """Return what :func:`compare` says a move saves of what is minimised, without its rules and words.

    ``None`` where that is unknown. Raises ``ValueError`` as that does.
    """
    return _sums(here, there, snapshot, policy, now).nets.of(policy.objective)


def _sums(here: Side, there: Side, snapshot: Snapshot, policy: Policy, now: Instant) -> _Sums:
    kwh_here, kwh_there = here.assessment.kwh_per_hour, there.assessment.kwh_per_hour
    if kwh_here is None or kwh_there is None:
        message = f"energy of {here.assessment.offer_id} or {there.assessment.offer_id} is unknown"
        raise ValueError(message)
    limit = max(1, int(policy.horizon / HOUR))
    from_values = hourly_intensities(here.candidate, now, limit, here.assessment.grams_per_kwh)
    to_values = hourly_intensities(there.candidate, now, limit, there.assessment.grams_per_kwh)
    known = min(len(from_values), len(to_values))
    if known == 0:
        message = f"intensity of {here.assessment.offer_id} or {there.assessment.offer_id} is unknown"
        raise ValueError(message)
    engine_hours = 1.0 / snapshot.clock_rate
    dwell = ceil(snapshot.spec.migration.min_dwell / HOUR)
    gains = [
        (kwh_here * a - kwh_there * b) * engine_hours
        for a, b in zip(from_values[:known], to_values[:known], strict=True)
    ]
    best = _best_length(gains, dwell) if policy.objective is Objective.GREENEST else known
    egress = launch_egress(
        model_of(snapshot.spec, there.candidate.offer.variant) or snapshot.spec.model,
        there.assessment.region,
        {here.assessment.region: from_values[0], there.assessment.region: to_values[0]},
    )
    switch = (*_switch_terms(here, there, snapshot, from_values[0], to_values[0]), *grams_term(egress))
    stay = sum(from_values[:best]) * kwh_here * engine_hours
    move = sum(to_values[:best]) * kwh_there * engine_hours
    cost = -sum(t.amount for t in switch)
    net = sum((stay, -move, *(t.amount for t in switch)))
    move_usd = _move_usd(here, there, snapshot, egress)
    change = _usd_change(here.assessment, there.assessment)
    net_usd = None if change is None or move_usd is None else -change * limit * engine_hours - move_usd
    gain = _score_gain(here.assessment, there.assessment)
    net_score = None
    if gain is not None and move_usd is not None:
        net_score = gain * limit * engine_hours - move_usd - max(0.0, usd_per_gram(policy)) * cost
    improvement = {
        Objective.CHEAPEST: _fraction(None if change is None else -change, here.assessment.usd_per_hour),
        Objective.GREENEST: _fraction(stay - move, stay),
        Objective.LOWEST_SCORE: _fraction(gain, abs(here.assessment.score_usd_per_hour or 0.0)),
    }[policy.objective]
    nets = _Nets(improvement, best, net, net_usd, net_score)
    return _Sums(
        from_values[:best],
        to_values[:best],
        gains,
        engine_hours,
        egress,
        switch,
        stay,
        move,
        cost,
        move_usd,
        change,
        nets,
    )


def weighable(side: Side, now: Instant) -> bool:
    """Whether enough is known of a side: its energy, and an intensity for this hour, live or forecast."""
    live = side.assessment.grams_per_kwh
    return side.assessment.kwh_per_hour is not None and bool(hourly_intensities(side.candidate, now, 1, live))


def stays_put(replica: Replica, snapshot: Snapshot, now: Instant) -> bool:
    """Whether a rule that looks at no place holds the replica back: then no voluntary move of it is approved."""
    window = schedule_verdict(snapshot.timetable)
    return not all(v.passed for v in (*_own_verdicts(replica, snapshot, now), *([] if window is None else [window])))


def is_fresh(side: Side, snapshot: Snapshot, now: Instant) -> bool:
    """Whether a fresh number is known there: without one nothing moves there that need not."""
    return _fresh(side, snapshot, now).passed


def _best_length(gains: list[float], least: int) -> int:
    """Return the number of hours after which the running sum of gains is largest; at least ``least`` where known."""
    sums = list(accumulate(gains))
    shortest = min(max(1, least), len(gains))
    return sums.index(max(sums[shortest - 1 :]), shortest - 1) + 1


def _payback(gains: list[float], cost: float) -> float | None:
    """Hours of grid time until the gains have repaid the cost, within what is known; ``None`` if they do not."""
    running = 0.0
    for hour, gain in enumerate(gains):
        if gain > 0 and running + gain >= cost:
            return hour + max(0.0, cost - running) / gain
        running += gain
    return None


def _running_term(name: str, grams: float, side: Assessment, values: tuple[float, ...], engine_hours: float) -> Term:
    first = "" if side.intensity_kind is Kind.FORECAST else "live value, then "
    return Term(
        name=name,
        amount=grams,
        unit="gCO2e",
        formula=("" if grams >= 0 else "-") + "kwh_per_hour x sum_of_hourly_intensities x engine_hours_per_grid_hour",
        factors=(
            Factor("kwh_per_hour", side.kwh_per_hour or 0.0, "kWh/h", f"{_power(side)} x PUE"),
            Factor("sum_of_hourly_intensities", sum(values), "g/kWh", first + "forecast"),
            Factor("engine_hours_per_grid_hour", engine_hours, "h/h", "1 / clock rate"),
        ),
    )


def _power(side: Assessment) -> str:
    """Say at which load its energy was worked out."""
    if side.work is None:
        return "power model"
    reads = f", {side.work.reading:.0%} of the time reading prompts," if side.work.reading else ""
    return f"power at batch {side.work.mean_batch:.3g}{reads}"


def _switch_terms(
    here: Side, there: Side, snapshot: Snapshot, intensity_here: float, intensity_there: float
) -> tuple[Term, Term]:
    """Price the cold start at the new place and the overlap at the old one, both with this hour's intensity."""
    new, old = there.candidate.offer, here.candidate.offer
    new_kw = watts_to_kw(new.shape.power.full_watts) if new.shape.power is not None else 0.0
    new_pue = new.region.pue or 0.0
    cold_hours = snapshot.cold_start_seconds.value / SECONDS_PER_HOUR
    cold = COLD_START_POWER_FRACTION * new_kw * new_pue * cold_hours * intensity_there
    old_kwh = here.assessment.kwh_per_hour or 0.0
    overlap_hours = snapshot.overlap_seconds.value / SECONDS_PER_HOUR
    overlap = old_kwh * overlap_hours * intensity_here
    return (
        Term(
            "cold start",
            -cold,
            "gCO2e",
            "-fraction_of_full_power x full_kw x pue x hours x intensity",
            (
                Factor("fraction_of_full_power", COLD_START_POWER_FRACTION, "", "assumption while a model loads"),
                Factor("full_kw", new_kw, "kW", f"power model of {new.shape.name}"),
                Factor("pue", new_pue, "", new.region.pue_source),
                Factor("hours", cold_hours, "h", snapshot.cold_start_seconds.origin),
                Factor("intensity", intensity_there, "g/kWh", _origin(there.assessment)),
            ),
        ),
        Term(
            "overlap",
            -overlap,
            "gCO2e",
            "-kwh_per_hour x hours x intensity",
            (
                Factor("kwh_per_hour", old_kwh, "kWh/h", f"power model of {old.shape.name} x PUE"),
                Factor("hours", overlap_hours, "h", snapshot.overlap_seconds.origin),
                Factor("intensity", intensity_here, "g/kWh", _origin(here.assessment)),
            ),
        ),
    )


def _origin(assessment: Assessment) -> str:
    """Name where this hour's intensity comes from."""
    return assessment.intensity_source if assessment.grams_per_kwh is not None else "forecast"


def _move_usd(here: Side, there: Side, snapshot: Snapshot, egress: Egress | None) -> float | None:
    """Dollars of the double run (the new one while it starts, the old one while it drains), and of the weights."""
    new, old, fetched = there.assessment.usd_per_hour, here.assessment.usd_per_hour, usd_of(egress)
    if new is None or old is None or fetched is None:
        return None
    cold, overlap = snapshot.cold_start_seconds.value, snapshot.overlap_seconds.value
    return (new * cold + old * overlap) / SECONDS_PER_HOUR + fetched


def _usd_change(here: Assessment, there: Assessment) -> float | None:
    if here.usd_per_hour is None or there.usd_per_hour is None:
        return None
    return there.usd_per_hour - here.usd_per_hour


def _fraction(part: float | None, whole: float | None) -> float:
    """Return the saving as a part of what is spent now; nothing is saved of nothing, or of what is unknown."""
    return part / whole if part is not None and whole else 0.0


def _verdicts(
    replica: Replica,
    here: Side,
    there: Side,
    snapshot: Snapshot,
    policy: Policy,
    now: Instant,
    nets: _Nets,
) -> tuple[Verdict, ...]:
    return (
        *_own_verdicts(replica, snapshot, now),
        _rest_verdict(there, snapshot, now),
        *_load_verdict(here, there),
        *(_fresh(side, snapshot, now) for side in (here, there)),
        *_worth(policy.objective, snapshot.spec.migration.asked_of_move(policy.objective), nets),
    )


def _own_verdicts(replica: Replica, snapshot: Snapshot, now: Instant) -> Iterator[Verdict]:
    """Judge by the rules that look at no place."""
    rules = snapshot.spec.migration
    yield Verdict("migration.enabled", rules.enabled, "voluntary moves are on" if rules.enabled else "off")
    if snapshot.paused:
        yield Verdict("rollout.paused", passed=False, text="voluntary moves are paused")
    dwell = now - (replica.ready_at or now)
    yield _dwell_verdict(dwell, rules.min_dwell)
    made = len(snapshot.moves)
    yield Verdict(
        "migration.max_moves_per_day",
        made < rules.max_moves_per_day,
        f"{made} of {rules.max_moves_per_day} moves in the last 24 h",
        float(made),
        float(rules.max_moves_per_day),
        "moves",
    )


def _worth(objective: Objective, asked: float, nets: _Nets) -> Iterator[Verdict]:
    """Judge by what the policy minimises: whether it becomes that much less, and whether the move itself is repaid."""
    less, more = {
        Objective.CHEAPEST: ("cheaper", "dearer"),
        Objective.GREENEST: (f"less carbon over {nets.hours} h", f"more carbon over {nets.hours} h"),
        Objective.LOWEST_SCORE: ("lower score", "higher score"),
    }[objective]
    wanted = {Objective.CHEAPEST: "cheaper", Objective.GREENEST: "less", Objective.LOWEST_SCORE: "lower"}[objective]
    better = nets.improvement >= 0
    text = f"{abs(nets.improvement):.0%} {less if better else more}, at least {asked:.0%} {wanted} asked"
    yield Verdict("migration.min_improvement", nets.improvement >= asked, text, nets.improvement, asked, "")
    if objective is Objective.GREENEST:
        text = f"{nets.grams:+.3f} gCO2e after the cost of moving"
        yield Verdict("net_carbon", nets.grams > 0, text, nets.grams, 0.0, "gCO2e")
        return
    rule, net, unknown = "net_cost", nets.usd, "a price is unknown"
    if objective is Objective.LOWEST_SCORE:
        rule, net, unknown = NET_SCORE, nets.score, "a score or a price is unknown"
    if net is None:
        yield Verdict(rule, passed=False, text=unknown)
    else:
        yield Verdict(rule, net > 0, f"{net:+.4f} USD after the move", net, 0.0, "USD")


def _score_gain(here: Assessment, there: Assessment) -> float | None:
    if here.score_usd_per_hour is None or there.score_usd_per_hour is None:
        return None
    return here.score_usd_per_hour - there.score_usd_per_hour


def paths_from(here: Side, others: Iterable[Side], snapshot: Snapshot, policy: Policy, now: Instant) -> Paths:
    """Return all ways on from here, by way of the others, in the hours in which the schedule lets a move begin."""
    # numpy: what only asks for help does not wait for it
    from orchestrator.planner.path import Paths  # noqa: PLC0415

    limit = max(1, int(policy.horizon / HOUR))
    timetable = snapshot.timetable
    hours = [timetable is None or may_begin(timetable, now + hour * HOUR) for hour in range(limit)]
    places = [place for side in others if (place := _place(side, snapshot, policy, now)).running]
    dwell = ceil(snapshot.spec.migration.min_dwell / HOUR)
    return Paths(_place(here, snapshot, policy, now), places, hours, dwell)


def may_go(here: Side, there: Side, snapshot: Snapshot, now: Instant, leaves: Leaves | None) -> bool:
    """Whether no rule that looks at the place forbids to go there now: nobody waits for a place that never opens."""
    cover = () if leaves is None else (_cover_verdict(leaves),)
    found = (_rest_verdict(there, snapshot, now), *_load_verdict(here, there), _fresh(there, snapshot, now), *cover)
    return there.assessment.kwh_per_hour is not None and all(v.passed for v in found)


def _place(side: Side, snapshot: Snapshot, policy: Policy, now: Instant) -> Place:
    """Price a place hour by hour. A switch later costs what it would now.

    Forecasts lean back to what is usual, so that whoever leaves a grid in its dirty hours for good would wait, and in
    the next hour again, for the overlap there to become cheaper.
    """
    from orchestrator.planner.path import Place  # noqa: PLC0415  # as above

    limit = max(1, int(policy.horizon / HOUR))
    values = hourly_intensities(side.candidate, now, limit, side.assessment.grams_per_kwh)
    kwh, offer = side.assessment.kwh_per_hour or 0.0, side.candidate.offer
    full_kw = watts_to_kw(offer.shape.power.full_watts) if offer.shape.power is not None else 0.0
    cold_hours = snapshot.cold_start_seconds.value / SECONDS_PER_HOUR
    cold_kwh = COLD_START_POWER_FRACTION * full_kw * (offer.region.pue or 0.0) * cold_hours
    overlap_kwh = kwh * snapshot.overlap_seconds.value / SECONDS_PER_HOUR
    model = model_of(snapshot.spec, offer.variant) or snapshot.spec.model
    egress = launch_egress(model, side.assessment.region, {side.assessment.region: values[0]}) if values else None
    fetched = -sum(t.amount for t in grams_term(egress))
    first = values[0] if values else 0.0
    running = tuple(kwh * v / snapshot.clock_rate for v in values)
    return Place(side.assessment.offer_id, running, cold_kwh * first + fetched, overlap_kwh * first)


def _timing_verdict(
    here: Side,
    there: Side,
    snapshot: Snapshot,
    policy: Policy,
    now: Instant,
    cost: float,
    paths: Callable[[], Paths | None] | None,
) -> Iterator[Verdict]:
    """Whether to go now, and not to stay for now and go later where that pays; coming back has its cost."""
    if policy.objective is not Objective.GREENEST:
        return
    ways = (paths() if paths is not None else None) or paths_from(here, [there], snapshot, policy, now)
    found = ways.timing(ways.place(there.assessment.offer_id) or _place(there, snapshot, policy, now), cost)
    passed = found.gain > 0 and found.later is None
    where = "" if found.to == there.assessment.offer_id else f" to {found.to}"
    if passed:
        text = f"saves {found.gain:.3f} g more than any way that begins by staying, over {found.hours} h"
    elif found.later is not None:
        text = f"begun {found.later} h later{where} it saves {-found.gain:.3f} g more"
    else:
        text = f"saves {-found.gain:.3f} g less than staying, over {found.hours} h with the way back"
    yield Verdict("migration.timing", passed, text, found.gain, 0.0, "gCO2e")


def _load_verdict(here: Side, there: Side) -> Iterator[Verdict]:
    """Whether its share of the load fits there, or at least as well as here; nothing where that is not known."""
    work, present = there.assessment.work, here.assessment.work
    if work is None or work.needed is None or work.carries is None:
        return
    as_here = present is not None and present.needed is not None and work.needed <= present.needed
    text = f"the load takes {work.needed} of {there.assessment.shape}, {work.replicas} serve"
    yield Verdict(LOAD_RULE, work.carries or as_here, text, float(work.needed), float(work.replicas), "replicas")


def _cover_verdict(leaves: Leaves) -> Verdict:
    """Whether clients of every area still have replicas that keep the promise of the first token to them, enough."""
    if leaves.areas or leaves.lack is None:
        areas = ", ".join(sorted(leaves.areas))
        text = f"nobody else keeps slo.ttft_p95 to clients in {areas}"
        text = text if leaves else "every area keeps one within its promise"
        return Verdict(COVER_RULE, not leaves, text, float(len(leaves.areas)), 0.0, "areas")
    return Verdict(COVER_RULE, passed=False, text=leaves.lack.words, value=leaves.lack.missing, limit=0.0, unit="load")


def _rest_verdict(there: Side, snapshot: Snapshot, now: Instant) -> Verdict:
    """Whether moves to that place have failed lately. A place that was only sold out is tried again much sooner."""
    failed = [
        now - r.state_since
        for r in snapshot.replicas
        if r.replaces and r.offer_id == there.candidate.offer.id and gave_up(r)
        if not r.reason.startswith(f"{NoCapacity.code}:")
    ]
    hours, limit = min(failed, default=REST_AFTER_FAILURE) / HOUR, REST_AFTER_FAILURE / HOUR
    text = f"the last move there failed {hours:.1f} h ago, {limit:.0f} h of rest" if failed else "no move there failed"
    return Verdict("migration.rest", hours >= limit, text, hours if failed else None, limit, "h")


def _dwell_verdict(dwell: timedelta, minimum: timedelta) -> Verdict:
    hours, limit = dwell / HOUR, minimum / HOUR
    text = f"in place for {hours:.1f} h, at least {limit:.1f} h asked"
    return Verdict("migration.min_dwell", dwell >= minimum, text, hours, limit, "h")


def _fresh(side: Side, snapshot: Snapshot, now: Instant) -> Verdict:
    """A voluntary move needs live numbers at both ends: a stale one causes no move toward its zone, nor away."""
    reading, limit = side.candidate.now, snapshot.spec.carbon.max_age
    zone = side.candidate.offer.region.zone or "?"
    if not isinstance(reading, CarbonIntensity):
        return Verdict("carbon.fresh", passed=False, text=f"{zone}: {reading.reason}")
    age = reading.age(now)
    text = f"{zone}: {age.total_seconds() / 60:.0f} min old"
    if reading.interval.start - now > limit:
        text = f"{zone}: dated {format_instant(reading.interval.start)}, still to come"
    return Verdict("carbon.fresh", reading.is_fresh(now, limit), text, age.total_seconds(), limit.total_seconds(), "s")
