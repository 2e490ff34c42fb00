"""Google's Cloud Billing Catalog API, with the SKUs that stand beside the ones that are wanted.

Fields and envelopes are those of ``ListSkusResponse`` as JSON: amounts as text, zeros left out, pages by token.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

KEY = "gcp-secret"
SERVICE = "6F81-5844-456A"
PAGE = 4
SINCE = "2031-02-01T00:00:00Z"

Sku = dict[str, Any]
Usd = tuple[float, float, float]
"""Of a core, of a GiB, of a card, per hour."""


def money(usd: float) -> dict[str, Any]:
    """Write an amount as protobuf does: a field that is zero is not there."""
    units, nanos = divmod(round(usd * 1_000_000_000), 1_000_000_000)
    return {"currencyCode": "USD"} | ({"units": str(units)} if units else {}) | ({"nanos": nanos} if nanos else {})


def sku(description: str, group: str, usd: float, regions: list[str], usage: str = "OnDemand") -> Sku:
    """Make one that is right."""
    unit = "GiBy.h" if group == "RAM" else "h"
    rate = {"startUsageAmount": 0, "unitPrice": money(usd)}
    return {
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": group,
            "usageType": usage,
        },
        "serviceRegions": regions,
        "pricingInfo": [{"effectiveTime": SINCE, "pricingExpression": {"usageUnit": unit, "tieredRates": [rate]}}],
        "serviceProviderName": "Google",
    }


def parts(family: str, card: str, place: str, usd: Usd, regions: list[str]) -> list[Sku]:
    """Make the parts of a family on demand."""
    return [
        sku(f"{family} Instance Core running in {place}", "CPU", usd[0], regions),
        sku(f"{family} Instance Ram running in {place}", "RAM", usd[1], regions),
        sku(f"Nvidia {card} GPU running in {place}", "GPU", usd[2], regions),
    ]


def spot_parts(family: str, card: str, place: str, usd: Usd, regions: list[str]) -> list[Sku]:
    """Make the parts of a family on the spot market."""
    on_spot = f"Nvidia {card} GPU attached to Spot Preemptible VMs running in {place}"
    return [
        sku(f"Spot Preemptible {family} Instance Core running in {place}", "CPU", usd[0], regions, "Preemptible"),
        sku(f"Spot Preemptible {family} Instance Ram running in {place}", "RAM", usd[1], regions, "Preemptible"),
        sku(on_spot, "GPU", usd[2], regions, "Preemptible"),
    ]


def beside(place: str, regions: list[str]) -> list[Sku]:
    """Make those that look alike and are none of the parts."""
    return [
        sku(f"Sole Tenancy A2 Instance Core running in {place}", "CPU", 9, regions),
        sku(f"Commitment v1: A2 Instance Core running in {place} for 1 Year", "CPU", 9, regions, "Commit1Yr"),
        sku(f"DWS Defined Duration A2 Core running in {place}", "CPU", 9, regions),
        sku(f"Nvidia Tesla A100 GPU attached to DWS Defined Duration VMs running in {place}", "GPU", 9, regions),
        sku(f"Nvidia Tesla A100 80GB GPU running in {place}", "GPU", 9, regions),
        sku(f"Nvidia L4 Virtual Workstation GPU running in {place}", "GPU", 9, regions),
        sku(f"Reserved Nvidia L4 GPU in {place}", "GPU", 9, regions),
        sku(f"SSD backed Local Storage in {place}", "LocalSSD", 9, regions),
    ]


@dataclass
class GcpCatalogApi:
    """SKUs of Compute Engine. ``asked``: query and key of every request.

    ``stuck``: a page names itself as the next; ``held``: all pages but the first wait until it is set.
    """

    skus: list[Sku] = field(default_factory=list)
    stuck: bool = False
    held: asyncio.Event | None = None
    asked: list[tuple[dict[str, str], str]] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        """Return what it serves."""
        return [web.get("/v1/services/{service}/skus", self.page)]

    async def page(self, request: web.Request) -> web.Response:
        """Serve a page, as large as it is asked for and never larger than its own bound."""
        query, key = dict(request.query), request.headers.get("X-Goog-Api-Key", "")
        self.asked.append((query, key))
        if request.match_info["service"] != SERVICE:
            return _error(404, "NOT_FOUND", "Service not found.")
        if not key:
            return _error(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
        if key != KEY:
            return _error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
        token = query.get("pageToken", "0")
        if not token.isdecimal() or query.get("currencyCode") != "USD":
            return _error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
        if self.held is not None and token != "0":
            await self.held.wait()
        first, size = int(token), min(int(query.get("pageSize", "5000")), PAGE)
        following = token if self.stuck and first else str(first + size) if first + size < len(self.skus) else ""
        return web.json_response({"skus": self.skus[first : first + size], "nextPageToken": following})


def _error(code: int, status: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message, "status": status}}, status=code)
