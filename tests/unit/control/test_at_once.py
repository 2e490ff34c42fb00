"""Several things at once, one alone without a task of its own, and answers that come late."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from orchestrator.control.at_once import Questions, all_of

AT_ONCE, AN_HOUR = timedelta(0), timedelta(hours=1)


async def _named(name: str, seen: list[object]) -> str:
    seen.append(asyncio.current_task())
    return name


async def test_answers_come_in_the_order_of_the_questions() -> None:
    """However many there are."""
    seen: list[object] = []

    assert await all_of([]) == []
    assert await all_of([_named("a", seen)]) == ["a"]
    assert seen == [asyncio.current_task()]
    assert await all_of([_named("a", seen), _named("b", seen)]) == ["a", "b"]


async def test_the_first_error_is_raised() -> None:
    """Of one, and of several."""

    async def fails() -> str:
        raise ValueError("no")

    for others in ([], [_named("a", [])]):
        with pytest.raises(ValueError, match="no"):
            await all_of([fails(), *others])


class Slow:
    """Somebody who answers when he is told to. ``asked``: how often he was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def answer(self) -> str:
        self.asked += 1
        await self.may_answer.wait()
        return f"answer {self.asked}"


async def test_who_is_slow_is_asked_once_and_answers_later() -> None:
    """The others' answers are there at once; the late one is there at the asking after it came, and is then used up."""
    slow, questions = Slow(), Questions[str]()
    asked = {"slow": slow.answer, "fast": partial(_named, "fast", [])}

    assert await questions.answers(asked, AT_ONCE) == {"fast": "fast"}
    assert await questions.answers(asked, AN_HOUR) == {"fast": "fast"}, "nobody waits for him a second time"
    assert slow.asked == 1
    slow.may_answer.set()
    await asyncio.sleep(0)
    assert await questions.answers(asked, AT_ONCE) == {"slow": "answer 1", "fast": "fast"}
    assert await questions.answers(asked, AN_HOUR) == {"slow": "answer 2", "fast": "fast"}


async def test_without_patience_for_anybody_all_are_waited_for() -> None:
    """Where nothing takes any time, nobody is asked beside anybody else."""
    seen: list[object] = []
    asked = {name: partial(_named, name, seen) for name in ("a",)}

    assert await Questions[str]().answers(asked, None) == {"a": "a"}
    assert seen == [asyncio.current_task()]


async def test_a_late_error_is_raised_once_and_then_it_is_asked_again() -> None:
    """As if he had been waited for."""
    slow, questions = Slow(), Questions[str]()

    async def fails() -> str:
        await slow.answer()
        raise ValueError("no")

    assert await questions.answers({"a": fails}, AT_ONCE) == {}
    slow.may_answer.set()
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="no"):
        await questions.answers({"a": fails}, AT_ONCE)
    assert await questions.answers({"a": slow.answer}, AN_HOUR) == {"a": "answer 2"}


async def test_of_several_errors_the_first_is_raised_and_all_are_used_up() -> None:
    """None of them is left to be raised by the next look, nor to be complained of when it is thrown away."""
    questions = Questions[str]()

    async def fails(word: str) -> str:
        raise ValueError(word)

    with pytest.raises(ValueError, match="one"):
        await questions.answers({word: partial(fails, word) for word in ("one", "two")}, AN_HOUR)
    assert await questions.answers({w: partial(_named, w, []) for w in ("one", "two")}, AT_ONCE) == {
        "one": "one",
        "two": "two",
    }


async def test_who_is_gone_is_waited_for_no_longer() -> None:
    """What is left of his question is cancelled; under his name somebody else may be asked."""
    slow, other, questions = Slow(), Slow(), Questions[str]()
    await questions.answers({"a": slow.answer, "b": other.answer}, AT_ONCE)
    questions.forget_all_but({"b"})
    other.may_answer.set()
    await asyncio.sleep(0)

    assert await questions.answers({"a": partial(_named, "another", []), "b": other.answer}, AT_ONCE) == {
        "a": "another",
        "b": "answer 1",
    }


def test_what_was_asked_in_a_loop_that_has_ended_is_asked_again() -> None:
    """Commands may look several times, each in an event loop of its own."""
    questions = Questions[str]()
    assert asyncio.run(_asked_of(questions, Slow)) == {}

    assert asyncio.run(questions.answers({"a": partial(_named, "new", [])}, AN_HOUR)) == {"a": "new"}


async def _asked_of(questions: Questions[str], whom: type[Slow]) -> dict[str, str]:
    return await questions.answers({"a": whom().answer}, AT_ONCE)
