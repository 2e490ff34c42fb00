"""What happens, in order: deploy, serve, let the grid change, migrate, kill, replace, account, take down.

Everything is done by the real commands and the real controller; the story only watches the store, sends the traffic and
kills one replica. Times are bounded; whatever happens, nothing is left running.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrator.clocks import VirtualClock
from orchestrator.control.grid import TRAILING
from orchestrator.control.ports import Records
from orchestrator.control.usecases import service_report
from orchestrator.demo.moment import Moment, find_moment
from orchestrator.demo.outcome import Outcome
from orchestrator.demo.stage import Stage, cleared, stage_settings
from orchestrator.demo.traffic import Stream, what_serves
from orchestrator.domain.carbon import Basis
from orchestrator.domain.decision import DecisionKind
from orchestrator.domain.records import EventKind
from orchestrator.domain.replica import Replica, ReplicaState
from orchestrator.domain.service import ServiceSpec
from orchestrator.domain.time import HOUR, Instant, format_instant
from orchestrator.errors import SignalUnavailable, TimedOut
from orchestrator.settings import LocalRegionSettings, WorldSettings
from orchestrator.signals.recorded import RecordedCarbon
from orchestrator.spec.service_file import LoadedSpec, load_service_file
from orchestrator.store.memory import MemoryStore
from orchestrator.wiring import build, client_key

RATE = 60.0
"""An hour of grid time per minute: a morning passes while the kettle boils."""

BEFORE = Path(__file__).parent / "service-before.yaml"
SPEC = Path(__file__).parent / "service.yaml"
EARLIEST_MOVE = timedelta(hours=1)
LATEST_MOVE = timedelta(hours=2, minutes=30)
PROFILE_YEAR = 2023
PROFILE_DAYS = 120
SEARCH_STEP = timedelta(hours=3)
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to play."""

    json_file: Path | None = None
    carbon_data: Path | None = None
    short: bool = False
    keep: bool = False

    @property
    def steady_seconds(self) -> float:
        """How long the traffic flows undisturbed, each time."""
        return 6.0 if self.short else 20.0


@dataclass(slots=True)
class Phases:
    """Seconds per phase, printed as they begin."""

    seconds: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def phase(self, name: str, text: str) -> AsyncIterator[None]:
        """Time one phase."""
        say(f"\n▸ {text}")
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 1)


