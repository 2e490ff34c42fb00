"""What everybody promises who knows how often spot machines were taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.time import parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.fake import FakeInterruptions
from orchestrator.prices.quotes import Wanted
from orchestrator.prices.spot_advisor import EVERY, InterruptionBand, InterruptionSource, SpotAdvisor
from orchestrator.signals.http import Fetch
from tests.conformance import faults
from tests.conformance.alone import Alone, alone
from tests.conformance.spot_advisor import SpotAdvisorApi

NOW = parse_instant("2031-03-01T12:00Z")
REGION, MACHINE = "aws/eu-north-1", "p4d.24xlarge"
WANTED = Wanted({REGION: frozenset({MACHINE, "imaginary.large"})})
BAND = InterruptionBand("5-10%", 0.05, 0.1, 0.6, "aws-spot-advisor", NOW - timedelta(hours=6))


@asynccontextmanager
async def running_advisor() -> AsyncIterator[Alone[SpotAdvisorApi]]:
    """Run it with a machine in two regions."""
    api = SpotAdvisorApi()
    api.put("eu-north-1", MACHINE, 1)
    api.put("eu-north-1", MACHINE, 4, system="Windows")
    api.put("us-east-1", MACHINE, 4, saving=12)
    async with alone(api, "/spot-advisor-data.json") as running:
        yield running


def source_of(running: Alone[SpotAdvisorApi]) -> SpotAdvisor:
    """Ask it."""
    return SpotAdvisor(Fetch(private=True, seconds=2), running.url)


@pytest.fixture(params=["aws-spot-advisor", "fake"])
async def source(request: pytest.FixtureRequest) -> AsyncIterator[InterruptionSource]:
    """Make each source in turn; all know the same."""
    if request.param == "fake":
        yield FakeInterruptions({(REGION, MACHINE): BAND})
        return
    async with running_advisor() as advisor:
        yield source_of(advisor)


async def test_it_tells_the_band_of_the_machine_in_the_region(source: InterruptionSource) -> None:
    """With Linux, by the label and not by another bound, with its source and its age."""
    assert await source.interruptions(WANTED, NOW) == {(REGION, MACHINE): BAND}


async def test_what_it_does_not_know_is_nothing_and_no_zero(source: InterruptionSource) -> None:
    """Other machines, places and clouds are left out, which is not the lowest band."""
    for machines in (
        {},
        {REGION: frozenset({"imaginary.large"})},
        {"aws/mars-1": frozenset({MACHINE})},
        {"gcp/eu-north-1": frozenset({MACHINE})},
    ):
        assert await source.interruptions(Wanted(machines), NOW) == {}


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outage", sorted({**faults.OUTAGES, **faults.NONSENSE}))
async def test_failures_are_one_error(outage: str) -> None:
    """However the server fails or lies about its form, there is a reason and no band."""
    async with running_advisor() as advisor:
        advisor.behave = {**faults.OUTAGES, **faults.NONSENSE}[outage]
        asked = SpotAdvisor(Fetch(private=True, seconds=0.4, max_body_bytes=1_000_000), advisor.url)
        with pytest.raises(PriceUnavailable):
            await asked.interruptions(WANTED, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"ranges": []},
        {"ranges": None},
        {"ranges": ["<5%"]},
        {"ranges": [{"index": True, "label": "<5%"}]},
        {"ranges": [{"index": 1, "label": "seldom"}]},
        {"ranges": [{"index": 1, "label": "10-5%"}]},
        {"ranges": [{"index": 1, "label": "<500%"}]},
        {"ranges": [{"index": 1, "label": "<5%"}, {"index": 1, "label": "5-10%"}]},
        {"ranges": [{"index": 1, "label": "<5%"}, {"index": 2, "label": "<5%"}]},
        {"spot_advisor": []},
        {"spot_advisor": {"eu-north-1": ["Linux"]}},
        {"spot_advisor": {"eu-north-1": {"Linux": "none"}}},
    ],
    ids=str,
)
async def test_bands_whose_meaning_is_not_certain_are_an_error(changes: dict[str, Any]) -> None:
    """A band that is misread would promise what nobody said."""
    async with running_advisor() as advisor:
        advisor.api.changes = changes
        with pytest.raises(PriceUnavailable, match="band"):
            await source_of(advisor).interruptions(WANTED, NOW)


@pytest.mark.parametrize("band", [None, True, 5, -1, "1", 1.0, 10**400, [], {}], ids=lambda band: str(band)[:8])
async def test_a_band_that_cannot_be_read_is_unknown(band: object) -> None:
    """The other machines are still told."""
    async with running_advisor() as advisor:
        advisor.api.put("eu-north-1", MACHINE, band)
        advisor.api.put("eu-north-1", "g6.xlarge", 0)
        found = await source_of(advisor).interruptions(Wanted({REGION: frozenset({MACHINE, "g6.xlarge"})}), NOW)

    assert {machine: (one.low_fraction, one.high_fraction) for (_, machine), one in found.items()} == {
        "g6.xlarge": (0.0, 0.05)
    }


@pytest.mark.parametrize("saving", [None, True, -1, 101, "60", float("nan"), 10**400], ids=lambda s: str(s)[:8])
async def test_a_saving_that_cannot_be_one_is_unknown(saving: object) -> None:
    """The band is told all the same."""
    async with running_advisor() as advisor:
        advisor.api.put("eu-north-1", MACHINE, 4, saving)
        (one,) = (await source_of(advisor).interruptions(WANTED, NOW)).values()

    assert (one.label, one.low_fraction, one.high_fraction, one.saving_fraction) == (">20%", 0.2, 1.0, None)


@pytest.mark.parametrize(
    "changed", ["", "yesterday", "Sun, 02 Mar 2031 06:00:00 GMT", "Sat, 01 Mar 2031 06:00:00 -0000"]
)
async def test_without_a_date_that_can_be_believed_the_age_is_unknown(changed: str) -> None:
    """None, words, one to come, and one without a zone are not taken for now."""
    async with running_advisor() as advisor:
        advisor.api.changed = changed
        (one,) = (await source_of(advisor).interruptions(WANTED, NOW)).values()

    assert one.as_of is None


async def test_the_file_is_read_once_in_a_while_and_an_error_is_not_kept() -> None:
    """Bands are of a month; an outage ends as soon as the server answers."""
    async with running_advisor() as advisor:
        asked = source_of(advisor)
        advisor.behave = faults.status(503)
        with pytest.raises(PriceUnavailable):
            await asked.interruptions(WANTED, NOW)
        advisor.behave = None
        for after in (timedelta(0), EVERY - timedelta(seconds=1), EVERY, EVERY + timedelta(hours=1)):
            assert len(await asked.interruptions(WANTED, NOW + after)) == 1

    assert advisor.api.asked == 2
