"""How many replicas a service wants, and what that number follows from."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.hardware import PowerModel
from orchestrator.domain.time import Instant

COST_OF = "cost on "
"""Figures of this name, followed by a number of replicas, say what that number costs per hour on its best offers."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a size was derived from, with its unit and where it comes from."""

    name: str
    value: float
    unit: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class WantedReplicas:
    """The number of replicas that should serve, between ``least`` and ``most`` of the spec.

    ``needed``: what the load asks for at this moment, before bounds and delays; ``None`` while that is unknown.
    ``because``: in words. ``figures``: the numbers in it. Spares and stand-ins of the spec come on top.
    ``until``: of batch work, in grid time: when it begins while it waits, by when it has to be done while it runs.
    """

    replicas: int
    least: int
    most: int
    needed: int | None = None
    because: str = ""
    figures: tuple[Figure, ...] = ()
    until: Instant | None = None

    @property
    def words(self) -> str:
        """One clause for a person: ``3 replicas: 41 requests/s of 18 each``."""
        count = f"{self.replicas} replica{'' if self.replicas == 1 else 's'}"
        return f"{count}: {self.because}" if self.because else count


@dataclass(frozen=True, slots=True)
class Spare:
    """What one replica more adds at the same load: IT watts, facility kWh and gCO2e per hour, US dollars per hour.

    ``slot``: which one it is. ``is_needed``: load wants it all the same; ``None`` while load is not known. ``None`` of
    a number is unknown, never zero.
    """

    slot: int
    offer_id: str
    watts: float | None
    kwh_per_hour: float | None
    grams_per_hour: float | None
    usd_per_hour: float | None
    is_needed: bool | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What one of ``replicas`` that share a service's load evenly would have to do on some shape.

    ``mean_batch``: sequences under way in it. ``reading``: the part of its time in which it reads prompts, which takes
    full power; 0 where nothing tells. ``origin``: which load and which model that follows from, or that it was assumed.
    ``needed``: how many replicas of that shape the load takes with its promises kept; ``carries``: whether so many
    serve, spares not counted. Both ``None`` where nothing tells.
    """

    mean_batch: float
    origin: str
    replicas: int
    needed: int | None = None
    carries: bool | None = None
    reading: float = 0.0

    def watts(self, power: PowerModel) -> float:
        """Return the IT watts of one."""
        return power.watts(self.mean_batch, self.reading)


@dataclass(frozen=True, slots=True)
class LoadSeen:
    """The load of a service over the last stretch of physical time that was watched without a hole.

    ``seconds``: its length. ``requests_per_second``: asked for, whether answered or not. ``mean_in_flight``: requests
    under way. ``serving``: replicas that were ready. ``running`` and ``waiting``: requests inside all engines at the
    last look; ``kv_fraction``: the fullest KV cache among them; each ``None`` when any engine could not be read.
    Tokens are means per answered request of this stretch, ``None`` when too few were answered to tell.
    """

    seconds: float
    requests_per_second: float
    mean_in_flight: float
    serving: int
    running: int | None = None
    waiting: int | None = None
    kv_fraction: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
