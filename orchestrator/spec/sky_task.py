"""SkyPilot's side of a service file: its keys keep their names and places and travel on untouched.

Keys are those of SkyPilot 0.14.1 (``sky.utils.schemas``: task, resources and service). Values are read only where the
planner needs them; SkyPilot itself judges the rest. Keys that begin with an underscore are its internals, not people's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, WithJsonSchema

from orchestrator.domain.matching import is_inside, zone_in
from orchestrator.domain.service import Accelerators, SpotPlacer
from orchestrator.spec import forms, sky_values
from orchestrator.spec.block import AnyBlock
from orchestrator.spec.blocks import Flag
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.words import listed, nearest, show

_ANY = WithJsonSchema({"description": "SkyPilot's own, passed through."})
Passed = Annotated[Any, _ANY]

TASK_KEYS = frozenset(
    {
        "name",
        "workdir",
        "event_callback",
        "num_nodes",
        "resources",
        "file_mounts",
        "service",
        "setup",
        "run",
        "envs",
        "secrets",
        "managed_secrets",
        "inputs",
        "outputs",
        "config",
        "volumes",
        "volume_mounts",
        "api_server_access",
    }
)
"""Top-level keys that are SkyPilot's; ``pool`` is known and refused, the others are carried."""

_CLOUD_SCHEMA = {"type": "string", "pattern": sky_values.CLOUD_PATTERN, "examples": ["aws"]}
_ZONE_SCHEMA = {"type": "string", "pattern": sky_values.ZONE_PATTERN, "examples": ["eu-north-1a"]}
_PLACE_KEYS = ("cloud", "region", "zone")
_ACCELERATORS_SCHEMA = {"type": ["string", "object", "array", "null"], "examples": ["L4:1"]}
_AMOUNT_SCHEMA = {"type": ["number", "string", "null"], "examples": [4, "4+"]}
_AcceleratorsValue = Annotated[tuple[Accelerators, ...] | None, Form(sky_values.accelerators, _ACCELERATORS_SCHEMA)]


UNUSED = {
    ("resources", "autostop"): "has no effect: greenctl ends its machines itself",
    ("resources", "job_recovery"): "has no effect: greenctl replaces what is lost",
    ("resources", "priority"): "has no effect: nothing is queued",
    ("resources", "priority_class"): "has no effect: nothing is queued",
    ("service", "load_balancer"): "has no effect: greenctl's gateway shares the traffic",
    ("service", "load_balancing_policy"): "has no effect: greenctl's gateway shares the traffic, by gateway.routing",
}
"""Keys of SkyPilot's that are taken and do nothing, and why."""

OF_THE_WHOLE = "is read for the service as a whole. Write it beside any_of, not in an entry"


