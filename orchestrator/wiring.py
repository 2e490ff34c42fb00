"""The composition root: settings in, ports out. The only place that picks adapters."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path

from pydantic import SecretStr

from orchestrator.clocks import SystemClock, anchored
from orchestrator.control.ports import CarbonSource, OfferSource, Provisioner
from orchestrator.control.runtime import Runtime, Tuning
from orchestrator.domain.carbon import Basis
from orchestrator.domain.places import Region
from orchestrator.domain.service import Engine, ModelSpec
from orchestrator.errors import DiskFull, InvalidSettings, StoreUnavailable
from orchestrator.gateway.client import SocketGateway
from orchestrator.gateway.instance import running, url_of
from orchestrator.gateway.options import Options as GatewayOptions
from orchestrator.prices import aws_spot, azure_retail, gcp_catalog, spot_advisor
from orchestrator.prices.aws_spot import AwsSpot
from orchestrator.prices.azure_retail import AzureRetail
from orchestrator.prices.catalogue import LOCAL_OFFERS, CatalogueOffers, CompositeOffers, SkyPilotOffers
from orchestrator.prices.changes import RecordedQuotes
from orchestrator.prices.gcp_catalog import GcpCatalog
from orchestrator.prices.held import HeldQuotes
from orchestrator.prices.quotes import QuotedOffers, QuoteSource
from orchestrator.prices.shapes import ShapeCatalogue
from orchestrator.prices.spot_advisor import InterruptionSource, SpotAdvisor
from orchestrator.provisioners.local.engines.builtin import BuiltinLauncher
from orchestrator.provisioners.local.engines.vllm_cpu import VllmCpuLauncher
from orchestrator.provisioners.local.files import StateDirectory
from orchestrator.provisioners.local.provisioner import LocalProvisioner
from orchestrator.provisioners.skypilot.clouds import WITHOUT_PRICES
from orchestrator.provisioners.skypilot.provisioner import SkyPilotProvisioner
from orchestrator.provisioners.skypilot.remote import Connection, RemoteSky
from orchestrator.provisioners.skypilot.resources import CLOUDS
from orchestrator.provisioners.skypilot.slurm import PROVIDER as SLURM
from orchestrator.provisioners.skypilot.slurm import SlurmQueues
from orchestrator.regions.catalogue import RegionCatalogue
from orchestrator.regions.local import LocalRegion
from orchestrator.settings import CarbonAwareSettings, LiveSource, Settings, SignalSettings
from orchestrator.signals.archive import Archive
from orchestrator.signals.budget import Budget
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.feeds import eia, electricity_maps, entsoe, great_britain, watttime
from orchestrator.signals.feeds.carbon_aware import CarbonAware
from orchestrator.signals.feeds.eia import Eia
from orchestrator.signals.feeds.electricity_maps import ElectricityMaps
from orchestrator.signals.feeds.entsoe import Entsoe
from orchestrator.signals.feeds.great_britain import GreatBritain
from orchestrator.signals.feeds.watttime import WattTime
from orchestrator.signals.http import Fetch
from orchestrator.signals.live import LiveCarbon
from orchestrator.signals.profile import ProfileCarbon, packaged_facts
from orchestrator.signals.recorded import RecordedCarbon
from orchestrator.signals.secret import resolved
from orchestrator.signals.server_clocks import ServerClocks
from orchestrator.signals.statement import Feed
from orchestrator.signals.static import StaticCarbon
from orchestrator.spec import grammar
from orchestrator.spec.templates import load_template
from orchestrator.store.address import parse_address
from orchestrator.store.faults import RESTORE_HINT
from orchestrator.store.sql import SqlStore
from orchestrator.telemetry.engine_probe import HttpEngineProbe

CLIENT_KEY_FILE = "client-key"
SIGNALS_FILE = "signals.db"
"""What live sources said; losing it costs knowledge, nothing else."""

CPU_FAMILY = "cpu"

HEALTH_FAILURES_UNTIL_LOST = 15
"""Looks in a row, a second or more apart. A process that is gone is known at once, from its provider; this is for one
that hangs or cannot be reached: a replacement costs minutes and money, and the gateway sends requests elsewhere."""


def build(settings: Settings, *, only_looks: bool = False) -> Runtime:
    """Choose the adapters. Opens the database and reads packaged tables; contacts nobody else.

    ``only_looks``: for somebody who changes nothing, and so does not fix which grid is replayed here.

    Raises ``InvalidSettings``, ``StoreUnavailable``, ``StoreIncompatible`` or ``DiskFull``.
    """
    catalogue = regions(settings)
    make_state_dir(settings)
    key = client_key(settings)
    store = _store(settings)
    return Runtime(
        clock=anchored(
            settings.state_dir,
            settings.world.start,
            settings.world.rate,
            only_looks=only_looks,
            has_history=lambda: store.newest_epoch() > 0 or bool(store.services()),
        ),
        carbon=carbon(settings),
        offers=offers(settings, catalogue),
        provisioners=provisioners(settings),
        probe=HttpEngineProbe(),
        gateway=SocketGateway(settings.state_dir),
        store=store,
        client_keys_sha256=(hashlib.sha256(key.encode()).hexdigest(),),
        gateway_url=lambda: gateway_url(settings),
        tuning=Tuning(
            sample_every=timedelta(seconds=settings.controller.sample_seconds),
            plan_every=timedelta(seconds=settings.controller.plan_seconds),
            health_failures_until_lost=HEALTH_FAILURES_UNTIL_LOST,
            keep_samples=timedelta(days=settings.controller.keep_samples_days) or None,
            keep_decisions=timedelta(days=settings.controller.keep_decisions_days) or None,
        ),
    )


def regions(settings: Settings) -> RegionCatalogue:
    """Return the packaged regions and those of this machine."""
    own = {
        name: LocalRegion(
            name=name,
            zone=region.zone,
            pue=region.pue,
            pue_source=region.pue_source,
            residency=frozenset(region.residency),
            location=region.location,
        )
        for name, region in settings.local.regions.items()
    }
    return RegionCatalogue.packaged().with_facts(_facts(settings)).with_local(own)


def _facts(settings: Settings) -> list[Region]:
    """Regions as the settings describe them. Raises ``InvalidSettings``."""
    found = []
    for region_id, facts in settings.skypilot.regions.items():
        if not re.fullmatch(grammar.REGION_PATTERN, region_id):
            message = f"skypilot.regions: {region_id!r} is not a region id"
            raise InvalidSettings(message, hint="Write provider/region, like slurm/eu-north.")
        found.append(
            Region(
                id=region_id,
                zone=facts.zone,
                pue=facts.pue,
                pue_source=facts.pue_source,
                residency=frozenset(facts.residency),
                latitude=facts.latitude,
                longitude=facts.longitude,
                location=facts.location,
            )
        )
    return found


def skypilot_provisioner(settings: Settings) -> SkyPilotProvisioner | None:
    """Return the provisioner of the configured clouds, ``None`` without any. Contacts nobody yet."""
    sky = settings.skypilot
    if not sky.clouds:
        return None
    _refuse_unknown_clouds(sky.clouds)
    log = settings.state_dir / "skypilot" / "worker.log"
    connection = Connection(log=log, home=sky.home, endpoint=sky.api_endpoint, port=sky.api_port)
    ground = None
    if SLURM in sky.clouds:
        names = [r.partition("/")[2] for r in sky.regions if r.startswith(f"{SLURM}/")]
        config = (sky.home or Path.home()) / ".slurm" / "config"
        ground = SlurmQueues(config, names, connection.environment())
    return SkyPilotProvisioner(
        settings.state_dir,
        RemoteSky(connection),
        sky.clouds,
        engine=sky.engine,
        ground=ground,
        refresh_seconds=sky.refresh_seconds,
    )


def _refuse_unknown_clouds(clouds: Sequence[str]) -> None:
    for cloud in clouds:
        if cloud not in CLOUDS:
            near = get_close_matches(cloud.lower(), CLOUDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It knows {', '.join(sorted(CLOUDS))}."
            raise InvalidSettings(f"skypilot.clouds: SkyPilot has no cloud {cloud!r}", hint=hint)


def offers(settings: Settings, catalogue: RegionCatalogue) -> OfferSource:
    """Return the price lists: the configured or packaged one, then SkyPilot's own for the clouds that have prices."""
    regions_by_id, shapes = catalogue.by_id, ShapeCatalogue.packaged()
    own = CatalogueOffers(settings.prices.catalogue or LOCAL_OFFERS, regions_by_id, shapes)
    clouds = [cloud for cloud in settings.skypilot.clouds if cloud not in WITHOUT_PRICES]
    listed: OfferSource = own
    if clouds:
        home = settings.skypilot.home or Path.home()
        folder = settings.skypilot.catalogs or home / ".sky" / "catalogs"
        listed = CompositeOffers([own, SkyPilotOffers(folder, clouds, regions_by_id, shapes)])
    quotes = quote_sources(settings)
    return QuotedOffers(listed, quotes) if quotes else listed


