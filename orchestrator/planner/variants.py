"""Each offer for each variant: what a replica has to do there, whether it fits, what its quality counts. Pure.

The floor is each variant's own: none below it serves. So the mean over all answers is not below it either, however
traffic is shared among replicas, while one is lost and while one takes over from another; a floor of the mean alone
would have to be kept by whoever shares traffic, every second. Price is ``w_q * quality loss(v) * x`` of the objective.

Nothing here assumes that fewer bytes are greener. A variant whose precision the packaged measurements know is sized by
the same law of bytes and compute as every model; one that they do not know has no model, and draws what the main model
does; its owner's own ``throughput`` goes before both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.domain.decision import Quality, Verdict
from orchestrator.domain.offer import Offer
from orchestrator.domain.service import MAIN, ServiceSpec, Variant
from orchestrator.domain.units import SECONDS_PER_HOUR
from orchestrator.domain.variants import variant_of
from orchestrator.planner.sizing.packaged import accelerator_memory_gib
from orchestrator.planner.sizing.share import NO_TRIPS, work_on
from orchestrator.planner.slots import standing_slots
from orchestrator.planner.snapshot import Snapshot
from orchestrator.policy.assess import FLOOR_RULE, MEMORY_RULE, Standing

THE_MAIN_MODEL = "what quality is relative to"


def standings(snapshot: Snapshot, trips: Mapping[str, float] = NO_TRIPS) -> dict[str, Standing]:
    """Return what holds for each offer as one of the service's variants, by id; nothing where it has none.

    ``trips``: as of :func:`works`.
    """
    spec = snapshot.spec
    if not spec.variants:
        return {}
    tokens = _tokens_per_hour(snapshot)
    found = {}
    for candidate in snapshot.candidates:
        offer = candidate.offer
        variant = variant_of(spec, offer.variant)
        if variant is None and offer.variant:
            continue  # a shelf of an older file
        work = work_on(snapshot, offer.shape, variant=offer.variant, rtt_seconds=trips.get(offer.id, 0.0))
        quality = _quality(variant, spec, tokens)
        found[offer.id] = Standing(work, quality, tuple(_verdicts(offer, variant, quality)))
    return found


def _quality(variant: Variant | None, spec: ServiceSpec, tokens_per_hour: float | None) -> Quality:
    rules = spec.quality
    name, of_main, source = (
        (MAIN, 1.0, THE_MAIN_MODEL) if variant is None else (variant.name, variant.quality, variant.source)
    )
    return Quality(name, of_main, rules.floor, source, rules.usd_per_point, tokens_per_hour)


def _verdicts(offer: Offer, variant: Variant | None, quality: Quality) -> Iterator[Verdict]:
    if variant is None:
        return
    good = quality.of_main >= quality.floor
    text = f"{variant.name} answers {quality.of_main:g} as well ({quality.source}), "
    text += f"{'at least' if good else 'below'} model.quality.floor {quality.floor:g}"
    yield Verdict(FLOOR_RULE, good, text, quality.of_main, quality.floor, "")
    has = accelerator_memory_gib(offer.shape)
    if variant.memory_gib is None or has is None:
        return
    fits = variant.memory_gib <= has
    text = f"{variant.name} needs {variant.memory_gib:g} GiB, {offer.shape.name} has {has:.0f}"
    yield Verdict(MEMORY_RULE, fits, text, variant.memory_gib, has, "GiB")


def _tokens_per_hour(snapshot: Snapshot) -> float | None:
    """Return the output tokens of one replica in an hour of engine time, shared evenly; ``None`` while not known."""
    load, number = snapshot.load, standing_slots(snapshot.spec)
    if load is None or load.output_tokens is None or number < 1:
        return None
    return load.requests_per_second * load.output_tokens * SECONDS_PER_HOUR / number
