"""How many replicas a load is work for: by the fitted model of a replica, or by places in its batch. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.scale import LoadSeen
from orchestrator.planner.sizing.energy import joules_per_token
from orchestrator.planner.sizing.replica_model import ReplicaModel
from orchestrator.planner.sizing.staffing import replicas_for, wait_quantile

DEFAULT_PLACES = 256
"""vLLM's ``max_num_seqs`` where none is written: 256 for its server on most accelerators (vllm/engine/arg_utils.py,
``get_batch_defaults``; more on those with at least 70 GiB, which then serve sooner than they must)."""

TTFT_QUANTILE = 0.95
MOST_FOR_TTFT = 4
"""So many times the replicas that the load needs are not exceeded for the sake of the time to the first token."""


@dataclass(frozen=True, slots=True)
class Offered:
    """An offered load in busy replicas, in words, and where the capacity of one comes from."""

    replicas: float
    words: str
    origin: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is known of what one replica can carry. ``places``: sequences that its engine runs at once.

    ``models``: of the shapes that its replicas stand on, empty as soon as one of them has none; the slowest counts.
    ``ttft_p95_seconds``: what the service promises, ``None`` without a promise. ``rtt_seconds``: what the way to its
    clients takes of that.
    """

    places: int = DEFAULT_PLACES
    models: tuple[ReplicaModel, ...] = ()
    ttft_p95_seconds: float | None = None
    rtt_seconds: float = 0.0

    def offered(self, load: LoadSeen) -> Offered:
        """Return the offered load: by tokens where model and lengths are known, else by requests under way."""
        if (slowest := self._slowest(load)) is not None and load.prompt_tokens is not None and load.output_tokens:
            each = slowest.requests_per_second(load.prompt_tokens, load.output_tokens, self.places)
            words = f"{load.requests_per_second:.3g} requests/s of {each:.3g} each at most"
            origin = f"{slowest.origin}; {load.prompt_tokens:.0f} + {load.output_tokens:.0f} tokens per request"
            return Offered(load.requests_per_second / each, words, origin)
        words = f"{load.mean_in_flight:.3g} requests under way, {self.places} places each"
        return Offered(load.mean_in_flight / self.places, words, "requests in flight over the engine's max_num_seqs")

    def replicas_for(self, load: LoadSeen, room: float = 0.0) -> int:
        """Return the fewest replicas that carry the load with a share of ``room``, and keep its promise of TTFT.

        A longer way leaves less of the promise to the queue, so it never takes fewer. Where the way leaves less than
        reading the prompt takes, it is as many as leave no queue: that is all that more replicas can mend.
        """
        number = replicas_for(self.offered(load).replicas * (1 + room))
        least = self.ttft_seconds(load, MOST_FOR_TTFT * number, room)
        if self.ttft_p95_seconds is None or least is None or least > self.ttft_p95_seconds:
            return number  # not known, or nothing that more replicas would mend
        left = max(least, self.ttft_p95_seconds - self.rtt_seconds)
        while (self.ttft_seconds(load, number, room) or 0.0) > left:
            number += 1
        return number

    def ttft_seconds(self, load: LoadSeen, replicas: int, room: float = 0.0) -> float | None:
        """Return the 95th percentile of the time to the first token on so many replicas; ``None`` without a model.

        Waiting for a place (M/M/c, places of all replicas as servers), and :meth:`serving_seconds`. Infinite when they
        cannot carry the load.
        """
        model, serving = self._slowest(load), self.serving_seconds(load)
        if model is None or serving is None or load.prompt_tokens is None or not load.output_tokens:
            return None
        prompt, output = load.prompt_tokens, load.output_tokens
        batch = model.usable_batch(prompt, output, self.places)
        stay = batch * model.busy_seconds(batch, prompt, output)
        erlangs = load.requests_per_second * (1 + room) * stay
        waits = wait_quantile(max(1, int(replicas * batch)), erlangs, stay, TTFT_QUANTILE)
        return waits + serving

    def serving_seconds(self, load: LoadSeen) -> float | None:
        """Return what the engine takes to the first token when nobody waits; ``None`` without a model.

        Reading the prompt and one step of a full batch, which no number of replicas mends: replicas are sized to be
        full at the swings of their load, and a request may come just then. It follows from the lengths of requests
        alone, so that who is near enough to whom does not change with their rate. See decision 0046.
        """
        model = self._slowest(load)
        if model is None or load.prompt_tokens is None or not load.output_tokens:
            return None
        prompt, output = load.prompt_tokens, load.output_tokens
        batch = model.usable_batch(prompt, output, self.places)
        return prompt / model.prefill_tokens_per_second + model.step_seconds(batch, prompt + output / 2)

    def joules_per_token(self, load: LoadSeen, replicas: int) -> float | None:
        """Return what an output token takes on so many replicas, accelerators alone; ``None`` where none was measured.

        Fewer replicas run fuller batches: this is where they win.
        """
        model = self._slowest(load)
        if model is None or model.accelerator_power is None or load.prompt_tokens is None or not load.output_tokens:
            return None
        prompt, output = load.prompt_tokens, load.output_tokens
        batch = model.batch_at(load.requests_per_second / replicas, prompt, output, self.places)
        return joules_per_token(model, model.accelerator_power, batch, prompt, output) if batch > 0 else None

    def _slowest(self, load: LoadSeen) -> ReplicaModel | None:
        if not self.models or load.prompt_tokens is None or not load.output_tokens:
            return None
        prompt, output = load.prompt_tokens, load.output_tokens
        return min(self.models, key=lambda m: (m.requests_per_second(prompt, output, self.places), m.name))
