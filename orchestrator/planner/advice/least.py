"""The smallest change of the rules that lets a service be placed. Pure.

An elastic filter over what people have written (after Chinneck and Dravnieks 1991, Locating minimal infeasible
constraint sets in linear programs): each change is tried alone, then in pairs, then all that one offer needs, until it
is enough. A change gives way just far enough for one offer, and every answer has been tried: the world with it was
planned again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, combinations, islice
from math import ceil

from orchestrator.domain.decision import Assessment, Verdict
from orchestrator.domain.service import Policy
from orchestrator.planner.advice.relax import REGION_RULE, at_most_in_a_region, relaxed
from orchestrator.planner.choose import rank
from orchestrator.planner.cover import COVER_RULE
from orchestrator.planner.promise import TTFT_RULE, for_everybody, promised
from orchestrator.planner.snapshot import Snapshot

MOST_ALONE = 12
MOST_PAIRED = 6
"""Changes that are tried, the best offers first: each of them judges all offers anew."""

LAST = ("placement.residency", "capacity")
"""What is given up last: where data may be is mostly a law, and what is sold out is nobody's choice."""

Fits = Callable[[Snapshot, Policy], bool]
"""Whether everything that is wanted can be placed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a person would write; ``by``: how far the limit moves; ``offer_id``: which offer it lets in, if any."""

    words: str
    by: str = ""
    offer_id: str = ""


@dataclass(frozen=True, slots=True)
class _Step:
    rule: str
    change: Change
    take: Callable[[Snapshot, Policy], tuple[Snapshot, Policy] | None]


def least_change(snapshot: Snapshot, policy: Policy, offers: Sequence[Assessment], fits: Fits) -> tuple[Change, ...]:
    """Return the fewest changes after which everything fits, or all that one of the nearest offers needs, else nothing.

    ``offers``: those on the markets that are wanted, as they are judged now. What nobody chose (an unknown price, a
    provider that is not configured) is no rule to give up.
    """
    limits, reach = list(_limits(snapshot, offers)), list(_reach(snapshot, offers))
    rules = list(_rules(snapshot, policy, offers))
    alone = [*limits, *reach, *rules[:MOST_ALONE]]
    pairs = combinations([*limits[-1:], *reach[-1:], *rules[:MOST_PAIRED]], 2)
    few = (*((step,) for step in alone), *((a, b) for a, b in pairs if a.rule != b.rule))
    for chosen in chain(few, _all_of_one(snapshot, policy, offers)):
        world: tuple[Snapshot, Policy] | None = (snapshot, policy)
        for step in chosen:
            world = None if world is None else step.take(*world)
        if world is not None and fits(*world):
            return tuple(step.change for step in chosen)
    return ()


def in_words(changes: Sequence[Change]) -> str:
    """Say what to change, in a sentence."""
    parts = []
    for change in changes:
        details = ", ".join(d for d in (change.by, change.offer_id) if d)
        parts.append(f"{change.words} ({details})" if details else change.words)
    return f"Smallest change: {', and '.join(parts)}."


def _limits(snapshot: Snapshot, offers: Sequence[Assessment]) -> Iterator[_Step]:
    """Raise the region limit one by one, where there is any region to be in."""
    limit = snapshot.spec.placement.max_per_region
    if limit is not None and any(a.allowed for a in offers):
        for most in range(limit + 1, min(max(limit + 1, snapshot.wanted), limit + MOST_ALONE) + 1):
            yield _at_most(most)


def _reach(snapshot: Snapshot, offers: Sequence[Assessment]) -> Iterator[_Step]:
    """Have more replicas, or promise less, where those that there may be are together not near to everybody."""
    kept, scaling = for_everybody(promised(snapshot), snapshot, offers), snapshot.spec.scaling
    if not kept.areas:
        return
    allowed = [a.offer_id for a in offers if a.allowed]
    if not kept.left(allowed):
        most = scaling.min_replicas if snapshot.sizing is None else snapshot.sizing.most
        # Each area may take one more of those that there are, and where load is known several.
        for more in range(1, MOST_ALONE if snapshot.load is not None else min(len(kept.areas), MOST_ALONE)):
            yield _as_many(most + more, scales=snapshot.sizing is not None)
    limit = 0.0 if snapshot.spec.ttft_p95 is None else snapshot.spec.ttft_p95 / timedelta(milliseconds=1)
    known = [kept.total_ms[i] for i in allowed if i in kept.total_ms]
    longer = sorted({ceil(ms) for own in known for ms in own.values() if ms > limit})
    # The last lets anybody be served anywhere: one place is near enough to all of them.
    to_all = min((ceil(max(own.values())) for own in known), default=None)
    for ms in dict.fromkeys([*longer[:MOST_ALONE], *([] if to_all is None else [to_all])]):
        yield _later(ms, ms - limit)


