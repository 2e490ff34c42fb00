"""What batching saves: energy per token by batch, and what one more replica draws at the same load. Pure.

Power saturates with the first few sequences while throughput goes on growing with the batch, so the same work costs
less in fewer, fuller replicas: on one H100 a token of a model of 8 billion weights takes 0.45 J at batch 8 and 0.08 J
at batch 256 (ML.ENERGY, measured). A spare replica therefore draws more than its idle power: it takes sequences from
the others, whose power hardly falls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.offer import Offer
from orchestrator.domain.scale import Spare
from orchestrator.domain.units import watts_to_kw
from orchestrator.planner.sizing.replica_model import ReplicaModel

CURVE_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One batch of the batch-energy curve: joules per output token (prefill included), and output tokens per second."""

    batch: int
    joules_per_token: float
    tokens_per_second: float


def joules_per_token(model: ReplicaModel, power: PowerModel, batch: float, prompt: float, output: float) -> float:
    """Return joules per output token at a batch, ``E = (prompt/mu P_full + output tau(b)/b P(b)) / output``.

    Prefill is bound by compute and draws full power; decoding draws what its batch does.
    """
    context = prompt + output / 2
    prefill = prompt / model.prefill_tokens_per_second * power.full_watts
    decode = output * model.step_seconds(batch, context) / batch * power.watts(batch)
    return (prefill + decode) / output


def batch_energy_curve(
    model: ReplicaModel, power: PowerModel, prompt: float, output: float, places: int
) -> tuple[CurvePoint, ...]:
    """Return the curve up to what the replica can hold of such sequences."""
    most = model.usable_batch(prompt, output, places)
    return tuple(
        CurvePoint(b, joules_per_token(model, power, b, prompt, output), output / model.busy_seconds(b, prompt, output))
        for b in CURVE_BATCHES
        if b <= most
    )


def fleet_watts(power: PowerModel, replicas: int, in_flight: float) -> float:
    """Return the IT watts of so many equal replicas that share ``in_flight`` sequences evenly."""
    return replicas * power.watts(in_flight / replicas) if replicas else 0.0


def added_watts(power: PowerModel, replicas: int, in_flight: float) -> float:
    """Return what the last of so many replicas adds to their IT power, at the same sequences under way."""
    return fleet_watts(power, replicas, in_flight) - fleet_watts(power, replicas - 1, in_flight)


def spare(
    slot: int, offer: Offer, replicas: int, draws: Callable[[PowerModel, int], float], grams_per_kwh: float | None
) -> Spare:
    """Return what the last of ``replicas`` adds, by the numbers of its own place (grams at the present intensity).

    ``draws``: the IT watts of each of so many (``>= 1``) replicas that share the load.
    """
    power, pue = offer.shape.power, offer.region.pue
    watts = None
    if power is not None:
        fewer = replicas - 1
        watts = replicas * draws(power, replicas) - (fewer * draws(power, fewer) if fewer else 0.0)
    kwh = None if watts is None or pue is None else watts_to_kw(watts) * pue
    grams = None if kwh is None or grams_per_kwh is None else kwh * grams_per_kwh
    return Spare(slot, offer.id, watts, kwh, grams, None if offer.price is None else offer.price.usd_per_hour)
