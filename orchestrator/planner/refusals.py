"""Say why slots stay empty, when they are tried again, and what would help: the words of a refusal. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from math import inf

from orchestrator.domain.price import Market
from orchestrator.domain.survival import spares_for
from orchestrator.errors import NoFeasiblePlacement, SignalsTooOld
from orchestrator.planner.advice.least import Fits, in_words, least_change
from orchestrator.planner.choose import rank
from orchestrator.planner.cover import COVER_RULE, Areas
from orchestrator.planner.fallback import Pool, earliest_try, moment, offer_waited_for
from orchestrator.planner.judged import Judged, judge, regions_open
from orchestrator.planner.surviving import as_written, to_seat
from orchestrator.policy.assess import CAPACITY_RULE, FRESHNESS_RULE, is_small

MOST_REASONS = 6
"""So many regions are named with what keeps them out; more would be a page."""


def refuse(
    judged: Judged,
    needed: int,
    found: int,
    markets: Collection[Market] = tuple(Market),
    fits: Fits | None = None,
) -> NoFeasiblePlacement:
    """Say that replicas cannot be placed: for want of signals where that alone is in the way, else by the rules.

    ``markets``: those on which they are wanted. ``fits``: whether all could be placed in a world with other rules;
    without it any offer is enough.
    """
    open_to_them = [a for a in judged.assessments if a.market in markets]
    message = _infeasible(judged, needed, found, open_to_them)
    failed = [{v.rule for v in a.verdicts if not v.passed} for a in open_to_them]
    if not any(a.allowed for a in open_to_them) and {FRESHNESS_RULE} in failed:
        return SignalsTooOld(message)
    fits = fits or _any_is_allowed(judged, markets)
    return NoFeasiblePlacement(message, hint=_relaxation(judged, found, open_to_them, fits))


def no_room(
    judged: Judged, unplaced: Sequence[int], needed: int, found: int, markets: Collection[Market], fits: Fits
) -> NoFeasiblePlacement:
    """Say that slots cannot be filled; of those that wait for their market as they were told to, what they wait for.

    ``needed``: replicas that do not stand yet, ``found`` of them have a place. The rest as :func:`refuse` has it.
    """
    waiting = [slot for slot in unplaced if offer_waited_for(judged, slot) is not None]
    if not waiting:
        # Whoever may not buy on a market sees its offers excluded for that.
        shut = frozenset(Market) - judged.snapshot.spec.markets
        return refuse(judged, needed, found, shut | frozenset(markets), fits)
    words = "; ".join(waits(judged, slot, Market.SPOT) for slot in waiting)
    name, wanted = judged.snapshot.spec.name, judged.snapshot.wanted
    return NoFeasiblePlacement(
        f"{name} does without {needed - found} of {wanted} replicas, as placement.on_spot_loss: wait asks for: {words}",
        hint="With placement.on_spot_loss: on_demand or other_region they would be replaced at once.",
    )


def too_far(judged: Judged, replicas: int, offer_ids: Sequence[str], fits: Fits) -> NoFeasiblePlacement | None:
    """Refuse a choice that leaves clients of some area without anybody near to them, or with too few, and what helps.

    ``None`` where it does not, and where so many replicas would be too few wherever they are: no deploy was ever
    refused for too much load, and it is not nearness that lacks then.
    """
    left, lack = judged.promised.left(offer_ids), judged.lack(offer_ids)
    if not left and (lack is None or any(is_small(judged.by_id(i)) for i in offer_ids)):
        return None
    changes = least_change(as_written(judged.snapshot), judged.policy, judged.assessments, fits)
    hint = in_words(changes) if changes else "Allow regions nearer to them, or relax slo.ttft_p95."
    limit = (judged.snapshot.spec.ttft_p95 or timedelta(0)).total_seconds() * 1000.0
    number = f"{replicas} replica{'s' if replicas != 1 else ''}"
    no_choice = f"{judged.snapshot.spec.name}: no choice of {number} keeps slo.ttft_p95 ({limit:.0f} ms) to"
    if left or lack is None:
        return NoFeasiblePlacement(
            f"{no_choice} clients of every area ({COVER_RULE}); left without: {_nearest(judged, left, limit)}",
            hint=hint,
        )
    return NoFeasiblePlacement(f"{no_choice} as many clients as each area has ({COVER_RULE}): {lack.words}", hint=hint)


def cannot_survive(judged: Judged, *, is_short: bool) -> bool:
    """Whether a region could not be lost without too few being left. ``is_short``: some spares have no place."""
    made = judged.snapshot.surviving
    return made is not None and (is_short or not made.is_possible)


def is_passing(judged: Judged) -> bool:
    """Whether a service that stands keeps ``slo.survives`` again once regions that are away are back."""
    snapshot = as_written(judged.snapshot)
    regions = regions_open(judged, {snapshot.spec.market}, {CAPACITY_RULE, FRESHNESS_RULE})
    limit = snapshot.spec.placement.max_per_region
    return bool(snapshot.living()) and spares_for(to_seat(snapshot), len(regions), limit=limit) is not None


def no_survival(judged: Judged, fits: Fits) -> NoFeasiblePlacement:
    """Refuse a service that promises to survive the loss of a region where it could not, and say what helps."""
    made, name = judged.snapshot.surviving, judged.snapshot.spec.name
    words = "" if made is None else made.words
    if made is not None and made.is_possible:
        words += f": there is no room for {made.spares} spare{'' if made.spares == 1 else 's'}"
    closed: dict[str, str] = {}
    for a in judged.assessments:
        if not a.allowed:
            closed.setdefault(a.region, a.excluded_because)
    for a in judged.assessments:
        if a.allowed:
            closed.pop(a.region, None)
    reasons = "; ".join(f"{region}: {why}" for region, why in sorted(closed.items())[:MOST_REASONS])
    changes = least_change(as_written(judged.snapshot), judged.policy, judged.assessments, fits)
    hint = in_words(changes) if changes else "Allow more regions, or leave slo.survives out."
    return NoFeasiblePlacement(f"{name}: {words}{f' ({reasons})' if reasons else ''}", hint=hint)


def _nearest(judged: Judged, left: Areas, limit_ms: float) -> str:
    """Name the nearest place of each of these areas that is allowed, and whether it would do."""
    promised = judged.promised
    allowed = [a for a in judged.assessments if a.allowed]
    nearest = []
    for area in sorted(left):
        known = [(promised.total_ms[a.offer_id][area], a.region) for a in allowed if a.offer_id in promised.total_ms]
        ms, region = min(known, default=(inf, ""))
        words = "would do" if ms <= limit_ms else "is the nearest"
        nearest.append(f"{area} ({region} {words}, {ms:.0f} ms)" if region else area)
    return ", ".join(nearest)


def waits(judged: Judged, slot: int, market: Market) -> str:
    """Say what an empty slot waits for, and when it is tried again."""
    waited_for = offer_waited_for(judged, slot) if market is Market.SPOT else None
    sold = [a for a in judged.assessments if a.market is market]
    among = sold if waited_for is None else [waited_for]
    what = f"{market.value.replace('_', '-')} room" if waited_for is None else waited_for.offer_id
    when = earliest_try(judged, among)
    if when is not None and not any(a.allowed for a in among):
        return f"r{slot} waits for {what}, not tried before {moment(when[0])}"
    reason = f": {waited_for.excluded_because}" if waited_for is not None and waited_for.excluded_because else ""
    return f"r{slot} waits for {what}{reason}"


def _infeasible(judged: Judged, needed: int, found: int, open_to_them: Pool) -> str:
    reasons: dict[str, int] = {}
    for assessment in judged.assessments:
        failed = next((v for v in assessment.verdicts if not v.passed), None)
        if failed is not None:
            reasons[failed.rule] = reasons.get(failed.rule, 0) + 1
    listed = ", ".join(f"{count} by {rule}" for rule, count in sorted(reasons.items(), key=lambda kv: -kv[1]))
    name = judged.snapshot.spec.name
    when = None if any(a.allowed for a in open_to_them) else earliest_try(judged, open_to_them)
    again = "" if when is None else f"; the earliest try is at {moment(when[0])}, {when[1]}"
    return (
        f"{name} needs {needed} more replica{'s' if needed != 1 else ''}, {found} can be placed; "
        f"{len(judged.assessments)} offers, excluded: {listed or 'none'}{again}"
    )


def _relaxation(judged: Judged, found: int, open_to_them: Pool, fits: Fits) -> str:
    """Name the smallest change that helps, else the one rule that alone keeps an offer out."""
    changes = least_change(as_written(judged.snapshot), judged.policy, open_to_them, fits)
    if changes:
        return in_words(changes)
    near = [a for a in open_to_them if sum(not v.passed for v in a.verdicts) == 1]
    if near and not found:
        best = min(near, key=lambda a: rank(a, judged.policy.objective))
        return f"Closest: {best.offer_id}, excluded only because {best.excluded_because}."
    return "Allow more regions, or relax the rules named above."


def _any_is_allowed(judged: Judged, markets: Collection[Market]) -> Fits:
    return lambda snapshot, policy: any(
        a.allowed and a.market in markets for a in judge(snapshot, policy, judged.now).assessments
    )
