"""What ``greenctl doctor`` looks at. Every look ends in a check: an error found on the way is a finding, not an end."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from orchestrator.cli import soundness
from orchestrator.cli.acting import acting_elsewhere, in_words, last_word
from orchestrator.cli.origins import database_shown
from orchestrator.cli.orphans import turn_for
from orchestrator.cli.render.checks import Check, Outcome
from orchestrator.cli.render.headline import grid_time
from orchestrator.cli.render.numbers import age, instant, number
from orchestrator.cli.render.orphans import ACCEPT, BRAKE
from orchestrator.cli.session import Session
from orchestrator.control.orphan_survey import ENDED, orphan_survey
from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, Factors
from orchestrator.domain.orphans import SuspectKind
from orchestrator.domain.records import ServiceState
from orchestrator.errors import GreenctlError

MAX_SIGNAL_AGE: Final = timedelta(minutes=90)
"""The default of ``carbon.max_age``: older numbers hold voluntary moves."""

MIB: Final = 1024 * 1024
SUPPORTED: Final = {"linux": "Linux", "darwin": "macOS"}


def diagnose(session: Session) -> list[Check]:
    """Look at everything, the world that depends on nothing first."""
    checks = [_platform(), *_guarded("packages", soundness.packages), *_guarded("disk", lambda: _disk(session))]
    database = _guarded("database", lambda: _database(session))
    checks += database
    checks += _guarded("engine vllm", lambda: _vllm(session))
    checks += [Check("engine builtin", Outcome.OK, "part of greenctl; answers without a model, for trying things out")]
    if any(c.outcome is Outcome.FAILED for c in database):
        return [*checks, Check("the rest", Outcome.WARNING, "not looked at: it needs the database")]
    for name, look in (
        ("clock", _clock),
        ("clock skew", soundness.clocks),
        ("controller", _controller),
        ("turns", soundness.turns),
        ("journal", soundness.journal),
        ("paused", soundness.pauses),
        ("gateway", _gateway),
        ("signals", _signals),
        ("server clocks", soundness.server_clocks),
        ("recording", _recording),
        ("replicas", _replicas),
        ("leases", soundness.leases),
    ):
        checks += _guarded(name, lambda look=look: look(session))  # type: ignore[misc]  # bound now, called now
    return checks


def _guarded(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    found: list[Check] = []
    try:
        found.extend(look())
    except GreenctlError as error:
        found.append(Check(name, Outcome.FAILED, error.message, error.hint()))
    except (OSError, ValueError) as error:
        found.append(Check(name, Outcome.FAILED, f"{type(error).__name__}: {error}"))
    return found


def _platform() -> Check:
    words = f"Python {platform.python_version()} on {platform.platform()}"
    if sys.platform in SUPPORTED:
        return Check("platform", Outcome.OK, words)
    known = ", ".join(SUPPORTED.values())
    return Check("platform", Outcome.WARNING, f"{words}: greenctl is not tested there", f"Tested on {known}.")


def _disk(session: Session) -> Iterator[Check]:
    settings = session.settings
    free = shutil.disk_usage(_nearest(settings.state_dir)).free // MIB
    words = f"{free:,} MiB free for {settings.state_dir}"
    if free >= settings.local.min_free_disk_mib:
        yield Check("disk", Outcome.OK, words)
    else:
        wanted = settings.local.min_free_disk_mib
        yield Check("disk", Outcome.FAILED, words, f"Replicas need {wanted} MiB: free some, or set GREENCTL_STATE_DIR.")


def _nearest(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _database(session: Session) -> Iterator[Check]:
    uid = session.runtime.store.deployment_uid()
    count = len(session.runtime.store.services())
    words = (
        f"{database_shown(session.settings.store_url)}, deployment {uid}, {count} service{'' if count == 1 else 's'}"
    )
    yield Check("database", Outcome.OK, words)


def _vllm(session: Session) -> Iterator[Check]:
    program, version = session.outside.vllm(session.settings)
    yield Check("engine vllm", Outcome.OK, f"version {version or 'unknown'} in {program}")


def _clock(session: Session) -> Iterator[Check]:
    clock = session.runtime.clock
    words = f"grid time {grid_time(clock.now(), clock.rate).removeprefix('grid time ')}"
    yield Check("clock", Outcome.OK if clock.rate == 1.0 else Outcome.NOTE, words)


def _controller(session: Session) -> Iterator[Check]:
    info = session.outside.controller().info(session.settings)
    if info is not None:
        yield Check("controller", Outcome.OK, f"pid {info.pid}, since {info.since}, epoch {info.epoch}")
    elif (there := acting_elsewhere(session)) is not None:
        yield Check("controller", Outcome.OK, in_words(there))
    elif any(s.state is not ServiceState.DOWN for s in session.runtime.store.services()):
        words = f"none runs{last_word(session)}: nothing is replaced and nothing moves"
        yield Check("controller", Outcome.WARNING, words, "greenctl controller start")
    else:
        yield Check("controller", Outcome.NOTE, "none runs, and there is nothing to control; a deploy starts it")


def _gateway(session: Session) -> Iterator[Check]:
    info = session.outside.gateway().running(session.settings.state_dir)
    if info is None:
        active = any(s.state is not ServiceState.DOWN for s in session.runtime.store.services())
        words = "none runs: nobody is served" if active else "none runs, and there is nothing to serve"
        outcome = Outcome.WARNING if active else Outcome.NOTE
        yield Check("gateway", outcome, words, "greenctl controller start" if active else "")
        return
    status = session.run(session.runtime.gateway.status())
    words = f"{info.url}, pid {info.pid}, mode {info.mode}, routing table {status.applied_version or 'not yet there'}"
    yield Check("gateway", Outcome.OK, words)


def _signals(session: Session) -> Iterator[Check]:
    for zone, basis in _asked_for(session):
        name = f"signal {zone}" if basis == Basis() else f"signal {zone} {basis.accounting} {basis.factors}"
        yield from _guarded(name, lambda zone=zone, basis=basis, name=name: _signal(session, zone, basis, name))  # type: ignore[misc]  # bound now, called now


def _bases(session: Session) -> set[Basis]:
    """Return what the services go by; the default where there is none yet."""
    records = session.runtime.store.services()
    return {r.spec.carbon.basis for r in records if r.state is not ServiceState.DOWN} or {Basis()}


def _asked_for(session: Session) -> list[tuple[str, Basis]]:
    """Return the zones of this machine's regions, and those where replicas are, each with what its services go by."""
    store, own = session.runtime.store, {region.zone for region in session.settings.local.regions.values()}
    found = {(zone, basis) for zone in own for basis in _bases(session)}
    for record in store.services():
        here = {replica.zone for replica in store.replicas(record.name)}
        found |= {(zone, record.spec.carbon.basis) for zone in here if zone is not None}
    return sorted(found, key=lambda pair: (pair[0], pair[1].accounting, pair[1].factors))


