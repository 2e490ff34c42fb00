"""Every page as people see it, in a wide terminal, in one of 80 columns, and piped.

``GREENCTL_UPDATE_GOLDEN=1`` writes what is found now; read the difference as a first-time user before keeping it.
"""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestrator.cli.endpoint import Endpoint
from orchestrator.cli.render import (
    advice,
    carbon,
    checks,
    errors,
    explain,
    gateway,
    history,
    move,
    operations,
    plan,
    prices,
    progress,
    report,
    settings,
    status,
)
from orchestrator.cli.render.checks import Check, Outcome
from orchestrator.cli.render.labels import labels
from orchestrator.cli.render.settings import SettingLine
from orchestrator.cli.render.text import Escaped
from orchestrator.domain.carbon import Basis, Kind
from orchestrator.domain.price import Market
from orchestrator.domain.service import Survives
from orchestrator.domain.survival import survival_of
from orchestrator.errors import InvalidSpec, NoFeasiblePlacement, Problem
from orchestrator.gateway.instance import GatewayInfo
from orchestrator.planner.advice.advise import Advice, Answer
from orchestrator.planner.advice.shadow import ShadowPrice
from orchestrator.prices.spot_advisor import InterruptionBand
from orchestrator.prices.survey import PriceLine
from tests.unit.cli import samples

HERE = Path(__file__).parent
WIDTHS = {"wide": 150, "narrow": 80}
NAMES = labels(samples.REPLICAS)

SPOT = PriceLine(
    offer_id="aws/eu-north-1:8xH100:spot",
    region="aws/eu-north-1",
    zone="SE-SE3",
    instance_type="p5.48xlarge",
    shape="8xH100",
    accelerators=8,
    market=Market.SPOT,
    usd_per_hour=19.2,
    usd_per_accelerator_hour=2.4,
    source="aws-spot: p5.48xlarge in eun1-az1",
    kind=Kind.MEASURED,
    as_of=samples.NOW - timedelta(minutes=5),
    age_seconds=300.0,
    doubt="",
    interruptions=InterruptionBand("5-10%", 0.05, 0.1, 0.6, "aws-spot-advisor", samples.NOW - timedelta(hours=9)),
)
PRICES = (
    SPOT,
    replace(SPOT, offer_id="gcp/us-east4:8xH100:spot", region="gcp/us-east4", zone=None, interruptions=None),
    replace(SPOT, offer_id="aws/eu-north-1:8xH100:on_demand", market=Market.ON_DEMAND, interruptions=None),
)

LIMIT = ShadowPrice(
    rule="policy.max_extra_cost",
    change="raise policy.max_extra_cost to 28.6%",
    by="+13.6 points",
    offer_id="aws/eu-west-3:1xL4:on_demand",
    region="aws/eu-west-3",
    grams_per_hour_saved=13.7,
    saved_fraction=0.7,
    usd_per_hour_change=0.2,
)
CLIENTS = replace(
    LIMIT,
    rule="slo.clients",
    change="take au out of slo.clients",
    by="-10% of the clients",
    grams_per_hour_saved=35.9,
    saved_fraction=0.47,
    usd_per_hour_change=None,
    replicas=5,
    is_of_all=True,
)
LONGER = replace(
    CLIENTS,
    rule="slo.ttft_p95",
    change="raise slo.ttft_p95 to 258 ms",
    by="+8 ms",
    grams_per_hour_saved=9.66,
    saved_fraction=0.13,
    usd_per_hour_change=-0.1,
)
ADVICE = Advice("chat", samples.NOW, Answer.STAY, "stay: no move pays", None, (CLIENTS, LIMIT, LONGER), ())

