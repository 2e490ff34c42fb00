"""What the optimiser hands back: the plan, what it costs, what nothing can cost less than, and how it was come by."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from orchestrator.domain.certificate import Budget, Rung
from orchestrator.domain.time import Instant
from orchestrator.planner.optimum.problem import Floats

__all__ = ["ENOUGH", "Answer", "Budget", "Conflict", "Plan", "Relaxation", "Rung"]

ENOUGH: float = 1e-6
"""Part of the demand that counts as nothing: a solver's feasibility tolerance."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Replicas ``[offers, steps]`` and traffic ``[origins, regions, steps]`` in tokens/s, in the order of the names.

    The first ``whole_steps`` steps are whole replicas, and only those are meant to be acted on; later ones may be
    parts, which stand for the mean of what will be decided then.
    """

    start: Instant
    step_hours: Floats
    offers: tuple[str, ...]
    regions: tuple[str, ...]
    origins: tuple[str, ...]
    replicas: Floats
    traffic: Floats
    whole_steps: int

    def first_step(self) -> dict[str, int]:
        """Return how many replicas of which offer should run now; offers without any are left out."""
        now = np.rint(self.replicas[:, 0]).astype(int)
        return {name: int(count) for name, count in zip(self.offers, now, strict=True) if count}

    @property
    def digest(self) -> str:
        """Name the plan by every number in it."""
        text = "\n".join((*self.offers, *self.regions, *self.origins)).encode()
        return sha256(text + self.replicas.tobytes() + self.traffic.tobytes()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One rule to give up, and what it would have to allow: ``needs`` in ``unit`` is enough for all demand."""

    rule: str
    needs: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The rules cannot all hold. ``relax``: the fewest rules that have to give way together.

    Empty where even without any rule something is left over, or where there was no time to find out; ``text`` says
    which.
    """

    relax: tuple[Relaxation, ...]
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A plan with its certificate.

    ``objective``: what the plan costs, weighted, penalties included, whole replicas in its whole steps. ``bound``: what
    every plan costs at least. ``linear``: the cost of the plan before its first step was made whole, ``None`` where
    there was none. ``missing_tokens`` and ``exposed_tokens``: the largest demand of a step, tokens/s, that is not
    served, and not covered when the largest region is lost. ``conflict`` says why, if any of it is not zero.
    """

    plan: Plan
    rung: Rung
    objective: float
    bound: float
    linear: float | None
    missing_tokens: float
    exposed_tokens: float
    conflict: Conflict | None

    @property
    def gap(self) -> float:
        """How much of the objective might still be saved, as a fraction: 0 means proven optimal."""
        return _gap(self.objective, self.bound)

    @property
    def linear_gap(self) -> float:
        """The same for the linear plan, before whole replicas were asked for."""
        return _gap(self.objective if self.linear is None else self.linear, self.bound)


def _gap(objective: float, bound: float) -> float:
    scale = max(abs(objective), abs(bound))
    return 0.0 if scale == 0 else max(0.0, objective - bound) / scale
