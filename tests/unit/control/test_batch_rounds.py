"""Which round of batch work is due, on the clock of whoever wrote it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.control.batch import due_times, work_hours
from orchestrator.domain.service import BatchRules
from orchestrator.domain.time import HOUR
from orchestrator.spec.codec import spec_digest, spec_from_json, spec_to_json
from tests.builders import NOON, service_spec

STOCKHOLM = BatchRules(engine_hours=4.0, due_days=(0, 1, 2, 3, 4), due_minute=360, time_zone="Europe/Stockholm")


def test_weekdays_are_those_of_the_zone() -> None:
    """On a Friday noon the next due time is Monday six o'clock of Stockholm, which is four of UTC in summer."""
    friday = datetime(2026, 6, 5, 12, tzinfo=UTC)
    assert due_times(STOCKHOLM, friday) == (
        datetime(2026, 6, 5, 4, tzinfo=UTC),
        datetime(2026, 6, 8, 4, tzinfo=UTC),
    )


def test_the_due_time_itself_begins_the_next_round() -> None:
    """Half open: at the moment at which one round is due the next one is there."""
    at = datetime(2026, 6, 4, 4, tzinfo=UTC)
    assert due_times(STOCKHOLM, at) == (at, at + 24 * HOUR)
    assert due_times(STOCKHOLM, at - timedelta(microseconds=1)) == (at - 24 * HOUR, at)


@pytest.mark.parametrize(
    ("day", "minute", "due"),
    [
        (datetime(2026, 3, 29, tzinfo=UTC), 150, datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, tzinfo=UTC), 150, datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_clocks_that_change(day: datetime, minute: int, due: datetime) -> None:
    """Half past two is skipped in March, so it is as much later; in October it comes twice, and the first counts."""
    rules = BatchRules(engine_hours=1.0, due_days=tuple(range(7)), due_minute=minute, time_zone="Europe/Stockholm")
    assert due_times(rules, day)[1] == due


def test_a_single_deadline_has_no_round_before_it() -> None:
    """And it stays the deadline when it is past."""
    rules = BatchRules(engine_hours=1.0, deadline=datetime(2026, 6, 2, 6), time_zone="Asia/Tokyo")  # noqa: DTZ001
    assert due_times(rules, NOON) == (None, datetime(2026, 6, 1, 21, tzinfo=UTC))
    assert due_times(rules, NOON + 500 * HOUR) == (None, datetime(2026, 6, 1, 21, tzinfo=UTC))


def test_how_long_the_work_goes_on() -> None:
    """All replicas together, rounded up, in hours of the grid."""
    made = service_spec(2)
    assert work_hours(STOCKHOLM, made, 1.0) == 2
    assert work_hours(STOCKHOLM, made, 10.0) == 20
    assert work_hours(BatchRules(output_tokens=10, output_tokens_per_engine_hour=100.0), made, 1.0) == 1


def test_what_is_stored_is_what_was_written() -> None:
    """A spec with batch work goes into the store and comes back with the same digest."""
    rules = BatchRules(
        output_tokens=5,
        output_tokens_per_engine_hour=2.5,
        deadline=datetime(2026, 6, 2, 6),  # noqa: DTZ001
        preemptible=True,
    )
    spec = service_spec(batch=rules)
    again = spec_from_json(spec_to_json(spec))
    assert (again, spec_digest(again)) == (spec, spec_digest(spec))
    assert again.batch == rules
