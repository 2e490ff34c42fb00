"""What two or more values of a service file say to each other, as far as it can be known without asking anybody.

Each check looks at blocks that are sound by themselves and yields findings: where, what, and what was probably meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from math import fsum, isclose

from orchestrator.domain.matching import denied_by, zone_in
from orchestrator.domain.service import Objective, Policy
from orchestrator.domain.survival import spares_for
from orchestrator.spec import (
    batch_block,
    credentials,
    engine_args,
    grammar,
    schedule_block,
    sky_task,
    sky_values,
    variant_block,
)
from orchestrator.spec.blocks import MigrationBlock, ModelBlock, PlacementBlock, SloBlock
from orchestrator.spec.grammar import Unreadable
from orchestrator.spec.service_model import ServiceFile
from orchestrator.spec.words import Path, listed, nearest, show
from orchestrator.spec.yaml_tree import Data

BUILTIN = "builtin"
_LONGER_THAN_ANY_PATTERN = 128
_WRITE_ITS_NAME = "holds what looks like a credential. Write its name under secrets, with null"


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction. ``at_key``: point at the key and not at its value."""

    path: Path
    message: str
    suggestion: str | None = None
    at_key: bool = False


def check(file: ServiceFile, data: Mapping[str, Data], templates: tuple[str, ...]) -> Iterator[Finding]:
    """Yield every finding, those about values that were left out of ``file`` included: the caller drops them."""
    yield from _model(file, data, templates)
    if file.slo:
        yield from _slo(file.slo)
    if file.migration:
        yield from _migration(file.migration)
    if file.resources:
        yield from _resources(file.resources)
    if file.service:
        yield from _scaling(file.service)
        yield from _spot(file)
    if file.placement:
        yield from _placement(file.placement)
    if file.batch:
        yield from _batch(file, file.batch)
    yield from _room(file)
    yield from _survives(file)
    yield from _secrets(file)
    yield from _credentials(dict(data))


def _model(file: ServiceFile, data: Mapping[str, Data], templates: tuple[str, ...]) -> Iterator[Finding]:
    model, has_run = file.model, bool(data.get("run"))
    if model is None:
        if not has_run:
            yield Finding(
                ("model",), "missing. Say which model to serve (model: {id: …}), or write run as SkyPilot has it"
            )
        return
    if model.id is None:
        yield Finding(("model", "id"), "missing. Write a hub id (owner/name) or a path", at_key=True)
    if has_run:
        yield from _beside_run(model)
    if model.engine == BUILTIN and model.args:
        yield Finding(("model", "args"), "the builtin engine takes no arguments", at_key=True)
    else:
        yield from _engine_args(model.args)
    yield from _variants(model, has_variants=_value_at(data, ("model", "variants")) is not None)
    if model.template is not None and model.template not in templates:
        message = f"{show(model.template)} is not one of {listed(templates)}"
        yield Finding(("model", "template"), message, nearest(model.template, templates))


def _variants(model: ModelBlock, *, has_variants: bool) -> Iterator[Finding]:
    if model.quality is not None and not has_variants:
        yield Finding(("model", "quality"), "has no effect without variants beside it", at_key=True)
    takes_args = model.engine != BUILTIN
    for path, message, at_key in variant_block.findings(
        model.variants or (), model.quality, model.args, takes_args=takes_args
    ):
        yield Finding(("model", *path), message, at_key=at_key)


def about_the_policy(file: ServiceFile, policy: Policy) -> Iterator[Finding]:
    """Yield what the file asks of its policy and that one cannot do."""
    rules = file.model.quality if file.model else None
    if rules is not None and rules.price and policy.objective is not Objective.LOWEST_SCORE:
        message = f"{policy.name} weighs no terms, so a price of quality has nothing to stand beside. Use one that does"
        yield Finding(("model", "quality", "price"), message, at_key=True)


