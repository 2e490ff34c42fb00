"""Read a completion request, only as far as routing needs it. Pure.

The bytes stay as the client sent them: fields that the gateway does not know belong to the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.gateway.replies import Refusal
from orchestrator.gateway.resume import CHAT_PATH, COMPLETIONS_PATH

MAX_BODY_BYTES: Final = 1024 * 1024
COMPLETION_PATHS: Final = frozenset({CHAT_PATH, COMPLETIONS_PATH})


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One request for generated text. ``choices``: how many answers must end before the stream is whole."""

    path: str
    raw: bytes
    body: Mapping[str, object]
    model: str
    stream: bool
    choices: int

    def for_model(self, model: str) -> CompletionRequest:
        """Return the request under the name that the engine serves; the same bytes when it is that name already."""
        if model == self.model:
            return self
        body = {**self.body, "model": model}
        return replace(self, raw=encoded(body), body=body, model=model)


def read_request(path: str, raw: bytes) -> CompletionRequest:
    """Parse the body; raises :class:`~orchestrator.gateway.replies.Refusal` (400) when it cannot be routed."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "invalid_json", "The request body is not valid JSON.") from error
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_json", "The request body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "missing_model", "Name the service or its model in `model`.", param="model")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise Refusal(400, "invalid_stream", "`stream` must be true or false.", param="stream")
    return CompletionRequest(path, raw, body, model, bool(stream), _choices(path, body))


def encoded(body: Mapping[str, object]) -> bytes:
    """Write a body anew, in ASCII: JSON can spell half of a surrogate pair, which UTF-8 cannot carry."""
    return json.dumps(body).encode("ascii")


def too_large() -> Refusal:
    """Refuse a body above :data:`MAX_BODY_BYTES`."""
    return Refusal(413, "request_too_large", f"The request body may have at most {MAX_BODY_BYTES} bytes.")


def _choices(path: str, body: Mapping[str, object]) -> int:
    wanted = body.get("n")
    each = wanted if isinstance(wanted, int) and wanted > 0 else 1
    prompt = body.get("prompt")
    is_batch = path == COMPLETIONS_PATH and isinstance(prompt, list) and any(isinstance(p, (str, list)) for p in prompt)
    return each * len(prompt) if is_batch and isinstance(prompt, list) else each
