"""SkyPilot's own price catalogues, as rows of a price list.

SkyPilot keeps ``catalogs/v<N>/<cloud>/vms.csv`` below its home: one row per machine type, region and zone, with an
on-demand and a spot price. On Google Cloud machine and accelerator are rows of their own and their prices add up
(``sky.catalog.gcp_catalog``); TPUs have no machine row, their price is whole.

The catalogues are made by programs and are sometimes wrong. A price that nobody charges is rejected with its reason,
because it would win every comparison.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.domain.carbon import Kind
from orchestrator.domain.price import Market
from orchestrator.errors import PriceUnavailable
from orchestrator.prices.listing import Listed, Rejected, check, number

COLUMNS = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region")
"""Of SkyPilot 0.5 to 0.14; newer columns are not needed. ``AvailabilityZone`` is missing where a cloud has no zones."""

GOOGLE = "gcp"
GOOGLE_HOSTS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "A100": {
        1: ("a2-highgpu-1g",),
        2: ("a2-highgpu-2g",),
        4: ("a2-highgpu-4g",),
        8: ("a2-highgpu-8g",),
        16: ("a2-megagpu-16g",),
    },
    "A100-80GB": {1: ("a2-ultragpu-1g",), 2: ("a2-ultragpu-2g",), 4: ("a2-ultragpu-4g",), 8: ("a2-ultragpu-8g",)},
    "L4": {
        1: ("g2-standard-4", "g2-standard-8", "g2-standard-12", "g2-standard-16", "g2-standard-32"),
        2: ("g2-standard-24",),
        4: ("g2-standard-48",),
        8: ("g2-standard-96",),
    },
    "H100": {1: ("a3-highgpu-1g",), 2: ("a3-highgpu-2g",), 4: ("a3-highgpu-4g",), 8: ("a3-highgpu-8g",)},
    "H100-MEGA": {8: ("a3-megagpu-8g",)},
    "H200": {8: ("a3-ultragpu-8g",)},
    "B200": {8: ("a4-highgpu-8g",)},
    "RTXPRO6000": {1: ("g4-standard-48",), 2: ("g4-standard-96",), 4: ("g4-standard-192",), 8: ("g4-standard-384",)},
    "V100": {1: ("n1-highmem-8",), 2: ("n1-highmem-16",), 4: ("n1-highmem-32",), 8: ("n1-highmem-64",)},
    "T4": {1: ("n1-highmem-4",), 2: ("n1-highmem-8",), 4: ("n1-highmem-48",)},
}
"""Machines that carry each accelerator: ``_ACC_INSTANCE_TYPE_DICTS`` and ``_NUM_ACC_TO_NUM_CPU`` of SkyPilot 0.14.1."""

LOWEST_ON_DEMAND_USD: Mapping[str, Mapping[str, float]] = {
    "gcp": {"A100": 3.0, "A100-80GB": 4.0, "H100": 9.0, "H100-MEGA": 9.0},
    "azure": {"A100-80GB": 3.0, "H100": 6.0},
    "aws": {"A100": 2.0, "A100-80GB": 2.5, "H100": 3.5},
}
"""Per accelerator and hour with its machine, below which a price is taken for a reservation's or a mistake.

Google's list prices of 2025 are 3.67 (A100), 5.07 (A100-80GB) and 11.06 USD (H100), while SkyPilot's catalogue of
May 2026 has 2.65, 2.95 and 5.38: cross-checked against a second, independent list. AWS cut its prices in June 2025 to
2.74 (A100) and 3.9 USD (H100); Azure's lowest are 3.67 (A100-80GB) and 6.98 USD (H100)."""

ZONE_NAMES = "az_mappings-*.csv"
"""Beside AWS's catalogue: ``AvailabilityZone`` (``eun1-az1``), ``AvailabilityZoneName`` (``eu-north-1b``)."""

_VERSION = re.compile(r"v(\d+)")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One cloud's catalogue on disk."""

    cloud: str
    path: Path

    @property
    def name(self) -> str:
        """How it is called to people."""
        return f"SkyPilot {self.cloud}/{self.path.name} of {self.as_of():%Y-%m-%d}"

    def as_of(self) -> datetime:
        """The day of the file: SkyPilot's catalogues carry no date of their own."""
        moment = datetime.fromtimestamp(self.path.stat().st_mtime, tz=UTC)
        return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def find_catalogues(folder: Path, clouds: Sequence[str]) -> tuple[Catalogue, ...]:
    """Find the catalogues of these clouds: below ``folder`` itself, or below its newest ``v<N>``."""
    versions = sorted(
        (int(m[1]), path) for path in folder.glob("v*") if path.is_dir() and (m := _VERSION.fullmatch(path.name))
    )
    base = versions[-1][1] if versions else folder
    return tuple(Catalogue(c, base / c / "vms.csv") for c in clouds if (base / c / "vms.csv").is_file())


def read_catalogue(catalogue: Catalogue) -> tuple[tuple[Listed, ...], tuple[Rejected, ...]]:
    """Read one. Raises ``PriceUnavailable`` with file and line when it cannot be read or has not the columns."""
    rows = list(_rows(catalogue))
    names = _zone_names(catalogue.path.parent)
    rejected: list[Rejected] = []
    listed: list[Listed] = []
    priced = _google(rows) if catalogue.cloud == GOOGLE else ((line, row) for line, row in rows)
    for line, row in priced:
        what = f"{catalogue.cloud}/{row['Region']} {row['InstanceType'] or row['AcceleratorName']}"
        try:
            found = _listed(catalogue, row, line)
            check(found)
            found, complaint = _without_low_price(found, catalogue.cloud)
        except ValueError as error:
            rejected.append(Rejected(line, what, str(error), catalogue.name))
            continue
        if complaint:
            rejected.append(Rejected(line, what, complaint, catalogue.name))
        listed.append(replace(found, zone_name=names.get(found.zone, "")))
    return tuple(listed), tuple(rejected)


