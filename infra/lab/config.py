"""What a lab looks like: names, addresses and ports, all of them functions of the lab's number and the region's."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT_VARIABLE = "GREENCTL_LAB_ROOT"
DEFAULT_ROOT = Path("/var/lib/greenctl-lab")
"""Short, because Slurm makes sockets below it, and open to all, because each region is a user of its own."""

PARTITION = "main"
VCPUS_PER_REPLICA = 2
MEMORY_GIB_PER_REPLICA = 4

FIRST_CONTROLLER_PORT = 16_800
FIRST_SSH_PORT = 12_200
FIRST_NODE_PORT = 17_000
FIRST_API_PORT = 46_700
"""SkyPilot's own API server takes 46580."""

QUEUE_PORT_AFTER_API_PORT = 3_431
"""``sky/server/requests/queues/mp_queue.py`` and ``sky/server/server.py`` of 0.14.1: 50011 for 46580, and it moves
along."""

REGIONS_PER_LAB = 10
NODES_PER_REGION = 99
LABS = 9
NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,18}[a-z0-9])?")
LONGEST_SOCKET_PATH = 107
"""``sun_path`` of Linux is 108 bytes with its final zero."""


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

    def listeners(self) -> tuple[tuple[str, int], ...]:
        """Every address and port that its daemons listen on."""
        nodes = [(self.address(n), self.first_node_port + n) for n in range(1, len(self.nodes) + 1)]
        return (("127.0.0.1", self.controller_port), ("127.0.0.1", self.ssh_port), *nodes)


@dataclass(frozen=True, slots=True)
class LabConfig:
    """A lab. ``number`` keeps labs apart: two of the same number cannot be up at once.

    ``root`` is by default a folder of its own for each number. ``cpus`` and ``memory_mb`` are what each node claims to
    have; all share the machine's.
    """

    number: int = 0
    root: Path = DEFAULT_ROOT
    regions: tuple[RegionConfig, ...] = DEFAULT_REGIONS
    nodes: int = 3
    cpus: int = 8
    memory_mb: int = 16_000

    def __post_init__(self) -> None:
        """Refuse what would run into another lab's ports, or what Slurm and Linux cannot name."""
        names = [region.name for region in self.regions]
        if not (0 <= self.number < LABS and 1 <= self.nodes <= NODES_PER_REGION):
            raise LabError(f"a lab has a number from 0 to {LABS - 1} and 1 to {NODES_PER_REGION} nodes in each region")
        if not 1 <= len(names) <= REGIONS_PER_LAB or len(set(names)) != len(names):
            raise LabError(f"a lab has 1 to {REGIONS_PER_LAB} regions of different names")
        for name in names:
            if not NAME.fullmatch(name) or name in OWN_NAMES:
                raise LabError(f"{name!r} cannot name a region", "lower-case letters, digits and dashes, at most 20")
        if not self.root.is_absolute() or re.search(r"[^A-Za-z0-9/._-]", str(self.root)):
            raise LabError(f"{self.root} cannot hold a lab", "an absolute path of letters, digits and ._-")
        longest = max((len(_socket(place)) for place in self.places), default=0)
        if longest > LONGEST_SOCKET_PATH:
            raise LabError(
                f"{self.root} is {longest - LONGEST_SOCKET_PATH} characters too long for Slurm's sockets",
                f"choose a shorter folder: {ROOT_VARIABLE}=/var/lib/lab",
            )

    @property
    def home(self) -> Path:
        """``HOME`` of the SkyPilot side: its keys, its database, its list of clusters."""
        return self.root / "home"

    @property
    def record(self) -> Path:
        """Where :meth:`to_json` is kept while the lab is up or half up."""
        return self.root / "lab.json"

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

    def to_json(self) -> str:
        """Write it down, so that whoever takes the lab down knows what was brought up."""
        return json.dumps({**asdict(self), "root": str(self.root)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> LabConfig:
        """Read it back. Raises ``LabError`` on anything else."""
        try:
            fields = json.loads(text)
            regions = tuple(RegionConfig(**{**r, "residency": tuple(r["residency"])}) for r in fields.pop("regions"))
            return cls(**{**fields, "root": Path(fields["root"]), "regions": regions})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LabError(f"this describes no lab: {error!r}") from error

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


OWN_NAMES = frozenset({"home", "lab", "runtime", "vllm"})
"""What else lies below the root."""


def default_root(number: int) -> Path:
    """Where a lab is kept unless it is said: ``GREENCTL_LAB_ROOT``, or a folder by number."""
    chosen = os.environ.get(ROOT_VARIABLE)
    if chosen:
        return Path(chosen)
    return DEFAULT_ROOT if number == 0 else DEFAULT_ROOT.with_name(f"{DEFAULT_ROOT.name}-{number}")


def _socket(place: Place) -> str:
    """The longest socket that slurmd makes: one per job step, named for node, job and step."""
    node = place.nodes[-1]
    return f"{place.directory}/run/spool-{node}/{node}_999999.4294967292"
