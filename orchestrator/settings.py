"""All settings, read once at the edge: flag > ``GREENCTL_*`` environment > project file > user file > defaults.

Nested names are joined by two underscores (``GREENCTL_GATEWAY__PORT=9000``). Files are ``greenctl.toml`` in the working
directory and ``$XDG_CONFIG_HOME/greenctl/config.toml``. Deep code never sees this object, only the values it needs.

A working directory may be somebody else's, as a repository that was cloned: its file may not say where the user's own
keys and records go, or which programs run (``NOT_OF_A_PROJECT``). Paths may begin with ``~``, and are absolute once
read. A variable that begins as ours do and is nobody's is refused: it was meant to say something. See decision 0087.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, TypeGuard

from platformdirs import user_cache_path, user_config_path, user_state_path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from orchestrator.domain.carbon import Accounting, Factors
from orchestrator.domain.time import as_utc
from orchestrator.errors import InvalidSettings

APP = "greenctl"
PROJECT_FILE = Path("greenctl.toml")

NOT_OF_A_PROJECT = (
    "cache_dir",
    "database_url",
    "local.vllm",
    "prices.gcp.url",
    "signals.eia.url",
    "signals.electricity_maps.url",
    "signals.entsoe.url",
    "signals.private",
    "signals.watttime.url",
    "skypilot.api_endpoint",
    "skypilot.engine",
    "skypilot.home",
    "state_dir",
)
"""What only the user says, in the environment or in his own file."""

OF_NO_DIRECTORY = ("cache_dir", "state_dir")
"""What a file may not say relative to wherever somebody stands: there would be a fleet for each directory."""

ENV_PREFIX = "GREENCTL_"

OF_OTHERS = frozenset(
    ENV_PREFIX + name
    for name in (
        # what replicas and their engines are told
        *("BUILTIN_FAULTS", "DEPLOYMENT", "EPOCH", "INTENT", "LEASE_FILE", "PART", "PORT", "REGION", "REPLICA"),
        *("SERVICE", "STOP_FILE"),
        # the lab and the tests, beside all that begins with OF_TESTS
        *("BURST_SECONDS", "HYPOTHESIS", "LAB_ROOT", "LOAD_ROUNDS", "REQUIRE_ALL", "TRACE_ALL", "UPDATE_GOLDEN"),
    )
)
"""Variables that begin like a setting and are none."""

OF_TESTS = f"{ENV_PREFIX}TEST_"

_OF_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")


def _absolute(path: Path) -> Path:
    """Return what a path means here and now; processes of ours may work elsewhere. Raises ``ValueError``."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(str(error)) from error  # there is no such user


LocalPath = Annotated[Path, AfterValidator(_absolute)]
UtcDatetime = Annotated[datetime, AfterValidator(as_utc)]


class _Section(BaseModel):
    # What was typed beside a misspelt name may be a key: no message repeats it.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class GatewaySettings(_Section):
    """Where the OpenAI-compatible endpoint listens.

    ``mode``: ``serve`` is Ray Serve, ``plain`` one process without Ray. ``origin``: where its clients are, as
    ``slo.clients`` names it. ``origin_header``: a header in which a proxy in front says that of each request; set it
    only behind a proxy that overwrites what clients send.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    mode: Literal["serve", "plain"] = "serve"
    replicas: int = Field(default=1, ge=1, le=8)
    origin: str = Field(default="", pattern=r"^([a-z][a-z0-9-]{0,31})?$")
    origin_header: str = Field(default="", pattern=r"^([Xx]-[A-Za-z0-9-]{1,60})?$")


LiveSource = Literal["electricity-maps", "national-grid", "watttime", "eia", "entsoe", "carbon-aware-sdk"]


class KeySettings(_Section):
    """An API that wants a key. ``url``: a mirror of your own.

    ``key``: the key itself, better set in the environment than in a file; or ``file:PATH``, or
    ``keyring:SERVICE/USER``, where it is kept.
    """

    key: SecretStr | None = None
    url: str | None = None


class NationalGridSettings(_Section):
    """Great Britain's API; it wants no key. ``url``: a mirror of your own."""

    url: str | None = None


