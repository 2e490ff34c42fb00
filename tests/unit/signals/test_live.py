"""How an API is asked: what of the past, how often, and who waits for whom."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.carbon import Basis, CarbonIntensity, Kind
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour, parse_instant
from orchestrator.errors import SignalThrottled, SignalUnavailable
from orchestrator.signals.archive import Archive, Kept
from orchestrator.signals.budget import Budget, Rest
from orchestrator.signals.live import Health, LiveCarbon
from orchestrator.signals.statement import Said, Statement

NOW = parse_instant("2031-06-01T08:03Z")
MONTHS = timedelta(days=120)
BASIS = Basis()


def grams(at: Instant) -> float:
    """A day that repeats."""
    return 300 + 50 * math.sin(at.hour / 24 * 2 * math.pi)


class Api:
    """A feed that knows every hour. ``asked``: the windows of the past; ``busy``: who is told to come back later."""

    name = "api"
    credit = "nobody"

    def __init__(self) -> None:
        self.asked: list[Window] = []
        self.questions: list[str] = []
        self.busy: frozenset[str] = frozenset()
        self.hold: Callable[[str], asyncio.Event | None] = lambda _zone: None

    async def zones(self) -> frozenset[str]:
        """Return one of them."""
        return frozenset({"DE"})

    async def current(self, zone: str, basis: Basis, now: Instant) -> Said:
        """Answer when it may, or refuse who is busy."""
        self.questions.append(zone)
        held = self.hold(zone)
        if held is not None:
            await held.wait()
        if zone in self.busy:
            await asyncio.sleep(0)  # all of them are on their way before the first is told
            raise SignalThrottled("come back later", retry_after_seconds=3600)
        return [self._said(zone, basis, floor_hour(now))]

    async def past(self, zone: str, basis: Basis, window: Window, now: Instant) -> Said:
        """Return every hour of the window."""
        del now
        self.asked.append(window)
        return [self._said(zone, basis, window.start + n * HOUR) for n in range((window.end - window.start) // HOUR)]

    async def forecast(self, zone: str, basis: Basis, hours: int, now: Instant) -> Said:
        """Return none."""
        del zone, basis, hours, now
        return []

    def _said(self, zone: str, basis: Basis, at: Instant) -> Statement:
        return Statement(zone, basis, Window.starting(at, HOUR), grams(at), Kind.MEASURED, self.name)


async def hours_known(source: LiveCarbon, window: Window, now: Instant) -> int:
    """How many hours of the window have a value."""
    return len((await source.history("DE", BASIS, window, now)).points)


class TestTheFarPast:
    """A report of months over an API: as of its beginning first, for B3, and then as of now."""

    async def test_what_a_controller_kept_is_all_there(self, tmp_path: Path) -> None:
        """Older hours are read from the file, though only the last weeks are kept at hand."""
        start, file, api = floor_hour(NOW) - MONTHS, tmp_path / "signals.db", Api()
        kept = [start - timedelta(days=40) + n * HOUR for n in range(160 * 24 - 2)]
        Archive("api", file).add(
            [
                Kept("DE", BASIS, Window.starting(at, HOUR), grams(at), Kind.MEASURED, "api", at + HOUR, at + HOUR)
                for at in kept
            ],
            NOW,
        )
        source = LiveCarbon(api, Archive("api", file))

        assert await hours_known(source, Window(start - timedelta(days=35), start), start) == 35 * 24
        assert await hours_known(source, Window(start, floor_hour(NOW)), NOW) == 120 * 24
        assert await hours_known(source, Window(start - timedelta(days=35), start), start) == 35 * 24
        assert all(asked.end - asked.start <= timedelta(days=1) for asked in api.asked)

    async def test_what_nobody_kept_is_asked_for_once(self, tmp_path: Path) -> None:
        """To have asked as of the beginning is not to have asked for all since; the next report asks for a day."""
        start, file, api = floor_hour(NOW) - MONTHS, tmp_path / "signals.db", Api()
        source = LiveCarbon(api, Archive("api", file))

        await source.history("DE", BASIS, Window(start - timedelta(days=35), start), start)
        assert await hours_known(source, Window(start - 2 * HOUR, NOW), NOW) == 120 * 24 + 2
        assert api.asked[-1].end == floor_hour(NOW)
        del api.asked[:]
        again = LiveCarbon(api, Archive("api", file))
        assert await hours_known(again, Window(start - 2 * HOUR, NOW), NOW) == 120 * 24 + 2
        assert [asked.end - asked.start for asked in api.asked] == [timedelta(days=1)]

    async def test_requests_are_counted_on_the_day_on_which_they_are_made(self) -> None:
        """Whoever asks as of last winter spends today's requests."""
        budget = Budget("api", 2)
        source = LiveCarbon(Api(), Archive("api"), budget=budget, today=lambda: NOW)

        await source.history("DE", BASIS, Window(NOW - MONTHS, NOW - MONTHS + 9 * HOUR), NOW - MONTHS + 9 * HOUR)
        assert (budget.spent(NOW).requests, budget.spent(NOW - MONTHS).requests) == (1, 0)

    async def test_a_loop_that_lives_on_asks_for_the_last_day_alone(self) -> None:
        """Hour by hour, and for all that was missed after it could not ask for days."""
        api = Api()
        source = LiveCarbon(api, Archive("api"))
        for now in (NOW, NOW + HOUR, NOW + 2 * HOUR, NOW + timedelta(days=5)):
            await source.history("DE", BASIS, Window(now - timedelta(days=35), now), now)

        day = timedelta(days=1)
        assert [asked.end - asked.start for asked in api.asked[1:3]] == [day, day]
        assert api.asked[3].start == floor_hour(NOW + 2 * HOUR)
        assert api.asked[3].end == floor_hour(NOW + timedelta(days=5))