def _engine_args(args: Mapping[str, object]) -> Iterator[Finding]:
    for name, value in args.items():
        try:
            engine_args.read(name, value)
        except Unreadable as error:
            at_key = name not in engine_args.ARGS
            yield Finding(("model", "args", name), error.message, error.suggestion, at_key=at_key)


def _beside_run(model: ModelBlock) -> Iterator[Finding]:
    """A file that starts its own server leaves nothing for us to start."""
    written = {
        "engine": model.engine,
        "template": model.template,
        "args": model.args or None,
        "variants": model.variants,
    }
    for key, value in written.items():
        if value is not None:
            message = "has no effect beside run, which starts the server itself. Remove one of the two"
            yield Finding(("model", key), message, at_key=True)


def _slo(slo: SloBlock) -> Iterator[Finding]:
    weights = [client.weight for client in slo.clients or ()]
    if weights and not isclose(fsum(weights), 1.0, abs_tol=0.001):
        yield Finding(("slo", "clients"), f"the weights add up to {fsum(weights):g}, not to 1")
    areas = [client.near for client in slo.clients or ()]
    for index, area in enumerate(areas):
        if area in areas[:index]:
            yield Finding(("slo", "clients", index, "near"), f"{show(area)} is here twice")


def _migration(migration: MigrationBlock) -> Iterator[Finding]:
    if migration.schedule is not None:
        for path, message, at_key in schedule_block.findings(migration.schedule):
            yield Finding(("migration", "schedule", *path), message, at_key=at_key)
    steps = migration.canary
    if not steps:
        return
    if any(later <= earlier for earlier, later in pairwise(steps)):
        yield Finding(("migration", "canary"), "the steps must rise, like [10%, 50%, 100%]")
    if steps[-1] != 100:  # noqa: PLR2004  # all of the traffic
        yield Finding(("migration", "canary", len(steps) - 1), "the last step must be 100%")


def _resources(resources: sky_task.ResourcesBlock) -> Iterator[Finding]:
    if resources.any_of and resources.ordered:
        yield Finding(("resources", "ordered"), "cannot stand beside any_of", at_key=True)
    choices: list[tuple[Path, sky_task.ResourceChoice]] = [(("resources",), resources)]
    choices += [(("resources", "any_of", i), entry) for i, entry in enumerate(resources.any_of or ())]
    choices += [(("resources", "ordered", i), entry) for i, entry in enumerate(resources.ordered or ())]
    for path, choice in choices:
        if choice.infra and (choice.cloud or choice.region or choice.zone):
            yield Finding((*path, "infra"), "says the same as cloud, region and zone. Keep infra alone", at_key=True)
        if choice.accelerators and choice.gpus:
            yield Finding((*path, "gpus"), "is another name of accelerators. Keep one of them", at_key=True)
        if sky_values.is_zone_id(choice.within(resources).place) and (choice.infra or choice.zone):
            zone = zone_in(choice.place)
            message = f"{show(zone)} is the id of a zone. Write the name that it has on your account, like eu-north-1a"
            yield Finding((*path, "infra" if choice.infra else "zone"), message)


def _scaling(service: sky_task.ServiceBlock) -> Iterator[Finding]:
    policy = service.replica_policy
    if policy and service.replicas is not None:
        yield Finding(("service", "replicas"), "cannot stand beside replica_policy", at_key=True)
    if service.replicas == 0:
        yield Finding(("service", "replicas"), "0 serves nobody. Use greenctl down to stop the service")
    if policy is None:
        return
    low, high = policy.min_replicas, policy.max_replicas
    if low is None:
        yield Finding(("service", "replica_policy", "min_replicas"), "missing", at_key=True)
    elif low == 0 and not high:
        message = "0 serves nobody. Write max_replicas: 1 beside it to scale to zero while nobody asks"
        yield Finding(("service", "replica_policy", "min_replicas"), message)
    if low is not None and high is not None and low > high:
        message = f"min_replicas {low} is above max_replicas {high}"
        yield Finding(("service", "replica_policy", "min_replicas"), message)


