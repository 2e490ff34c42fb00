"""Our blocks of a service file as pydantic models: types, words and ranges of single values.

What depends on two values at once is in :mod:`orchestrator.spec.checks`; what the values mean to the rest of the
product is in :mod:`orchestrator.domain.service`. ``None`` means "not written": the domain's default holds. The JSON
Schema is generated from these models, so each field says what it is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from orchestrator.domain.carbon import Accounting, Factors
from orchestrator.domain.service import Objective, SpotLoss, Survives, WhenStale
from orchestrator.spec import engine_args, forms, grammar
from orchestrator.spec.block import Block
from orchestrator.spec.forms import Form
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.schedule_block import ScheduleBlock
from orchestrator.spec.variant_block import MODEL_SCHEMA, MOST_VARIANTS, QualityBlock, VariantBlock
from orchestrator.spec.words import show

API_VERSION = "greenctl/v1"
ROUTINGS = ("weighted", "round_robin", "least_busy", "session", "prefix_aware", "greenest")
UNLIMITED = "unlimited"

# The schema's "string" for the readers below; the readers themselves say precisely what they want.
_NAME_SCHEMA = {"type": "string", "pattern": grammar.NAME_PATTERN, "examples": ["chat-8b"]}
_REGION_SCHEMA = {"type": "string", "pattern": grammar.REGION_PATTERN, "examples": ["aws/eu-west-1"]}
_WEIGHTS_SCHEMA = {
    "type": "string",
    "anyOf": [{"enum": ["hub", "at-hand"]}, {"pattern": grammar.REGION_PATTERN}],
    "examples": ["hub", "aws/eu-north-1"],
}
_BUDGET_SCHEMA = {"type": "string", "pattern": grammar.BUDGET_PATTERN, "examples": ["25kg/month"]}
_TOKENS_SCHEMA = {"type": "string", "pattern": grammar.TOKENS_PATTERN, "examples": ["1000 output tokens"]}
_EXTRA_COST = forms.percent(0, 1000)


def _read_extra_cost(value: object) -> object:
    return UNLIMITED if value == UNLIMITED else _EXTRA_COST.read(value)


def _read_api_version(value: object) -> str:
    if value != API_VERSION:
        raise Unreadable(f"{show(value)} is not {API_VERSION}, the only version that this greenctl reads")
    return API_VERSION


ApiVersion = Annotated[str | None, Form(_read_api_version, {"const": API_VERSION})]
ServiceName = Annotated[str | None, Form(grammar.service_name, _NAME_SCHEMA)]
RegionGlob = Annotated[
    str, Form(grammar.region_glob, {"type": "string", "pattern": grammar.REGION_GLOB_PATTERN, "examples": ["aws/eu-*"]})
]
Flag = Annotated[bool | None, forms.flag()]
ExtraCost = Annotated[float | str | None, Form(_read_extra_cost, {"anyOf": [_EXTRA_COST.schema, {"const": UNLIMITED}]})]
PriceCap = Annotated[float | None, forms.number(0, 10_000, above=True)]
Horizon = Annotated[timedelta | None, forms.duration("1h", "168h")]
ObjectiveWord = Annotated[Objective | None, forms.choice(Objective)]


class ModelBlock(Block):
    """Which model is served, and how. Fills SkyPilot's setup and run from a template."""

    id: Annotated[str | None, Form(grammar.model_id, MODEL_SCHEMA)] = Field(
        None, description="Hub id, or a path that begins with ./, ../ (beside this file) or /."
    )
    engine: Annotated[str | None, forms.choice(("vllm", "builtin"))] = Field(
        None, description="vllm, or builtin: answers without a model, for trying things out. Default vllm."
    )
    served_name: Annotated[str | None, forms.pattern(grammar.SERVED_NAME_PATTERN, "a model name", "qwen3-8b")] = Field(
        None, description="What clients write in `model`. Default: the id, or the last part of a path."
    )
    template: Annotated[str | None, forms.pattern(grammar.NAME_PATTERN, "the name of a template", "vllm-openai")] = (
        Field(None, description="Engine defaults per accelerator family. Default vllm-openai.")
    )
    args: Annotated[dict[str, Any], WithJsonSchema(engine_args.schema())] = Field(
        default_factory=dict, description="Engine arguments by their vLLM names with underscores."
    )
    weights_gb: Annotated[float | None, forms.number(0, 100_000, above=True)] = Field(
        None, description="What a launch fetches, in GB (1e9 bytes). Default: by the size in the name of the model."
    )
    weights_from: Annotated[str | None, Form(grammar.weights_from, _WEIGHTS_SCHEMA)] = Field(
        None,
        description="Where weights are fetched from: hub, the region of a bucket (aws/eu-north-1), or at-hand: in the "
        "image or on the disk. For what a launch costs. Default: the hub, for the id of a hub.",
    )
    variants: list[VariantBlock] | None = Field(
        None, min_length=1, max_length=MOST_VARIANTS, description="What else may answer under the model's name."
    )
    quality: QualityBlock | None = None


