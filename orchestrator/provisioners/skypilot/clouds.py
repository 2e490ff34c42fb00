"""What each cloud can do through SkyPilot: ``_CLOUD_UNSUPPORTED_FEATURES`` of ``sky.clouds`` 0.14.1."""

from __future__ import annotations

from orchestrator.control.ports import Ability

WITH_SPOT = frozenset({"aws", "azure", "gcp", "mithril", "nebius", "oci", "primeintellect", "runpod", "vast", "verda"})
WITH_STOP = frozenset({"aws", "azure", "do", "gcp", "nebius", "paperspace", "vast", "vsphere"})
WITHOUT_PRICES = frozenset({"slurm", "kubernetes", "ssh"})
WITHOUT_PORTS = frozenset({"slurm"})
"""Machines that are reached on their own address: nobody opens a port for us."""

WITH_PORTS_ELSEWHERE = frozenset({"runpod", "vast", "yotta"})
"""Clouds that publish a machine's port as another one, as only they know (``query_ports`` of ``sky.provision``): nobody
would find a replica. Kubernetes and SSH node pools publish it elsewhere, too, but their pods have addresses."""

WITHOUT_AUTODOWN = frozenset({"hyperbolic", "primeintellect", "verda", "yotta"})
"""Clouds whose machines cannot end themselves (``AUTODOWN`` unsupported). Slurm's can: only ``AUTOSTOP`` is not."""

GROUND_TRUTH = frozenset({"slurm"})
"""Clouds whose own listing we can read past SkyPilot; for the others a sweep has SkyPilot's word alone."""


def abilities_of(cloud: str) -> frozenset[Ability]:
    """Return what can be asked for there."""
    found = set()
    if cloud in WITH_SPOT:
        found.add(Ability.SPOT)
    if cloud in WITH_STOP:
        found.add(Ability.STOP)
    if cloud not in WITHOUT_AUTODOWN:
        found.add(Ability.LEASE)
    if cloud not in WITHOUT_PRICES:
        found.add(Ability.PRICES)
    return frozenset(found)
