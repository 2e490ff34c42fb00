"""How many replicas' worth of work a load is: by the fitted model of a replica, or by places in its batch. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.scale import LoadSeen
from orchestrator.planner.sizing.replica_model import ReplicaModel

DEFAULT_PLACES = 256
"""vLLM's ``max_num_seqs`` where none is written: 256 for its server on most accelerators (vllm/engine/arg_utils.py,
``get_batch_defaults``; more on those with at least 70 GiB, which then serve sooner than they must)."""


@dataclass(frozen=True, slots=True)
class Offered:
    """An offered load in busy replicas, in words, and where the capacity of one comes from."""

    replicas: float
    words: str
    origin: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is known of what one replica can carry. ``places``: sequences that its engine runs at once.

    ``models``: of the shapes that its replicas stand on, as far as they have one; the slowest of them counts.
    """

    places: int = DEFAULT_PLACES
    models: tuple[ReplicaModel, ...] = ()
    itl_slo_seconds: float | None = None

    def offered(self, load: LoadSeen) -> Offered:
        """Return the offered load: by tokens where model and lengths are known, else by requests under way."""
        if self.models and load.prompt_tokens is not None and load.output_tokens is not None:
            return self._by_tokens(load, load.prompt_tokens, load.output_tokens)
        busy = load.mean_in_flight / self.places
        words = f"{load.mean_in_flight:.3g} requests under way, {self.places} places each"
        return Offered(busy, words, "requests in flight over the engine's max_num_seqs")

    def _by_tokens(self, load: LoadSeen, prompt: float, output: float) -> Offered:
        slowest = min(self.models, key=lambda m: (m.requests_per_second(prompt, output, self.places), m.name))
        each = slowest.requests_per_second(prompt, output, self.places)
        busy = load.requests_per_second / each
        words = f"{load.requests_per_second:.3g} requests/s of {each:.3g} each at most"
        origin = f"{slowest.origin}; {prompt:.0f} + {output:.0f} tokens per request"
        return Offered(busy, words, origin)