THIRD = replace(
    samples.DECISION,
    comparisons=(*samples.DECISION.comparisons, replace(samples.LOSING, to_offer="aws/us-east-1:1xL4:spot")),
)
CROWD = replace(
    CLIENTS,
    rule="placement.max_per_region",
    change="raise placement.max_per_region to 2",
    by="+1 replica",
    grams_per_hour_saved=4.5,
    saved_fraction=0.06,
    usd_per_hour_change=0.0,
)
TOGETHER = replace(ADVICE, shadow_prices=(*ADVICE.shadow_prices, CROWD))

PROMISED = replace(
    survival_of(["aws/a", "aws/b", "aws/c"], 2, "slo.survives: 2 of 3 are left when any one of 3 regions is lost"),
    usd_per_hour=0.81,
    grams_per_hour=10.4,
)
BROKEN = survival_of(
    ["aws/a", "aws/a"],
    2,
    "slo.survives: region wants 2 replicas left when any one region is lost, and only aws/a can be used",
)

Page = Callable[[int], RenderableType]

PAGES: dict[str, Page] = {
    "advise": lambda w: advice.render(TOGETHER, NAMES, width=w),
    "prices": lambda w: prices.render(
        PRICES, at=samples.NOW, rate=1.0, troubles=(), limit=0, width=w, with_interruptions=True
    ),
    "plan": lambda w: Group(
        plan.render(samples.PLAN, samples.SPEC, width=w, offers=4),
        plan.apply_line(samples.PLAN, "my files/service.yaml"),
    ),
    "plan-nothing-to-do": lambda w: plan.render(samples.NOTHING_TO_DO, None, width=w, offers=0),
    "plan-spares": lambda w: plan.render(
        replace(samples.NOTHING_TO_DO, spares=samples.SPARES, decision=replace(samples.DECISION, sizing=samples.SIZE)),
        samples.SPEC,
        width=w,
        offers=1,
    ),
    "plan-surviving": lambda w: plan.render(
        replace(samples.NOTHING_TO_DO, spares=samples.SPARES[-1:], survival=PROMISED),
        replace(samples.SPEC, survives=Survives.REGION),
        width=w,
        offers=3,
    ),
    "plan-not-surviving": lambda w: plan.render(
        replace(samples.NOTHING_TO_DO, survival=BROKEN), samples.SPEC, width=w, offers=1
    ),
    "status-surviving": lambda w: status.services(
        [
            replace(samples.healthy(), survival=survival_of(["aws/a", "aws/b", "aws/c"], 2)),
            replace(samples.healthy(), survival=survival_of(["aws/a", "aws/a", "aws/b"], 2)),
        ],
        width=w,
        rate=1.0,
    ),
    "explain-size": lambda w: explain.render(
        replace(samples.DECISION, sizing=samples.SIZE, assessments=(), comparisons=()), width=w
    ),
    "status-size": lambda w: status.services(
        [replace(samples.healthy(), sizing=samples.SIZE, wanted=3)], width=w, rate=1.0
    ),
    "explain": lambda w: explain.render(THIRD, width=w, why_not="aws/eu-s*", names=NAMES),
    "explain-all": lambda w: explain.render(samples.DECISION, width=w, every=True),
    "status": lambda w: status.services([samples.status(), samples.healthy()], width=w, rate=1.0),
    "status-replicas": lambda w: status.replicas(samples.status(), width=w, rate=60.0),
    "status-empty": lambda w: status.services([], width=w, rate=1.0),
    "carbon": lambda w: carbon.render(
        samples.outlooks(), at=samples.NOW, rate=60.0, hours=6, window_hours=2, basis=Basis(), width=w
    ),
    "report": lambda w: report.render(samples.REPORT, width=w),
    "report-partly-unknown": lambda w: report.render(samples.PARTLY_UNKNOWN, width=w),
    "report-partly-unpriced": lambda w: report.render(samples.PARTLY_UNPRICED, width=w),
    "history": lambda w: history.render(
        "chat",
        history.timeline(samples.EVENTS, (samples.DECISION,), samples.PLACEMENTS, NAMES),
        width=w,
        limit=7,
        rate=60.0,
    ),
    "progress": lambda w: progress.board(samples.REPLICAS, samples.EVENTS, now=samples.NOW, rate=1.0, width=w),
    "move": lambda w: Group(*move.render(samples.MOVE_PLAN, samples.MOVED, width=w)),
    "operations": lambda w: operations.table("chat", samples.OPERATIONS, width=w),
    "gateway": lambda w: gateway.render(
        GatewayInfo(4711, "127.0.0.1", 8080, "plain", 1),
        samples.status().gateway,
        width=w,  # type: ignore[arg-type]
    ),
    "doctor": lambda w: checks.render(
        [
            Check("disk", Outcome.OK, "73,932 MiB free for ~/.local/state/greenctl"),
            Check("gateway", Outcome.NOTE, "none runs, and there is nothing to serve"),
            Check("signal DE", Outcome.WARNING, "318 g/kWh, recorded, 5h 00m old", "Voluntary moves are held."),
            Check("engine vllm", Outcome.FAILED, "vLLM is not installed", "Run `make env-engine` in the checkout."),
        ],
        width=w,
    ),
    "config": lambda w: settings.render(
        [SettingLine("gateway.port", 9000, "GREENCTL_GATEWAY__PORT"), SettingLine("signals.recorded", None, "default")],
        width=w,
        origin=True,
    ),
    "endpoint": lambda _: Endpoint("http://127.0.0.1:8080", "chat", Path("/home/ada/my state/client-key")).render(),
    "error": lambda _: errors.render(NoFeasiblePlacement("chat needs 3 more replicas, 1 can be placed")),
    "error-spec": lambda _: errors.render(
        InvalidSpec(
            "service.yaml",
            (
                Problem("carbon.when_stale", '"use-forecast" is not one of hold, forecast', 38, 3, "forecast"),
                Problem("name", "missing. Write name: my-service", 1, 1),
            ),
        )
    ),
}


