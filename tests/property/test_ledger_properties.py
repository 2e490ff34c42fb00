"""Energy is conserved however time is cut, tokens are neither lost nor doubled, and rivals cover the same ground."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import tests.hypothesis_profiles  # noqa: F401  # loads the profile
from orchestrator.domain.carbon import CarbonIntensity
from orchestrator.domain.energy import EnergySample
from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.time import HOUR, Window, floor_hour
from orchestrator.ledger.report import Alternative, IntensityAt, Place, report
from orchestrator.ledger.sampling import LONGEST_SAMPLE, IntensityIn, Load, cut, samples_for, settle
from tests.builders import NOON, candidate, intensity, replica

DE = candidate("aws/de", 300.0, usd=1.5)
PUE = 1.25

windows = st.builds(
    lambda start, length: Window.starting(NOON + start, length),
    st.timedeltas(timedelta(0), timedelta(hours=30)),
    st.timedeltas(timedelta(microseconds=1), timedelta(hours=3)),
)
rates = st.sampled_from([1.0, 7.0, 60.0, 3600.0])
loads = st.builds(Load, st.floats(0.0, 256.0), st.integers(0, 10**7), st.integers(0, 10**5))
powers = st.builds(
    lambda idle, rise, knee: PowerModel(idle, idle + rise, knee, "saturating", 0.3, "test"),
    st.floats(0.0, 200.0),
    st.floats(0.0, 600.0),
    st.floats(0.1, 32.0),
)
holes = st.sets(st.integers(0, 40), max_size=10)
"""Hours (after noon) whose intensity is not known."""


def grid(holes: set[int], grams: float = 300.0) -> IntensityIn:
    """Return a grid that rises by a gram every hour and has holes."""

    def at(zone: str, window: Window) -> CarbonIntensity | None:
        hour = int((floor_hour(window.start) - NOON) / HOUR)
        return None if hour in holes else intensity(zone, grams + hour, floor_hour(window.start))

    return at


def sampled(window: Window, load: Load, power: PowerModel, known: IntensityIn, rate: float) -> tuple[EnergySample, ...]:
    """Sample a replica in Germany."""
    return samples_for(replica(DE), window, load, power, PUE, known, rate)


class TestCutting:
    @given(windows, rates)
    def test_pieces_are_short_and_lie_end_to_end(self, window: Window, rate: float) -> None:
        """They cover the window without gap or overlap, cross no hour, and none is longer than a minute of running."""
        pieces = list(cut(window, rate))
        assert pieces[0].start == window.start
        assert pieces[-1].end == window.end
        assert all(a.end == b.start for a, b in pairwise(pieces))
        assert all(p.length > timedelta(0) for p in pieces)
        assert all(p.end <= floor_hour(p.start) + HOUR for p in pieces)
        assert all(p.length <= LONGEST_SAMPLE * rate for p in pieces)


class TestConservation:
    @given(windows, loads, powers, rates, holes)
    def test_no_joule_is_lost_or_doubled(
        self, window: Window, load: Load, power: PowerModel, rate: float, dark: set[int]
    ) -> None:
        """The samples add up to watts times seconds of running, to a part in a billion; so do dollars and tokens."""
        found = sampled(window, load, power, grid(dark), rate)
        seconds = window.length.total_seconds() / rate
        assert sum(s.engine_seconds for s in found) == pytest.approx(seconds, rel=1e-9)
        assert sum(s.it_joules for s in found) == pytest.approx(power.watts(load.mean_batch) * seconds, rel=1e-9)
        assert sum(s.facility_joules for s in found) == pytest.approx(
            power.watts(load.mean_batch) * seconds * PUE, rel=1e-9
        )
        assert sum(s.usd or 0.0 for s in found) == pytest.approx(1.5 * seconds / 3600, rel=1e-9)
        assert sum(s.prompt_tokens for s in found) == load.prompt_tokens
        assert sum(s.output_tokens for s in found) == load.output_tokens
        assert all(s.prompt_tokens >= 0 <= s.output_tokens for s in found)

    @given(windows, st.floats(0.001, 0.999), powers, rates, holes)
    def test_two_stretches_are_worth_one(
        self, window: Window, where: float, power: PowerModel, rate: float, dark: set[int]
    ) -> None:
        """A restart in the middle changes neither energy nor grams: where time is cut does not matter."""
        load = Load(4.0, 0, 0)
        middle = window.start + window.length * where
        halves = (Window(window.start, middle), Window(middle, window.end))
        whole = sampled(window, load, power, grid(dark), rate)
        parts = [s for half in halves for s in sampled(half, load, power, grid(dark), rate)]
        for total in ("facility_joules", "engine_seconds", "usd"):
            assert added(parts, total) == pytest.approx(added(whole, total), rel=1e-9, abs=1e-12)
        assert added(parts, "grams") == pytest.approx(added(whole, "grams"), rel=1e-9, abs=1e-12)

    @given(windows, loads, powers, rates)
    def test_tokens_are_where_the_time_is(self, window: Window, load: Load, power: PowerModel, rate: float) -> None:
        """Up to every sample's end, as many as its share of the time, to half a token."""
        found = sampled(window, load, power, grid(set()), rate)
        so_far = 0
        for sample in found:
            so_far += sample.output_tokens
            share = (sample.window.end - window.start) / window.length
            assert so_far == pytest.approx(load.output_tokens * share, abs=0.5 + 1e-6)


