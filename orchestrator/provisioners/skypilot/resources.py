"""The ``resources`` of a replica's SkyPilot task: exactly the one offer that was chosen, and whose machine it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.control.ports import LaunchRequest
from orchestrator.domain.offer import Offer
from orchestrator.domain.price import Market
from orchestrator.errors import UnsupportedByProvider
from orchestrator.provisioners.skypilot.clouds import WITH_PORTS_ELSEWHERE, WITHOUT_AUTODOWN
from orchestrator.spec.sky_task import zone_of

SLURM = "slurm"

CLOUDS = frozenset(
    {
        *("aws", "azure", "cudo", "do", "fluidstack", "gcp", "hyperbolic", "ibm", "kubernetes", "lambda", "mithril"),
        *("nebius", "oci", "paperspace", "primeintellect", "runpod", "scp", "seeweb", "shadeform", "slurm", "ssh"),
        *("vast", "verda", "vsphere", "yotta"),
    }
)
"""What SkyPilot 0.14.1 can put into ``infra`` (``sky.utils.registry.CLOUD_REGISTRY``)."""

WITHOUT_IMAGES = frozenset(
    {"cudo", "hyperbolic", "ibm", "oci", "primeintellect", "scp", "shadeform", "slurm", "verda", "vsphere"}
)
"""Clouds that refuse a container (``DOCKER_IMAGE`` among the unsupported features of ``sky.clouds`` 0.14.1)."""

WITH_LABELS = frozenset({"aws", "azure", "gcp", "kubernetes", "ssh"})
"""Clouds where SkyPilot 0.14.1 writes labels onto the machine (``sky/templates``); elsewhere our own record is all."""

IDLE_MINUTES = 10
"""How long a machine stays when its job has ended: long enough for us to read why, at the fault model's own bound for
what nobody owns (lease and ten minutes)."""

KEPT = ("accelerator_args", "disk_tier", "ephemeral_storage", "image_id", "local_disk", "network_tier", "volumes")
"""What a service file's own ``resources`` add to the offer. In which region, on what and at which price is the
offer's word; in which zone of it, or partition of a Slurm cluster, the file's."""

MOST_LABELS = 30
"""Labels of people's own that travel along: AWS takes 50 tags (EC2's quota), SkyPilot and we write about a dozen."""


def one_offer(
    request: LaunchRequest,
    theirs: Mapping[str, Any],
    *,
    port: int | None,
    image: str | None = None,
    disk_gib: int | None = None,
) -> dict[str, Any]:
    """Return the resources. ``theirs``: the service file's own. ``port``: to be opened, ``None`` where nobody can.

    Raises ``UnsupportedByProvider`` for a region that is not SkyPilot's or that a replica could not be reached in, or a
    container where none can run.
    """
    offer = request.offer
    provider = offer.region.provider
    if provider not in CLOUDS:
        message = f"{offer.region.id} is not a region that SkyPilot launches in"
        raise UnsupportedByProvider(message, hint="greenctl plan --offers 0 lists the offers.")
    require_own_ports(offer)
    zone = zone_of(theirs, offer.region.id)
    found: dict[str, Any] = {"infra": f"{offer.region.id}/{zone}" if zone else offer.region.id, **_machine(offer)}
    if offer.market is Market.SPOT:
        found["use_spot"] = True
    if provider not in WITHOUT_AUTODOWN:
        # The job ends with its engine, whatever ended that; then the machine ends without anybody's help.
        found["autostop"] = {"idle_minutes": IDLE_MINUTES, "down": True, "wait_for": "jobs"}
    if port is not None:
        found["ports"] = [port]
    disk = theirs.get("disk_size") or disk_gib
    if disk is not None and provider != SLURM:
        found["disk_size"] = disk
    if image is not None:
        found["image_id"] = image
    found |= {key: theirs[key] for key in KEPT if theirs.get(key) is not None}
    if provider in WITHOUT_IMAGES and str(found.get("image_id", "")).startswith("docker:"):
        message = f"{offer.id}: SkyPilot runs no containers on {provider}"
        raise UnsupportedByProvider(message, hint="Choose another cloud, or machines that have the engine already.")
    if provider in WITH_LABELS:
        found["labels"] = labels(request, theirs.get("labels") or {})
    limit = _limit(request, theirs)
    if limit is not None and provider != SLURM:
        found["max_hourly_cost"] = limit
    return found


def require_own_ports(offer: Offer) -> None:
    """Raise ``UnsupportedByProvider`` where a machine's port is not to be found at its address."""
    if offer.region.provider in WITH_PORTS_ELSEWHERE:
        message = f"{offer.id}: nobody would find a replica there, as its port is published as another one"
        hint = f"Choose other regions, or take {offer.region.provider} out of skypilot.clouds."
        raise UnsupportedByProvider(message, hint=hint)


def _machine(offer: Offer) -> dict[str, Any]:
    """The shape. Slurm has no instance types; elsewhere, without one, SkyPilot picks the smallest that is enough."""
    shape = offer.shape
    found: dict[str, Any] = {}
    if shape.accelerator is not None:
        found["accelerators"] = {shape.accelerator: shape.accelerator_count}
    if offer.region.provider != SLURM and offer.instance_type:
        return {**found, "instance_type": offer.instance_type}
    sizes = {"cpus": shape.vcpus, "memory": shape.memory_gib}
    for name, size in sizes.items():
        if size is not None:
            exact = int(size) if size == int(size) else size
            found[name] = exact if offer.region.provider == SLURM else f"{exact}+"
    return found


def _limit(request: LaunchRequest, theirs: Mapping[str, Any]) -> float | None:
    """US dollars per hour: what was confirmed, or what the file itself allows, if that is less."""
    limits = [limit for limit in (request.max_usd_per_hour, theirs.get("max_hourly_cost")) if limit is not None]
    return round(min(float(limit) for limit in limits), 6) if limits else None


def marks(request: LaunchRequest) -> dict[str, str]:
    """Return what says whose machine this is; in every form that a provider keeps."""
    return {
        "greenctl-deployment": request.deployment_uid,
        "greenctl-service": request.service,
        "greenctl-replica": request.replica,
        "greenctl-intent": request.intent_id,
        "greenctl-epoch": str(request.epoch),
    }


def labels(request: LaunchRequest, theirs: Mapping[str, Any]) -> dict[str, str]:
    """Return people's own labels, as many as clouds take, and ours, written as every cloud takes them."""
    own = {**{str(k): str(v) for k, v in theirs.items()}, **dict(request.labels)}
    kept = {label_key(key): label(value) for key, value in sorted(own.items())[:MOST_LABELS]}
    return {**kept, **{key: label(value) for key, value in marks(request).items()}}


def label(value: str) -> str:
    """Write a value as the strictest clouds take it.

    Google Cloud: 63 of ``[a-z0-9_-]``; Kubernetes: a letter or a digit at both ends.
    """
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63].strip("-_")


def label_key(key: str) -> str:
    """Write a key as the strictest clouds take it: as values, and it begins with a letter."""
    found = label(key)
    return found if found[:1].isalpha() else label(f"label-{found}")