def quote_sources(settings: Settings) -> list[QuoteSource]:
    """Return who knows prices of the moment, the recorded ones first. Contacts nobody yet.

    Raises ``InvalidSettings`` for a folder that is not there, an address that may not be used, or live prices on a
    replayed grid: what is asked is about today.
    """
    prices = settings.prices
    found: list[QuoteSource] = []
    if prices.recorded is not None:
        if not prices.recorded.is_dir():
            message = f"prices.recorded: there is no folder {prices.recorded}"
            raise InvalidSettings(message, hint="Name a folder with files of price changes, or leave it unset.")
        found.append(RecordedQuotes(prices.recorded))
    if prices.live and settings.world.start is not None:
        message = f"prices.live ({', '.join(prices.live)}) tells of today, and world.start replays another day"
        raise InvalidSettings(message, hint="Leave GREENCTL_PRICES__LIVE or GREENCTL_WORLD__START unset.")
    for name in dict.fromkeys(prices.live):
        if name == "aws-spot":
            found.append(HeldQuotes(AwsSpot(), aws_spot.EVERY))
        elif name == "azure-retail":
            fetch = Fetch(private=settings.signals.private)
            found.append(HeldQuotes(AzureRetail(fetch, prices.azure_url or azure_retail.URL), azure_retail.EVERY))
        elif name == gcp_catalog.SOURCE:
            fetch = Fetch(private=settings.signals.private, seconds=gcp_catalog.SECONDS)
            key = _secret(prices.gcp.key, "prices", "gcp.key")
            # The catalogue keeps its list for a day by itself: held for another one, prices would be two days old.
            found.append(HeldQuotes(GcpCatalog(fetch, key, prices.gcp.url or gcp_catalog.URL), gcp_catalog.HELD_FOR))
    return found


