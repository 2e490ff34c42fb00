"""What everybody promises who knows prices of the moment."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.domain.time import format_instant, parse_instant
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.aws_spot import AwsSpot
from orchestrator.prices.azure_retail import AzureRetail
from orchestrator.prices.changes import RecordedQuotes
from orchestrator.prices.gcp_catalog import GcpCatalog
from orchestrator.prices.held import HeldQuotes
from orchestrator.prices.quotes import QuoteSource, Wanted
from orchestrator.signals.http import Fetch
from tests.conformance import faults
from tests.conformance.alone import Alone, alone
from tests.conformance.azure_retail import A100, H100, AzureRetailApi
from tests.conformance.gcp_catalog import KEY, GcpCatalogApi, beside, money, parts, sku, spot_parts

NOW = parse_instant("2031-03-01T12:00Z")
HOUR = timedelta(hours=1)


@dataclass
class Subject:
    """A source, a region and a machine that it knows, and the prices that it has to tell by market and zone."""

    source: QuoteSource
    region: str
    machine: str
    expected: dict[tuple[Market, str], float | None]

    @property
    def wanted(self) -> Wanted:
        """The machine, and one that nobody has."""
        return Wanted({self.region: frozenset({self.machine, "imaginary.large"})})


# ── AWS, as boto3 hands it over ──────────────────────────────────────────────────────────────────────


@dataclass
class Ec2:
    """A client of one region: pages of one row, the first of them empty. ``fails``: what every call raises."""

    rows: list[dict[str, Any]]
    fails: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)

    def describe_spot_price_history(self, **words: Any) -> dict[str, Any]:
        """Answer a page; names of parameters are boto3's."""
        self.asked.append(words)
        if self.fails is not None:
            raise self.fails
        page = int(words.get("NextToken") or 0)
        rows = [r for r in self.rows if r["InstanceType"] in words["InstanceTypes"]]
        answer: dict[str, Any] = {"SpotPriceHistory": rows[page - 1 : page] if page else []}
        return answer | ({"NextToken": str(page + 1)} if page < len(rows) else {"NextToken": ""})


def spot_row(zone: str, usd: str, hours_ago: float, product: str = "Linux/UNIX") -> dict[str, Any]:
    """Make a row as EC2 tells it."""
    return {
        "AvailabilityZone": f"eu-north-1{zone}",
        "AvailabilityZoneId": f"eun1-az{ord(zone) - 96}",
        "InstanceType": "p4d.24xlarge",
        "ProductDescription": product,
        "SpotPrice": usd,
        "Timestamp": NOW - hours_ago * HOUR,
    }


ROWS = [
    spot_row("a", "9.830000", 3),
    spot_row("a", "9.120000", 30),
    spot_row("b", "10.400000", 1),
    spot_row("b", "1.000000", 2, product="Windows"),
    spot_row("a", "0.500000", -1),
]


def aws(ec2: Ec2) -> AwsSpot:
    """Ask the pretended EC2, whatever the region."""
    return AwsSpot(lambda _: ec2)


# ── recorded ─────────────────────────────────────────────────────────────────────────────────────────


def recorded(folder: Path) -> RecordedQuotes:
    """Write files of the layout, out of order, one of them packed."""
    rows = ["observed_at_utc,instance_type,az_id,region,spot_price_usd_per_hour"]
    for zone, changes in {
        "eun1-az1": ((40, "9.1"), (3, "9.8"), (-2, "1.0")),
        "eun1-az2": ((50, "10"), (5, "")),
    }.items():
        rows += [f"{format_instant(NOW - h * HOUR)},p4d.24xlarge,{zone},eu-north-1,{usd}" for h, usd in changes[::-1]]
    with gzip.open(folder / "aws_spot_price_changes_2031.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")
    (folder / "aws_ondemand_price_changes_2031.csv").write_text(
        f"observed_at_utc,instance_type,region,price_usd_per_hour\n{format_instant(NOW - 90 * HOUR)},p4d.24xlarge,"
        "eu-north-1,32.7\n",
        encoding="utf-8",
    )
    (folder / "gcp_price_changes_2031.csv").write_text(
        "observed_date,machine_type,region,ondemand_usd_per_hour,spot_usd_per_hour\n"
        "2031-01-01,a2-highgpu-1g,europe-west4,4.04,\n2031-02-01,a2-highgpu-1g,europe-west4,4.04,1.2\n",
        encoding="utf-8",
    )
    return RecordedQuotes(folder)


