"""Several sources in order: the first that answers, and why not the others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.carbon import Accounting, Basis, CarbonIntensity, CarbonSeries, Factors, Gap, Kind, Reading
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.errors import SignalUnavailable
from orchestrator.signals.composite import CompositeCarbon
from orchestrator.signals.fake import FakeCarbon

LIFECYCLE = Basis()
NOW = parse_instant("2031-03-01T12:00Z")
WINDOW = Window(NOW - 24 * HOUR, NOW)


def holding(name: str, **zones: float) -> FakeCarbon:
    """Give a source with one constant per zone."""
    fake = FakeCarbon(name)
    for zone, grams in zones.items():
        fake.hold(zone, grams)
    return fake


async def test_each_zone_comes_from_the_first_source_that_knows_it() -> None:
    """Fall-through is per zone, values are passed on untouched, and nothing is averaged."""
    source = CompositeCarbon([holding("live", AA=100), holding("stored", AA=300, BB=500)])

    for zone, grams, said_by in (("AA", 100, "live"), ("BB", 500, "stored")):
        reading = await source.latest(zone, LIFECYCLE, NOW)
        history = await source.history(zone, LIFECYCLE, WINDOW, NOW)
        assert isinstance(reading, CarbonIntensity)
        assert (reading.grams_per_kwh, reading.source) == (grams, said_by)
        assert {(p.grams_per_kwh, p.source) for p in history.points} == {(grams, said_by)}
    assert await source.zones() == {"AA", "BB"}
    assert source.name == "live > stored"


async def test_it_remembers_why_sources_were_passed_over() -> None:
    """Status can say what the better source's trouble was, and the memory ends with the trouble."""
    first, second = holding("live", AA=100), FakeCarbon("stored")
    second.fail("the folder is gone")
    source = CompositeCarbon([first, second, holding("profile", AA=300)])
    first.gap("AA", "the feed has been silent for 9 hours")

    reading = await source.latest("AA", LIFECYCLE, NOW)
    assert isinstance(reading, CarbonIntensity)
    assert reading.source == "profile"
    assert source.passed_over("AA", LIFECYCLE) == (
        Gap("AA", "the feed has been silent for 9 hours", "live"),
        Gap("AA", "the folder is gone", "stored"),
    )
    assert source.unread() == (Gap("*", "the folder is gone", "stored"),)
    first.heal()
    second.heal()
    await source.latest("AA", LIFECYCLE, NOW)
    assert source.passed_over("AA", LIFECYCLE) == ()
    assert source.unread() == (Gap("*", "the folder is gone", "stored"),), "nobody asked it since"
    first.fail("it is late")
    await source.latest("AA", LIFECYCLE, NOW)
    assert source.unread() == (Gap("*", "it is late", "live"),)


async def test_when_nobody_knows_the_gap_names_everyones_reason() -> None:
    """One sentence with all reasons, so that nobody has to ask each source."""
    down = FakeCarbon("down")
    down.fail("connection refused")
    source = CompositeCarbon([holding("live", BB=1), down])

    gap = await source.latest("AA", LIFECYCLE, NOW)
    assert isinstance(gap, Gap)
    assert "live: " in gap.reason
    assert "down: connection refused" in gap.reason


async def test_only_the_loss_of_all_sources_is_an_error() -> None:
    """The caller falls back to its last plan then; while one source can be read there is an answer."""
    sources = [FakeCarbon("one"), FakeCarbon("two")]
    for source in sources:
        source.fail("down")
    both = CompositeCarbon(sources)

    with pytest.raises(SignalUnavailable, match="one: down; two: down"):
        await both.latest("AA", LIFECYCLE, NOW)
    with pytest.raises(SignalUnavailable):
        await both.history("AA", LIFECYCLE, WINDOW, NOW)
    with pytest.raises(SignalUnavailable):
        await both.zones()
    assert await both.forecast("AA", LIFECYCLE, WINDOW, NOW) is None
    sources[0].heal()
    assert isinstance(await both.latest("AA", LIFECYCLE, NOW), Gap)


