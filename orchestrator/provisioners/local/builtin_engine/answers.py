"""The JSON of answers, in vLLM's form. Each one says that no model made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.provisioners.local.builtin_engine.requests import Generation

FINGERPRINT = "greenctl-builtin-not-a-model"
ENGINE_HEADER = "x-greenctl-engine"
ENGINE_NAME = "builtin"

DONE = b"data: [DONE]\n\n"


def sse(payload: Mapping[str, Any]) -> bytes:
    """Return one server-sent event."""
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def error(message: str, kind: str, status: int, param: str | None = None) -> dict[str, Any]:
    """Return OpenAI's error object as vLLM fills it."""
    return {
        "error": {"message": message, "type": kind, "param": param, "code": status},
        "system_fingerprint": FINGERPRINT,
    }


class Answer:
    """The parts of one answer that stay the same in each of its chunks."""

    def __init__(self, generation: Generation, identifier: str, created: int) -> None:
        self._generation = generation
        prefix = "chatcmpl" if generation.chat else "cmpl"
        self._common = {
            "id": f"{prefix}-{identifier}",
            "created": created,
            "model": generation.model,
            "system_fingerprint": FINGERPRINT,
        }

    def opening(self) -> dict[str, Any] | None:
        """Return the chunk that comes before the first token: a chat answer names its role."""
        if not self._generation.chat:
            return None
        return self._chunk([self._choice({"delta": {"role": "assistant", "content": ""}}, None)])

    def chunk(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        """Return the chunk of one token."""
        piece = {"delta": {"content": text}} if self._generation.chat else {"text": text}
        return self._chunk([self._choice(piece, finish_reason)])

    def usage_chunk(self, output_tokens: int) -> dict[str, Any]:
        """Return the chunk without choices that ends a stream with ``include_usage``."""
        return {**self._chunk([]), "usage": self._usage(output_tokens)}

    def whole(self, text: str, finish_reason: str, output_tokens: int) -> dict[str, Any]:
        """Return the answer to a request that does not stream."""
        chat = self._generation.chat
        piece = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        return {
            **self._common,
            "object": "chat.completion" if chat else "text_completion",
            "choices": [self._choice(piece, finish_reason)],
            "usage": self._usage(output_tokens),
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._generation.chat else "text_completion"
        return {**self._common, "object": kind, "choices": choices}

    def _choice(self, piece: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
        return {"index": 0, **piece, "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}

    def _usage(self, output_tokens: int) -> dict[str, int]:
        asked = self._generation.prompt_tokens
        return {"prompt_tokens": asked, "total_tokens": asked + output_tokens, "completion_tokens": output_tokens}
