"""How many requests there are in each hour: constant, by the time of the day, or as recorded."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from orchestrator.domain.time import HOUR, Window
from orchestrator.errors import UsageError

SECONDS_PER_HOUR: Final = 3600.0
TOKENS_PER_SECOND: Final = 25.0
"""Output tokens of one request per second, where nothing says how fast it is: a common limit of interactive serving (40
ms between tokens). It sets how long a request stays, and so how many run at once."""

PEAK_HOUR_UTC: Final = 14
"""When the day's load is highest. Of the published traces only the ratio is known, not the time of the day."""

PEAK_OVER_TROUGH: Final = 1.49
"""Highest over lowest hour of a general chat model in production (ServeGen, Alibaba Model Studio, m-large)."""

FIRST_WORKING_HOUR_UTC: Final = 6
LAST_WORKING_HOUR_UTC: Final = 20
WORKING_DAYS: Final = 5

_NEEDED: Final = "Needed are the columns offset_s, input_tokens, output_tokens, or offset_s, requests_per_s."


@dataclass(frozen=True, slots=True)
class Full:
    """Work that waits for replicas: ``batch`` requests run at once on each that serves, so many begin in a second."""

    batch: float
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class Workload:
    """Mean requests per second of each hour of the period, and what one request is on average.

    ``request_seconds``: how long one runs; by Little's law ``rate x request_seconds`` of them run at once. ``full``: of
    batch work, what each replica does; then nobody sends requests at hours of their own.
    """

    name: str
    requests_per_second: tuple[float, ...]
    request_seconds: float
    prompt_tokens: float
    output_tokens: float
    full: Full | None = None

    def batch(self, hour: int, serving: int) -> float:
        """Return how many requests run at once on each of the replicas that serve."""
        return self.concurrency(hour) / max(1, serving) if self.full is None else self.full.batch

    def concurrency(self, hour: int) -> float:
        """Return how many requests run at once in an hour of the period; at its edges the nearest hour's."""
        last = len(self.requests_per_second) - 1
        return self.requests_per_second[min(max(hour, 0), last)] * self.request_seconds

    @property
    def mean_concurrency(self) -> float:
        """Mean over the period."""
        return sum(self.requests_per_second) / len(self.requests_per_second) * self.request_seconds


def constant(
    period: Window, requests_per_second: float, *, prompt_tokens: float = 500.0, output_tokens: float = 200.0
) -> Workload:
    """Return the same load in every hour. Raises ``UsageError`` for a rate that is none."""
    rate = _checked(requests_per_second, "requests per second")
    hours = round(period.hours)
    return _made(f"constant {rate:g}/s", [rate] * hours, prompt_tokens, output_tokens)


def diurnal(
    period: Window, requests_per_second: float, *, prompt_tokens: float = 500.0, output_tokens: float = 200.0
) -> Workload:
    """Return a load of that mean that swings with the day. Raises ``UsageError`` for a rate that is none."""
    mean = _checked(requests_per_second, "requests per second")
    swing = (PEAK_OVER_TROUGH - 1) / (PEAK_OVER_TROUGH + 1)
    rates = []
    for hour in range(round(period.hours)):
        of_day = (period.start + hour * HOUR).hour
        rates.append(mean * (1 + swing * math.cos(2 * math.pi * (of_day - PEAK_HOUR_UTC) / 24)))
    return _made(f"diurnal, mean {mean:g}/s", rates, prompt_tokens, output_tokens)


def working_hours(
    period: Window, requests_per_second: float, *, prompt_tokens: float = 500.0, output_tokens: float = 200.0
) -> Workload:
    """Return a load of that mean from Monday to Friday, 6 to 20 o'clock UTC, and none at all otherwise: made up.

    Raises ``UsageError`` for a rate that is none, or a period without such an hour.
    """
    mean = _checked(requests_per_second, "requests per second")
    moments = [period.start + hour * HOUR for hour in range(round(period.hours))]
    works = [m.weekday() < WORKING_DAYS and FIRST_WORKING_HOUR_UTC <= m.hour < LAST_WORKING_HOUR_UTC for m in moments]
    if not any(works):
        raise UsageError("--workload working-hours: the period has none", hint="Take in a day from Monday to Friday.")
    rate = mean * len(works) / sum(works)
    return _made(f"working hours, mean {mean:g}/s", [rate * at_work for at_work in works], prompt_tokens, output_tokens)


def recorded(period: Window, path: Path, requests_per_second: float | None = None) -> Workload:
    """Read a request trace (or a table of rates), repeat it over the period, and scale it to a mean there where asked.

    The hour of its first row is the first of the period, whatever its offsets count from.

    A trace with an hour begun is cut at its last whole hour; one shorter than an hour counts at its mean rate. A rate
    in a table of longer steps holds for its step; a table that has no row where there should be one is refused.
    A table of rates of several workloads is read as ``FILE:WORKLOAD``; its tokens are means by rate, where it has them.
    Raises ``UsageError`` with the file and the line.
    """
    path, chosen = _named(path)
    rows = _rows(path)
    name = path.name
    if "requests_per_s" in rows[0]:
        for i, row in enumerate(rows):  # all of them, while their lines are known
            for column in ("offset_s", "requests_per_s"):
                _number(path, i, row, column)
        rows, workload = _of_workload(path, rows, chosen)
        name = f"{name}:{workload}" if workload else name
        rates = _of_rates(path, rows)
        prompt, output = (_mean_tokens(path, rows, n, d) for n, d in (("input", 500.0), ("output", 200.0)))
    else:
        rates = _of_requests(path, rows)
        prompt = sum(_number(path, i, r, "input_tokens") for i, r in enumerate(rows)) / len(rows)
        output = sum(_number(path, i, r, "output_tokens") for i, r in enumerate(rows)) / len(rows)
    if not any(rates):
        raise UsageError(f"{path}: the trace has no requests", hint=_NEEDED)
    lived = [rates[h % len(rates)] for h in range(round(period.hours))]
    if not any(lived):
        first = next(h for h, rate in enumerate(rates) if rate)
        message = (
            f"--workload {path}: the {len(lived)} hours of the period have no requests, its first is in hour {first}"
        )
        raise UsageError(message, hint="Give --to later, or a trace that begins with its first requests.")
    scale = 1.0
    if requests_per_second is not None:
        # Of the hours that are lived through: those of the whole trace may be busier, or quieter.
        scale = _checked(requests_per_second, "requests per second") * len(lived) / sum(lived)
    return _made(name, [rate * scale for rate in lived], prompt, output)


