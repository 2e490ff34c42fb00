"""Old samples as rows of an hour: no figure of a report changes, whenever and how far the samples were merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.domain.carbon import Kind
from orchestrator.domain.energy import EnergyMethod, EnergySample
from orchestrator.domain.time import HOUR, Instant, Window, floor_hour
from orchestrator.ledger.hourly import hourly
from orchestrator.ledger.report import Alternative, Place, report
from tests.store_samples import NOW, SERVICE, a_sample

BEGIN = floor_hour(NOW)
KNOWN = st.floats(0.0, 1e9)
FACTS = st.sampled_from(
    [
        {"grams_per_kwh": 30.1, "intensity_kind": Kind.MEASURED, "intensity_source": "a", "zone": "SE"},
        {"grams_per_kwh": 30.1, "intensity_kind": Kind.ESTIMATED, "intensity_source": "a", "zone": "SE"},
        {"grams_per_kwh": 41.7, "intensity_kind": Kind.SYNTHETIC, "intensity_source": "b", "zone": "SE"},
        {"grams_per_kwh": None, "intensity_kind": None, "intensity_source": "", "zone": None},
    ]
)


@st.composite
def ledgers(draw: st.DrawFn) -> list[EnergySample]:
    """A few hours of two replicas: gaps, changes of what is known, unknown prices and two ways of finding energy."""
    found = []
    for name in ("chat-1", "chat-2"):
        minute = draw(st.integers(0, 90))
        usd_known = draw(st.booleans())
        for _ in range(draw(st.integers(0, 12))):
            minute += draw(st.sampled_from([0, 0, 0, 0, 1, 25]))
            facts = draw(FACTS)
            found.append(
                a_sample(
                    name,
                    window=Window.starting(BEGIN + timedelta(minutes=minute), timedelta(minutes=1)),
                    engine_seconds=draw(st.sampled_from([60.0, 59.999, 1 / 3])),
                    mean_batch=draw(KNOWN),
                    it_joules=draw(KNOWN),
                    facility_joules=draw(KNOWN),
                    grams=None if facts["grams_per_kwh"] is None else draw(KNOWN),
                    usd=draw(KNOWN) if usd_known else None,
                    output_tokens=draw(st.integers(0, 10**6)),
                    prompt_tokens=draw(st.integers(0, 10**6)),
                    method=draw(st.sampled_from([EnergyMethod.MODELLED] * 3 + [EnergyMethod.MEASURED])),
                    method_detail=draw(st.sampled_from(["curve", "curve; nobody looked in between"])),
                    **facts,
                )
            )
            minute += 1
    return sorted(found, key=lambda s: (s.window.start, s.replica))


def merged_until(samples: Sequence[EnergySample], end: Instant) -> tuple[EnergySample, ...]:
    """What a store holds once everything before that hour was merged, in its order."""
    old = [s for s in samples if s.window.start < end]
    new = [s for s in samples if s.window.start >= end]
    return tuple(sorted([*hourly(old), *new], key=lambda s: (s.window.start, s.replica)))


@given(ledgers(), st.integers(0, 8))
@settings(max_examples=60)
def test_a_report_is_the_same_to_the_last_bit(samples: list[EnergySample], hours: int) -> None:
    """Of the whole and of each hour, however far the merging has come."""
    stored = merged_until(samples, BEGIN + hours * HOUR)
    home = Alternative("home", "de", "why", lambda window: (Place("de", "DE", 1.3, 2.0 + window.start.hour),))

    def of(ledger: Sequence[EnergySample], period: Window) -> str:
        rows = hourly(s for s in ledger if period.start <= s.window.start < period.end)
        return repr(report(SERVICE, period, rows, [home], lambda _zone, window: 100.0 + window.start.hour))

    for period in (Window(BEGIN, BEGIN + 9 * HOUR), *(Window.starting(BEGIN + n * HOUR, HOUR) for n in range(4))):
        assert of(stored, period) == of(samples, period)


@given(ledgers())
@settings(max_examples=60)
def test_nothing_is_lost_but_how_load_went(samples: list[EnergySample]) -> None:
    """Tokens exactly; joules, grams, dollars and seconds to the rounding of one sum; known and unknown time apart."""
    rows = hourly(samples)

    assert hourly(rows) == rows
    assert sum(s.output_tokens for s in rows) == sum(s.output_tokens for s in samples)
    assert sum((s.window.length for s in rows), timedelta(0)) == sum((s.window.length for s in samples), timedelta(0))
    for field in ("engine_seconds", "it_joules", "facility_joules", "grams", "usd"):
        before = [getattr(s, field) for s in samples if getattr(s, field) is not None]
        after = [getattr(s, field) for s in rows if getattr(s, field) is not None]
        exact = sum((Fraction(v) for v in before), Fraction(0))
        assert abs(sum((Fraction(v) for v in after), Fraction(0)) - exact) <= exact * Fraction(1, 2**50)
        assert (len(after) == len(rows)) == (len(before) == len(samples))


@given(ledgers())
@settings(max_examples=60)
def test_rows_keep_within_an_hour_and_within_one_set_of_facts(samples: list[EnergySample]) -> None:
    """Each sample lies in exactly one row, and what is said of its row was said of it."""
    for row in hourly(samples):
        own = [s for s in samples if s.replica == row.replica and row.window.start <= s.window.start < row.window.end]
        assert own
        assert len({floor_hour(s.window.start) for s in own}) == 1
        assert {(s.grams_per_kwh, s.intensity_kind, s.intensity_source, s.pue, s.method) for s in own} == {
            (row.grams_per_kwh, row.intensity_kind, row.intensity_source, row.pue, row.method)
        }


def test_numbers_that_cannot_be_added_are_left_alone() -> None:
    """An infinite sample is kept as it was, and its neighbours on either side."""
    samples = [
        a_sample(window=Window.starting(BEGIN + timedelta(minutes=n), timedelta(minutes=1)), it_joules=joules)
        for n, joules in enumerate([1.0, float("inf"), 2.0, 3.0])
    ]

    rows = hourly(samples)

    assert rows[:2] == tuple(samples[:2])
    assert [r.it_joules for r in rows] == [1.0, float("inf"), 5.0]
    assert rows[2] == replace(rows[2], window=Window(samples[2].window.start, samples[3].window.end))