def _as_many(number: int, *, scales: bool) -> _Step:
    def take(snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, Policy]:
        scaling = replace(snapshot.spec.scaling, min_replicas=number, max_replicas=number)
        size = None if snapshot.sizing is None else replace(snapshot.sizing, replicas=number, most=number)
        return replace(snapshot, spec=replace(snapshot.spec, scaling=scaling), sizing=size), policy

    which = "max_replicas" if scales else "min_replicas"
    return _Step(COVER_RULE, Change(f"raise service.replica_policy.{which} to {number}"), take)


def _later(ms: int, by_ms: float) -> _Step:
    def take(snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, Policy]:
        return replace(snapshot, spec=replace(snapshot.spec, ttft_p95=timedelta(milliseconds=ms))), policy

    return _Step(TTFT_RULE, Change(f"raise {TTFT_RULE} to {ms} ms", f"+{by_ms:.0f} ms"), take)


def _rules(snapshot: Snapshot, policy: Policy, offers: Sequence[Assessment]) -> Iterator[_Step]:
    """Yield every other change once: those that move a limit least, of those the best offers; see ``LAST``."""
    found: dict[str, _Step] = {}
    for offer in _nearest(offers, policy):
        for verdict in _failed(offer):
            step = _relax(snapshot, policy, offer, verdict)
            if step is not None:
                found.setdefault(step.change.words, step)
    yield from sorted(found.values(), key=_how_late)


def _all_of_one(snapshot: Snapshot, policy: Policy, offers: Sequence[Assessment]) -> Iterator[tuple[_Step, ...]]:
    """Yield all that keeps an offer out, of those with the fewest rules against them; not what cannot be given up."""
    ways = ([_relax(snapshot, policy, a, v) for v in _failed(a)] for a in _nearest(offers, policy) if not a.allowed)
    whole = ([step for step in way if step is not None] for way in ways if None not in way)
    yield from islice((tuple(sorted(way, key=_how_late)) for way in whole), MOST_PAIRED)


def _nearest(offers: Sequence[Assessment], policy: Policy) -> list[Assessment]:
    """Put those first that the fewest rules keep out, and by the least."""
    return sorted(offers, key=lambda a: (len(_failed(a)), _excess(a), rank(a, policy.objective)))


def _how_late(step: _Step) -> int:
    return LAST.index(step.rule) if step.rule in LAST else -1


def _excess(offer: Assessment) -> float:
    """Return by what part of a limit the offer is beyond it at most; 0 for rules without numbers."""
    parts = [abs(v.value - v.limit) / abs(v.limit) for v in _failed(offer) if v.value is not None and v.limit]
    return max(parts, default=0.0)


def _failed(offer: Assessment) -> list[Verdict]:
    return [v for v in offer.verdicts if not v.passed]


def _relax(snapshot: Snapshot, policy: Policy, offer: Assessment, verdict: Verdict) -> _Step | None:
    first = relaxed(snapshot, policy, offer, verdict)
    if first is None:
        return None

    def take(snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, Policy] | None:
        again = relaxed(snapshot, policy, offer, verdict)
        return None if again is None else (again.snapshot, again.policy)

    return _Step(verdict.rule, Change(first.change, first.by, offer.offer_id), take)


def _at_most(most: int) -> _Step:
    def take(snapshot: Snapshot, policy: Policy) -> tuple[Snapshot, Policy]:
        return at_most_in_a_region(snapshot, most), policy

    return _Step(REGION_RULE, Change(f"raise {REGION_RULE} to {most}"), take)
