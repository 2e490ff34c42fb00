"""What is believed of a source that changes its mind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.carbon import Basis, Kind
from orchestrator.domain.time import HOUR, Instant, Window, parse_instant
from orchestrator.signals.archive import Archive
from orchestrator.signals.judging import Judge
from orchestrator.signals.statement import Statement

START = parse_instant("2031-03-01T00:00Z")
ZONE, BASIS = "DE", Basis()
TRUTH = [300.0 + 60 * (n % 6) for n in range(96)]
"""A grid that moves enough for a third less to be no jump."""


def said(first: int, grams_per_kwh: Sequence[float], kind: Kind = Kind.ESTIMATED) -> list[Statement]:
    """Statements about consecutive hours from the first one on."""
    return [
        Statement(ZONE, BASIS, Window.starting(START + (first + n) * HOUR, HOUR), grams, kind, "test")
        for n, grams in enumerate(grams_per_kwh)
    ]


def at(hour: int) -> Instant:
    """Shortly after that hour is over."""
    return START + (hour + 1) * HOUR


class Listener:
    """A judge with its memory, that has heard three days of truth."""

    def __init__(self, file: Path | None = None) -> None:
        self.archive = Archive("test", file)
        self.judge = Judge(self.archive, {})
        assert self.hear(said(0, TRUTH[:72]), at(71)) == []

    def hear(self, statements: Sequence[Statement], now: Instant) -> list[str]:
        """Return why what is not believed is not."""
        return [reason for _, _, _, reason in self.judge.observed(statements, ZONE, BASIS, now)]

    def believed(self, first: int, until: int, now: Instant) -> list[float]:
        """What counts of these hours."""
        window = Window(START + first * HOUR, START + until * HOUR)
        return [k.grams_per_kwh for k in self.archive.believed(ZONE, BASIS, window, now)]


@pytest.mark.parametrize("share", [1.0, 0.7], ids=["back to the truth", "on with the lie"])
def test_who_rewrites_a_day_is_not_believed_about_it_nor_for_two_days(share: float) -> None:
    """What was believed stays; the present is doubted for as long as any new level, and then counts again."""
    listener = Listener()
    rewritten = said(48, [grams * 0.7 for grams in TRUTH[48:72]])

    reasons = listener.hear(rewritten, at(72))
    assert len(reasons) == 24
    assert all("takes back what it said of 24 of 24 hours" in reason for reason in reasons)
    assert listener.believed(48, 72, at(72)) == TRUTH[48:72]
    two_days = [listener.hear(said(hour, [share * TRUTH[hour % 6]]), at(hour)) for hour in range(73, 121)]
    assert all("took back what it said" in reason for (reason,) in two_days)
    assert [listener.hear(said(hour, [share * TRUTH[hour % 6]]), at(hour)) for hour in range(121, 126)] == [[]] * 5


def test_measurements_replace_estimates() -> None:
    """A day of them at once, a fifth away from what was estimated, is how feeds are."""
    listener = Listener()
    measured = [grams * 0.8 for grams in TRUTH[48:72]]

    assert listener.hear(said(48, measured, Kind.MEASURED), at(72)) == []
    assert listener.believed(48, 72, at(72)) == measured


def test_corrections_of_a_few_hours_are_believed() -> None:
    """Five of a day's hours are corrected, the others said again."""
    listener = Listener()
    corrected = [*TRUTH[48:67], *(grams * 0.7 for grams in TRUTH[67:72])]

    assert listener.hear(said(48, corrected), at(72)) == []
    assert listener.believed(48, 72, at(72)) == corrected


def test_who_jumps_to_and_fro_is_not_believed_about_either_level() -> None:
    """A spike and its end are two jumps; at the third nobody knows where the zone is, and a calm day mends that."""
    listener = Listener()
    flips = [TRUTH[72], TRUTH[73] / 5, TRUTH[74], TRUTH[75] / 5, TRUTH[76]]
    reasons = [listener.hear(said(72 + n, [grams]), at(72 + n)) for n, grams in enumerate(flips)]

    assert [bool(r) for r in reasons] == [False, True, False, True, True]
    assert "to and fro" in reasons[4][0]
    calm = [300.0 + 60 * (n % 6) for n in range(77, 113)]
    later = [listener.hear(said(77 + n, [grams]), at(77 + n)) for n, grams in enumerate(calm)]
    assert all(later[:12])
    assert later[30:] == [[]] * (len(calm) - 30)


def test_what_was_said_just_before_the_past_was_rewritten_counts_no_longer(tmp_path: Path) -> None:
    """The first word of a liar was believed for minutes; then it is taken out, of the file as well."""
    listener = Listener(tmp_path / "signals.db")
    soon = at(72) + timedelta(minutes=10)
    assert listener.hear(said(72, [TRUTH[72] * 0.85]), soon) == []
    assert listener.believed(72, 73, soon) == [TRUTH[72] * 0.85]
    reasons = listener.hear(said(48, [grams * 0.7 for grams in TRUTH[48:72]]), soon + timedelta(minutes=5))

    assert len(reasons) == 25
    again = Listener.__new__(Listener)
    again.archive = Archive("test", tmp_path / "signals.db")
    for one in (listener, again):
        assert one.believed(72, 73, at(73)) == []
        assert one.believed(48, 72, at(73)) == TRUTH[48:72]


def test_a_jump_in_a_past_that_is_heard_at_once_is_a_new_level_after_two_days_of_it() -> None:
    """A source that is heard for the first time has its own word alone; later, two days have to be heard as such."""
    grams = [*TRUTH, *(1990.0 - 5 * (n % 6) for n in range(96))]
    archive = Archive("test")
    Judge(archive, {}).observed(said(0, grams), ZONE, BASIS, at(191))

    believed = archive.believed(ZONE, BASIS, Window(START, START + 192 * HOUR), at(191))
    assert [k.interval.start for k in believed] == [START + n * HOUR for n in (*range(96), *range(144, 192))]


def test_a_refused_feed_that_comes_into_the_band_for_an_hour_is_not_believed_for_it() -> None:
    """After many hours that were not believed it takes six without fault; after a single one it takes none."""
    listener = Listener()
    low = [listener.hear(said(72 + n, [60.0]), at(72 + n)) for n in range(8)]
    back = [listener.hear(said(80 + n, [TRUTH[80 + n]]), at(80 + n)) for n in range(8)]
    other = Listener()
    spike = other.hear(said(72, [60.0]), at(72)), other.hear(said(73, [TRUTH[73]]), at(73))

    assert all(low)
    assert [bool(b) for b in back] == [True] * 6 + [False] * 2
    assert "hour 6 of 6" in back[5][0]
    assert [bool(s) for s in spike] == [True, False]
