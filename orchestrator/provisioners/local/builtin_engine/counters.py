"""The engine's counters, in vLLM's metric names and Prometheus text form."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What has happened since the start. ``started_at``: Unix seconds, for the ``_created`` lines."""

    model: str
    started_at: float
    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})

    def exposition(self) -> str:
        """Return the metrics page. Counters come with a ``_created`` gauge, as prometheus_client writes them."""
        lines: list[str] = []
        for name, text, value in (
            ("vllm:num_requests_running", "Number of requests in model execution batches.", self.running),
            ("vllm:num_requests_waiting", "Number of requests waiting to be processed.", self.waiting),
        ):
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", self._line(name, value)]
        for name, text, total in (
            ("vllm:prompt_tokens", "Number of prefill tokens processed.", self.prompt_tokens),
            ("vllm:generation_tokens", "Number of generation tokens processed.", self.generation_tokens),
        ):
            lines += [f"# HELP {name}_total {text}", f"# TYPE {name}_total counter", self._line(f"{name}_total", total)]
            lines += [f"# HELP {name}_created {text}", f"# TYPE {name}_created gauge"]
            lines.append(self._line(f"{name}_created", self.started_at))
        name = "vllm:request_success_total"
        lines += [f"# HELP {name} Count of successfully processed requests.", f"# TYPE {name} counter"]
        lines += [self._line(name, count, f',finished_reason="{reason}"') for reason, count in self.finished.items()]
        return "\n".join(lines) + "\n"

    def _line(self, name: str, value: float, more: str = "") -> str:
        model = self.model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{name}{{engine="0",model_name="{model}"{more}}} {float(value)}'
