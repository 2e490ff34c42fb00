"""Run policies side by side over one recorded period, and hold each against home, B3 and the oracle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np

from orchestrator.sim.layout import board_of, bound_board, seen_by_clients, setting_of
from orchestrator.sim.notes import notes_of
from orchestrator.sim.request import (
    NEEDS_SPOT,
    ORACLE,
    SPOTHEDGE,
    Request,
    check,
    on_spot,
    prepared,
    rivals_of,
    sleeps,
    spothedge,
)
from orchestrator.sim.runs import Progress, Row, asleep_at_home, bound, lived, rival

Note = Callable[[str], None]
"""Told what of the world had to be assumed."""


async def simulate(request: Request, progress: Progress, note: Note = lambda _words: None) -> AsyncIterator[Row]:
    """Yield a row for each policy as soon as it is done; the references home and B3 come first.

    Raises ``UsageError`` for a period or a service that cannot be simulated, ``SignalUnavailable`` when the recording
    does not cover the period, ``NoFeasiblePlacement`` when the rules leave the service nowhere to stand.
    """
    request = prepared(request)
    check(request)
    setting = await setting_of(request)
    for words in notes_of(request, setting):
        note(words)
    own = await board_of(request, setting, request.spec)
    for name in rivals_of(request):
        progress(name, 0.0)
        if name == SPOTHEDGE:
            spec = spothedge(request.spec, request.policies)
            yield await lived(
                name, "SkyServe's spot with one spare and on-demand stand-ins", "rule", setting, spec, progress
            )
            continue
        board = own
        if name == "home":
            # Whoever stays at home does not spread, and pays what home costs.
            board = replace(own, limit=None, affordable=np.isfinite(own.prices))
        if name in NEEDS_SPOT:
            board = await board_of(request, setting, on_spot(request.spec))
        yield rival(name, request, setting, board)
        if name == "home" and sleeps(request.spec):
            yield asleep_at_home(request, setting, board)
        await asyncio.sleep(0)  # where an interrupt gets through
    setting = replace(setting, offers=tuple(seen_by_clients(o, request) for o in setting.offers))
    for name, policy in request.policies.items():
        about = policy.description or f"greenctl, policy {policy.name}"
        yield await lived(name, about, "ours", setting, replace(request.spec, policy=policy), progress)
    if request.with_oracle:
        progress(ORACLE, 0.0)
        yield bound(request, setting, await bound_board(request, setting))
