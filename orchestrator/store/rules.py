"""What may be written, decided once for both stores. Every refusal is raised before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.domain.chain import JournalReport
from orchestrator.domain.decision import Decision, Verdict
from orchestrator.domain.records import Intent, IntentState, Operation, OperationState, Pause, Placement
from orchestrator.domain.replica import ENDED, NEXT_STATES, Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import format_instant
from orchestrator.domain.turns import LEASE, Claim, Turn, may_claim
from orchestrator.errors import Conflict, LeaseHeld, Superseded, UnknownService

OPEN_OPERATIONS = (OperationState.QUEUED, OperationState.RUNNING)
OPEN_INTENTS = (IntentState.PLANNED, IntentState.ISSUED)
ROUTING_VERSION = "routing_version"
SEEN_EPOCH, ACCEPTED_EPOCH = "restored_seen_epoch", "restored_accepted_epoch"
FULL_WEIGHT_PERCENT = 100
EVERY_SERVICE = ""
"""In the place of a service's name: the word is about all of them."""


def is_finished_with(replica: Replica) -> bool:
    """Whether the replica needs no more attention: ended, and nothing of it is left."""
    return replica.state in ENDED and replica.cleaned_up


def pauses_in_force(words: Iterable[Pause]) -> list[Pause]:
    """Return the newest word about each service that says paused, by name; the one about everything comes first."""
    newest = {word.service: word for word in words}
    return [newest[name] for name in sorted(newest) if newest[name].paused]


def check_arrow(name: str, now_in: ReplicaState, to: ReplicaState) -> None:
    """Allow the arrows of ``NEXT_STATES``; any other is a ``ValueError``."""
    if to not in NEXT_STATES[now_in]:
        raise ValueError(f"replica {name} cannot go from {now_in} to {to}")


def check_launch(replica: Replica, intent: Intent, placement: Placement) -> None:
    """Allow a pending replica with its own planned intent and placement; anything else is a ``ValueError``."""
    if replica.state is not ReplicaState.PENDING or intent.state is not IntentState.PLANNED:
        raise ValueError(f"replica {replica.name} must begin pending, with a planned intent")
    if {replica.name, intent.replica, placement.replica} != {replica.name} or replica.intent_id != intent.id:
        raise ValueError(f"replica {replica.name}, its intent and its placement name different things")
    if {replica.service, intent.service, placement.service} != {replica.service}:
        raise ValueError(f"replica {replica.name}, its intent and its placement belong to different services")
    check_weight(replica.name, replica.weight_percent)


def check_weight(name: str, weight_percent: int) -> None:
    """Allow 0..100."""
    if not 0 <= weight_percent <= FULL_WEIGHT_PERCENT:
        raise ValueError(f"replica {name} cannot weigh {weight_percent} percent")


def check_deploy(spec: ServiceSpec, operation: Operation) -> None:
    """Allow an operation about the spec's own service."""
    if operation.service != spec.name:
        raise ValueError(f"operation {operation.id} is about {operation.service}, the spec about {spec.name}")


def operation_changes(operation_id: str, now_in: OperationState, to: OperationState) -> bool:
    """Whether there is something to write.

    What is final stays as it is: the same again is nothing to write, another state is a ``ValueError``.
    """
    if now_in in OPEN_OPERATIONS:
        return True
    if to is not now_in:
        raise ValueError(f"operation {operation_id} is {now_in} for good, not {to}")
    return False


def deciding_verdicts(decision: Decision) -> list[tuple[str, Verdict]]:
    """Pick what the verdict table keeps, each with the offer or replica that it is about.

    That is every rule that failed, and all rules of what was chosen or compared. A decision weighs hundreds of offers;
    the rest stays in its document.
    """
    offers = [(a.offer_id, v) for a in decision.assessments for v in a.verdicts if a.chosen or not v.passed]
    moves = [(c.replica, v) for c in decision.comparisons for v in c.verdicts]
    return offers + moves


def check_findings(report: JournalReport, digest: str) -> None:
    """Allow somebody to accept exactly what was shown; raises ``Conflict`` when other things are found by now."""
    if report.digest != digest or report.is_whole:
        now = "nothing is wrong with the journal" if report.is_whole else f"the findings are {report.digest} now"
        raise Conflict(f"{now}, not {digest}", hint="Look again: greenctl journal check.")


def used_operation(operation_id: str) -> ValueError:
    """Say that an operation's id was already given to something else: a mistake of the caller."""
    return ValueError(f"operation {operation_id} is recorded, and is another one")


def superseded(mine: int, newest: int, holder: str) -> LeaseHeld:
    """Say that our turn is over."""
    return LeaseHeld(f"{holder or 'another controller'} took over (epoch {newest}); epoch {mine} can write no more")


def refuse_held(turn: Turn | None, claim: Claim) -> None:
    """Raise ``LeaseHeld`` while somebody else has the turn and may be at work."""
    if turn is None or may_claim(turn, claim):
        return
    ago = max(0, round(turn.silent_for.total_seconds()))
    raise LeaseHeld(
        f"the controller of {turn.claimant} has had the turn since {format_instant(turn.since)},"
        f" and was heard of {ago} s ago",
        hint="Stop it there: greenctl controller stop. If it is dead for sure: greenctl controller start --take-over."
        f" The turn is free when nothing was heard of it for {LEASE.total_seconds():.0f} s.",
    )


def conflicting(wanted: Operation, other: Operation | None) -> Conflict:
    """Say which request is in the way."""
    if other is None:
        return Conflict(f"another change of {wanted.service} was under way")
    return Conflict(f"{wanted.service}: {other.kind} {other.id} is still {other.state}")


def overtaken(other: Operation, wish: Operation) -> Operation:
    """Return how a request is closed that a take-down overtakes."""
    why = f"{wish.service} is being taken down by {wish.actor}"
    return replace(
        other, state=OperationState.FAILED, updated_at=wish.updated_at, error_code=Superseded.code, error=why
    )


def unknown_service(name: str) -> UnknownService:
    """Say that there is no such service."""
    return UnknownService(f"no service {name!r} is recorded")


def unknown(kind: str, name: str) -> ValueError:
    """Say that the journal was asked to change what it never recorded: a mistake of the caller."""
    return ValueError(f"no {kind} {name!r} is recorded")