def _signal(session: Session, zone: str, basis: Basis, name: str) -> Iterator[Check]:
    now = session.runtime.clock.now()
    reading = session.run(session.runtime.carbon.latest(zone, basis, now))
    if not isinstance(reading, CarbonIntensity):
        yield Check(name, Outcome.FAILED, f"{reading.reason} ({reading.source})", _SIGNAL_HINT)
        return
    old = reading.age(now)
    words = f"{number(reading.grams_per_kwh)} g/kWh, {reading.kind.value}, {age(old)} old, from {reading.source}"
    if old <= MAX_SIGNAL_AGE:
        yield Check(name, Outcome.OK, words)
    else:
        hint = f"Older than {age(MAX_SIGNAL_AGE)}: voluntary moves are held. {_SIGNAL_HINT}"
        yield Check(name, Outcome.WARNING, words, hint)


_SIGNAL_HINT: Final = "greenctl config show --origin names the sources (signals.*)."


def _factors(bases: set[Basis]) -> str:
    words = {Factors.LIFECYCLE: "life-cycle", Factors.DIRECT: "direct"}
    return " or ".join(sorted(words[basis.factors] for basis in bases))


def _recording(session: Session) -> Iterator[Check]:
    folder = session.settings.signals.recorded
    if folder is None:
        yield Check("recording", Outcome.NOTE, "none is configured (GREENCTL_SIGNALS__RECORDED); profiles stand in")
        return
    now = session.runtime.clock.now()
    bases = {b for b in _bases(session) if b.accounting is Accounting.AVERAGE} or {Basis()}
    covered = [c for c in session.outside.coverage(folder) if c.basis in bases]
    here = [c for c in covered if c.first <= now < c.until]
    if not covered:
        yield Check("recording", Outcome.FAILED, f"{folder} has no {_factors(bases)} series")
        return
    span = f"{instant(min(c.first for c in covered))} to {instant(max(c.until for c in covered))}"
    count, current = len({c.zone for c in covered}), len({c.zone for c in here})
    words = f"{folder}: {count} zones, {span}; {current} cover {instant(now)}"
    own = {region.zone for region in session.settings.local.regions.values()}
    missing = sorted(own - {c.zone for c in here})
    if not missing:
        yield Check("recording", Outcome.OK, words)
    else:
        hint = f"Not covered now: {', '.join(missing)}. Set GREENCTL_WORLD__START inside the recording."
        yield Check("recording", Outcome.WARNING, words, hint)


def _replicas(session: Session) -> Iterator[Check]:
    """Set what the providers have beside what is recorded: the worst bug class is a paid instance that nobody owns."""
    survey = session.run(orphan_survey(session.runtime, turn_for=turn_for(session)))
    if survey.twins:
        uid, names = survey.deployment_uid, ", ".join(survey.twins)
        words = f"another database acts as deployment {uid}: it launched {names}, which no intent here is about"
        yield Check("twin", Outcome.FAILED, words, _TWIN_HINT)
    elif survey.restored_epoch is not None:
        yield Check("restored", Outcome.FAILED, BRAKE, f"Look: {_ORPHAN_HINT}; go on from it: {ACCEPT}")
    for source in survey.sources:
        name = f"replicas {source.name}"
        if not source.complete:
            yield Check(name, Outcome.FAILED, source.trouble, "What it lacks proves nothing; it is read again.")
        here = [o for o in survey.orphans if o.source == source.name]
        unowned = [o.name for o in here if o.kind == SuspectKind.STRANGER.value]
        outlived = [o.name for o in here if o.kind == ENDED]
        missing = [o.name for o in here if o.kind == SuspectKind.ABSENT.value]
        if unowned:
            yield Check(name, Outcome.FAILED, f"without a record: {', '.join(unowned)}", _ORPHAN_HINT)
        if outlived:
            words = f"had ended, and still there: {', '.join(outlived)}"
            yield Check(name, Outcome.WARNING, words, "A running controller ends them again.")
        if missing:
            words = f"recorded, but not there: {', '.join(missing)}"
            yield Check(name, Outcome.WARNING, words, "A running controller asks about each and replaces it.")
        if not here and source.complete:
            yield Check(name, Outcome.OK, f"{source.shown} there, all recorded")


_TWIN_HINT: Final = (
    "A state directory was copied or restored elsewhere and both are in use. Stop the controller of one of them"
    " (greenctl controller stop) before anything else; then: greenctl doctor --orphans"
)
_ORPHAN_HINT: Final = "greenctl doctor --orphans"