def _spot(file: ServiceFile) -> Iterator[Finding]:
    """What SkyServe asks of its knobs for spot (``sky.serve.serve_utils`` of SkyPilot 0.14.1), before it refuses them.

    There each of the alternatives has to be spot; here one is enough, because it makes the whole service spot.
    """
    policy = file.service.replica_policy if file.service else None
    if policy is None:
        return
    path = ("service", "replica_policy")
    wanted = {
        "base_ondemand_fallback_replicas": policy.base_ondemand_fallback_replicas,
        "dynamic_ondemand_fallback": policy.dynamic_ondemand_fallback,
        "spot_placer": policy.spot_placer,
    }
    for key, value in wanted.items():
        if value and not uses_spot(file):
            yield Finding((*path, key), "is for spot replicas. Write use_spot: true under resources", at_key=True)
    base = policy.base_ondemand_fallback_replicas or 0
    if policy.min_replicas is not None and base > policy.min_replicas:
        message = f"{base} are more than min_replicas {policy.min_replicas}"
        yield Finding((*path, "base_ondemand_fallback_replicas"), message)


def _batch(file: ServiceFile, batch: batch_block.BatchBlock) -> Iterator[Finding]:
    """Work that waits for its hours has none to all of its replicas: the file says so where everybody looks for it."""
    for path, message, at_key in batch_block.findings(batch):
        yield Finding(("batch", *path), message, at_key=at_key)
    policy = file.service.replica_policy if file.service else None
    if policy is None:
        message = "needs service: {replica_policy: {min_replicas: 0, max_replicas: 1}}: none while it waits"
        yield Finding(("batch",), message, at_key=True)
    elif policy.min_replicas:
        message = "must be 0 beside batch: while the work waits nothing runs. max_replicas run when it does not"
        yield Finding(("service", "replica_policy", "min_replicas"), message)


def uses_spot(file: ServiceFile) -> bool:
    """Whether spot replicas are asked for, by the resources or one of their alternatives."""
    resources = file.resources
    return resources is not None and any(entry.use_spot for entry in resources.merged)


def _placement(placement: PlacementBlock) -> Iterator[Finding]:
    for index, pattern in enumerate(placement.allow or ()):
        by = next((deny for deny in placement.deny or () if covers(deny.lower(), pattern.lower())), None)
        if by is not None:
            yield Finding(("placement", "allow", index), f"{show(pattern)} is denied again by {show(by)}")
    for index, pattern in enumerate(placement.deny or ()):
        if covers(pattern, "*/*"):
            yield Finding(("placement", "deny", index), f"{show(pattern)} denies every region")


def covers(wide: str, narrow: str) -> bool:
    """Whether every region that ``narrow`` can match is matched by ``wide``, as far as the text tells.

    Sound and not complete: a star in ``narrow`` has to be matched by a star, both where it stands for nothing and where
    it stands for more characters than a pattern has.
    """
    long = "\x01" * _LONGER_THAN_ANY_PATTERN
    return all(fnmatchcase(narrow.replace("?", "\x00").replace("*", star), wide) for star in ("", long))


def allowed(file: ServiceFile) -> tuple[str, ...]:
    """The regions that a service may be in: those of ``placement.allow`` and of its alternatives, if all name one."""
    places = _places(file)
    allow = tuple(file.placement.allow or ()) if file.placement else ()
    if not places or not allow:
        return places or allow
    return tuple(dict.fromkeys(both for place in places for pattern in allow if (both := _in_both(place, pattern))))


def _places(file: ServiceFile) -> tuple[str, ...]:
    """Where the alternatives are; empty unless each of them says it. ``aws`` is every region of it."""
    if file.resources is None or not file.resources.alternatives:
        return ()
    parts = [(entry.place or "").split("/") for entry in file.resources.merged]
    if not all(cloud for cloud, *_ in parts):
        return ()
    return tuple(dict.fromkeys(f"{cloud}/{rest[0] if rest and rest[0] else '*'}" for cloud, *rest in parts))


