"""A state directory that was copied: two controllers would act as one deployment, on the same machines.

Each would renew, move and end what both have on record, and a look at the machines shows nothing strange before one of
them has launched something that the other does not know. So the directory remembers where it stood.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.controller.lock import holder
from orchestrator.errors import Conflict

HOME_FILE = "controller.home"


def settle(state_dir: Path) -> None:
    """Note where this directory stands. A directory that was moved is at home in its new place.

    Raises ``Conflict``, having changed nothing, where a controller runs on the directory that this one was copied from.
    """
    file, here = state_dir / HOME_FILE, state_dir.resolve()
    known = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    if known == str(here):
        return
    other = holder(Path(known)) if known and not _same(Path(known), here) else None
    if other is not None:
        raise Conflict(
            f"{here} is a copy of {known}, where a controller runs (pid {other.pid}): both would act as one deployment",
            hint="Stop that one first, or begin anew in an empty GREENCTL_STATE_DIR; nothing was started.",
        )
    file.write_text(f"{here}\n", encoding="utf-8")
    file.chmod(0o600)


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one directory, as through a mount or a link."""
    return one.exists() and one.samefile(other)
