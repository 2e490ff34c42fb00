"""Our plan of a service that is not there yet, with what was weighed and how long it took."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.control.runtime import Runtime
from orchestrator.control.usecases import preview_deploy
from orchestrator.domain.decision import Assessment
from orchestrator.domain.plan import Plan
from orchestrator.settings import Settings
from orchestrator.spec.service_file import LoadedSpec

Run = Callable[[Coroutine[Any, Any, Plan]], Plan]


@dataclass(frozen=True, slots=True)
class Choice:
    """One offer of a plan. ``replicas``: how many go there. ``None`` is unknown."""

    offer_id: str
    replicas: int
    usd_per_hour: float | None
    grams_per_hour: float | None


@dataclass(frozen=True, slots=True)
class OurPlan:
    """What our planner weighed and chose.

    ``excluded_by``: offers by the rule that excludes them; one that several rules exclude counts for each.
    ``first_seconds`` includes reading the catalogues, ``again_seconds`` is the next plan of the same process.
    """

    offers: int
    regions: int
    allowed: int
    excluded_by: tuple[tuple[str, int], ...]
    choices: tuple[Choice, ...]
    first_seconds: float
    again_seconds: float
    assessments: tuple[Assessment, ...]


def bench_settings(settings: Settings, catalogues: Path, clouds: Sequence[str], state_dir: Path) -> Settings:
    """Return the settings with these catalogues of these clouds, and a state of their own that knows no service."""
    sky = settings.skypilot.model_copy(update={"clouds": tuple(clouds), "catalogs": catalogues})
    return settings.model_copy(update={"skypilot": sky, "state_dir": state_dir})


def our_plan(loaded: LoadedSpec, runtime: Runtime, run: Run) -> OurPlan:
    """Plan twice. Raises what ``greenctl plan`` raises."""
    first = time.perf_counter()
    plan = run(preview_deploy(loaded.spec, loaded.digest, runtime, check=False))
    again = time.perf_counter()
    run(preview_deploy(loaded.spec, loaded.digest, runtime, check=False))
    end = time.perf_counter()
    assessments = plan.decision.assessments
    excluded = Counter(rule for a in assessments for rule in {v.rule for v in a.verdicts if not v.passed})
    return OurPlan(
        offers=len(assessments),
        regions=len({a.region for a in assessments}),
        allowed=sum(a.allowed for a in assessments),
        excluded_by=tuple(sorted(excluded.items(), key=lambda item: (-item[1], item[0]))),
        choices=tuple(_choice(a, plan) for a in assessments if a.chosen),
        first_seconds=again - first,
        again_seconds=end - again,
        assessments=assessments,
    )


def _choice(chosen: Assessment, plan: Plan) -> Choice:
    replicas = sum(action.offer_id == chosen.offer_id for action in plan.actions)
    return Choice(chosen.offer_id, replicas, chosen.usd_per_hour, chosen.grams_per_hour)
