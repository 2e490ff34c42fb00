"""The one error tree.

Each error carries a stable ``code`` (for scripts and the API), the process ``exit_status`` that the CLI
returns for it, a sentence for people, and a hint: what to try next. Catch by meaning, not by module.

Exit statuses are part of the CLI contract and never change their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitStatus(IntEnum):
    """What the process returns; see ``greenctl --help``."""

    DONE = 0
    UNEXPECTED = 1
    INVALID = 2
    REFUSED = 3
    PROVIDER = 4
    SIGNALS = 5
    TIMED_OUT = 6
    OUT_OF_DATE = 7
    DECLINED = 8
    CHANGES_PENDING = 10
    INTERRUPTED = 130


class GreenctlError(Exception):
    """Root of every error that we raise on purpose."""

    code: str = "internal_error"
    exit_status: ExitStatus = ExitStatus.UNEXPECTED
    default_hint: str = "Run again with --debug and report the traceback."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self._hint = hint

    def hint(self) -> str:
        """Say what to try next, in one sentence."""
        return self._hint if self._hint is not None else self.default_hint


# ── what people wrote ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file: where (1-based line and column, if known), what, and the nearest right word."""

    path: str
    message: str
    line: int | None = None
    column: int | None = None
    suggestion: str | None = None


class UsageError(GreenctlError):
    """The command's words are off."""

    code = "usage"
    exit_status = ExitStatus.INVALID
    default_hint = "See the command's --help."


class InvalidSpec(GreenctlError):
    """A service or policy file that cannot be used; carries every problem found, not only the first."""

    code = "invalid_spec"
    exit_status = ExitStatus.INVALID
    default_hint = "Mend the lines above; nothing was contacted."

    def __init__(self, file: str, problems: tuple[Problem, ...], *, hint: str | None = None) -> None:
        count = len(problems)
        super().__init__(f"{file}: {count} problem{'s' if count != 1 else ''}", hint=hint)
        self.file = file
        self.problems = problems


class WouldOverwrite(UsageError):
    """A file that is there already would be lost."""

    code = "would_overwrite"
    default_hint = "Choose another folder, or repeat the command with --force."


class InvalidSettings(GreenctlError):
    """Configuration that contradicts itself or cannot be read."""

    code = "invalid_settings"
    exit_status = ExitStatus.INVALID
    default_hint = "Check greenctl.toml and the GREENCTL_* environment."


class InvalidProgram(GreenctlError):
    """A planning problem whose numbers contradict each other, lack something or cannot be."""

    code = "invalid_program"
    exit_status = ExitStatus.INVALID
    default_hint = "Mend the input named above; nothing was planned."


class BackupUnusable(GreenctlError):
    """A file that is no backup of ours, or not a whole one."""

    code = "backup_unusable"
    exit_status = ExitStatus.INVALID
    default_hint = "Nothing was changed. Take another backup."


class PromiseBroken(GreenctlError):
    """A simulated day in which the controller did what it must never do, or left undone what it has to do."""

    code = "promise_broken"
    exit_status = ExitStatus.UNEXPECTED
    default_hint = "Report the seed with the version and the options of the command: the same day follows from them."


class UnknownService(GreenctlError):
    """No service of that name is recorded."""

    code = "unknown_service"
    exit_status = ExitStatus.INVALID
    default_hint = "greenctl status lists the services."


class UnknownRegion(GreenctlError):
    """A region that the catalogue does not have."""

    code = "unknown_region"
    exit_status = ExitStatus.INVALID
    default_hint = "greenctl carbon lists the regions that are configured."


# ── what the policy refuses ──────────────────────────────────────────────────────────────────────────


class PolicyRefusal(GreenctlError):
    """The policy says no."""

    code = "policy_refusal"
    exit_status = ExitStatus.REFUSED


class NoFeasiblePlacement(PolicyRefusal):
    """No offer, or too few offers, satisfy the constraints."""

    code = "no_feasible_placement"
    default_hint = "Relax the constraint named above or add a region."


class BudgetSpent(PolicyRefusal):
    """A launch does not fit into the service's budget."""

    code = "budget_spent"
    default_hint = "Raise the budget in the service file, shorten the lease, or wait for the next period."


class Frozen(PolicyRefusal):
    """A freeze of the service's own schedule: nothing voluntary moves."""

    code = "frozen"
    default_hint = (
        "Wait for its end, or take it out of migration.schedule and deploy; lost replicas are replaced anyhow."
    )


class SignalsTooOld(NoFeasiblePlacement):
    """Nothing can be placed because no zone has a usable carbon intensity."""

    code = "signals_too_old"
    exit_status = ExitStatus.SIGNALS
    default_hint = "Replay a recording with GREENCTL_WORLD__START, or set carbon.when_stale."


class RestoredDatabase(PolicyRefusal):
    """Providers show what a newer copy of this database must have known."""

    code = "restored_database"
    default_hint = "greenctl doctor --orphans shows what is missing here; --accept-restored goes on without it."


# ── providers, engines, this machine ─────────────────────────────────────────────────────────────────


class ProviderError(GreenctlError):
    """A cloud, an engine or this machine did not do what was asked."""

    code = "provider_error"
    exit_status = ExitStatus.PROVIDER
    default_hint = "What an engine said itself: greenctl logs SERVICE; what greenctl has seen: greenctl status SERVICE."


class EngineMissing(ProviderError):
    """The engine that the spec asks for is not installed here."""

    code = "engine_missing"
    default_hint = "Run `make env` in the checkout; `greenctl doctor` says what was found."


class EngineDied(ProviderError):
    """An engine process ended before it became ready."""

    code = "engine_died"


