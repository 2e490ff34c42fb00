"""Azure's retail prices, with the meters that stand beside the one that is wanted."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PAGE = 3
A100, H100 = "Standard_NC24ads_A100_v4", "Standard_ND96isr_H100_v5"


@dataclass
class AzureRetailApi:
    """Items by region and machine; pages are short, so that every list has several."""

    usd: dict[tuple[str, str, str], float] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    link: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)

    def put(self, region: str, machine: str, on_demand: float, spot: float | None = None) -> None:
        """Set the prices of a machine."""
        self.usd[region, machine, ""] = on_demand
        if spot is not None:
            self.usd[region, machine, " Spot"] = spot

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [web.get("/api/retail/prices", self.prices)]

    async def prices(self, request: web.Request) -> web.Response:
        """Serve a page of items, case-sensitive as the real one is."""
        query = dict(request.query)
        self.asked.append(query)
        wanted = query.get("$filter", "")
        region = re.search(r"armRegionName eq '([^']*)'", wanted)
        machines = set(re.findall(r"armSkuName eq '([^']*)'", wanted))
        if region is None or "serviceName eq 'Virtual Machines'" not in wanted:
            return web.json_response({"Error": {"Code": "BadRequest"}}, status=400)
        items = [
            item
            for (place, machine, kind), usd in sorted(self.usd.items())
            if place == region[1] and machine in machines
            for item in self._meters(place, machine, kind, usd)
        ]
        first = int(query.get("$skip", "0"))
        link = None
        if first + PAGE < len(items):
            base = self.link or str(request.url.with_query(None))
            link = str(request.url.update_query({"$skip": str(first + PAGE)})).replace(
                str(request.url.with_query(None)), base
            )
        page = {"BillingCurrency": "USD", "Items": items[first : first + PAGE], "NextPageLink": link}
        return web.json_response(page)

    def _meters(self, place: str, machine: str, kind: str, usd: float) -> list[dict[str, Any]]:
        name = machine.removeprefix("Standard_").replace("_", " ")
        item = {
            "currencyCode": "USD",
            "retailPrice": usd,
            "armRegionName": place,
            "armSkuName": machine,
            "skuName": f"{name}{kind}",
            "productName": "Virtual Machines NCads Series",
            "unitOfMeasure": "1 Hour",
            "type": "Consumption",
            "effectiveStartDate": "2030-05-01T00:00:00Z",
            **self.changes,
        }
        windows = {**item, "productName": "Virtual Machines NCads Series Windows", "retailPrice": usd * 2}
        low = {**item, "skuName": f"{name} Low Priority", "retailPrice": usd / 100}
        reserved = {**item, "type": "Reservation", "retailPrice": usd * 5000, "unitOfMeasure": "1 Year"}
        return [item, windows, *([] if kind else [low, reserved])]
