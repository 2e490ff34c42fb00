"""Short names for replicas: the slot, and enough of the id to tell a replica from the one that it replaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from orchestrator.domain.replica import LIVE, Replica
from orchestrator.errors import UsageError

_ID_DIGITS: Final = 4


def label(replica: Replica) -> str:
    """Return ``r0-3fa9``: slot 0, and the first digits of what follows the last dash of the full name."""
    return label_of(replica.slot, replica.name)


def label_of(slot: int, name: str) -> str:
    """Return the short name of a replica of which only slot and full name are known; the slot alone without a name."""
    return f"r{slot}-{name.rpartition('-')[2][:_ID_DIGITS]}" if name else f"r{slot}"


def labels(replicas: Iterable[Replica]) -> dict[str, str]:
    """Return the short name of every full name."""
    return {r.name: label(r) for r in replicas}


def shortened(text: str, names: Mapping[str, str]) -> str:
    """Put the short names of replicas into a sentence that has the full ones."""
    for full, short in names.items():
        text = text.replace(full, short)
    return text


def find_replica(service: str, words: str, replicas: Sequence[Replica]) -> Replica:
    """Return the replica of that full name, short name, id or slot (``r0``); of several, the newest that lives.

    Raises ``UsageError`` that lists those that exist.
    """
    known = [r for r in replicas if words in {r.name, label(r), f"r{r.slot}", r.name.rpartition("-")[2]}]
    if not known:
        names = ", ".join(label(r) for r in replicas) or "none"
        raise UsageError(f"{service} has no replica {words!r}; there are: {names}", hint="Name one of those.")
    return max(known, key=lambda r: (r.state in LIVE, r.created_at, r.name))
