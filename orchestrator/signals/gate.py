"""Which statements of a source are believed. Pure.

A number that is wrong by a unit, a zone or a decade of time steers replicas as well as a right one, so each is put
beside what is known of its zone before it counts. What is refused is a hole with a reason, never zero and never mended.

The rules. How often they refuse right numbers was counted on 0.54 million recorded hours, heard one by one: every third
series of 61 zones in 2022 and 2023 and of either factors. It is 2.6 % in all, the most in US-NW-BPAT (decision 0020).

* about the zone, the basis and a time that were asked for, and not dated in the future;
* inside what any grid can have (:data:`~orchestrator.domain.carbon.PLAUSIBLE_GRAMS_PER_KWH`); life-cycle is above zero;
* at least four fifths of the zone's least value of the last 28 days, less 1 g/kWh, and at most four times its
  greatest and 2 g/kWh more. The band is narrow below, for a zone attracts by what is low, and a new low does not
  widen it before two days have gone by: step by step a liar could go anywhere (0.54 %). Exactly 0 is what a missing
  number is often written as, and counts where the zone has been at 0 before (5 of 717 thousand hours of direct
  factors). Before a day of values is known: between a fortieth and twelve times the zone's packaged yearly mean, if
  there is one, for life-cycle average intensity;
* no jump from the last believed hour: at most a quarter more than the zone ever changed over as many hours in those 28
  days, by the logarithm of intensity and 3 g/kWh. What follows a jump without another is as doubtful as the jump
  (0.32 % of right numbers jump, and 1.44 % are held by that);
* no jumping to and fro: three jumps within a day, from one statement to the next, believed or not, are a source that
  does not know where the zone is, and neither of its levels counts for as long as that (0.04 %);
* after hours that were not believed, as many hours without fault as those were, less one, and at most six (0.21 %): who
  lies so low that it is refused may come into the band for an hour, and who jumped may jump to where the zone was;
* not the same for four hours and longer, and twice longer than ever in those 28 days, where the zone moves by more than
  10 g/kWh (45 hours of 1.6 million). Grids below 50 g/kWh do stand still, and are given a day and three times longer
  than ever; those below 20 g/kWh are let pass;
* no taking back of most of what was said of the last hours: corrections come one by one, or when an estimate becomes a
  measurement. A source that rewrites a day at once is not believed about that zone for two days, as a new level is not,
  nor what it said of the present within the hour before. (How often right numbers are refused by this was not counted:
  the recording has no revisions.)

Two whole days of statements that agree with one another, heard over two days, are a new level, not an error, and are
believed from then on: whoever lies longer than that, steadily and alone, is believed. Two sources find that out
(:mod:`orchestrator.signals.composite`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Final

from orchestrator.domain.carbon import PLAUSIBLE_GRAMS_PER_KWH, Basis, Factors
from orchestrator.domain.time import HOUR, Instant, format_instant
from orchestrator.signals.mix import BASIS
from orchestrator.signals.statement import Statement

PAST: Final = timedelta(days=28)
CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""How far another machine's clock may be ahead of ours."""

ABOVE_FACTOR, ABOVE_SLACK_GRAMS_PER_KWH = 4.0, 2.0
BELOW_FACTOR, BELOW_SLACK_GRAMS_PER_KWH = 1.25, 1.0
MIN_PAST: Final = 24
WATCHED_HOURS: Final = 48
WATCHED: Final = timedelta(hours=WATCHED_HOURS - 1)
"""From the first to the last of two days' hourly statements."""

JUMP_FACTOR: Final = 1.25
JUMP_LEAST: Final = 0.25
"""By the logarithm: changes below 28 % are never jumps."""

JUMP_SLACK_GRAMS_PER_KWH: Final = 3.0
"""Added to both sides: from 1 to 2 g/kWh is nothing, from 100 to 200 is."""

JUMP_PAST: Final = 48
JUMP_OVER: Final = timedelta(hours=24)
"""Beyond a day of silence a zone may have gone anywhere."""

TO_AND_FRO: Final = 3
"""A spike is two jumps, up and down. Whoever jumps a third time has no level to come back to."""

TO_AND_FRO_WITHIN: Final = timedelta(hours=24)

YEARLY_LOW, YEARLY_HIGH = 1 / 40, 12.0

PROBATION: Final = "comes after hours that were not believed"
PROBATION_HOURS: Final = 6

TAKES_BACK: Final = "takes back"
TAKEN_BACK_HOURS: Final = 6
TAKEN_BACK_FACTOR: Final = 1.1
"""Of level, see :func:`step`. In clean grids a few grams decide, and who rewrites a day need not rewrite it by much."""

TAKEN_BACK_FOR: Final = timedelta(days=2)
"""As long as a new level is watched. With less, a past that was found to be made up would be the shorter way to one."""

JUST: Final = HOUR
"""What was said so shortly before a source is found to rewrite its past counts as little."""

STANDSTILL: Final = 4
STANDSTILL_FACTOR: Final = 2
STANDSTILL_FROM_GRAMS_PER_KWH: Final = 50.0
CLEAN_STANDSTILL: Final = 24
CLEAN_STANDSTILL_FACTOR: Final = 3
CLEAN_STANDSTILL_FROM_GRAMS_PER_KWH: Final = 20.0
STANDSTILL_SPAN_GRAMS_PER_KWH: Final = 10.0
STANDSTILL_PAST: Final = 168


