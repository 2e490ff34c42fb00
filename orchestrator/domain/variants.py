"""A service's variants: what each of them runs, and offers as the planner sees them, one for each. Pure.

A variant is no thing that is sold, so it is the last part of an offer's id and nothing else: whatever chooses, records
and bills offers deals with variants without knowing of them. A replica remembers its own in its ``offer_id``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.domain.hardware import Shape
from orchestrator.domain.offer import Offer
from orchestrator.domain.service import ModelSpec, ServiceSpec, Variant
from orchestrator.domain.workload import model_digest


def variant_of(spec: ServiceSpec, name: str) -> Variant | None:
    """Return the variant of that name; ``None`` where the service has none, or the name is empty."""
    return next((v for v in spec.variants if v.name == name), None)


def model_of(spec: ServiceSpec, name: str) -> ModelSpec | None:
    """Return what a replica of the variant runs, the main model for an empty name; ``None`` for one that is unknown."""
    if not name:
        return spec.model
    found = variant_of(spec, name)
    return None if found is None else found.model


def workload_of(spec: ServiceSpec, name: str) -> str | None:
    """Return the digest of what a replica of the variant runs; ``None`` for one that is unknown."""
    model = model_of(spec, name)
    return None if model is None else model_digest(spec, model)


def workloads_of(spec: ServiceSpec) -> frozenset[str]:
    """Return the digests of all that the spec's replicas may run."""
    models = (spec.model, *(v.model for v in spec.variants))
    return frozenset(model_digest(spec, model) for model in models)


def with_variants(offers: Iterable[Offer], spec: ServiceSpec) -> tuple[Offer, ...]:
    """Return the offers as they are sold, and each of them again for every variant of the service."""
    sold = tuple(offers)
    return (*sold, *(as_variant(o, v) for v in spec.variants for o in sold))


def as_variant(offer: Offer, variant: Variant) -> Offer:
    """Return the offer for replicas of a variant: the same rent, and its owner's figure of power where there is one.

    Without that figure it draws what the main model does at the same batch: fewer bytes alone make nothing greener.
    The figure is of full load: what a machine draws idle has nothing to do with the weights that it holds.
    """
    return replace(offer, variant=variant.name, shape=_drawing(offer.shape, variant))


def _drawing(shape: Shape, variant: Variant) -> Shape:
    if shape.power is None or variant.power is None:
        return shape
    power = replace(
        shape.power,
        idle_watts=min(shape.power.idle_watts, shape.power.full_watts * variant.power),
        full_watts=shape.power.full_watts * variant.power,
        method=f"{shape.power.method}, times {variant.power:g} for {variant.name}",
        source=f"{shape.power.source}; {variant.source}",
    )
    return replace(shape, power=power)
