"""The ports of Ray Serve's own processes: free now, and still free when Ray has started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orchestrator.errors import ProviderError
from orchestrator.gateway.ports import free_ports, lent_ports


def test_the_kernel_says_which_ports_it_lends(tmp_path: Path) -> None:
    file = tmp_path / "ip_local_port_range"
    file.write_text("32768\t60999\n")
    assert lent_ports(file) == range(32_768, 61_000)


@pytest.mark.parametrize("text", [None, "", "many\n"])
def test_where_it_says_nothing_they_are_the_dynamic_ones(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ip_local_port_range"
    if text is not None:
        file.write_text(text)
    assert lent_ports(file) == range(49_152, 65_536)


def test_no_port_is_one_that_a_connection_could_be_given_meanwhile() -> None:
    lent = lent_ports()
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert [port for port in ports if port in lent] == []


@pytest.mark.parametrize("lent", [range(10_000, 65_500), range(10_100, 65_536), range(10_000, 65_536)])
def test_where_most_are_lent_the_few_others_come_first(lent: range) -> None:
    ports = free_ports(10, lent)
    assert len(set(ports)) == 10
    assert [port for port in ports if port in lent] == (ports if len(lent) == 55_536 else [])


def test_a_port_on_which_somebody_listens_is_not_taken() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_ports(1, range(10_000, 65_000))[0]))
        listener.listen()
        taken = listener.getsockname()[1]
        ports = free_ports(65_536 - taken, range(10_000, taken))  # as many as there are from it up
    assert taken not in ports


def test_more_than_there_are_is_refused_and_not_cut_short() -> None:
    with pytest.raises(ProviderError, match="fewer than 60000 ports"):
        free_ports(60_000, range(10_000, 10_001))
