"""Clients that remember when what they lost was asked for and lost, so that the gateway's death is counted apart."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import psutil

from orchestrator.demo.traffic import Stream, Tally
from orchestrator.gateway import daemon
from orchestrator.gateway.leftovers import living_in
from orchestrator.gateway.sockets import FOLDER
from tests.e2e.deployment import Deployment, until

SERVED_AGAIN_SECONDS = daemon.START_SECONDS + 60.0
"""A gateway may take :data:`daemon.START_SECONDS` to start; before that somebody has to find that the last one died."""


HALF_HEARD = ("ClientPayloadError", "error event", "an answer from")
"""How the words about a request begin of whose answer something had come."""


@dataclass(slots=True)
class Outage:
    """From the death of a gateway until another process of it answered; monotonic seconds. ``ended``: once it has."""

    began: float
    ended: float | None = None


@dataclass(slots=True)
class Losses:
    """What clients lost: ``cut`` by a gateway's end, ``refused`` while there was none, ``others`` in words.

    ``kinds``: how those of the first two ended, by the name of the error or the status of the answer.
    """

    cut: int = 0
    refused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    others: list[str] = field(default_factory=list)


class _Client(Stream):
    """One of them: it asks one question after the other, so what its tally loses in between is that question's."""

    def __init__(self, made: Deployment, max_tokens: int, *, streamed: bool) -> None:
        super().__init__(made.url, made.key, "greenctl/tiny", clients=1, max_tokens=max_tokens, pause_seconds=0.2)
        self.lost: list[tuple[float, float, str]] = []
        self._streamed = streamed

    async def ask(self, *, streamed: bool) -> None:
        """Ask one question and keep when it was asked and when it was lost, if it was, and how."""
        del streamed
        began, before = time.monotonic(), self.tally.failed + self.tally.truncated
        await super().ask(streamed=self._streamed)
        if self.tally.failed + self.tally.truncated > before:
            self.lost.append((began, time.monotonic(), "; ".join(self.tally.problems)))
        self.tally.problems.clear()


@dataclass
class Clients:
    """So many that ask all the time, three of four for a stream."""

    made: Deployment
    count: int
    max_tokens: int
    outages: list[Outage] = field(default_factory=list)
    _clients: list[_Client] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        """Start asking."""
        self._clients = [_Client(self.made, self.max_tokens, streamed=n % 4 != 3) for n in range(self.count)]
        for client in self._clients:
            await client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let what is open end; no other question is asked."""
        await asyncio.gather(*(client.__aexit__() for client in self._clients))

    @property
    def tally(self) -> Tally:
        """What all of them saw."""
        tallies = [client.tally for client in self._clients]
        return Tally(
            ok=sum(t.ok for t in tallies),
            failed=sum(t.failed for t in tallies),
            truncated=sum(t.truncated for t in tallies),
            resumed=sum(t.resumed for t in tallies),
        )

    def losses(self) -> Losses:
        """Tell what a gateway's death took from everything else.

        A request is lost with a gateway only if it was lost after that one's death, and asked before the next one
        answered: whoever is refused by a gateway that serves again counts among the others. It was cut if it was asked
        before that death, or something of its answer had come.
        """
        found = Losses()
        for began, ended, how in (loss for client in self._clients for loss in client.lost):
            outage = next((o for o in self.outages if ended >= o.began and (o.ended is None or began <= o.ended)), None)
            if outage is None:
                found.others.append(how)
                continue
            found.kinds[how.partition(":")[0]] += 1
            if began < outage.began or how.startswith(HALF_HEARD):
                found.cut += 1
            else:
                found.refused += 1
        return found


def gateway_pid(made: Deployment) -> int | None:
    """Return the process that holds the gateway's lock and serves."""
    info = daemon.running(made.state_dir)
    return None if info is None else info.pid


def kill_gateway(made: Deployment, *, whole: bool) -> int | None:
    """SIGKILL the gateway's first process, or all of it; return that process's id, ``None`` when none serves."""
    pid = gateway_pid(made)
    if pid is None:
        return None
    scratch = made.state_dir / FOLDER / "scratch"
    with suppress(psutil.Error):
        doomed = [psutil.Process(pid)]
        if whole and scratch.exists():
            doomed += [p for p in living_in(type(scratch)(scratch.read_text())) if p.pid != os.getpid()]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    return pid


def until_served_again(made: Deployment, dead: int) -> None:
    """Wait until another gateway than the dead one has answered a question; :class:`AssertionError` when none does."""
    until(
        lambda: gateway_pid(made) not in {None, dead} and _answers(made),
        "a new gateway serves",
        SERVED_AGAIN_SECONDS,
    )


def _answers(made: Deployment) -> bool:
    body = {"model": "greenctl/tiny", "messages": [{"role": "user", "content": "again"}], "max_tokens": 1}
    request = urllib.request.Request(  # noqa: S310  # our own gateway
        f"{made.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {made.key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # as above
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
