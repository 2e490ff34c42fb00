"""Read a service file for a command, and mention what it says and nobody acts upon."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.render.text import line
from orchestrator.cli.session import Session
from orchestrator.domain.records import ServiceState
from orchestrator.errors import Problem
from orchestrator.spec.service_file import LoadedSpec, load_service_file


def read_spec(session: Session, path: Path) -> LoadedSpec:
    """Return the spec; its notes are said. Raises ``InvalidSpec``."""
    loaded = load_service_file(path)
    say_notes(session, path, loaded)
    return loaded


def is_recorded(session: Session, loaded: LoadedSpec) -> bool:
    """Whether the service is up and what is recorded for it is this very file: a deploy would write nothing new."""
    record = session.runtime.store.service(loaded.spec.name)
    return record is not None and record.state is ServiceState.ACTIVE and record.spec_digest == loaded.digest


def say_notes(session: Session, path: Path, loaded: LoadedSpec) -> None:
    """Say each note with its place."""
    for note in loaded.notes:
        session.say(line(("note: ", "yellow"), _words(path, note)))


def _words(path: Path, note: Problem) -> str:
    place = ":".join(str(part) for part in (path, note.line, note.column) if part is not None)
    return f"{place}  {note.path + ': ' if note.path else ''}{note.message}"
