"""The narrow interfaces through which the controller sees the world.

Each port has at least one adapter, one shipped fake, and one contract suite in ``tests/contract`` that all of them
pass. Implementations raise only errors of :mod:`orchestrator.errors`.
"""

from orchestrator.control.ports.clock import Clock
from orchestrator.control.ports.gateway import Gateway
from orchestrator.control.ports.records import Records
from orchestrator.control.ports.replicas import (
    Ability,
    EngineLoad,
    EngineProbe,
    Instance,
    LaunchRequest,
    Phase,
    Provisioner,
)
from orchestrator.control.ports.signals import CarbonSource, OfferSource
from orchestrator.control.ports.store import Journal, Requests, Store

__all__ = [
    "Ability",
    "CarbonSource",
    "Clock",
    "EngineLoad",
    "EngineProbe",
    "Gateway",
    "Instance",
    "Journal",
    "LaunchRequest",
    "OfferSource",
    "Phase",
    "Provisioner",
    "Records",
    "Requests",
    "Store",
]
