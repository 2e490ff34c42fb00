"""What clients ask for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.provisioners.local.builtin_engine.text import render_chat, tokens_of

DEFAULT_COMPLETION_TOKENS = 16
"""What OpenAI's legacy completions route generates when ``max_tokens`` is absent; vLLM does the same."""

UNSUPPORTED = ("best_of", "echo", "logit_bias", "logprobs", "response_format", "stop", "suffix", "tools")
"""Parameters that would change the answer and that we do not honour: refused rather than ignored."""


class BadRequest(Exception):
    """The client's mistake, with the status to answer."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param


@dataclass(frozen=True, slots=True)
class Generation:
    """One request to generate. ``prompt`` is the whole text so far, chat markup included."""

    chat: bool
    model: str
    prompt: str
    prompt_tokens: int
    max_tokens: int
    min_tokens: int
    ignore_eos: bool
    stream: bool
    include_usage: bool


def parse_generation(body: object, *, chat: bool, model: str, max_model_len: int) -> Generation:
    """Read the body of a chat or completion request. Raises ``BadRequest``."""
    if not isinstance(body, Mapping):
        raise BadRequest("the body is not a JSON object")
    asked = body.get("model", model)
    if asked != model:
        raise BadRequest(f"The model `{asked}` does not exist.", status=404, kind="NotFoundError", param="model")
    if body.get("n", 1) not in {1, None}:
        raise BadRequest("the builtin engine gives one choice only", param="n")
    for name in UNSUPPORTED:
        if body.get(name):
            raise BadRequest(f"the builtin engine does not support {name}", param=name)
    prompt = _chat_prompt(body) if chat else _prompt(body)
    prompt_tokens = len(tokens_of(prompt))
    room = max_model_len - prompt_tokens
    max_tokens = _limit(body, chat=chat, room=room)
    if prompt_tokens >= max_model_len or max_tokens > room:
        raise BadRequest(
            f"This model's maximum context length is {max_model_len} tokens. However, you requested {max_tokens} "
            f"output tokens and your prompt contains {prompt_tokens} input tokens.",
            param="max_tokens",
        )
    options = body.get("stream_options")
    return Generation(
        chat=chat,
        model=model,
        prompt=prompt,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        min_tokens=_whole(body, "min_tokens", 0),
        ignore_eos=body.get("ignore_eos") is True,
        stream=body.get("stream") is True,
        include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
    )


def _chat_prompt(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise BadRequest("messages: a list of messages is needed", param="messages")
    continue_final = body.get("continue_final_message") is True
    if continue_final and body.get("add_generation_prompt", True):
        raise BadRequest("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    try:
        return render_chat(messages, continue_final=continue_final)
    except ValueError as exc:
        raise BadRequest(str(exc), param="messages") from exc


def _prompt(body: Mapping[str, Any]) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequest("prompt: one text is needed", param="prompt")
    return prompt


def _limit(body: Mapping[str, Any], *, chat: bool, room: int) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if body.get(name) is not None:
            limit = _whole(body, name, 0)
            if limit < 1:
                raise BadRequest(f"{name} must be at least 1, got {limit}.", param=name)
            return limit
    return max(room, 0) if chat else DEFAULT_COMPLETION_TOKENS


def _whole(body: Mapping[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{name}: {value!r} is not a whole number", param=name)
    return value