def interruption_source(settings: Settings) -> InterruptionSource | None:
    """Return who knows how often spot machines were taken back, ``None`` if nobody is to be asked. Contacts nobody yet.

    Raises ``InvalidSettings`` for an address that may not be used. A replayed grid is refused with the live prices.
    """
    if spot_advisor.SOURCE not in settings.prices.live:
        return None
    fetch = Fetch(private=settings.signals.private, seconds=spot_advisor.SECONDS)
    return SpotAdvisor(fetch, settings.prices.advisor_url or spot_advisor.URL)


def provisioners(settings: Settings) -> dict[str, Provisioner]:
    """Return who launches at which provider."""
    found: dict[str, Provisioner] = {"local": local_provisioner(settings)}
    sky = skypilot_provisioner(settings)
    if sky is not None:
        found |= dict.fromkeys(sorted(sky.providers), sky)
    return found


def carbon(settings: Settings) -> CarbonSource:
    """Return the configured sources, the recording first. Raises ``InvalidSettings`` when there is none."""
    sources: list[CarbonSource] = []
    if settings.signals.recorded is not None:
        if not settings.signals.recorded.is_dir():
            message = f"signals.recorded: there is no folder {settings.signals.recorded}"
            raise InvalidSettings(message, hint="Name a folder with ci_lifecycle_YYYY.csv.gz files, or leave it unset.")
        sources.append(RecordedCarbon(settings.signals.recorded))
    sources += live_sources(settings)
    if settings.signals.profile:
        sources.append(ProfileCarbon())
    if settings.signals.static:
        sources.append(StaticCarbon())
    if not sources:
        message = "no carbon source is configured"
        raise InvalidSettings(message, hint="Set GREENCTL_SIGNALS__RECORDED=DIR or GREENCTL_SIGNALS__PROFILE=true.")
    if len(sources) == 1:
        return sources[0]
    # A recording is as old as it is, on purpose; only APIs can fail to keep up.
    fresh_for = timedelta(minutes=settings.signals.fresh_minutes) if settings.signals.live else None
    try:
        return CompositeCarbon(
            sources, fresh_for=fresh_for, cross_check=settings.signals.cross_check, order=settings.signals.order
        )
    except ValueError as error:
        message = f"signals.order: {error}"
        raise InvalidSettings(message, hint="Name sources that are set, the preferred one first.") from error


