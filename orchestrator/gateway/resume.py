"""Continue a broken stream on another replica: pure rewriting of the request and of the second upstream's events.

The second upstream gets the conversation with the text so far as the start of the answer, and only the tokens that
are left. It is not bit-exact: sampling restarts, penalties see the text as prompt, and the text may be tokenised
differently. So it is opt-in, limited to plain single-choice text, and disclosed by a comment in the stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.gateway.sse import SseEvent, comment, data_event
from orchestrator.gateway.transcript import DONE

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"

LIMIT_KEYS = ("max_tokens", "max_completion_tokens")

DEFAULT_COMPLETION_TOKENS = 16
"""What ``/v1/completions`` generates when it is not told how much: OpenAI's rule, and vLLM's. ``null`` is no limit."""

# Everything here means the same when the answer is continued. What is not here (tools, log probabilities, structured
# output, several choices, token-id prompts...) would need state that only the lost replica had.
_RESUMABLE_KEYS = frozenset(
    {
        "chat_template_kwargs",
        "frequency_penalty",
        "ignore_eos",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "min_p",
        "min_tokens",
        "model",
        "n",
        "presence_penalty",
        "priority",
        "prompt",
        "repetition_penalty",
        "safety_identifier",
        "seed",
        "skip_special_tokens",
        "stop",
        "stop_token_ids",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "top_k",
        "top_p",
        "user",
    }
)


def is_resumable(path: str, body: Mapping[str, object]) -> bool:
    """Whether a stream of this request could be continued elsewhere without changing what was asked."""
    if not {k for k, v in body.items() if v is not None} <= _RESUMABLE_KEYS or not _wants_one_choice(body):
        return False
    if path == CHAT_PATH:
        messages = body.get("messages")
        return isinstance(messages, list) and bool(messages) and _role(messages[-1]) != "assistant"
    if body.get("max_completion_tokens") is not None:
        return False  # a limit of chats: some engines honour it here as well, vLLM does not
    return path == COMPLETIONS_PATH and isinstance(body.get("prompt"), str)


def tokens_left(path: str, body: Mapping[str, object], used: int) -> int | None:
    """Return how many tokens the request still allows, at least 0; ``None`` when it has no limit."""
    body = _with_limit(path, body)
    limits = [value for key in LIMIT_KEYS if isinstance(value := body.get(key), int)]
    return max(0, min(limits) - used) if limits else None


def continuation(path: str, body: Mapping[str, object], text: str, used: int) -> dict[str, object]:
    """Rewrite the request so that the answer goes on after ``text``, of which ``used`` tokens were emitted."""
    rest = _with_limit(path, body)
    if text:
        if path == CHAT_PATH:
            messages = rest["messages"]
            earlier = messages if isinstance(messages, list) else []
            rest["messages"] = [*earlier, {"role": "assistant", "content": text}]
            rest["continue_final_message"] = True
            rest["add_generation_prompt"] = False
        else:
            rest["prompt"] = f"{rest['prompt']}{text}"
    for key in LIMIT_KEYS:
        if isinstance(limit := rest.get(key), int):
            rest[key] = max(1, limit - used)
    if isinstance(minimum := rest.get("min_tokens"), int):
        rest["min_tokens"] = max(0, minimum - used)
    return rest


def _with_limit(path: str, body: Mapping[str, object]) -> dict[str, object]:
    """Return the request, with the limit that it has without saying so: an engine would count it anew."""
    default = {"max_tokens": DEFAULT_COMPLETION_TOKENS} if path == COMPLETIONS_PATH else {}
    return {**default, **body}


def splice(event: SseEvent, identity: Mapping[str, object], used: int) -> bytes:
    """Rewrite an event of the second upstream as if the first had sent it; empty when nothing is left of it.

    ``identity``: the id, creation time and model that the client has seen. ``used``: tokens that were emitted before;
    they move from the reported prompt to the reported completion.
    """
    if event.data is None or event.data.strip() == DONE:
        return event.raw
    try:
        chunk = json.loads(event.data)
    except (ValueError, RecursionError):
        return event.raw
    if not isinstance(chunk, dict):
        return event.raw
    choices = chunk.get("choices")
    if isinstance(choices, list) and choices and all(_says_only_the_role(c) for c in choices):
        return b""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and isinstance(delta := choice.get("delta"), dict):
            delta.pop("role", None)
    chunk.update(identity)
    if isinstance(usage := chunk.get("usage"), dict):
        _move_tokens(usage, used)
    return _json_event(chunk)


def ended_by_length(path: str, identity: Mapping[str, object]) -> bytes:
    """Write the end of a stream whose tokens had all been emitted before its upstream was lost."""
    said: dict[str, object] = {"delta": {}} if path == CHAT_PATH else {"text": ""}
    kind = "chat.completion.chunk" if path == CHAT_PATH else "text_completion"
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": "length"}
    return _json_event({"object": kind, **identity, "choices": [choice]}) + data_event(DONE)


def disclosure(region: str) -> bytes:
    """Write the comment that tells whoever reads the raw stream that it changed its replica."""
    return comment(f"greenctl resumed on {region}")


def _wants_one_choice(body: Mapping[str, object]) -> bool:
    wanted = body.get("n")
    return wanted is None or wanted == 1


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _says_only_the_role(choice: object) -> bool:
    if not isinstance(choice, dict) or not isinstance(delta := choice.get("delta"), dict):
        return False
    return "role" in delta and not any(v for k, v in delta.items() if k != "role") and not choice.get("finish_reason")


def _move_tokens(usage: dict[str, object], used: int) -> None:
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if isinstance(prompt, int) and isinstance(completion, int):
        usage["prompt_tokens"], usage["completion_tokens"] = max(0, prompt - used), completion + used


def _json_event(document: Mapping[str, object]) -> bytes:
    return data_event(json.dumps(document, separators=(",", ":")).encode("ascii"))