class ClientsBlock(Block):
    """A share of the clients and where it is."""

    near: Annotated[str, forms.pattern(grammar.AREA_PATTERN, "an area like eu or us-east", "eu", "us-east")] = Field(
        description="An area: a continent or a part of one."
    )
    weight: Annotated[float, forms.number(0, 1, above=True)] = Field(description="Its share; all shares add up to 1.")


class SloBlock(Block):
    """What the service promises."""

    ttft_p95: Annotated[timedelta | None, forms.duration("1ms", "10m")] = Field(
        None, description="Time to first token, 95th percentile."
    )
    availability: Annotated[float | None, forms.percent(0, 100, above=True, below=True)] = Field(
        None,
        description="Share of the time in which all wanted replicas are ready; with use_spot, spares follow from it.",
    )
    survives: Annotated[Survives | None, forms.choice(Survives)] = Field(
        None,
        description="region: when any one region is lost, as many replicas are left as load (or replicas) needs. "
        "Takes spares, spread over two regions or more. Nothing is promised without it.",
    )
    clients: list[ClientsBlock] | None = Field(None, min_length=1, max_length=64, description="Where the clients are.")


class PlacementBlock(Block):
    """Where replicas may go."""

    residency: (
        list[Annotated[str, forms.pattern(grammar.RESIDENCY_PATTERN, "a jurisdiction like EU, EEA or SE", "EU", "SE")]]
        | None
    ) = Field(
        None, min_length=1, max_length=64, description="Jurisdictions; a region must lie in at least one of them."
    )
    allow: list[RegionGlob] | None = Field(
        None, min_length=1, max_length=200, description="Regions or patterns (* and ?); left out, all are allowed."
    )
    deny: list[RegionGlob] | None = Field(None, max_length=200, description="Regions or patterns that are never used.")
    max_per_region: Annotated[int | None, forms.whole(1, 1000)] = Field(None, description="Replicas in one region.")
    on_spot_loss: Annotated[SpotLoss | None, forms.choice(SpotLoss)] = Field(
        None,
        description="What replaces a spot replica that was taken away: on_demand (at once, and back to spot after "
        "migration.min_dwell), other_region (spot elsewhere), wait (spot in the same place when there is room again; "
        "min_replicas is missed until then). With dynamic_ondemand_fallback the stand-in is the on-demand replica. "
        "Default on_demand.",
    )
    home: Annotated[str | None, Form(grammar.region, _REGION_SCHEMA)] = Field(
        None, description="Where the service would run without greenctl; savings are reported against it."
    )


class CarbonBlock(Block):
    """Which carbon numbers count, how old they may be, and how much may be emitted."""

    accounting: Annotated[Accounting | None, forms.choice(Accounting)] = Field(
        None, description="Average grid mix or the marginal plant. Default average."
    )
    factors: Annotated[Factors | None, forms.choice(Factors)] = Field(
        None, description="With upstream emissions (lifecycle) or without. Default lifecycle."
    )
    sources: list[Annotated[str, forms.pattern(grammar.WORD_PATTERN, "the name of a source", "static")]] | None = Field(
        None, min_length=1, max_length=16, description="Sources in the order in which they are asked."
    )
    max_age: Annotated[timedelta | None, forms.duration("1m", "30d")] = Field(
        None, description="An older number counts as stale. Default 90m."
    )
    when_stale: Annotated[WhenStale | None, forms.choice(WhenStale)] = Field(
        None, description="What to do without a fresh number. Default hold."
    )
    budget: Annotated[tuple[float, str] | None, Form(grammar.budget, _BUDGET_SCHEMA)] = Field(
        None, description="Emissions allowed per day, week or month."
    )


class PolicySetBlock(Block):
    """Single values of the policy that this service overrides."""

    objective: ObjectiveWord = Field(None, description="greenest or cheapest; lowest_score stands in a policy file.")
    max_extra_cost: ExtraCost = Field(None, description="How far above the cheapest price, or unlimited.")
    price_cap: PriceCap = Field(None, description="US dollars per hour of one replica.")
    horizon: Horizon = Field(None, description="How far ahead emissions are looked at.")


