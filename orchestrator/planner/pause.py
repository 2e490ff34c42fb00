"""What a paused service still gets: what keeps it up, and nothing that somebody merely wants.

A pause is the owner's brake. What is lost is replaced, what load needs is launched, a replacement that fails is taken
back, and what has left the traffic is ended. Nothing moves, nothing that serves is ended, and a rollout stays where it
stands: both sides of it serve on with the shares that they have. The end of the whole service is not voluntary: whoever
asks for it has said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.plan import Action, ActionKind, Plan
from orchestrator.domain.replica import LIVE, Replica, ReplicaState
from orchestrator.planner.rollout import ABORTED, Step, StepKind


@dataclass(frozen=True, slots=True)
class Held:
    """A plan without what is voluntary in it, and that: in the order of the plan."""

    plan: Plan
    withheld: tuple[Action, ...]


def hold_voluntary(plan: Plan) -> Held:
    """Take moves and ends out of a plan; launches stay. A plan to take the service down stays whole."""
    if plan.decision.kind is DecisionKind.TAKE_DOWN:
        return Held(plan, ())
    kept = tuple(a for a in plan.actions if a.kind is ActionKind.LAUNCH)
    withheld = tuple(a for a in plan.actions if a.kind is not ActionKind.LAUNCH)
    if not withheld:
        return Held(plan, ())
    kind = DecisionKind.SCALE if plan.decision.exchanged else plan.decision.kind
    kind = kind if kept else DecisionKind.HOLD
    decision = replace(plan.decision, kind=kind, summary=_summary(plan, kept, withheld), exchanged="")
    return Held(replace(plan, actions=kept, decision=decision), withheld)


def needed_steps(steps: Sequence[Step], replicas: Sequence[Replica]) -> tuple[Step, ...]:
    """Leave out the steps that a paused service can do without. ``replicas``: all open ones of the service."""
    by_name = {r.name: r for r in replicas}
    return tuple(s for s in steps if not _is_voluntary(s, by_name))


def _is_voluntary(step: Step, by_name: Mapping[str, Replica]) -> bool:
    replica = by_name.get(step.replica)
    if replica is None:
        return False
    replaced = by_name.get(replica.replaces or "")
    match step.kind:
        case StepKind.ISSUE:
            # What was asked for before may be on its way: the same name is asked again, and buys nothing new.
            wanted_anew = replica.state is ReplicaState.PENDING
            return wanted_anew and replaced is not None and replaced.state in LIVE
        case StepKind.WEIGHT:
            return replaced is not None and replaced.state is ReplicaState.READY
        case StepKind.DRAIN:
            return not step.reason.startswith(ABORTED)
        case _:
            return False


def _summary(plan: Plan, kept: Sequence[Action], withheld: Sequence[Action]) -> str:
    words = ", ".join(_words(a) for a in withheld)
    held = f"paused: {words}" if words else "paused"
    return f"{plan.decision.summary} ({held})" if kept else f"hold: {held}"


def _words(action: Action) -> str:
    if action.kind is ActionKind.MOVE:
        return f"r{action.slot} does not move to {action.region} ({action.reason})"
    return f"r{action.slot} is not ended ({action.reason})"
