"""What is to be done, and the digest that binds a confirmation to it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.decision import Decision
from orchestrator.domain.price import Market
from orchestrator.domain.scale import Spare
from orchestrator.domain.survival import Survival
from orchestrator.domain.written import ONLY_IF_SET

DIGEST_LENGTH = 12


class ActionKind(StrEnum):
    """``+`` launch, ``~`` move (launch, then retire the old one), ``-`` retire."""

    LAUNCH = "launch"
    MOVE = "move"
    RETIRE = "retire"


GLYPHS = {ActionKind.LAUNCH: "+", ActionKind.MOVE: "~", ActionKind.RETIRE: "-"}


@dataclass(frozen=True, slots=True)
class Action:
    """One change.

    ``offer_id``, ``region``, ``market`` and ``usd_per_hour`` name what is bought (not for RETIRE); ``replica`` names
    what is moved or retired (not for LAUNCH).
    """

    kind: ActionKind
    slot: int
    reason: str
    offer_id: str = ""
    region: str = ""
    shape: str = ""
    market: Market | None = None
    usd_per_hour: float | None = None
    replica: str = ""
    from_region: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """Hourly rates of a set of placements, water on site; ``None`` when a part is unknown."""

    replicas: int
    kwh_per_hour: float | None
    grams_per_hour: float | None
    usd_per_hour: float | None
    liters_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One end of the trade-off: the same number of replicas placed by one objective alone."""

    name: str
    placement: tuple[str, ...]
    totals: Totals


@dataclass(frozen=True, slots=True)
class Plan:
    """The planner's answer. Applying it twice changes nothing the second time.

    ``spares``: what each replica after the first adds to the service's energy, at the load that is expected.
    ``survival``: how far the plan keeps ``slo.survives``; ``None`` where that promises nothing.
    """

    service: str
    spec_digest: str
    actions: tuple[Action, ...]
    keep: tuple[str, ...]
    decision: Decision
    totals: Totals
    frontier: tuple[FrontierPoint, ...] = ()
    look_again_in: timedelta = timedelta(minutes=5)
    spares: tuple[Spare, ...] = ()
    survival: Survival | None = field(default=None, metadata=ONLY_IF_SET)

    @property
    def digest(self) -> str:
        """Bind service, spec, actions, offers and prices.

        Intensities are left out: they move every few minutes, and a plan that buys the same things at the same price
        is the same plan.
        """
        bound = {
            "service": self.service,
            "spec": self.spec_digest,
            "actions": sorted(
                [a.kind, a.slot, a.offer_id, a.replica, None if a.usd_per_hour is None else round(a.usd_per_hour, 6)]
                for a in self.actions
            ),
        }
        text = json.dumps(bound, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