class LaunchTimedOut(ProviderError):
    """A replica did not become ready before its deadline."""

    code = "launch_timed_out"


class WrongRegion(ProviderError):
    """A replica runs somewhere else than it was asked for, by its provider's own word."""

    code = "wrong_region"
    default_hint = (
        "It is ended and serves nobody: its grid, its price and its laws are not those that were planned for."
    )


class MigrationAborted(ProviderError):
    """A replacement failed requests, so the traffic went back to the replica that it was to replace."""

    code = "aborted"
    default_hint = "The old replica goes on serving; the replacement's log says why it failed."


class NoCapacity(ProviderError):
    """The region has no room for this shape now; remembered, so that the next try goes elsewhere."""

    code = "no_capacity"


class QuotaExceeded(NoCapacity):
    """The account may not have more of this shape in the region."""

    code = "quota_exceeded"
    default_hint = "Ask the provider for more quota; until then the next try goes elsewhere."


class CredentialsMissing(ProviderError):
    """The provider does not let us in."""

    code = "credentials_missing"
    default_hint = "Run `sky check` where the SkyPilot API server runs; it says what each cloud still needs."


class UnsupportedByProvider(ProviderError):
    """The provider cannot do what was asked there (spot, ports, an image...)."""

    code = "unsupported_by_provider"
    default_hint = "Choose another region or market, or leave the feature out of the service file."


class ProviderUnavailable(ProviderError):
    """Nobody at the provider could be asked; what was asked before may still happen."""

    code = "provider_unavailable"
    default_hint = "The controller asks again by itself; for SkyPilot see `sky api info`."


class InstanceGone(ProviderError):
    """What was asked about does not exist at the provider (any more)."""

    code = "instance_gone"


class PriceMoved(ProviderError):
    """The provider asks for more than the plan that was confirmed says."""

    code = "price_moved"
    default_hint = "Run greenctl plan again: it shows the new price, and may choose something else."


class PortBusy(ProviderError):
    """Something else listens on the port."""

    code = "port_busy"


class DiskFull(ProviderError):
    """No space left for state, logs or weights."""

    code = "disk_full"
    default_hint = "Free some space and run the command again; nothing was started."


class GatewayUnavailable(ProviderError):
    """The gateway does not answer on its control socket."""

    code = "gateway_unavailable"
    default_hint = "greenctl doctor; the controller starts the gateway again by itself."


class ControllerUnavailable(ProviderError):
    """No controller runs, or it does not answer."""

    code = "controller_unavailable"
    default_hint = "greenctl controller start"


class StoreUnavailable(ProviderError):
    """The database cannot be read or written."""

    code = "store_unavailable"
    default_hint = "Check GREENCTL_DATABASE_URL and that the database is up."


class StoreIncompatible(ProviderError):
    """The database was written by another version of the schema."""

    code = "store_incompatible"
    default_hint = "Use the greenctl version that wrote it, or restore a backup."


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────


class SignalUnavailable(GreenctlError):
    """A zone, or a source, has no usable value."""

    code = "signal_unavailable"
    exit_status = ExitStatus.SIGNALS
    default_hint = "greenctl carbon shows each zone's source and age."


class SignalFormatError(SignalUnavailable):
    """A source answered with something we do not understand."""

    code = "signal_format"


class SignalRefused(SignalUnavailable):
    """A source does not let us in, or the plan of our account has no part in what was asked."""

    code = "signal_refused"
    default_hint = "Check the source's key and what its plan includes; greenctl carbon shows who answers meanwhile."


class SignalThrottled(SignalUnavailable):
    """A source asks us to come back later. ``retry_after_seconds``: when, if it said so."""

    code = "signal_throttled"
    default_hint = "The source is asked again by itself when it wants to be."

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class PriceUnavailable(GreenctlError):
    """No price is known for what was asked."""

    code = "price_unavailable"
    exit_status = ExitStatus.SIGNALS
    default_hint = "Check the price catalogue named by GREENCTL_PRICES__CATALOGUE."


# ── time and turn ────────────────────────────────────────────────────────────────────────────────────


class TimedOut(GreenctlError):
    """We stopped waiting; the work goes on."""

    code = "timed_out"
    exit_status = ExitStatus.TIMED_OUT


class StalePlan(GreenctlError):
    """The plan that was shown is not the plan that would be applied now."""

    code = "stale_plan"
    exit_status = ExitStatus.OUT_OF_DATE
    default_hint = "Run greenctl plan again and use the new digest."


class Conflict(GreenctlError):
    """Somebody else is changing the same service."""

    code = "conflict"
    exit_status = ExitStatus.OUT_OF_DATE
    default_hint = "Wait for the other change to finish: greenctl rollout status SERVICE."


class Superseded(Conflict):
    """The request was given up because the service is being taken down."""

    code = "superseded"
    default_hint = "greenctl rollout status SERVICE follows the take-down."


class Paused(Conflict):
    """Somebody has said that nothing voluntary may be done."""

    code = "paused"
    default_hint = "greenctl resume SERVICE, when you are sure."


class JournalEdited(Conflict):
    """The journal was changed past its chain, and nobody has accepted that yet."""

    code = "journal_edited"
    default_hint = "greenctl journal check shows what; greenctl journal accept goes on from it."


class LeaseHeld(Conflict):
    """Another controller owns this deployment."""

    code = "lease_held"
    default_hint = "greenctl controller status names the owner."


class Declined(GreenctlError):
    """You answered no."""

    code = "declined"
    exit_status = ExitStatus.DECLINED
    default_hint = "Nothing was changed."
