"""Hours out of halves."""

from datetime import timedelta

from orchestrator.domain.carbon import Basis, Kind
from orchestrator.domain.time import HOUR, Window, parse_instant
from orchestrator.signals.feeds.hours import by_hour
from orchestrator.signals.statement import Statement

START = parse_instant("2031-03-01T00:00Z")
HALF = timedelta(minutes=30)


def half(number: int, grams: float, kind: Kind = Kind.MEASURED) -> Statement:
    """Make the half-hour of that number."""
    interval = Window.starting(START + number * HALF, HALF)
    return Statement("GB", Basis(), interval, grams, kind, "test", interval.end)


def test_an_hour_is_the_mean_of_its_parts_and_as_weak_as_the_weakest() -> None:
    """It is known when its last part is."""
    hours = by_hour([half(1, 200.0, Kind.ESTIMATED), half(0, 100.0)])

    assert len(hours) == 1
    assert (hours[0].grams_per_kwh, hours[0].kind) == (150.0, Kind.ESTIMATED)
    assert hours[0].interval == Window.starting(START, HOUR)
    assert hours[0].issued_at == START + HOUR


def test_an_hour_with_a_missing_part_is_missing() -> None:
    """A half does not speak for the other half."""
    assert [h.interval.start for h in by_hour([half(0, 1.0), half(2, 1.0), half(3, 1.0), half(5, 1.0)])] == [
        START + HOUR
    ]


def test_a_part_said_twice_counts_once() -> None:
    """The later of two statements about the same half stands."""
    assert by_hour([half(0, 900.0), half(0, 100.0), half(1, 200.0)])[0].grams_per_kwh == 150.0