def _in_both(one: str, other: str) -> str | None:
    """Return the pattern of the regions that both match, ``None`` for none. One names a region, or a whole cloud."""
    narrower = [
        a if covers(b, a) else b if covers(a, b) else None
        for a, b in zip(one.split("/", 1), other.split("/", 1), strict=True)
    ]
    return None if None in narrower else "/".join(str(part) for part in narrower)


def _room(file: ServiceFile) -> Iterator[Finding]:
    """Whether the replicas fit into the regions named, where all of them are named."""
    placement = file.placement
    if placement is None:
        return
    place = "/".join(((file.resources.only_place if file.resources else None) or "").split("/")[:2])
    pinned = place if "/" in place and "*" not in place else None
    if pinned:
        if by := denied_by(pinned, placement.deny or ()):
            yield Finding(("placement", "deny"), f"{show(by)} denies {pinned}, where resources puts the service")
        if placement.allow and not any(fnmatchcase(pinned, allow) for allow in placement.allow):
            yield Finding(("placement", "allow"), f"does not include {pinned}, where resources puts the service")
    if placement.allow and _places(file) and not allowed(file):
        message = f"includes none of {', '.join(_places(file))}, where the alternatives of resources put the service"
        yield Finding(("placement", "allow"), message)
    low = min_replicas(file)
    if placement.max_per_region is None:
        return
    regions = {pinned} if pinned else set(allowed(file))
    if not regions or any("*" in region or "?" in region for region in regions):
        return
    if placement.max_per_region * len(regions) < low:
        message = f"{placement.max_per_region} in each of {len(regions)} region(s) leaves no room for {low} replicas"
        yield Finding(("placement", "max_per_region"), message)


def _survives(file: ServiceFile) -> Iterator[Finding]:
    """Whether enough can be left without any one region, as far as the file names all of them."""
    if file.slo is None or file.slo.survives is None:
        return
    path: Path = ("slo", "survives")
    if file.batch:
        message = (
            "is for services that answer requests: beside batch, work that was lost is done again before its deadline"
        )
        yield Finding(path, message, at_key=True)
        return
    regions = _named_regions(file)
    if regions is None:
        return
    limit = None if file.placement is None else file.placement.max_per_region
    needed = max(1, min_replicas(file))
    if len(regions) <= 1:
        where = f"only {', '.join(regions)} is" if regions else "no region is"
        yield Finding(path, f"takes two regions or more, and {where} allowed")
    elif limit is not None and spares_for(needed, len(regions), limit=limit) is None:
        message = f"{limit} in each of {len(regions)} regions leaves fewer than {needed} replicas when one is lost"
        yield Finding(("placement", "max_per_region"), f"{message}, which slo.survives rules out")


def _named_regions(file: ServiceFile) -> tuple[str, ...] | None:
    """Return the regions that the file allows; ``None`` where it does not name all of them."""
    place = "/".join(((file.resources.only_place if file.resources else None) or "").split("/")[:2])
    if "/" in place and "*" not in place:
        return (place,)
    regions = allowed(file)
    if not regions or any("*" in region or "?" in region for region in regions):
        return None
    denied = file.placement.deny or () if file.placement is not None else ()
    return tuple(sorted({r for r in regions if denied_by(r, denied) is None}))


def min_replicas(file: ServiceFile) -> int:
    """How many replicas the service starts with."""
    if file.service is None:
        return 1
    if file.service.replica_policy and file.service.replica_policy.min_replicas is not None:
        return file.service.replica_policy.min_replicas
    return file.service.replicas if file.service.replicas is not None else 1


