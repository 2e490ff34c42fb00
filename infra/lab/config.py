"""What a lab looks like: names, addresses and ports, all of them functions of the lab's number and the region's."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

ROOT_VARIABLE = "GREENCTL_LAB_ROOT"
DEFAULT_ROOT = Path("/var/lib/greenctl-lab")
"""Short, because Slurm and ssh make sockets below it, and open to all, because each region is a user of its own."""

PARTITION = "main"

FIRST_CONTROLLER_PORT = 16_800
FIRST_SSH_PORT = 12_200
FIRST_NODE_PORT = 17_000
FIRST_API_PORT = 46_700
"""SkyPilot's own API server takes 46580; its queue port moves along with this one."""

REGIONS_PER_LAB = 10
NODES_PER_REGION = 99
LABS = 9


class LabError(Exception):
    """The lab cannot be what was asked; says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n  {hint}" if hint else message)


@dataclass(frozen=True, slots=True)
class RegionConfig:
    """One region: its name, and the grid zone that its replicas are taken to stand in. The facts are assumed."""

    name: str
    zone: str
    residency: tuple[str, ...]
    pue: float = 1.2


DEFAULT_REGIONS = (
    RegionConfig("eu-north", "SE", ("SE", "EU", "EEA")),
    RegionConfig("us-east", "US-MIDA-PJM", ("US",)),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one region's daemons are."""

    region: RegionConfig
    directory: Path
    user: str
    controller_port: int
    ssh_port: int
    first_node_port: int
    network: str
    nodes: tuple[str, ...]

    @property
    def slurm_conf(self) -> Path:
        """Its ``SLURM_CONF``."""
        return self.directory / "etc" / "slurm.conf"

    @property
    def sshd_config(self) -> Path:
        """The configuration of its login node, by which its processes are found, too."""
        return self.directory / "etc" / "sshd_config"

    def address(self, node: int) -> str:
        """Loopback address of a node, counted from 1."""
        return f"{self.network}.{node}"


@dataclass(frozen=True, slots=True)
class LabConfig:
    """A lab. ``number`` keeps labs apart: two of the same number cannot be up at once.

    ``cpus`` and ``memory_mb`` are what each node claims to have; all share the machine's.
    """

    number: int = 0
    root: Path = field(default_factory=lambda: Path(os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT)))
    regions: tuple[RegionConfig, ...] = DEFAULT_REGIONS
    nodes: int = 3
    cpus: int = 8
    memory_mb: int = 16_000

    def __post_init__(self) -> None:
        """Refuse what would run into another lab's ports."""
        names = [region.name for region in self.regions]
        if not (0 <= self.number < LABS and 1 <= self.nodes <= NODES_PER_REGION):
            raise LabError(f"a lab has a number from 0 to {LABS - 1} and 1 to {NODES_PER_REGION} nodes in each region")
        if not 1 <= len(names) <= REGIONS_PER_LAB or len(set(names)) != len(names):
            raise LabError(f"a lab has 1 to {REGIONS_PER_LAB} regions of different names")

    @property
    def home(self) -> Path:
        """``HOME`` of the SkyPilot side: its keys, its database, its list of clusters."""
        return self.root / "home"

    @property
    def api_port(self) -> int:
        """Port of the lab's own SkyPilot API server."""
        return FIRST_API_PORT + 10 * self.number

    @property
    def places(self) -> tuple[Place, ...]:
        """Every region with its ports."""
        return tuple(self._place(n, region) for n, region in enumerate(self.regions, start=1))

    def place(self, region: str) -> Place:
        """One region. Raises ``LabError``."""
        for place in self.places:
            if place.region.name == region:
                return place
        raise LabError(f"the lab has no region {region}")

    def _place(self, n: int, region: RegionConfig) -> Place:
        nth = REGIONS_PER_LAB * self.number + n
        return Place(
            region=region,
            directory=self.root / region.name,
            user=f"gclab{self.number}-{region.name}",
            controller_port=FIRST_CONTROLLER_PORT + nth,
            ssh_port=FIRST_SSH_PORT + nth,
            first_node_port=FIRST_NODE_PORT + 100 * nth,
            network=f"127.{100 + nth}.0",
            nodes=tuple(f"{region.name}-{i}" for i in range(1, self.nodes + 1)),
        )
