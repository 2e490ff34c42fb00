"""Whole plans with their explanations, as JSON: what the planner says changes only on purpose.

``GREENCTL_UPDATE_GOLDEN=1`` writes the files anew. Numbers are kept to nine digits, so that another machine's last bit
of an exponential is no difference.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.codec import Plain, to_plain
from orchestrator.domain.carbon import Gap
from orchestrator.domain.plan import Plan
from orchestrator.domain.price import Market
from orchestrator.domain.replica import ReplicaState
from orchestrator.domain.scale import LoadSeen
from orchestrator.domain.service import ModelSpec, PlacementRules, Policy, QualityRules, Survives, Variant
from orchestrator.domain.time import HOUR
from orchestrator.domain.variants import with_variants
from orchestrator.errors import ExitStatus, NoFeasiblePlacement, SignalsTooOld
from orchestrator.planner.plan import plan, plan_migration
from orchestrator.planner.snapshot import Snapshot
from tests.builders import GREEN, NOON, candidate, price, replica, service_spec, snapshot, stale

HERE = Path(__file__).parent

DAY = [float(g) for g in (*range(300, 420, 20), *range(420, 300, -20))] * 2
SE = candidate("aws/eu-north-1", 28.0, zone="SE", usd=0.81, trailing=31.0)
DE = candidate("aws/eu-central-1", 300.0, zone="DE", ahead=DAY, usd=0.74, trailing=380.0)
PL = candidate("aws/eu-east-9", 690.0, zone="PL", usd=0.60, pue=1.3, trailing=720.0)
US = candidate("gcp/us-central1", 410.0, zone="US", usd=0.55, residency=("US",))
EUROPE = PlacementRules(residency=("EU",))


def offers() -> Snapshot:
    """Two replicas, one of everything that can be wrong with an offer, and two that are right."""
    return snapshot(
        [
            SE,
            DE,
            PL,
            US,
            candidate("aws/eu-north-1", 28.0, zone="SE", usd=0.30, market=Market.SPOT),
            candidate("gcp/europe-x", 100.0, zone=None),
            candidate("gcp/europe-y", 100.0, zone="FI", usd=None, pue=None),
            candidate("local/ie", stale("IE", 250.0), zone="IE"),
            candidate("local/gb", Gap("GB", "the source has no value for this hour", "recorded"), zone="GB"),
            candidate("azure/nl", 200.0, zone="NL"),
            candidate("aws/eu-west-3", 40.0, zone="FR", avoid_until=NOON + HOUR),
        ],
        spec=service_spec(2, placement=EUROPE),
    )


def shared() -> Snapshot:
    """One replica on demand and one on spot, one in each region; only one clean region sells spot."""
    spec = service_spec(2, spot=True, placement=PlacementRules(max_per_region=1))
    spec = replace(spec, scaling=replace(spec.scaling, base_ondemand_fallback_replicas=1))
    finland = candidate("gcp/europe-north1", 36.0, zone="FI", usd=0.79)
    spot = [replace(c, offer=replace(c.offer, market=Market.SPOT, price=price(0.4))) for c in (SE, PL)]
    return snapshot([SE, finland, *spot], spec=spec)


def confirmed(world: Snapshot, policy: Policy = GREEN) -> Callable[[], Plan]:
    """Plan at noon."""
    return lambda: plan(world, policy, NOON)


def varied() -> Snapshot:
    """Two replicas of a model with two variants, one of which is below the floor, at a load that is known."""
    model = ModelSpec("Qwen/Qwen3-8B", served_name="chat")
    variants = (
        Variant("fp8", replace(model, id="Qwen/Qwen3-8B-FP8"), 0.985, "our 1,200 prompts of October"),
        Variant("small", replace(model, id="Qwen/Qwen3-4B"), 0.9, "our 1,200 prompts of October"),
    )
    spec = replace(service_spec(2), model=model, variants=variants, quality=QualityRules(floor=0.95))
    known = [replace(c, offer=o) for c in (SE, DE) for o in with_variants([c.offer], spec)]
    return snapshot(known, spec=spec, load=LoadSeen(600.0, 1.0, 12.0, 1, 12, 0, None, 200.0, 150.0))


def asked_for() -> Plan:
    """Somebody asks for a move that no rule speaks for."""
    world = snapshot([SE, PL], [replica(SE, up_for=HOUR)], service_spec(placement=EUROPE))
    return plan_migration(
        world, GREEN, NOON, replica="r0", to_region="aws/eu-east-9", actor="ada", reason="maintenance in the north"
    )


PLANS: dict[str, Callable[[], Plan]] = {
    "place-two-replicas": confirmed(offers()),
    "fill-slots-together": confirmed(shared()),
    "stay-within-extra-cost": confirmed(
        snapshot([SE, DE], [replica(DE)]), Policy(name="frugal", max_extra_cost_fraction=0.05)
    ),
    "move-to-a-cleaner-grid": confirmed(snapshot([SE, DE, PL], [replica(DE, 0), replica(PL, 1)], service_spec(2))),
    "stay-until-it-may-move": confirmed(snapshot([SE, DE], [replica(DE, up_for=HOUR)], clock_rate=60.0)),
    "roll-out-a-new-model": confirmed(
        snapshot([SE, DE], [replica(DE)], replace(service_spec(), model=ModelSpec("org/newer")))
    ),
    "replace-what-was-lost": confirmed(snapshot([SE, DE], [replica(DE, 0, ReplicaState.LOST)])),
    "take-down": confirmed(snapshot([SE, DE], [replica(SE, 0), replica(DE, 1)], service_spec(2), taking_down=True)),
    "move-on-request": asked_for,
    "choose-among-variants": confirmed(varied()),
    "survive-a-region": confirmed(snapshot([SE, DE, PL], spec=service_spec(2, survives=Survives.REGION))),
}


def rounded(value: Plain) -> Plain:
    """Keep nine significant digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return value