def _secrets(file: ServiceFile) -> Iterator[Finding]:
    for name, value in (file.secrets or {}).items():
        bare = str(name).removeprefix("secrets:")
        try:
            grammar.text(bare, grammar.VARIABLE_PATTERN, "the name of a variable")
        except Unreadable as error:
            yield Finding(("secrets", name), error.message, at_key=True)
        if value is not None:
            message = "a value in the file would be stored with it. Write null; it is taken from the environment"
            yield Finding(("secrets", name), message)
    for name, value in (file.envs or {}).items():
        try:
            grammar.text(name, grammar.VARIABLE_PATTERN, "the name of a variable")
        except Unreadable as error:
            yield Finding(("envs", name), error.message, at_key=True)
        if isinstance(value, (dict, list)):
            yield Finding(("envs", name), f"{show(value)} is not text")
        elif credentials.names_one(name, value):
            yield Finding(("envs", name), f"looks like a credential. Write it under secrets, as {name}: null")


def _credentials(value: Data, path: Path = ()) -> Iterator[Finding]:
    """Look at every text, keys included, for the shape of a credential."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if credentials.looks_like_one(key):
                yield Finding((*path, key), _WRITE_ITS_NAME, at_key=True)
            yield from _credentials(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _credentials(inner, (*path, index))
    elif isinstance(value, str) and credentials.looks_like_one(value) and not _was_named(path, value):
        yield Finding(path, _WRITE_ITS_NAME)


def _was_named(path: Path, value: object) -> bool:
    """Whether another check has spoken of it already, by its variable's name."""
    match path:
        case ("secrets", str(), *_):
            return True
        case ("envs", str(name)):
            return credentials.names_one(name, value)
    return False


LOAD_KEYS = ("target_qps_per_replica", "upscale_delay_seconds", "downscale_delay_seconds")
"""How load decides on the number of replicas."""

NOT_YET: dict[Path, str] = {
    ("carbon", "budget"): "kept: policies may hold to its even pace, and nothing is held back yet when it is spent",
    ("carbon", "sources"): "kept, but sources are set for the whole installation so far",
    ("gateway", "host"): "kept, but the gateway answers on its own address so far",
}
"""What is understood and kept, and not acted upon by this version. A line goes when its feature comes."""


def _of_the_way(data: Mapping[str, Data]) -> Iterator[Finding]:
    """Say what each of two keys that belong together does alone."""
    clients, ttft = _value_at(data, ("slo", "clients")), _value_at(data, ("slo", "ttft_p95"))
    if ttft is not None and clients is None:
        yield Finding(
            ("slo", "ttft_p95"), "holds for queues; without slo.clients the way to them is not counted", at_key=True
        )
    if clients is not None and ttft is None:
        message = "traffic goes by it; places only with slo.ttft_p95, or a policy that speaks of rtt_ms"
        yield Finding(("slo", "clients"), message, at_key=True)


def notes(file: ServiceFile, data: Mapping[str, Data]) -> Iterator[Finding]:
    """Say aloud what a file asks for and does not get: nobody shall believe in a rule that nothing enforces."""
    if file.run:
        yield Finding(("run",), "starts the server as it is; greenctl neither reads nor changes it", at_key=True)
    elif file.setup:
        yield Finding(("setup",), "runs on cloud machines only, not for replicas on this machine", at_key=True)
    if _value_at(data, ("slo", "availability")) is not None and not (file.resources and file.resources.use_spot):
        yield Finding(("slo", "availability"), "kept, but only services on spot get spares for it", at_key=True)
    yield from _of_the_way(data)
    yield from _unused(file, data)
    if file.model and file.model.variants and file.gateway and file.gateway.resume_streams:
        message = (
            "with variants, a stream that breaks may go on at a replica of another one; its header names the first"
        )
        yield Finding(("gateway", "resume_streams"), message, at_key=True)
    if file.gateway and file.gateway.routing not in {None, "weighted", "greenest", "round_robin"}:
        yield Finding(("gateway", "routing"), "kept, but the gateway balances by weight so far", at_key=True)
    if file.report and file.report.functional_unit not in {None, 1000}:
        message = "kept, but reports count per 1000 output tokens so far"
        yield Finding(("report", "functional_unit"), message, at_key=True)
    yield from _spot_notes(file)
    yield from _scaling_notes(file)