class WattTimeSettings(_Section):
    """WattTime. ``regions``: its name for each grid zone; without a subscription it tells of ``CAISO_NORTH`` alone."""

    user: str | None = None
    password: SecretStr | None = None
    url: str | None = None
    regions: dict[str, str] = {"US-CAL-CISO": "CAISO_NORTH"}


class CarbonAwareSettings(_Section):
    """A Carbon Aware SDK of your own. ``url``: its web API. ``locations``: its name for each grid zone.

    ``answers_as``: the name that its answers carry for each zone, where that is its provider's: over WattTime the
    region, as ``CAISO_NORTH``.

    ``accounting`` and ``factors``: what the provider behind it counts, which it does not say itself: marginal and
    direct for WattTime, average and lifecycle for Electricity Maps.
    """

    url: str | None = None
    locations: dict[str, str] = {}
    answers_as: dict[str, str] = {}
    accounting: Accounting | None = None
    factors: Factors | None = None


class SignalSettings(_Section):
    """Carbon sources. ``recorded``: a folder of recorded hourly files; zones it lacks fall through to the next source.

    ``live``: the APIs that are asked, the preferred one first, after the recording and before the profile; what they
    said is remembered in the state directory. ``fresh_minutes``: how old a value of an API may be before a later one
    that has a younger is preferred. ``private``: sources may be in a network of your own, and without TLS.

    ``order``: for a zone, the sources to ask and in which order (``recorded`` and ``profile`` are sources, too).
    ``cross_check``: of two sources that know a zone neither counts while they contradict one another.
    ``requests_per_day``: how many requests of UTC's day a source may be asked. ``static``: yearly means as the last
    resort, after or in place of the profile.
    """

    recorded: LocalPath | None = None
    profile: bool = True
    live: tuple[LiveSource, ...] = ()
    fresh_minutes: float = Field(default=90.0, gt=0, le=1440)
    private: bool = False
    order: dict[str, tuple[str, ...]] = {}
    cross_check: bool = True
    requests_per_day: dict[LiveSource, int] = {}
    static: bool = False
    electricity_maps: KeySettings = KeySettings()
    national_grid: NationalGridSettings = NationalGridSettings()
    watttime: WattTimeSettings = WattTimeSettings()
    eia: KeySettings = KeySettings()
    entsoe: KeySettings = KeySettings()
    carbon_aware: CarbonAwareSettings = CarbonAwareSettings()


class WorldSettings(_Section):
    """The grid's clock.

    With ``start`` the grid is replayed from that instant, ``rate`` grid seconds per real second.
    """

    start: UtcDatetime | None = None
    rate: float = Field(default=1.0, gt=0, le=3600)


class LocalRegionSettings(_Section):
    """One region of this machine: a name tied to a grid zone. ``max_replicas`` makes it fill up, as real ones do."""

    zone: str
    pue: float = Field(default=1.2, ge=1.0, le=3.0)
    pue_source: str = "assumed for a small server room"
    residency: tuple[str, ...] = ()
    location: str = ""
    max_replicas: int | None = Field(default=None, ge=0)


DEFAULT_LOCAL_REGIONS = {
    "se": LocalRegionSettings(zone="SE", residency=("SE", "EU", "EEA"), location="this machine, Swedish grid"),
    "de": LocalRegionSettings(zone="DE", residency=("DE", "EU", "EEA"), location="this machine, German grid"),
    "us-mida-pjm": LocalRegionSettings(zone="US-MIDA-PJM", residency=("US",), location="this machine, PJM grid"),
}


class LocalSettings(_Section):
    """The ``local`` provider: engine processes on this machine. ``vllm``: the engine's executable, found if unset."""

    regions: dict[str, LocalRegionSettings] = DEFAULT_LOCAL_REGIONS
    vllm: LocalPath | None = None
    min_free_disk_mib: int = Field(default=512, ge=0)


class RegionSettings(_Section):
    """What the packaged catalogue cannot know of a region, such as that of your own Slurm cluster."""

    zone: str
    pue: float = Field(ge=1.0, le=3.0)
    pue_source: str
    residency: tuple[str, ...] = ()
    location: str = ""
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)


