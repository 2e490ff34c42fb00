"""When work with a deadline runs: in time, for the least grams, and never for more than at once."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.hypothesis_profiles
from orchestrator.domain.carbon import CarbonSeries
from orchestrator.domain.time import HOUR
from orchestrator.planner.deferral import LEAST_SAVING_FRACTION, Deferral, Job, Known, decide, grams_of_run, tries_for
from tests.builders import MINUTE, NOON, series

BOUNDED = settings(max_examples=300 if tests.hypothesis_profiles.PROFILE == "thorough" else 25, deadline=None)
NOTHING = timedelta(0)

GRAMS = st.lists(st.integers(0, 800).map(float), min_size=24, max_size=24)
MINUTES = st.integers(0, 59)


def job(work: timedelta, deadline_hours: float = 20.0, **changes: object) -> Job:
    """Make a job of a kilowatt whose start takes ten minutes at 0.7 kW."""
    terms: dict[str, object] = {
        "work": work,
        "deadline": NOON + deadline_hours * HOUR,
        "start": 10 * MINUTE,
        "spare": 30 * MINUTE,
        "kw": 1.0,
        "start_kwh": 0.7 / 6,
        "preemptible": False,
    }
    return Job(**(terms | changes))  # type: ignore[arg-type]


def told(found: Deferral) -> tuple[float, float]:
    """Return what it emits as planned, and begun now, both known."""
    assert found.grams is not None
    assert found.grams_now is not None
    return found.grams, found.grams_now


JOBS = st.builds(
    job,
    work=st.integers(1, 36).map(lambda n: n * 10 * MINUTE),
    deadline_hours=st.integers(8, 23).map(float),
    preemptible=st.booleans(),
    start=st.integers(0, 4).map(lambda n: n * 5 * MINUTE),
    start_kwh=st.sampled_from((0.0, 0.1, 2.0)),
)


@given(JOBS, GRAMS)
@BOUNDED
def test_it_never_emits_more_than_beginning_now(one: Job, grams: list[float]) -> None:
    """What is planned is at most what a start at once emits, and waiting saves at least a hundredth."""
    found = decide(one, series("SE", grams), NOON)
    planned, at_once = told(found)
    assert planned <= at_once + 1e-6
    if not found.runs:
        assert at_once - planned >= LEAST_SAVING_FRACTION * at_once - 1e-6


@given(JOBS, GRAMS, st.integers(0, 6))
@BOUNDED
def test_a_later_deadline_never_costs_more(one: Job, grams: list[float], more: int) -> None:
    """Every way to be done by the earlier one is one for the later one, too."""
    later = Job(one.work, min(one.deadline + more * HOUR, NOON + 24 * HOUR), *_rest(one))
    near, far = decide(one, series("SE", grams), NOON), decide(later, series("SE", grams), NOON)
    assert told(far)[0] <= told(near)[0] + 1e-6


def _rest(one: Job) -> tuple[timedelta, timedelta, float, float, bool, bool]:
    return one.start, one.spare, one.kw, one.start_kwh, one.preemptible, one.running


@given(GRAMS, st.integers(1, 30), MINUTES, st.integers(0, 25))
@BOUNDED
def test_one_start_is_the_best_of_all_minutes(grams: list[float], tens: int, past: int, lead: int) -> None:
    """Whole work against every minute at which it could begin: corners are enough."""
    now = NOON + past * MINUTE
    one = job(tens * 10 * MINUTE, start=lead * MINUTE)
    known = Known.from_series(series("SE", grams), now, one.deadline - one.spare)
    last = int((one.latest_start - now) / MINUTE)
    best = min(grams_of_run(one, known, minute * 60.0) for minute in range(last + 1))
    found = decide(one, series("SE", grams), now)
    planned, at_once = told(found)
    if at_once - best >= LEAST_SAVING_FRACTION * at_once:
        assert planned == pytest.approx(best)
    else:
        assert found.runs
    if not found.runs:
        begin = (found.until - now).total_seconds()
        assert grams_of_run(one, known, begin) == pytest.approx(planned)
        assert found.until <= one.latest_start


@given(
    st.lists(st.integers(0, 500).map(float), min_size=10, max_size=10),
    st.integers(1, 4),
    st.integers(0, 1),
    st.sampled_from((0.0, 0.5, 3.0)),
    st.booleans(),
)
@BOUNDED
def test_chunks_are_the_best_of_all_subsets(
    grams: list[float], work: int, start: int, start_kwh: float, running: bool
) -> None:
    """Preemptible work of a few hours against every set of hours that could do it.

    Everything is whole hours here, so no way to cut the work finer is better: what a piece of an hour emits is linear.
    """
    one = job(
        work * HOUR, 10, start=start * HOUR, spare=NOTHING, start_kwh=start_kwh, preemptible=True, running=running
    )
    found = decide(one, series("SE", grams), NOON)
    best = min(_chunked(grams, hours, start, start_kwh, running=running) for hours in combinations(range(10), work))
    planned, at_once = told(found)
    assert planned <= best + 1e-6 or found.runs
    if at_once - best >= LEAST_SAVING_FRACTION * at_once:
        assert planned == pytest.approx(best)
    lengths = sum(((w.end - w.start) for w in found.hours), NOTHING)
    if found.hours:
        assert lengths >= work * HOUR


def _chunked(grams: list[float], hours: tuple[int, ...], start: int, start_kwh: float, *, running: bool) -> float:
    """Add up what serving in these hours emits, with a start before each stretch of them."""
    total = 0.0
    for hour in hours:
        total += grams[hour]
        if hour - 1 in hours or (running and hour == 0):
            continue
        if hour - start < 0 or (start and any(h in hours for h in range(hour - start, hour))):
            return float("inf")
        total += start_kwh * (grams[hour - start] if start else grams[hour])
    return total


@given(JOBS, GRAMS, st.integers(0, 40))
@BOUNDED
def test_whoever_follows_it_is_in_time(one: Job, grams: list[float], hole: int) -> None:
    """Looked at every five minutes, with an outlook that changes and ends: done before the deadline, where it fits.

    ``hole``: from that look on no signal is there at all.
    """
    left, leading, running, now = one.work, NOTHING, False, NOON
    look, looks = 5 * MINUTE, 0
    while left > NOTHING:
        outlook = CarbonSeries("SE", ()) if hole and looks >= hole else series("SE", grams[looks % 3 :] + grams[:2])
        state = Job(left, one.deadline, one.start, one.spare, one.kw, one.start_kwh, one.preemptible, running)
        found = decide(state, outlook, now)
        if found.runs and not running:
            running, leading = True, one.start
        elif not found.runs:
            assert one.preemptible or not running, "work that must not be interrupted was"
            running = False
        spent = min(look, leading) if running else NOTHING
        leading -= spent
        left -= look - spent if running else NOTHING
        now, looks = now + look, looks + 1
        assert looks < 1000
    assert now - look + left <= one.deadline


@pytest.mark.parametrize("preemptible", [False, True])
def test_the_latest_safe_start_is_exact(preemptible: bool) -> None:
    """A second before it, cleaner hours are waited for; from then on nothing is, whatever comes."""
    one = job(2 * HOUR, 6, preemptible=preemptible)
    assert one.latest_start == NOON + 3 * HOUR + 20 * MINUTE
    falling = series("SE", [900.0 - 100 * hour for hour in range(9)])
    assert not decide(one, falling, one.latest_start - timedelta(minutes=15)).runs
    found = decide(one, falling, one.latest_start)
    assert (found.runs, found.because) == (True, "this is the latest safe start")
    assert "cannot be done in time" in decide(one, falling, NOON + 4 * HOUR).because


def test_the_dark_is_not_waited_for() -> None:
    """Nothing known, a hole before the work could end, a deadline that cannot be kept: it runs, and says why."""
    one = job(4 * HOUR)
    assert "not known" in decide(one, CarbonSeries("SE", ()), NOON).because
    assert "not known" in decide(one, series("SE", [500, 400, None, 10, 10, 10, 10, 10]), NOON).because
    assert "not known" in decide(one, series("SE", [10] * 20, NOON + HOUR), NOON).because
    seen = decide(one, series("SE", [500, 400, 300, 200, 100, 50, None, 1, 1, 1, 1, 1, 1]), NOON)
    assert (seen.runs, seen.until) == (False, NOON + HOUR + 50 * MINUTE), "only what is known is waited for"


def test_a_start_that_costs_more_than_it_saves_is_not_made() -> None:
    """Two clean hours with a dirty one between: cheap starts cut the work in two, dear ones do not."""
    grams = [300, 10, 200, 10, 300, 300, 300, 300]
    cheap = decide(job(2 * HOUR, 8, start_kwh=0.1, preemptible=True), series("SE", grams), NOON)
    dear = decide(job(2 * HOUR, 8, start_kwh=50.0, preemptible=True), series("SE", grams), NOON)
    assert (len(cheap.hours), len(dear.hours)) == (2, 1)


def test_more_failures_keep_more_time_free() -> None:
    """Of replicas that all have to serve, and launches that fail more often, more tries are reckoned with."""
    assert [tries_for(1, 20, 0), tries_for(1, 0, 0), tries_for(4, 0, 0), tries_for(4, 2, 8)] == [1, 5, 7, 10]


@given(GRAMS, st.integers(1, 30), st.integers(0, 25))
@BOUNDED
def test_on_a_known_series_waiting_gets_what_was_promised(grams: list[float], tens: int, lead: int) -> None:
    """Whoever wakes when it was said that it begins emits no more than was planned then, and less than at once."""
    one, outlook = job(tens * 10 * MINUTE, start=lead * MINUTE), series("SE", grams)
    found, now = decide(one, outlook, NOON), NOON
    promised, at_once = told(found)
    while not found.runs:
        now = found.until
        found = decide(one, outlook, now)
    begun = grams_of_run(one, Known.from_series(outlook, NOON, one.deadline), (now - NOON).total_seconds())
    assert begun <= promised * 1.001 + 1e-6
    assert begun <= at_once + 1e-6
    assert now <= one.latest_start