def _scaling_notes(file: ServiceFile) -> Iterator[Finding]:
    """What speaks of the size of a service says nothing where that is fixed; what comes with none at all."""
    policy = file.service.replica_policy if file.service else None
    sleeps = policy is not None and policy.min_replicas == 0
    for key in ("hold", "max_held"):
        if file.gateway and getattr(file.gateway, key) is not None and not sleeps:
            yield Finding(("gateway", key), "has no effect without min_replicas: 0", at_key=True)
    if policy is None:
        return
    if file.batch:
        yield from _batch_notes(policy)
        return
    if sleeps:
        message = "while nobody asks no replica may run; the first request after that waits for a start"
        yield Finding(("service", "replica_policy", "min_replicas"), message, at_key=True)
    if (policy.max_replicas or 0) > (policy.min_replicas or 0):
        return
    for key in LOAD_KEYS:
        if getattr(policy, key) is not None:
            message = "has no effect without max_replicas above min_replicas"
            yield Finding(("service", "replica_policy", key), message, at_key=True)


def _batch_notes(policy: sky_task.ReplicaPolicyBlock) -> Iterator[Finding]:
    message = "max_replicas run in the hours that are chosen for the work and none in the others, whatever is asked"
    yield Finding(("batch",), message, at_key=True)
    for key in LOAD_KEYS:
        if getattr(policy, key) is not None:
            yield Finding(("service", "replica_policy", key), "has no effect beside batch", at_key=True)


def _spot_notes(file: ServiceFile) -> Iterator[Finding]:
    if file.placement and file.placement.on_spot_loss and not uses_spot(file):
        yield Finding(("placement", "on_spot_loss"), "has no effect without use_spot: true", at_key=True)


def _unused(file: ServiceFile, data: Mapping[str, Data]) -> Iterator[Finding]:
    for path, message in (*NOT_YET.items(), *sky_task.UNUSED.items()):
        if _value_at(data, path) is not None:
            yield Finding(path, message, at_key=True)
    if file.resources:
        yield from _resources_notes(file.resources)


def _resources_notes(resources: sky_task.ResourcesBlock) -> Iterator[Finding]:
    """What alternatives become, where greenctl buys by offer."""
    path = ("resources", "any_of" if resources.any_of else "ordered")
    for index, entry in enumerate(resources.alternatives):
        for key in sky_task.PASSED:
            if getattr(entry, key) is not None:
                yield Finding((*path, index, key), sky_task.OF_THE_WHOLE, at_key=True)
    merged = resources.merged
    if resources.ordered:
        message = "kept, but the policy and not the order chooses among the alternatives"
        yield Finding(path, message, at_key=True)
    if resources.only_place is None and any(zone_in(entry.place) for entry in merged):
        message = "machines are launched in the zones named, and priced as in the cheapest zone of their region"
        yield Finding(path, message, at_key=True)
    if len({(entry.cpus, entry.memory) for entry in merged}) > 1:
        message = "of cpus and memory the most that an alternative asks for holds for all of them"
        yield Finding(path, message, at_key=True)
    if len({bool(entry.use_spot) for entry in merged}) > 1:
        message = "spot in one alternative is spot in all: placement.on_spot_loss says when on demand is bought instead"
        yield Finding(path, message, at_key=True)


def _value_at(data: Data | Mapping[str, Data], path: Path) -> Data:
    found: Data | Mapping[str, Data] = data
    for part in path:
        found = found.get(str(part)) if isinstance(found, Mapping) else None
    return found  # type: ignore[return-value]  # no path above leads to the top
