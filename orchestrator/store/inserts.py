"""Inserting what may be there already: both databases have ``ON CONFLICT DO NOTHING``, spelled by two classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(tx: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert the row; returns whether it is new. Any unique key that is taken counts as "there already".

    On PostgreSQL this waits for another transaction that is inserting the same key, and then knows.
    """
    statement = _insert(tx, table).values(**row).inline()  # nobody asks for the number that the row was given
    return tx.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def insert_all_new(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert those of the rows that are new."""
    if rows:
        tx.execute(_insert(tx, table), [dict(row) for row in rows])


def _insert(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    return make(table).on_conflict_do_nothing()
