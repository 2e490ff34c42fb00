"""How ``make kills`` tells what a gateway's death took from what nothing excuses."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.deployment import Deployment
from tests.kills.clients import Clients, Outage


class Lost:
    """A client by what it lost."""

    def __init__(self, *lost: tuple[float, float, str]) -> None:
        self.lost = list(lost)


def clients(tmp_path: Path, outages: list[Outage], *lost: tuple[float, float, str]) -> Clients:
    """Return clients that lost these."""
    return Clients(Deployment(tmp_path, 1), 1, 1, outages, [Lost(*lost)])  # type: ignore[list-item]


def test_only_what_was_open_or_asked_while_no_gateway_was_is_excused(tmp_path: Path) -> None:
    """Lost before its death, or asked for once another one served: that is a violation, and kept in words."""
    found = clients(
        tmp_path,
        [Outage(10.0, 20.0), Outage(30.0, 40.0)],
        (8.0, 9.0, "before"),
        (8.0, 10.5, "ServerDisconnectedError: cut"),
        (19.0, 21.0, "ClientConnectorError: nobody listens"),
        (19.0, 19.5, "503: no replica yet"),
        (12.0, 13.0, "ClientPayloadError: what was left of it went, too"),
        (21.0, 22.0, "between"),
        (22.0, 31.0, "cut by the second"),
        (40.5, 41.0, "after"),
    ).losses()

    assert (found.cut, found.refused) == (3, 2)
    assert found.others == ["before", "between", "after"]
    assert found.kinds["503"] == 1


def test_a_gateway_that_has_not_come_back_excuses_until_it_has(tmp_path: Path) -> None:
    """Its outage has no end yet, so neither has what it takes."""
    found = clients(tmp_path, [Outage(10.0)], (9.0, 11.0, "cut"), (99.0, 99.0, "ClientConnectorError: nobody")).losses()

    assert (found.cut, found.refused, found.others) == (1, 1, [])