class SkyPilotSettings(_Section):
    """The clouds behind SkyPilot.

    ``clouds``: those that may be used; without any, SkyPilot is not contacted. ``home``: the ``HOME`` of the SkyPilot
    side (its keys, its database, its catalogues), ours if unset. ``api_endpoint``: a remote API server; without one a
    local server is used, on ``api_port`` if that is set. ``catalogs``: folder of SkyPilot's price catalogues instead
    of the one below ``home``. ``engine``: the vLLM executable on the nodes, where it is installed already. ``regions``:
    facts about regions by region id (``slurm/eu-north``), added to the packaged ones or put in their place.
    ``refresh_seconds``: how old SkyPilot's word about a replica may be.
    """

    clouds: tuple[str, ...] = ()
    home: LocalPath | None = None
    api_endpoint: str | None = None
    api_port: int | None = Field(default=None, ge=1, le=65535)
    catalogs: LocalPath | None = None
    engine: Path | None = None
    regions: dict[str, RegionSettings] = {}
    refresh_seconds: float = Field(default=30.0, gt=0, le=300)


PriceSource = Literal["aws-spot", "aws-spot-advisor", "azure-retail", "gcp-catalog"]


class PriceSettings(_Section):
    """Price lists. ``catalogue``: a CSV of offers used instead of the packaged one.

    ``live``: who is asked for prices of the moment, laid over the lists; ``aws-spot`` needs the extra ``aws``.
    ``aws-spot-advisor`` has no prices: it tells how often spot machines were taken back, which is shown beside them.
    ``gcp-catalog`` needs ``gcp.key``, an API key of any project that has the Cloud Billing API enabled.
    ``recorded``: a folder of recorded price changes, replayed with the grid. ``azure_url``, ``advisor_url``: mirrors of
    your own.
    """

    catalogue: LocalPath | None = None
    live: tuple[PriceSource, ...] = ()
    recorded: LocalPath | None = None
    azure_url: str | None = None
    advisor_url: str | None = None
    gcp: KeySettings = KeySettings()


class ControllerSettings(_Section):
    """How often the controller looks. All in physical seconds: they bound outside work, not grid time.

    ``keep_samples_days``: how long samples of energy stay as they were written. Older ones become a row for each
    replica and hour, with which every report is the same to the last digit; 0 keeps all of them for ever.
    ``keep_decisions_days``: how long decisions of the policy that changed nothing stay whole. Of older ones a row is
    kept for each day: how many there were, their names and what the last one said. Whatever acted is kept for ever.
    """

    tick_seconds: float = Field(default=1.0, gt=0)
    plan_seconds: float = Field(default=5.0, gt=0)
    sample_seconds: float = Field(default=60.0, gt=0, le=60)
    keep_samples_days: int = Field(default=30, ge=0, le=36_500)
    keep_decisions_days: int = Field(default=14, ge=0, le=36_500)


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        toml_file=None,
    )

    state_dir: LocalPath = Field(default_factory=lambda: user_state_path(APP, appauthor=False))
    cache_dir: LocalPath = Field(default_factory=lambda: user_cache_path(APP, appauthor=False))
    database_url: str | None = None
    gateway: GatewaySettings = GatewaySettings()
    signals: SignalSettings = SignalSettings()
    world: WorldSettings = WorldSettings()
    local: LocalSettings = LocalSettings()
    skypilot: SkyPilotSettings = SkyPilotSettings()
    prices: PriceSettings = PriceSettings()
    controller: ControllerSettings = ControllerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, strongest first. Dotenv files and secret directories are not read."""
        del dotenv_settings, file_secret_settings
        files = [PROJECT_FILE, user_config_path(APP, appauthor=False) / "config.toml"]
        tomls = [found for f in files if (found := _read(settings_cls, f)) is not None]
        _refuse_what_is_the_users(tomls)
        _refuse_what_moves_with_us(tomls)
        return (init_settings, env_settings, *tomls)

    @property
    def store_url(self) -> str:
        """The database: the configured URL, or a SQLite file in the state directory."""
        return self.database_url or f"sqlite:///{self.state_dir / 'greenctl.db'}"


def _read(settings_cls: type[BaseSettings], file: Path) -> TomlConfigSettingsSource | None:
    """Read a file of settings, ``None`` where there is none. Raises ``InvalidSettings``."""
    try:
        return TomlConfigSettingsSource(settings_cls, file) if file.is_file() else None
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{file}: {error}", hint="Mend the file, or move it away.") from error


def _refuse_what_is_the_users(files: Iterable[TomlConfigSettingsSource]) -> None:
    for file in files:
        if file.toml_file_path == PROJECT_FILE:
            said = [name for name in NOT_OF_A_PROJECT if _says(file.toml_data, name)]
            if said:
                user = user_config_path(APP, appauthor=False) / "config.toml"
                raise InvalidSettings(
                    f"{PROJECT_FILE} of this directory may not set {', '.join(said)}: it decides where your keys and"
                    " records go, or which programs run",
                    hint=f"If it is what you want, put it into {user} or into the GREENCTL_* environment.",
                )


def _refuse_what_moves_with_us(files: Iterable[TomlConfigSettingsSource]) -> None:
    for file in files:
        for name in OF_NO_DIRECTORY:
            said = file.toml_data.get(name)
            if isinstance(said, str) and not said.startswith(("/", "~")):
                raise InvalidSettings(
                    f"{file.toml_file_path}: {name} is relative, so that each directory would have its own",
                    hint="Write the whole path, which may begin with ~.",
                )


def _says(document: object, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def load_settings(**overrides: object) -> Settings:
    """Read the settings. Raises ``InvalidSettings`` that names each wrong entry."""
    refuse_unknown(os.environ)
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # names are checked by pydantic, at run time
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidSettings(lines) from error
    except SettingsError as error:
        raise _no_json(error) from error


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Refuse variables that begin like a setting and are none: unheard, they would leave a default in force.

    One underscore in place of two is the usual mistake. Values are not repeated. Raises ``InvalidSettings``.
    """
    unknown = sorted(
        n for n, value in environment.items() if n.upper().startswith(ENV_PREFIX) and not _is_known(n, value)
    )
    if not unknown:
        return
    meant = dict.fromkeys(near for name in unknown if (near := _nearest(name)) is not None)
    message = f"{', '.join(unknown)}: there is no such setting"
    guess = f"Did you mean {', '.join(meant)}? " if meant else ""
    hint = f"{guess}Two underscores join the parts of a name; greenctl config show lists all settings."
    raise InvalidSettings(message, hint=hint)