def live_sources(settings: Settings) -> list[LiveCarbon]:
    """Return the configured APIs in order. Contacts nobody yet.

    Raises ``InvalidSettings`` where a key is missing, an address may not be used, or the grid is replayed: what an API
    says is about today.
    """
    signals = settings.signals
    if signals.live and settings.world.start is not None:
        message = f"signals.live ({', '.join(signals.live)}) tells of today, and world.start replays another day"
        raise InvalidSettings(message, hint="Leave GREENCTL_SIGNALS__LIVE or GREENCTL_WORLD__START unset.")
    yearly = {zone: facts.mean_grams_per_kwh for zone, facts in packaged_facts().items()} if signals.live else {}
    return [_live(name, settings, yearly) for name in dict.fromkeys(signals.live)]


def _live(name: LiveSource, settings: Settings, yearly_grams_per_kwh: Mapping[str, float]) -> LiveCarbon:
    signals, file = settings.signals, settings.state_dir / SIGNALS_FILE
    fetch = Fetch(private=signals.private, clocks=ServerClocks(file))
    return LiveCarbon(
        _feed(name, signals, fetch),
        Archive(name, file),
        yearly_grams_per_kwh=yearly_grams_per_kwh,
        budget=Budget(name, signals.requests_per_day.get(name), file),
        requests=lambda: fetch.requests,
        today=SystemClock().now,
    )


def _feed(name: LiveSource, signals: SignalSettings, fetch: Fetch) -> Feed:
    if name == "national-grid":
        return GreatBritain(fetch, signals.national_grid.url or great_britain.URL)
    if name == "electricity-maps":
        own = signals.electricity_maps
        return ElectricityMaps(
            fetch, _secret(own.key, "signals", "electricity_maps.key"), own.url or electricity_maps.URL
        )
    if name == "watttime":
        mine = signals.watttime
        if not mine.user:
            message = "signals.watttime.user is not set, and signals.live names its source"
            raise InvalidSettings(message, hint="Set GREENCTL_SIGNALS__WATTTIME__USER.")
        password = _secret(mine.password, "signals", "watttime.password")
        return WattTime(fetch, mine.user, password, mine.regions, mine.url or watttime.URL)
    if name == "carbon-aware-sdk":
        return _carbon_aware(signals.carbon_aware, fetch)
    if name == "entsoe":
        return Entsoe(fetch, _secret(signals.entsoe.key, "signals", "entsoe.key"), signals.entsoe.url or entsoe.URL)
    return Eia(fetch, _secret(signals.eia.key, "signals", "eia.key"), packaged_facts(), signals.eia.url or eia.URL)


def _carbon_aware(own: CarbonAwareSettings, fetch: Fetch) -> CarbonAware:
    if own.url is None or own.accounting is None or own.factors is None:
        missing = next(name for name in ("url", "accounting", "factors") if getattr(own, name) is None)
        message = f"signals.carbon_aware.{missing} is not set, and signals.live names its source"
        raise InvalidSettings(message, hint=f"Set GREENCTL_SIGNALS__CARBON_AWARE__{missing.upper()}.")
    return CarbonAware(fetch, own.url, own.locations, Basis(own.accounting, own.factors), own.answers_as)


