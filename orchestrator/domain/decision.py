"""Explanations as data: what was weighed, by which rule, with which numbers.

The CLI, the report and later the API render these values; nobody derives a reason a second time. Every term carries
the factors it is the product or sum of, so that a reader can recompute it by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.domain.carbon import Kind
from orchestrator.domain.certificate import Certificate
from orchestrator.domain.price import Market
from orchestrator.domain.scale import WantedReplicas, Work
from orchestrator.domain.split import OriginSplit
from orchestrator.domain.time import Instant, floor_day
from orchestrator.domain.transfer import Egress
from orchestrator.domain.written import ONLY_IF_SET


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule applied to one thing. ``value`` and ``limit`` in ``unit`` where the rule has numbers."""

    rule: str
    passed: bool
    text: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the answers of a replica would be. ``of_main``: 0..1 of the main model's, by ``source``.

    ``usd_per_point``: per lost point (a hundredth) and 1,000 output tokens; ``tokens_per_hour``: output of one replica,
    engine time, ``None`` while nobody knows. ``usd_per_hour``: what is lost, in the dollars of the policy's score;
    ``None`` where that is unknown, which is not nothing.
    """

    variant: str
    of_main: float
    floor: float
    source: str
    usd_per_point: float = 0.0
    tokens_per_hour: float | None = None

    @property
    def lost_points(self) -> float:
        """Hundredths of the main model's quality that its answers lack."""
        return 100.0 * (1.0 - self.of_main)

    @property
    def usd_per_hour(self) -> float | None:
        """What the loss counts: points x price x thousands of output tokens per hour."""
        each = self.lost_points * self.usd_per_point
        if not each:
            return 0.0
        return None if self.tokens_per_hour is None else each * self.tokens_per_hour / 1000.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """What fetching the weights counts for a replica that would be launched, once: gCO2e and US dollars.

    ``hours``: of running, over which that is spread where offers are compared: the policy's horizon. ``grams`` is
    ``None`` where nobody knows how large the weights are, and then nothing is counted; ``usd`` where nobody knows a
    price that matters (:mod:`orchestrator.planner.egress`). ``usd_per_gram``: what the policy's score makes of a gram.
    """

    grams: float | None
    usd: float | None
    hours: float
    usd_per_gram: float = 0.0

    @property
    def grams_per_hour(self) -> float:
        """The grams spread over the hours."""
        return (self.grams or 0.0) / self.hours

    @property
    def usd_per_hour(self) -> float | None:
        """The dollars spread over the hours."""
        return None if self.usd is None else self.usd / self.hours

    @property
    def score_usd_per_hour(self) -> float | None:
        """Both, as a policy of weighed terms counts them."""
        return None if self.usd_per_hour is None else self.usd_per_hour + self.usd_per_gram * self.grams_per_hour


@dataclass(frozen=True, slots=True)
class Assessment:
    """One offer, priced and judged.

    ``kwh_per_hour`` is facility energy (PUE included) at the expected load; ``grams_per_hour`` at the present
    intensity; ``expected_grams_per_hour`` at the mean of the horizon, if nearly all of it is known. ``None`` means
    unknown, never zero. ``next_24h_grams_per_kwh`` is that mean, over however many hours the policy looks ahead: stored
    decisions have it under the name that it got when all policies looked a day ahead.
    ``score_usd_per_hour``: what a policy of weighed terms makes of it. ``liters_per_hour``: water on site.
    ``work``: the share of the load that the energy follows from, ``None`` in decisions before that was kept.
    ``quality``: of services with variants; its ``usd_per_hour`` is a part of the score. ``fetch``: of the weights,
    where a launch fetches them; it is a part of none of the figures beside it.
    """

    offer_id: str
    region: str
    zone: str | None
    shape: str
    market: Market
    pue: float | None
    grams_per_kwh: float | None
    intensity_kind: Kind | None
    intensity_source: str
    intensity_age_seconds: float | None
    next_24h_grams_per_kwh: float | None
    next_24h_kind: Kind | None
    kwh_per_hour: float | None
    grams_per_hour: float | None
    expected_grams_per_hour: float | None
    usd_per_hour: float | None
    price_source: str
    trailing_mean_grams_per_kwh: float | None
    verdicts: tuple[Verdict, ...]
    chosen: int = 0
    score_usd_per_hour: float | None = None
    liters_per_hour: float | None = None
    work: Work | None = None
    quality: Quality | None = field(default=None, metadata=ONLY_IF_SET)
    fetch: Fetch | None = field(default=None, metadata=ONLY_IF_SET)

    @property
    def allowed(self) -> bool:
        """Whether every rule passed."""
        return all(v.passed for v in self.verdicts)

    @property
    def excluded_because(self) -> str:
        """The first rule that did not, in words; empty when allowed."""
        return next((v.text for v in self.verdicts if not v.passed), "")


