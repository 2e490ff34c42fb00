"""The file behind AWS's Spot Instance Advisor, with the numbers that stand beside the ones that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

LABELS = (("<5%", 5), ("5-10%", 11), ("10-15%", 16), ("15-20%", 22), (">20%", 100))
"""Labels and ``max`` as they are: the two do not agree."""


@dataclass
class SpotAdvisorApi:
    """Bands by region, system and machine. ``changed``: the answer's ``Last-Modified``, "" for none."""

    bands: dict[tuple[str, str, str], tuple[Any, Any]] = field(default_factory=dict)
    changed: str = "Sat, 01 Mar 2031 06:00:00 GMT"
    changes: dict[str, Any] = field(default_factory=dict)
    asked: int = 0

    def put(self, region: str, machine: str, band: object, saving: object = 60, system: str = "Linux") -> None:
        """Set the band and the saving of a machine."""
        self.bands[region, system, machine] = (saving, band)

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [web.get("/spot-advisor-data.json", self.file)]

    async def file(self, _: web.Request) -> web.Response:
        """Serve the whole file, whoever asks."""
        self.asked += 1
        places: dict[str, dict[str, dict[str, Any]]] = {}
        for (region, system, machine), (saving, band) in self.bands.items():
            places.setdefault(region, {}).setdefault(system, {})[machine] = {"s": saving, "r": band}
        machines = {machine for _, _, machine in self.bands}
        document = {
            "instance_types": {name: {"emr": True, "cores": 96, "ram_gb": 1152.0} for name in sorted(machines)},
            "ranges": [{"index": i, "label": name, "dots": i, "max": top} for i, (name, top) in enumerate(LABELS)],
            "spot_advisor": places,
            "global_rate": "<5%",
            **self.changes,
        }
        return web.json_response(document, headers={"Last-Modified": self.changed} if self.changed else {})
