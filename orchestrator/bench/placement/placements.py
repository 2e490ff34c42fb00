"""Files of placements: one region id per scored hour and service, as a list or as runs of [region, hours]."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator.bench.placement.instance import Instance
from orchestrator.bench.placement.ledger import runs
from orchestrator.errors import UsageError

Placements = Mapping[str, Sequence[str]]
"""By the id of the service."""

_HINT: Final = (
    'Expected is {"year": ..., "services": [{"track", "origin", "rtt_budget_ms", "switching_hours", "placements"}]}.'
)


def refuse_no_place(path: Path) -> None:
    """Raise ``UsageError`` for a file that cannot be written, before a minute of work is spent on it."""
    if not path.parent.is_dir():
        raise UsageError(f"--placements {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"--placements {path}: this is a folder, not a file")


def write_placements(path: Path, instance: Instance, placements: Placements) -> None:
    """Write the file, run-length coded; packed when its name ends in ``.gz``. Raises ``UsageError``."""
    services = [
        {
            "track": s.track,
            "origin": s.origin,
            "rtt_budget_ms": s.rtt_budget_ms,
            "switching_hours": s.switching_hours,
            "placements": runs(placements[s.id]),
        }
        for s in instance.services
        if s.id in placements
    ]
    text = json.dumps({"year": instance.year, "services": services}, indent=None, separators=(",", ":")) + "\n"
    content = text.encode("ascii")
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"--placements {path}: {error.strerror or error}") from error


def read_placements(path: Path, instance: Instance) -> dict[str, Sequence[str]]:
    """Read a file that anybody wrote. Raises ``UsageError`` unless it is one of this year and names services once."""
    try:
        content = path.read_bytes()
        document = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UsageError(f"--placements {path}: {error}", hint=_HINT) from error
    try:
        return _by_service(document, instance)
    except KeyError as error:
        raise UsageError(f"--placements {path}: {error} is missing", hint=_HINT) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"--placements {path}: {error}", hint=_HINT) from error


def _by_service(document: Mapping[str, Any], instance: Instance) -> dict[str, Sequence[str]]:
    ids = {s.key: s.id for s in instance.services}
    found: dict[str, Sequence[str]] = {}
    if document["year"] != instance.year:
        raise ValueError(f"year is {document['year']}, not {instance.year}")
    for number, entry in enumerate(document["services"]):
        key = _key(entry)
        if key not in ids:
            raise ValueError(f"services[{number}]: the instance has no service {key}")
        if ids[key] in found:
            raise ValueError(f"services[{number}]: {ids[key]} occurs twice")
        found[ids[key]] = _expanded(entry["placements"])
    return found


def _key(entry: Mapping[str, Any]) -> tuple[str, str, float, float]:
    track = str(entry.get("track", "open"))
    return track, str(entry["origin"]), float(entry["rtt_budget_ms"]), float(entry["switching_hours"])


def _expanded(coded: Sequence[Any]) -> list[str]:
    hours: list[str] = []
    for item in coded:
        if isinstance(item, str):
            hours.append(item)
            continue
        region, count = list(item)
        if not isinstance(region, str) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{item!r} is neither a region nor a run of [region, hours]")
        hours.extend([region] * count)
    return hours
