"""Reading streams and rewriting them for a second replica, without any socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.gateway.resume import CHAT_PATH, COMPLETIONS_PATH, continuation, is_resumable, splice, tokens_left
from orchestrator.gateway.sse import MAX_EVENT_BYTES, EventTooLongError, SseEvent, SseSplitter
from orchestrator.gateway.transcript import Step, Transcript, is_aborted

HELLO = [{"role": "user", "content": "hello"}]


def event(document: Any) -> SseEvent:
    data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    return SseEvent(b"data: " + data + b"\n\n", data)


def chunk(**choice: Any) -> SseEvent:
    return event({"id": "1", "choices": [{"index": 0, **choice}]})


class TestTranscript:
    def test_done_counts_only_after_a_reason(self) -> None:
        """VLLM says [DONE] for a stream that it dropped; only a finish reason makes it an end."""
        transcript = Transcript()
        assert transcript.read(chunk(text="w0")) is Step.FORWARD
        assert transcript.read(event("[DONE]")) is Step.ABORTED
        assert transcript.read(chunk(text="", finish_reason="stop")) is Step.FORWARD
        assert transcript.read(event("[DONE]")) is Step.END

    def test_abort_is_not_a_reason(self) -> None:
        """VLLM's own word for a dropped request is a loss, whatever follows."""
        transcript = Transcript()
        assert transcript.read(chunk(text="", finish_reason="abort")) is Step.ABORTED
        assert not transcript.is_complete

    @pytest.mark.parametrize(("code", "step"), [(400, Step.REFUSED), (500, Step.ERRED), (None, Step.ERRED)])
    def test_error_events_are_told_apart(self, code: int | None, step: Step) -> None:
        """What the request caused is passed on; what the engine caused may be repaired elsewhere."""
        assert Transcript().read(event({"error": {"message": "m", "code": code}})) is step

    @pytest.mark.parametrize(
        "odd", ["[1]", "3", "not json", '{"choices": 3}', '{"choices": [3, {"index": "x"}]}', "{}"]
    )
    def test_odd_events_pass(self, odd: str) -> None:
        """What we do not understand is the engine's business; it is no reason to break a stream."""
        assert Transcript().read(event(odd)) is Step.FORWARD

    def test_more_than_text_is_noticed(self) -> None:
        """Tool calls, reasoning and log probabilities cannot be continued from text alone."""
        for extra in ({"delta": {"tool_calls": [{}]}}, {"delta": {"reasoning": "hm"}}, {"text": "a", "logprobs": {}}):
            transcript = Transcript()
            transcript.read(chunk(**extra))
            assert transcript.is_plain_text == (extra == {"text": "a", "logprobs": {}})

    def test_reported_usage_is_exact_over_replicas(self) -> None:
        """When an engine counts for itself, its number is used, on top of what came before."""
        transcript = Transcript()
        transcript.read(event({"choices": [], "usage": {"completion_tokens": 5}}))
        assert transcript.exact_tokens == 5
        transcript.continue_elsewhere(5)
        assert transcript.exact_tokens is None
        transcript.read(event({"choices": [], "usage": {"completion_tokens": 2}}))
        assert transcript.exact_tokens == 7

    def test_an_aborted_answer_is_recognised(self) -> None:
        """A whole answer with status 200 can still be half an answer."""
        assert is_aborted(b'{"choices": [{"finish_reason": "abort"}]}')
        assert not is_aborted(b'{"choices": [{"finish_reason": "stop", "text": "\\"abort\\""}]}')
        assert not is_aborted(b'{"choices": "abort"}')
        assert not is_aborted(b'"abort"')


