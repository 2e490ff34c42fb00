"""``batch``: work that has to be done by a deadline, as people write it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from orchestrator.domain.service import BatchRules
from orchestrator.spec import forms
from orchestrator.spec.block import Block
from orchestrator.spec.schedule_block import DAY_END, DAYS, Clock, Date, Days, Zone, last_moment
from orchestrator.spec.words import Path

MOST_HOURS = 10_000
MOST_TOKENS = 1_000_000_000_000


class DueBlock(Block):
    """When the work has to be done, again and again."""

    days: list[Days] | None = Field(None, min_length=1, max_length=7, description="mon, mon-fri. Default: every day.")
    at: Clock = Field(None, description="The time of the day, like 06:00.")


class BatchBlock(Block):
    """Work that waits for the cleanest hours before its deadline; no replica runs meanwhile."""

    engine_hours: Annotated[float | None, forms.number(0, MOST_HOURS, above=True)] = Field(
        None, description="How long replicas have to serve for it, added up over all of them, in hours."
    )
    output_tokens: Annotated[int | None, forms.whole(1, MOST_TOKENS)] = Field(
        None, description="Instead of engine_hours: how many output tokens have to be written."
    )
    output_tokens_per_engine_hour: Annotated[float | None, forms.number(0, MOST_TOKENS, above=True)] = Field(
        None, description="How many output tokens one replica writes in an hour; of what is seen, the less counts."
    )
    deadline: Date = Field(None, description="By when it is done, once: a time like 2026-12-20T18:00, or a day.")
    due: DueBlock | None = Field(None, description="By when it is done, again and again; the same work each time.")
    time_zone: Zone = Field(None, description="Whose clock deadline and due are read on. Default UTC.")
    preemptible: Annotated[bool | None, forms.flag()] = Field(
        None, description="Whether it may stop and go on later, for the price of another start. Default false."
    )
    margin: Annotated[timedelta | None, forms.duration("0s", "7d")] = Field(
        None, description="Time kept free before the deadline, beside a start and failed ones. Default 30m."
    )


def findings(batch: BatchBlock) -> Iterator[tuple[Path, str, bool]]:
    """Yield paths below the block, what is wrong there, and whether the key is to be pointed at."""
    if batch.engine_hours is None and batch.output_tokens is None:
        yield (), "says not how much there is to do. Write engine_hours: 4, or output_tokens", True
    if batch.output_tokens is not None:
        if batch.engine_hours is not None:
            yield ("output_tokens",), "cannot stand beside engine_hours. Keep one of them", True
        elif batch.output_tokens_per_engine_hour is None:
            message = "needs to know how long that takes. Write output_tokens_per_engine_hour: 1000000"
            yield ("output_tokens",), message, True
    elif batch.output_tokens_per_engine_hour is not None:
        yield ("output_tokens_per_engine_hour",), "has no meaning without output_tokens", True
    if batch.deadline is None and batch.due is None:
        yield (), "says not by when. Write deadline: 2026-12-20T18:00, or due: {at: 06:00}", True
    elif batch.deadline is not None and batch.due is not None:
        yield ("due",), "cannot stand beside deadline. Keep one of them", True
    if batch.due is not None and batch.due.at is None:
        yield ("due",), "says not at what time. Write at: 06:00", True
    elif batch.due is not None and batch.due.at == DAY_END:
        yield ("due", "at"), "24:00 is the end of a day. Write 00:00 and the next day", False


def meaning(batch: BatchBlock) -> BatchRules:
    """Turn a block without findings into the domain's value."""
    default = BatchRules()
    due = batch.due
    days = () if due is None else tuple(sorted({day for days in due.days or () for day in days}))
    return BatchRules(
        engine_hours=batch.engine_hours,
        output_tokens=batch.output_tokens,
        output_tokens_per_engine_hour=batch.output_tokens_per_engine_hour,
        deadline=None if batch.deadline is None else last_moment(batch.deadline),
        due_days=() if due is None else days or tuple(range(len(DAYS))),
        due_minute=0 if due is None or due.at is None else due.at,
        time_zone=batch.time_zone or default.time_zone,
        preemptible=default.preemptible if batch.preemptible is None else batch.preemptible,
        margin=default.margin if batch.margin is None else batch.margin,
    )
