"""Ways to misbehave, as real engines do.

Read at start from the environment variable ``GREENCTL_BUILTIN_FAULTS`` (a JSON object) and, while running, from the
fault file whenever it changes; the file wins. An unknown key is an error, not a fault that never happens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

VARIABLE = "GREENCTL_BUILTIN_FAULTS"


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. ``None``, zero and false mean that it does not.

    ``start_delay_seconds``: slow to come up. ``exit_at_start``: exit status of an engine that cannot come up.
    After that many tokens of one answer: ``die_after_tokens`` kills the process outright, ``hang_after_tokens`` keeps
    the connection and says nothing more, ``drop_after_tokens`` resets it, ``cut_after_tokens`` ends the stream with
    ``[DONE]`` and no ``finish_reason``, as vLLM does on SIGTERM. ``status``: generation answers this status.
    ``health``: ``refuse`` answers 503, ``hang`` never answers. ``slow_factor`` stretches every pause.
    ``ignore_sigterm``: does not end when asked. ``stray_child``: starts a child in a session of its own, without marks.
    """

    start_delay_seconds: float = 0.0
    exit_at_start: int | None = None
    die_after_tokens: int | None = None
    hang_after_tokens: int | None = None
    drop_after_tokens: int | None = None
    cut_after_tokens: int | None = None
    status: int | None = None
    health: str = ""
    slow_factor: float = 1.0
    ignore_sigterm: bool = False
    stray_child: bool = False


NONE = Faults()


def parse_faults(text: str) -> Faults:
    """Read a JSON object. Raises ``ValueError`` for anything else and for unknown keys."""
    found: dict[str, Any] = json.loads(text) if text.strip() else {}
    unknown = set(found) - {field.name for field in fields(Faults)}
    if unknown:
        raise ValueError(f"unknown faults: {', '.join(sorted(unknown))}")
    return Faults(**found)


class FaultFile:
    """The present faults."""

    def __init__(self, initial: Faults, path: Path | None) -> None:
        self._faults = initial
        self._path = path
        self._stamp: tuple[int, int] | None = None

    def now(self) -> Faults:
        """Read the file again if it changed; without one the initial faults hold. Raises ``ValueError``."""
        if self._path is None:
            return self._faults
        try:
            info = self._path.stat()
            if (info.st_mtime_ns, info.st_ino) != self._stamp:
                self._faults = parse_faults(self._path.read_text(encoding="utf-8"))
                self._stamp = (info.st_mtime_ns, info.st_ino)
        except FileNotFoundError:
            pass
        return self._faults