def variables() -> Iterator[str]:
    """Return the variable of each setting; inside of tables with free names, the one of the table."""
    return _variables(Settings, ENV_PREFIX)


def _variables(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable
        if _is_section(field.annotation):
            yield from _variables(field.annotation, f"{variable}__")


def _is_section(annotation: object) -> TypeGuard[type[_Section]]:
    return isinstance(annotation, type) and issubclass(annotation, _Section)


def _is_known(name: str, value: str) -> bool:
    """Whether somebody reads this variable. What follows the name of a section is checked with its values."""
    spelt = name.upper()
    if spelt in OF_OTHERS or spelt.startswith(OF_TESTS):
        return True
    if _OF_KUBERNETES.fullmatch(spelt) or _KUBERNETES_ADDRESS.fullmatch(value):
        return True  # each pod is told so of a Service that is called greenctl, or greenctl-something
    first, *others = spelt.removeprefix(ENV_PREFIX).lower().split("__")
    field = Settings.model_fields.get(first)
    return field is not None and (not others or _is_section(field.annotation))


def _nearest(name: str) -> str | None:
    """Return the variable that was probably meant."""
    known = [variable.removeprefix(ENV_PREFIX) for variable in variables()]  # what all begin with makes nothing alike
    spelt = name.upper().removeprefix(ENV_PREFIX)
    same = [one for one in known if one.replace("_", "") == spelt.replace("_", "")]
    found = same or get_close_matches(spelt, known, n=1)
    return f"{ENV_PREFIX}{found[0]}" if found else None


def _no_json(error: SettingsError) -> InvalidSettings:
    """Name the variable whose text is no JSON where a list or a table is meant; the text may be a key."""
    text = getattr(error.__cause__, "doc", None)
    names = sorted(n for n, value in os.environ.items() if n.upper().startswith(ENV_PREFIX) and value == text)
    if not names:
        return InvalidSettings(str(error))
    message = f"{', '.join(names)}: a list or a table is wanted, as JSON"
    return InvalidSettings(message, hint="""Write '["one", "two"]', or '{"name": "value"}', with its quotes.""")
