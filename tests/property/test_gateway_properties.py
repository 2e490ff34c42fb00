from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from math import gcd

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.routing import Upstream
from orchestrator.gateway.routing import choose
from orchestrator.gateway.sse import SseEvent, SseSplitter

unhurried = settings(deadline=None)
"""A busy machine is not a failure."""

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.one_of(
    st.binary(max_size=12).map(lambda b: b"data: " + b.replace(b"\r", b"").replace(b"\n", b"")),
    st.sampled_from([b": comment", b"data", b"data:x", b"event: ping", b"id: 7", b"", b"data: [DONE]"]),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """SSE-shaped bytes with every kind of line end, blank lines and an unfinished tail."""
    lines = draw(st.lists(st.tuples(LINES, LINE_ENDS), max_size=25))
    return b"".join(line + end for line, end in lines) + draw(st.sampled_from([b"", b"data: tail", b"\r"]))


@st.composite
def chunkings(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The same bytes, cut anywhere."""
    cuts = draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    bounds = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in pairwise(bounds)]


def split(chunks: list[bytes]) -> list[SseEvent]:
    splitter = SseSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events + splitter.finish()


@unhurried
@given(st.data())
def test_any_chunking_gives_the_same_events(data: st.DataObject) -> None:
    """Where the network cuts the bytes decides nothing."""
    stream = data.draw(streams())
    assert split(data.draw(chunkings(stream))) == split([stream])


@unhurried
@given(st.data())
def test_no_byte_of_an_event_is_changed(data: st.DataObject) -> None:
    """The events together are the stream, up to an unfinished event at its end."""
    stream = data.draw(streams())
    rejoined = b"".join(event.raw for event in split(data.draw(chunkings(stream))))
    assert stream.startswith(rejoined)


def data_by_the_book(stream: bytes) -> list[bytes]:
    """Read the data of all events as the standard says it, slowly: normalise line ends, then go line by line."""
    text = re.sub(rb"\r\n|\r", b"\n", stream)
    found: list[bytes] = []
    block: list[bytes] = []
    for line in text.split(b"\n")[:-1]:
        if line:
            block.append(line)
            continue
        values = [v.removeprefix(b" ") for name, colon, v in (one.partition(b":") for one in block) if name == b"data"]
        found += [b"\n".join(values)] if values else []
        block = []
    return found


@unhurried
@given(streams())
def test_the_data_is_what_the_standard_says(stream: bytes) -> None:
    """Cutting fast and reading by the book find the same data."""
    assert [e.data for e in split([stream]) if e.data is not None] == data_by_the_book(stream)


@st.composite
def fleets(draw: st.DrawFn) -> list[Upstream]:
    weights = draw(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=6))
    return [Upstream(f"r{n}", "http://h", w, d, "a", None) for n, (w, d) in enumerate(weights)]


@unhurried
@given(fleets(), st.integers(0, 10**9), st.sets(st.sampled_from([f"r{n}" for n in range(6)])))
def test_a_choice_is_always_allowed(fleet: list[Upstream], number: int, names: set[str]) -> None:
    """Never a draining or an excluded upstream; none only if nobody else is there."""
    chosen = choose(fleet, number, excluded=names, cooling=names)
    allowed = [u for u in fleet if not u.draining and u.replica not in names]
    assert chosen in allowed if allowed else chosen is None


@unhurried
@given(fleets(), st.integers(0, 10**6))
def test_shares_are_exact_over_one_round(fleet: list[Upstream], start: int) -> None:
    """Over a run as long as the reduced sum of weights, everybody gets its weight, no more and no less."""
    active = [u for u in fleet if u.weight and not u.draining]
    if not active:
        return
    unit = gcd(*(u.weight for u in active))
    length = sum(u.weight for u in active) // unit
    picks = Counter(u.replica for n in range(start, start + length) if (u := choose(fleet, n)))
    assert picks == {u.replica: u.weight // unit for u in active}


@unhurried
@given(fleets(), st.integers(0, 10**6))
def test_cooling_upstreams_get_nothing_while_another_is_well(fleet: list[Upstream], number: int) -> None:
    """A resting replica is only used when everyone rests."""
    well = [u for u in fleet[1:] if not u.draining]
    chosen = choose(fleet, number, cooling={"r0"})
    assert not well or (chosen is not None and chosen.replica != "r0")
