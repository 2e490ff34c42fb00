from __future__ import annotations

from collections import Counter

from orchestrator.domain.routing import Upstream
from orchestrator.gateway.routing import choose


def up(name: str, weight: int = 100, *, draining: bool = False) -> Upstream:
    return Upstream(name, "http://127.0.0.1:1", weight, draining, "local/a", None)


def name_of(chosen: Upstream | None) -> str | None:
    return None if chosen is None else chosen.replica


def test_a_hundred_requests_split_exactly_by_weight() -> None:
    """A 90/10 canary gets ten of a hundred requests, wherever one starts to count."""
    pair = [up("old", 90), up("new", 10)]
    for start in (0, 7, 12345):
        split = Counter(name_of(choose(pair, n)) for n in range(start, start + 100))
        assert split == {"old": 90, "new": 10}


def test_a_small_share_does_not_come_in_a_bunch() -> None:
    """Of any ten requests in a row exactly one goes to the canary."""
    picks = [name_of(choose([up("old", 90), up("new", 10)], n)) for n in range(200)]
    assert all(picks[n : n + 10].count("new") == 1 for n in range(190))


def test_draining_gets_nothing_new() -> None:
    """A draining replica is left alone even when it is the last one: its end is being waited for."""
    assert choose([up("a", draining=True)], 0) is None
    assert {name_of(choose([up("a", draining=True), up("b")], n)) for n in range(10)} == {"b"}


def test_what_was_tried_is_not_tried_again() -> None:
    """A retry goes elsewhere or nowhere."""
    pair = [up("a"), up("b")]
    assert {name_of(choose(pair, n, excluded={"a"})) for n in range(10)} == {"b"}
    assert choose(pair, 0, excluded={"a", "b"}) is None


def test_standby_is_used_when_nobody_with_a_weight_is_left() -> None:
    """Weight 0 means no traffic, until the alternative would be no service."""
    pair = [up("a"), up("standby", 0)]
    assert {name_of(choose(pair, n)) for n in range(10)} == {"a"}
    assert name_of(choose(pair, 0, cooling={"a"})) == "standby"
    assert name_of(choose(pair, 0, excluded={"a"})) == "standby"


def test_a_table_of_zeros_still_serves() -> None:
    """All weights zero is panic, not an outage: everybody gets the same share."""
    zeros = [up("a", 0), up("b", 0)]
    assert Counter(name_of(choose(zeros, n)) for n in range(10)) == {"a": 5, "b": 5}


def test_when_everybody_rests_everybody_is_tried() -> None:
    """A network fault that makes all replicas look bad must not turn the service off."""
    pair = [up("a", 90), up("b", 10)]
    assert Counter(name_of(choose(pair, n, cooling={"a", "b"})) for n in range(100)) == {"a": 90, "b": 10}


def test_when_most_fail_first_attempts_go_to_all_that_answer() -> None:
    """It is rather the load than each of them; who does not answer takes no load off anybody. Retries go elsewhere."""
    five = [up(n) for n in "abcde"]
    half = Counter(name_of(choose(five[:4], n, cooling={"a", "b"})) for n in range(100))
    assert half == {"c": 50, "d": 50}
    most = Counter(name_of(choose(five, n, cooling={"a", "b", "c"}, gone={"c"})) for n in range(100))
    assert most == {"a": 25, "b": 25, "d": 25, "e": 25}
    retries = {name_of(choose(five, n, excluded={"d"}, cooling={"a", "b", "c"}, gone={"c"})) for n in range(10)}
    assert retries == {"e"}


def test_nobody_is_nobody() -> None:
    """An empty service has no upstream."""
    assert choose([], 0) is None
