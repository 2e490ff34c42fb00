"""From a sound file model to the frozen values of the domain; what was not written keeps the domain's default."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TypeVar

from orchestrator.domain.carbon import Basis
from orchestrator.domain.money import MoneyBudget
from orchestrator.domain.service import (
    CarbonRules,
    ClientArea,
    Engine,
    GatewayRules,
    MigrationRules,
    ModelSpec,
    PlacementRules,
    Policy,
    QualityRules,
    ResourceRequest,
    Scaling,
    ServiceSpec,
    Variant,
)
from orchestrator.spec import batch_block, blocks, checks, engine_args, grammar, schedule_block, sky_task
from orchestrator.spec.service_model import ServiceFile
from orchestrator.spec.yaml_tree import Data

_Rules = TypeVar("_Rules", Scaling, PlacementRules, CarbonRules, MigrationRules, GatewayRules, ModelSpec, ServiceSpec)


def service_spec(
    file: ServiceFile, data: Mapping[str, Data], name: str, policy: Policy, base: Path | None
) -> ServiceSpec:
    """Build the spec of a file without problems. ``base``: what a relative model path is relative to."""
    slo = file.slo or blocks.SloBlock()
    report = file.report or blocks.ReportBlock()
    probe = file.service.readiness_probe if file.service else None
    model = _model(file, name, base)
    spec = ServiceSpec(
        name=name,
        model=model,
        resources=_resources(file.resources or sky_task.ResourcesBlock()),
        scaling=_scaling(file),
        placement=_placement(file),
        carbon=_carbon(file.carbon or blocks.CarbonBlock()),
        policy=policy,
        migration=_migration(file.migration or blocks.MigrationBlock()),
        gateway=_gateway(file.gateway or blocks.GatewayBlock()),
        ttft_p95=slo.ttft_p95,
        availability_fraction=slo.availability,
        survives=slo.survives,
        clients=tuple(ClientArea(client.near, client.weight) for client in slo.clients or ()),
        labels=tuple(sorted((report.labels or {}).items())),
        secrets=tuple(sorted(n.removeprefix("secrets:") for n in file.secrets or {})),
        passthrough_json=passthrough(data, name),
        variants=_variants(file, model, base),
        quality=_quality(file),
    )
    return _written(
        spec,
        startup_deadline=timedelta(seconds=probe) if probe is not None else None,
        functional_unit_tokens=report.functional_unit,
        lease=file.lease,
        budget=MoneyBudget(file.budget.usd_per_day, file.budget.usd_per_month) if file.budget else None,
        batch=batch_block.meaning(file.batch) if file.batch else None,
    )


def passthrough(data: Mapping[str, Data], name: str) -> str:
    """Write SkyPilot's keys as canonical JSON: the task file without our blocks."""
    task = {key: value for key, value in data.items() if key in sky_task.TASK_KEYS and value is not None}
    return json.dumps(
        {**task, "name": name}, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _variants(file: ServiceFile, main: ModelSpec, base: Path | None) -> tuple[Variant, ...]:
    """Build the variants by name: what is not written is the main model's, and so is the name that clients send."""
    block = file.model
    found = []
    for one in block.variants or () if block is not None else ():
        args = dict(main.args) | {key: engine_args.read(key, value) for key, value in one.args.items()}
        identity = main.id if one.id is None else _identity(one.id, base)
        gb = one.weights_gb or (main.weights_gb if one.id is None else None)
        model = replace(main, id=identity, served_name=main.name, args=tuple(sorted(args.items())), weights_gb=gb)
        figures = (one.memory_gib, one.throughput, one.power)
        found.append(Variant(one.name, model, one.quality or 0.0, one.source or "", *figures))
    return tuple(sorted(found, key=lambda v: v.name))


def _quality(file: ServiceFile) -> QualityRules:
    block = None if file.model is None else file.model.quality
    return QualityRules() if block is None else QualityRules(block.floor or 0.0, block.price or 0.0)


def _identity(written: str, base: Path | None) -> str:
    return str(base / written) if grammar.is_path(written) and base is not None else written


def _model(file: ServiceFile, name: str, base: Path | None) -> ModelSpec:
    """A file with a run command of its own gets ``Engine.COMMAND``; without a model block its service names it."""
    block = file.model
    if block is None:
        return ModelSpec(id="", engine=Engine.COMMAND, served_name=name, template="")
    written = block.id or ""
    is_path = grammar.is_path(written)
    identity = _identity(written, base)
    last = PurePosixPath(identity).name
    spec = ModelSpec(
        id=identity,
        served_name=block.served_name or (last if is_path else ""),
        args=tuple(sorted((key, engine_args.read(key, value)) for key, value in block.args.items())),
        weights_gb=block.weights_gb,
        weights_from=block.weights_from,
    )
    if file.run:
        return replace(spec, engine=Engine.COMMAND, template="")
    return _written(spec, engine=Engine(block.engine) if block.engine else None, template=block.template)


def _resources(block: sky_task.ResourcesBlock) -> ResourceRequest:
    """Alternatives (``any_of``, ``ordered``) become one request: any of their accelerators, the most of each minimum.

    The most, so that no alternative is bought smaller than it is written (decision 0067). The planner looks at all
    offers at once, so an order among alternatives is its business; SkyPilot's own text is kept in the passthrough.
    """
    every = block.merged
    wanted = tuple(dict.fromkeys(choice for entry in every for choice in entry.choices))
    return ResourceRequest(
        accelerators=tuple(sorted(wanted, key=lambda a: (a.name, a.count))),
        use_spot=any(entry.use_spot for entry in every),
        min_vcpus=_most([entry.cpus for entry in every]),
        min_memory_gib=_most([entry.memory for entry in every]),
        infra=block.only_place,
    )


def _most(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _scaling(file: ServiceFile) -> Scaling:
    low = checks.min_replicas(file)
    policy = file.service.replica_policy if file.service else None
    if policy is None:
        return Scaling(low, low)
    return _written(
        Scaling(low, policy.max_replicas or low, policy.target_qps_per_replica),
        num_overprovision=policy.num_overprovision,
        base_ondemand_fallback_replicas=policy.base_ondemand_fallback_replicas,
        dynamic_ondemand_fallback=policy.dynamic_ondemand_fallback,
        spot_placer=policy.spot_placer,
        upscale_delay=_seconds(policy.upscale_delay_seconds),
        downscale_delay=_seconds(policy.downscale_delay_seconds),
    )


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def _placement(file: ServiceFile) -> PlacementRules:
    block = file.placement or blocks.PlacementBlock()
    return _written(
        PlacementRules(
            residency=tuple(block.residency or ()),
            allow=checks.allowed(file),
            deny=tuple(block.deny or ()),
            home=block.home,
        ),
        max_per_region=block.max_per_region,
        on_spot_loss=block.on_spot_loss,
    )


def _carbon(block: blocks.CarbonBlock) -> CarbonRules:
    default = Basis()
    grams, period = block.budget or (None, None)
    return _written(
        CarbonRules(
            basis=Basis(block.accounting or default.accounting, block.factors or default.factors),
            sources=tuple(block.sources or ()),
            budget_grams=grams,
            budget_period=period,
        ),
        max_age=block.max_age,
        when_stale=block.when_stale,
    )


def _migration(block: blocks.MigrationBlock) -> MigrationRules:
    abort = block.abort_if or blocks.AbortBlock()
    return _written(
        MigrationRules(abort_ttft_p95=abort.ttft_p95),
        enabled=block.enabled,
        min_dwell=block.min_dwell,
        min_improvement_fraction=block.min_improvement,
        max_moves_per_day=block.max_moves_per_day,
        canary_percent=tuple(block.canary) if block.canary else None,
        canary_hold=block.canary_hold,
        drain=block.drain,
        abort_error_fraction=abort.error_rate,
        schedule=schedule_block.meaning(block.schedule) if block.schedule is not None else None,
    )


def _gateway(block: blocks.GatewayBlock) -> GatewayRules:
    return _written(
        GatewayRules(host=block.host),
        routing=block.routing,
        retries=block.retries,
        cooldown=block.cooldown,
        resume_streams=block.resume_streams,
        hold=block.hold,
        max_held=block.max_held,
    )


def _written(rules: _Rules, **values: object) -> _Rules:
    """Replace the fields for which something was written."""
    return replace(rules, **{key: value for key, value in values.items() if value is not None})  # type: ignore[arg-type]