def _rows(catalogue: Catalogue) -> Iterator[tuple[int, dict[str, str]]]:
    hint = "Let SkyPilot fetch it again: remove the file and run `sky check`."
    try:
        text = catalogue.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PriceUnavailable(f"{catalogue.name} cannot be read: {error}", hint=hint) from error
    reader = csv.DictReader(text.splitlines(), restval="")
    missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
    if missing:
        raise PriceUnavailable(f"{catalogue.name}:1: no column {', '.join(missing)}", hint=hint)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise PriceUnavailable(f"{catalogue.name}:{reader.line_num}: {error}", hint=hint) from error


def _zone_names(folder: Path) -> dict[str, str]:
    """Return what the account calls AWS's zones, by the ids that the catalogue has; nothing where that is not known.

    SkyPilot asks AWS once for each account. Of several accounts the newest counts, as where it knows of none itself.
    """
    try:
        newest = max(folder.glob(ZONE_NAMES), key=lambda path: path.stat().st_mtime, default=None)
        text = "" if newest is None else newest.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    rows = csv.DictReader(text.splitlines(), restval="")
    try:
        return {row.get("AvailabilityZone", ""): row.get("AvailabilityZoneName", "") for row in rows}
    except csv.Error:
        return {}


def _google(rows: Sequence[tuple[int, dict[str, str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    """Add every accelerator's price to that of the machines that carry it in the same zone."""
    machines: dict[tuple[str, str], dict[str, str]] = {}
    carriers = {name for hosts in GOOGLE_HOSTS.values() for names in hosts.values() for name in names}
    for line, row in rows:
        if row["InstanceType"] and not row["AcceleratorName"]:
            machines[row["InstanceType"], row.get("AvailabilityZone", "")] = row
            if row["InstanceType"] not in carriers or row["InstanceType"].startswith("n1-"):
                yield line, row
    for line, row in rows:
        if not row["AcceleratorName"]:
            continue
        name = row["AcceleratorName"]
        count = row["AcceleratorCount"].removesuffix(".0")
        hosts = next((h for n, h in GOOGLE_HOSTS.get(name, {}).items() if str(n) == count), ())
        if name.startswith("tpu-") or row["InstanceType"]:
            yield line, row
        for host in hosts:
            machine = machines.get((host, row.get("AvailabilityZone", "")))
            if machine is not None:
                yield line, {**row, **_sum(machine, row), "InstanceType": host}


def _sum(machine: Mapping[str, str], accelerator: Mapping[str, str]) -> dict[str, str]:
    """One unknown part makes the sum unknown."""
    found = {column: machine[column] for column in ("vCPUs", "MemoryGiB")}
    for column in ("Price", "SpotPrice"):
        found[column] = _total([machine[column], accelerator[column]])
    return found


def _total(parts: Sequence[str]) -> str:
    """Return the sum, "" if a part is unknown, or the part that is no amount: its row is rejected for it, alone."""
    found = 0.0
    for part in parts:
        try:
            usd = number({"part": part}, "part")
        except ValueError:
            return part
        if usd is None:
            return ""
        found += usd
    return str(round(found, 6))


def _listed(catalogue: Catalogue, row: Mapping[str, str], line: int) -> Listed:
    accelerator = row["AcceleratorName"] or None
    count = number(row, "AcceleratorCount") or 0
    if accelerator is not None and (count < 1 or count != int(count)):
        message = f"{row['AcceleratorCount'] or 'no'} {accelerator}: parts of an accelerator are not offered"
        raise ValueError(message)
    on_demand, spot = number(row, "Price"), number(row, "SpotPrice")
    return Listed(
        line=line,
        region=f"{catalogue.cloud}/{row['Region']}",
        zone=row.get("AvailabilityZone", ""),
        instance_type=row["InstanceType"],
        accelerator=accelerator,
        accelerator_count=int(count) if accelerator else 0,
        vcpus=number(row, "vCPUs"),
        memory_gib=number(row, "MemoryGiB"),
        # A price of nothing is a gap in the catalogue: no cloud gives these away.
        usd_per_hour={Market.ON_DEMAND: on_demand or None, Market.SPOT: spot or None},
        as_of=catalogue.as_of(),
        note="",
        kind=Kind.RECORDED,
        file=catalogue.name,
    )


def _without_low_price(listed: Listed, cloud: str) -> tuple[Listed, str]:
    """Take away an on-demand price that is too good to be one; the spot price stays. Returns why."""
    usd = listed.usd_per_hour[Market.ON_DEMAND]
    lowest = LOWEST_ON_DEMAND_USD.get(cloud, {}).get(listed.accelerator or "")
    if usd is None or lowest is None or usd >= lowest * listed.accelerator_count:
        return listed, ""
    each = usd / listed.accelerator_count
    complaint = f"on-demand {usd:g} USD/h is {each:.2f} per {listed.accelerator}, below {lowest:g}: not a list price"
    return listed.without_price(Market.ON_DEMAND, complaint), complaint
