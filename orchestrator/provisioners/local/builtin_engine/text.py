"""Deterministic text: the next word is a function of everything before it.

That is the one property of a greedy language model that matters around an engine: a text that is cut anywhere and
handed back as the prompt goes on as if it had never been cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

_VOCABULARY = """
    a and at by for from in is of on the to with carbon clean clear cloud coast dawn day dusk energy evening gentle
    green grid heat hill hour hydro lake light low midday model morning mountain night noon north ocean power quiet
    rain region replica river roof sea season sky slow snow solar south spring steady stone storm summer sun surplus
    tide token turbine valley warm water wave west wind winter zone
"""
WORDS = tuple(_VOCABULARY.split())

END_ONE_IN = 48
"""A text ends after this many words on average."""

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")


def tokens_of(text: str) -> list[str]:
    """Split into words, marks and white space; nothing is lost."""
    return _TOKEN.findall(text)


class Continuation:
    """What follows a text. ``next`` gives one token and ``None`` at the end of the text."""

    def __init__(self, text: str) -> None:
        self._seen = blake2b(text.encode(), digest_size=8)

    def next(self, *, may_end: bool = True) -> str | None:
        """Return the next token, and take it as said."""
        value = int.from_bytes(self._seen.digest(), "big")
        if may_end and value % END_ONE_IN == 0:
            return None
        token = " " + WORDS[(value // END_ONE_IN) % len(WORDS)]
        self._seen.update(token.encode())
        return token


def render_chat(messages: Sequence[Mapping[str, Any]], *, continue_final: bool) -> str:
    """Write the messages as one prompt, in the ChatML form. Raises ``ValueError`` for what is not a message."""
    if not messages:
        raise ValueError("messages: at least one is needed")
    parts = [f"<|im_start|>{message.get('role', '')}\n{_content(message)}" for message in messages]
    text = "<|im_end|>\n".join(parts)
    return text if continue_final else f"{text}<|im_end|>\n<|im_start|>assistant\n"


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_texts(content))
    if content is None:
        return ""
    raise ValueError("messages: content is neither text nor a list of parts")


def _texts(parts: Sequence[Any]) -> Iterator[str]:
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("messages: only text parts are understood")
        yield part["text"]
