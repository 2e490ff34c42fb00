"""What is believed of a source that changes its mind."""

from __future__ import annotations

from collections.abc import Sequence

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

    def __init__(self) -> None:
        self.archive = Archive("test")
        self.judge = Judge(self.archive, {})
        assert self.hear(said(0, TRUTH[:72]), at(71)) == []

    def hear(self, statements: Sequence[Statement], now: Instant) -> list[str]:
        """Return why what is not believed is not."""
        return [reason for _, _, _, reason in self.judge.observed(statements, ZONE, BASIS, now)]

    def believed(self, first: int, until: int, now: Instant) -> list[float]:
        """What counts of these hours."""
        window = Window(START + first * HOUR, START + until * HOUR)
        return [k.grams_per_kwh for k in self.archive.believed(ZONE, BASIS, window, now)]


def test_who_rewrites_a_day_is_not_believed_about_it_nor_for_a_day() -> None:
    """What was believed stays; the present is doubted until a day has gone by, and then counts again."""
    listener = Listener()
    rewritten = said(48, [grams * 0.7 for grams in TRUTH[48:72]])

    reasons = listener.hear(rewritten, at(72))
    assert len(reasons) == 24
    assert all("takes back what it said of 24 of 24 hours" in reason for reason in reasons)
    assert listener.believed(48, 72, at(72)) == TRUTH[48:72]
    (reason,) = listener.hear(said(73, [TRUTH[73]]), at(73))
    assert "took back what it said" in reason
    assert listener.hear(said(95, TRUTH[95:96]), at(98)) == []


def test_measurements_replace_estimates() -> None:
    """A day of them at once, a third away from what was estimated, is how feeds are."""
    listener = Listener()
    measured = [grams * 0.7 for grams in TRUTH[48:72]]

    assert listener.hear(said(48, measured, Kind.MEASURED), at(72)) == []
    assert listener.believed(48, 72, at(72)) == measured


def test_corrections_of_a_few_hours_are_believed() -> None:
    """Five of a day's hours are corrected, the others said again."""
    listener = Listener()
    corrected = [*TRUTH[48:67], *(grams * 0.7 for grams in TRUTH[67:72])]

    assert listener.hear(said(48, corrected), at(72)) == []
    assert listener.believed(48, 72, at(72)) == corrected