def _made(name: str, rates: Sequence[float], prompt: float, output: float) -> Workload:
    seconds = max(1.0, output / TOKENS_PER_SECOND)
    return Workload(name, tuple(rates), seconds, prompt, output)


def _named(path: Path) -> tuple[Path, str]:
    """Split ``FILE:WORKLOAD``."""
    name, colon, workload = path.name.rpartition(":")
    return (path.with_name(name), workload) if colon and name and not path.exists() else (path, "")


def _of_workload(path: Path, rows: Sequence[dict[str, str]], chosen: str) -> tuple[list[dict[str, str]], str]:
    """Return the rows of one workload and its name. Raises ``UsageError`` when it is not said which, or not there."""
    names = sorted({r.get("workload", "") for r in rows})
    if chosen not in names and (chosen or len(names) > 1):
        said = f"has no workload {chosen!r}" if chosen else "has several workloads"
        hint = f"Name one of {', '.join(names)}: {path}:{names[0]}."
        raise UsageError(f"--workload {path}: it {said}", hint=hint)
    wanted = chosen or names[0]
    return [r for r in rows if r.get("workload", "") == wanted], wanted


def _of_rates(path: Path, rows: Sequence[dict[str, str]]) -> list[float]:
    """Return the mean rate of each hour from the first row on; a step may be shorter than an hour, or longer."""
    sums: dict[int, list[float]] = {}
    for i, row in enumerate(rows):
        hour = int(_number(path, i, row, "offset_s") // SECONDS_PER_HOUR)
        sums.setdefault(hour, []).append(_number(path, i, row, "requests_per_s"))
    hours = sorted(sums)
    step = min((b - a for a, b in pairwise(hours)), default=1)
    for before, after in pairwise(hours):
        if after - before != step:
            # Whether nobody asked then or nobody counted cannot be seen, and left out, the day would shrink.
            where = f"after offset_s {before * SECONDS_PER_HOUR:g} the next row is of {after * SECONDS_PER_HOUR:g}"
            hint = f"Give a row for each step of {step} h, with 0 where there was no request."
            raise UsageError(f"--workload {path}: {where}, by whole hours", hint=hint)
    return [sum(sums[hour]) / len(sums[hour]) for hour in hours for _ in range(step)]


def _mean_tokens(path: Path, rows: Sequence[dict[str, str]], which: str, otherwise: float) -> float:
    """Return the mean tokens of a request, by rate over the steps that have them."""
    column = f"mean_{which}_tokens"
    known = [
        (_number(path, i, r, "requests_per_s"), _number(path, i, r, column))
        for i, r in enumerate(rows)
        if r.get(column)
    ]
    requests = sum(rate for rate, _ in known)
    return sum(rate * tokens for rate, tokens in known) / requests if requests > 0 else otherwise


def _of_requests(path: Path, rows: Sequence[dict[str, str]]) -> list[float]:
    """Return the mean rate of each whole hour from that of the first request on; offsets may be seconds of an epoch."""
    told = [_number(path, i, row, "offset_s") for i, row in enumerate(rows)]
    begin = min(told) // SECONDS_PER_HOUR * SECONDS_PER_HOUR
    length = max(told) - (min(told) if begin else 0.0)
    if length < SECONDS_PER_HOUR:
        return [len(told) / max(length, 1.0)]
    whole = int((max(told) - begin) // SECONDS_PER_HOUR)
    counts = [0] * whole
    for offset in told:
        hour = int((offset - begin) // SECONDS_PER_HOUR)
        if hour < whole:
            counts[hour] += 1
    return [c / SECONDS_PER_HOUR for c in counts]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"--workload {path}: {error}", hint=_NEEDED) from error
    reader = csv.DictReader(io.StringIO(text))
    fields = set(reader.fieldnames or ())
    complete = {"offset_s"} <= fields and ({"requests_per_s"} <= fields or {"input_tokens", "output_tokens"} <= fields)
    rows = list(reader)
    if not complete or not rows:
        found = ", ".join(sorted(fields)) or "nothing"
        raise UsageError(f"--workload {path}: it has {found if rows else 'no rows'}", hint=_NEEDED)
    return rows


def _number(path: Path, index: int, row: dict[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"--workload {path}:{index + 2}: {name} is {row[name]!r}, not a number >= 0", hint=_NEEDED)
    return value


def _checked(value: float, what: str) -> float:
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"{value:g} {what} is no load", hint="Give a number above 0.")
    return value
