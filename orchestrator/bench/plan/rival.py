"""SkyPilot's optimizer, asked the same question over the same files, with no network and no credentials."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.decision import Assessment
from orchestrator.domain.price import Market
from orchestrator.domain.service import ServiceSpec
from orchestrator.errors import EngineMissing, ProviderError
from orchestrator.own_process import own_module, with_our_package
from orchestrator.prices.sky_catalogue import Catalogue, find_catalogues

CATALOGUES: Final = Path(".sky/catalogs/v8")
"""Where SkyPilot 0.14.1 keeps them below its home (``sky.catalog.constants.CATALOG_SCHEMA_VERSION``)."""

NAMES: Final = {"aws": "AWS", "gcp": "GCP", "azure": "Azure", "lambda": "Lambda", "runpod": "RunPod", "oci": "OCI"}
"""How ``common/accelerators.csv`` writes clouds; any other one as it is."""

PATIENCE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class RivalPlan:
    """What SkyPilot's optimizer chose, and what our rules say of that choice.

    ``usd_per_hour``: its own figure. ``offer_id``: the same offer in our words; empty where we list none like it.
    ``excluded_because``: why our rules would not take it; empty where they would. ``grams_per_hour``: by our reckoning,
    ``None`` if unknown.
    """

    version: str
    choice: str
    usd_per_hour: float
    offer_id: str
    excluded_because: str
    grams_per_hour: float | None
    import_seconds: float
    first_seconds: float
    again_seconds: float


def rival_plan(
    spec: ServiceSpec, catalogues: Path, clouds: Sequence[str], assessments: Sequence[Assessment]
) -> RivalPlan:
    """Ask it. Raises ``EngineMissing`` without SkyPilot, ``ProviderError`` with its words when it has no answer."""
    with tempfile.TemporaryDirectory(prefix="greenctl-bench-") as folder:
        home = Path(folder)
        _seed(home, find_catalogues(catalogues, clouds))
        answer = _ask(home, {"clouds": list(clouds), "resources": question(spec)})
    if "error" in answer:
        text = str(answer["error"])
        if text.startswith("ModuleNotFoundError"):
            raise EngineMissing("SkyPilot is not installed", hint="pip install 'greenctl[sky]', or leave it out.")
        raise ProviderError(f"SkyPilot's optimizer has no answer: {text}")
    ours = _same(answer, assessments)
    market = "spot" if answer["use_spot"] else "on-demand"
    return RivalPlan(
        version=answer["version"],
        choice=f"{answer['cloud']}/{answer['region']} {answer['instance_type']} {market}",
        usd_per_hour=answer["usd_per_hour"],
        offer_id="" if ours is None else ours.offer_id,
        excluded_because="we list no such offer" if ours is None else ours.excluded_because,
        grams_per_hour=None if ours is None else ours.grams_per_hour,
        import_seconds=answer["import_seconds"],
        first_seconds=answer["first_seconds"],
        again_seconds=answer["again_seconds"],
    )


def question(spec: ServiceSpec) -> list[dict[str, Any]]:
    """Return a service's wish as SkyPilot's ``Resources`` take it: any one of these."""
    wish = spec.resources
    common: dict[str, Any] = {"use_spot": spec.market is Market.SPOT}
    if wish.min_vcpus is not None:
        common["cpus"] = f"{wish.min_vcpus:g}+"
    if wish.min_memory_gib is not None:
        common["memory"] = f"{wish.min_memory_gib:g}+"
    if wish.infra is not None:
        common["infra"] = wish.infra
    if not wish.accelerators:
        return [common]
    return [{**common, "accelerators": {a.name: a.count}} for a in wish.accelerators]


def _ask(home: Path, words: Mapping[str, object]) -> dict[str, Any]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SKYPILOT_", "AWS_", "AZURE_", "GOOGLE_"))}
    try:
        done = subprocess.run(  # noqa: S603  # a fixed argv, no user text
            own_module("orchestrator.bench.plan.optimizer"),
            input=json.dumps(words),
            env=with_our_package({**kept, "HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProviderError(f"SkyPilot's optimizer did not answer within {PATIENCE_SECONDS:.0f} s") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise ProviderError(f"SkyPilot's optimizer ended with status {done.returncode}, saying: {said[0]}") from error
    return answer


def _seed(home: Path, catalogues: Sequence[Catalogue]) -> None:
    """Put the catalogues where SkyPilot looks, with the list of accelerators that belongs to them.

    Without a checksum beside it, SkyPilot takes a file for its user's own and does not fetch it again.
    """
    base = home / CATALOGUES
    clouds_of: dict[str, list[str]] = {}
    for one in catalogues:
        target = base / one.cloud / one.path.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(one.path, target)
        with one.path.open(encoding="utf-8", newline="") as file:
            for name in sorted({row["AcceleratorName"] for row in csv.DictReader(file)} - {""}):
                clouds_of.setdefault(name, []).append(NAMES.get(one.cloud, one.cloud))
    common = base / "common" / "accelerators.csv"
    common.parent.mkdir(parents=True, exist_ok=True)
    with common.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["AcceleratorName", "Clouds"])
        rows.writerows([name, str(clouds)] for name, clouds in sorted(clouds_of.items()))
    (home / ".sky" / "config.yaml").write_text(json.dumps({"allowed_clouds": [c.cloud for c in catalogues]}))


def _same(answer: Mapping[str, Any], assessments: Sequence[Assessment]) -> Assessment | None:
    """Find its choice among our offers: the same region, accelerators and market; the cheapest, as it was asked to."""
    region = f"{answer['cloud']}/{answer['region']}"
    market = Market.SPOT if answer["use_spot"] else Market.ON_DEMAND
    shapes = {f"{count:g}x{name}" for name, count in answer["accelerators"].items()}
    same = [a for a in assessments if (a.region, a.market) == (region, market) and (not shapes or a.shape in shapes)]
    price = answer["usd_per_hour"]

    def distance(a: Assessment) -> tuple[float, str]:
        return (float("inf") if a.usd_per_hour is None else abs(a.usd_per_hour - price), a.offer_id)

    return min(same, key=distance, default=None)