def say(text: str) -> None:
    """Tell the audience."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def play(options: Options) -> int:
    """Play it; returns 0 when no response failed or was truncated and both a move and a replacement happened."""
    phases = Phases()
    before, loaded = load_service_file(BEFORE), load_service_file(SPEC)
    async with phases.phase("pick_moment", "looking for a moment at which the policy has something to decide"):
        moment = await _pick(options, before.spec, loaded.spec)
    say(
        f"  the grid is replayed from {format_instant(moment.start)} at {RATE:.0f}x (one grid hour a minute); "
        f"the policy should want to move about {format_instant(moment.move_at)}"
    )
    state_dir = Path(tempfile.mkdtemp(prefix="greenctl-demo-"))
    world = WorldSettings(start=moment.start, rate=RATE)
    stage = Stage(stage_settings(state_dir, carbon_data=options.carbon_data, world=world))
    async with cleared(stage, keep=options.keep):
        return await _perform(options, stage, phases, loaded, moment)


async def _pick(options: Options, before: ServiceSpec, after: ServiceSpec) -> Moment:
    """Search the recording, or the profiled year, in order. Nothing is started or stored."""
    with tempfile.TemporaryDirectory(prefix="greenctl-rehearsal-") as scratch:
        settings = stage_settings(Path(scratch), carbon_data=options.carbon_data, world=WorldSettings())
        starts = _starts(options, settings.local.regions)
        rehearsal = replace(build(settings), store=MemoryStore(), clock=VirtualClock(starts[0], RATE))
        found = await find_moment(before, after, rehearsal, starts, EARLIEST_MOVE, LATEST_MOVE)
    if found is None:
        message = "no moment was found at which the policy would move a replica"
        hint = "Use another folder with --carbon-data, or none for the synthetic profile."
        raise SignalUnavailable(message, hint=hint)
    return found


def _starts(options: Options, regions: Mapping[str, LocalRegionSettings]) -> list[Instant]:
    """Candidate beginnings: hours of the recording with four weeks of history, or of the profiled spring."""
    if options.carbon_data is None:
        first, hours = datetime(PROFILE_YEAR, 4, 1, tzinfo=UTC), PROFILE_DAYS * 24
        return [first + n * HOUR for n in range(hours)]
    zones = {r.zone for r in regions.values()}
    covered = [c for c in RecordedCarbon(options.carbon_data).coverage() if c.zone in zones and c.basis == Basis()]
    if {c.zone for c in covered} != zones:
        missing = ", ".join(sorted(zones - {c.zone for c in covered}))
        message = f"{options.carbon_data} has no life-cycle intensity of {missing}"
        raise SignalUnavailable(message, hint="Use a folder that records the zones of all local regions.")
    first = max(c.first for c in covered) + TRAILING + HOUR
    last = min(c.until for c in covered) - timedelta(days=1)
    return [first + n * SEARCH_STEP for n in range(max(0, int((last - first) / SEARCH_STEP)))]


async def _perform(options: Options, stage: Stage, phases: Phases, loaded: LoadedSpec, moment: Moment) -> int:
    """The play itself. The stage is cleared by the caller."""
    name = loaded.spec.name
    async with phases.phase("deploy", "greenctl deploy service-before.yaml --yes   (Germany is not allowed yet)"):
        await stage.must("deploy", str(BEFORE), "--yes")
    runtime, key = build(stage.settings), client_key(stage.settings)
    records = runtime.store
    stream = Stream(stage.url, key, loaded.spec.model.name, clients=4, max_tokens=48, pause_seconds=0.5)
    async with stream:
        async with phases.phase("steady", "steady chat traffic through the gateway"):
            await asyncio.sleep(options.steady_seconds)
        async with phases.phase("open_region", "greenctl deploy service.yaml --yes   (now it is; nothing has to move)"):
            await stage.must("deploy", str(SPEC), "--yes")
        async with phases.phase("migration", "the grid goes on; waiting for the policy's own move"):
            await _until(lambda: bool(_own_moves(records, name)), "the policy moved a replica", records, name)
        async with phases.phase("replacement", "SIGKILL to one serving replica"):
            victim = _serving(records, name)[0]
            killed = stage.kill_replica(victim.name)
            say(f"  killed {killed} processes of {victim.name} in {victim.region}")
            await _until(lambda: bool(_replaced(records, name)), "the lost replica was replaced", records, name)
        async with phases.phase("after", "steady traffic on the new fleet"):
            await asyncio.sleep(options.steady_seconds)
    for words in (("status",), ("explain", name, "--decision", _own_moves(records, name)[0]), ("report", name)):
        say(f"\n▸ greenctl {' '.join(words)}")
        await stage.must(*words)
    account = await service_report(runtime, name, None)
    engine, version = await what_serves(_serving(records, name)[0].endpoint or "")
    outcome = Outcome(
        engine=engine,
        engine_version=version,
        moment=moment,
        clock_rate=RATE,
        tally=stream.tally,
        migrations=len(_own_moves(records, name)),
        migrations_aborted=sum(e.kind is EventKind.MIGRATION_ABORTED for e in records.events(name)),
        replacements=len(_replaced(records, name)),
        account=account,
        phase_seconds=phases.seconds,
    )
    async with phases.phase("down", f"greenctl down {name} --yes"):
        await stage.must("down", name, "--yes")
    say(outcome.screen())
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(outcome.document(), indent=2) + "\n")
    return 0 if outcome.bar_is_met else 1


# ── watching ─────────────────────────────────────────────────────────────────────────────────────────


async def _until(holds: Callable[[], bool], what: str, records: Records, service: str) -> None:
    """Wait, printing the service's events as they come. Raises ``TimedOut``."""
    seen = max((e.id for e in records.events(service)), default=0)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            message = f"waited {PATIENCE_SECONDS:.0f} s and it did not happen: {what}"
            raise TimedOut(message)
        for event in records.events(service, after_id=seen):
            seen = event.id
            say(f"  {event.at:%d %b %H:%M} grid  {event.text}")
        await asyncio.sleep(0.5)


def _own_moves(records: Records, service: str) -> list[str]:
    """Decisions of the policy itself whose move is complete: the new replica serves, the old one is gone."""
    replicas = {r.name: r for r in records.replicas(service, ended=True)}
    finished = {
        r.replaces
        for r in replicas.values()
        if r.replaces in replicas and replicas[r.replaces].state is ReplicaState.TERMINATED and r.ready_at is not None
    }
    decisions = [d for d in records.decisions(service) if d.kind is DecisionKind.MOVE and d.actor == "policy"]
    return [d.id for d in decisions if any(c.replica in finished and c.approved for c in d.comparisons)]


def _serving(records: Records, service: str) -> list[Replica]:
    return [r for r in records.replicas(service) if r.state is ReplicaState.READY]


def _replaced(records: Records, service: str) -> list[str]:
    """Lost replicas whose slot has a ready replica again."""
    serving = {r.slot: r for r in _serving(records, service)}
    lost = [r for r in records.replicas(service, ended=True) if r.state is ReplicaState.LOST]
    return [r.name for r in lost if r.slot in serving and serving[r.slot].created_at > r.created_at]
