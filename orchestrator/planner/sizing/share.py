"""What one replica of each shape has to do: its share of the service's load, and whether it carries that. Pure.

The same requests are few under way on a fast replica and many on a slow one, so no batch holds for all offers. The load
is shared by as many replicas as are wanted, spares included, and what that makes of a shape's batch is told by its
model (Little's law, ``ReplicaModel.batch_at``): a large replica that would idle pays its idle power, a small one that
would be too full is seen to be. Shares are even: traffic that follows the grid moves in seconds, placements last.

Where no load is known the batch is the one that is expected of any replica, and says so. Where a shape has no model
or the lengths of requests are not known, requests are taken to last as long there as where they were counted, and
whether it carries them is not known, which is not no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import inf
from types import MappingProxyType

from orchestrator.domain.hardware import Shape
from orchestrator.domain.scale import LoadSeen, Work
from orchestrator.domain.service import Engine, ModelSpec, ServiceSpec
from orchestrator.domain.variants import model_of, variant_of
from orchestrator.planner.sizing.capacity import DEFAULT_PLACES, Capacity
from orchestrator.planner.sizing.packaged import replica_model
from orchestrator.planner.sizing.replica_model import ReplicaModel
from orchestrator.planner.slots import standing_slots
from orchestrator.planner.snapshot import Snapshot

NO_TRIPS: Mapping[str, float] = MappingProxyType({})
"""Nobody has said where the clients are, or nothing is promised of the first token."""


def capacity_on(
    spec: ServiceSpec, shapes: Sequence[Shape | None], kv_tokens: int | None = None, variants: Sequence[str] = ()
) -> Capacity:
    """Return what one replica of the service can carry, as far as that is known of every shape that it stands on.

    ``kv_tokens``: how many tokens the KV cache holds where an engine says so, which goes before what is worked out. An
    engine without a model has no model. ``variants``: which runs on each of the shapes, the main model on all without.
    Raises ``InvalidSettings`` when the packaged tables were damaged.
    """
    runs = dict.fromkeys(zip(shapes, variants or [""] * len(shapes), strict=True))
    places = min((_places(model_of(spec, v) or spec.model) for _, v in runs), default=_places(spec.model))
    ttft = None if spec.ttft_p95 is None else spec.ttft_p95.total_seconds()
    models: list[ReplicaModel] = []
    for shape, variant in runs:
        found = None if shape is None or spec.model.engine is not Engine.VLLM else _model(spec, shape, variant)
        if found is None:
            return Capacity(places, (), ttft)
        models.append(found if kv_tokens is None else replace(found, kv_tokens=kv_tokens))
    return Capacity(places, tuple(models), ttft)


def _places(model: ModelSpec) -> int:
    written = dict(model.args).get("max_num_seqs")
    return written if isinstance(written, int) and not isinstance(written, bool) else DEFAULT_PLACES


def _model(spec: ServiceSpec, shape: Shape, name: str) -> ReplicaModel | None:
    """Return the model of a replica of a variant: by its owner's own measurement, else by size and precision."""
    if shape.accelerator is None:
        return None  # of no model is anything known without one, and what is remembered is slower to look up
    variant = variant_of(spec, name)
    if variant is None:
        return None if name else replica_model(spec.model, shape)
    if variant.throughput is None:
        return replica_model(variant.model, shape)
    main = replica_model(spec.model, shape)
    return None if main is None else main.times(variant.throughput, variant.source)


def works(snapshot: Snapshot, trips: Mapping[str, float] = NO_TRIPS) -> dict[str, Work]:
    """Return what a replica of the main model would have to do on every offer, by its id.

    ``trips``: seconds of round trip to the clients that the offer would serve, by its id; none where nothing is
    promised of them.
    """
    found: dict[tuple[Shape, float], Work] = {}
    by_offer: dict[str, Work] = {}
    for offer in (c.offer for c in snapshot.candidates if not c.offer.variant):
        kind = (offer.shape, trips.get(offer.id, 0.0))
        if kind not in found:
            found[kind] = work_on(snapshot, offer.shape, rtt_seconds=kind[1])
        by_offer[offer.id] = found[kind]
    return by_offer


def work_on(
    snapshot: Snapshot, shape: Shape, replicas: int | None = None, variant: str = "", rtt_seconds: float = 0.0
) -> Work:
    """Return what a replica of the shape has to do. ``replicas``: that share the load, else as many as are wanted.

    ``variant``: that it runs, the main model without. ``rtt_seconds``: what the way takes of ``slo.ttft_p95``.
    """
    expected, load = snapshot.mean_batch, snapshot.load
    number = standing_slots(snapshot.spec) if replicas is None else replicas
    if load is None or number < 1:
        return Work(expected.value, expected.origin, number)
    capacity = capacity_on(snapshot.spec, [shape], variants=[variant])
    model = capacity.models[0] if capacity.models else None
    if model is None or load.prompt_tokens is None or not load.output_tokens:
        return Work(load.mean_in_flight / number, f"{_shared(load, number)} as long as where they were", number)
    rate = load.requests_per_second / number
    batch = model.batch_at(rate, load.prompt_tokens, load.output_tokens, capacity.places)
    scaling = snapshot.spec.scaling
    # A target of its owner says what a replica carries, whatever it stands on.
    least = None if scaling.target_qps_per_replica is not None else needed(capacity, load, rtt_seconds)
    spares = scaling.num_overprovision if replicas is None else 0
    carries = None if least is None else least <= number - spares
    origin = f"{load.requests_per_second:.3g} requests/s shared by {number}; {model.origin}"
    return Work(batch, origin, number, least, carries, model.reading(rate * load.prompt_tokens))


def needed(capacity: Capacity, load: LoadSeen, rtt_seconds: float) -> int:
    """Return the fewest replicas that keep the promise behind that way; see :meth:`Capacity.replicas_for`."""
    if rtt_seconds <= 0.0 or capacity.ttft_p95_seconds is None:
        return _fewest(capacity, load)
    first, waits = _queues(capacity, load)
    left = max(waits[-1], capacity.ttft_p95_seconds - rtt_seconds) if waits else 0.0
    return first + next((more for more, seconds in enumerate(waits) if seconds <= left), 0)


@lru_cache(maxsize=256)
def _fewest(capacity: Capacity, load: LoadSeen) -> int:
    """Remember it: a plan asks for each shape again and again, and Erlang's recursion is long."""
    return capacity.replicas_for(load)


@lru_cache(maxsize=256)
def _queues(capacity: Capacity, load: LoadSeen) -> tuple[int, tuple[float, ...]]:
    """Return the fewest replicas without any way, and the seconds to the first token on so many, and each one more.

    They end where more replicas mend nothing; none where the promise is not theirs to keep. Hundreds of places with
    ways of their own read the same row.
    """
    first, last = (replace(capacity, rtt_seconds=rtt).replicas_for(load) for rtt in (0.0, inf))
    seconds = [capacity.ttft_seconds(load, number) for number in range(first, last + 1)]
    known = tuple(s for s in seconds if s is not None)
    return first, known if len(known) == len(seconds) else ()


def _shared(load: LoadSeen, number: int) -> str:
    return f"{load.mean_in_flight:.3g} requests under way shared by {number}, taken to last"
