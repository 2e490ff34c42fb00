"""How much a database holds: rows of each table, and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select

from orchestrator.store import tables

SIDE_FILES = ("", "-wal", "-shm")
"""Of a SQLite database (sqlite.org/tempfiles.html, sections 2.2 and 2.3)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows by table, and bytes on disk with indexes and, of SQLite, the write-ahead log."""

    rows: Mapping[str, int]
    size_bytes: int


def sizes_in(tx: Connection, path: Path | None) -> Sizes:
    """Count every table; ``path``: of the file, where it is one."""
    rows = {
        name: int(tx.execute(select(func.count()).select_from(table)).scalar_one())
        for name, table in sorted(tables.METADATA.tables.items())
    }
    if path is None:
        return Sizes(rows, int(tx.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()))
    files = (Path(f"{path}{end}") for end in SIDE_FILES)
    return Sizes(rows, sum(file.stat().st_size for file in files if file.exists()))
