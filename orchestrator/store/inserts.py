"""Inserting what may be there already: both databases have ``ON CONFLICT DO NOTHING``, spelled by two classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(tx: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert the row; returns whether it is new. Any unique key that is taken counts as "there already".

    On PostgreSQL this waits for another transaction that is inserting the same key, and then knows.
    """
    found = tx.execute(_insert(tx.dialect.name, table), dict(row), execution_options={"preserve_rowcount": True})
    return found.rowcount == 1


def insert_all_new(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those of the rows that are new."""
    if rows:
        tx.execute(_insert(tx.dialect.name, table), [dict(row) for row in rows])


@cache
def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Built once for each table: making a statement costs more than running it. Numbers given to rows stay untold."""
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return make(table).on_conflict_do_nothing().inline()
