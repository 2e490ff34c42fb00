"""Several things at once, and one alone without a task of its own."""

import asyncio

import pytest

from orchestrator.control.at_once import all_of


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
