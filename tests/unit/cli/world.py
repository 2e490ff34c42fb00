"""A whole world in memory behind the command line: every port is the shipped fake, the controller is the real one.

The controller looks once whenever somebody who waits lets time pass, so a command that follows its request sees it
done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.cli.outside import Outside
from orchestrator.cli.session import Session
from orchestrator.clocks import VirtualClock
from orchestrator.control.controller import Controller
from orchestrator.control.ports import CarbonSource
from orchestrator.control.runtime import Runtime
from orchestrator.controller.daemon import ControllerInfo
from orchestrator.domain import turns
from orchestrator.domain.carbon import Kind
from orchestrator.domain.hardware import PowerModel, Shape
from orchestrator.domain.offer import Offer
from orchestrator.domain.places import Region
from orchestrator.domain.price import Market, Price
from orchestrator.domain.time import HOUR
from orchestrator.domain.turns import LEASE, Claim, Claimant, Turn
from orchestrator.errors import EngineMissing
from orchestrator.gateway.fake import FakeGateway
from orchestrator.gateway.instance import GatewayInfo
from orchestrator.gateway.options import Options
from orchestrator.prices.fake import FakeOffers
from orchestrator.provisioners.fake import FakeProvisioner
from orchestrator.regions.catalogue import RegionCatalogue
from orchestrator.settings import LocalRegionSettings, LocalSettings, Settings
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.fake import FakeCarbon
from orchestrator.store.memory import MemoryStore
from orchestrator.telemetry.engine_probe import FakeProbe
from tests.unit.cli.samples import NOW

ZONES = {"se": ("SE", 20.0, 0.09), "de": ("DE", 400.0, 0.085)}
POWER = PowerModel(3.0, 9.0, 4.0, "modelled", 0.5, "test")
CPU = Shape("2vCPU-4GB", None, 0, 2.0, 4.0, POWER)

SPEC = """\
name: chat
model: {id: greenctl/tiny, engine: builtin}
placement: {allow: ['local/*']}
"""


class DrivenClock(VirtualClock):
    """Lets the world move on while somebody sleeps; the world's own sleeping does not count."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.while_asleep: Callable[[], Any] | None = None

    async def sleep(self, physical_seconds: float) -> None:
        """Let time pass, and the world with it."""
        work, self.while_asleep = self.while_asleep, None
        try:
            await super().sleep(physical_seconds)
            if work is not None:
                await work()
        finally:
            self.while_asleep = work


class AnsweringProbe(FakeProbe):
    """Engines that serve as soon as they have an endpoint, unless they are told to be mute."""

    is_mute = False

    async def is_healthy(self, endpoint: str) -> bool:
        """Whether anybody is there."""
        if not self.is_mute:
            self.serve(endpoint)
        return await super().is_healthy(endpoint)