def drawn(renderable: RenderableType, width: int) -> str:
    """What a terminal without colours shows."""
    output = io.StringIO()
    console = Console(file=output, width=width, markup=False, emoji=False, highlight=False, color_system=None)
    console.print(Escaped(renderable), crop=False, end="")
    return output.getvalue()


@pytest.mark.parametrize("form", sorted(WIDTHS))
@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_reads_as_it_was_approved(page: str, form: str) -> None:
    """Each page is pinned at both widths: a change of what people read is seen in a review."""
    golden = HERE / "pages" / f"{page}.{form}.txt"
    found = drawn(PAGES[page](WIDTHS[form]), WIDTHS[form])
    if os.environ.get("GREENCTL_UPDATE_GOLDEN") == "1":
        golden.write_text(found, encoding="utf-8")

    assert found == golden.read_text(encoding="utf-8"), f"{golden.name} differs"


@pytest.mark.parametrize("width", [60, 72, 80, 100, 132, 160])
@pytest.mark.parametrize("page", sorted(set(PAGES) - {"plan", "endpoint"}))
def test_no_line_is_wider_than_the_terminal(page: str, width: int) -> None:
    """Tables leave columns out and words wrap: nothing is broken by the terminal. Lines to copy are the exception."""
    lines = drawn(PAGES[page](width), width).splitlines()

    assert [text for text in lines if cell_len(text) > width] == []


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_line_ends_in_blanks(page: str) -> None:
    """What is copied from a terminal, or compared by diff, holds no invisible differences."""
    lines = drawn(PAGES[page](120), 120).splitlines()

    assert [text for text in lines if text != text.rstrip()] == []


def test_a_line_to_copy_is_never_wrapped() -> None:
    """The deploy command and the first request stay one line however narrow the terminal is."""
    found = drawn(Group(plan.apply_line(samples.PLAN, "a" * 90), Text("")), 40).splitlines()

    assert found[0].endswith(f"--digest {samples.PLAN.digest}")