class PolicyBlock(Block):
    """Which policy decides."""

    use: Annotated[
        str | None,
        forms.pattern(
            r"^([a-z]([-a-z0-9]{0,38}[a-z0-9])?|\.{0,2}/[A-Za-z0-9_./+@-]{1,500})$",
            "the name of a policy, or a path that begins with ./, ../ or /",
            "green-first",
            "./policy.yaml",
        ),
    ] = Field(None, description="A shipped policy, or a policy file beside this one. Default green-first.")
    overrides: PolicySetBlock | None = Field(None, alias="set", description="Values that differ from it.")
    rules: Annotated[None, forms.refused("rules stand in a policy file: name it here as use: ./policy.yaml")] = None


class AbortBlock(Block):
    """When a move is given up and traffic goes back."""

    error_rate: Annotated[float | None, forms.percent(0, 100)] = Field(
        None, description="Share of failed requests on the new replica. Default 1%."
    )
    ttft_p95: Annotated[timedelta | None, forms.duration("1ms", "10m")] = Field(
        None,
        description="Time to the first token on the new replica, 95th percentile, as the gateway counts it from "
        "sending a stream there; judged from 20 streams on. Default: not judged.",
    )


class MigrationBlock(Block):
    """How and how often replicas may move."""

    enabled: Flag = Field(None, description="Whether replicas move of their own accord. Default true.")
    strategy: Annotated[str | None, forms.choice(("make_before_break",))] = Field(
        None, description="The new replica serves before the old one stops."
    )
    min_dwell: Annotated[timedelta | None, forms.duration("0s", "30d")] = Field(
        None, description="How long a replica stays where it is. Default 2h."
    )
    min_improvement: Annotated[float | None, forms.percent(0, 100)] = Field(
        None,
        description="How much a move must save. Unless said: 3% for greenest, which weighs each hour; 15% for others.",
    )
    max_moves_per_day: Annotated[int | None, forms.whole(0, 1000)] = Field(None, description="Default 6.")
    canary: list[Annotated[int, forms.whole_percent(1, 100)]] | None = Field(
        None, min_length=1, max_length=20, description="Shares of traffic in rising steps; ends with 100%."
    )
    canary_hold: Annotated[timedelta | None, forms.duration("0s", "1h")] = Field(
        None, description="How long each step is watched. Default 5s."
    )
    drain: Annotated[timedelta | None, forms.duration("0s", "1h")] = Field(
        None, description="How long running requests may finish. Default 120s."
    )
    abort_if: AbortBlock | None = None
    schedule: ScheduleBlock | None = None


class GatewayBlock(Block):
    """How traffic reaches the replicas."""

    host: Annotated[str | None, forms.pattern(grammar.HOST_PATTERN, "a host name", "chat.example.net")] = Field(
        None, description="Public host name of the endpoint."
    )
    routing: Annotated[str | None, forms.choice(ROUTINGS)] = Field(None, description="Default weighted.")
    retries: Annotated[int | None, forms.whole(0, 10)] = Field(
        None, description="Further replicas that one request may try. Default 2."
    )
    cooldown: Annotated[timedelta | None, forms.duration("0s", "1h")] = Field(
        None, description="How long a replica that failed gets no traffic. Default 30s."
    )
    resume_streams: Flag = Field(
        None, description="Whether a broken stream goes on at another replica; the answer says so. Default false."
    )
    hold: Annotated[timedelta | None, forms.duration("1s", "1h")] = Field(
        None,
        description="How long a request waits for a first replica while a service with min_replicas 0 has none; then "
        "503 with Retry-After. Default 5m.",
    )
    max_held: Annotated[int | None, forms.whole(1, 10_000)] = Field(
        None, description="How many requests may wait so in one gateway process; the next gets a 503. Default 100."
    )


class BudgetBlock(Block):
    """The most that a service may cost. Nothing is launched that does not fit; what serves is never ended for it."""

    usd_per_day: Annotated[float | None, forms.number(0, 1_000_000, above=True)] = Field(
        None, description="US dollars per calendar day, UTC."
    )
    usd_per_month: Annotated[float | None, forms.number(0, 100_000_000, above=True)] = Field(
        None, description="US dollars per calendar month, UTC."
    )


class ReportBlock(Block):
    """How the service is reported."""

    functional_unit: Annotated[int | None, Form(grammar.output_tokens, _TOKENS_SCHEMA)] = Field(
        None, description="What emissions are divided by. Default 1000 output tokens."
    )
    labels: (
        dict[
            Annotated[str, forms.pattern(grammar.LABEL_KEY_PATTERN, "a label's name", "team")],
            Annotated[str, forms.pattern(grammar.LABEL_VALUE_PATTERN, "a label's text", "assistants")],
        ]
        | None
    ) = Field(None, max_length=64, description="Names and texts that travel into reports.")
