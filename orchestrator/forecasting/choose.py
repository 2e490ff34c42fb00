"""Whose forecast counts: the provider's while it is recent, ours for everything else."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.carbon import Basis, CarbonSeries
from orchestrator.domain.time import Instant, Window
from orchestrator.forecasting.coming import coming_hours

RECENT = timedelta(hours=24)
"""Providers issue at least daily; an older forecast was made without the day that ours knows."""


def expected(
    source_forecast: CarbonSeries | None,
    history: CarbonSeries,
    window: Window,
    now: Instant,
    *,
    basis: Basis | None = None,
) -> CarbonSeries:
    """Return what the hours of the window are expected to be, as far as anything is known.

    The provider's point is taken wherever it has one that was issued at most a day before ``now`` (and not after it) on
    the same basis; the other hours are ours. Each point names its source. ``basis`` defaults to that of the history,
    and without a history to that of the forecast.
    """
    offered = source_forecast.points if source_forecast is not None else ()
    for series in (history.points, offered):
        if basis is None and series:
            basis = series[0].basis
    theirs = [
        p
        for p in offered
        if p.basis == basis
        and timedelta(0) <= now - p.issued_at <= RECENT
        and p.interval.start < window.end
        and p.interval.end > window.start
    ]
    ours = coming_hours(history, window, now).points if not history.points or history.points[0].basis == basis else ()
    free = [
        p
        for p in ours
        if not any(t.interval.start < p.interval.end and p.interval.start < t.interval.end for t in theirs)
    ]
    return CarbonSeries(history.zone, tuple(sorted((*theirs, *free), key=lambda p: p.interval.start)))