def document(name: str) -> str:
    """Return a plan as text."""
    return json.dumps(rounded(to_plain(PLANS[name]())), indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_and_its_explanation_change_only_on_purpose(name: str) -> None:
    """Every word and number of it."""
    golden = HERE / f"{name}.json"
    if os.environ.get("GREENCTL_UPDATE_GOLDEN") == "1":
        golden.write_text(document(name), encoding="utf-8")
    assert document(name) == golden.read_text(encoding="utf-8"), f"{golden.name} differs"


def test_no_file_is_left_over() -> None:
    """Each golden file has its plan."""
    assert {f.stem for f in HERE.glob("*.json")} == set(PLANS)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_says_the_same_to_the_letter(seed: str) -> None:
    """Whatever the hash seed: sets and dictionaries leave no trace in a plan."""
    program = (
        "from tests.golden.planner.test_plans import PLANS, document\n"
        "import sys\n"
        "sys.stdout.write('|'.join(document(name) for name in PLANS))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert answer.stdout == "|".join(document(name) for name in PLANS)


def test_an_infeasible_spec_is_told_what_to_do() -> None:
    """The whole message: what is missing, what excludes it, and the smallest change."""
    unlit = {"local/ie", "local/gb"}
    bad = tuple(c for c in offers().candidates if c not in {SE, DE, PL} and c.offer.region.id not in unlit)
    with pytest.raises(NoFeasiblePlacement) as caught:
        plan(replace(offers(), candidates=bad), GREEN, NOON)
    assert caught.value.message == (
        "chat needs 2 more replicas, 0 can be placed; 6 offers, excluded: 1 by resources.use_spot, 1 by capacity, "
        "1 by provider, 1 by region.zone, 1 by region.pue, 1 by placement.residency; "
        "the earliest try is at 01 Jun 13:00 UTC, aws/eu-west-3:1xL4:on_demand"
    )
    assert caught.value.hint() == "Smallest change: set resources.use_spot: true (aws/eu-north-1:1xL4:spot)."
    assert caught.value.exit_status is ExitStatus.REFUSED


def test_missing_signals_are_told_from_broken_rules() -> None:
    """Where a fresh number alone would help, nobody is sent to relax a rule."""
    bad = tuple(c for c in offers().candidates if c not in {SE, DE, PL})
    with pytest.raises(SignalsTooOld) as caught:
        plan(replace(offers(), candidates=bad), GREEN, NOON)
    assert caught.value.message.startswith(
        "chat needs 2 more replicas, 0 can be placed; 8 offers, excluded: 2 by carbon.max_age, 1 by "
    )
    assert caught.value.exit_status is ExitStatus.SIGNALS