async def test_an_old_value_of_the_first_source_is_still_its_value() -> None:
    """How old is too old is the policy's decision, not made here behind its back."""
    live = FakeCarbon("live")
    live.put("AA", NOW - timedelta(days=3), [100.0])
    reading = await CompositeCarbon([live, holding("profile", AA=300)]).latest("AA", LIFECYCLE, NOW)

    assert isinstance(reading, CarbonIntensity)
    assert reading.source == "live"
    assert reading.age(NOW) > timedelta(days=2)


async def test_the_forecast_is_of_the_source_that_gives_the_present() -> None:
    """Another source's forecast would put a step at now that no grid makes."""
    live, profile = holding("live", AA=100), holding("profile", AA=300, BB=500)
    for zone in ("AA", "BB"):
        profile.put_forecast(zone, NOW - HOUR, NOW, [300.0] * 24)
    source = CompositeCarbon([live, profile])
    ahead = Window(NOW, NOW + 24 * HOUR)

    assert await source.forecast("AA", LIFECYCLE, ahead, NOW) is None
    of_other_zone = await source.forecast("BB", LIFECYCLE, ahead, NOW)
    assert of_other_zone is not None
    assert len(of_other_zone.points) == 24


class Liar(FakeCarbon):
    """Answers with something else than was asked."""

    def __init__(self, answer: CarbonIntensity) -> None:
        super().__init__("liar")
        self._answer = answer

    async def latest(self, zone: str, basis: Basis, now: Instant) -> Reading:
        del zone, basis, now
        return self._answer

    async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
        del zone, basis, window, now
        return CarbonSeries(self._answer.zone, (self._answer,))

    async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
        del zone, basis, window, now
        return CarbonSeries(self._answer.zone, (self._answer,))


def answer(zone: str = "AA", basis: Basis = LIFECYCLE, issued_at: Instant = NOW) -> CarbonIntensity:
    """Give a value of 5 g/kWh, far too good."""
    return CarbonIntensity(zone, 5.0, Window(NOW - HOUR, NOW), Kind.MEASURED, "liar", issued_at, NOW, basis)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (answer(zone="US"), "answered for zone US"),
        (answer(basis=Basis(Accounting.AVERAGE, Factors.DIRECT)), "answered with average direct"),
        (answer(issued_at=NOW + HOUR), "issued in the future"),
    ],
    ids=["zone", "basis", "future"],
)
async def test_an_answer_to_another_question_counts_as_none(wrong: CarbonIntensity, reason: str) -> None:
    """A provider that answers for its caller's zone, or from the future, must not steer anything."""
    source = CompositeCarbon([Liar(wrong), holding("honest", AA=300)])

    reading = await source.latest("AA", LIFECYCLE, NOW)
    assert isinstance(reading, CarbonIntensity)
    assert reading.source == "honest"
    assert reason in source.passed_over("AA", LIFECYCLE)[0].reason
    history = await source.history("AA", LIFECYCLE, WINDOW, NOW)
    assert {p.source for p in history.points} == {"honest"}


