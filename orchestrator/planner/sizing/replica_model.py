"""A replica as a small physical model: time per decode step, prefill, room for KV, and power by batch. Pure.

Decode step time ``tau(b, l) = tau0 + tau1 b + tau2 b l`` seconds for ``b`` sequences of mean context ``l`` tokens: the
weights are read once per step, each sequence takes its share of compute, and its KV cache is read (the form of
roofline models of LLM serving, e.g. Splitwise, arXiv 2311.18677, section 4, and arXiv 2602.05695). Prefill is bound by
compute, so it takes a time in proportion to its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from orchestrator.domain.hardware import PowerModel


class Knowledge(StrEnum):
    """Fitted to measurements of this model on this accelerator, or modelled from its size and the data sheet."""

    FITTED = "fitted"
    MODELLED = "modelled"


@dataclass(frozen=True, slots=True)
class ReplicaModel:
    """One model on one shape. Times in seconds, ``tau2`` per token of context.

    ``accelerator_power``: measured, of its accelerators without their host; ``None`` where nobody has.
    ``kv_tokens``: how many tokens its KV cache holds, ``None`` when the model's architecture is not known to us.
    ``error_fraction``: mean relative error of its throughput against measurements (of other models, if modelled).
    """

    name: str
    tau0: float
    tau1: float
    tau2: float
    prefill_tokens_per_second: float
    kv_tokens: int | None
    accelerator_power: PowerModel | None
    knowledge: Knowledge
    error_fraction: float
    source: str

    def __post_init__(self) -> None:
        """Refuse a model in which work takes no time. Raises ``ValueError``."""
        if not (self.tau0 > 0 and self.tau1 >= 0 and self.tau2 >= 0 and self.prefill_tokens_per_second > 0):
            message = f"{self.name}: needs tau0 > 0, tau1 and tau2 >= 0, and a positive prefill rate"
            raise ValueError(message)

    @property
    def origin(self) -> str:
        """Where its numbers come from, with their band."""
        return f"{self.knowledge.value}, ±{self.error_fraction:.0%} ({self.source})"

    def times(self, throughput: float, source: str) -> ReplicaModel:
        """Return a replica that does everything so many times as fast, as somebody measured; with as much KV cache."""
        return replace(
            self,
            tau0=self.tau0 / throughput,
            tau1=self.tau1 / throughput,
            tau2=self.tau2 / throughput,
            prefill_tokens_per_second=self.prefill_tokens_per_second * throughput,
            accelerator_power=None,
            source=f"{self.source}; {throughput:g} times as fast: {source}",
        )

    def step_seconds(self, batch: float, context_tokens: float) -> float:
        """Return the time of one decode step, which is also the time between two tokens of a stream."""
        return self.tau0 + batch * (self.tau1 + self.tau2 * context_tokens)

    def decode_tokens_per_second(self, batch: float, context_tokens: float) -> float:
        """Return the throughput of decoding at a batch, 0 at an empty one."""
        return batch / self.step_seconds(batch, context_tokens)

    def usable_batch(self, prompt: float, output: float, places: int, itl_slo_seconds: float = inf) -> float:
        """Return how many sequences it runs at once: within its places, its KV cache and the time between tokens.

        A sequence holds ``prompt + output / 2`` tokens on average while it is decoded.
        """
        context = prompt + output / 2
        batch = float(places)
        if self.kv_tokens is not None:
            batch = min(batch, self.kv_tokens / max(1.0, context))
        if itl_slo_seconds < inf and (slope := self.tau1 + self.tau2 * context) > 0:
            batch = min(batch, (itl_slo_seconds - self.tau0) / slope)
        return max(1.0, batch)

    def requests_per_second(self, prompt: float, output: float, places: int, itl_slo_seconds: float = inf) -> float:
        """Return the most requests of so many tokens that it completes: prefill takes its time from decoding."""
        batch = self.usable_batch(prompt, output, places, itl_slo_seconds)
        return 1.0 / self.busy_seconds(batch, prompt, output)

    def busy_seconds(self, batch: float, prompt: float, output: float) -> float:
        """Return the replica's time that one request takes while ``batch`` are decoded together."""
        context = prompt + output / 2
        return prompt / self.prefill_tokens_per_second + output * self.step_seconds(batch, context) / batch

    def reading(self, prompt_tokens_per_second: float) -> float:
        """Return the part of its time (0..1) that goes into reading so many prompt tokens."""
        return min(1.0, max(0.0, prompt_tokens_per_second) / self.prefill_tokens_per_second)

    def batch_at(self, requests_per_second: float, prompt: float, output: float, places: int) -> float:
        """Return the mean number of sequences under way at a rate, by Little's law, at most the usable batch.

        ``b = r (prompt/mu + output tau(b))`` is linear in ``b``; prefill of others lengthens each step by its share.
        """
        context = prompt + output / 2
        free = 1.0 - requests_per_second * prompt / self.prefill_tokens_per_second
        most = self.usable_batch(prompt, output, places)
        if free <= 0:
            return most
        rate = requests_per_second * output / free
        slope = 1.0 - rate * (self.tau1 + self.tau2 * context)
        return most if slope <= 0 else min(most, rate * self.tau0 / slope)
