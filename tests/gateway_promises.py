"""What the data plane promises, as predicates over a history of the real gateway. Pure.

- I13, no silent truncation: a stream ends with its marker, whole, or with an error event; an answer is whole or a
  refusal; each request has one end, and has it.
- I14, counts: none is below zero, what is accepted is what has ended and what is under way, a request counts as its
  client saw it, and at rest nothing is under way.
- I15: a client that leaves stops the work for it, and no work outlives its request.
- D7: a gateway serves from what it kept, and refuses nothing that somebody in its table may take; nor what those may
  take whom a table lost without a word, while they answer and are more than those that are left.
- D8: who drains gets nothing new, nor who left so, or as one of few; and an engine at work is never counted as idle.
- N1: each replica is asked for the model by the name under which it serves it, and no stream is spoken under two names
  (decision 0085).
- R1: a replica that fails three requests in a row, and answers none whole in between, gets no first try for as long as
  it rests, while half of those in its table have never failed (decisions 0050 and 0058).

None of them knows how the gateway came to its answer, except that the counts are those that a controller reads.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from orchestrator.bench.sim.checks import Violation
from orchestrator.domain.counters import GatewayStatus
from orchestrator.domain.routing import RoutingTable
from orchestrator.gateway.cooldown import ALLOWED_FAILS
from orchestrator.gateway.kept import KEPT_SECONDS
from tests.gateway_world import PATIENCE, Exchange, Generation, History

STOPPED_SECONDS = 2.0
"""Within which the work for a client that left must have stopped."""

CHOSEN_SECONDS = PATIENCE.connect_seconds + PATIENCE.tokenize_seconds
"""How long it may take from the choice of a replica until it has the request."""

ACCEPTED_AND_FAILED = frozenset(
    {"no_ready_replica", "no_replica_in_time", "waiting_room_full", "upstream_failed", "upstream_timeout"}
)


def broken(history: History) -> list[Violation]:
    """Return every broken promise of a history that has come to rest."""
    found: list[Violation] = []
    for exchange in history.exchanges:
        found += [Violation("I13", exchange.asked, f"{exchange.request_id}: {t}") for t in dishonest_end(exchange)]
        work = [g for g in history.generations if g.request_id == exchange.request_id]
        found += [Violation("I15", exchange.asked, f"{exchange.request_id}: {t}") for t in burnt(exchange, work)]
        found += [Violation("D7", exchange.asked, f"{exchange.request_id}: {t}") for t in needless(exchange, history)]
    for looks, exchanges in zip(history.looks, history.boots, strict=True):
        found += [Violation("I14", at, text) for at, text in drifts(looks)]
        found += [Violation("I14", looks[-1][0], text) for text in unlike(looks[-1][1], exchanges) if looks]
        found += [Violation("D8", at, text) for at, text in unnoticed(looks, exchanges, history.generations)]
    found += [Violation("D7", at, f"booted with {a}, not {b}") for at, a, b in history.booted if a != b]
    found += [Violation("D8", g.began, f"{g.replica} drains and gets {g.request_id}") for g in late_starts(history)]
    found += [Violation("N1", g.began, text) for g, text in misnamed(history)]
    found += [Violation("R1", g.began, f"{g.replica} rests and gets {g.request_id}") for g in unrested(history)]
    return found + [Violation("I5", 0.0, text) for text in history.mishaps]


def dishonest_end(exchange: Exchange) -> Iterator[str]:
    """I13. A client that left, or is still sending, is owed no end; all others are, and exactly one."""
    messages = [m for _, m in exchange.heard]
    starts = [n for n, m in enumerate(messages) if m["type"] == "http.response.start"]
    ends = [n for n, m in enumerate(messages) if m["type"] == "http.response.body" and not m.get("more_body", False)]
    if len(starts) > 1 or len(ends) > 1 or (starts and starts[0] != 0) or (ends and ends[0] != len(messages) - 1):
        yield f"{len(starts)} beginnings and {len(ends)} ends"
        return
    if exchange.left is not None:
        return
    if not ends or exchange.over is None:
        yield "it has no end"
        return
    body = b"".join(m.get("body", b"") for m in messages)
    if is_event_stream(messages[0]):
        yield from _dishonest_stream(exchange, body)
    else:
        yield from _dishonest_answer(exchange, messages[0], body)


def _dishonest_stream(exchange: Exchange, body: bytes) -> Iterator[str]:
    if not body.endswith(b"\n\n"):
        yield "the last event is torn"
        return
    said, reasons, ends = _read_stream(body)
    if len(ends) != 1 or ends[0] != "last":
        yield f"{len(ends)} terminal events"
        return
    expected = "".join(f"w{n} " for n in range(exchange.words))
    for index in range(exchange.choices):
        text = said.get(index, "")
        if not expected.startswith(text):
            yield f"choice {index} says {text!r}"
        elif is_marked(body) and (text != expected or reasons.get(index) not in {"stop", "length"}):
            yield f"marked as whole, but choice {index} says {text!r} and ends by {reasons.get(index)}"


def _read_stream(body: bytes) -> tuple[dict[int, str], dict[int, str], list[str]]:
    """Return text and reason of each choice, and for each terminal event whether it was the last."""
    said: dict[int, str] = {}
    reasons: dict[int, str] = {}
    ends: list[str] = []
    events = [e.removeprefix(b"data: ") for e in body.split(b"\n\n")[:-1] if e.startswith(b"data: ")]
    for number, event in enumerate(events):
        place = "last" if number == len(events) - 1 else "amid"
        document = None if event == b"[DONE]" else json.loads(event)
        if document is None or "error" in document:
            ends.append(place)
            continue
        for choice in document["choices"]:
            index = choice["index"]
            said[index] = said.get(index, "") + (choice.get("text") or (choice.get("delta") or {}).get("content") or "")
            if choice["finish_reason"] is not None:
                reasons[index] = choice["finish_reason"]
    return said, reasons, ends


def _dishonest_answer(exchange: Exchange, start: dict[str, Any], body: bytes) -> Iterator[str]:
    announced = [int(v) for k, v in start["headers"] if k == b"content-length"]
    if announced != [len(body)]:
        yield f"{announced} bytes announced, {len(body)} sent"
        return
    document = json.loads(body)
    if start["status"] != 200:
        if "error" not in document:
            yield f"status {start['status']} without an error"
        return
    if exchange.is_stream:
        yield "a stream was asked for"
    expected = "".join(f"w{n} " for n in range(exchange.words))
    for choice in document["choices"]:
        text = choice.get("text") or (choice.get("message") or {}).get("content")
        if text != expected or choice["finish_reason"] not in {"stop", "length"}:
            yield f"status 200, but it says {text!r} and ends by {choice['finish_reason']}"


def is_event_stream(start: dict[str, Any]) -> bool:
    return any(k == b"content-type" and v.startswith(b"text/event-stream") for k, v in start["headers"])


def is_marked(body: bytes) -> bool:
    return body.endswith(b"data: [DONE]\n\n")


def drifts(looks: list[tuple[float, GatewayStatus]]) -> Iterator[tuple[float, str]]:
    """I14, at every look: nothing below zero, what is accepted is accounted for, and no total runs backwards."""
    for at, status in looks:
        numbers = {u.replica: u.in_flight for u in status.upstreams} | {s.service: s.in_flight for s in status.services}
        for name, number in numbers.items():
            if number < 0:
                yield at, f"{name} has {number} in flight"
        under_way = sum(s.in_flight for s in status.services)
        ended = status.ok + status.failed + status.truncated + status.cancelled
        if status.accepted != ended + under_way:
            yield at, f"{status.accepted} accepted, {ended} ended, {under_way} under way"
    for (_, before), (at, after) in pairwise(looks):
        for name in ("accepted", "ok", "failed", "truncated", "cancelled", "resumed"):
            if getattr(after, name) < getattr(before, name):
                yield at, f"{name} fell from {getattr(before, name)} to {getattr(after, name)}"


def unlike(rest: GatewayStatus, exchanges: list[Exchange]) -> Iterator[str]:
    """I14, at rest: nothing is under way, and the totals are what the clients saw.

    Who left counts as cancelled, unless the request had not been sent whole. Of a slow client nobody knows what it had
    not taken yet.
    """
    for name, number in [(u.replica, u.in_flight) for u in rest.upstreams] + [
        (s.service, s.in_flight) for s in rest.services
    ]:
        if number:
            yield f"{name} has {number} in flight at rest"
    seen = Counter(outcome(e) for e in exchanges)
    open_ended = seen["left"]
    for name in ("ok", "failed", "truncated", "cancelled"):
        if not seen[name] <= getattr(rest, name) <= seen[name] + open_ended:
            yield f"{getattr(rest, name)} counted as {name}, the clients saw {seen[name]}"


def outcome(exchange: Exchange) -> str:
    """Return what the client would call it, in the words of the counts; "left", and "refused" when not accepted."""
    if exchange.left is not None:
        return "left" if exchange.is_slow else "cancelled" if exchange.is_sent else "refused"
    if not exchange.heard:
        return "never"
    start = exchange.heard[0][1]
    body = b"".join(m.get("body", b"") for _, m in exchange.heard)
    if is_event_stream(start):
        return "ok" if is_marked(body) else "truncated"
    if any(k == b"x-greenctl-replica" for k, _ in start["headers"]):
        return "failed" if start["status"] >= 500 else "ok"
    code = json.loads(body)["error"]["code"]
    return "failed" if code in ACCEPTED_AND_FAILED else "refused"


def burnt(exchange: Exchange, work: list[Generation]) -> Iterator[str]:
    """I15: no work outlives its request by more than a moment, and none begins once it is over."""
    ends = [t for t in (exchange.left, exchange.over) if t is not None]
    if not ends:
        return
    end = min(ends)
    for one in work:
        if one.began > end:
            yield f"{one.replica} began {one.began - end:g} s after its end"
        if one.ended is None:
            yield f"{one.replica} works on"
        elif one.ended > end + STOPPED_SECONDS:
            yield f"{one.replica} worked on for {one.ended - end:g} s"


def in_use(history: History, exchange: Exchange) -> list[int]:
    """Return which tables the exchange could be routed by; an exchange without an end sees all that follow."""
    end = exchange.over if exchange.over is not None else float("inf")
    before = [n for n, (at, _) in enumerate(history.tables) if at < exchange.asked][-1:]
    return before + [n for n, (at, _) in enumerate(history.tables) if exchange.asked <= at <= end]


def needless(exchange: Exchange, history: History) -> Iterator[str]:
    """D7: "no replica is ready" is said only while nobody may get a request, by the table or by what it lost."""
    if exchange.left is not None or not exchange.heard or is_event_stream(exchange.heard[0][1]):
        return
    document = json.loads(b"".join(m.get("body", b"") for _, m in exchange.heard))
    code = document["error"]["code"] if "error" in document else None
    numbers, end = in_use(history, exchange), exchange.heard[-1][0]
    named = numbers and all(serving(history.tables[n][1]) for n in numbers)
    if code in {"no_ready_replica", "no_replica_in_time"} and named:
        yield f"{code}, though there was one"
    lost = numbers and all(serving(history.tables[n][1]) or left_behind(history, n, end) for n in numbers)
    if code in {"no_ready_replica", "no_replica_in_time", "model_not_found"} and lost and not named:
        yield f"{code}, though a table lost most of those who answer without a word"


def serving(table: RoutingTable) -> set[str]:
    """Return the replicas that may get new requests by a table."""
    return {u.replica for s in table.services for u in s.upstreams if not u.draining}


def lost_by(history: History, number: int) -> dict[str, float]:
    """Return who served by a table up to this one, and is in none since, without having drained; since when.

    A table by which everybody drains means it of those that were lost before, too.
    """
    lost: dict[str, float] = {}
    served: set[str] = set()
    for at, table in history.tables[: number + 1]:
        named = {u.replica for s in table.services for u in s.upstreams}
        lost = {replica: since for replica, since in lost.items() if replica not in named}
        lost |= dict.fromkeys(served - named, at)
        if named and not serving(table):
            lost = {}
        served = serving(table)
    return lost


def left_behind(history: History, number: int, until: float) -> set[str]:
    """Return those among them that were well all the time, where they are more than those that the table names."""
    table, lost = history.tables[number][1], lost_by(history, number)
    well = {r for r, since in lost.items() if _is_well(history, r, since, until) and until - since < KEPT_SECONDS}
    return well if len(well) > len(serving(table)) else set()


def _is_well(history: History, replica: str, since: float, until: float) -> bool:
    events = [(at, is_well) for at, name, is_well in history.outages if name == replica and at <= until]
    before = [is_well for at, is_well in events if at < since]
    return all(before[-1:]) and not any(at >= since for at, _ in events)


def unnoticed(
    looks: list[tuple[float, GatewayStatus]], exchanges: list[Exchange], generations: list[Generation]
) -> Iterator[tuple[float, str]]:
    """D8: at every look each replica has as many in flight as it works for, at least: else it would be ended amid."""
    open_at = {e.request_id: e for e in exchanges}
    for at, status in looks:
        working = Counter(
            g.replica
            for g in generations
            if g.request_id in open_at and g.began < at and (g.ended is None or g.ended > at)
        )
        for replica, number in working.items():
            if status.upstream(replica).in_flight < number:
                yield at, f"{replica} works for {number}, counted are {status.upstream(replica).in_flight}"


def misnamed(history: History) -> Iterator[tuple[Generation, str]]:
    """N1. Who may be resumed has spoken: what failed before it had said anything may be tried under any name."""
    spoken = {e.request_id: e.heard[0][0] for e in history.exchanges if e.is_stream and e.heard}
    names: dict[str, str] = {}
    for work in history.generations:
        if work.asked_for != work.serves:
            yield work, f"{work.replica} is asked for {work.asked_for}, and serves {work.serves}"
        began = spoken.get(work.request_id, math.inf)
        if names.setdefault(work.request_id, work.serves) != work.serves and work.began > began:
            yield work, f"{work.request_id} goes on as {work.serves} at {work.replica}"
        if work.began <= began:
            names[work.request_id] = work.serves


def late_starts(history: History) -> Iterator[Generation]:
    """D8: work that began though the replica had been on its way out for longer than a choice may take."""
    for work in history.generations:
        tables = [(at, n) for n, (at, _) in enumerate(history.tables) if at <= work.began]
        chosen = work.began - CHOSEN_SECONDS
        since = [n for at, n in tables if at < chosen][-1:] + [n for at, n in tables if at >= chosen]
        if since and not any(_may_serve(history, n, work) for n in since):
            yield work


def _may_serve(history: History, number: int, work: Generation) -> bool:
    table, lost = history.tables[number][1], lost_by(history, number)
    if work.replica not in lost:
        return work.replica in serving(table)
    began = max([lost[work.replica]] + [at for at, _, _ in history.booted if at <= work.began])
    return len(lost) > len(serving(table)) and work.began - began < KEPT_SECONDS + CHOSEN_SECONDS


def unrested(history: History) -> Iterator[Generation]:
    """R1: work that was begun as a first try at a replica that had to rest then.

    A gateway forgets who rests when it starts anew, and whom a table does not name.
    """
    exchanges = {e.request_id: e for e in history.exchanges}
    for replica in sorted({g.replica for g in history.generations}):
        began = [g for g in history.generations if g.replica == replica]
        ended = sorted((g for g in began if g.ended is not None), key=_end_of)
        in_a_row: list[Generation] = []
        for number, work in enumerate(ended):
            in_a_row = [*in_a_row, work] if _has_failed(work, exchanges) else []
            if len(in_a_row) < ALLOWED_FAILS:
                continue
            since = _end_of(work)
            until = min([_end_of(w) for w in ended[number + 1 :] if not _has_failed(w, exchanges)], default=math.inf)
            until = min([until, since + _cooldown(history, since), *(at for at, _, _ in history.booted if at > since)])
            yield from (
                g
                for g in began
                if since + CHOSEN_SECONDS < g.began < until and _is_first(g, history) and _could_rest(g, since, history)
            )


def _end_of(work: Generation) -> float:
    return math.inf if work.ended is None else work.ended


def _has_failed(work: Generation, exchanges: Mapping[str, Exchange]) -> bool:
    """Whether the gateway has seen it fail by its end: not where the client left, nor where it does not read on."""
    asked = exchanges[work.request_id]
    return work.fails and asked.left is None and not asked.is_slow


def _is_first(work: Generation, history: History) -> bool:
    return next(g for g in history.generations if g.request_id == work.request_id) is work


def _cooldown(history: History, since: float) -> float:
    services = [s for n in _in_force(history, since, math.inf) for s in history.tables[n][1].services]
    return min((s.cooldown_seconds for s in services), default=0.0)


def _in_force(history: History, since: float, until: float) -> list[int]:
    """Return the tables of a time: the one before it, and all that were put to use in it."""
    before = [n for n, (at, _) in enumerate(history.tables) if at < since][-1:]
    return before + [n for n, (at, _) in enumerate(history.tables) if since <= at <= until]


def _could_rest(work: Generation, since: float, history: History) -> bool:
    """Whether every table since named it, and half at least of those that it named have done nothing wrong."""
    bad = {name for at, name, _ in history.outages if at <= work.began}
    bad |= {g.replica for g in history.generations if g.fails and g.began <= work.began}
    for number in _in_force(history, since, work.began):
        candidates = serving(history.tables[number][1])
        if work.replica not in candidates or 2 * len(candidates - bad) < len(candidates):
            return False
    return True