class TestContinuation:
    def test_chat_goes_on_with_the_last_message(self) -> None:
        """The text so far becomes the start of the answer; the rest of the conversation is untouched."""
        body = {"model": "m", "messages": HELLO, "max_tokens": 10, "max_completion_tokens": 9, "min_tokens": 4}
        rest = continuation(CHAT_PATH, body, "so far", 3)
        assert rest["messages"] == [*HELLO, {"role": "assistant", "content": "so far"}]
        assert (rest["continue_final_message"], rest["add_generation_prompt"]) == (True, False)
        assert (rest["max_tokens"], rest["max_completion_tokens"], rest["min_tokens"]) == (7, 6, 1)
        assert body["messages"] == HELLO

    def test_a_completion_goes_on_with_its_prompt(self) -> None:
        """Prompt and text so far are one prompt."""
        assert continuation(COMPLETIONS_PATH, {"prompt": "a "}, "b ", 1)["prompt"] == "a b "

    def test_without_text_it_is_the_same_request(self) -> None:
        """Lost before the first word: ask the same again."""
        assert continuation(CHAT_PATH, {"messages": HELLO}, "", 0) == {"messages": HELLO}

    def test_the_tighter_limit_counts(self) -> None:
        """No limit is no limit; two limits are the smaller one; never below zero."""
        assert tokens_left(CHAT_PATH, {}, 5) is None
        assert tokens_left(CHAT_PATH, {"max_tokens": None}, 5) is None
        assert tokens_left(CHAT_PATH, {"max_tokens": 9, "max_completion_tokens": 7}, 5) == 2
        assert tokens_left(CHAT_PATH, {"max_tokens": 3}, 5) == 0

    def test_a_completion_that_sets_no_limit_has_one(self) -> None:
        """Sixteen tokens, of which the other replica gets what is left, and not sixteen again. ``null`` is none."""
        body = {"model": "m", "prompt": "a "}
        assert continuation(COMPLETIONS_PATH, body, "b ", 15)["max_tokens"] == 1
        assert [tokens_left(COMPLETIONS_PATH, body, used) for used in (0, 15, 16)] == [16, 1, 0]
        assert tokens_left(COMPLETIONS_PATH, {**body, "max_tokens": None}, 15) is None
        assert "max_tokens" not in continuation(CHAT_PATH, {"messages": HELLO}, "so far", 15)

    @pytest.mark.parametrize(
        ("path", "body", "expected"),
        [
            (COMPLETIONS_PATH, {"prompt": "a", "max_completion_tokens": 9}, False),
            (CHAT_PATH, {"messages": HELLO, "max_completion_tokens": 9}, True),
            (CHAT_PATH, {"messages": HELLO, "n": 1, "temperature": 0.2, "tools": None}, True),
            (CHAT_PATH, {"messages": HELLO, "n": 2}, False),
            (CHAT_PATH, {"messages": HELLO, "n": []}, False),
            (CHAT_PATH, {"messages": HELLO, "tools": []}, False),
            (CHAT_PATH, {"messages": []}, False),
            (CHAT_PATH, {"messages": "hello"}, False),
            (CHAT_PATH, {"messages": [*HELLO, {"role": "assistant", "content": "I"}]}, False),
            (COMPLETIONS_PATH, {"prompt": "x"}, True),
            (COMPLETIONS_PATH, {"prompt": ["x", "y"]}, False),
            (COMPLETIONS_PATH, {"prompt": [1, 2]}, False),
            (COMPLETIONS_PATH, {"prompt": "x", "echo": True}, False),
        ],
    )
    def test_only_plain_single_text_can_be_continued(self, path: str, body: dict[str, Any], expected: bool) -> None:
        """Anything that needs more state than the text is left alone."""
        assert is_resumable(path, body) == expected


class TestSplice:
    def test_the_second_role_is_dropped(self) -> None:
        """A chunk that only opens the message again says nothing."""
        assert splice(chunk(delta={"role": "assistant", "content": ""}), {}, 0) == b""

    def test_a_role_with_words_keeps_the_words(self) -> None:
        """Some engines send both in one chunk."""
        spliced = splice(chunk(delta={"role": "assistant", "content": "hi"}), {"id": "first"}, 0)
        assert json.loads(spliced[6:])["choices"][0]["delta"] == {"content": "hi"}
        assert json.loads(spliced[6:])["id"] == "first"

    @pytest.mark.parametrize("odd", ["[DONE]", "nonsense", "[1]"])
    def test_what_is_no_chunk_stays(self, odd: str) -> None:
        """The marker and odd events pass as they are."""
        assert splice(event(odd), {"id": "first"}, 3) == event(odd).raw


def test_an_endless_event_is_an_error() -> None:
    """A stream without line ends cannot fill the memory."""
    splitter = SseSplitter()
    assert splitter.feed(b"x" * MAX_EVENT_BYTES) == []
    with pytest.raises(EventTooLongError):
        splitter.feed(b"x")
