"""Whether this process can look after all that runs: what it cannot reach it would replace, and never end. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from orchestrator.domain.replica import ENDED, Replica
from orchestrator.errors import InvalidSettings

LOCAL = "local"


def require_covered(replicas: Iterable[Replica], configured: Collection[str]) -> None:
    """Raise ``InvalidSettings`` where a replica that may still run is of a provider that is not configured."""
    lost = [r for r in replicas if not (r.state in ENDED and r.cleaned_up) and _provider(r) not in configured]
    if not lost:
        return
    clouds = json.dumps(sorted({_provider(r) for r in lost} | (set(configured) - {LOCAL})))
    first = f"{lost[0].name} of {lost[0].service}"
    who = first if len(lost) == 1 else f"{len(lost)} replicas, {first} among them,"
    raise InvalidSettings(
        f"{who} may run on {', '.join(sorted({_provider(r) for r in lost}))}, which is not configured here",
        hint=f"Start it with GREENCTL_SKYPILOT__CLOUDS='{clouds}' as when they were deployed;"
        " `greenctl down` ends them.",
    )


def _provider(replica: Replica) -> str:
    return replica.region.partition("/")[0]