class TestUnknown:
    @given(windows, loads, powers, holes)
    def test_grams_are_those_of_the_lit_hours_and_nothing_else(
        self, window: Window, load: Load, power: PowerModel, dark: set[int]
    ) -> None:
        """Each sample is known or unknown with all that belongs to it; the report keeps the two apart."""
        found = sampled(window, load, power, grid(dark), 1.0)
        for sample in found:
            known = int((floor_hour(sample.window.start) - NOON) / HOUR) not in dark
            assert (sample.grams is not None) is known
            assert (sample.grams_per_kwh is not None) is known
            assert (sample.intensity_kind is not None) is known
        totals = report("chat", window, found, (), lambda _zone, _window: None)
        lit = [s for s in found if s.grams is not None]
        event("partly dark" if 0 < len(lit) < len(found) else "all or nothing")
        assert totals.known_joules == pytest.approx(added(lit, "facility_joules"), abs=1e-9)
        assert totals.joules == pytest.approx(added(found, "facility_joules"), abs=1e-9)
        assert (totals.grams is None) is (not lit)

    @given(windows, loads, powers, holes, holes)
    def test_settling_only_re_prices(
        self, window: Window, load: Load, power: PowerModel, dark: set[int], still_dark: set[int]
    ) -> None:
        """It takes what is known now, keeps what is not, touches nothing physical, and doing it twice does nothing."""
        provisional = sampled(window, load, power, grid(dark), 1.0)
        final = grid(still_dark, grams=100.0)
        settled = settle(provisional, final)
        priced = {"grams", "grams_per_kwh", "intensity_kind", "intensity_source"}
        for before, after in zip(provisional, settled, strict=True):
            known = final("DE", before.window)
            assert after.grams_per_kwh == (before.grams_per_kwh if known is None else known.grams_per_kwh)
            assert all(
                getattr(after, name) == getattr(before, name) for name in EnergySample.__slots__ if name not in priced
            )
        assert settle(settled, final) == settled


class TestReport:
    @given(windows, loads, powers, holes, st.integers(1, 3))
    def test_the_same_service_as_its_own_rival_is_no_better(
        self, window: Window, load: Load, power: PowerModel, dark: set[int], places: int
    ) -> None:
        """A rival that stood where we stood, with our PUE, price and grid, has our grams and our dollars."""
        known = grid(dark)
        found = sampled(window, load, power, known, 1.0)
        ourselves = Alternative("we", "aws/de", "", lambda _w: (Place("aws/de", "DE", PUE, 1.5),) * places)
        (rival,) = report("chat", window, found, [ourselves], numbers(known)).rivals
        ours = report("chat", window, found, (), numbers(known))
        assert rival.grams == pytest.approx(ours.grams, rel=1e-9) if ours.grams is not None else rival.grams is None
        assert rival.usd == pytest.approx(ours.usd, rel=1e-9)
        assert rival.known_fraction == (0.0 if ours.grams is None else 1.0)

    @given(windows, loads, powers, holes, holes)
    def test_a_rival_is_priced_completely_or_not_at_all(
        self, window: Window, load: Load, power: PowerModel, dark: set[int], dark_there: set[int]
    ) -> None:
        """With a dark minute where we were lit there is no sum, and the fraction says how much is missing."""
        found = sampled(window, load, power, grid(dark), 1.0)
        there = Alternative("home", "aws/pl", "", lambda _w: (Place("aws/pl", "PL", 1.1, 1.0),))
        (rival,) = report("chat", window, found, [there], numbers(grid(dark_there))).rivals
        lit = [s for s in found if s.grams is not None]
        missing = [s for s in lit if grid(dark_there)("PL", s.window) is None]
        assert (rival.grams is None) is (not lit or bool(missing))
        assert rival.known_fraction == pytest.approx(1 - len(missing) / len(lit) if lit else 0.0)

    @given(
        st.lists(st.tuples(windows, loads, st.sampled_from(["aws/de", "aws/fr", "gcp/de"])), max_size=4), powers, holes
    )
    def test_regions_add_up_to_the_whole(
        self, stretches: list[tuple[Window, Load, str]], power: PowerModel, dark: set[int]
    ) -> None:
        """Energy, grams, dollars, hours and tokens: nothing falls between the lines."""
        found = [
            s
            for window, load, region in stretches
            for s in samples_for(replace(replica(DE), region=region), window, load, power, PUE, grid(dark), 1.0)
        ]
        totals = report("chat", Window.starting(NOON, 40 * HOUR), found, (), numbers(grid(dark)))
        assert sum(line.kwh for line in totals.regions) == pytest.approx(totals.kwh, abs=1e-12)
        assert sum(line.grams or 0 for line in totals.regions) == pytest.approx(totals.grams or 0.0, abs=1e-9)
        assert sum(line.usd or 0 for line in totals.regions) == pytest.approx(totals.usd or 0.0, abs=1e-12)
        assert sum(line.replica_hours for line in totals.regions) * 3600 == pytest.approx(totals.engine_seconds)
        assert sum(line.output_tokens for line in totals.regions) == totals.output_tokens


def added(samples: Sequence[EnergySample], name: str) -> float:
    """Add up what is known of one field."""
    known: list[float] = [value for s in samples if (value := getattr(s, name)) is not None]
    return sum(known)


def numbers(known: IntensityIn) -> IntensityAt:
    """Return the bare numbers of a grid."""

    def at(zone: str, window: Window) -> float | None:
        found = known(zone, window)
        return None if found is None else found.grams_per_kwh

    return at
