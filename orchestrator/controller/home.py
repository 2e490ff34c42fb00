"""A state directory that was copied: two controllers would act as one deployment, on the same machines.

Each would renew, move and end what both have on record, and a look at the machines shows nothing strange before one of
them has launched something that the other does not know. So the directory remembers where it stood, and a number that
its copies share: whichever of them begins last tells the one before where the deployment is at home now. See decision
0063.
"""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.controller.lock import Holder, holder
from orchestrator.domain.turns import Claimant
from orchestrator.errors import Conflict

HOME_FILE = "controller.home"
NUMBER_BYTES = 8


@dataclass(frozen=True, slots=True)
class _Home:
    """What the file says: a path, and the number that copies share. A version before wrote no number."""

    path: str = ""
    number: str = ""


def settle(state_dir: Path) -> None:
    """Note where this directory stands. A directory that was moved is at home in its new place.

    Raises ``Conflict``, having changed nothing, where a controller runs on a copy of this directory, or on the one that
    it was copied from.
    """
    file, here = state_dir / HOME_FILE, state_dir.resolve()
    known = _read(file)
    if known.path == str(here) and known.number:
        return
    copies = _copies(known, here)
    for place in copies:
        running = _running(place)
        if running is not None:
            raise Conflict(
                f"{here} is a copy of {place}, or the other way round, and a controller runs there (pid {running.pid}):"
                " both would act as one deployment",
                hint="Stop that one first, or begin anew in an empty GREENCTL_STATE_DIR; nothing was started.",
            )
    home = _Home(str(here), known.number or secrets.token_hex(NUMBER_BYTES))
    for place in copies:
        if _read(place / HOME_FILE).number == home.number:
            with suppress(OSError):  # what we may not write, none of our controllers can run on
                _write(place / HOME_FILE, home)
    _write(file, home)


def claimant_of(state_dir: Path) -> Claimant:
    """Return as whom a controller of this directory claims the turn. Changes nothing."""
    path = os.fsencode(state_dir.resolve()).decode("utf-8", "replace")
    return Claimant(socket.gethostname(), path, _read(state_dir / HOME_FILE).number, os.getpid())


def _copies(known: _Home, here: Path) -> list[Path]:
    """Return where the deployment was at home: the place that is known here, the one that is known there, and so on.

    A directory with another number has nothing to do with us, wherever it stands.
    """
    found: list[Path] = []
    told = known
    while told.path and Path(told.path) not in found and not _same(Path(told.path), here):
        place = Path(told.path)
        told = _read(place / HOME_FILE)
        if told.number and known.number and told.number != known.number:
            break
        found.append(place)
        if told.number != known.number:
            break
    return found


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one directory, as through a mount or a link."""
    with suppress(OSError):  # it stood where we may not look any more, as in another account's home
        return one.exists() and one.samefile(other)
    return False


def _running(place: Path) -> Holder | None:
    """Return the controller that runs there; none, where we may not look: none of ours can run there."""
    with suppress(OSError):
        return holder(place)
    return None


def _read(file: Path) -> _Home:
    """Return what is written; nothing, where nothing can be read."""
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return _Home()
    return _Home(*lines[:2])


def _write(file: Path, home: _Home) -> None:
    file.write_text(f"{home.path}\n{home.number}\n", encoding="utf-8", errors="surrogateescape")
    file.chmod(0o600)