# ── Azure, over HTTP ─────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def running_azure() -> AsyncIterator[Alone[AzureRetailApi]]:
    """Run it with two machines."""
    api = AzureRetailApi()
    api.put("westeurope", A100, 3.67, 1.1)
    api.put("westeurope", H100, 98.3)
    async with alone(api, "/api/retail/prices") as running:
        yield running


def azure(running: Alone[AzureRetailApi]) -> AzureRetail:
    """Ask it."""
    return AzureRetail(Fetch(private=True, seconds=2), running.url)


# ── Google, over HTTP ────────────────────────────────────────────────────────────────────────────────

DUTCH, GCP_REGION = ["europe-west4"], "gcp/europe-west4"


@asynccontextmanager
async def running_google() -> AsyncIterator[Alone[GcpCatalogApi]]:
    """Run it with two families: one on both markets, one on demand alone; and the first in other regions, too."""
    api = GcpCatalogApi()
    api.skus += beside("Netherlands", DUTCH)
    api.skus += parts("A2", "Tesla A100", "Americas", (0.031611, 0.004237, 2.933908), ["us-central1", "us-west1"])
    api.skus += parts("A2", "Tesla A100", "Netherlands", (0.034, 0.0045, 3.0), DUTCH)
    api.skus += spot_parts("A2", "Tesla A100", "Netherlands", (0.017, 0.002, 1.2), DUTCH)
    api.skus += parts("G2", "L4", "Netherlands", (0.0275, 0.0032, 0.61), DUTCH)
    async with alone(api, "/v1") as running:
        yield running


def google(running: Alone[GcpCatalogApi], key: str = KEY) -> GcpCatalog:
    """Ask it."""
    return GcpCatalog(Fetch(private=True, seconds=2), key, running.url)


AWS_EXPECTED = {(Market.SPOT, "eun1-az1"): 9.83, (Market.SPOT, "eun1-az2"): 10.4}
RECORDED_EXPECTED = {
    (Market.ON_DEMAND, ""): 32.7,
    (Market.SPOT, "eun1-az1"): 9.8,
    (Market.SPOT, "eun1-az2"): None,
}
MAKERS: dict[str, Callable[[Path], Subject]] = {
    "aws-spot": lambda _: Subject(aws(Ec2(list(ROWS))), "aws/eu-north-1", "p4d.24xlarge", dict(AWS_EXPECTED)),
    "held": lambda _: Subject(
        HeldQuotes(aws(Ec2(list(ROWS))), HOUR), "aws/eu-north-1", "p4d.24xlarge", dict(AWS_EXPECTED)
    ),
    "recorded": lambda path: Subject(recorded(path), "aws/eu-north-1", "p4d.24xlarge", dict(RECORDED_EXPECTED)),
}