async def test_a_forecast_of_another_zone_is_none() -> None:
    """The same suspicion goes for forecasts."""

    class LyingForecaster(FakeCarbon):
        async def forecast(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries | None:
            del zone, basis, window, now
            return CarbonSeries("US", (answer(zone="US"),))

    source = LyingForecaster("liar")
    source.hold("AA", 100)
    assert await CompositeCarbon([source]).forecast("AA", LIFECYCLE, WINDOW, NOW) is None


def test_a_composite_of_nothing_is_refused() -> None:
    """There would be nobody to ask."""
    with pytest.raises(ValueError, match="at least one"):
        CompositeCarbon([])


async def test_a_fresh_value_is_preferred_to_a_stale_one_of_an_earlier_source() -> None:
    """Of two real sources the one that knows the present counts, for the value and the forecast."""
    first, second = FakeCarbon("first"), FakeCarbon("second")
    first.put("SE", NOW - 6 * HOUR, [10.0])
    second.put("SE", NOW - HOUR, [20.0])
    first.put_forecast("SE", NOW, NOW, [11.0])
    second.put_forecast("SE", NOW, NOW, [21.0])
    composite = CompositeCarbon([first, second], fresh_for=timedelta(minutes=90))
    latest = await composite.latest("SE", LIFECYCLE, NOW)
    forecast = await composite.forecast("SE", LIFECYCLE, Window(NOW, NOW + HOUR), NOW)

    assert isinstance(latest, CarbonIntensity)
    assert latest.grams_per_kwh == 20.0
    assert "5.0 h old" in composite.passed_over("SE", LIFECYCLE)[0].reason
    assert forecast is not None
    assert forecast.points[0].grams_per_kwh == 21.0


async def test_a_likeness_is_never_fresher_than_a_measurement() -> None:
    """Otherwise nothing would ever be stale, and what a policy says about stale numbers would not be heard."""
    real, likeness = FakeCarbon("real"), FakeCarbon("likeness", kind=Kind.SYNTHETIC)
    real.put("SE", NOW - 6 * HOUR, [10.0])
    likeness.hold("SE", 99.0)
    composite = CompositeCarbon([real, likeness], fresh_for=timedelta(minutes=90))
    latest = await composite.latest("SE", LIFECYCLE, NOW)

    assert isinstance(latest, CarbonIntensity)
    assert latest.grams_per_kwh == 10.0
    assert not composite.passed_over("SE", LIFECYCLE)


async def test_where_all_are_stale_the_first_counts() -> None:
    """Without a fresh value the order decides, as it does without the setting."""
    first, second = FakeCarbon("first"), FakeCarbon("second")
    first.put("SE", NOW - 6 * HOUR, [10.0])
    second.put("SE", NOW - 4 * HOUR, [20.0])
    latest = await CompositeCarbon([first, second], fresh_for=timedelta(minutes=90)).latest("SE", LIFECYCLE, NOW)

    assert isinstance(latest, CarbonIntensity)
    assert latest.grams_per_kwh == 10.0


# ── sources that contradict one another ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("other", "counts"), [(210.0, True), (300.0, True), (310.0, False), (90.0, False)])
async def test_a_value_that_another_source_contradicts_is_none(other: float, counts: bool) -> None:
    """Nobody can say which of the two lies, so there is a gap that names both and their numbers."""
    source = CompositeCarbon([holding("one", AA=200), holding("two", AA=other)], cross_check=True)

    reading = await source.latest("AA", LIFECYCLE, NOW)
    if counts:
        assert isinstance(reading, CarbonIntensity)
        assert reading.source == "one"
    else:
        assert isinstance(reading, Gap)
        assert "one says 200 g/kWh" in reading.reason
        assert f"two {other:g}" in reading.reason


@pytest.mark.parametrize("kind", [Kind.DERIVED, Kind.SYNTHETIC])
async def test_what_is_made_by_another_method_contradicts_nobody(kind: Kind) -> None:
    """A mix without imports and a likeness differ by nature."""
    likeness = FakeCarbon("likeness", kind=kind)
    likeness.hold("AA", 900)
    source = CompositeCarbon([holding("one", AA=200), likeness], cross_check=True)

    assert isinstance(await source.latest("AA", LIFECYCLE, NOW), CarbonIntensity)


async def test_a_source_that_is_down_late_or_elsewhere_contradicts_nobody() -> None:
    """Only a value of the same time counts against another one."""
    late, down = FakeCarbon("late"), FakeCarbon("down")
    late.put("AA", NOW - 9 * HOUR, [900])
    down.fail("connection refused")
    source = CompositeCarbon([holding("one", AA=200), late, down], cross_check=True)

    assert isinstance(await source.latest("AA", LIFECYCLE, NOW), CarbonIntensity)


async def test_hours_that_another_source_contradicts_are_left_out_of_a_history() -> None:
    """Of the liar's day the hours of the lie are missing; where the other one knows nothing, its word stands."""
    liar, other = FakeCarbon("liar"), FakeCarbon("other")
    liar.put("AA", NOW - 24 * HOUR, [*[200.0] * 12, *[90.0] * 6, *[200.0] * 6])
    other.put("AA", NOW - 20 * HOUR, [210.0] * 20)
    source = CompositeCarbon([liar, other], cross_check=True)

    points = (await source.history("AA", LIFECYCLE, WINDOW, NOW)).points
    assert [p.grams_per_kwh for p in points] == [200.0] * 18
    assert {p.source for p in points} == {"liar"}
    believing = CompositeCarbon([liar, other])
    assert len((await believing.history("AA", LIFECYCLE, WINDOW, NOW)).points) == 24


@pytest.mark.parametrize("kind", [Kind.DERIVED, Kind.SYNTHETIC])
async def test_a_history_is_not_held_against_a_likeness(kind: Kind) -> None:
    """As the present is not; nor does it ask for the likeness's whole past."""
    likeness = FakeCarbon("likeness", kind=kind)
    likeness.hold("AA", 900)
    source = CompositeCarbon([holding("one", AA=200), likeness], cross_check=True)

    assert len((await source.history("AA", LIFECYCLE, WINDOW, NOW)).points) == 24
    assert [c.method for c in likeness.calls] == ["latest"]


async def test_an_old_lie_is_held_against_what_the_other_one_said_then() -> None:
    """The liar's newest value is three hours old, the other source knows the present: it is asked about that hour."""
    liar, other = FakeCarbon("liar"), FakeCarbon("other")
    liar.put("AA", NOW - 3 * HOUR, [90.0])
    other.put("AA", NOW - 4 * HOUR, [300.0] * 4)
    reading = await CompositeCarbon([liar, other], cross_check=True).latest("AA", LIFECYCLE, NOW)

    assert isinstance(reading, Gap)
    assert "liar says 90 g/kWh, other 300" in reading.reason


async def test_a_source_whose_past_cannot_be_asked_contradicts_nobody() -> None:
    """It said something of the present, and nothing of the hours that it would have to contradict."""

    class Forgetful(FakeCarbon):
        async def history(self, zone: str, basis: Basis, window: Window, now: Instant) -> CarbonSeries:
            raise SignalUnavailable(f"{zone} {basis} {window} {now}: 503")

    other = Forgetful("other")
    other.hold("AA", 300)
    first = FakeCarbon("first")
    first.put("AA", NOW - 3 * HOUR, [90.0])
    source = CompositeCarbon([first, other], cross_check=True)

    assert isinstance(await source.latest("AA", LIFECYCLE, NOW), CarbonIntensity)
    assert len((await source.history("AA", LIFECYCLE, WINDOW, NOW)).points) == 1


async def test_a_zone_may_have_an_order_of_its_own() -> None:
    """The sources that are named for it are asked in that order, and no others."""
    one, two = holding("one", AA=100, BB=100), holding("two", AA=120, BB=120)
    source = CompositeCarbon([one, two], order={"AA": ["two"]})

    for zone, said_by in (("AA", "two"), ("BB", "one")):
        reading = await source.latest(zone, LIFECYCLE, NOW)
        assert isinstance(reading, CarbonIntensity)
        assert reading.source == said_by
        assert {p.source for p in (await source.history(zone, LIFECYCLE, WINDOW, NOW)).points} == {said_by}
    assert not [c for c in one.calls if c.zone == "AA"]
    with pytest.raises(ValueError, match="no source 'three'; there are: one, two"):
        CompositeCarbon([one, two], order={"AA": ["three"]})