async def test_an_answer_on_its_way_does_not_undo_come_back_later() -> None:
    """One zone's answer arrives after the others were told to wait for an hour: nobody is asked within it."""
    api, arrives = Api(), asyncio.Event()
    api.busy = frozenset({"BB", "CC", "DD"})
    api.hold = lambda zone: arrives if zone == "AA" else None
    source = LiveCarbon(api, Archive("api"))

    async def ask(zone: str, now: Instant) -> None:
        with contextlib.suppress(SignalUnavailable):
            await source.latest(zone, BASIS, now)
        if zone == "DD":
            arrives.set()

    await asyncio.gather(*(ask(zone, NOW) for zone in ("AA", "BB", "CC", "DD")))
    assert source.health(NOW).rests_until == NOW + HOUR
    await asyncio.gather(*(ask(zone, NOW + timedelta(minutes=10)) for zone in ("AA", "BB", "CC", "DD")))
    assert len(api.questions) == 4
    await asyncio.gather(*(ask(zone, NOW + HOUR) for zone in ("AA", "BB", "CC", "DD")))
    assert len(api.questions) == 8


async def test_come_back_later_is_said_to_all_processes(tmp_path: Path) -> None:
    """A command beside the controller asks nobody either, says until when, and asks again when the time has come."""
    api, file = Api(), tmp_path / "signals.db"
    api.busy = frozenset({"DE"})

    def process() -> LiveCarbon:
        return LiveCarbon(api, Archive("api", file), budget=Budget("api", None, file))

    with pytest.raises(SignalThrottled):
        await process().latest("DE", BASIS, NOW)
    for minutes in (1, 59):
        command, now = process(), NOW + timedelta(minutes=minutes)
        assert command.health(now) == Health("api", NOW + HOUR, "come back later", 1, 1, None)
        with pytest.raises(SignalUnavailable, match="come back later"):
            await command.latest("DE", BASIS, now)
    assert api.questions == ["DE"]

    with pytest.raises(SignalThrottled):
        await process().latest("DE", BASIS, NOW + HOUR)
    assert process().health(NOW + HOUR).failures == 2
    api.busy = frozenset()
    assert isinstance(await process().latest("DE", BASIS, NOW + 2 * HOUR), CarbonIntensity)
    assert process().health(NOW + 2 * HOUR) == Health("api", None, "", 0, 3, None)


async def test_spent_requests_let_nobody_rest_who_may_ask_more(tmp_path: Path) -> None:
    """A limit that was raised holds at once, and is no word of the source's."""
    api, file = Api(), tmp_path / "signals.db"
    with pytest.raises(SignalThrottled):
        await LiveCarbon(api, Archive("api"), budget=Budget("api", 0, file)).latest("DE", BASIS, NOW)

    raised = LiveCarbon(api, Archive("api"), budget=Budget("api", 9, file))
    assert isinstance(await raised.latest("DE", BASIS, NOW), CarbonIntensity)


async def test_a_rest_of_today_holds_for_who_asks_as_of_the_past(tmp_path: Path) -> None:
    """A report over last winter does not ask a source that rests now, and is told so."""
    api, file = Api(), tmp_path / "signals.db"
    Budget("api", None, file).let_rest(Rest(NOW, NOW + HOUR, 1, "come back later"))
    source = LiveCarbon(api, Archive("api"), budget=Budget("api", None, file), today=lambda: NOW)

    with pytest.raises(SignalUnavailable, match="come back later"):
        await source.history("DE", BASIS, Window(NOW - MONTHS, NOW - MONTHS + 9 * HOUR), NOW - MONTHS + 9 * HOUR)
    assert api.asked == []
    assert source.health(NOW - MONTHS).rests_until == NOW + HOUR