@pytest.fixture(params=[*sorted(MAKERS), "azure-retail", "gcp-catalog"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """Make each source in turn."""
    if request.param in MAKERS:
        yield MAKERS[request.param](tmp_path)
        return
    if request.param == "gcp-catalog":
        expected: dict[tuple[Market, str], float | None] = {
            (Market.ON_DEMAND, ""): round(12 * 0.034 + 85 * 0.0045 + 3.0, 9),
            (Market.SPOT, ""): round(12 * 0.017 + 85 * 0.002 + 1.2, 9),
        }
        async with running_google() as running:
            yield Subject(google(running), GCP_REGION, "a2-highgpu-1g", expected)
        return
    async with running_azure() as api:
        yield Subject(azure(api), "azure/westeurope", A100, {(Market.ON_DEMAND, ""): 3.67, (Market.SPOT, ""): 1.1})


async def test_it_tells_the_prices_in_force(subject: Subject) -> None:
    """Those of the machine alone, each once per market and zone, and none of later."""
    found = await subject.source.quotes(subject.wanted, NOW)

    assert {(q.market, q.zone): q.usd_per_hour for q in found} == subject.expected
    assert len(found) == len(subject.expected)


async def test_each_price_says_where_it_comes_from_and_since_when(subject: Subject) -> None:
    """Place, machine, source, kind, and a time that is not to come."""
    for one in await subject.source.quotes(subject.wanted, NOW):
        assert (one.region, one.instance_type) == (subject.region, subject.machine)
        assert one.as_of <= NOW
        assert one.source
        assert one.kind in {Kind.MEASURED, Kind.RECORDED}


async def test_places_and_machines_that_it_does_not_know_are_none(subject: Subject) -> None:
    """Not knowing is no error and no number."""
    for machines in (
        {"mars/valley": frozenset({subject.machine})},
        {subject.region: frozenset({"imaginary.large"})},
        {},
    ):
        assert list(await subject.source.quotes(Wanted(machines), NOW)) == []


async def test_asking_twice_gives_the_same_answer(subject: Subject) -> None:
    """In the same order."""
    assert list(await subject.source.quotes(subject.wanted, NOW)) == list(
        await subject.source.quotes(subject.wanted, NOW)
    )


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────


class Refused(Exception):
    """As botocore's ``ClientError``: AWS answered, with no."""

    response: ClassVar = {"Error": {"Code": "AuthFailure"}}


def aws_regions(**fails: Exception) -> tuple[AwsSpot, list[str], Wanted]:
    """Make AWS with regions north, east, south and west, the named of which fail; and who was asked."""
    asked: list[str] = []

    def client(place: str) -> Ec2:
        asked.append(place)
        return Ec2([spot_row("a", "9.83", 1)], fails=fails.get(place))

    machines = frozenset({"p4d.24xlarge"})
    return AwsSpot(client), asked, Wanted({f"aws/{place}": machines for place in ("east", "north", "south", "west")})


async def test_an_aws_region_that_refuses_hides_no_other() -> None:
    """An account need not have opted in to each; the others' prices count, and why it has none is told."""
    source, asked, wanted = aws_regions(east=Refused("AuthFailure"), north=Refused("no"), south=Refused("no"))

    found = await source.quotes(wanted, NOW)
    assert [quote.region for quote in found] == ["aws/west"]
    assert sorted(source.troubles) == ["aws/east", "aws/north", "aws/south"]
    assert "AuthFailure" in source.troubles["aws/east"]
    assert len(asked) == 4


async def test_where_nobody_of_aws_answers_few_are_waited_for() -> None:
    """Each silent region costs its time-outs."""
    source, asked, wanted = aws_regions(east=TimeoutError("slow"), north=TimeoutError("slow"))

    with pytest.raises(PriceUnavailable, match="east"):
        await source.quotes(wanted, NOW)
    assert asked == ["east", "north"]
    some, asked, wanted = aws_regions(north=TimeoutError("slow"), south=TimeoutError("slow"))
    assert [quote.region for quote in await some.quotes(wanted, NOW)] == ["aws/east"]
    assert some.troubles["aws/west"] == "aws/west is not asked: the others do not answer"


async def test_aws_regions_that_are_silent_hide_the_others_once() -> None:
    """They are asked last from then on, in turn, so whoever of them speaks again is heard."""
    source, _, wanted = aws_regions(**dict.fromkeys(("east", "north", "south"), TimeoutError("slow")))
    with pytest.raises(PriceUnavailable, match="east"):
        await source.quotes(wanted, NOW)

    assert [quote.region for quote in await source.quotes(wanted, NOW)] == ["aws/west"]
    assert source.troubles["aws/north"] == "aws/north is not asked: the others do not answer"

    source._clients["north"].fails = None
    assert [quote.region for quote in await source.quotes(wanted, NOW)] == ["aws/north", "aws/west"]


async def test_aws_failures_are_one_error_that_says_what_to_do() -> None:
    """Whatever botocore raises."""
    ec2 = Ec2(list(ROWS), fails=RuntimeError("RequestLimitExceeded"))
    with pytest.raises(PriceUnavailable, match="eu-north-1: RuntimeError: RequestLimitExceeded") as caught:
        await aws(ec2).quotes(Wanted({"aws/eu-north-1": frozenset({"p4d.24xlarge"})}), NOW)

    assert "aws sts get-caller-identity" in caught.value.hint()


async def test_rows_that_cannot_be_read_are_left_out() -> None:
    """Words, infinities, no time: the other zone is still told."""
    broken = [spot_row("a", "cheap", 1), spot_row("a", "inf", 1), {**spot_row("a", "5", 1), "Timestamp": "now"}]
    ec2 = Ec2([*broken, spot_row("b", "10.4", 1)])
    found = await aws(ec2).quotes(Wanted({"aws/eu-north-1": frozenset({"p4d.24xlarge"})}), NOW)

    assert [(q.zone, q.usd_per_hour) for q in found] == [("eun1-az2", 10.4)]


@pytest.mark.parametrize(("day", "spot"), [("2031-01-15", None), ("2031-02-15", 1.2)])
async def test_google_changes_are_replayed(tmp_path: Path, day: str, spot: float | None) -> None:
    """A price counts from its day on; before, it was not sold so."""
    wanted = Wanted({"gcp/europe-west4": frozenset({"a2-highgpu-1g"})})
    found = await recorded(tmp_path).quotes(wanted, parse_instant(f"{day}T00:00Z"))

    assert {q.market: q.usd_per_hour for q in found} == {Market.ON_DEMAND: 4.04, Market.SPOT: spot}
    assert await recorded(tmp_path).quotes(wanted, parse_instant("2030-12-31T00:00Z")) == []


@pytest.mark.parametrize("outage", sorted({**faults.OUTAGES, **faults.NONSENSE}))
async def test_azure_failures_are_one_error(outage: str) -> None:
    """However the API fails or lies about its form, there is a reason and no price."""
    async with running_azure() as api:
        api.behave = {**faults.OUTAGES, **faults.NONSENSE}[outage]
        source = AzureRetail(Fetch(private=True, seconds=0.4, max_body_bytes=1_000_000), api.url)
        with pytest.raises(PriceUnavailable):
            await source.quotes(Wanted({"azure/westeurope": frozenset({A100})}), NOW)


@pytest.mark.parametrize(
    "changes",
    [{"currencyCode": "EUR"}, {"armRegionName": "eastus"}, {"armSkuName": "Other"}, {"effectiveStartDate": "soon"}],
    ids=lambda c: next(iter(c)),
)
async def test_azure_answers_about_something_else_are_an_error(changes: dict[str, Any]) -> None:
    """Another currency, place or machine is not the price that was asked for."""
    async with running_azure() as running:
        running.api.changes = changes
        with pytest.raises(PriceUnavailable):
            await azure(running).quotes(Wanted({"azure/westeurope": frozenset({A100})}), NOW)


async def test_azure_links_that_lead_elsewhere_are_not_followed() -> None:
    """A page that names another address as the next one cannot send us there."""
    async with running_azure() as running:
        running.api.link = "http://169.254.169.254/latest/meta-data/"
        with pytest.raises(PriceUnavailable, match="another address"):
            await azure(running).quotes(Wanted({"azure/westeurope": frozenset({A100})}), NOW)


async def test_google_machines_are_sums_of_their_own_region() -> None:
    """To the billionth, for each size; a market on which a part is not sold has no quote."""
    machines = frozenset({"a2-highgpu-8g", "g2-standard-96"})
    async with running_google() as running:
        source = google(running)
        dutch = await source.quotes(Wanted({GCP_REGION: machines}), NOW)
        american = await source.quotes(Wanted({"gcp/us-central1": frozenset({"a2-highgpu-1g", "g2-standard-4"})}), NOW)

    assert [(q.instance_type, q.market, q.usd_per_hour) for q in dutch] == [
        ("a2-highgpu-8g", Market.ON_DEMAND, round(96 * 0.034 + 680 * 0.0045 + 24, 9)),
        ("a2-highgpu-8g", Market.SPOT, round(96 * 0.017 + 680 * 0.002 + 9.6, 9)),
        ("g2-standard-96", Market.ON_DEMAND, round(96 * 0.0275 + 384 * 0.0032 + 8 * 0.61, 9)),
    ]
    assert [(q.instance_type, q.usd_per_hour) for q in american] == [("a2-highgpu-1g", 3.673385)]


async def test_google_is_read_once_a_day_and_the_key_is_in_no_address() -> None:
    """Whatever is asked meanwhile; a page after the other."""
    async with running_google() as running:
        source = google(running)
        for later, machine in ((0, "a2-highgpu-1g"), (23, "g2-standard-4"), (25, "g2-standard-4")):
            await source.quotes(Wanted({GCP_REGION: frozenset({machine})}), NOW + later * HOUR)
        asked = running.api.asked

    pages = -(-len(running.api.skus) // 4)
    assert len(asked) == 2 * pages
    assert {key for _, key in asked} == {KEY}
    assert not any(KEY in value for query, _ in asked for value in query.values())


@pytest.mark.parametrize("machine", ["a2-ultragpu-1g", "a3-highgpu-8g", "a4-highgpu-8g", "n1-highmem-8"])
async def test_google_machines_that_are_more_than_their_parts_are_unknown(machine: str) -> None:
    """And say why: no price is guessed."""
    async with running_google() as running:
        found = await google(running).quotes(Wanted({GCP_REGION: frozenset({machine})}), NOW)

    assert [q.usd_per_hour for q in found] == [None, None]
    assert all("no sum of parts" in q.unknown for q in found)


CORE = "A2 Instance Core running in Netherlands"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (sku(CORE, "CPU", 0.035, DUTCH), "twice"),
        (sku(CORE, "GPU", 0.034, DUTCH), "not as CPU"),
        (sku(CORE, "CPU", 0.034, DUTCH, "Preemptible"), "not as CPU, OnDemand"),
        (sku(CORE, "CPU", 0.0, DUTCH), "no price above zero"),
        (sku(CORE, "CPU", 0.034, DUTCH) | {"pricingInfo": []}, "not as"),
        (
            sku(CORE, "CPU", 0.034, DUTCH)
            | {
                "pricingInfo": [
                    {
                        "effectiveTime": "2031-01-01T00:00:00Z",
                        "pricingExpression": {
                            "usageUnit": "h",
                            "tieredRates": [{"startUsageAmount": n, "unitPrice": money(0.034)} for n in (0, 100)],
                        },
                    }
                ]
            },
            "2 rates",
        ),
    ],
    ids=["twice", "another group", "another market", "nothing", "no price", "tiers"],
)
async def test_a_google_part_that_is_not_certain_has_no_price(wrong: dict[str, Any], why: str) -> None:
    """Neither have the machines that hold it; those of other families have theirs."""
    async with running_google() as running:
        kept = [one for one in running.api.skus if one["description"] != CORE]
        running.api.skus = [*kept, wrong] if "twice" not in why else [*running.api.skus, wrong]
        found = await google(running).quotes(Wanted({GCP_REGION: frozenset({"a2-highgpu-1g", "g2-standard-4"})}), NOW)

    by_machine = {(q.instance_type, q.market): q for q in found}
    assert why in by_machine["a2-highgpu-1g", Market.ON_DEMAND].unknown
    assert by_machine["a2-highgpu-1g", Market.ON_DEMAND].usd_per_hour is None
    assert by_machine["g2-standard-4", Market.ON_DEMAND].usd_per_hour is not None


async def test_a_google_price_of_tomorrow_does_not_hold_today() -> None:
    """Of a timeline the last line that has begun counts."""
    async with running_google() as running:
        for one in running.api.skus:
            (line,) = one["pricingInfo"]
            rate = {"startUsageAmount": 0, "unitPrice": money(7.5)}
            ahead = {"usageUnit": line["pricingExpression"]["usageUnit"], "tieredRates": [rate]}
            one["pricingInfo"].append({"effectiveTime": "2031-03-02T00:00:00Z", "pricingExpression": ahead})
        found = await google(running).quotes(Wanted({"gcp/us-central1": frozenset({"a2-highgpu-1g"})}), NOW)

    assert [q.usd_per_hour for q in found] == [3.673385]


@pytest.mark.parametrize(("key", "said"), [("", "403: .*unregistered"), ("wrong", "400: .*not valid")])
async def test_a_key_that_google_refuses_is_named_by_its_setting(key: str, said: str) -> None:
    """And is not repeated."""
    async with running_google() as running:
        with pytest.raises(PriceUnavailable, match=said) as caught:
            await google(running, key).quotes(Wanted({GCP_REGION: frozenset({"g2-standard-4"})}), NOW)

    assert "GREENCTL_PRICES__GCP__KEY" in caught.value.hint()
    assert "wrong" not in caught.value.message


@pytest.mark.parametrize("outage", sorted({**faults.OUTAGES, **faults.NONSENSE}))
async def test_google_failures_are_one_error(outage: str) -> None:
    """However the API fails or lies about its form, there is a reason and no price."""
    async with running_google() as running:
        running.behave = {**faults.OUTAGES, **faults.NONSENSE}[outage]
        source = GcpCatalog(Fetch(private=True, seconds=0.4, max_body_bytes=1_000_000), KEY, running.url)
        with pytest.raises(PriceUnavailable):
            await source.quotes(Wanted({GCP_REGION: frozenset({"g2-standard-4"})}), NOW)


async def test_google_pages_that_never_end_are_an_error() -> None:
    """A page that names itself as the next one is not read for ever."""
    async with running_google() as running:
        running.api.stuck = True
        with pytest.raises(PriceUnavailable, match="a page twice"):
            await google(running).quotes(Wanted({GCP_REGION: frozenset({"g2-standard-4"})}), NOW)


async def test_a_google_list_that_takes_too_long_as_a_whole_is_an_error() -> None:
    """Each page may take its time, but all together have a bound; the list is read anew when it is asked for again."""
    async with running_google() as running:
        running.api.held = asyncio.Event()
        source = GcpCatalog(Fetch(private=True, seconds=30), KEY, running.url, most_seconds=1)
        wanted = Wanted({GCP_REGION: frozenset({"g2-standard-4"})})
        with pytest.raises(PriceUnavailable, match="whole list takes longer than 1 s"):
            await source.quotes(wanted, NOW)
        assert len(running.api.asked) == 2

        running.api.held.set()
        patient = GcpCatalog(Fetch(private=True, seconds=30), KEY, running.url)
        assert await patient.quotes(wanted, NOW)


async def test_google_prices_in_another_currency_are_an_error() -> None:
    """They were not asked for."""
    async with running_google() as running:
        rate = running.api.skus[-1]["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]
        rate["unitPrice"]["currencyCode"] = "EUR"
        with pytest.raises(PriceUnavailable, match="answered EUR"):
            await google(running).quotes(Wanted({GCP_REGION: frozenset({"g2-standard-4"})}), NOW)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("observed_at_utc,instance_type\n", "no column"),
        ("observed_at_utc,instance_type,region,price_usd_per_hour\nyesterday,p4d,eu,3\n", ":2: "),
        ("observed_at_utc,instance_type,region,price_usd_per_hour\n2031-01-01T00:00:00Z,p4d,eu,nan\n", ":2: 'nan'"),
        ("observed_at_utc,instance_type,region,price_usd_per_hour\n2031-01-01T00:00:00Z,p4d\n", ":2: "),
    ],
)
async def test_a_recording_that_cannot_be_read_says_where(tmp_path: Path, text: str, named: str) -> None:
    """File and line, or the column that is missing; a folder without files says what is expected."""
    with pytest.raises(PriceUnavailable, match="has no files"):
        await RecordedQuotes(tmp_path).quotes(Wanted({"aws/eu": frozenset({"p4d"})}), NOW)
    (tmp_path / "aws_ondemand_price_changes_x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(PriceUnavailable, match=f"aws_ondemand_price_changes_x.csv:.*{named}|{named}"):
        await RecordedQuotes(tmp_path).quotes(Wanted({"aws/eu": frozenset({"p4d"})}), NOW)