@dataclass
class World(Outside):
    """What the commands see in place of the real world. ``said`` is what the fake daemons were asked."""

    folder: Path
    clock: DrivenClock = field(default_factory=DrivenClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    carbon: FakeCarbon = field(default_factory=lambda: FakeCarbon(kind=Kind.RECORDED))
    offers: FakeOffers = field(default_factory=FakeOffers)
    gateway_port: FakeGateway = field(default_factory=FakeGateway)
    controller_runs: bool = False
    controller_since: str = "2023-06-01T12:20:00Z"
    gateway_runs: bool = False
    gateway_listens_on: int = 8080
    vllm_is_here: bool = True
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Two regions of this machine, one clean and one cheap."""
        self.provisioner = FakeProvisioner(self.clock.monotonic, providers=frozenset({"local"}))
        for name, (zone, grams, usd) in ZONES.items():
            region = Region(f"local/{name}", zone, 1.2, "test", frozenset({"EU"}))
            self.offers.put(Offer(region, CPU, Market.ON_DEMAND, Price(usd, "test list", Kind.SYNTHETIC, NOW)))
            self.carbon.hold(zone, grams)
        self.probe = AnsweringProbe()
        self._runtime = Runtime(
            clock=self.clock,
            carbon=self.carbon,
            offers=self.offers,
            provisioners={"local": self.provisioner},
            probe=self.probe,
            gateway=self.gateway_port,
            store=self.store,
            client_keys_sha256=("0" * 64,),
            gateway_url=lambda: f"http://127.0.0.1:{self.gateway_listens_on}",
        )

    # ── what the commands ask ────────────────────────────────────────────────────────────────────────

    def settings(self) -> Settings:
        """Settings that live in the test's folder."""
        regions = {name: LocalRegionSettings(zone=zone) for name, (zone, _, _) in ZONES.items()}
        return Settings(
            state_dir=self.folder / "state", cache_dir=self.folder / "cache", local=LocalSettings(regions=regions)
        )

    def setting_files(self) -> Mapping[str, Path]:
        """One file, in the test's folder."""
        return {"greenctl.toml": self.folder / "greenctl.toml"}

    def runtime(self, settings: Settings, *, only_looks: bool = False) -> Runtime:
        """The fakes."""
        del settings, only_looks
        return self._runtime

    def stand_in(self, source: CarbonSource) -> None:
        """Let this source answer whatever the world's own one does not."""
        self._runtime = replace(self._runtime, carbon=CompositeCarbon([self.carbon, source]))

    def regions(self, settings: Settings) -> RegionCatalogue:
        """The regions that are offered."""
        del settings
        return RegionCatalogue(offer.region for offer in self.offers._offers.values())

    def actor(self) -> str:
        """Who asks."""
        return "ada"

    def vllm(self, settings: Settings) -> tuple[Path, str]:
        """An engine that is here, or not."""
        del settings
        if not self.vllm_is_here:
            raise EngineMissing("vLLM is not installed: neither here nor on the PATH")
        return Path("/opt/vllm/bin/vllm"), "0.32.0"

    def client_key_file(self, settings: Settings) -> Path:
        """Where the key would be."""
        return settings.state_dir / "client-key"

    def gateway_options(self, settings: Settings) -> Options:
        """How the gateway would be started."""
        return Options(settings.state_dir, port=settings.gateway.port, plain=True)

    def configure_logs(self, *, verbose: bool, debug: bool) -> None:
        """Leave the test run's logs alone."""

    def controller(self) -> FakeControllerDaemon:  # type: ignore[override]
        """The controller in this process."""
        return FakeControllerDaemon(self)

    def gateway(self) -> FakeGatewayDaemon:  # type: ignore[override]
        """A gateway that is only said to run."""
        return FakeGatewayDaemon(self)

    # ── what a test does ─────────────────────────────────────────────────────────────────────────────

    def start_controller(self) -> None:
        """Let the real controller look whenever time passes."""
        self.controller_runs = True
        self.clock.while_asleep = Controller(self._runtime, self.store.claim("test", self.clock.now())).tick

    def hear_elsewhere(self, *, silent_for: timedelta = timedelta(seconds=3)) -> None:
        """Have a controller on another host that was heard of then; if that is lately, it looks as time passes."""
        other = Claimant("build2", "/srv/greenctl", "0f3a", 12)
        journal = self.store.claim("pid 12", self.clock.now(), Claim(other, take_over=True))
        self.clock.while_asleep = Controller(self._runtime, journal).tick if silent_for < LEASE else None
        turn = self.store._state.turn
        assert turn is not None
        self.store._state.turn = replace(turn, heard_at=turn.heard_at - silent_for, since=turn.since - HOUR)

    def spec_file(self, text: str = SPEC) -> Path:
        """Write a service file."""
        path = self.folder / "service.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *words: object, answers: Sequence[str] | None = None, **environment: str) -> Result:
        """Run one command line; ``answers``: what a person types, ``None`` where nobody is there to be asked."""
        typed = iter(answers or ())
        session = Session(
            self,
            interactive=lambda: answers is not None,
            read_answer=lambda: next(typed) + "\n",
        )
        runner = CliRunner(env={"COLUMNS": "150", "NO_COLOR": "1", **environment})
        return runner.invoke(app, [str(w) for w in words], obj=session)

    def document(self, *words: object, **environment: str) -> Any:
        """Run a command line with ``--json`` and return its one document."""
        result = self.run(*words, "--json", **environment)
        document = json.loads(result.stdout)
        assert document["format_version"] == 1
        return document

    def deploy(self, text: str = SPEC) -> None:
        """Have a service that runs."""
        result = self.run("deploy", self.spec_file(text), "--yes")
        assert result.exit_code == 0, result.output

    def pass_time(self, length: timedelta) -> None:
        """Let grid time pass, hour by hour at most, without anybody looking."""
        while length > timedelta(0):
            step = min(length, HOUR)
            self.clock.advance(step)
            length -= step


@dataclass
class FakeControllerDaemon:
    """Starts the real controller in this process."""

    world: World

    def start(self, settings: Settings, *, progress: Callable[[str], None], take_over: bool = False) -> ControllerInfo:
        """Let it look from now on."""
        self.world.said.append("controller start --take-over" if take_over else "controller start")
        if not self.world.controller_runs:
            progress("starting the controller")
            self.world.start_controller()
        return ControllerInfo(4711, self.world.controller_since, 1, self.log_path(settings))

    def stop(self, settings: Settings, *, timeout_seconds: float) -> bool:
        """Let nobody look any more."""
        del settings, timeout_seconds
        ran, self.world.controller_runs = self.world.controller_runs, False
        self.world.clock.while_asleep = None
        return ran

    def info(self, settings: Settings) -> ControllerInfo | None:
        """The one in this process."""
        path = self.log_path(settings)
        return ControllerInfo(4711, self.world.controller_since, 1, path) if self.world.controller_runs else None

    def elsewhere(self, settings: Settings, turn: Turn | None) -> Turn | None:
        """One of another host."""
        return turns.elsewhere(turn, Claimant("here", str(settings.state_dir)))

    def log_path(self, settings: Settings) -> Path:
        """Where it would write."""
        return settings.state_dir / "controller.log"


@dataclass
class FakeGatewayDaemon:
    """Remembers whether it was started."""

    world: World

    def start(self, options: Options, *, progress: Callable[[str], None] | None = None) -> GatewayInfo:
        """Say that it runs."""
        if progress is not None:
            progress("starting the gateway")
        self.world.gateway_runs = True
        return GatewayInfo(4712, options.host, options.port, "plain", 1)

    def stop(self, state_dir: Path) -> bool:
        """Say that it does not run."""
        del state_dir
        ran, self.world.gateway_runs = self.world.gateway_runs, False
        return ran

    def running(self, state_dir: Path) -> GatewayInfo | None:
        """Say whether it runs."""
        del state_dir
        return (
            GatewayInfo(4712, "127.0.0.1", self.world.gateway_listens_on, "plain", 1)
            if self.world.gateway_runs
            else None
        )
