"""``greenctl signals`` as a process, in front of a pretended API."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.carbon import Factors
from orchestrator.domain.time import HOUR, floor_hour
from tests.conformance import faults
from tests.conformance.grid import Grid
from tests.conformance.server import Conformance, conformance

TRUTH = [200.0 + 3 * (hour % 24) for hour in range(75)]


@pytest.fixture
async def server() -> AsyncIterator[Conformance]:
    """Run the APIs, three days up to the present of this machine."""
    now = datetime.now(UTC)
    grid = Grid(now, running=True)
    for factors in Factors:
        grid.put("GB", factors, floor_hour(now) - 72 * HOUR, list(TRUTH))
        grid.put("DE", factors, floor_hour(now) - 72 * HOUR, list(TRUTH))
    async with conformance(grid) as running:
        yield running


async def greenctl(server: Conformance, folder: Path, *words: str, live: str) -> tuple[int, str, str]:
    """Run the command line with these sources; returns exit status, output and errors."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GREENCTL_")},
        "GREENCTL_STATE_DIR": str(folder / "state"),
        "GREENCTL_SIGNALS__LIVE": live,
        "GREENCTL_SIGNALS__PRIVATE": "true",
        "GREENCTL_SIGNALS__NATIONAL_GRID__URL": server.address("national-grid"),
        "GREENCTL_SIGNALS__ELECTRICITY_MAPS__URL": server.address("electricity-maps"),
        "GREENCTL_SIGNALS__ELECTRICITY_MAPS__KEY": "em-secret",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestrator",
        *words,
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


def document(out: str) -> dict[str, Any]:
    """Read the one JSON document."""
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


GB = '["national-grid"]'
BOTH = '["national-grid", "electricity-maps"]'


async def test_a_zone_is_asked_once_and_remembered_for_the_next_command(server: Conformance, tmp_path: Path) -> None:
    """The second command asks nobody and shows the same value."""
    words = ("signals", "status", "--factors", "direct", "--json")
    status, out, error = await greenctl(server, tmp_path, *words, "--zone", "GB", live=GB)
    assert (status, error) == (0, "")
    asked = len(server.asked)
    again = document((await greenctl(server, tmp_path, *words, live=GB))[1])

    [first] = document(out)["sources"]
    assert first["newest"]["grams_per_kwh"] == again["sources"][0]["newest"]["grams_per_kwh"]
    assert first["source"] == "national-grid"
    assert len(server.asked) == asked == 1


async def test_a_source_that_cannot_be_asked_says_why(server: Conformance, tmp_path: Path) -> None:
    """The exit status is that of missing signals, and the page says what is wrong."""
    server.behave = faults.status(503)
    status, out, _ = await greenctl(
        server, tmp_path, "signals", "status", "--zone", "GB", "--factors", "direct", live=GB
    )

    assert status == 5
    assert "503" in out


async def test_each_source_says_how_it_stands(server: Conformance, tmp_path: Path) -> None:
    """One that fails is left alone until a time that is said; requests of the day are counted over processes."""
    words = ("signals", "status", "--zone", "GB", "--factors", "direct")
    first = document((await greenctl(server, tmp_path, *words, "--json", live=GB))[1])
    server.behave = faults.status(429, **{"Retry-After": "3600"})
    second = document((await greenctl(server, tmp_path, *words, "--json", live=BOTH))[1])
    _, out, _ = await greenctl(server, tmp_path, *words, live=BOTH)

    assert [h["requests"] for h in first["health"]] == [1]
    assert {h["source"]: h["requests"] for h in second["health"]} == {"national-grid": 2, "electricity-maps": 1}
    assert all("429" in h["problem"] and h["rests_until"] for h in second["health"])
    assert "not asked until" in out


async def test_sources_that_contradict_one_another_are_shown(server: Conformance, tmp_path: Path) -> None:
    """Of two numbers that cannot both be right neither counts, and the page says so."""

    def twice_as_much(document: Any) -> Any:
        own = "carbonIntensity"
        return {**document, own: 2 * document[own]} if own in document else document

    server.lie = twice_as_much
    words = ("signals", "status", "--zone", "GB", "--factors", "direct")
    _, out, _ = await greenctl(server, tmp_path, *words, live=BOTH)

    assert "Neither counts" in out
    assert "contradict one another" in " ".join(out.split())


async def test_what_was_not_believed_is_shown(server: Conformance, tmp_path: Path) -> None:
    """A unit error is a doubt with its number, never a value."""
    server.lie = faults.LIES["a thousand times"]
    status, out, _ = await greenctl(server, tmp_path, "signals", "status", "--zone", "DE", live='["electricity-maps"]')

    assert status == 5
    assert "not believed" in out
    assert "outside 0..2000" in out


async def test_a_recording_can_be_replayed(server: Conformance, tmp_path: Path) -> None:
    """What a source tells of the past is written, read back by ``carbon``, and names its owner."""
    folder = str(tmp_path / "grid")
    words = ("signals", "record", folder, "--zone", "DE", "--days", "2", "--json")
    status, out, error = await greenctl(server, tmp_path, *words, live='["electricity-maps"]')
    assert (status, error) == (0, "")
    assert document(out)["hours"]["DE"] in {47, 48, 49}
    status, out, _ = await greenctl(
        server, tmp_path, "carbon", "--zone", "DE", "--recorded", folder, "--json", live="[]"
    )

    assert status == 0
    [zone] = document(out)["zones"]
    assert "Electricity Maps" in zone["now"]["source"]


@pytest.mark.parametrize(
    ("words", "live", "named"),
    [
        (["signals", "status"], "[]", "SIGNALS__LIVE"),
        (["signals", "record", "X", "--zone", "GB"], BOTH, "--source"),
        (["signals", "record", "X", "--zone", "GB", "--source", "eia"], BOTH, "eia"),
        (["signals", "record", "X"], GB, "--zone"),
        (["signals", "record", "X", "--zone", "GB", "--accounting", "marginal"], GB, "average"),
    ],
    ids=["none-set", "several", "not-set", "no-zone", "marginal"],
)
async def test_wrong_words_say_what_to_write(
    server: Conformance, tmp_path: Path, words: list[str], live: str, named: str
) -> None:
    """Usage errors leave with 2, name the way out, and ask nobody."""
    status, _, error = await greenctl(server, tmp_path, *words, live=live)

    assert status == 2
    assert named in error
    assert server.asked == []