@dataclass(frozen=True, slots=True)
class Factor:
    """One number inside a term, with unit and origin."""

    name: str
    value: float
    unit: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """One line of a comparison: ``grams`` (or ``usd``) is the product of its factors' values times ``sign``."""

    name: str
    amount: float
    unit: str
    formula: str
    factors: tuple[Factor, ...]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """In ``pays`` of ``scenarios`` ways in which the forecast may be wrong, a move saves more carbon than it costs.

    Each is a day of the last weeks: both grids miss their forecasts as they did then.
    """

    pays: int
    scenarios: int

    @property
    def share(self) -> float:
        """The part of the scenarios in which it pays, 0..1."""
        return self.pays / self.scenarios


@dataclass(frozen=True, slots=True)
class MoveComparison:
    """Stay against move for one replica.

    ``saved_grams`` over ``horizon_hours`` (grid time) less ``cost_grams`` is ``net_grams``; ``terms`` add up to it.
    ``payback_hours`` is the grid time after which the move has repaid its own carbon, ``None`` if it never does.
    ``net_usd``: dollars saved over the policy's whole horizon less ``move_usd``, ``None`` when a price is unknown;
    ``usd_terms`` add up to it, ``score_terms`` to what is saved by a policy's own weights. ``water``: litres saved over
    the horizon, ``None`` where one end's are not known. Only comparisons that are shown have these.
    ``likelihood``: how sure the saving of carbon is, ``None`` where a forecast's past errors are not known.
    ``egress``: what is fetched for it, with its ranges; ``None`` where nothing is. The costs hold what is known of it.
    """

    replica: str
    from_offer: str
    to_offer: str
    horizon_hours: float
    terms: tuple[Term, ...]
    saved_grams: float
    cost_grams: float
    net_grams: float
    move_usd: float | None
    usd_per_hour_change: float | None
    payback_hours: float | None
    verdicts: tuple[Verdict, ...]
    intensity_from: tuple[float, ...] = ()
    intensity_to: tuple[float, ...] = ()
    net_usd: float | None = None
    usd_terms: tuple[Term, ...] = ()
    score_terms: tuple[Term, ...] = ()
    water: Term | None = None
    likelihood: Likelihood | None = None
    egress: Egress | None = None

    @property
    def approved(self) -> bool:
        """Whether every rule passed."""
        return all(v.passed for v in self.verdicts)


class DecisionKind(StrEnum):
    """What was decided."""

    PLACE = "place"
    REPLACE = "replace"
    SCALE = "scale"
    MOVE = "move"
    STAY = "stay"
    TAKE_DOWN = "take_down"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Decision:
    """Why the world looks as it does. ``sizing``: how many replicas were wanted, where load decides on that.

    ``certificate``: how good the decision is, and the proof of it; ``None`` where nothing was chosen, or too little is
    known. ``origins``: whose traffic would go where once the plan is carried out, of services with clients in several
    areas. ``exchanged``: who makes room for a larger one because load has outgrown it.
    """

    id: str
    service: str
    at: Instant
    kind: DecisionKind
    actor: str
    policy: str
    summary: str
    assessments: tuple[Assessment, ...] = ()
    comparisons: tuple[MoveComparison, ...] = ()
    clock_rate: float = 1.0
    plan_digest: str = ""
    sizing: WantedReplicas | None = None
    certificate: Certificate | None = None
    origins: OriginSplit | None = field(default=None, metadata=ONLY_IF_SET)
    exchanged: str = field(default="", metadata=ONLY_IF_SET)


RESTING = frozenset({DecisionKind.STAY, DecisionKind.HOLD})
"""Kinds of decisions that change nothing."""


@dataclass(frozen=True, slots=True)
class RestingDay:
    """What is left of old decisions of the policy that changed nothing: those of one service, day, kind and policy.

    ``day``: its beginning, UTC, as the decisions count time. ``first_at`` and ``last_at``: of the first and the last of
    them; ``summary``: what the last one said. ``ids``: of all of them.
    """

    service: str
    day: Instant
    kind: DecisionKind
    policy: str
    first_at: Instant
    last_at: Instant
    summary: str
    ids: tuple[str, ...]

    def with_more(self, more: RestingDay) -> RestingDay:
        """Return both as one, ``more`` being of the same service, day, kind and policy."""
        first, last = sorted((self, more), key=lambda d: d.last_at)
        begun = min(self.first_at, more.first_at)
        return replace(last, first_at=begun, ids=first.ids + last.ids)


def resting_days(decisions: Iterable[Decision]) -> tuple[RestingDay, ...]:
    """Put decisions, in order, together by service, day, kind and policy."""
    together: dict[tuple[str, Instant, DecisionKind, str], list[Decision]] = {}
    for one in decisions:
        together.setdefault((one.service, floor_day(one.at), one.kind, one.policy), []).append(one)
    return tuple(
        RestingDay(*name, some[0].at, some[-1].at, some[-1].summary, tuple(d.id for d in some))
        for name, some in together.items()
    )