class ResourceChoice(AnyBlock):
    """One description of a machine."""

    infra: Annotated[str | None, Form(sky_values.infra, {"type": "string", "examples": ["aws/eu-north-1"]})] = None
    cloud: Annotated[str | None, Form(sky_values.cloud, _CLOUD_SCHEMA)] = None
    region: Annotated[str | None, forms.pattern(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$", "a region", "eu-north-1")] = (
        None
    )
    zone: Annotated[str | None, Form(sky_values.zone, _ZONE_SCHEMA)] = None
    accelerators: _AcceleratorsValue = None
    gpus: _AcceleratorsValue = None
    cpus: Annotated[float | None, Form(sky_values.vcpus, _AMOUNT_SCHEMA)] = None
    memory: Annotated[float | None, Form(sky_values.memory_gib, _AMOUNT_SCHEMA)] = None
    use_spot: Flag = None
    accelerator_args: Passed = None
    autostop: Passed = None
    disk_size: Passed = None
    disk_tier: Passed = None
    ephemeral_storage: Passed = None
    image_id: Passed = None
    instance_type: Annotated[
        None, forms.refused("machines are bought by what they have. Write accelerators, or cpus and memory")
    ] = None
    job_recovery: Passed = None
    labels: Passed = None
    local_disk: Passed = None
    max_hourly_cost: Passed = None
    network_tier: Passed = None
    ports: Passed = None
    priority: Passed = None
    priority_class: Passed = None
    volumes: Passed = None

    @property
    def place(self) -> str | None:
        """``infra``, or what the older ``cloud``, ``region`` and ``zone`` say."""
        if self.infra or not (self.cloud or self.region or self.zone):
            return self.infra
        parts = [self.cloud or "*", self.region or "*", self.zone or "*"]
        while parts[-1] == "*":
            parts.pop()
        return "/".join(parts)

    @property
    def choices(self) -> tuple[Accelerators, ...]:
        """Acceptable accelerators, under whichever of SkyPilot's two names."""
        return (self.accelerators or ()) + (self.gpus or ())

    def within(self, outer: ResourceChoice) -> ResourceChoice:
        """Return the choice with what it leaves to the block around it, as SkyPilot reads an alternative."""
        left = {name for name in type(self).model_fields if getattr(self, name) is None} - {"infra", *_PLACE_KEYS}
        if self.choices:
            left -= {"accelerators", "gpus"}
        filled = {name: getattr(outer, name) for name in left if name in ResourceChoice.model_fields}
        if self.place is None:
            filled |= {name: getattr(outer, name) for name in ("infra", *_PLACE_KEYS)}
        elif self.infra is None and self.cloud is None:
            filled["cloud"] = (outer.place or "").partition("/")[0] or None
        return self.model_copy(update=filled)


PASSED = tuple(name for name, described in ResourceChoice.model_fields.items() if _ANY in described.metadata)
"""Keys of a machine that are not read here."""


class ResourcesBlock(ResourceChoice):
    """SkyPilot's resources, with its lists of alternatives."""

    any_of: list[ResourceChoice] | None = Field(None, max_length=100)
    ordered: list[ResourceChoice] | None = Field(None, max_length=100)

    @property
    def alternatives(self) -> tuple[ResourceChoice, ...]:
        """The entries of ``any_of`` and ``ordered``."""
        return (*(self.any_of or ()), *(self.ordered or ()))

    @property
    def merged(self) -> tuple[ResourceChoice, ...]:
        """What may be bought: each alternative with what it leaves to this block, or the block itself."""
        return tuple(entry.within(self) for entry in self.alternatives) or (self,)

    @property
    def only_place(self) -> str | None:
        """The place that all alternatives share, if there is one."""
        places = {entry.place for entry in self.merged}
        return places.pop() if len(places) == 1 else None


def zone_of(resources: Mapping[str, Any], region_id: str) -> str:
    """Return the zone of a region that a carried ``resources`` block wants, "" where it leaves that open.

    Of alternatives the first that names one counts, if none takes the whole region. The block was read once; a place
    that an older version took, and this one refuses, names none.
    """
    try:
        merged = ResourcesBlock.model_validate(_places_alone(resources)).merged
    except ValidationError:
        return ""
    places = [entry.place for entry in merged if is_inside(region_id, "", entry.place)]
    zones = ["" if sky_values.is_zone_id(place) else zone_in(place) for place in places]
    return zones[0] if all(zones) and zones else ""


def _places_alone(resources: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: resources[key] for key in ("infra", *_PLACE_KEYS) if resources.get(key) is not None}
    nested = {key: resources[key] for key in ("any_of", "ordered") if resources.get(key)}
    return found | {key: [_places_alone(entry) for entry in entries] for key, entries in nested.items()}


def _read_probe(value: object) -> float | None:
    """Return ``initial_delay_seconds``, if the probe says it."""
    if isinstance(value, str):
        return None
    if not isinstance(value, dict) or "path" not in value:
        raise Unreadable("write a path like /health, or a block with path")
    unknown = sorted(str(k) for k in value.keys() - _PROBE_KEYS)
    if unknown:
        raise Unreadable(f"unknown key {show(unknown[0])}", nearest(unknown[0], _PROBE_KEYS))
    delay = value.get("initial_delay_seconds")
    if delay is None:
        return None
    found = _DELAY.read(delay)
    return found if isinstance(found, float) else None


_DELAY = forms.number(1, 7 * 86_400)
_PROBE_KEYS = frozenset(
    {
        "path",
        "initial_delay_seconds",
        "timeout_seconds",
        "endpoint_probe_interval_seconds",
        "consecutive_failure_threshold_timeout",
        "post_data",
        "headers",
    }
)


def _read_qps(value: object) -> float | None:
    """Return the target per replica; of one per accelerator the smallest, which asks for the most replicas."""
    if value is None:
        return None
    if isinstance(value, dict) and value:
        return min(float(str(_QPS.read(v))) for v in value.values())
    found = _QPS.read(value)
    return found if isinstance(found, float) else None


_QPS = forms.number(0, 1_000_000, above=True)
Replicas = Annotated[int | None, forms.whole(0, 1000)]


def _read_placer(value: object) -> SpotPlacer:
    """Read the name of a placer in any case, as SkyPilot does."""
    known = tuple(p.value for p in SpotPlacer)
    if not isinstance(value, str) or value.lower() not in known:
        guess = nearest(value, known) if isinstance(value, str) else None
        raise Unreadable(f"{show(value)} is not one of {listed(known)}", guess)
    return SpotPlacer(value.lower())


_PLACER_SCHEMA = {"enum": [p.value for p in SpotPlacer]}


class ReplicaPolicyBlock(AnyBlock):
    """How many replicas."""

    min_replicas: Replicas = Field(
        None,
        description="How many serve at least. With 0 the last one goes while nobody asks for anything, as soon as "
        "idling on costs more than a start by the policy's objective; the next request waits for one (gateway.hold).",
    )
    max_replicas: Replicas = Field(
        None, description="How many serve at most: between the two, load decides. Default min_replicas."
    )
    target_qps_per_replica: Annotated[float | None, Form(_read_qps, {"type": ["number", "object"]})] = Field(
        None, description="Requests per second that one replica is for. Without it, what engines can carry decides."
    )
    num_overprovision: Replicas = Field(
        None,
        description="So many replicas more than wanted, against the loss of spot ones. They draw power. Default 0.",
    )
    dynamic_ondemand_fallback: Flag = Field(
        None,
        description="While spot replicas are not ready, the first start included, on-demand ones stand in, up to "
        "min_replicas; they leave when spot serves. Default false.",
    )
    base_ondemand_fallback_replicas: Replicas = Field(
        None, description="So many of min_replicas are always on demand. Default 0."
    )
    spot_placer: Annotated[SpotPlacer | None, Form(_read_placer, _PLACER_SCHEMA)] = Field(
        None,
        description="dynamic_fallback: regions without a spot replica of the service come first, the best of them by "
        "the policy. Places that failed lately are avoided with or without it.",
    )
    upscale_delay_seconds: Annotated[float | None, forms.number(0, 86_400)] = Field(
        None, description="How long load must ask for more replicas before they are started. Default 0."
    )
    downscale_delay_seconds: Annotated[float | None, forms.number(0, 86_400)] = Field(
        None, description="How long load must ask for fewer replicas before one leaves. Default 300."
    )


class ServiceBlock(AnyBlock):
    """SkyServe's service block."""

    readiness_probe: Annotated[
        float | None, Form(_read_probe, {"type": ["string", "object"], "examples": ["/health"]})
    ] = Field(None, description="initial_delay_seconds is how long a start may take. Default 1200.")
    replica_policy: ReplicaPolicyBlock | None = None
    replicas: Replicas = Field(None, description="A fixed number of replicas.")
    load_balancer: Passed = None
    load_balancing_policy: Passed = None
    ports: Passed = None
    tls: Annotated[None, forms.refused("the gateway speaks HTTP. Put what ends TLS in front of it")] = None
    pool: Annotated[None, forms.refused("a pool has no endpoint, so there is no traffic to move")] = None
    workers: Annotated[None, forms.refused("a pool has no endpoint, so there is no traffic to move")] = None
