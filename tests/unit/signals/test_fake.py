"""The shipped fake: settable, honest about time, and it remembers what it was asked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Basis, CarbonIntensity, Gap, Kind
from orchestrator.domain.time import HOUR, Window, parse_instant
from orchestrator.errors import SignalUnavailable
from orchestrator.signals.fake import Call, FakeCarbon

BASIS = Basis()
NOW = parse_instant("2031-03-01T12:00Z")


async def test_values_become_known_as_time_passes() -> None:
    """A value put for the hour from 12:00 is not known before 13:00."""
    fake = FakeCarbon()
    fake.put("AA", NOW - HOUR, [100.0, 200.0])

    early, late = await fake.latest("AA", BASIS, NOW), await fake.latest("AA", BASIS, NOW + HOUR)
    assert isinstance(early, CarbonIntensity)
    assert isinstance(late, CarbonIntensity)
    assert (early.grams_per_kwh, late.grams_per_kwh) == (100, 200)


async def test_values_can_be_finer_than_hours() -> None:
    """Feeds of 5 minutes exist; the fake can be one."""
    fake = FakeCarbon()
    fake.put("AA", NOW, [1.0, None, 3.0], every=timedelta(minutes=5))
    series = await fake.history("AA", BASIS, Window(NOW, NOW + HOUR), NOW + timedelta(minutes=15))

    assert [(p.interval.start - NOW, p.grams_per_kwh) for p in series.points] == [
        (timedelta(0), 1.0),
        (timedelta(minutes=10), 3.0),
    ]


async def test_a_held_value_fills_what_was_not_put() -> None:
    """A constant is one line to set, and single hours can differ."""
    fake = FakeCarbon(kind=Kind.ESTIMATED)
    fake.hold("AA", 50)
    fake.put("AA", NOW - 2 * HOUR, [70.0])
    series = await fake.history("AA", BASIS, Window(NOW - 3 * HOUR, NOW), NOW)

    assert [p.grams_per_kwh for p in series.points] == [50, 70, 50]
    assert series.kind is Kind.ESTIMATED


async def test_gaps_and_failures_last_until_healed() -> None:
    """A gap is an answer, a failure is an error, and both can end."""
    fake = FakeCarbon()
    fake.hold("AA", 50)
    fake.gap("AA", "maintenance")
    assert await fake.latest("AA", BASIS, NOW) == Gap("AA", "maintenance", "fake")
    assert (await fake.history("AA", BASIS, Window(NOW - HOUR, NOW), NOW)).points == ()

    fake.fail("down")
    for _ in range(2):
        with pytest.raises(SignalUnavailable, match="down"):
            await fake.latest("AA", BASIS, NOW)
    fake.heal()
    assert isinstance(await fake.latest("AA", BASIS, NOW), CarbonIntensity)


async def test_the_newest_forecast_issued_by_now_counts() -> None:
    """Forecasts replace each other as they are issued."""
    fake = FakeCarbon()
    fake.put_forecast("AA", NOW - HOUR, NOW, [1.0, 1.0])
    fake.put_forecast("AA", NOW, NOW, [2.0, None, 2.0])
    window = Window(NOW, NOW + 3 * HOUR)

    before, after = await fake.forecast("AA", BASIS, window, NOW - HOUR), await fake.forecast("AA", BASIS, window, NOW)
    assert before is not None
    assert after is not None
    assert [p.grams_per_kwh for p in before.points] == [1, 1]
    assert [p.grams_per_kwh for p in after.points] == [2, 2]
    assert await fake.forecast("AA", BASIS, window, NOW - 2 * HOUR) is None


async def test_it_records_what_it_was_asked() -> None:
    """Tests can check that a caller asks sparingly."""
    fake = FakeCarbon()
    await fake.latest("AA", BASIS, NOW)
    await fake.history("BB", BASIS, Window(NOW - HOUR, NOW), NOW)

    assert fake.calls == [Call("latest", "AA", BASIS, NOW), Call("history", "BB", BASIS, NOW)]