def _secret(value: SecretStr | None, section: str, name: str) -> str:
    setting = f"{section}.{name}"
    if value is None or not value.get_secret_value():
        message = f"{setting} is not set, and {section}.live names its source"
        raise InvalidSettings(message, hint=f"Set GREENCTL_{setting.upper().replace('.', '__')}.")
    return resolved(value.get_secret_value(), setting)


def vllm_launcher(settings: Settings) -> VllmCpuLauncher:
    """Return the launcher of the local vLLM engine."""

    def argv_for(model: ModelSpec) -> tuple[str, ...]:
        return load_template(model.template).argv_for(model, CPU_FAMILY)

    return VllmCpuLauncher(argv_for=argv_for, cache_dir=settings.cache_dir, executable=settings.local.vllm)


def _store(settings: Settings) -> SqlStore:
    """Open the database. Raises as :meth:`SqlStore.open`, and ``StoreUnavailable`` where it was emptied.

    An empty file is what SQLite makes of a new database. Beside replicas it is one that lost its memory: taken for
    new, it would get a new identity, and what runs would belong to nobody.
    """
    path = parse_address(settings.store_url).path
    if path is not None and path.is_file() and not path.stat().st_size:
        beside = StateDirectory(settings.state_dir)
        log = path.with_name(f"{path.name}-wal")
        if beside.names() and not (log.is_file() and log.stat().st_size):
            message = f"the database {path} is empty, and replicas of an earlier one lie in {beside.path}"
            raise StoreUnavailable(message, hint=RESTORE_HINT)
    return SqlStore.open(settings.store_url)


def local_provisioner(settings: Settings) -> Provisioner:
    """Return the provisioner of this machine."""
    limits = {
        f"local/{name}": region.max_replicas
        for name, region in settings.local.regions.items()
        if region.max_replicas is not None
    }
    return LocalProvisioner(
        settings.state_dir,
        {Engine.VLLM: vllm_launcher(settings), Engine.BUILTIN: BuiltinLauncher()},
        max_replicas=limits,
        min_free_disk_mib=settings.local.min_free_disk_mib,
    )


def gateway_options(settings: Settings) -> GatewayOptions:
    """Return how the gateway of these settings is started."""
    return GatewayOptions(
        state_dir=settings.state_dir,
        host=settings.gateway.host,
        port=settings.gateway.port,
        replicas=settings.gateway.replicas,
        plain=settings.gateway.mode == "plain",
        origin=settings.gateway.origin,
        origin_header=settings.gateway.origin_header,
    )


def gateway_url(settings: Settings) -> str:
    """Return where clients find the gateway: the one that runs, whatever it was started with, else as it would be."""
    found = running(settings.state_dir)
    return configured_gateway_url(settings) if found is None else found.url


def configured_gateway_url(settings: Settings) -> str:
    """Return where a gateway of these settings listens."""
    return url_of(settings.gateway.host, settings.gateway.port)


def client_key(settings: Settings) -> str:
    """Return the key that clients of the gateway use, made on first use and kept in a 0600 file."""
    path = make_state_dir(settings) / CLIENT_KEY_FILE
    if not path.exists():
        _write_once(path, f"gk-{secrets.token_urlsafe(32)}")
    return path.read_text(encoding="ascii").strip()


def make_state_dir(settings: Settings) -> Path:
    """Make the state directory, for us alone. Raises ``InvalidSettings`` or ``DiskFull``."""
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            message = f"no space left to make {settings.state_dir}"
            raise DiskFull(message) from error
        message = f"{settings.state_dir} cannot be used for our state: {error.strerror}"
        raise InvalidSettings(message, hint="Set GREENCTL_STATE_DIR to a directory that you may write.") from error
    return settings.state_dir


def _write_once(path: Path, text: str) -> None:
    """Create the file complete or not at all; whoever comes second keeps the first one's."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