def misdirected(statement: Statement, zone: str, basis: Basis) -> str:
    """Say why the statement is not an answer to the question, "" if it is one."""
    if statement.zone != zone:
        return f"asked about {zone}, answered about {statement.zone}"
    if statement.basis != basis:
        return f"asked for {basis.accounting} {basis.factors}, answered {statement.basis.accounting} intensity"
    return ""


def misdated(statement: Statement, now: Instant, *, forecast: bool = False) -> str:
    """Say why the statement's times cannot be, "" if they can."""
    if statement.interval.length <= timedelta(0):
        return "is about no time at all"
    if statement.interval.length > HOUR:
        return f"is about {statement.interval.hours:g} hours at once"
    if statement.issued_at is not None and statement.issued_at > now + CLOCKS_DIFFER:
        return f"was issued in the future, {format_instant(statement.issued_at)}"
    if not forecast and statement.interval.start > now + CLOCKS_DIFFER:
        return f"is about the future, {format_instant(statement.interval.start)}"
    return ""


def impossible(grams_per_kwh: float, basis: Basis) -> str:
    """Say why no grid has this intensity, "" if one can."""
    low, high = PLAUSIBLE_GRAMS_PER_KWH
    if not math.isfinite(grams_per_kwh) or not low <= grams_per_kwh <= high:
        return f"{grams_per_kwh:g} g/kWh is outside {low:g}..{high:g}"
    if grams_per_kwh == low and basis.factors is Factors.LIFECYCLE:
        return "no grid's life-cycle intensity is 0"
    return ""


def out_of_range(grams_per_kwh: float, past: Sequence[float], watched: Sequence[float]) -> str:
    """Say why a value does not fit the zone, "" if it does.

    ``past``: believed values of the last 28 days, one per hour, oldest first; ``watched``: the two days before this
    value, if none of them was believed and they were heard hour by hour. Without a day of the past nothing is said.
    """
    if len(past) < MIN_PAST:
        return ""
    problem = _beside(grams_per_kwh, past, f"the last {len(past)} h")
    if problem and len(watched) >= WATCHED_HOURS and not _beside(grams_per_kwh, watched, ""):
        return ""
    return problem


def level(grams_per_kwh: float) -> float:
    """Return where an intensity stands on the scale on which steps are measured."""
    return math.log(grams_per_kwh + JUMP_SLACK_GRAMS_PER_KWH)


def step(from_grams_per_kwh: float, to_grams_per_kwh: float) -> float:
    """Return the size of a change, the same up and down: 0 for none, 0.7 for twice or half."""
    return abs(level(to_grams_per_kwh) - level(from_grams_per_kwh))


def is_jump(size: float, largest: float) -> bool:
    """Whether a :func:`step` is more than the zone does. ``largest``: its largest over as many hours."""
    return size > max(JUMP_LEAST, JUMP_FACTOR * largest)


def far_from_year(grams_per_kwh: float, basis: Basis, yearly_grams_per_kwh: float | None) -> str:
    """Say why a value cannot be of a zone with that packaged yearly mean, "" if it can or nothing is known."""
    if yearly_grams_per_kwh is None or basis != BASIS:
        return ""
    low, high = yearly_grams_per_kwh * YEARLY_LOW, yearly_grams_per_kwh * YEARLY_HIGH
    if low <= grams_per_kwh <= high:
        return ""
    return f"{grams_per_kwh:g} g/kWh where the year's mean is about {yearly_grams_per_kwh:g}"


def stands_still(grams_per_kwh: float, past: Sequence[float]) -> str:
    """Say that a feed has frozen, "" if it has not. ``past``: one value per hour, oldest first, without this one."""
    own = round(grams_per_kwh)
    least, factor = STANDSTILL, STANDSTILL_FACTOR
    if own < STANDSTILL_FROM_GRAMS_PER_KWH:
        least, factor = CLEAN_STANDSTILL, CLEAN_STANDSTILL_FACTOR
    run = 1
    while run <= len(past) and round(past[-run]) == own:
        run += 1
    before = [round(value) for value in past[: len(past) - run + 1]] if run >= least else []
    if len(before) < STANDSTILL_PAST or own < CLEAN_STANDSTILL_FROM_GRAMS_PER_KWH:
        return ""
    longest = max(sum(1 for _ in same) for _, same in groupby(before))
    if run < factor * longest or max(before) - min(before) <= STANDSTILL_SPAN_GRAMS_PER_KWH:
        return ""
    return f"has been {own} g/kWh for {run} h, longer than ever"


def takes_back(corrections: Sequence[tuple[float, float]]) -> str:
    """Say that a source takes back most of what it said, "" if it does not.

    ``corrections``: what was said of an hour before and what is said of it now, g/kWh, also where both are the same.
    """
    far = sum(step(before, after) > math.log(TAKEN_BACK_FACTOR) for before, after in corrections)
    if len(corrections) < TAKEN_BACK_HOURS or 2 * far <= len(corrections):
        return ""
    return f"{TAKES_BACK} what it said of {far} of {len(corrections)} hours"


def _beside(grams_per_kwh: float, past: Sequence[float], since: str) -> str:
    settled = past[:-WATCHED_HOURS] if len(past) >= MIN_PAST + WATCHED_HOURS else past
    low = min(settled) / BELOW_FACTOR - BELOW_SLACK_GRAMS_PER_KWH
    high = max(past) * ABOVE_FACTOR + ABOVE_SLACK_GRAMS_PER_KWH
    if low <= grams_per_kwh <= high and not grams_per_kwh == 0 < min(settled):
        return ""
    return f"{grams_per_kwh:g} g/kWh where {since} lay in {min(settled):g}..{max(past):g}"
